"""Bring a hub up with SQLite, by its own commands: python hub_demo.py DIRECTORY [PORT [SECONDS]]. Serves until ended.

Makes in DIRECTORY, which must be empty, in clear because it is a demo: the keys of hub, operator, oracle, venue venue-a
and account alice, and the database. Deposits 1000 for alice. Publishes the demo's prices as of now, again every SECONDS
(300), so that proofs can be made for as long as it runs. Then run venue.py and holder.py.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.request import urlopen

from zkmargin.service.cli.serve import serve
from zkmargin.service.demo_data import snapshot_at
from zkmargin.service.keys.signing import sign_document
from zkmargin.service.keys.signing_keys import load_private_key
from zkmargin.verifier.facts.snapshot_signature import SCHEMA, TOKEN_TYPE, SnapshotSignature

files = Path(sys.argv[1])
port, seconds = [*sys.argv[2:4], *("8080", "300")[len(sys.argv) - 2 :]]
url = f"http://127.0.0.1:{port}"
os.environ |= {
    "ZKMARGIN_DATABASE_URL": f"sqlite:///{files.absolute() / 'hub.db'}",
    "ZKMARGIN_STORAGE_KEYS_FILE": str(files.absolute() / "storage.key"),
    "ZKMARGIN_HUB": url,
    "ZKMARGIN_HUB_KEY": str(files.absolute() / "hub.pub"),
}
failed = threading.Event()


def zkmargin(*words: str, by: str | None = None) -> None:
    """Run a command, signed with somebody's key."""
    key = [] if by is None else ["--key", f"{by}.key"]
    subprocess.run([sys.executable, "-m", "zkmargin", *words, *key], cwd=files, check=True, stdout=sys.stderr)


def publish() -> None:
    """The demo's prices with the time of now, signed by the oracle. A real oracle: zkmargin oracle build."""
    snapshot = snapshot_at(int(time.time()))
    fact = SnapshotSignature("oracle", snapshot.digest, snapshot.time, snapshot.time + 86400)
    key = load_private_key((files / "oracle.key").read_bytes())
    (files / "snapshot.json").write_bytes(snapshot.to_bytes())
    signed = sign_document(fact.payload(), key, schema=SCHEMA, token_type=TOKEN_TYPE)
    (files / "signed-snapshot.json").write_bytes(signed)
    zkmargin("snapshot", "publish", "--snapshot", "snapshot.json", "--signed-snapshot", "signed-snapshot.json",
             by="oracle")  # fmt: skip


def make_keys_and_database() -> None:
    """What an operator does before the service runs."""
    for name in ("operator", "oracle", "venue-a"):
        zkmargin("keygen", "--key", f"{name}.key", "--public", f"{name}.pub", "--unencrypted")
    zkmargin("account", "keygen", "--key", "alice.key", "--public", "alice.pub", "--encryption-key", "alice.x25519",
             "--encryption-public", "alice.xpub", "--unencrypted")  # fmt: skip
    zkmargin("hub", "new-storage-key", "--out", "storage.key", "--unencrypted")
    zkmargin("hub", "init", "--name", "hub-1", "--currency", "USDC", "--decimals", "6", "--operator-key",
             "operator.pub", "--public", "hub.pub")  # fmt: skip
    zkmargin("hub", "admit-oracle", "oracle", "--key", "oracle.pub")


def open_for_business() -> None:
    """What oracle and operator do once it runs."""
    while True:
        try:
            urlopen(f"{url}/health/ready").close()  # noqa: S310 - our own server
            break
        except OSError:
            time.sleep(0.1)
    publish()
    zkmargin("venue", "zone", "zone-1", "--cap", "100000", by="operator")
    zkmargin("venue", "register", "venue-a", "--caip2", "eip155:1", "--zone", "zone-1", "--cap", "50000",
             "--public", "venue-a.pub", by="operator")  # fmt: skip
    zkmargin("account", "open", "alice", "--public", "alice.pub", "--encryption-public", "alice.xpub", by="operator")
    zkmargin("account", "deposit", "alice", "--instrument", "USDC", "--quantity", "1000",
             "--reference", "receipt-1", by="operator")  # fmt: skip


def run() -> None:
    """Beside the server: open it, then keep its prices fresh. Whatever goes wrong ends the server."""
    try:
        open_for_business()
        print(f"ready: {url}", flush=True)
        while True:
            time.sleep(float(seconds))
            publish()
    finally:
        failed.set()
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":  # the service's own processes import this file, too
    if files.exists() and any(files.iterdir()):
        sys.exit(f"{files} must be empty")
    files.mkdir(exist_ok=True)
    make_keys_and_database()
    threading.Thread(target=run, daemon=True).start()
    # The server is this very process, so that nothing of it is left when the process ends, however it ends.
    serve(role="hub", port=int(port))
    sys.exit(failed.is_set())
