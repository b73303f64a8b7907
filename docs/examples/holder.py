"""A holder against a running hub: fetch prices and the own opening, prove and sign here what a venue demands, offer it.

python holder.py HUB-URL VENUE-URL DIRECTORY, where DIRECTORY has the files that hub_demo.py makes. Prints the signed
credit entry that the venue got. Positions and blinding stay on this machine.
"""

import sys
from pathlib import Path
from urllib.request import urlopen

from zkmargin.service.client import (
    CreditRule,
    Demand,
    HubClient,
    Policy,
    RequestSigner,
    answer,
    fetch_holding,
    fetch_prices,
    meet,
)
from zkmargin.service.keys.sealing import load_encryption_key
from zkmargin.service.keys.signing_keys import load_private_key
from zkmargin.verifier.facts.attestation import load_public_key

url, venue, files = sys.argv[1], sys.argv[2], Path(sys.argv[3])
pinned, oracle = (load_public_key((files / name).read_bytes()) for name in ("hub.pub", "oracle.pub"))
key = load_private_key((files / "alice.key").read_bytes())
signer = RequestSigner(key, "hub-1")
encryption = load_encryption_key((files / "alice.x25519").read_bytes())

with HubClient(url, signer=signer) as hub:
    trust = hub.run(meet(pinned.public_bytes_raw(), hub="hub-1"))
    prices = hub.run(fetch_prices([oracle]))
    holding = hub.run(fetch_holding(trust, "alice", encryption, prices.snapshot))

demand = Demand.from_bytes(urlopen(venue).read())  # noqa: S310 - the address that you gave
# What may be signed without asking: one credit of at most 100 for this venue, for an hour.
policy = Policy(credits=(CreditRule("venue-a", "100", 3600),))
offer = answer(demand, prices, holding, policy=policy, key=key)
print(f"proved {demand.amount} for {demand.venue}: {len(offer.proof)} bytes", file=sys.stderr)
print(urlopen(venue, data=offer.to_bytes()).read().decode())  # noqa: S310
