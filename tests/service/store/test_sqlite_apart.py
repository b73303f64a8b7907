"""One SQLite file: checkpoints and writers are kept apart, several server processes are refused where SQLite may lose a
transaction between them, and a process that stands still with the write lock blocks nobody without end.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from tests.support.hubs import Hub, sqlite_url
from tests.support.ledgers import World, started
from zkmargin.circuits.errors import MalformedInput
from zkmargin.service.ledger.configured import expect_servable
from zkmargin.service.refusals import Conflict, Unavailable
from zkmargin.service.settings import Settings
from zkmargin.service.store import database as databases
from zkmargin.service.store.database import Database, Waits
from zkmargin.service.store.sqlite import has_wal_reset_fix

pytestmark = pytest.mark.slow

OPS = "operator/ops"
QUICK = Waits(lock=0.3)
#: As a command of an operator that stands still in its transaction.
HOLDER = """
import sqlite3, sys, time
c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20)
c.execute("BEGIN IMMEDIATE"); print("held", flush=True); time.sleep(600)
"""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(sqlite_url(tmp_path), waits=QUICK)
    made.write(lambda tx: tx.execute(text("CREATE TABLE t (n INTEGER)")))
    yield made
    made.close()


@contextmanager
def held_by_a_stopped_process(path: str) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        os.kill(holder.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            holder.kill()


def path_of(database: Database) -> str:
    return str(database.engine.url.database)


# Which SQLite has the fix.


@pytest.mark.parametrize(
    ("version", "fixed"),
    [
        ((3, 7, 0), False), ((3, 40, 1), False), ((3, 44, 5), False), ((3, 44, 6), True), ((3, 44, 9), True),
        ((3, 45, 0), False), ((3, 46, 1), False), ((3, 50, 6), False), ((3, 50, 7), True), ((3, 51, 0), False),
        ((3, 51, 2), False), ((3, 51, 3), True), ((3, 53, 0), True), ((4, 0, 0), True),
    ],
)  # fmt: skip
def test_releases_with_the_fix(version: tuple[int, int, int], fixed: bool) -> None:
    assert has_wal_reset_fix(version) is fixed


# Checkpoints.


def test_a_checkpoint_runs_only_while_nobody_writes(database: Database) -> None:
    """Whoever writes: another thread, another pool of this process, or a command in a process of its own."""
    log = Path(path_of(database) + "-wal")
    insert = text("INSERT INTO t VALUES (1)")
    database.write(lambda tx: tx.execute(insert))
    other = Database(str(database.engine.url), waits=QUICK)
    for writer in (database, other):
        inside, go = threading.Event(), threading.Event()

        def slow(tx: databases.Connection, inside: threading.Event = inside, go: threading.Event = go) -> None:
            tx.execute(insert)
            inside.set()
            assert go.wait(20)

        thread = threading.Thread(target=writer.write, args=(slow,))
        thread.start()
        assert inside.wait(20)
        size = log.stat().st_size
        assert not database.checkpoint()
        assert log.stat().st_size == size > 0
        go.set()
        thread.join()
    assert database.checkpoint()
    assert log.stat().st_size == 0
    other.close()


def test_sqlite_itself_checkpoints_beside_a_writer(database: Database) -> None:
    """Control: after the busy time-out its own checkpoint copies pages while another connection writes."""
    database.write(lambda tx: tx.execute(text("INSERT INTO t VALUES (1)")))
    with held_by_a_stopped_process(path_of(database)):
        plain = sqlite3.connect(path_of(database), isolation_level=None, timeout=0.1)
        busy, frames, copied = plain.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        plain.close()
        assert busy == 1
        assert copied == frames > 0


def test_writers_wait_for_a_checkpoint_of_another_process_and_no_longer_than_they_may(database: Database) -> None:
    other = Database(str(database.engine.url), waits=QUICK)
    assert other._guard is not None
    with other._guard.checkpointing() as quiet:
        assert quiet
        begin = time.monotonic()
        with pytest.raises(Unavailable):
            database.write(lambda tx: tx.execute(text("INSERT INTO t VALUES (1)")))
        assert QUICK.lock <= time.monotonic() - begin < QUICK.lock + 2
    database.write(lambda tx: tx.execute(text("INSERT INTO t VALUES (1)")))
    other.close()


# Several server processes.


def settings(url: str, **more: int) -> Settings:
    return Settings(role="hub", database_url=SecretStr(url), **more)


def test_a_second_server_process_is_refused_below_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And by another name of the same file; commands and readers are not servers."""
    monkeypatch.setattr(databases, "has_wal_reset_fix", lambda version: False)
    url = sqlite_url(tmp_path)
    hub = Hub(url)
    (tmp_path / "alias.db").symlink_to(tmp_path / "hub.db")
    with hub.client():
        for name in (url, f"sqlite:///{tmp_path}/alias.db"):
            with pytest.raises(Conflict) as refused:
                expect_servable(settings(name))
            assert refused.value.field == "database_url"
        hub.database.write(lambda tx: tx.execute(text("UPDATE hub SET decimals = decimals")))
    expect_servable(settings(url))
    with pytest.raises(MalformedInput) as several:
        expect_servable(settings(url, workers=2))
    assert several.value.field == "workers"
    assert "PostgreSQL" in several.value.message
    hub.database.close()


def test_with_the_fix_several_may_serve_and_a_migration_waits_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "has_wal_reset_fix", lambda version: True)
    hub = Hub(sqlite_url(tmp_path))
    with hub.client(), hub.client():
        expect_servable(settings(hub.url, workers=2))
        with pytest.raises(Conflict):
            hub.database.claim_server(alone=True)
    hub.database.claim_server(alone=True)
    hub.database.close()


@pytest.mark.parametrize("command", ["hub migrate", "serve --role hub --port 0"])
def test_commands_say_that_a_server_is_there(command: str, tmp_path: Path) -> None:
    hub = Hub(sqlite_url(tmp_path))
    hub.database.claim_server(alone=True)
    keys = ",".join(k.secret.hex() for k in hub.ring.keys)
    environment = os.environ | {"ZKMARGIN_DATABASE_URL": hub.url, "ZKMARGIN_STORAGE_KEYS": keys}
    words = [sys.executable, "-m", "zkmargin", *command.split()]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, "another server process" in done.stderr) == (12, True), done.stderr
    assert "Traceback" not in done.stderr
    hub.database.close()


# A process that stands still with the lock.


def test_a_stopped_holder_of_the_write_lock_costs_everybody_little_and_readiness_says_so(tmp_path: Path) -> None:
    """Many callers at once: each is told ``unavailable`` soon, though few threads wait for the lock."""
    with started(sqlite_url(tmp_path), database_lock_timeout=0.3) as world:
        world.session.venue("spoke-a")
        path = path_of(world.hub.database)
        with held_by_a_stopped_process(path):
            begin = time.monotonic()
            assert not ready(world)
            with ThreadPoolExecutor(30) as pool:
                answers = list(pool.map(lambda _: suspend(world), range(30)))
            assert answers == ["unavailable"] * 30
            assert time.monotonic() - begin < 12
        assert suspend(world) == ""
        wait_until(lambda: ready(world))


def suspend(world: World) -> str:
    answer = world.session.call(OPS, "POST", "/v1/venues/spoke-a/suspend", key=secrets.token_hex(8))
    return str(answer.json().get("code", ""))


def ready(world: World) -> bool:
    answer = world.session.http.get("/health/ready")
    if answer.status_code != 200:
        tree = json.loads(answer.text)
        assert (answer.status_code, tree["code"], tree["field"]) == (503, "not-ready", "database")
    return answer.status_code == 200


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_probes_look_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    real = Database.lockable

    def counted(self: Database, *arguments: object) -> bool:
        looks.append(time.monotonic())
        return real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Database, "lockable", counted)
    with started(sqlite_url(tmp_path)) as world:
        begin = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(lambda _: ready(world), range(100)))
        assert 1 <= len(looks) <= 1 + (time.monotonic() - begin)
