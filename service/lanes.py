"""Who is let in when: one lane for each kind of caller, each with its own room, so that none can fill another's.

A lane takes so many requests at a time. What finds no room waits a moment, first come first served, and is then turned
away; for how long differs from one to the next, so that a crowd that came together does not come back together.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque

from .errors import Overloaded

#: The lanes. Strangers verify proofs, or read what is public (and whoever has not yet signed rightly is one);
#: callers have signed with a key that is known here; operators too, and can act whatever callers do.
VERIFY, PUBLIC, CALLERS, OPERATORS = "verify", "public", "callers", "operators"
STRANGERS = frozenset({VERIFY, PUBLIC})
#: Milliseconds that a stranger waits for room, at least and at most: his connection asks for nothing else meanwhile.
WAIT_MS = (500, 2500)
#: Strangers that wait for room in a lane.
WAITING = 1024
#: Places of the operators' own, and of those who read what is public in a hub: they take the ledger's threads.
OPERATORS_ROOM, PUBLIC_ROOM = 32, 2
#: Seconds after which whoever was turned away may come again.
RETRY_AFTER = 2


class Lane:
    """Room for ``most`` requests, and for ``waiting`` that wait for it."""

    def __init__(self, most: int, *, waiting: int = 0) -> None:
        self.most, self.waiting = most, waiting
        self.running = 0
        self._queue: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        """Take a place, to be given back by :meth:`leave`; ``Overloaded`` when there is none in time."""
        if self.running < self.most and not self._queue:
            self.running += 1
            return
        if len(self._queue) >= self.waiting:
            raise Overloaded("too many requests in progress", retry_after=RETRY_AFTER)
        place = asyncio.get_running_loop().create_future()
        self._queue.append(place)
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
            else:
                self._queue.remove(place)
            if isinstance(err, TimeoutError):
                raise Overloaded("too many requests in progress", retry_after=RETRY_AFTER) from None
            raise

    def leave(self) -> None:
        """Give a place back."""
        self.running -= 1
        while self._queue and self.running < self.most:
            place = self._queue.popleft()
            if not place.done():
                self.running += 1
                place.set_result(None)
