"""Bring a hub up with SQLite, by its own commands: python hub_demo.py DIRECTORY [PORT]. It serves until interrupted.

Makes in DIRECTORY, in clear because it is a demo: the keys of hub, operator, oracle, venue spoke-a and account alice,
and the database. Publishes the demo's snapshot as of now, and deposits 1000 for alice. Then run spoke.py and holder.py.
"""

import json
import os
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path
from urllib.request import urlopen

from circuits.snapshot import from_bytes
from service.hub import load_private_key
from service.signing import sign_document
from verifier.snapshot_signature import SCHEMA, TOKEN_TYPE, SnapshotSignature

files, port = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "8080"
url = f"http://127.0.0.1:{port}"
os.environ |= {
    "ZKMARGIN_DATABASE_URL": f"sqlite:///{files.absolute() / 'hub.db'}",
    "ZKMARGIN_STORAGE_KEYS_FILE": str(files.absolute() / "storage.key"),
    "ZKMARGIN_HUB": url,
    "ZKMARGIN_HUB_KEY": str(files.absolute() / "hub.pub"),
}


def zkmargin(*words: str, by: str | None = None) -> None:
    """Run a command, signed with somebody's key."""
    key = [] if by is None else ["--key", f"{by}.key"]
    subprocess.run([sys.executable, "-m", "service.cli", *words, *key], cwd=files, check=True, stdout=sys.stderr)


def snapshot_of_now() -> None:
    """The demo's prices with the time of now, signed by the oracle. A real oracle: zkmargin oracle build."""
    tree = json.loads(resources.files("service.demo_data").joinpath("snapshot.json").read_bytes())
    snapshot = from_bytes(json.dumps(tree | {"time": int(time.time())}).encode())
    fact = SnapshotSignature("oracle", snapshot.digest, snapshot.time, snapshot.time + 86400)
    key = load_private_key((files / "oracle.key").read_bytes())
    (files / "snapshot.json").write_bytes(snapshot.to_bytes())
    signed = sign_document(fact.payload(), key, schema=SCHEMA, token_type=TOKEN_TYPE)
    (files / "signed-snapshot.json").write_bytes(signed)


for name in ("operator", "oracle", "spoke-a"):
    zkmargin("keygen", "--key", f"{name}.key", "--public", f"{name}.pub", "--unencrypted")
zkmargin("account", "keygen", "--key", "alice.key", "--public", "alice.pub", "--encryption-key", "alice.x25519",
         "--encryption-public", "alice.xpub", "--unencrypted")  # fmt: skip
zkmargin("hub", "new-storage-key", "--out", "storage.key", "--unencrypted")
zkmargin("hub", "init", "--name", "hub-1", "--currency", "USDC", "--decimals", "6", "--operator-key", "operator.pub",
         "--public", "hub.pub")  # fmt: skip
zkmargin("hub", "admit-oracle", "oracle", "--key", "oracle.pub")
with subprocess.Popen([sys.executable, "-m", "service.cli", "serve", "--role", "hub", "--port", port]) as server:
    try:
        while server.poll() is None:
            try:
                urlopen(f"{url}/health/ready")  # noqa: S310 - our own server
                break
            except OSError:
                time.sleep(0.1)
        snapshot_of_now()
        zkmargin("snapshot", "publish", "--snapshot", "snapshot.json", "--signed-snapshot", "signed-snapshot.json",
                 by="oracle")  # fmt: skip
        zkmargin("venue", "zone", "zone-1", "--cap", "100000", by="operator")
        zkmargin("venue", "register", "spoke-a", "--caip2", "eip155:1", "--zone", "zone-1", "--cap", "50000",
                 "--public", "spoke-a.pub", by="operator")  # fmt: skip
        zkmargin(
            "account", "open", "alice", "--public", "alice.pub", "--encryption-public", "alice.xpub", by="operator"
        )
        zkmargin("account", "deposit", "alice", "--instrument", "USDC", "--quantity", "1000",
                 "--reference", "receipt-1", by="operator")  # fmt: skip
        print(f"ready: {url}", flush=True)
        server.wait()
    except KeyboardInterrupt:
        server.terminate()
    except BaseException:
        server.kill()
        raise
