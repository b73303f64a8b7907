"""Engine and transactions on SQLite (WAL) and PostgreSQL.

A unit of work is a function of a connection that may run more than once: it is repeated when the database says that
another transaction was in the way, or when the connection broke. A connection that breaks during COMMIT leaves the
outcome open, which repeating settles, since every change of this service names itself (idempotency key, sequence,
nonce).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from circuits.errors import MalformedInput

from ..refusals import Conflict, Unavailable

T = TypeVar("T")
Kind = Literal["write", "exact", "apart", "read", "consistent"]
#: How often a unit of work is tried before the caller hears ``unavailable``.
TRIES = 6
#: Seconds a writer waits for another on SQLite, and for a row's lock on PostgreSQL.
LOCK_SECONDS = 10
#: PostgreSQL: serialization failure, deadlock, lock time-out, admin shutdown and crash, too many connections.
_RETRY_STATES = {"40001", "40P01", "55P03", "57P01", "57P02", "57P03", "53300"}


def _configure_sqlite(connection: DBAPIConnection, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        # Checkpoints only by :meth:`Database.checkpoint`, which holds the write lock: below version 3.51.3 a checkpoint
        # beside a writer of another process can lose a transaction (SQLite's "WAL-reset bug").
        "wal_autocheckpoint=0",
        f"busy_timeout={LOCK_SECONDS * 1000}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


class Database:
    """One database. Safe to share between threads; made anew in each process."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        """``sqlite:///FILE`` or ``postgresql://…``; ``MalformedInput`` for anything else, without quoting it."""
        try:
            parsed = make_url(url)
        except ArgumentError:
            raise MalformedInput("not a database URL", field="database") from None
        self.sqlite = parsed.get_backend_name() == "sqlite"
        if not self.sqlite and parsed.get_backend_name() != "postgresql":
            raise MalformedInput("must be sqlite:///FILE or postgresql://…", field="database")
        if self.sqlite and parsed.database in (None, "", ":memory:"):
            raise MalformedInput("SQLite needs a file: the service runs in several processes", field="database")
        options: dict[str, Any] = {"pool_size": pool_size, "max_overflow": pool_size, "pool_timeout": LOCK_SECONDS}
        if self.sqlite:
            # "autocommit" hands BEGIN to us; the default would start no transaction before a first write.
            options["connect_args"] = {"isolation_level": None, "check_same_thread": False, "timeout": LOCK_SECONDS}
        else:
            parsed = parsed.set(drivername="postgresql+psycopg")
            options |= {
                # No ping before use: a connection that broke meanwhile shows at the first statement, and _run repeats.
                "isolation_level": "READ COMMITTED",
                "connect_args": {
                    "options": f"-c lock_timeout={LOCK_SECONDS}s -c idle_in_transaction_session_timeout=60s"
                },
            }  # fmt: skip
        self.engine: Engine = create_engine(parsed, hide_parameters=True, **options)
        if self.sqlite:
            event.listen(self.engine, "connect", _configure_sqlite)

    @contextmanager
    def _transaction(self, kind: Kind) -> Iterator[Connection]:
        with self.engine.connect() as connection:
            if self.sqlite:
                # IMMEDIATE takes the write lock at once: a reader that turns writer could only fail.
                connection.exec_driver_sql("BEGIN IMMEDIATE" if kind in ("write", "exact", "apart") else "BEGIN")
            elif kind in ("read", "apart"):
                # In READ COMMITTED each statement has its own moment anyway: this spares the trips of BEGIN and COMMIT.
                connection.execution_options(isolation_level="AUTOCOMMIT")
            elif kind in ("consistent", "exact"):
                connection.execution_options(isolation_level="REPEATABLE READ")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

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
                if not _passing(err):
                    raise
                if err.connection_invalidated:
                    self.engine.dispose()
            except PoolTimeout:
                # Every connection was in use all the time: no work was begun, and trying on would only add to it.
                break
            time.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311 - jitter
        raise Unavailable("the database did not answer in time")

    def checkpoint(self) -> None:
        """On SQLite, move the log into the database while nobody writes; nothing when somebody does."""
        if self.sqlite:
            with self.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def ping(self) -> None:
        """One round trip; ``Unavailable`` when there is none."""
        try:
            self.read(lambda tx: tx.execute(text("SELECT 1")))
        except DBAPIError:
            raise Unavailable("the database does not answer") from None

    def close(self) -> None:
        """Return all connections."""
        self.engine.dispose()


def _unique(err: IntegrityError) -> bool:
    """Whether a uniqueness was violated, which is a lost race; any other constraint is our bug."""
    state = getattr(err.orig, "sqlstate", None)
    return state == "23505" or (state is None and "UNIQUE constraint failed" in str(err.orig))


def _passing(err: DBAPIError) -> bool:
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
