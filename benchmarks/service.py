"""The service under load beside the bare library: real server processes, one client process, one machine.

Verification: closed loop for capacity, then an open loop (requests leave on time, answered or not) at half the
required rate for latency. Credits: signed requests for as many accounts, each with its own proof made before.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zkmargin.circuits.documents.statement import statement_from_bytes

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import load

#: What issue and design ask for on two cores.
VERIFY_PER_SECOND, VERIFY_P99_MS, CREDITS_PER_SECOND = 250, 100, 60
#: Distinct proofs that the verification calls take turns with.
PROOFS = 64
Tree = dict[str, Any]


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def serving(environment: dict[str, str], directory: Path, workers: int) -> Iterator[Any]:
    """A server process, ready."""
    from tests.support.servers import ServerProcess

    server = ServerProcess({"ZKMARGIN_LOG_LEVEL": "warning"} | environment, directory, workers=workers)
    server.start()
    try:
        server.wait_ready()
        yield server
        server.stop()
    finally:
        server.kill()


def bare(items: list[Any]) -> float:
    """Proofs a second of the library's batch verification, on one core."""
    from zkmargin.verifier.batch import verify_batch

    verify_batch(items)
    begin, cpu, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - begin < 3:
        assert not any(verify_batch(items))
        count += len(items)
    # By CPU time, so that a machine shared with others does not flatter the service beside it.
    return count / (time.process_time() - cpu)


def verification(seconds: float, workers: int) -> Tree:
    """The verifier role."""
    from tests.support import services as support
    from zkmargin.verifier.verify import Item

    say("proving for the verifier role")
    snapshot, bodies, items = support.fresh_snapshot(), [], []
    for number in range(PROOFS):
        tree = json.loads(support.request_text(str(10 + number)))
        del tree["snapshot"]
        bodies.append(load.request("/v1/proofs/verify", json.dumps(tree).encode()))
        stated = statement_from_bytes(json.dumps(tree["statement"]).encode())
        items.append(Item(stated, snapshot, bytes.fromhex(tree["proof"]["proof"])))
    say("the bare library")
    library = bare(items)
    with tempfile.TemporaryDirectory() as place:
        known = Path(place) / "snapshot.json"
        known.write_bytes(snapshot.to_bytes())
        environment = {"ZKMARGIN_ROLE": "verifier", "ZKMARGIN_SNAPSHOTS": json.dumps([str(known)])}
        with serving(environment, Path(place), workers) as server:
            pid = server.process.pid
            load.measured(load.closed(server.port, bodies, connections=32, seconds=1, once=False), pid)
            say("verification, closed loop")
            capacity = load.measured(load.closed(server.port, bodies, connections=64, seconds=seconds, once=False), pid)
            say("verification, open loop")
            half = VERIFY_PER_SECOND / 2
            latency = load.measured(
                load.opened(server.port, bodies, rate=half, count=int(half * seconds)), pid
            )  # fmt: skip
    return {
        "bare library, one core": {"per second": round(library, 1)},
        "capacity (64 connections)": capacity.to_json() | {"of the library": round(capacity.rate / library, 2)},
        f"at {half:g} a second": latency.to_json(),
        f"at least {VERIFY_PER_SECOND} a second": capacity.rate >= VERIFY_PER_SECOND,
        f"p99 under {VERIFY_P99_MS} ms at half of that": latency.quantile(0.99) < VERIFY_P99_MS,
    }


def premade(hub: Any, snapshot: Any, count: int) -> list[Tree]:
    """Accounts with cash, each with a credit request proved."""
    from tests.support.hubs import Signer
    from zkmargin.circuits.purpose import ForCredit
    from zkmargin.prover.documents import make_statement
    from zkmargin.prover.prove import prove
    from zkmargin.service.client.holder import evidence_of
    from zkmargin.service.client.negotiation import authorise
    from zkmargin.service.ledger import accounts, epochs
    from zkmargin.verifier.facts.attestation import verify_attestation
    from zkmargin.verifier.facts.hub_keys import public_key

    key, out = public_key(bytes.fromhex(hub.made["key"])), []
    for number in range(count):
        name, signer = f"account-{number}", Signer()
        work = hub.ledger.database.write
        work(
            lambda tx, name=name, signer=signer: accounts.open_account(
                hub.ledger, tx, name, key=signer.public, encryption_key=signer.encryption_public, jurisdiction=None
            )
        )
        work(lambda tx, name=name: accounts.deposit(hub.ledger, tx, name, "QUOTE-0", "1000", f"receipt-{name}"))
        held = hub.ledger.database.read(lambda tx, name=name: epochs.read_account(hub.ledger, tx, name))
        state = hub.ledger.database.read(lambda tx, name=name, held=held: epochs.attested(tx, name, held.epoch))
        attested = verify_attestation(state.document.encode(), key)
        expiry = int(time.time()) + 3000
        purpose = ForCredit("spoke-a", "300", expiry + 600)
        stated = make_statement(snapshot, attested, venue="spoke-a", amount="300", expiry=expiry, purpose=purpose)
        proof = prove(stated, snapshot, held.portfolio.opening(snapshot))
        body = evidence_of(stated, proof, authorise(stated, signer.key, now=int(time.time())))
        out.append(body | {"amount": "300", "expires": purpose.expires})
        if number % 50 == 49:
            say(f"accounts proved: {number + 1} of {count}")
    return out


def signed(hub: Any, bodies: list[Tree]) -> tuple[list[bytes], float]:
    """Requests of the venue, and the seconds of CPU that signing each took. They are good for a minute."""
    from zkmargin.service.client.signing import RequestSigner

    signer, begin, out = RequestSigner(hub.signers["venue/spoke-a"].key, "hub-1"), time.process_time(), []
    for number, tree in enumerate(bodies):
        body = json.dumps(tree).encode()
        plain = {"content-type": "application/json", "idempotency-key": f"bench-{time.time_ns()}-{number}"}
        headers = signer.sign("POST", "/v1/credits", "", plain, body, now=int(time.time()))
        out.append(load.request("/v1/credits", body, headers))
    return out, (time.process_time() - begin) / len(bodies)


@contextmanager
def served_hub(workers: int, database: str) -> Iterator[tuple[Any, Any, Any]]:
    """A hub on a fresh database, its snapshot, and its server, with a venue that may take any credit."""
    import httpx2

    from tests.support.hubs import Hub, Session, hub_snapshot, postgres_url, sqlite_url

    with tempfile.TemporaryDirectory() as place:
        urls = postgres_url() if database == "postgresql" else iter([sqlite_url(Path(place))])
        url = next(urls)
        hub = Hub(url)
        environment = {
            "ZKMARGIN_ROLE": "hub", "ZKMARGIN_DATABASE_URL": url,
            "ZKMARGIN_STORAGE_KEYS": ",".join(k.secret.hex() for k in hub.ring.keys),
        }  # fmt: skip
        snapshot = hub_snapshot(hub.now - 5, instruments=4, scenarios=3)
        with serving(environment, Path(place), workers) as server:
            with httpx2.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as http:
                session = Session(hub, http)
                session.publish(snapshot)
                session.venue("spoke-a", cap="100000000", zone_cap="100000000")
            yield hub, snapshot, server
        hub.database.close()
        for _ in urls:
            pass


def credit_requests(count: int, workers: int, database: str) -> Tree:
    """The hub role on a fresh database."""
    with served_hub(workers, database) as (hub, snapshot, server):
        pid = server.process.pid
        bodies = premade(hub, snapshot, count + 40)
        requests, _ = signed(hub, bodies[:40])
        load.measured(load.closed(server.port, requests, connections=8, seconds=60, once=True), pid)
        parts = bodies[40 : 40 + count * 2 // 3], bodies[40 + count * 2 // 3 :]
        say("credits, closed loop")
        requests, cost = signed(hub, parts[0])
        capacity = load.measured(load.closed(server.port, requests, connections=16, seconds=60, once=True), pid)
        say("credits, open loop")
        requests, _ = signed(hub, parts[1])
        half = CREDITS_PER_SECOND / 2
        latency = load.measured(load.opened(server.port, requests, rate=half, count=len(requests)), pid)
    return {
        "capacity (16 connections)": capacity.to_json(),
        f"at {half:g} a second": latency.to_json(),
        "signing, client CPU ms each": round(1000 * cost, 2),
        f"at least {CREDITS_PER_SECOND} a second": capacity.rate >= CREDITS_PER_SECOND,
    }


def show(tree: Tree, *, by_run: bool = False) -> None:
    """Tables for people: a column for each run, or with ``by_run`` a line, for many runs of few figures."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for title, part in tree.items():
        if not isinstance(part, dict):
            console.print(f"{title}: {part}")
            continue
        runs = {name: run for name, run in part.items() if isinstance(run, dict)}
        table = Table(title=title)
        measures = tuple(dict.fromkeys(measure for run in runs.values() for measure in run))
        table.add_column("")
        for name in measures if by_run else runs:
            table.add_column(name, justify="right")
        if by_run:
            for name, run in runs.items():
                table.add_row(name, *(_cell(run.get(measure, "")) for measure in measures))
        else:
            for measure in measures:
                table.add_row(measure, *(_cell(run.get(measure, "")) for run in runs.values()))
        console.print(table)
        for name, value in part.items():
            if name not in runs:
                console.print(f"{name}: {value}")


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count} x {name}" for name, count in value.items())
    return str(value)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["verify", "credits"])
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each verification run")
    parser.add_argument("--credits", type=int, default=450, help="credit requests, each with its own account and proof")
    parser.add_argument("--workers", type=int, default=1, help="server processes")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    tree: Tree = {"cores": os.cpu_count(), "load average before": round(os.getloadavg()[0], 2)}
    if arguments.only != "credits":
        tree["verification"] = verification(arguments.seconds, arguments.workers)
    if arguments.only != "verify":
        name = f"credit requests on {arguments.database}"
        tree[name] = credit_requests(arguments.credits, arguments.workers, arguments.database)
    tree["load average after"] = round(os.getloadavg()[0], 2)
    if arguments.json:
        print(json.dumps(tree, indent=1))
    else:
        show(tree)


if __name__ == "__main__":
    main()
