"""``zkmargin bench``: prove and verify beside a bare two-pairing check of the same library, timed in turn in one run.

Machines drift; the ratios are what counts, so every figure's reference is measured interleaved with it.
"""

from __future__ import annotations

import gc
import multiprocessing
import random
import re
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from py_arkworks_bls12381 import GT, G1Point, G2Point

from zkmargin.circuits import canonical, statement
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import Statement
from zkmargin.prover.commitment import Opening, commit, fresh
from zkmargin.prover.documents import make_statement
from zkmargin.prover.domains import cheapest_domain
from zkmargin.prover.prove import prove
from zkmargin.verifier.batch import verify_batch
from zkmargin.verifier.facts.attestation import Attestation
from zkmargin.verifier.verify import Item, verify

#: A batch is made of this many different proofs, repeated: the verifier cannot tell, and set-up stays short.
DISTINCT_PROOFS = 8
COMMITTED_POSITIONS = 20
SCHEMA = "zkmargin/bench/1"


def parse_sizes(text: str) -> list[tuple[int, int]]:
    """ "16x16,100x40" to [(16, 16), (100, 40)]."""
    sizes: list[tuple[int, int]] = []
    for part in text.split(","):
        match = re.fullmatch(r"([1-9][0-9]{0,3})x([1-9][0-9]{0,2})", part.strip())
        if not match or int(match[1]) < 2 or int(match[1]) > 2048 or int(match[2]) > 512:
            raise MalformedInput("must be like 100x40, up to 2048x512", field="sizes")
        sizes.append((int(match[1]), int(match[2])))
    return sizes


def make_snapshot(instruments: int, scenarios: int, rounding: str = "per-lot") -> Snapshot:
    """A deterministic synthetic snapshot: cash and perpetuals in four tiers, prices over five orders of magnitude."""
    rng = random.Random(f"{instruments}x{scenarios}")  # noqa: S311 - a benchmark's data, not a secret
    shocks = [1.0, *(1 + rng.uniform(-0.25, 0.25) for _ in range(scenarios - 1))]
    lines: list[dict[str, Any]] = [
        {
            "id": "USD", "kind": "quote", "lot": "0.000001", "position_limit": "1000000000", "mark": "1",
            "values": ["0.000001"] * scenarios, "risk": {},
        }
    ]  # fmt: skip
    for j in range(1, instruments):
        mark = rng.randrange(1_000, 100_000_000)  # in 0.001 quote units
        values = [str(round(mark * s * (1 + rng.uniform(-0.05, 0.05)))) for s in shocks]
        lines.append(
            {
                "id": f"P{j}", "kind": "perpetual", "lot": "0.001", "position_limit": "100000",
                "mark": f"{mark // 1000}.{mark % 1000:03d}".rstrip("0").rstrip("."),
                "values": [canonical_money(int(v), 6) for v in values], "risk": {"tier": f"t{j % 4}"},
            }
        )  # fmt: skip
    tiers = {
        "t0": {"initial_ppm": 20_000, "maintenance_fraction_ppm": 600_000},
        "t1": {"initial_ppm": 50_000, "maintenance_fraction_ppm": 600_000},
        "t2": {"initial_ppm": 100_000, "maintenance_fraction_ppm": 500_000},
        "t3": {"initial_ppm": 200_000, "maintenance_fraction_ppm": 500_000},
    }
    tree = {
        "schema": "zkmargin/snapshot/1", "time": 1_700_000_000,
        "quote": {"currency": "USD", "decimals": 6, "value_decimals": 6},
        "rule": {"id": "cross-margin/1", "parameters": {"rounding": rounding, "tiers": tiers}},
        "scenarios": [f"s{i}" for i in range(scenarios)], "instruments": lines, "source": "synthetic",
    }  # fmt: skip
    return snapshot_from_bytes(canonical.canonical_bytes(tree))


def canonical_money(quanta: int, decimals: int) -> str:
    """Quanta to a canonical decimal string."""
    from zkmargin.circuits.units import format_quanta

    return format_quanta(quanta, decimals)


def make_case(snap: Snapshot, seed: int = 0) -> tuple[Statement, Opening]:
    """A solvent account, half long and half short, asking for 1,000."""
    rng = random.Random(seed)  # noqa: S311
    lots = [rng.randrange(-50_000, 50_000) for _ in snap.instruments]
    lots[0] = 5 * 10**14
    commitment, opening = commit(lots, cheapest_domain(snap))
    fact = Attestation("hub", "acct", 1, commitment, opening.domain, snap.registry_digest, snap.time)
    return make_statement(snap, fact, venue="bench", amount="1000", expiry=snap.time + 3600), opening


def interleaved(tasks: Sequence[tuple[str, Callable[[], object]]], repeat: int) -> dict[str, float]:
    """Median milliseconds of each task, run in turn, after one warm-up each."""
    times: dict[str, list[float]] = {name: [] for name, _ in tasks}
    for _, task in tasks:
        task()
    gc.collect()
    for _ in range(repeat):
        for name, task in tasks:
            begin = time.perf_counter()
            task()
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) * 1e3 for name, values in times.items()}


def two_pairings() -> Callable[[], bool]:
    """A two-pairing check on random points: the reference of every ratio."""
    g1, g2 = [G1Point() * s for s in fresh(2)], [G2Point() * s for s in fresh(2)]
    return lambda: GT.pairing_check(g1, g2)


def _peak_memory(size: tuple[int, int]) -> float:
    """Peak resident memory in MB of this process after one proof."""
    snap = make_snapshot(*size)
    stated, opening = make_case(snap)
    prove(stated, snap, opening)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(size: tuple[int, int], repeat: int, rounding: str = "per-lot") -> dict[str, Any]:
    """One row of the table: proving, verifying, size and memory of one statement."""
    snap = make_snapshot(*size, rounding)
    stated, opening = make_case(snap)
    proof = prove(stated, snap, opening)
    bound = statement.bind(stated, snap)
    pairings = two_pairings()
    quick = interleaved([("verify", lambda: verify(stated, snap, proof)), ("pairings", pairings)], max(repeat, 5) * 5)
    slow = interleaved([("prove", lambda: prove(stated, snap, opening)), ("pairings", pairings)], repeat)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        memory = pool.apply(_peak_memory, (size,))
    layout = bound.layout
    return {
        "instruments": size[0], "scenarios": size[1], "rounding": rounding,
        "variables": len(bound.program.system.variables), "rows": len(bound.program.system.rows),
        "n": layout.n, "K": layout.columns,
        "prove_ms": round(slow["prove"], 1), "verify_ms": round(quick["verify"], 2),
        "pairings_ms": round(quick["pairings"], 3), "verify_ratio": round(quick["verify"] / quick["pairings"], 2),
        "prove_ratio": round(slow["prove"] / slow["pairings"], 1), "proof_bytes": len(proof),
        "peak_memory_mb": round(memory),
    }  # fmt: skip


def measure_batch(size: tuple[int, int], count: int) -> dict[str, Any]:
    """Proofs a second and core of one batch on one snapshot, by processor time and by the wall."""
    snap = make_snapshot(*size)
    items: list[Item] = []
    for seed in range(min(DISTINCT_PROOFS, count)):
        stated, opening = make_case(snap, seed)
        items.append(Item(stated, snap, prove(stated, snap, opening)))
    batch = [items[i % len(items)] for i in range(count)]
    verify_batch(batch)
    wall, cpu = [], []
    for _ in range(3):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        answers = verify_batch(batch)
        wall.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - begin_cpu)
        if any(answers):
            raise AssertionError("an honest proof was refused")
    one = interleaved([("verify", lambda: verify(items[0].statement, snap, items[0].proof))], 15)["verify"]
    per_second = count / statistics.median(cpu)
    return {
        "instruments": size[0], "scenarios": size[1], "proofs": count,
        "per_second_and_core": round(per_second), "wall_seconds": round(statistics.median(wall), 3),
        "ratio_to_single": round(per_second * one / 1e3, 2),
    }  # fmt: skip


def measure_primitives(repeat: int) -> dict[str, float]:
    """Milliseconds of what the cost model of circuits/layout.py is made of."""
    from operator import mul

    from zkmargin.prover import polynomial as poly
    from zkmargin.verifier.curve import decode_g1, encode_g1, msm
    from zkmargin.verifier.field import batch_inverse, scalars
    from zkmargin.verifier.srs import ethereum

    points, n = ethereum().powers_g1, 1024
    full, small = fresh(n), scalars(i % n for i in range(n))
    encoded = encode_g1(points[7])
    p = poly.from_coefficients(full)
    tasks: list[tuple[str, Callable[[], object]]] = [
        ("two pairings", two_pairings()),
        ("MSM, 1024 full scalars", lambda: msm(points[:n], full)),
        ("MSM, 1024 ten-bit scalars", lambda: msm(points[:n], small)),
        ("MSM, 12 full scalars", lambda: msm(points[:12], full[:12])),
        ("decode one point", lambda: decode_g1(encoded, field="point")),
        ("1024 scalar products", lambda: list(map(mul, full, full))),
        ("batch inversion of 1024", lambda: batch_inverse(full)),
        ("inverse transform of 1024", lambda: poly.interpolate(full)),
        ("FLINT product 1024 x 1024", lambda: p * p),
    ]
    return {name: round(ms, 4) for name, ms in interleaved(tasks, max(repeat, 5)).items()}


def run(
    sizes: Sequence[tuple[int, int]],
    *,
    repeat: int = 7,
    batch: int = 256,
    primitives: bool = False,
    progress: Callable[[str], None] = lambda step: None,
) -> dict[str, Any]:
    """All measurements as one JSON tree."""
    rows = []
    for size in sizes:
        progress(f"{size[0]}x{size[1]}")
        rows.append(measure(size, repeat))
    lots = [7 * i - 50 for i in range(COMMITTED_POSITIONS)]
    commitment = interleaved([("commit", lambda: commit(lots, 1024)), ("pairings", two_pairings())], 25)
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "rows": rows,
        "commitment": {
            "positions": COMMITTED_POSITIONS, "n": 1024, "commit_ms": round(commitment["commit"], 2),
            "ratio": round(commitment["commit"] / commitment["pairings"], 2),
        },
    }  # fmt: skip
    if batch:
        size = (100, 40) if (100, 40) in sizes else sizes[0]
        report["batch"] = measure_batch(size, batch)
    if primitives:
        report["primitives"] = measure_primitives(repeat)
    return report


def sections(report: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """The report as tables: title, columns, rows."""
    header = [
        "statement",
        "(n, K)",
        "variables",
        "prove",
        "verify, one",
        "x two pairings",
        "proof",
        "peak memory",
    ]
    rows = [
        [
            f"{r['instruments']} x {r['scenarios']}", f"({r['n']}, {r['K']})", str(r["variables"]),
            f"{r['prove_ms']} ms",
            f"{r['verify_ms']} ms", f"{r['verify_ratio']}", f"{r['proof_bytes']} B", f"{r['peak_memory_mb']} MB",
        ]
        for r in report["rows"]
    ]  # fmt: skip
    out = [("medians of warm runs; instruments x scenarios; two-pairing check timed in turn", header, rows)]
    c = report["commitment"]
    rest = [
        [
            f"commitment to {c['positions']} positions (n = {c['n']})",
            f"{c['commit_ms']} ms",
            f"{c['ratio']} x two pairings",
        ]
    ]
    if "batch" in report:
        b = report["batch"]
        name = f"batch of {b['proofs']} proofs, {b['instruments']} x {b['scenarios']}"
        rest.append([name, f"{b['per_second_and_core']} /s and core", f"{b['ratio_to_single']} x one by one"])
    out.append(("commitment and batch", ["what", "figure", "ratio"], rest))
    if "primitives" in report:
        out.append(("primitives", ["what", "median"], [[k, f"{v} ms"] for k, v in report["primitives"].items()]))
    return out
