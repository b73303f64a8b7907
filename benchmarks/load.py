"""Load on an HTTP service from one client process: closed loop for capacity, open loop for latency.

Raw sockets on asyncio and a parser of the few lines that are needed, so that the client costs little beside the server;
what it costs is measured all the same.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Run:
    """What a run measured. Latencies in seconds; in an open loop from when a request was due, not from when it left."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    client_cpu: float = 0.0
    server_cpu: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        """A latency in milliseconds."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def to_json(self) -> dict[str, Any]:
        """Rounded, for tables and programs."""
        count = len(self.latencies)
        return {
            "requests": count, "per second": round(self.rate, 1), "p50 ms": round(self.quantile(0.5), 1),
            "p95 ms": round(self.quantile(0.95), 1), "p99 ms": round(self.quantile(0.99), 1),
            "client CPU ms each": round(1000 * self.client_cpu / count, 2),
            "server CPU ms each": round(1000 * self.server_cpu / count, 2), "answers": dict(self.statuses),
        }  # fmt: skip


def request(path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """The bytes of a POST."""
    lines = {"host": "service", "content-type": "application/json", "content-length": str(len(body))} | (headers or {})
    return f"POST {path} HTTP/1.1\r\n".encode() + b"".join(f"{k}: {v}\r\n".encode() for k, v in lines.items()) + (
        b"\r\n" + body
    )  # fmt: skip


class _Line:
    """One kept connection."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, data: bytes) -> tuple[str, bytes]:
        """Send a request; gives status and body."""
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)
        reader, writer = self.streams
        writer.write(data)
        head = await reader.readuntil(b"\r\n\r\n")
        lower = head.lower()
        start = lower.index(b"content-length:") + 15
        body = await reader.readexactly(int(lower[start : lower.index(b"\r\n", start)]))
        return head[9:12].decode(), body


def _kind(status: str, body: bytes) -> str:
    if b'"code":' in body and status[0] != "2":
        return status + " " + body.split(b'"code":')[1].split(b'"')[1].decode()
    return status + (" invalid" if b'"verdict":"invalid"' in body else "")


async def closed(port: int, requests: Sequence[bytes], *, connections: int, seconds: float, once: bool) -> Run:
    """As many as the service takes from so many connections; ``once`` sends each request once, else in turn."""
    run, lines, turn = Run(), [_Line(port) for _ in range(connections)], iter(range(2**62))
    begin = time.perf_counter()

    async def work(line: _Line) -> None:
        while time.perf_counter() - begin < seconds:
            number = next(turn)
            if once and number >= len(requests):
                return
            left = time.perf_counter()
            status, body = await line.send(requests[number % len(requests)])
            run.latencies.append(time.perf_counter() - left)
            run.statuses[_kind(status, body)] += 1

    await asyncio.gather(*(work(line) for line in lines))
    run.seconds = time.perf_counter() - begin
    return run


async def opened(port: int, requests: Sequence[bytes], *, rate: float, count: int) -> Run:
    """``count`` requests at a fixed rate, whether or not earlier ones were answered."""
    run, idle = Run(), [_Line(port) for _ in range(32)]
    begin = time.perf_counter() + 0.1
    await asyncio.gather(*(line.send(_HEALTH) for line in idle))

    async def one(number: int) -> None:
        due = begin + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        line = idle.pop() if idle else _Line(port)
        status, body = await line.send(requests[number % len(requests)])
        idle.append(line)
        run.latencies.append(time.perf_counter() - due)
        run.statuses[_kind(status, body)] += 1

    await asyncio.gather(*(one(number) for number in range(count)))
    run.seconds = time.perf_counter() - begin
    return run


_HEALTH = b"GET /health/live HTTP/1.1\r\nhost: service\r\n\r\n"


def measured(coroutine: Any, server: int) -> Run:
    """Run a loop and add what client and server (with all its processes) cost."""
    cpu, ours = cpu_of(server), time.process_time()
    run: Run = asyncio.run(coroutine)
    run.client_cpu, run.server_cpu = time.process_time() - ours, cpu_of(server) - cpu
    return run


def cpu_of(root: int) -> float:
    """CPU seconds of a process and all below it; 0 where there is no /proc."""
    spent: dict[int, float] = {}
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            values = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        number = int(path.parent.name)
        parents[number], spent[number] = int(values[1]), (int(values[11]) + int(values[12])) / TICK
    total, family = 0.0, {root}
    for number in sorted(parents):
        if number in family or parents[number] in family:
            family.add(number)
            total += spent[number]
    return total
