"""Engine and transactions on SQLite (WAL) and PostgreSQL.

A unit of work is a function of a connection that may run more than once: it is repeated when the database says that
another transaction was in the way, or when the connection broke. A connection that breaks during COMMIT leaves the
outcome open, which repeating settles, since every change of this service names itself (idempotency key, sequence,
nonce).
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

from sqlalchemy import Connection, Engine, Executable, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from zkmargin.circuits.errors import MalformedInput
from zkmargin.service.refusals import Conflict, Unavailable
from zkmargin.service.store.sqlite import Busy, Guard, has_wal_reset_fix

T = TypeVar("T")
Kind = Literal["write", "exact", "apart", "read", "consistent"]
#: How often a unit of work is tried before the caller hears ``unavailable``.
TRIES = 6
#: PostgreSQL: serialization failure, deadlock, lock time-out, admin shutdown and crash, too many connections.
_RETRY_STATES = {"40001", "40P01", "55P03", "57P01", "57P02", "57P03", "53300"}
#: PostgreSQL: the statement's time is over. Another try would only take as long again.
_OVER = "57014"
#: Milliseconds that a checkpoint waits for readers, while writers wait for it.
_READERS_MS = 100


@dataclass(frozen=True)
class Waits:
    """How long to wait for the database, in seconds; 0 for a statement has no end.

    ``lock`` for another's lock, ``statement`` for one statement, ``idle`` for the next statement of a transaction: a
    process that is stopped in the middle holds its locks no longer than that, on PostgreSQL.
    """

    lock: float = 3.0
    statement: float = 30.0
    idle: float = 5.0

    @property
    def postgresql(self) -> dict[str, str | int]:
        """Arguments of a connection. A peer that vanished without a word is noticed in some ten seconds."""
        milliseconds = {
            "lock_timeout": self.lock, "statement_timeout": self.statement,
            "idle_in_transaction_session_timeout": self.idle,
        }  # fmt: skip
        chosen = {name: round(value * 1000) for name, value in milliseconds.items()}
        chosen |= {"tcp_keepalives_idle": 5, "tcp_keepalives_interval": 2, "tcp_keepalives_count": 3}
        return {
            "options": " ".join(f"-c {name}={value}" for name, value in chosen.items()),
            "connect_timeout": 5, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        }  # fmt: skip


#: Of commands beside the service: one statement may read the whole ledger.
COMMAND = Waits(lock=10.0, statement=0.0, idle=60.0)


def _configure_sqlite(milliseconds: int, connection: DBAPIConnection, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        # Checkpoints only by :meth:`Database.checkpoint`, which keeps writers away.
        "wal_autocheckpoint=0",
        f"busy_timeout={milliseconds}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


class Database:
    """One database. Safe to share between threads; made anew in each process."""

    def __init__(self, url: str, *, pool_size: int = 10, waits: Waits | None = None) -> None:
        """``sqlite:///FILE`` or ``postgresql://…``; ``MalformedInput`` for anything else, without quoting it."""
        try:
            parsed = make_url(url)
        except ArgumentError:
            raise MalformedInput("not a database URL", field="database") from None
        self.sqlite = parsed.get_backend_name() == "sqlite"
        self.waits = waits or Waits()
        if not self.sqlite and parsed.get_backend_name() != "postgresql":
            raise MalformedInput("must be sqlite:///FILE or postgresql://…", field="database")
        if self.sqlite and (parsed.database in (None, "", ":memory:") or str(parsed.database).startswith("file:")):
            raise MalformedInput("SQLite needs a file: the service runs in several processes", field="database")
        # No ping before use: a connection that broke meanwhile shows at the first statement, and _run repeats.
        build = partial(
            create_engine, hide_parameters=True, pool_size=pool_size, max_overflow=pool_size,
            pool_timeout=self.waits.lock,
        )  # fmt: skip
        self.engine: Engine
        if self.sqlite:
            # None hands BEGIN to us; the default would start no transaction before a first write.
            options = {"isolation_level": None, "check_same_thread": False, "timeout": self.waits.lock}
            self.engine = build(parsed, connect_args=options)
        else:
            parsed = parsed.set(drivername="postgresql+psycopg")
            self.engine = build(parsed, isolation_level="READ COMMITTED", connect_args=self.waits.postgresql)
        self._guard: Guard | None = None
        if self.sqlite:
            self._guard = Guard(str(parsed.database), self.waits.lock)
            event.listen(self.engine, "connect", partial(_configure_sqlite, self._busy_ms))

    @property
    def _busy_ms(self) -> int:
        return round(self.waits.lock * 1000)

    @contextmanager
    def _transaction(self, kind: Kind) -> Iterator[Connection]:
        with self.engine.connect() as connection:
            if self._guard is not None and kind in ("write", "exact", "apart"):
                with self._writer(self._guard, connection, self._guard.seconds):
                    yield connection
                    connection.commit()
                return
            if self.sqlite:
                connection.exec_driver_sql("BEGIN")
            elif kind in ("read", "apart"):
                # In READ COMMITTED each statement has its own moment anyway: this spares the trips of BEGIN and COMMIT.
                connection.execution_options(isolation_level="AUTOCOMMIT")
            elif kind in ("consistent", "exact"):
                connection.execution_options(isolation_level="REPEATABLE READ")
            if kind == "consistent" and not self.sqlite:
                # It may read the whole ledger and work on it meanwhile, and holds no lock that anybody waits for.
                for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
                    connection.exec_driver_sql(f"SET LOCAL {limit} = 0")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    @contextmanager
    def _writer(self, guard: Guard, connection: Connection, seconds: float) -> Iterator[None]:
        """SQLite's write lock, taken at once (a reader that turns writer could only fail); ``Busy`` in vain."""
        with guard.writing(seconds):
            limited = round(seconds * 1000) != self._busy_ms
            try:
                if limited:
                    connection.exec_driver_sql(f"PRAGMA busy_timeout={round(seconds * 1000)}")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            except DBAPIError as err:
                if not passing(err):
                    raise
                guard.note(stuck=True)
                raise Busy from None
            finally:
                if limited:
                    connection.exec_driver_sql(f"PRAGMA busy_timeout={self._busy_ms}")
            guard.note(stuck=False)
            try:
                yield
            except BaseException:
                connection.rollback()
                raise

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a transaction, again while another one is in its way. Row locks are the caller's."""
        return self._run(work, "write")

    def exact(self, work: Callable[[Connection], T]) -> T:
        """:meth:`write` whose reads are of one moment: on PostgreSQL it is run again if anybody changed what it writes
        after that moment.
        """
        return self._run(work, "exact")

    def apart(self, work: Callable[[Connection], T]) -> T:
        """:meth:`write` for work whose statements each stand alone: on PostgreSQL each one is a transaction."""
        return self._run(work, "apart")

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a transaction that changes nothing."""
        return self._run(work, "read")

    def consistent(self, work: Callable[[Connection], T]) -> T:
        """:meth:`read` of one moment of the whole database, however many queries it takes."""
        return self._run(work, "consistent")

    def _run(self, work: Callable[[Connection], T], kind: Kind) -> T:
        # On PostgreSQL who waits behind a stopped process outlives it; on SQLite nobody ends that one's lock.
        end = time.monotonic() + self.waits.lock + (0 if self.sqlite else self.waits.idle)
        for attempt in range(TRIES):
            try:
                with self._transaction(kind) as connection:
                    return work(connection)
            except IntegrityError as err:
                # The database is the last guard: who comes second on a name, epoch or sequence changes nothing.
                if _unique(err):
                    raise Conflict("another change came first") from None
                raise
            except DBAPIError as err:
                if _cut_off(err):
                    break
                if not passing(err):
                    raise
                if err.connection_invalidated:
                    # Perhaps this process stood still, and its time went by unused: once more, whatever the time.
                    end = max(end, time.monotonic() + self.waits.lock)
                    self.engine.dispose()
            except (PoolTimeout, Busy):
                # Every connection, or the one write lock, was in use all the time: trying on would only add to it.
                break
            if time.monotonic() >= end:
                break
            time.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311 - jitter
        raise Unavailable("the database did not answer in time")

    def lockable(self, query: Executable, seconds: float) -> bool:
        """Whether the row lock that ``query`` takes, on SQLite the one write lock, is to be had in so many seconds. It
        is given back at once.
        """
        try:
            with self.engine.connect() as connection:
                if self._guard is not None:
                    with self._writer(self._guard, connection, seconds):
                        connection.rollback()
                    return True
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(seconds * 1000)}")
                connection.execute(query)
                connection.rollback()
        except (DBAPIError, PoolTimeout, Busy, Unavailable):
            return False
        return True

    def claim_server(self, *, alone: bool = False) -> None:
        """On SQLite, hold the file as a server process until :meth:`close`: alone where SQLite has the WAL-reset bug.

        ``Conflict`` when another process does; always when one does for ``alone``. Nothing on PostgreSQL.
        """
        if self._guard is not None:
            self._guard.claim_server(alone=alone or not self.several)

    @property
    def several(self) -> bool:
        """Whether several server processes may share this database."""
        return not self.sqlite or has_wal_reset_fix(sqlite3.sqlite_version_info)

    def checkpoint(self) -> bool:
        """On SQLite, move the log into the database if nobody writes, and let nobody write meanwhile; says whether it
        was tried. Long readers keep a part of the log where it is.
        """
        if self._guard is None:
            return False
        with self.engine.connect() as connection, self._guard.checkpointing() as quiet:
            if quiet:
                connection.exec_driver_sql(f"PRAGMA busy_timeout={_READERS_MS}")
                try:
                    connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
                finally:
                    connection.exec_driver_sql(f"PRAGMA busy_timeout={self._busy_ms}")
            return quiet

    def close(self) -> None:
        """Return all connections and locks."""
        self.engine.dispose()
        if self._guard is not None:
            self._guard.close()


def _unique(err: IntegrityError) -> bool:
    """Whether a uniqueness was violated, which is a lost race; any other constraint is our bug."""
    state = getattr(err.orig, "sqlstate", None)
    return state == "23505" or (state is None and "UNIQUE constraint failed" in str(err.orig))


def _cut_off(err: DBAPIError) -> bool:
    """Whether a statement was ended for its time, or by the database's administrator."""
    return getattr(err.orig, "sqlstate", None) == _OVER


def away(err: DBAPIError) -> bool:
    """Whether the database did not answer, which says nothing of what it holds: :meth:`Database._run` takes it from
    there.
    """
    return _cut_off(err) or passing(err)


def passing(err: DBAPIError) -> bool:
    """Whether trying again can help: a lock, a deadlock, a lost connection."""
    if err.connection_invalidated:
        return True
    state = getattr(err.orig, "sqlstate", None)
    if state is not None:
        return state in _RETRY_STATES or state.startswith("08")
    message = str(err.orig)
    return isinstance(err, OperationalError) and (
        "locked" in message or "busy" in message or "connect" in message or "closed" in message
    )
