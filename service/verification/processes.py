"""One verification process: started, warmed, given batches, and replaced when it died or hangs."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait

from zkmargin.circuits.errors import ZkMarginError
from zkmargin.circuits.rules.registration import register_installed
from zkmargin.service.observability import diagnostics
from zkmargin.service.verification.jobs import Envelope, Reply

#: A process that can't be started is tried again after so many seconds.
RETRY_START = 0.5
START_TIMEOUT = 60.0
#: What is raised where a process died or does not answer in time.
LOST = (BrokenProcessPool, TimeoutError)


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


class Process:
    """A verification process. ``keep`` snapshots stay parsed in it; ``nice`` lowers its priority; ``rules`` are those
    that the server registered.
    """

    def __init__(self, *, keep: int, nice: int, rules: tuple[str, ...]) -> None:
        self.keep, self.nice, self.rules = keep, nice, rules
        self.pid = 0
        self.ready = False
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["zkmargin.service.verification.worker"])
        self._diagnostics = diagnostics.reporter()
        self._executor = self._new_executor()

    def _new_executor(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            1, mp_context=self._context, initializer=_settle_down, initargs=(self.nice, self.rules)
        )

    async def warm(self) -> None:
        """Wait until it can take work. Raises one of :data:`LOST`, or ``CorruptData`` for a damaged installation."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(START_TIMEOUT):
            self.pid = await loop.run_in_executor(self._executor, _start, self.keep)
        self.ready = True

    async def run(self, envelopes: list[Envelope]) -> list[Reply]:
        """The replies to a batch. Raises ``BrokenProcessPool`` when the process dies."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, _run, envelopes)

    async def replace(self) -> None:
        """End it and start another in its place, however long that takes."""
        while True:
            self.kill()
            self._executor = self._new_executor()
            try:
                await self.warm()
            except (*LOST, ZkMarginError) as err:
                self._diagnostics.error("process not started", kind=type(err).__name__)
                await asyncio.sleep(RETRY_START)
            else:
                return

    def kill(self) -> None:
        """End it now. It holds nothing that would be lost, and it may be beyond asking."""
        self.ready = False
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.pid = 0
        self._executor.shutdown(wait=False, cancel_futures=True)

    def shut_down(self) -> None:
        """Wait for its end, after :meth:`kill`."""
        self._executor.shutdown()
