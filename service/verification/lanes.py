"""Jobs that wait for a verification process: the light lane, from which batches are taken, and the heavy one."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from zkmargin.circuits.errors import ZkMarginError
from zkmargin.service.observability.metrics import Metrics
from zkmargin.service.verification.jobs import BodyJob, Done, Envelope

#: Bytes of the bodies in one light batch: to parse them takes some 100 ms, which all its proofs wait for.
BATCH_BYTES = 256 * 1024
#: Heavy jobs that may wait. Each may take as long as the time-out says, and nobody waits for a hundred of them.
MAX_HEAVY = 16


@dataclass(eq=False)
class Ticket:
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
        """Give the caller the reply, unless it has gone."""
        if self.future.done():
            return
        if isinstance(reply, Done):
            self.future.set_result(reply)
        else:
            self.future.set_exception(reply)


class Lanes:
    """Both lanes of a pool, in one event loop. One caller at a time collects, so that a burst becomes one batch.

    ``processes`` are those that take from here; a light batch has at most ``most`` jobs and waits ``wait`` seconds for
    them.
    """

    def __init__(self, *, processes: int, most: int, wait: float, metrics: Metrics) -> None:
        self._processes, self._most, self._wait, self._metrics = processes, most, wait, metrics
        self.light: deque[Ticket] = deque()
        self.heavy: deque[Ticket] = deque()
        self.heavy_running = self._counted = 0
        self._heavy_last = False
        self._work, self._collecting = asyncio.Event(), asyncio.Lock()

    def put(self, ticket: Ticket) -> None:
        """Queue a job in its lane."""
        (self.heavy if ticket.envelope.heavy else self.light).append(ticket)
        self._count()
        self.wake()

    def put_back(self, ticket: Ticket) -> None:
        """Queue a light job before all others: its batch had no time for it."""
        self.light.appendleft(ticket)
        self.wake()

    def wake(self) -> None:
        """Something changed for whoever collects."""
        self._work.set()

    @property
    def heavy_full(self) -> bool:
        """Whether no more heavy jobs may wait."""
        return len(self.heavy) >= MAX_HEAVY

    def clear(self) -> list[Ticket]:
        """Take everything that waits."""
        waiting = [*self.light, *self.heavy]
        self.light.clear()
        self.heavy.clear()
        self._count()
        return waiting

    def _count(self) -> None:
        # By differences: a hub has two pools and one gauge.
        waiting = len(self.light) + len(self.heavy)
        self._metrics.queue.inc(waiting - self._counted)
        self._counted = waiting

    def _may_take_heavy(self) -> bool:
        room = self.heavy_running < max(1, self._processes - 1)
        return bool(self.heavy) and room and not (self._heavy_last and self.light)

    async def collect(self) -> list[Ticket]:
        """The next batch: one heavy job, or light ones up to the limit within the waiting time."""
        async with self._collecting:
            while not self.light and not self._may_take_heavy():
                self._work.clear()
                await self._work.wait()
            if self._may_take_heavy():
                self._heavy_last = True
                return self._take(self.heavy, 1)
            self._heavy_last = False
            deadline = asyncio.get_running_loop().time() + self._wait
            while self._wait and len(self.light) < self._most:
                self._work.clear()
                try:
                    async with asyncio.timeout_at(deadline):
                        await self._work.wait()
                except TimeoutError:
                    break
            return self._take(self.light, self._most)

    def _take(self, queue: deque[Ticket], most: int) -> list[Ticket]:
        out: list[Ticket] = []
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
