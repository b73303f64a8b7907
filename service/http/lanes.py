"""Who is let in when: one lane for each kind of caller, each with its own room, so that none can fill another's.

A lane takes so many requests at a time. What finds no room waits a moment, first come first served, and is then turned
away; for how long differs from one to the next, so that a crowd that came together does not come back together.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable

from zkmargin.service.errors import Overloaded

#: The lanes. Strangers verify proofs, or read what is public (and whoever has not yet signed rightly is one);
#: callers have signed with a key that is known here; operators too, and can act whatever callers do.
VERIFY, PUBLIC, CALLERS, OPERATORS = "verify", "public", "callers", "operators"
#: Whoever asks how the service is: answered even when it is full, so that it is not taken for dead.
HEALTH, METRICS = "health", "metrics"
STRANGERS = frozenset({VERIFY, PUBLIC, HEALTH, METRICS})
#: Milliseconds that a stranger waits for room, at least and at most: his connection asks for nothing else meanwhile.
WAIT_MS = (1000, 5000)
#: Strangers that wait for room in a lane.
WAITING = 1024
#: Places of the operators' own, and of those who read what is public in a hub: they take the ledger's threads.
OPERATORS_ROOM, PUBLIC_ROOM = 32, 2
#: Seconds between two strangers of a lane while a hub's callers are at work.
GAPS = {VERIFY: 0.02, PUBLIC: 0.05, HEALTH: 0.01, METRICS: 0.2}
#: Of which they keep so much while no caller is there.
IDLE = 0.1
#: Bytes of strangers' bodies that one process reads in a second, and seconds that it may be ahead of that.
STRANGERS_BYTES = 32 * 1024 * 1024
BURST_SECONDS = 0.05
#: Seconds after which whoever was turned away may come again.
RETRY_AFTER = 2


class Lane:
    """Room for ``most`` requests, and for ``waiting`` that wait for it.

    While ``busy`` says so, one is let in every ``gap`` seconds: what strangers may take of the event loop and of the
    interpreter while callers need them. Otherwise a tenth of that, so that a caller who comes finds no crowd inside.
    """

    def __init__(
        self, most: int, *, waiting: int = 0, gap: float = 0.0, busy: Callable[[], bool] = lambda: False
    ) -> None:
        self.most, self.waiting, self.gap, self.busy = most, waiting, gap, busy
        self.running = 0
        self._next = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._queue: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Take a place, to be given back by :meth:`leave`; ``Overloaded`` when there is none in time."""
        if len(self._queue) >= self.waiting and (self.running >= self.most or self._queue):
            raise Overloaded("too many requests in progress", retry_after=RETRY_AFTER)
        place = asyncio.get_running_loop().create_future()
        self._queue.append(place)
        self._advance()
        if place.done():
            return
        low, high = WAIT_MS
        try:
            async with asyncio.timeout((low + secrets.randbelow(high - low + 1)) / 1000):
                await place
        except BaseException as err:
            if place.done() and not place.cancelled():
                # Let in at the very moment that it gave up.
                if isinstance(err, TimeoutError):
                    return
                self.leave()
            elif place in self._queue:
                self._queue.remove(place)
            if isinstance(err, TimeoutError):
                raise Overloaded("too many requests in progress", retry_after=RETRY_AFTER) from None
            raise

    def leave(self) -> None:
        """Give a place back."""
        self.running -= 1
        self._advance()

    def _advance(self) -> None:
        """Let in who may come now; look again when the next one may."""
        loop = asyncio.get_running_loop()
        while self._queue and self.running < self.most:
            wait = self._next - loop.time()
            if wait > 0:
                if self._timer is None:
                    self._timer = loop.call_later(wait, self._again)
                return
            place = self._queue.popleft()
            if not place.done():
                self.running += 1
                self._next = loop.time() + self.gap * (1.0 if self.busy() else IDLE)
                place.set_result(None)

    def _again(self) -> None:
        self._timer = None
        self._advance()


class Sluice:
    """So many bytes a second of strangers' bodies, all together: reading them is work too, wanted or not."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._next = 0.0

    def delay(self, size: int, now: float) -> float:
        """Seconds to wait before more is read by whoever has read so many bytes."""
        self._next = max(now, self._next) + size / self.rate
        return max(0.0, self._next - now - BURST_SECONDS)
