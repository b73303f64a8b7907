"""What several connections to one SQLite file must not do at once, kept apart by locks beside the file.

Below 3.51.3 (3.50.7 and 3.44.6 have the fix too) a checkpoint that overlaps a commit of another connection, in another
thread or process, can lose that transaction: SQLite's "WAL-reset bug" (sqlite.org/wal.html). SQLite itself does not
keep the two apart: a checkpoint waits for writers until the busy time-out, and then runs beside them. So here every
writing transaction holds the file ``…-commit`` shared, and a checkpoint holds it alone or does not run; and there is
one server process, which holds ``…-server``. Both are locked by ``flock``, which ends with the process that has it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from zkmargin.service.refusals import Conflict, Unavailable

#: First release of each line that has the fix.
_FIXED = ((3, 44, 6), (3, 50, 7), (3, 51, 3))
#: How often a lock that another process holds is tried again, in seconds.
_POLL = 0.01
#: After a lock was not to be had, others wait for it so long only, until somebody gets it: who waits occupies one of
#: the few threads and connections of his process.
STUCK_SECONDS = 0.05


def has_wal_reset_fix(version: tuple[int, int, int]) -> bool:
    """Whether this release of SQLite has the fix of the WAL-reset bug."""
    return version >= _FIXED[-1] or any(version[:2] == fixed[:2] and version >= fixed for fixed in _FIXED)


class Busy(Exception):
    """The lock was not to be had in time."""


class Guard:
    """The locks beside one database file, for one :class:`~zkmargin.service.store.database.Database`; safe between
    threads."""

    def __init__(self, path: str, seconds: float) -> None:
        self._path, self._seconds = os.path.realpath(path), seconds
        # One writer at a time is SQLite's own rule: threads queue here, in order, instead of polling its lock.
        self._turn = threading.Lock()
        self._commit: int | None = None
        self._server: int | None = None
        self._stuck = False

    @property
    def seconds(self) -> float:
        """How long a writer waits now."""
        return STUCK_SECONDS if self._stuck else self._seconds

    @contextmanager
    def writing(self, seconds: float) -> Iterator[None]:
        """Around a writing transaction; ``Busy`` when the turn does not come in so many seconds."""
        with self._held(seconds, alone=False):
            yield

    @contextmanager
    def checkpointing(self) -> Iterator[bool]:
        """Around a checkpoint: whether nobody writes, or will meanwhile. It runs only then."""
        try:
            with self._held(STUCK_SECONDS, alone=True):
                yield True
        except Busy:
            yield False

    @contextmanager
    def _held(self, seconds: float, *, alone: bool) -> Iterator[None]:
        end = time.monotonic() + seconds
        if not self._turn.acquire(timeout=seconds):
            raise Busy
        try:
            if self._commit is None:
                self._commit = _open(self._path + "-commit")
            while not _try(self._commit, alone=alone):
                if time.monotonic() >= end:
                    raise Busy
                time.sleep(_POLL)
            try:
                yield
            finally:
                _release(self._commit)
        finally:
            self._turn.release()

    def note(self, *, stuck: bool) -> None:
        """Whether SQLite's own lock was not to be had, so that others wait less."""
        self._stuck = stuck

    def claim_server(self, *, alone: bool) -> None:
        """Hold the file as a server process, until :meth:`close`: ``alone``, or beside others that do not ask for that.

        ``Conflict`` when another process holds it.
        """
        held = _open(self._path + "-server")
        if not _try(held, alone=alone):
            os.close(held)
            raise Conflict("another server process holds this SQLite file", field="database_url")
        self._server = held

    def close(self) -> None:
        """Give everything back."""
        for held in (self._server, self._commit):
            if held is not None:
                os.close(held)
        self._server = self._commit = None


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as err:
        raise Unavailable(f"no lock beside the database file ({type(err).__name__})") from None


def _try(held: int, *, alone: bool) -> bool:
    import fcntl  # not on Windows, where the hub does not run

    with suppress(BlockingIOError):
        fcntl.flock(held, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        return True
    return False


def _release(held: int) -> None:
    import fcntl

    fcntl.flock(held, fcntl.LOCK_UN)
