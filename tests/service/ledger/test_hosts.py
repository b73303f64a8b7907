"""Several server processes, on ports of their own as on several hosts, share one PostgreSQL; and a graceful end."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import psycopg
import pytest

from tests.support.hubs import Hub, Session, hub_snapshot, postgres_url
from tests.support.servers import Caller, ServerProcess, call

pytestmark = pytest.mark.slow


@pytest.fixture
def hub() -> Iterator[Hub]:
    for url in postgres_url():
        made = Hub(url)
        yield made
        made.database.close()


def server(hub: Hub, directory: Path, *, workers: int = 1) -> ServerProcess:
    keys = ",".join(key.secret.hex() for key in hub.ring.keys)
    environment = {
        "ZKMARGIN_ROLE": "hub", "ZKMARGIN_DATABASE_URL": hub.url, "ZKMARGIN_STORAGE_KEYS": keys,
        "ZKMARGIN_POOL_PROCESSES": "1",
    }  # fmt: skip
    made = ServerProcess(environment, directory, workers=workers)
    made.start()
    return made


def caller(hub: Hub, name: str, *servers: ServerProcess) -> Caller:
    return Caller(hub.signers[name].key.private_bytes_raw(), "hub-1", [s.port for s in servers], Random(1))


def prepared(hub: Hub, port: int) -> dict[str, Any]:
    """A credit request on a fresh account."""
    snapshot = hub_snapshot(hub.now - 5, instruments=3, scenarios=2)
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
        session = Session(hub, http)
        session.publish(snapshot)
        session.venue("spoke-a")
        session.account("alice")
        return session.credit_body("alice", snapshot, venue="spoke-a", amount="300")


def test_what_one_host_answers_every_other_knows_at_once(hub: Hub, tmp_path: Path) -> None:
    servers = [server(hub, tmp_path, workers=2), server(hub, tmp_path)]
    try:
        for one in servers:
            one.wait_ready()
        body, key = prepared(hub, servers[0].port), secrets.token_hex(8)
        here, there = (caller(hub, "venue/spoke-a", one) for one in servers)
        status, credit = here.once("POST", "/v1/credits", body, key)
        assert status == 201
        for _ in range(4):  # whichever of its server processes answers
            for other in (there, here):
                assert other.once("GET", f"/v1/credits/{credit['credit']}")[1]["entry"] == credit["entry"]
                assert other.once("POST", "/v1/credits", body, key) == (201, credit)
                status, refused = other.once("POST", "/v1/credits", body, secrets.token_hex(8))
                assert (status, refused["code"]) == (409, "stale-epoch")
        holder = caller(hub, "account/alice", servers[1])
        assert holder.once("GET", "/v1/accounts/alice")[1]["live_credit"] == "300"
        # A nonce is used up everywhere.
        headers = here.headers("GET", "/v1/credits", b"", None)
        assert call(servers[0].port, "GET", "/v1/credits", headers=headers)[0] == 200
        status, refused = call(servers[1].port, "GET", "/v1/credits", headers=headers)
        assert (status, refused["code"]) == (409, "request-replayed")
        for one in servers:
            assert one.stop() == 0
    finally:
        for one in servers:
            one.kill()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_graceful_end_finishes_what_is_in_progress(hub: Hub, tmp_path: Path, workers: int) -> None:
    one = server(hub, tmp_path, workers=workers)
    try:
        one.wait_ready()
        body, key = prepared(hub, one.port), secrets.token_hex(8)
        venue, answers = caller(hub, "venue/spoke-a", one), []
        asking = threading.Thread(target=lambda: answers.append(venue.once("POST", "/v1/credits", body, key)))
        with psycopg.connect(hub.url) as other, psycopg.connect(hub.url, autocommit=True) as watch:
            other.execute("SELECT 1 FROM accounts FOR UPDATE")
            asking.start()
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            while not watch.execute(waiting).fetchall()[0][0]:  # the request waits in its transaction
                time.sleep(0.01)
            one.terminate()
            time.sleep(1)
            assert one.running
            assert not answers
            other.rollback()
        asking.join(30)
        (status, credit), code = answers[0], one.wait()
        assert (status, code) == (201, 0)
        events = [json.loads(line).get("event") for line in one.log.read_text().splitlines()]
        assert "stopping" in events
    finally:
        one.kill()
    credits = hub.database.read(lambda tx: tx.exec_driver_sql("SELECT id FROM credits").scalars().all())
    assert credits == [credit["credit"]]
