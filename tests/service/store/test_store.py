"""Encryption at rest, migrations and transactions, on both databases."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import OperationalError

from tests.support.ledgers import DATABASES, fresh_url
from zkmargin.circuits.errors import CorruptData, MalformedInput, StatementMismatch
from zkmargin.service.keys.vault import Vault, new_key, parse_keys, vault
from zkmargin.service.ledger import idempotency
from zkmargin.service.ledger.configured import open_ledger
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.refusals import Conflict, Unavailable
from zkmargin.service.settings import Settings
from zkmargin.service.store.database import Database, Waits
from zkmargin.service.store.migrate import _config, expect_current, revision, upgrade
from zkmargin.service.store.tables import metadata

RING = vault([new_key(), new_key()])


@given(st.binary(max_size=2000), st.text(max_size=40))
def test_what_is_sealed_opens_for_its_purpose_only(plain: bytes, purpose: str) -> None:
    sealed = RING.seal(plain, purpose=purpose)
    assert RING.open(sealed, purpose=purpose) == plain
    assert len(plain) < 8 or plain not in sealed
    assert sealed != RING.seal(plain, purpose=purpose)
    with pytest.raises(CorruptData):
        RING.open(sealed, purpose=purpose + "x")


@given(st.binary(min_size=1, max_size=60), st.data())
def test_any_changed_byte_is_noticed(plain: bytes, data: st.DataObject) -> None:
    sealed = bytearray(RING.seal(plain, purpose="p"))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CorruptData):
        RING.open(bytes(sealed), purpose="p")


@given(st.binary(max_size=80))
def test_bytes_that_are_not_sealed_are_refused(junk: bytes) -> None:
    with pytest.raises(CorruptData):
        RING.open(junk, purpose="p")


def test_an_older_key_of_the_ring_opens_and_the_first_seals() -> None:
    old = Vault(RING.keys[1:])
    sealed = old.seal(b"x", purpose="p")
    assert RING.open(sealed, purpose="p") == b"x"
    assert not RING.current(sealed)
    assert RING.current(RING.seal(b"x", purpose="p"))
    with pytest.raises(CorruptData):
        old.open(RING.seal(b"x", purpose="p"), purpose="p")


@pytest.mark.parametrize("bad", ["", "00", "g" * 64, "A" * 64, "0" * 65])
def test_a_bad_keyring_is_refused_without_being_quoted(bad: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        parse_keys(bad)
    assert len(bad) < 3 or bad not in str(caught.value)


def test_a_keyring_shows_no_key() -> None:
    assert RING.keys[0].secret.hex() not in repr(RING) + repr(RING.keys[0])


@pytest.mark.parametrize("url", ["", "mysql://h/d", "sqlite://", "sqlite:///:memory:", "postgresql"])
def test_a_database_that_cannot_serve_is_refused(url: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        Database(url)
    assert caught.value.field == "database"


@pytest.mark.parametrize("kind", DATABASES)
def test_the_migrations_make_exactly_the_tables(kind: str, tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with fresh_url(kind, tmp_path) as url:
        database = Database(url)
        with pytest.raises(StatementMismatch):
            expect_current(database)
        upgrade(database)
        upgrade(database)
        expect_current(database)
        with database.engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        database.close()


@pytest.mark.parametrize("kind", DATABASES)
def test_transactions_are_whole_repeat_on_locks_and_tell_lost_races(kind: str, tmp_path: Path) -> None:
    with fresh_url(kind, tmp_path) as url:
        database = Database(url)
        database.write(lambda tx: tx.execute(text("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)")))
        database.write(lambda tx: tx.execute(text("INSERT INTO t VALUES (1, 0)")))

        def half(tx: Connection) -> None:
            tx.execute(text("UPDATE t SET n = 99"))
            raise RuntimeError

        with pytest.raises(RuntimeError):
            database.write(half)
        with pytest.raises(Conflict):
            database.write(lambda tx: tx.execute(text("INSERT INTO t VALUES (1, 1)")))

        def bump(tx: Connection) -> None:
            query = "SELECT n FROM t" if database.sqlite else "SELECT n FROM t FOR UPDATE"
            held = tx.execute(text(query)).scalar_one()
            tx.execute(text("UPDATE t SET n = :n"), {"n": held + 1})

        def worker() -> None:
            for _ in range(10):
                database.write(bump)

        threads = [threading.Thread(target=worker) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert database.read(lambda tx: tx.execute(text("SELECT n FROM t")).scalar_one()) == 80
        database.close()


def test_a_broken_connection_is_made_anew(tmp_path: Path) -> None:
    with fresh_url("postgresql", tmp_path) as url:
        database = Database(url)
        killer = Database(url)
        runs: list[int] = []

        def work(tx: Connection) -> int:
            runs.append(1)
            pid = tx.execute(text("SELECT pg_backend_pid()")).scalar_one()
            if len(runs) == 1:
                killer.write(lambda other: other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid}))
            return int(tx.execute(text("SELECT 7")).scalar_one())

        assert database.write(work) == 7
        assert len(runs) == 2
        database.close()
        killer.close()


@pytest.mark.parametrize("kind", DATABASES)
def test_answers_given_before_claims_are_told_after_the_migration(kind: str, tmp_path: Path) -> None:
    """And undoing the migration keeps them, without what the earlier version would take for an answer."""
    ring = vault([new_key()])
    request = b"\x07" * 32
    sealed = ring.seal(b'{"a":"1"}', purpose="idempotency/venue/v/k")
    row = "INSERT INTO idempotency (caller, key, request, status, sealed, created) VALUES (:c, :k, :r, 201, :s, 0)"
    with fresh_url(kind, tmp_path) as url:
        database = Database(url)
        with database.engine.connect() as connection:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "0001")
            connection.execute(text(row), {"c": "venue/v", "k": "k", "r": request.hex(), "s": sealed})
            connection.commit()
        with pytest.raises(StatementMismatch):
            expect_current(database)
        upgrade(database)
        expect_current(database)
        ledger = Ledger(database, ring, "hub-1", "USD", 2)
        never = lambda tx: pytest.fail("was done again")  # noqa: E731
        assert idempotency.once(ledger, "venue/v", "k", request, never) == ({"a": "1"}, True)
        idempotency.claim(ledger, idempotency.Call("venue/v", "claimed", request), lambda tx: None)
        with database.engine.connect() as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, "0001")
            left = connection.execute(text("SELECT key, status FROM idempotency")).all()
            connection.commit()
        assert [tuple(found) for found in left] == [("k", 201)]
        database.close()


class Interrupted(Exception):
    """The process ends here."""


def run_to(database: Database, target: str) -> None:
    """Migrations up to a revision in no transaction of ours, as they were run."""
    with database.engine.connect() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, target)
        connection.commit()


def interrupted(database: Database, at: int, run: Callable[[], None]) -> bool:
    """Run until the statement of this number, and end there; whether it came so far."""
    seen = 0

    def count(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen > at:
            raise Interrupted

    event.listen(database.engine, "before_cursor_execute", count)
    try:
        run()
    except Interrupted:
        return True
    finally:
        event.remove(database.engine, "before_cursor_execute", count)
    return False


@pytest.mark.slow
@pytest.mark.parametrize("begin", [None, "0001"])
@pytest.mark.parametrize("kind", DATABASES)
def test_an_interrupted_migration_leaves_all_as_it_was(kind: str, begin: str | None, tmp_path: Path) -> None:
    """Wherever it ends, of a new database and of an earlier one."""
    with fresh_url(kind, tmp_path) as url:
        database = Database(url)
        if begin is not None:
            run_to(database, begin)
        at = 0
        while interrupted(database, at, lambda: upgrade(database)):
            assert revision(database) == begin
            at += 1 if begin else 5
        assert at > 3
        expect_current(database)
        database.close()


def test_control_without_a_transaction_it_can_never_be_finished(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'hub.db'}")
    run_to(database, "0001")
    assert interrupted(database, 3, lambda: run_to(database, "head"))
    with pytest.raises(OperationalError, match="duplicate column"):
        run_to(database, "head")
    database.close()


@pytest.mark.parametrize(
    ("kind", "held"),
    [
        ("sqlite", "DELETE FROM idempotency"),
        ("postgresql", "SELECT 1 FROM idempotency"),
        ("postgresql", "SELECT pg_advisory_xact_lock(2053860705)"),
    ],
    ids=["writer", "reader", "another migration"],
)
def test_a_migration_beside_others_says_that_they_are_at_work(kind: str, held: str, tmp_path: Path) -> None:
    with fresh_url(kind, tmp_path) as url:
        other, database = Database(url), Database(url, waits=Waits(lock=0.1))
        run_to(other, "0001")
        with other.engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE" if kind == "sqlite" else "SELECT 1")
            connection.exec_driver_sql(held)
            with pytest.raises(Unavailable, match="stop the service"):
                upgrade(database)
            connection.rollback()
        upgrade(database)
        expect_current(database)
        for each in (other, database):
            each.close()


@pytest.mark.parametrize("kind", DATABASES)
def test_what_is_no_ledger_is_not_made_one_and_says_how(kind: str, tmp_path: Path) -> None:
    """By opening it, by serving it, or by a command beside it."""
    with fresh_url(kind, tmp_path) as url:
        database = Database(url)
        with pytest.raises(StatementMismatch) as told:
            expect_current(database)
        assert "hub init" in told.value.message
        with pytest.raises(StatementMismatch):
            open_ledger(Settings(role="hub", database_url=SecretStr(url)), server=True)
        assert list(tmp_path.iterdir()) == []
        database.close()


@pytest.mark.parametrize("url", ["sqlite:////proc/none/hub.db", "postgresql://u:secret@127.0.0.1:1/none"])
def test_a_database_that_cannot_be_opened_is_unavailable_and_not_quoted(url: str) -> None:
    database = Database(url)
    with pytest.raises(Unavailable) as told:
        upgrade(database)
    assert "secret" not in told.value.message
    assert told.value.exit_code == 13


# Time-outs of PostgreSQL.


def elapsed(work: Callable[[], object], error: type[Exception] | None) -> float:
    """Seconds until the work ended, in this error."""
    begin = time.monotonic()
    if error is None:
        work()
    else:
        with pytest.raises(error):
            work()
    return time.monotonic() - begin


def test_waits_for_postgresql_are_bounded(tmp_path: Path) -> None:
    """A lock that is not given back, a statement without end, a transaction that stands still."""
    with fresh_url("postgresql", tmp_path) as url:
        patient, database = Database(url), Database(url, waits=Waits(lock=0.2, statement=0.5, idle=0.3))
        patient.write(lambda tx: tx.execute(text("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)")))
        patient.write(lambda tx: tx.execute(text("INSERT INTO t VALUES (1, 0)")))
        with patient.engine.connect() as holder:
            holder.execute(text("SELECT 1 FROM t WHERE id = 1 FOR UPDATE"))
            bump = text("UPDATE t SET n = n + 1 WHERE id = 1")
            assert 0.2 <= elapsed(lambda: database.write(lambda tx: tx.execute(bump)), Unavailable) < 3
            lock = text("SELECT id FROM t WHERE id = 1 FOR UPDATE")
            assert not database.lockable(lock, 0.1)
            holder.rollback()
            assert database.lockable(lock, 0.1)
        sleep = text("SELECT pg_sleep(20)")
        assert 0.5 <= elapsed(lambda: database.write(lambda tx: tx.execute(sleep)), Unavailable) < 3
        runs: list[int] = []

        def stands_still(tx: Connection) -> None:
            runs.append(1)
            tx.execute(bump)
            if len(runs) == 1:
                time.sleep(0.6)
                # Its lock is free already, before it knows.
                patient.write(lambda other: other.execute(bump))

        database.write(stands_still)
        assert len(runs) == 2
        assert patient.read(lambda tx: tx.execute(text("SELECT n FROM t")).scalar_one()) == 2
        # What reads the whole ledger at one moment may take its time, in a statement and between two.
        database.consistent(lambda tx: (time.sleep(0.5), tx.execute(text("SELECT pg_sleep(0.8)"))))
        patient.close()
        database.close()
