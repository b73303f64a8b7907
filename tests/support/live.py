"""A real server process of a hub, logging to a file, and who signs for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import requests
from requests.auth import AuthBase

from tests.support.hubs import Hub, Session, Signer
from tests.support.ledgers import ledger_digest, snapshot_at
from tests.support.places import ROOT
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.service.client.signing import RequestSigner


@contextmanager
def serving(hub: Hub, log: Path, **settings: str) -> Iterator[str]:
    """``zkmargin serve`` of a hub in a process of its own; gives its address."""
    chosen = {
        "ROLE": "hub",
        "DATABASE_URL": hub.url,
        "STORAGE_KEYS": ",".join(key.secret.hex() for key in hub.ring.keys),
        "POOL_PROCESSES": "1",
        "LOG_LEVEL": "debug",
    } | settings
    environment = os.environ | {f"ZKMARGIN_{name}": value for name, value in chosen.items()}
    command = [sys.executable, "-m", "zkmargin", "serve", "--port", "0"]
    with log.open("wb") as out:
        server = subprocess.Popen(command, cwd=ROOT, stderr=out, stdout=out, env=environment)
    try:
        while '"ready"' not in log.read_text():
            assert server.poll() is None, log.read_text()
            time.sleep(0.02)
        found = re.search(r'"port": (\d+)', log.read_text())
        assert found
        yield f"http://127.0.0.1:{found[1]}"
        assert server.poll() is None, "the server died"
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@dataclass
class Live:
    """A served hub with venues spoke-a and spoke-b, accounts alice and bob, and a credit."""

    hub: Hub
    session: Session
    snapshot: Snapshot
    url: str
    log: Path
    credit: str

    def digest(self) -> str:
        """Of the ledger."""
        return ledger_digest(self.hub.database)

    def alive(self) -> None:
        """The service answers, is ready, and met nothing that it did not expect."""
        assert self.session.http.get("/health/ready").status_code == 200
        lines = self.log.read_text().splitlines()
        faults = [line for line in lines if '"event": "exception"' in line or '"event": "fault"' in line]
        assert not faults, faults[:5]


@contextmanager
def live_hub(url: str, log: Path, **settings: str) -> Iterator[Live]:
    """A served hub at work."""
    hub = Hub(url)
    with serving(hub, log, **settings) as address, httpx2.Client(base_url=address, timeout=60) as http:
        session = Session(hub, http)
        snapshot = snapshot_at(int(time.time()))
        session.publish(snapshot)
        for name in ("spoke-a", "spoke-b"):
            session.venue(name)
        for name in ("alice", "bob"):
            session.account(name)
        body = session.credit_body("alice", snapshot, venue="spoke-a", amount="200")
        credit = session.ok("venue/spoke-a", "POST", "/v1/credits", body)["credit"]
        yield Live(hub, session, snapshot, address, log, credit)
    hub.database.close()


class Signed(AuthBase):
    """Signs a request of the library ``requests`` as it will be sent."""

    def __init__(self, signer: Signer) -> None:
        self.signer = RequestSigner(signer.key, "hub-1")

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the signature's headers."""
        parts = urlsplit(request.url or "")
        body = request.body or b""
        data = body.encode() if isinstance(body, str) else bytes(body)
        given = {name: value for name, value in request.headers.items() if name.lower() == "idempotency-key"}
        try:
            signed = self.signer.sign(request.method or "", parts.path, parts.query, given, data, now=int(time.time()))
        except Exception:  # A header that cannot be signed is sent unsigned.
            return request
        request.headers.update({name: value for name, value in signed.items() if name.lower() != "idempotency-key"})
        return request
