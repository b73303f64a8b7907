"""The role ``hub``: the ledger with its calls, and the chores that are due while it runs."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

from anyio import CapacityLimiter, move_on_after, to_thread
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from zkmargin.circuits.errors import ZkMarginError
from zkmargin.service.http.context import Check, Role
from zkmargin.service.http.describe import SCHEME
from zkmargin.service.http.domain import Allowances
from zkmargin.service.http.door import Door
from zkmargin.service.http.hub_context import HubContext, HubService
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
from zkmargin.service.http.roles import verifier
from zkmargin.service.http.routes import accounts, credits, snapshots, trades, transparency, venues
from zkmargin.service.ledger import callers, idempotency
from zkmargin.service.ledger import credits as ledger_credits
from zkmargin.service.ledger import snapshots as ledger_snapshots
from zkmargin.service.ledger import transparency as ledger_log
from zkmargin.service.ledger.configured import open_ledger
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.observability import diagnostics
from zkmargin.service.observability.metrics import Metrics
from zkmargin.service.settings import Settings

#: What a hub serves besides verification; a new domain is added here.
DOMAINS = (
    snapshots.DOMAIN,
    venues.DOMAIN,
    accounts.DOMAIN,
    credits.DOMAIN,
    trades.DOMAIN,
    transparency.DOMAIN,
)
#: Seconds between looks at whether the log's head must be signed anew. A new signing key must have done so well within
#: the grace that readers give the one before.
HEAD_SECONDS = 5
#: How soon a thread that works hands the interpreter to one that waits.
SWITCH_SECONDS = 0.0005
#: How long readiness waits for the lock of a booking, which under load is handed on every few milliseconds; how often.
PROBE_SECONDS, PROBE_EVERY = 1.0, 1.0
#: Strangers' verification in a hub takes the processor time that nobody else wants.
NICE = 10


def make(settings: Settings, metrics: Metrics, allowances: Allowances) -> HubService:
    """Callers and operators have lanes of their own; strangers have what these leave."""
    own = {CALLERS: Lane(settings.max_concurrency), OPERATORS: Lane(OPERATORS_ROOM)}

    def busy() -> bool:
        return any(lane.running for lane in own.values())

    rooms = {VERIFY: settings.max_strangers, PUBLIC: PUBLIC_ROOM}
    strangers = {
        name: Lane(rooms.get(name, WAITING), waiting=WAITING, gap=gap, busy=busy) for name, gap in GAPS.items()
    }
    return HubService(settings, metrics, allowances, strangers | own)


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
async def running(service: HubService) -> AsyncIterator[None]:
    """The ledger with its chores, and the processes of callers and strangers, for the life of the application."""
    settings = service.settings
    # A transaction holds locks that others wait for, and gives up the interpreter at each of its round trips: with
    # Python's usual 5 ms it would wait so long again each time, behind the event loop and the other threads.
    sys.setswitchinterval(SWITCH_SECONDS)
    # As many threads as there may be connections (pool and as much overflow): more would only wait for one.
    to_thread.current_default_thread_limiter().total_tokens = 2 * settings.database_pool
    ledger = await run_in_threadpool(partial(open_ledger, settings, server=True))
    door = Door(ledger)
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

    async with _chores(ledger, door, settings.sweep_seconds):
        documents = verifier.documents_of(settings)
        strangers = verifier.make_pool(
            service, documents, processes=settings.processes(), lookup=strangers_lookup, nice=NICE
        )
        own = verifier.make_pool(
            service, documents, processes=settings.ledger_processes or settings.processes(), lookup=lookup
        )
        checks: dict[str, Check] = {"database": BookingProbe(ledger), "verification": own.ready}
        context = verifier.context_of(settings, strangers, checks)
        async with verifier.started(own, strangers):
            with service.verifier.holding(context), service.hub.holding(HubContext(ledger, door, own)):
                yield


@asynccontextmanager
async def _chores(ledger: Ledger, door: Door, sweep_seconds: float) -> AsyncIterator[None]:
    """What is done by itself meanwhile; at the end the ledger is closed."""
    tasks = [
        asyncio.create_task(_sweep(ledger, door, sweep_seconds)),
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
    """Do one piece of work in a thread; a failure is told, and the next time comes."""
    try:
        await run_in_threadpool(work, ledger)
    except Exception as err:
        diagnostics.reporter().warning(name, kind=type(err).__name__, place=diagnostics.place(err))


ROLE = Role(
    "Keeps accounts, reserves credits on proofs of solvency, and verifies proofs for anybody.",
    (*verifier.DOMAINS, *DOMAINS),
    make,
    running,
    security=SCHEME,
)
