"""Verification in a pool of processes, micro-batched across requests.

For each process a task collects jobs, sends them as one batch and hands out the replies. One task at a time collects,
so that a burst becomes one batch and not one for each process. Heavy work (large snapshots, calls with many proofs) has
its own queue, a short one, and never takes the last process. A process that dies or hangs is replaced, and its jobs run
again one at a time, once; a job that took too long by itself is given up, and its caller told so.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterable

from zkmargin.circuits.errors import InternalError, ZkMarginError
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
from zkmargin.service.verification.lanes import Lanes, Ticket
from zkmargin.service.verification.processes import LOST, Process
from zkmargin.service.verification.snapshots import SnapshotStore

#: Gives the document of a snapshot by its digest, or None.
Lookup = Callable[[bytes], Awaitable[bytes | None]]
#: A call with many proofs counts as one job for each so many bytes of its body.
BYTES_PER_PROOF = 2500
#: Seconds after which a heavy job may be sent again.
RETRY_HEAVY = 5


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
        self._lanes = self._new_lanes()
        self._running: list[Process] = []
        self._servers: list[asyncio.Task[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = True
        self._diagnostics = diagnostics.reporter()

    def _new_lanes(self) -> Lanes:
        return Lanes(processes=self.processes, most=self.max_batch, wait=self.batch_wait, metrics=self.metrics)

    async def start(self) -> None:
        """Start all processes and wait until they are warm. Raises ``CorruptData`` for a damaged installation."""
        self._lanes = self._new_lanes()
        self._running = [Process(keep=self.keep, nice=self.nice, rules=self.rules) for _ in range(self.processes)]
        try:
            await asyncio.gather(*(process.warm() for process in self._running))
        except BaseException:
            await self.close()
            raise
        self._closed = False
        self._servers = [asyncio.create_task(self._serve(process)) for process in self._running]

    async def close(self) -> None:
        """Stop: what waits gets ``NotReady``, what runs is abandoned."""
        self._closed = True
        tasks = [*self._servers, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for ticket in self._lanes.clear():
            ticket.settle(NotReady("the service is stopping"))
        ended, self._running = self._running, []
        for process in ended:
            process.kill()
        await asyncio.gather(*(asyncio.to_thread(process.shut_down) for process in ended))
        # Semaphores of the processes' queues are unlinked when they are collected, and a server process may end by a
        # signal, without the interpreter's own clean-up.
        ended.clear()
        tasks.clear()
        self._servers.clear()
        gc.collect()

    async def ready(self) -> bool:
        """Whether at least one process can take work."""
        return not self._closed and any(process.ready for process in self._running)

    @property
    def pids(self) -> list[int]:
        """Process ids of the warm processes."""
        return [process.pid for process in self._running if process.ready]

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
        full = self._lanes.heavy_full if many else len(self._lanes.light) >= self.max_queue
        if full:
            raise Overloaded("too many proofs wait for verification")
        ticket = Ticket(Envelope(job, heavy=many), asyncio.get_running_loop().create_future(), weight)
        self._lanes.put(ticket)
        done = await ticket.future
        for digest, document in done.learned.items():
            self.store.learn(digest, document)
        for result in done.results:
            failed = result if isinstance(result, ZkMarginError) else result.failed
            self.metrics.verdicts.labels(failed.code if failed else "valid").inc()
        return done

    async def _serve(self, process: Process) -> None:
        while True:
            tickets = await self._lanes.collect()
            if not tickets:
                continue
            heavy = tickets[0].envelope.heavy
            self._lanes.heavy_running += heavy
            try:
                await self._handle(process, tickets)
            except asyncio.CancelledError:
                for ticket in tickets:
                    ticket.settle(NotReady("the service is stopping"))
                raise
            except Exception as err:
                self._diagnostics.error("exception", kind=type(err).__name__, place=diagnostics.place(err))
                for ticket in tickets:
                    ticket.settle(InternalError("unexpected"))
            finally:
                self._lanes.heavy_running -= heavy
                self._lanes.wake()

    async def _handle(self, process: Process, tickets: list[Ticket]) -> None:
        replies = await self._call(process, tickets)
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
            await self._handle(process, [ticket])

    def _deliver(self, ticket: Ticket, reply: Reply) -> None:
        if isinstance(reply, Later):
            if self._lanes.heavy_full:
                ticket.settle(Overloaded("too many large proofs wait for verification", retry_after=RETRY_HEAVY))
                return
            ticket.envelope = Envelope(ticket.envelope.job, ticket.envelope.documents, heavy=True)
            self._lanes.put(ticket)
        elif isinstance(reply, Again):
            self._lanes.put_back(ticket)
        elif isinstance(reply, Missing):
            task = asyncio.create_task(self._supply(ticket, reply.digests))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            ticket.settle(reply)

    async def _supply(self, ticket: Ticket, digests: Iterable[bytes]) -> None:
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
        self._lanes.put(ticket)

    async def _call(self, process: Process, tickets: list[Ticket]) -> list[Reply] | None:
        """One batch in a process; None when it died or took too long (it is replaced then)."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        self.metrics.batch.observe(sum(t.weight for t in tickets))
        try:
            async with asyncio.timeout(self.job_timeout):
                return await process.run([t.envelope for t in tickets])
        except LOST as err:
            self._diagnostics.warning("process replaced", kind=type(err).__name__, jobs=len(tickets))
            self.metrics.replaced.inc()
            # What took too long by itself would do so again.
            tickets[0].tried |= isinstance(err, TimeoutError) and len(tickets) == 1
            await process.replace()
            return None
        finally:
            self.metrics.work.observe(loop.time() - begin)
