"""Encryption at rest, migrations and transactions, on both databases."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from circuits.errors import CorruptData, MalformedInput, StatementMismatch
from service.refusals import Conflict
from service.store.database import Database
from service.store.migrate import expect_current, upgrade
from service.store.tables import metadata
from service.store.vault import Vault, new_key, parse_keys, vault

from .ledger_support import DATABASES, fresh_url

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
