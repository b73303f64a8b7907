"""Credits while strangers flood the hub: a real server, a real database, and crowds in processes of their own.

    python benchmarks/flood.py [--strangers 800] [--credits 300] [--database postgresql] [--floods verify,junk] [--json]

The same closed loop of credit requests runs without a flood and then under it. The crowds run at the lowest
priority, since in the world they bring machines of their own. Printed: rate, share of the rate without a flood, p99.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from zkmargin.circuits.documents.statement import statement_from_bytes

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import load, service

#: What the design asks for under any flood from outside.
LEAST_SHARE, MOST_P99_MS = 0.5, 500
#: Processes of a crowd, and connections over which credits are asked for.
CROWDS, CALLERS = 2, 8
#: Seconds that a crowd gets to fill every queue.
SETTLE = 3.0
JUNK = (
    b"POST /v1/credits HTTP/1.1\r\nhost: hub\r\ncontent-type: application/json\r\ncontent-length: 2\r\n"
    b'signature-input: s=("@method");created=1;expires=2;nonce="AAAAAAAAAAAAAAAA";'
    b'keyid="00000000000000000000000000000000";alg="ed25519";tag="zkmargin/1:hub-1"\r\nsignature: s=:AAAA:\r\n\r\n{}'
)
METRICS = b"GET /metrics HTTP/1.1\r\nhost: hub\r\n\r\n"
PUBLIC = b"GET /v1/snapshots/latest HTTP/1.1\r\nhost: hub\r\n\r\n"
LARGE = 9 * 1024 * 1024


def unsigned() -> bytes:
    """A body of nine megabytes that nobody signed."""
    body = b"[" + b'"0",' * (LARGE // 4) + b"0]"
    return bytes(load.request("/v1/snapshots", body))


def verification(number: int) -> bytes:
    """A proof to verify with all its documents, under terms that are new to the verifier every few calls."""
    from tests.support import services

    tree = json.loads(services.request_text())
    del tree["attestation"]
    tree["statement"]["multiplier"] = f"1.{number:04}1"
    tree["proof"]["statement"] = statement_from_bytes(json.dumps(tree["statement"]).encode()).digest.hex()
    return bytes(load.request("/v1/proofs/verify", json.dumps(tree).encode()))


FLOODS: dict[str, Callable[[], list[bytes]]] = {
    "verify": lambda: [load.request("/v1/proofs/verify", _valid())],
    "terms": lambda: [verification(number) for number in range(400)],
    "junk": lambda: [JUNK],
    "public": lambda: [PUBLIC],
    "metrics": lambda: [METRICS],
    "unsigned": lambda: [unsigned()],
}


def _valid() -> bytes:
    from tests.support import services

    return bytes(services.request_text().encode())


async def crowd(port: int, requests: list[bytes], connections: int, seconds: float) -> Counter[str]:
    """Ask as fast as answers come, over so many connections, and again when one is dropped."""
    answers: Counter[str] = Counter()
    end = time.monotonic() + seconds

    async def stranger(number: int) -> None:
        turn = number
        while time.monotonic() < end:
            line = load._Line(port)
            try:
                while time.monotonic() < end:
                    turn += 1
                    status, _ = await line.send(requests[turn % len(requests)])
                    answers[status] += 1
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                answers["dropped"] += 1
                await asyncio.sleep(0.1)
            finally:
                if line.streams is not None:
                    line.streams[1].close()

    tasks = [asyncio.create_task(stranger(number)) for number in range(connections)]
    await asyncio.wait(tasks, timeout=seconds + 1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return answers


@contextmanager
def flooded(port: int, kind: str, strangers: int, seconds: float) -> Iterator[Counter[str]]:
    """A crowd at work; what it was answered is in the counter afterwards."""
    command = [sys.executable, __file__, "--crowd", kind, "--port", str(port), "--seconds", str(seconds)]
    command += ["--strangers", str(strangers // CROWDS)]
    crowds = [subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) for _ in range(CROWDS)]
    answers: Counter[str] = Counter()
    for one in crowds:
        assert one.stdout is not None
        one.stdout.readline()  # it is prepared
    time.sleep(SETTLE)
    try:
        yield answers
    finally:
        for one in crowds:
            out, _ = one.communicate()
            answers.update(json.loads(out))


def measure(count: int, strangers: int, floods: list[str], database: str) -> dict[str, Any]:
    """Rates and latencies of credits, without a flood and under each."""
    out: dict[str, Any] = {}
    with service.served_hub(1, database) as (hub, snapshot, server):
        pid = server.process.pid
        runs = 2 * len(floods)
        bodies = service.premade(hub, snapshot, count * runs + 20)
        requests, _ = service.signed(hub, bodies[:20])
        load.measured(load.closed(server.port, requests, connections=CALLERS, seconds=60, once=True), pid)
        parts = [bodies[20 + i * count : 20 + (i + 1) * count] for i in range(runs)]

        def credits(part: list[Any]) -> load.Run:
            requests, _ = service.signed(hub, part)
            loop = load.closed(server.port, requests, connections=CALLERS, seconds=60, once=True)
            return load.measured(loop, pid)

        for kind in floods:
            # Beside each flood a run without one, since the machine may have other work at another time.
            service.say("credits without a flood")
            alone = credits(parts.pop())
            service.say(f"credits while {strangers} strangers flood: {kind}")
            seconds = SETTLE + 4 * alone.seconds + 3
            with flooded(server.port, kind, strangers, seconds) as answers:
                run = credits(parts.pop())
            out[f"without {kind}"] = _shown(alone, alone)
            out[kind] = _shown(run, alone) | {"strangers' answers": dict(answers)}
    return out


def _shown(run: load.Run, alone: load.Run) -> dict[str, Any]:
    return {
        "credits": len(run.latencies), "per second": round(run.rate, 1), "share": round(run.rate / alone.rate, 2),
        "p50 ms": round(run.quantile(0.5), 1), "p99 ms": round(run.quantile(0.99), 1), "answers": dict(run.statuses),
    }  # fmt: skip


def main() -> None:
    """Run what is asked for, or be a crowd."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strangers", type=int, default=800)
    parser.add_argument("--credits", type=int, default=300, help="of each run, each with its own account and proof")
    parser.add_argument("--floods", default=",".join(FLOODS), help=", ".join(FLOODS))
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--crowd", choices=list(FLOODS), help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.crowd:
        os.nice(19)
        # Linux may share the processor by sessions first; the crowd's own then goes last too.
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text("19")
        requests = FLOODS[given.crowd]()
        print(flush=True)
        print(json.dumps(asyncio.run(crowd(given.port, requests, given.strangers, given.seconds))))
        return
    tree = measure(given.credits, given.strangers, given.floods.split(","), given.database)
    floods = [run for name, run in tree.items() if not name.startswith("without ")]
    tree[f"at least {LEAST_SHARE} of the rate"] = all(run["share"] >= LEAST_SHARE for run in floods)
    tree[f"p99 under {MOST_P99_MS} ms"] = all(run["p99 ms"] < MOST_P99_MS for run in floods)
    if given.json:
        print(json.dumps(tree, indent=1))
    else:
        service.show({f"credits under a flood of {given.strangers}": tree}, by_run=True)


if __name__ == "__main__":
    main()
