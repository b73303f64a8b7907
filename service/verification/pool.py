"""Verification in a pool of processes, micro-batched across requests.

Each process has a slot: a task that collects jobs, sends them as one batch and hands out the replies. One slot at a
time collects, so that a burst becomes one batch and not one for each process. Heavy work (large snapshots, calls with
many proofs) has its own queue, a short one, and never takes the last process. A process that dies or hangs is replaced,
and its jobs run again one at a time, once; a job that took too long by itself is given up, and its caller told so.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.connection import wait

from zkmargin.circuits.errors import InternalError, ZkMarginError
from zkmargin.circuits.rules.registration import register_installed
from zkmargin.service.errors import NotReady, Overloaded, TooExpensive
from zkmargin.service.observability import diagnostics
from zkmargin.service.observability.metrics import Metrics
from zkmargin.service.verification.jobs import (
    Again,
    Answer,
    BodyJob,
    Done,
    Envelope,
    Job,
    Later,
    Missing,
    Reply,
    VerifyJob,
)
from zkmargin.service.verification.snapshots import SnapshotStore

#: Gives the document of a snapshot by its digest, or None.
Lookup = Callable[[bytes], Awaitable[bytes | None]]
#: A call with many proofs counts as one job for each so many bytes of its body.
BYTES_PER_PROOF = 2500
#: Bytes of the bodies in one light batch: to parse them takes some 100 ms, which all its proofs wait for.
BATCH_BYTES = 256 * 1024
#: Heavy jobs that may wait. Each may take as long as the time-out says, and nobody waits for a hundred of them.
MAX_HEAVY = 16
#: Seconds after which a heavy job may be sent again.
RETRY_HEAVY = 5
#: A process that can't be started is tried again after so many seconds.
RETRY_START = 0.5
START_TIMEOUT = 60.0


@dataclass(eq=False)
class _Ticket:
    """A job that waits for its reply."""

    envelope: Envelope
    future: asyncio.Future[Done]
    weight: int = 1
    tried: bool = False

    @property
    def size(self) -> int:
        """Bytes that a process will parse."""
        job = self.envelope.job
        return len(job.body) if isinstance(job, BodyJob) else len(job.statement) + len(job.snapshot or b"")

    def settle(self, reply: Done | ZkMarginError) -> None:
        if self.future.done():
            return
        if isinstance(reply, Done):
            self.future.set_result(reply)
        else:
            self.future.set_exception(reply)


@dataclass(eq=False)
class _Slot:
    """One verification process."""

    executor: ProcessPoolExecutor
    pid: int = 0
    ready: bool = False
    task: asyncio.Task[None] | None = field(default=None, repr=False)


def _settle_down(nice: int, rules: tuple[str, ...]) -> None:
    """In a fresh process: outlive the server's signals, which mean a graceful end, but not the server itself.

    ``nice`` lowers its priority beside the server, the database and other pools; ``rules`` are those that the server
    registered.
    """
    os.nice(nice)
    register_installed(rules)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def watch() -> None:
            wait([parent.sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()


def _start(keep: int) -> int:
    from zkmargin.service.verification import worker

    worker.start(keep)
    return os.getpid()


def _run(envelopes: list[Envelope]) -> list[Reply]:
    from zkmargin.service.verification import worker

    return worker.run(envelopes)


class VerifierPool:
    """``await pool.verify(job)`` from any task of one event loop, between :meth:`start` and :meth:`close`."""

    def __init__(
        self,
        *,
        processes: int = 1,
        batch_wait: float = 0.002,
        max_batch: int = 64,
        max_queue: int = 1024,
        job_timeout: float = 20.0,
        keep: int = 8,
        nice: int = 0,
        rules: tuple[str, ...] = (),
        store: SnapshotStore | None = None,
        lookup: Lookup | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.processes, self.batch_wait, self.max_batch = processes, batch_wait, max_batch
        self.max_queue, self.job_timeout, self.keep, self.nice = max_queue, job_timeout, keep, nice
        self.rules = rules
        self.store = store or SnapshotStore(64 * 1024 * 1024)
        self.lookup = lookup
        self.metrics = metrics or Metrics()
        self._light: deque[_Ticket] = deque()
        self._heavy: deque[_Ticket] = deque()
        self._heavy_running = self._counted = 0
        self._heavy_last = False
        self._slots: list[_Slot] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = True
        self._diagnostics = diagnostics.reporter()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["zkmargin.service.verification.worker"])
        self._context = context

    async def start(self) -> None:
        """Start all processes and wait until they are warm. Raises ``CorruptData`` for a damaged installation."""
        self._work, self._collecting = asyncio.Event(), asyncio.Lock()
        self._slots = [_Slot(self._executor()) for _ in range(self.processes)]
        try:
            await asyncio.gather(*(self._warm(slot) for slot in self._slots))
        except BaseException:
            await self.close()
            raise
        self._closed = False
        for slot in self._slots:
            slot.task = asyncio.create_task(self._serve(slot))

    async def close(self) -> None:
        """Stop: what waits gets ``NotReady``, what runs is abandoned."""
        self._closed = True
        tasks = [slot.task for slot in self._slots if slot.task] + list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for ticket in (*self._light, *self._heavy):
            ticket.settle(NotReady("the service is stopping"))
        self._light.clear()
        self._heavy.clear()
        ended, self._slots = self._slots, []
        for slot in ended:
            self._kill(slot)
        await asyncio.gather(*(asyncio.to_thread(slot.executor.shutdown) for slot in ended))
        # Semaphores of the processes' queues are unlinked when they are collected, and a server process may end by a
        # signal, without the interpreter's own clean-up.
        ended.clear()
        tasks.clear()
        gc.collect()

    async def ready(self) -> bool:
        """Whether at least one process can take work."""
        return not self._closed and any(slot.ready for slot in self._slots)

    @property
    def pids(self) -> list[int]:
        """Process ids of the warm processes."""
        return [slot.pid for slot in self._slots if slot.ready]

    async def verify(self, job: VerifyJob) -> Answer:
        """The answer about one proof. Raises a typed error when it could not be checked, ``Overloaded`` when full."""
        result = (await self.submit(job)).results[0]
        if isinstance(result, ZkMarginError):
            raise result
        return result

    async def submit(self, job: Job) -> Done:
        """All results of a job, in its order. Raises ``Overloaded``, ``NotReady`` or what is wrong with the whole."""
        many = isinstance(job, BodyJob) and job.many
        weight = 1 + len(job.body) // BYTES_PER_PROOF if isinstance(job, BodyJob) and many else 1
        if self._closed:
            raise NotReady("the service is starting or stopping")
        if len(self._heavy if many else self._light) >= (MAX_HEAVY if many else self.max_queue):
            raise Overloaded("too many proofs wait for verification")
        ticket = _Ticket(Envelope(job, heavy=many), asyncio.get_running_loop().create_future(), weight)
        self._put(ticket)
        done = await ticket.future
        for digest, document in done.learned.items():
            self.store.learn(digest, document)
        for result in done.results:
            failed = result if isinstance(result, ZkMarginError) else result.failed
            self.metrics.verdicts.labels(failed.code if failed else "valid").inc()
        return done

    def _put(self, ticket: _Ticket) -> None:
        (self._heavy if ticket.envelope.heavy else self._light).append(ticket)
        self._count()
        self._work.set()

    def _count(self) -> None:
        # By differences: a hub has two pools and one gauge.
        waiting = len(self._light) + len(self._heavy)
        self.metrics.queue.inc(waiting - self._counted)
        self._counted = waiting

    # --- slots

    def _may_take_heavy(self) -> bool:
        room = self._heavy_running < max(1, self.processes - 1)
        return bool(self._heavy) and room and not (self._heavy_last and self._light)

    async def _collect(self) -> list[_Ticket]:
        """The next batch: one heavy job, or light ones up to the limit within the waiting time."""
        async with self._collecting:
            while not self._light and not self._may_take_heavy():
                self._work.clear()
                await self._work.wait()
            if self._may_take_heavy():
                self._heavy_last = True
                return self._take(self._heavy, 1)
            self._heavy_last = False
            deadline = asyncio.get_running_loop().time() + self.batch_wait
            while self.batch_wait and len(self._light) < self.max_batch:
                self._work.clear()
                try:
                    async with asyncio.timeout_at(deadline):
                        await self._work.wait()
                except TimeoutError:
                    break
            return self._take(self._light, self.max_batch)

    def _take(self, queue: deque[_Ticket], most: int) -> list[_Ticket]:
        out: list[_Ticket] = []
        size = 0
        while queue and len(out) < most:
            size += queue[0].size
            if out and size > BATCH_BYTES:
                break
            ticket = queue.popleft()
            # Whoever asked may have gone: a client that hung up.
            if not ticket.future.done():
                out.append(ticket)
        self._count()
        return out

    async def _serve(self, slot: _Slot) -> None:
        while True:
            tickets = await self._collect()
            if not tickets:
                continue
            heavy = tickets[0].envelope.heavy
            self._heavy_running += heavy
            try:
                await self._handle(slot, tickets)
            except asyncio.CancelledError:
                for ticket in tickets:
                    ticket.settle(NotReady("the service is stopping"))
                raise
            except Exception as err:
                self._diagnostics.error("exception", kind=type(err).__name__, place=diagnostics.place(err))
                for ticket in tickets:
                    ticket.settle(InternalError("unexpected"))
            finally:
                self._heavy_running -= heavy
                self._work.set()

    async def _handle(self, slot: _Slot, tickets: list[_Ticket]) -> None:
        replies = await self._call(slot, tickets)
        if replies is not None:
            for ticket, reply in zip(tickets, replies, strict=True):
                self._deliver(ticket, reply)
            return
        # One of them may be what broke the process, so each has the next one to itself.
        for ticket in tickets:
            if ticket.tried:
                heavy = ticket.envelope.heavy
                ticket.settle(
                    TooExpensive(f"did not finish in {self.job_timeout:g} seconds, which is what one request gets")
                    if heavy
                    else Overloaded("verification did not finish")
                )
                continue
            ticket.tried = True
            await self._handle(slot, [ticket])

    def _deliver(self, ticket: _Ticket, reply: Reply) -> None:
        if isinstance(reply, Later):
            if len(self._heavy) >= MAX_HEAVY:
                ticket.settle(Overloaded("too many large proofs wait for verification", retry_after=RETRY_HEAVY))
                return
            ticket.envelope = Envelope(ticket.envelope.job, ticket.envelope.documents, heavy=True)
            self._put(ticket)
        elif isinstance(reply, Again):
            self._light.appendleft(ticket)
            self._work.set()
        elif isinstance(reply, Missing):
            task = asyncio.create_task(self._supply(ticket, reply.digests))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            ticket.settle(reply)

    async def _supply(self, ticket: _Ticket, digests: Iterable[bytes]) -> None:
        """Send a job again with the snapshots that its process did not have."""
        documents = dict(ticket.envelope.documents)
        try:
            for digest in digests:
                document = self.store.get(digest)
                if document is None and self.lookup is not None:
                    document = await self.lookup(digest)
                documents[digest] = document
        except asyncio.CancelledError:
            ticket.settle(NotReady("the service is stopping"))
            raise
        except Exception as err:
            self._diagnostics.error("exception", kind=type(err).__name__, place=diagnostics.place(err))
            ticket.settle(err if isinstance(err, ZkMarginError) else InternalError("unexpected"))
            return
        ticket.envelope = Envelope(ticket.envelope.job, documents, ticket.envelope.heavy)
        self._put(ticket)

    # --- processes

    async def _call(self, slot: _Slot, tickets: list[_Ticket]) -> list[Reply] | None:
        """One batch in the slot's process; None when the process died or took too long (it is replaced then)."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        self.metrics.batch.observe(sum(t.weight for t in tickets))
        try:
            async with asyncio.timeout(self.job_timeout):
                return await loop.run_in_executor(slot.executor, _run, [t.envelope for t in tickets])
        except (BrokenProcessPool, TimeoutError) as err:
            self._diagnostics.warning("process replaced", kind=type(err).__name__, jobs=len(tickets))
            self.metrics.replaced.inc()
            # What took too long by itself would do so again.
            tickets[0].tried |= isinstance(err, TimeoutError) and len(tickets) == 1
            await self._replace(slot)
            return None
        finally:
            self.metrics.work.observe(loop.time() - begin)

    def _executor(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            1, mp_context=self._context, initializer=_settle_down, initargs=(self.nice, self.rules)
        )

    async def _warm(self, slot: _Slot) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(START_TIMEOUT):
            slot.pid = await loop.run_in_executor(slot.executor, _start, self.keep)
        slot.ready = True

    async def _replace(self, slot: _Slot) -> None:
        while True:
            self._kill(slot)
            slot.executor = self._executor()
            try:
                await self._warm(slot)
            except (BrokenProcessPool, TimeoutError, ZkMarginError) as err:
                self._diagnostics.error("process not started", kind=type(err).__name__)
                await asyncio.sleep(RETRY_START)
            else:
                return

    @staticmethod
    def _kill(slot: _Slot) -> None:
        """End a process now. It holds nothing that would be lost, and it may be beyond asking."""
        slot.ready = False
        if slot.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(slot.pid, signal.SIGKILL)
        slot.pid = 0
        slot.executor.shutdown(wait=False, cancel_futures=True)
