"""The pool: requests become batches, a bad proof hurts only itself, a process may die, nothing hangs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from tests.support.services import false_proof, fresh_snapshot, job, request
from zkmargin.circuits.errors import MalformedInput, ProofRejected
from zkmargin.service.errors import NotReady, Overloaded, UnknownSnapshot
from zkmargin.service.verification import budget, worker
from zkmargin.service.verification.jobs import Answer, BodyJob, Done, Envelope, Later, Missing
from zkmargin.service.verification.pool import VerifierPool
from zkmargin.service.verification.snapshots import SnapshotStore

pytestmark = pytest.mark.slow


def with_pool(use: Callable[[VerifierPool], Coroutine[Any, Any, None]], pool: VerifierPool | None = None) -> None:
    async def main() -> None:
        started = pool or VerifierPool(batch_wait=0.005)
        await started.start()
        try:
            async with asyncio.timeout(60):
                await use(started)
        finally:
            await started.close()

    asyncio.run(main())


def batches(pool: VerifierPool) -> tuple[float, float]:
    """Number of batches so far, and of proofs in them."""
    read = pool.metrics.registry.get_sample_value
    count, total = (read(f"zkmargin_verify_batch_size_{name}") for name in ("count", "sum"))
    assert count is not None
    assert total is not None
    return count, total


def test_concurrent_requests_share_one_check_and_a_bad_proof_hurts_only_itself() -> None:
    jobs = [job(false_proof() if i == 5 else request()) for i in range(12)]
    jobs[7] = replace(jobs[7], proof=b'{"schema":"zkmargin/proof/1"}')
    jobs[8] = replace(jobs[8], statement=b"[")

    async def use(pool: VerifierPool) -> None:
        results = await asyncio.gather(*map(pool.verify, jobs), return_exceptions=True)
        assert batches(pool) == (1, 12)
        for i, result in enumerate(results):
            if i in (7, 8):
                assert isinstance(result, MalformedInput)
                assert result.field is not None
                assert result.field.startswith("proof" if i == 7 else "statement")
                continue
            assert isinstance(result, Answer)
            assert result.valid == (i != 5)
        bad = results[5]
        assert isinstance(bad, Answer)
        assert isinstance(bad.failed, ProofRejected)
        # Nothing tells the place in a batch that others share.
        assert (bad.failed_check, bad.failed.field) == ("proof", "proof")

    with_pool(use)


def test_a_batch_has_at_most_so_many_proofs() -> None:
    async def use(pool: VerifierPool) -> None:
        verdicts = await asyncio.gather(*(pool.verify(job(request())) for _ in range(7)))
        assert all(v.valid for v in verdicts)
        assert batches(pool) == (3, 7)

    with_pool(use, VerifierPool(batch_wait=0.005, max_batch=3))


def test_a_snapshot_is_sent_again_where_it_is_missing() -> None:
    snap = fresh_snapshot()
    asked: list[bytes] = []

    async def lookup(digest: bytes) -> bytes | None:
        asked.append(digest)
        return snap.to_bytes() if digest == snap.digest else None

    unknown = request()
    unknown["statement"]["snapshot"] = "00" * 32

    async def use(pool: VerifierPool) -> None:
        by_digest = job(request(), with_snapshot=False)
        assert (await pool.verify(by_digest)).valid
        assert asked == [snap.digest]
        os.kill(pool.pids[0], signal.SIGKILL)
        assert (await pool.verify(by_digest)).valid
        assert asked == [snap.digest] * 2
        with pytest.raises(UnknownSnapshot):
            await pool.verify(job(unknown, with_snapshot=False))

    with_pool(use, VerifierPool(lookup=lookup))


def test_a_killed_process_is_replaced_and_its_batch_verified_again() -> None:
    async def use(pool: VerifierPool) -> None:
        (pid,) = pool.pids
        # Stopped first, so that the batch is surely in the process when it dies.
        os.kill(pid, signal.SIGSTOP)
        waiting = [asyncio.create_task(pool.verify(job(request()))) for _ in range(4)]
        while batches(pool)[0] < 1:
            await asyncio.sleep(0.001)
        os.kill(pid, signal.SIGKILL)
        assert all(v.valid for v in await asyncio.gather(*waiting))
        assert pool.pids != [pid]
        assert await pool.ready()

    with_pool(use)


def test_a_process_that_hangs_is_replaced() -> None:
    async def use(pool: VerifierPool) -> None:
        (pid,) = pool.pids
        os.kill(pid, signal.SIGSTOP)
        pool.job_timeout = 0.2
        together = [asyncio.create_task(pool.verify(job(request()))) for _ in range(2)]
        while pool.pids == [pid]:
            await asyncio.sleep(0.001)
        pool.job_timeout = 30
        assert all(v.valid for v in await asyncio.gather(*together))
        # A job that had the process to itself is not tried again.
        os.kill(pool.pids[0], signal.SIGSTOP)
        pool.job_timeout = 0.2
        with pytest.raises(Overloaded):
            await pool.verify(job(request()))

    with_pool(use, VerifierPool(batch_wait=0.005))


def test_heavy_work_comes_back_and_never_takes_the_last_process(monkeypatch: pytest.MonkeyPatch) -> None:
    here = worker.Worker()
    by_digest = job(request(), with_snapshot=False)
    documents: dict[bytes, bytes | None] = {fresh_snapshot().digest: fresh_snapshot().to_bytes()}
    monkeypatch.setattr(budget, "HEAVY_BYTES", 100)
    assert here.run([Envelope(job(request())), Envelope(by_digest, documents)]) == [Later(), Later()]
    monkeypatch.setattr(budget, "LIGHT_STEPS", 500)
    assert isinstance(here.run([Envelope(by_digest)])[0], Missing)
    assert isinstance(here.run([Envelope(by_digest, documents, heavy=True)])[0], Done)
    # Parsed and compiled now, so it is light; under other terms it is heavy again.
    assert isinstance(here.run([Envelope(by_digest)])[0], Done)
    other = request()
    other["statement"]["horizon"] = 1800
    assert here.run([Envelope(job(other, with_snapshot=False))]) == [Later()]
    gate = asyncio.Event()

    class Gated(VerifierPool):
        async def _call(self, slot: Any, tickets: Any) -> Any:
            if tickets[0].envelope.heavy:
                await gate.wait()
            return await super()._call(slot, tickets)

    async def use(pool: VerifierPool) -> None:
        tree = request()
        item = {k: tree[k] for k in ("statement", "proof", "attestation")}
        body = {"items": [item], "snapshots": [tree["snapshot"]], "hub_key": tree["hub_key"]}
        long = BodyJob(json.dumps(body).encode(), many=True)
        heavy = [asyncio.create_task(pool.submit(long)) for _ in range(3)]
        await asyncio.sleep(0)
        assert (await pool.verify(job(tree))).valid
        assert not any(task.done() for task in heavy)
        gate.set()
        for task in heavy:
            result = (await task).results[0]
            assert isinstance(result, Answer)
            assert result.valid

    with_pool(use, Gated(processes=2))


def test_a_job_that_kills_every_process_is_given_up_and_its_neighbours_are_not() -> None:
    poison = job(request("11"))

    class Poisoned(VerifierPool):
        async def _call(self, slot: Any, tickets: Any) -> Any:
            if any(t.envelope.job is poison for t in tickets):
                os.kill(slot.pid, signal.SIGKILL)
            return await super()._call(slot, tickets)

    async def use(pool: VerifierPool) -> None:
        results = await asyncio.gather(
            *(pool.verify(j) for j in (job(request()), poison, job(request()))), return_exceptions=True
        )
        assert isinstance(results[1], Overloaded)
        assert [isinstance(r, Answer) and r.valid for r in results] == [True, False, True]

    with_pool(use, Poisoned(batch_wait=0.005))


def test_a_full_queue_turns_away_and_a_caller_who_left_is_skipped() -> None:
    async def use(pool: VerifierPool) -> None:
        (pid,) = pool.pids
        os.kill(pid, signal.SIGSTOP)
        first = asyncio.create_task(pool.verify(job(request())))
        while batches(pool)[0] < 1:
            await asyncio.sleep(0.001)
        queued = [asyncio.create_task(pool.verify(job(request()))) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await pool.submit(BodyJob(json.dumps(request()).encode()))
        with pytest.raises(Overloaded):
            await pool.verify(job(request()))
        queued[1].cancel()
        os.kill(pid, signal.SIGCONT)
        assert (await first).valid
        del queued[1]
        assert all(verdict.valid for verdict in await asyncio.gather(*queued))
        assert batches(pool) == (2, 3)

    with_pool(use, VerifierPool(batch_wait=0.005, max_queue=3))


def test_what_waits_when_the_pool_closes_is_told() -> None:
    async def main() -> None:
        pool = VerifierPool()
        with pytest.raises(NotReady):
            await pool.verify(job(request()))
        await pool.start()
        os.kill(pool.pids[0], signal.SIGSTOP)
        waiting = [asyncio.create_task(pool.verify(job(request()))) for _ in range(2)]
        await asyncio.sleep(0.01)
        await pool.close()
        for task in waiting:
            with pytest.raises(NotReady):
                await task
        assert not await pool.ready()

    asyncio.run(main())


def test_the_store_forgets_the_least_recent_but_never_the_operators() -> None:
    store = SnapshotStore(10)
    store.keep(b"own", b"x" * 100)
    for name in (b"a", b"b"):
        store.learn(name, b"12345")
    assert store.get(b"a") == b"12345"
    store.learn(b"c", b"1234")
    assert store.get(b"b") is None
    store.learn(b"huge", b"x" * 11)
    assert [store.get(k) is not None for k in (b"own", b"a", b"c", b"huge")] == [True, True, True, False]
