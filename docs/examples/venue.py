"""A venue in 30 lines: over HTTP it asks for 100, checks what a holder offers, and takes the credit at the hub.

python venue.py HUB-URL PORT DIRECTORY, where DIRECTORY has the files that hub_demo.py makes.
"""

import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from zkmargin.circuits.errors import ZkMarginError
from zkmargin.service.client import Demand, HubClient, Offer, RequestSigner, fetch_prices, meet, request_credit
from zkmargin.service.keys.signing_keys import load_private_key
from zkmargin.verifier.facts.attestation import load_public_key

url, port, files, demands = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), {}
pinned, oracle = (load_public_key((files / name).read_bytes()) for name in ("hub.pub", "oracle.pub"))
hub = HubClient(url, signer=RequestSigner(load_private_key((files / "venue-a.key").read_bytes()), "hub-1"))
trust = hub.run(meet(pinned.public_bytes_raw(), hub="hub-1"))


class VenueHandler(BaseHTTPRequestHandler):
    """GET gives a demand, POST takes the offer on it and gives the signed credit."""

    def do_GET(self):
        demand = Demand.credit("venue-a", "100", expires=int(time.time()) + 3600)
        self.reply(200, demands.setdefault(demand.nonce, demand).to_bytes())

    def do_POST(self):
        try:
            offer = Offer.from_bytes(self.rfile.read(int(self.headers["content-length"])))
            demand = demands.pop(offer.statement.context.nonce, Demand("venue-a", "100"))  # a fresh one fits no offer
            prices = hub.run(fetch_prices([oracle], digest=offer.statement.snapshot.hex()))
            self.reply(200, hub.run(request_credit(trust, demand, offer, prices)).document)
        except ZkMarginError as error:
            self.reply(422, str(error).encode())

    def reply(self, status, body):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)


print("ready", flush=True)
HTTPServer(("127.0.0.1", port), VenueHandler).serve_forever()
