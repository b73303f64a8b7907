"""What the role ``hub`` adds to the application: the ledger, its calls, and the sweep of what is due."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, move_on_after, to_thread
from fastapi import FastAPI
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from zkmargin.circuits.errors import MalformedInput, ZkMarginError
from zkmargin.service.http import describe
from zkmargin.service.http.auth import authenticate
from zkmargin.service.http.door import Door
from zkmargin.service.http.lanes import (
    CALLERS,
    GAPS,
    OPERATORS,
    OPERATORS_ROOM,
    PUBLIC,
    PUBLIC_ROOM,
    VERIFY,
    WAITING,
    Lane,
)
from zkmargin.service.http.routes import accounts, credits, snapshots, trades, transparency, venues
from zkmargin.service.keys.vault import Vault, parse_keys
from zkmargin.service.ledger import callers, idempotency
from zkmargin.service.ledger import credits as ledger_credits
from zkmargin.service.ledger import snapshots as ledger_snapshots
from zkmargin.service.ledger import transparency as ledger_log
from zkmargin.service.ledger.context import Ledger, Policy
from zkmargin.service.observability import diagnostics
from zkmargin.service.store.database import Database, Waits
from zkmargin.service.store.migrate import expect_current, expect_ledger

if TYPE_CHECKING:
    from zkmargin.service.http.app import Service
    from zkmargin.service.settings import Settings

#: Seconds between looks at whether the log's head must be signed anew. A new signing key must have done so well within
#: the grace that readers give the one before.
HEAD_SECONDS = 5
#: How soon a thread that works hands the interpreter to one that waits.
SWITCH_SECONDS = 0.0005
#: How long readiness waits for the lock of a booking, which under load is handed on every few milliseconds; how often.
PROBE_SECONDS, PROBE_EVERY = 1.0, 1.0


def install(app: FastAPI, service: Service) -> None:
    """Add the hub's calls and resources to an application."""
    service.resources.insert(0, ledger_of)
    service.large_paths["/v1/snapshots"] = "POST"
    service.security.update(describe.SCHEME)
    own = {CALLERS: Lane(service.settings.max_concurrency), OPERATORS: Lane(OPERATORS_ROOM)}

    def busy() -> bool:
        return any(lane.running for lane in own.values())

    rooms = {VERIFY: service.settings.max_strangers, PUBLIC: PUBLIC_ROOM}
    for name, gap in GAPS.items():
        service.lanes[name] = Lane(rooms.get(name, WAITING), waiting=WAITING, gap=gap, busy=busy)
    service.lanes.update(own)
    service.parts["authenticate"] = authenticate
    for part in (snapshots, venues, accounts, credits, trades, transparency):
        app.include_router(part.router)


def keyring(settings: Settings) -> Vault:
    """The storage keys of the configuration; ``MalformedInput`` when there are none."""
    if settings.storage_keys is not None:
        return parse_keys(settings.storage_keys.get_secret_value())
    if settings.storage_keys_file is None:
        raise MalformedInput("set storage_keys or storage_keys_file", field="storage_keys")
    from zkmargin.prover.files import read_file, unseal

    return parse_keys(unseal(read_file(settings.storage_keys_file), name="storage_keys").decode("ascii", "replace"))


def database_of(settings: Settings, waits: Waits | None = None) -> Database:
    """The database of a configuration, with a server's waits unless others are given."""
    chosen = waits or Waits(
        settings.database_lock_timeout, settings.database_statement_timeout, settings.database_idle_timeout
    )
    return Database(settings.database_url.get_secret_value(), pool_size=settings.database_pool, waits=chosen)


def open_ledger(settings: Settings, waits: Waits | None = None, *, server: bool = False) -> Ledger:
    """The ledger of a configuration, its schema checked; with the claim of a server process if it is to be one."""
    database = database_of(settings, waits)
    if server:
        # To claim a file that is not there would make one.
        expect_ledger(database)
        database.claim_server()
    expect_current(database)
    policy = Policy(**{f.name: getattr(settings, f.name) for f in fields(Policy)})
    return Ledger.open(database, keyring(settings), policy=policy)


def expect_servable(settings: Settings) -> None:
    """That this many server processes may serve this database; ``MalformedInput`` names the setting, ``Conflict`` if
    another server process is there already; ``StatementMismatch`` where there is no ledger of this version.
    """
    database = database_of(settings)
    expect_current(database)
    if settings.workers > 1 and not database.several:
        raise MalformedInput(
            f"SQLite {sqlite3.sqlite_version} can lose a transaction between several processes: one worker, SQLite "
            "3.51.3 or later, or PostgreSQL",
            field="workers",
        )
    try:
        database.claim_server()
    finally:
        database.close()


class BookingProbe:
    """Whether a booking could be made now: the log's lock, which every booking takes last, is taken and given back.

    However often it is asked it looks once a second. A thread of its own, so that it waits behind no call.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._thread, self._asking = ledger, CapacityLimiter(1), asyncio.Lock()
        self._at, self._good = float("-inf"), False

    async def __call__(self) -> bool:
        """Looks, or says what was seen within the last second."""
        async with self._asking:
            if time.monotonic() - self._at >= PROBE_EVERY:
                self._good = False
                with move_on_after(2 * PROBE_SECONDS):
                    self._good = await to_thread.run_sync(
                        self._ledger.database.lockable, ledger_log.LOCK, PROBE_SECONDS, limiter=self._thread,
                        abandon_on_cancel=True,
                    )  # fmt: skip
                self._at = time.monotonic()
            return self._good


@asynccontextmanager
async def ledger_of(service: Service) -> AsyncIterator[None]:
    """The ledger for the life of the application: ``service.parts["book"]``."""
    # A transaction holds locks that others wait for, and gives up the interpreter at each of its round trips: with
    # Python's usual 5 ms it would wait so long again each time, behind the event loop and the other threads.
    sys.setswitchinterval(SWITCH_SECONDS)
    # As many threads as there may be connections (pool and as much overflow): more would only wait for one.
    to_thread.current_default_thread_limiter().total_tokens = 2 * service.settings.database_pool
    ledger = await run_in_threadpool(partial(open_ledger, service.settings, server=True))
    service.parts["book"] = ledger
    door = service.parts["door"] = Door(ledger)
    await run_in_threadpool(door.refresh)

    def document(tx: Connection, digest: bytes) -> bytes | None:
        with suppress(ZkMarginError):
            return ledger_snapshots.document(tx, digest.hex())
        return None

    async def lookup(digest: bytes) -> bytes | None:
        return await run_in_threadpool(ledger.database.read, lambda tx: document(tx, digest))

    async def strangers_lookup(digest: bytes) -> bytes | None:
        # Not in the threads of the ledger's callers.
        return await to_thread.run_sync(ledger.database.read, lambda tx: document(tx, digest), limiter=door.limiter)

    service.parts["lookup"], service.parts["strangers_lookup"] = lookup, strangers_lookup
    service.checks["database"] = BookingProbe(ledger)
    tasks = [
        asyncio.create_task(_sweep(ledger, door, service.settings.sweep_seconds)),
        asyncio.create_task(_keep_head(ledger, HEAD_SECONDS)),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await run_in_threadpool(ledger.database.close)


def _checkpoint(ledger: Ledger) -> None:
    ledger.database.checkpoint()


def _refresh(door: Door) -> Callable[[Ledger], None]:
    return lambda _: door.refresh()


async def _sweep(ledger: Ledger, door: Door, seconds: float) -> None:
    """Expire credits, forget nonces, learn keys, for as long as the application runs. One failure is not the end."""
    while True:
        await asyncio.sleep(seconds)
        for work in (ledger_credits.sweep, callers.forget_nonces, idempotency.forget, _refresh(door), _checkpoint):
            await _attempt("sweep", work, ledger)


async def _keep_head(ledger: Ledger, seconds: float) -> None:
    """Keep the log's head recent and of the newest key, from the start on: readers take no other."""
    while True:
        await _attempt("head", ledger_log.refresh, ledger)
        await asyncio.sleep(seconds)


async def _attempt(name: str, work: Callable[[Ledger], object], ledger: Ledger) -> None:
    """Do one piece of work in a thread; a failure is logged, and the next time comes."""
    try:
        await run_in_threadpool(work, ledger)
    except Exception as err:
        diagnostics.reporter().warning(name, kind=type(err).__name__, place=diagnostics.place(err))
