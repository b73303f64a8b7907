"""Servers that stand still in the middle of a call, real processes on one PostgreSQL: what others are told meanwhile,
that the ledger goes on, and what becomes of the call when its server wakes.

A lock that the test holds brings a server to a known place, where it is stopped (SIGSTOP) before the lock is let go.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import psycopg
import pytest

from tests.support.hubs import Hub, Session, hub_snapshot, postgres_url
from tests.support.servers import SERVE, Caller, ServerProcess, call
from tests.support.toy import Tree
from zkmargin.circuits.snapshot import Snapshot

pytestmark = pytest.mark.slow

VENUE, OPS = "venue/spoke-a", "operator/ops"
#: Short, so that the tests are; a stopped server's transaction lives no longer than IDLE.
LOCK, IDLE, CLAIM = 1.0, 3.0, 1
BROKEN = ("-m", "tests.support.broken_hub")


@dataclass
class Pair:
    """Two servers of one hub, and the test's own connection to their database."""

    hub: Hub
    servers: list[ServerProcess]
    snapshot: Snapshot
    session: Session
    threads: list[threading.Thread] = field(default_factory=list)

    def account(self) -> str:
        """A fresh account with cash."""
        name = f"a{secrets.token_hex(4)}"
        self.session.account(name)
        return name

    def caller(self, name: str, server: int) -> Caller:
        """Of one of the servers."""
        key = self.hub.signers[name].key.private_bytes_raw()
        return Caller(key, "hub-1", [self.servers[server].port], Random(1))

    def credits(self, account: str) -> list[str]:
        """Ids in the database."""
        with psycopg.connect(self.hub.url) as db:
            return [row[0] for row in db.execute("SELECT id FROM credits WHERE account = %s", [account])]

    def ready(self, server: int) -> bool:
        """What its supervisor is told."""
        return call(self.servers[server].port, "GET", "/health/ready")[0] == 200

    @contextmanager
    def stopped(self, lock: str, values: list[Any], body: Tree, key: str) -> Iterator[dict[str, Any]]:
        """The first server, stopped in a credit request where it waits for ``lock``; gives what it answers in the end,
        after it was woken.
        """
        process, told = self.servers[0].process, dict[str, Any]()
        assert process is not None

        def ask() -> None:
            told["status"], told["answer"] = self.caller(VENUE, 0).once("POST", "/v1/credits", body, key)

        asking = threading.Thread(target=ask)
        with psycopg.connect(self.hub.url) as other, psycopg.connect(self.hub.url, autocommit=True) as watch:
            other.execute(lock, values)
            asking.start()
            waiting = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            while not watch.execute(waiting).fetchall()[0][0]:
                assert asking.is_alive(), told
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGSTOP)
            other.rollback()
        try:
            yield told
        finally:
            os.kill(process.pid, signal.SIGCONT)
            asking.join(60)
        assert not asking.is_alive()


@contextmanager
def pair(directory: Path, program: tuple[str, ...] = SERVE) -> Iterator[Pair]:
    for url in postgres_url():
        hub = Hub(url)
        environment = {
            "ZKMARGIN_ROLE": "hub", "ZKMARGIN_DATABASE_URL": url, "ZKMARGIN_POOL_PROCESSES": "1",
            "ZKMARGIN_STORAGE_KEYS": ",".join(key.secret.hex() for key in hub.ring.keys),
            "ZKMARGIN_DATABASE_LOCK_TIMEOUT": str(LOCK), "ZKMARGIN_DATABASE_IDLE_TIMEOUT": str(IDLE),
            "ZKMARGIN_CLAIM_SECONDS": str(CLAIM), "ZKMARGIN_SWEEP_SECONDS": "3600",
        }  # fmt: skip
        servers = [ServerProcess(environment, directory, program=program) for _ in range(2)]
        try:
            for one in servers:
                one.start()
            for one in servers:
                one.wait_ready()
            with httpx2.Client(base_url=f"http://127.0.0.1:{servers[1].port}", timeout=60) as http:
                session = Session(hub, http)
                snapshot = hub_snapshot(hub.now - 5, instruments=3, scenarios=2)
                session.publish(snapshot)
                session.venue("spoke-a")
                yield Pair(hub, servers, snapshot, session)
        finally:
            for one in servers:
                one.kill()
            hub.database.close()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair(tmp_path_factory.mktemp("two")) as made:
        yield made


#: Brings a server to the claim of a key, before it has looked at anything.
CLAIMING = "INSERT INTO idempotency (caller, key, request, status, sealed, created) VALUES (%s, %s, '', 200, '', 0)"
BOOKING = "SELECT 1 FROM accounts WHERE id = %s FOR UPDATE"


def refused_then_woken(two: Pair) -> tuple[tuple[int, str], tuple[int, Any], int]:
    """The first server stands before its claim; the retry is refused, since the account is frozen; then it is not
    frozen any more, and the first server wakes. What the retry was told, what the first try was, credits booked.
    """
    account, key = two.account(), secrets.token_hex(8)
    body = two.session.credit_body(account, two.snapshot, venue="spoke-a", amount="300")
    with two.stopped(CLAIMING, [VENUE, key], body, key) as told:
        two.session.ok(OPS, "POST", f"/v1/accounts/{account}/freeze")
        status, answer, _ = two.caller(VENUE, 1).until_answered("POST", "/v1/credits", body, key)
        two.session.ok(OPS, "POST", f"/v1/accounts/{account}/unfreeze")
    return (status, answer["code"]), (told["status"], told["answer"].get("code")), len(two.credits(account))


def test_a_paused_first_try_never_books_what_its_retry_was_refused(two: Pair) -> None:
    frozen = (409, "account-frozen")
    assert refused_then_woken(two) == (frozen, frozen, 0)


def test_without_the_record_of_refusals_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control."""
    monkeypatch.setenv("RACE_FAULT", "refusals")
    with pair(tmp_path, BROKEN) as broken:
        assert refused_then_woken(broken) == ((409, "account-frozen"), (201, None), 1)


def test_a_server_paused_in_its_booking_is_overtaken_and_tells_the_same_credit(two: Pair) -> None:
    account, key = two.account(), secrets.token_hex(8)
    body = two.session.credit_body(account, two.snapshot, venue="spoke-a", amount="300")
    with two.stopped(BOOKING, [account], body, key) as told:
        other = two.caller(VENUE, 1)
        status, answer = other.once("POST", "/v1/credits", body, key)
        assert (status, answer["code"]) == (409, "request-in-progress")
        status, credit, _ = other.until_answered("POST", "/v1/credits", body, key)
        assert status == 201
        assert two.credits(account) == [credit["credit"]]
    assert (told["status"], told["answer"]) == (201, credit)
    assert two.credits(account) == [credit["credit"]]


def test_a_stopped_server_that_holds_the_log_blocks_bookings_for_seconds_and_readiness_says_so(two: Pair) -> None:
    accounts = [two.account() for _ in range(2)]
    bodies = [two.session.credit_body(name, two.snapshot, venue="spoke-a", amount="300") for name in accounts]
    assert two.ready(1)
    with two.stopped("SELECT 1 FROM log_state FOR UPDATE", [], bodies[0], secrets.token_hex(8)) as told:
        begin, answers = time.monotonic(), list[tuple[int, Any]]()
        booking = threading.Thread(
            target=lambda: answers.append(two.caller(VENUE, 1).once("POST", "/v1/credits", bodies[1], "other"))
        )
        booking.start()
        time.sleep(1.01)  # what readiness saw before is forgotten
        assert not two.ready(1)
        booking.join(60)
        assert answers[0][0] == 201, answers
        assert time.monotonic() - begin < IDLE + LOCK + 5
        while not two.ready(1):
            assert time.monotonic() - begin < IDLE + LOCK + 10
            time.sleep(0.05)
        assert two.ready(1)
    # Its transaction was undone, and it does it again.
    assert told["status"] == 201
    assert [len(two.credits(name)) for name in accounts] == [1, 1]


def test_one_request_sent_twice_at_once_beside_a_rival_is_told_one_thing(two: Pair) -> None:
    """At both servers, at random distances, while a deposit moves the account on: booked and told to both, or not."""
    account, rng, seen = two.account(), Random(8), set[int | str]()
    for number in range(10):
        body = two.session.credit_body(account, two.snapshot, venue="spoke-a", amount="10")
        key, before = secrets.token_hex(8), len(two.credits(account))
        told: list[tuple[int, Any]] = []

        def ask(server: int, delay: float, body: Tree = body, key: str = key, told: list[Any] = told) -> None:
            time.sleep(delay)
            status, answer, _ = two.caller(VENUE, server).until_answered("POST", "/v1/credits", body, key)
            told.append((status, answer.get("code"), answer.get("credit")))

        tries = [threading.Thread(target=ask, args=(server, rng.uniform(0, 0.03))) for server in (0, 1)]
        for one in tries:
            one.start()
        time.sleep(rng.uniform(0, 0.06))
        deposit = {"instrument": "QUOTE-0", "quantity": "1", "reference": f"r-{account}-{number}"}
        two.session.ok(OPS, "POST", f"/v1/accounts/{account}/deposits", deposit)
        for one in tries:
            one.join(60)
        assert len(told) == 2
        assert told[0] == told[1], told
        assert len(two.credits(account)) - before == (told[0][0] == 201)
        seen.add(told[0][0])
    assert seen <= {201, 409}
