"""A hub in this process on a real database, its callers' keys, and signed calls."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from fastapi.testclient import TestClient
from pydantic import SecretStr

from tests.support.toy import Tree, load_snapshot, snapshot_tree
from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.documents.statement import StatementModel, statement_from_model
from zkmargin.circuits.purpose import ANY, ForCredit, ForTrade, ForWithdrawal
from zkmargin.circuits.schema import validate
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import Statement
from zkmargin.prover.commitment import Opening
from zkmargin.prover.documents import make_statement, parse_opening, proof_bytes
from zkmargin.prover.prove import prove
from zkmargin.service.client.negotiation import authorise
from zkmargin.service.client.signing import RequestSigner
from zkmargin.service.http.app import create_app
from zkmargin.service.keys.sealing import open_sealed
from zkmargin.service.keys.signing import raw_public, sign_document
from zkmargin.service.keys.vault import Vault, new_key, vault
from zkmargin.service.ledger import setup
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.settings import Settings
from zkmargin.service.store.database import Database
from zkmargin.verifier.facts.attestation import verify_attestation
from zkmargin.verifier.facts.hub_keys import public_key
from zkmargin.verifier.facts.snapshot_signature import SCHEMA, TOKEN_TYPE, SnapshotSignature

DAY = 86400


@dataclass
class Signer:
    """A caller of the hub."""

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    encryption: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)

    @property
    def public(self) -> str:
        return raw_public(self.key).hex()

    @property
    def encryption_public(self) -> str:
        return self.encryption.public_key().public_bytes_raw().hex()


class Clock:
    """A clock that tests turn."""

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def hub_snapshot(now: int, *, instruments: int = 6, scenarios: int = 4, **changes: Any) -> Snapshot:
    """A small snapshot in USD with 2 decimals, taken at ``now``."""
    tree = snapshot_tree(instruments, scenarios) | {"time": now}
    return load_snapshot(tree | changes)


def sign_snapshot(key: Ed25519PrivateKey, snapshot: Snapshot, *, valid: int = DAY) -> bytes:
    """As an oracle named ``feed``."""
    fact = SnapshotSignature("feed", snapshot.digest, snapshot.time, snapshot.time + valid)
    return sign_document(fact.payload(), key, schema=SCHEMA, token_type=TOKEN_TYPE)


class Hub:
    """A hub on an empty database: its operator, oracle and what they did. Calls go through the whole application."""

    def __init__(self, url: str, *, now: int | None = None, **settings: Any) -> None:
        self.url = url
        self.ring: Vault = vault([new_key()])
        self.now = int(time.time()) if now is None else now
        self.operator, self.oracle = Signer(), Signer()
        self.signers: dict[str, Signer] = {"operator/ops": self.operator, "oracle/feed": self.oracle}
        self.database = Database(url)
        self.made = setup.initialise(
            self.database, self.ring, name="hub-1", currency="USD", decimals=2,
            operator=("ops", self.operator.public), now=self.now - 60,
        ).to_json(str)  # fmt: skip
        self.ledger = Ledger.open(self.database, self.ring)
        setup.admit(self.ledger, "oracle", "feed", self.oracle.public)
        keys = SecretStr(",".join(k.secret.hex() for k in self.ring.keys))
        chosen: dict[str, Any] = {"pool_processes": 1, "log_level": "error"} | settings
        self.settings = Settings(role="hub", database_url=SecretStr(url), storage_keys=keys, **chosen)

    def client(self) -> TestClient:
        """The application, started."""
        return TestClient(create_app(self.settings), raise_server_exceptions=False)

    @contextmanager
    def running(self, log: Path, **settings: Any) -> Iterator[str]:
        """The hub as a real ``zkmargin serve`` process on a free port: its address, once it is ready."""
        keys = self.settings.storage_keys
        assert keys is not None
        given = {
            "ROLE": "hub",
            "DATABASE_URL": self.url,
            "STORAGE_KEYS": keys.get_secret_value(),
            "POOL_PROCESSES": "1",
        }
        given |= settings
        with running(log, {f"ZKMARGIN_{name.upper()}": str(value) for name, value in given.items()}) as url:
            yield url


@contextmanager
def running(log: Path, environment: dict[str, str]) -> Iterator[str]:
    """A server process with these settings, logging to a file: its address, once it is ready."""
    command = [sys.executable, "-m", "zkmargin", "serve", "--port", "0"]
    with log.open("wb") as out:
        server = subprocess.Popen(command, stderr=out, env=os.environ | environment)
    try:
        while '"ready"' not in log.read_text():
            assert server.poll() is None, log.read_text()
            time.sleep(0.02)
        found = re.search(r'"port": (\d+)', log.read_text())
        assert found
        yield f"http://127.0.0.1:{found[1]}"
    finally:
        server.kill()
        server.wait()


@dataclass
class Session:
    """A started application and who calls it."""

    hub: Hub
    http: TestClient | httpx2.Client
    #: What callers sign by; turn it together with the book's.
    clock: Callable[[], int] = lambda: int(time.time())

    def call(
        self, caller: str | None, method: str, path: str, body: Tree | None = None, *, key: str | None = None
    ) -> httpx2.Response:
        """A signed call (an unsigned one for no caller), with a fresh idempotency key unless given."""
        headers: dict[str, str] = {}
        data = b"" if body is None else json.dumps(body).encode()
        if body is not None:
            headers["content-type"] = "application/json"
        if method != "GET":
            headers["Idempotency-Key"] = key or secrets.token_hex(8)
        if caller is not None:
            bare, _, query = path.partition("?")
            signer = RequestSigner(self.hub.signers[caller].key, "hub-1")
            headers = signer.sign(method, bare, query, headers, data, now=self.clock())
        return self.http.request(method, path, content=data, headers=headers)

    def ok(self, caller: str | None, method: str, path: str, body: Tree | None = None, **options: Any) -> Tree:
        """A call that must succeed."""
        answer = self.call(caller, method, path, body, **options)
        assert answer.status_code < 300, answer.text
        tree: Tree = answer.json()
        return tree

    def refused(
        self, code: str, caller: str | None, method: str, path: str, body: Tree | None = None, **o: Any
    ) -> Tree:
        """A call that must be refused with this problem."""
        answer = self.call(caller, method, path, body, **o)
        tree: Tree = answer.json()
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        assert (tree.get("code"), tree.get("status")) == (code, answer.status_code), answer.text
        return tree

    def publish(self, snapshot: Snapshot, *, valid: int = DAY) -> Tree:
        """Publish a snapshot as the oracle."""
        signed = sign_snapshot(self.hub.oracle.key, snapshot, valid=valid)
        body = {"snapshot": json.loads(snapshot.to_bytes()), "signed": json.loads(signed)}
        return self.ok("oracle/feed", "POST", "/v1/snapshots", body)

    def venue(self, name: str, *, cap: str = "1000000", zone: str = "zone-1", zone_cap: str = "5000000") -> Signer:
        """Admit a venue."""
        self.hub.signers[f"venue/{name}"] = signer = Signer()
        self.ok("operator/ops", "PUT", f"/v1/zones/{zone}", {"cap": zone_cap})
        body = {"venue": name, "caip2": "eip155:1", "zone": zone, "cap": cap, "key": signer.public}
        self.ok("operator/ops", "POST", "/v1/venues", body)
        return signer

    def account(self, name: str, *, cash: str = "1000", **changes: Any) -> Signer:
        """Open an account with cash."""
        self.hub.signers[f"account/{name}"] = signer = Signer()
        body = {"account": name, "key": signer.public, "encryption_key": signer.encryption_public} | changes
        self.ok("operator/ops", "POST", "/v1/accounts", body)
        if cash != "0":
            deposit = {"instrument": "QUOTE-0", "quantity": cash, "reference": f"receipt-{secrets.token_hex(8)}"}
            self.ok("operator/ops", "POST", f"/v1/accounts/{name}/deposits", deposit)
        return signer

    def opening(self, account: str, snapshot: Snapshot) -> tuple[Opening, bytes]:
        """As the holder: fetch and open the latest opening; gives the attestation document too."""
        got = self.ok(f"account/{account}", "GET", f"/v1/accounts/{account}/opening")
        document = canonical_bytes(got["attestation"])
        attested = verify_attestation(document, public_key(bytes.fromhex(self.hub.made["key"])))
        key = self.hub.signers[f"account/{account}"].encryption
        plain = open_sealed(key, bytes.fromhex(got["sealed_opening"]), attested.commitment)
        return parse_opening(plain, snapshot), document

    def proof(
        self, account: str, snapshot: Snapshot, *, venue: str, amount: str, **changes: Any
    ) -> tuple[Statement, Tree]:
        """As the holder: a statement on the latest epoch with its proof document."""
        opening, document = self.opening(account, snapshot)
        attested = verify_attestation(document, public_key(bytes.fromhex(self.hub.made["key"])))
        expiry = self.clock() + 600
        stated = make_statement(snapshot, attested, venue=venue, amount=amount, **({"expiry": expiry} | changes))
        return stated, json.loads(proof_bytes(stated, prove(stated, snapshot, opening)))

    def authorised(self, stated: Statement, proof: Tree, *, by: str | None = None) -> Tree:
        """As the holder: what a hub books on. ``by`` is another caller whose key signs."""
        key = self.hub.signers[by or f"account/{stated.context.account}"].key
        return {
            "statement": json.loads(stated.to_bytes()),
            "proof": proof,
            "authorisation": json.loads(authorise(stated, key, now=self.clock())),
        }

    def restated(self, body: Tree, **changes: Any) -> Tree:
        """A body whose statement is changed, with its proof made to name it and its account's key to authorise it."""
        statement = body["statement"] | changes
        if "context" in changes:
            statement["context"] = body["statement"]["context"] | changes["context"]
        stated = statement_from_model(validate(StatementModel, statement, name="statement"))
        signer = f"account/{stated.context.account}"
        by = signer if signer in self.hub.signers else "account/alice"
        return body | self.authorised(stated, body["proof"] | {"statement": stated.digest.hex()}, by=by)

    def credit_body(
        self, account: str, snapshot: Snapshot, *, venue: str, amount: str, seconds: int = 3600, **changes: Any
    ) -> Tree:
        """A credit request, proved and authorised."""
        expires = self.clock() + seconds
        changes = {"purpose": ForCredit(venue, amount, expires)} | changes
        stated, proof = self.proof(account, snapshot, venue=venue, amount=amount, **changes)
        return self.authorised(stated, proof) | {"amount": amount, "expires": expires}

    def withdrawal_body(
        self, account: str, snapshot: Snapshot, *, instrument: str, quantity: str, **changes: Any
    ) -> Tree:
        """A withdrawal, proved and authorised."""
        changes = {"purpose": ForWithdrawal("vault-1"), "delta": ((instrument, f"-{quantity}"),)} | changes
        stated, proof = self.proof(account, snapshot, **({"venue": "hub-1", "amount": "0"} | changes))
        return self.authorised(stated, proof) | {"instrument": instrument, "quantity": quantity}

    def side(
        self, account: str, snapshot: Snapshot, *, venue: str, legs: Sequence[tuple[str, str]], **changes: Any
    ) -> Tree:
        """As the holder: one side of a trade, proved and authorised, whatever it costs, with anybody."""
        changes = {"purpose": ForTrade("1000000", ANY), "amount": "0", "delta": tuple(legs)} | changes
        stated, proof = self.proof(account, snapshot, venue=venue, **changes)
        return self.authorised(stated, proof)

    def trade_body(
        self, maker: str, taker: str, snapshot: Snapshot, *, venue: str, legs: Sequence[tuple[str, str]], **changes: Any
    ) -> Tree:
        """A trade of what the maker receives (negative: gives), proved by both; ``changes`` are of the maker's side."""
        return {
            "maker": self.side(maker, snapshot, venue=venue, legs=legs, **changes),
            "taker": self.side(taker, snapshot, venue=venue, legs=opposite(legs)),
        }


def opposite(legs: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The legs of the other side."""
    return tuple((name, text.removeprefix("-") if text.startswith("-") else f"-{text}") for name, text in legs)


def sqlite_url(directory: Path) -> str:
    """A fresh SQLite database."""
    return f"sqlite:///{directory / 'hub.db'}"


def postgres_url() -> Iterator[str]:
    """A fresh PostgreSQL database, dropped afterwards."""
    import os

    import psycopg
    from psycopg import sql

    admin = os.environ.get("ZKMARGIN_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")
    name = f"zkmargin_{secrets.token_hex(6)}"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield admin.rsplit("/", 1)[0] + f"/{name}"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
