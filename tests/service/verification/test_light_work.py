"""What strangers may ask of a verification process: light work is bounded for a batch, heavy work for a job."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.service.verification.test_workers import batches, with_pool
from tests.support.services import Tree, fresh_snapshot, job, request
from zkmargin.circuits import statement
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.documents.statement import statement_from_bytes
from zkmargin.circuits.rules import work
from zkmargin.service.errors import Overloaded, TooExpensive
from zkmargin.service.http.routes.proofs.schemas import MAX_SNAPSHOTS
from zkmargin.service.verification import budget, cases, lanes, parsed, worker
from zkmargin.service.verification.jobs import Again, Answer, BodyJob, Done, Envelope, Job, Later, Missing, Reply
from zkmargin.service.verification.pool import VerifierPool


def under(multiplier: str, *, spoiled: bool = False) -> Tree:
    """A call whose statement needs a system of its own; its proof is of another statement, and said to be of this."""
    tree = request()
    del tree["attestation"]
    tree["statement"]["multiplier"] = multiplier
    if spoiled:
        tree["statement"]["overlays"] = ["nonesuch"]
    tree["proof"]["statement"] = statement_from_bytes(json.dumps(tree["statement"]).encode()).digest.hex()
    return tree


def body(tree: Tree) -> BodyJob:
    return BodyJob(json.dumps(tree).encode())


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Systems built from now on."""
    request()  # proved once, which compiles too
    built: list[int] = []
    real: Callable[..., Any] = statement.build
    monkeypatch.setattr(statement, "build", lambda *given: (built.append(1), real(*given))[1])
    statement.forget_compiled()
    return built


def run(here: worker.Worker, jobs: list[Job], *, heavy: bool = False) -> list[Reply]:
    return here.run([Envelope(j, heavy=heavy) for j in jobs])


def test_statements_of_other_terms_do_not_multiply_the_work_of_a_light_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """256 multipliers are 256 systems. Whatever comes, a batch compiles a bounded number of them."""
    steps = work.steps(fresh_snapshot(), "maintenance", ())
    assert steps is not None
    monkeypatch.setattr(budget, "LIGHT_STEPS", 3 * steps)
    built, here = counted(monkeypatch), worker.Worker()
    jobs: list[Job] = [body(under(f"1.{i:03}1")) for i in range(8)]
    rounds = 0
    while jobs:
        before = len(built)
        replies = run(here, jobs)
        assert len(built) - before <= 3
        assert isinstance(replies[0], Done)
        jobs = [j for j, reply in zip(jobs, replies, strict=True) if reply == Again()]
        rounds += 1
    assert (rounds, len(built)) == (3, 8)
    # What is compiled costs no more: all of them in one batch.
    jobs = [body(under(f"1.{i:03}1")) for i in range(8)]
    assert all(isinstance(reply, Done) for reply in run(here, jobs))
    assert len(built) == 8


def test_refusals_to_compile_do_not_multiply_either(monkeypatch: pytest.MonkeyPatch) -> None:
    built, here = counted(monkeypatch), worker.Worker()
    replies = run(here, [body(under("1.5", spoiled=True)) for _ in range(6)])
    assert len(built) == 1
    for reply in replies:
        assert isinstance(reply, Done)


def test_a_call_of_many_may_ask_for_so_many_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = work.steps(fresh_snapshot(), "maintenance", ())
    assert steps is not None
    monkeypatch.setattr(budget, "HEAVY_STEPS", 3 * steps)
    built, here = counted(monkeypatch), worker.Worker()

    def many(count: int) -> BodyJob:
        items = [{k: under(f"1.{i:03}2")[k] for k in ("statement", "proof")} for i in range(count)]
        tree = {"items": items + items, "snapshots": [request()["snapshot"]]}
        return BodyJob(json.dumps(tree).encode(), many=True)

    (refused,) = run(here, [many(4)], heavy=True)
    assert isinstance(refused, TooExpensive)
    assert built == []
    (answered,) = run(here, [many(3)], heavy=True)
    assert isinstance(answered, Done)
    assert (len(answered.results), len(built)) == (6, 3)


def test_a_large_body_is_not_even_parsed_in_the_light_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "parse_body", lambda _: pytest.fail("parsed"))
    padded = BodyJob(b'{"a":' + b" " * budget.HEAVY_BYTES + b"1}")
    assert run(worker.Worker(), [padded]) == [Later()]
    with pytest.raises(pytest.fail.Exception):  # the control: a small one is
        run(worker.Worker(), [BodyJob(b"{}")])


def test_overlays_make_work_heavy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two calls of 88 kB stopped a verifier for 20 s: each overlay entry made a row for every instrument."""
    tree = request()
    tree["snapshot"]["rule"]["overlays"] = {
        "x": [{"type": "banned", "instruments": [line["id"] for line in tree["snapshot"]["instruments"]] * 100}] * 15
    }
    tree["statement"] |= {
        "overlays": ["x"],
        "snapshot": snapshot_from_bytes(json.dumps(tree["snapshot"]).encode()).digest.hex(),
    }
    del tree["attestation"]
    built, here = counted(monkeypatch), worker.Worker()
    assert len(body(tree).body) < budget.HEAVY_BYTES
    assert run(here, [body(tree)]) == [Later()]
    assert built == []
    monkeypatch.setattr(budget, "LIGHT_STEPS", 2**40)  # the control
    monkeypatch.setattr(budget, "BATCH_STEPS", 2**40)
    assert isinstance(run(here, [body(tree)])[0], Done)


def test_a_rule_of_somebody_elses_is_heavy_until_it_is_compiled() -> None:
    tree = request()
    tree["snapshot"]["rule"] = {"id": "someone/1", "parameters": {}}
    tree["statement"] |= {
        "rule": "someone/1", "snapshot": snapshot_from_bytes(json.dumps(tree["snapshot"]).encode()).digest.hex()
    }  # fmt: skip
    del tree["attestation"]
    assert run(worker.Worker(), [body(tree)]) == [Later()]
    assert isinstance(run(worker.Worker(), [body(tree)], heavy=True)[0], Done)


def test_memory_of_what_strangers_sent_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    here = worker.Worker(keep=100)
    monkeypatch.setattr(parsed, "KEPT_BYTES", 3 * len(fresh_snapshot().to_bytes()))
    for time in range(10):
        tree = request()
        tree["snapshot"]["time"] = 1_700_000_000 + time
        run(here, [body(tree)])
        assert 1 <= len(here.snapshots) <= 3
    steps = work.steps(fresh_snapshot(), "maintenance", ())
    assert steps is not None
    monkeypatch.setattr(budget, "COMPILED_STEPS", 2 * steps)
    forgotten: list[int] = []
    monkeypatch.setattr(budget, "forget_matrices", lambda: forgotten.append(1))
    for i in range(7):
        run(here, [body(under(f"1.{i:03}3"))])
        assert sum(kept.steps for kept in here.budget.held.values()) <= 2 * steps
    assert len(forgotten) == 2


def refused(number: int, how: str) -> Tree:
    """A call with a snapshot of its own, which is looked at and refused, or not, after it was kept."""
    tree = request()
    del tree["attestation"]
    tree["snapshot"]["source"] = f"{number}"
    match how:
        case "parameters":
            tree["snapshot"]["rule"]["parameters"] = {"nonesuch": number}
        case "elections":
            tree["statement"]["elections"] = {"nonesuch": "x"}
        case "overlays":
            tree["snapshot"]["rule"]["overlays"] = {"nobody": [{"type": "nonesuch"}]}
    tree["statement"]["snapshot"] = snapshot_from_bytes(json.dumps(tree["snapshot"]).encode()).digest.hex()
    tree["proof"]["statement"] = statement_from_bytes(json.dumps(tree["statement"]).encode()).digest.hex()
    return tree


REFUSED = ("parameters", "elections", "overlays", "none")


@pytest.mark.parametrize("how", REFUSED)
def test_snapshots_that_refusals_hold_are_bounded_in_bytes(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 refused snapshots of 16 MB stayed in a process for ever, ten times as large as they were sent."""
    counted(monkeypatch)

    def kept() -> int:
        statement.forget_compiled()
        here, most = worker.Worker(), 0
        for number in range(12):
            run(here, [body(refused(number, how))])
            most = max(most, statement._compiled.cache_info().currsize)
        return most

    size = len(json.dumps(refused(0, how)["snapshot"], separators=(",", ":")))
    monkeypatch.setattr(budget, "COMPILED_BYTES", 4 * size + 100)
    assert kept() <= 5
    monkeypatch.setattr(budget, "COMPILED_BYTES", 2**40)  # the control
    assert kept() == 12


@pytest.mark.parametrize("how", REFUSED[:2])
def test_refusals_do_not_push_out_what_counts_as_compiled(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They took the library's room and not the budget's: a light batch then compiled 32 systems as if it had them."""
    steps = work.steps(fresh_snapshot(), "maintenance", ())
    assert steps is not None
    built, here = counted(monkeypatch), worker.Worker()
    monkeypatch.setattr(budget, "LIGHT_STEPS", 2 * steps)
    ours: list[Job] = [body(under(f"1.{i:03}7")) for i in range(4)]
    for j in ours:
        run(here, [j])
    before = len(built)
    assert all(isinstance(reply, Done) for reply in run(here, ours))
    assert len(built) == before  # the control: nothing came between
    for number in range(statement._compiled.cache_info().maxsize or 0):
        run(here, [body(refused(number, how))])
    before = len(built)
    run(here, ours)
    assert len(built) - before <= 2


def test_a_call_names_few_snapshots_and_gets_all_of_them() -> None:
    """256 digests of a hub's old snapshots made it read and send 256 documents for one call."""

    def many(count: int) -> tuple[BodyJob, dict[bytes, bytes | None]]:
        trees = [refused(number, "none") for number in range(count)]
        items = [{k: tree[k] for k in ("statement", "proof")} for tree in trees]
        documents = [json.dumps(tree["snapshot"]).encode() for tree in trees]
        return (
            BodyJob(json.dumps({"items": items}).encode(), many=True),
            {snapshot_from_bytes(document).digest: document for document in documents},
        )

    job, _ = many(MAX_SNAPSHOTS + 1)
    assert isinstance(run(worker.Worker(), [job], heavy=True)[0], TooExpensive)
    job, documents = many(MAX_SNAPSHOTS)
    here = worker.Worker(keep=1)
    (asked,) = run(here, [job], heavy=True)
    assert isinstance(asked, Missing)
    assert set(asked.digests) == set(documents)
    (told,) = here.run([Envelope(job, documents, heavy=True)])
    assert isinstance(told, Done)
    assert [type(result) for result in told.results] == [Answer] * MAX_SNAPSHOTS


def test_a_light_batch_holds_so_many_bytes_and_few_heavy_jobs_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(body(request()).body)
    monkeypatch.setattr(lanes, "BATCH_BYTES", 2 * size + 10)
    monkeypatch.setattr(lanes, "MAX_HEAVY", 2)
    gate = asyncio.Event()

    class Gated(VerifierPool):
        async def _call(self, slot: Any, tickets: Any) -> Any:
            if tickets[0].envelope.heavy:
                await gate.wait()
            return await super()._call(slot, tickets)

    async def use(pool: VerifierPool) -> None:
        await asyncio.gather(*(pool.submit(body(request())) for _ in range(5)))
        assert batches(pool) == (3, 5)
        tree = request()
        item = {k: tree[k] for k in ("statement", "proof", "attestation")}
        long = BodyJob(json.dumps({"items": [item], "hub_key": tree["hub_key"]}).encode(), many=True)
        heavy = [asyncio.create_task(pool.submit(long))]
        while pool._lanes.heavy_running == 0:
            await asyncio.sleep(0.001)
        heavy += [asyncio.create_task(pool.submit(long)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await pool.submit(long)
        # One that is found to be heavy has no more room there than one that says so, and light ones have theirs.
        with pytest.raises(Overloaded):
            await pool.submit(BodyJob(b" " * (budget.HEAVY_BYTES + 1)))
        assert (await pool.verify(job(tree))).valid
        gate.set()
        await asyncio.gather(*heavy)

    with_pool(use, Gated(batch_wait=0.005, processes=2))


def test_a_heavy_job_that_takes_too_long_is_told_so_and_light_ones_go_on() -> None:
    async def use(pool: VerifierPool) -> None:
        pids = pool.pids
        tree = request()
        item = {k: tree[k] for k in ("statement", "proof", "attestation")}
        long = BodyJob(json.dumps({"items": [item], "hub_key": tree["hub_key"]}).encode(), many=True)
        with pytest.raises(TooExpensive):
            await pool.submit(long)
        assert len(set(pids) & set(pool.pids)) == 1
        assert (await pool.verify(job(tree))).valid

    class Slow(VerifierPool):
        async def _call(self, slot: Any, tickets: Any) -> Any:
            heavy = tickets[0].envelope.heavy
            self.job_timeout = 0.0 if heavy else 20.0
            return await super()._call(slot, tickets)

    with_pool(use, Slow(processes=2))
