"""Hubs on both databases, a digest of what the ledger holds, and a clock that turns for hub and callers together."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, select

from tests.support.hubs import DAY, Clock, Hub, Session, hub_snapshot, postgres_url, sqlite_url
from tests.support.services import hub_of
from tests.support.toy import Tree, load_snapshot
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.service.keys.signing import sign_document
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.ledger.idempotency import REFUSED
from zkmargin.service.store import tables
from zkmargin.service.store.database import Database
from zkmargin.verifier.facts.snapshot_signature import SCHEMA, TOKEN_TYPE, SnapshotSignature

DATABASES = ("sqlite", "postgresql")
#: What a refused request may leave: its nonce, its refusal under its key, and the count of a venue's false proofs. The
#: server signs the log's head anew when it will.
VOLATILE = {"nonces": None, "venues": {"failed_proofs"}, "tree_heads": {"time", "document"}}


@contextmanager
def fresh_url(kind: str, directory: Path) -> Iterator[str]:
    """An empty database. Without a PostgreSQL its half of a test is skipped, visibly; under CI it fails."""
    if kind == "sqlite":
        yield sqlite_url(directory)
        return
    urls = postgres_url()
    try:
        url = next(urls)
    except psycopg.OperationalError as err:
        why = f"no PostgreSQL for the tests ({type(err).__name__}); ZKMARGIN_TEST_POSTGRES names one"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    try:
        yield url
    finally:
        next(urls, None)


def rows_of(tx: Connection, table: Any) -> list[tuple[Any, ...]]:
    """All rows of a table, without its volatile columns, in the order of their primary keys."""
    skipped = VOLATILE.get(table.name, set()) or set()
    chosen = [column for column in table.columns if column.name not in skipped]
    query = select(*chosen).order_by(*table.primary_key.columns)
    if table.name == "idempotency":
        query = query.where(table.c.status != REFUSED)
    return [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in tx.execute(query)]


def ledger_digest(database: Database) -> str:
    """One digest of every table except nonces: equal digests mean that nothing changed."""

    def unit(tx: Connection) -> str:
        out = hashlib.sha256()
        for table in tables.metadata.sorted_tables:
            if table.name != "nonces":
                out.update(repr((table.name, rows_of(tx, table))).encode())
        return out.hexdigest()

    return database.consistent(unit)


@dataclass
class World:
    """A hub at work in this process, and its clock."""

    session: Session
    snapshot: Snapshot
    clock: Clock

    @property
    def hub(self) -> Hub:
        """The hub."""
        return self.session.hub

    @property
    def ledger(self) -> Ledger:
        """The running application's own ledger."""
        return hub_of(self.session.http).hub.get().ledger

    def digest(self) -> str:
        """Of the ledger."""
        return ledger_digest(self.hub.database)

    @contextmanager
    def later(self, seconds: int) -> Iterator[None]:
        """The clock of hub and callers turned forward, and back afterwards."""
        self.clock.now += seconds
        try:
            yield
        finally:
            self.clock.now -= seconds

    def refused(
        self, code: str, status: int, caller: str | None, method: str, path: str, body: Tree | None = None, **o: Any
    ) -> Tree:
        """A call that must be refused with this problem, with its remedy, and change nothing."""
        before = self.digest()
        tree = self.session.refused(code, caller, method, path, body, **o)
        self.is_problem(tree, code, status)
        assert self.digest() == before, "a refused call changed the ledger"
        return tree

    @staticmethod
    def is_problem(tree: Tree, code: str, status: int) -> None:
        """The document is this problem, complete."""
        assert (tree["code"], tree["status"], tree["type"]) == (code, status, f"/v1/problems/{code}"), tree
        assert len(tree["remedy"]) > 10
        assert tree["title"]


#: Of the accounts of one jurisdiction, whose statements must carry it.
OVERLAYS = {"retail": [{"type": "minimum-equity", "amount": "10"}]}


def snapshot_at(now: int, *, marks: dict[str, str] | None = None, **changes: Any) -> Snapshot:
    """A snapshot with an overlay set; ``marks`` replaces marks by instrument."""
    tree = json.loads(hub_snapshot(now).to_bytes())
    tree["rule"]["overlays"] = OVERLAYS
    for line in tree["instruments"]:
        line["mark"] = (marks or {}).get(line["id"], line["mark"])
    return load_snapshot(tree | changes)


def publish_body(snapshot: Snapshot, key: Ed25519PrivateKey, *, oracle: str = "feed", valid: int = DAY) -> Tree:
    """A snapshot signed by an oracle, to be published."""
    fact = SnapshotSignature(oracle, snapshot.digest, snapshot.time, snapshot.time + valid)
    signed = sign_document(fact.payload(), key, schema=SCHEMA, token_type=TOKEN_TYPE)
    return {"snapshot": json.loads(snapshot.to_bytes()), "signed": json.loads(signed)}


@contextmanager
def started(url: str, **settings: Any) -> Iterator[World]:
    """A hub with its first snapshot published, on a clock of its own. It never sweeps by itself."""
    hub = Hub(url, **({"sweep_seconds": 3600} | settings))
    clock = Clock(int(time.time()))
    hub.ledger.clock = clock
    snapshot = snapshot_at(clock.now - 5)
    try:
        with hub.client() as http:
            session = Session(hub, http, clock)
            world = World(session, snapshot, clock)
            world.ledger.clock = clock
            session.publish(snapshot)
            yield world
    finally:
        hub.database.close()
