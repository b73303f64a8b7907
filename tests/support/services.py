"""A verifier service for tests: a snapshot of now, by the machine's clock, and one account with signed documents."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.support import toy
from tests.support.places import ROOT
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.prover.documents import proof_bytes
from zkmargin.prover.prove import prove
from zkmargin.service.http.app import create_app
from zkmargin.service.http.hub_context import HubService
from zkmargin.service.keys import signing
from zkmargin.service.settings import Settings, load_settings
from zkmargin.service.verification.jobs import VerifyJob
from zkmargin.verifier.facts.attestation import Attestation

Tree = dict[str, Any]
T = TypeVar("T")
HUB_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ORACLE_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


def raw(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()


def pem(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@lru_cache
def fresh_snapshot() -> Snapshot:
    """In force now, by the machine's clock, which is the service's."""
    return toy.load_snapshot(toy.snapshot_tree(4, 3) | {"time": int(time.time())})


@lru_cache
def account() -> toy.Account:
    return toy.open_account(fresh_snapshot(), toy.portfolio(4))


@lru_cache
def request_text(amount: str = "10", **changes: Any) -> str:
    snap, held = fresh_snapshot(), account()
    context = toy.statement_tree(snap, held.commitment)["context"] | {"expiry": snap.time + 3000}
    statement = held.statement(amount=amount, context=context, **changes)
    fact = Attestation("hub-1", "alice", 7, held.commitment, toy.DOMAIN, snap.registry_digest, snap.time)
    tree = {
        "statement": json.loads(statement.to_bytes()),
        "proof": json.loads(proof_bytes(statement, prove(statement, snap, held.opening))),
        "attestation": json.loads(signing.sign_attestation(fact, HUB_KEY)),
        "snapshot": json.loads(snap.to_bytes()),
        "hub_key": raw(HUB_KEY),
    }
    return json.dumps(tree)


def request(amount: str = "10") -> Tree:
    """A call that must be found valid: a fresh copy, to be spoiled."""
    tree: Tree = json.loads(request_text(amount))
    return tree


def false_proof(amount: str = "10") -> Tree:
    """A well-formed proof that does not hold: one scalar of it is another."""
    tree = request(amount)
    proof = tree["proof"]["proof"]
    tree["proof"]["proof"] = proof[:-2] + ("00" if proof[-2:] != "00" else "01")
    return tree


def job(tree: Tree, *, with_snapshot: bool = True) -> VerifyJob:
    """The same documents for the pool."""

    def document(name: str) -> bytes:
        return json.dumps(tree[name]).encode()

    return VerifyJob(
        statement=document("statement"),
        proof=document("proof"),
        attestation=document("attestation"),
        snapshot=document("snapshot") if with_snapshot else None,
        hub_keys=(bytes.fromhex(raw(HUB_KEY)),),
    )


def settings(**given: Any) -> Settings:
    chosen: dict[str, Any] = {"pool_processes": 1, "log_level": "error"} | given
    return load_settings(**chosen)


def hub_of(http: object) -> HubService:
    """What the calls share of the hub behind a test client."""
    assert isinstance(http, TestClient)
    app = http.app
    assert isinstance(app, FastAPI)
    service = app.state.service
    assert isinstance(service, HubService)
    return service


def serve(app: FastAPI, use: Callable[[httpx2.AsyncClient], Coroutine[Any, Any, T]]) -> T:
    """Run the application with its life cycle, and a client of it, in this process."""

    async def main() -> T:
        async with app.router.lifespan_context(app):
            transport = httpx2.ASGITransport(app, raise_app_exceptions=True)
            async with httpx2.AsyncClient(transport=transport, base_url="http://service") as client:
                return await use(client)

    return asyncio.run(main())


def call(
    method: str, path: str, *, given: dict[str, Any] | None = None, app: FastAPI | None = None, **arguments: Any
) -> httpx2.Response:
    """One request to an application without its pool (for everything but verification)."""

    async def main() -> httpx2.Response:
        transport = httpx2.ASGITransport(app or create_app(settings(**(given or {}))), raise_app_exceptions=True)
        async with httpx2.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.request(method, path, **arguments)

    return asyncio.run(main())


@contextmanager
def running(log: Path, *, workers: int = 1) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A real server on a free port, logging to a file: its process and address, once it is ready."""
    environment = os.environ | {"ZKMARGIN_POOL_PROCESSES": "1"}
    command = [sys.executable, "-m", "zkmargin", "serve", "--port", "0", "--workers", str(workers)]
    with log.open("wb") as out:
        server = subprocess.Popen(command, cwd=ROOT, stderr=out, env=environment)
    try:
        while log.read_text().count('"ready"') < workers:
            assert server.poll() is None, log.read_text()
            time.sleep(0.02)
        found = re.search(r'"port": (\d+)', log.read_text())
        assert found
        yield server, f"http://127.0.0.1:{found[1]}"
    finally:
        server.kill()
        server.wait()


def is_problem(answer: httpx2.Response, status: int, code: str, field: str | None = None) -> None:
    """The answer is exactly this problem, and complete."""
    tree = answer.json()
    assert (answer.status_code, tree["code"], tree.get("field")) == (status, code, field), tree
    assert answer.headers["content-type"] == "application/problem+json"
    assert tree["type"] == f"/v1/problems/{code}"
    assert tree["status"] == status
    assert tree["instance"].endswith(answer.headers["x-request-id"])
    assert tree["title"]
    assert tree["remedy"]
