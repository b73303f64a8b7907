"""A thousand options on two underlyings under portfolio margin: words, rows, columns and time of the largest systems.

    python benchmarks/options.py [--sizes 100,1000] [--repeat 3] [--json]

The chain is synthetic: Black-76 on the forward over a grid of strikes, expiries and 25 scenarios (spot and volatility),
with rates like Derive's published ones; half the options are held, long and short.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import sys
import time
from fractions import Fraction
from typing import Any

import numpy as np

from zkmargin.circuits import canonical, statement
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.rules import Terms, build
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import Statement
from zkmargin.circuits.units import format_fraction, format_quanta
from zkmargin.prover import solvency
from zkmargin.prover.commitment import Opening, commit
from zkmargin.prover.documents import make_statement
from zkmargin.prover.domains import cheapest_layout
from zkmargin.prover.prove import prove
from zkmargin.service.cli.bench import interleaved, two_pairings
from zkmargin.service.oracle.black76 import price
from zkmargin.verifier.facts.attestation import Attestation
from zkmargin.verifier.verify import verify

UNDERLYINGS = {"BTC": (80_000.0, 0.55), "ETH": (2_400.0, 0.7)}
EXPIRIES = 5
SPOT_SHOCKS = (0, -18, -13.5, -9, -4.5, 4.5, 9, 13.5, 18)
DECIMALS = 12
RATE = 0.05


def scenarios() -> list[tuple[str, float, float]]:
    """25 scenarios: mark, eight spot shocks with three states of volatility."""
    out = [("mark", 0.0, 1.0)]
    for shock in SPOT_SHOCKS[1:]:
        out += [(f"s{shock:+g}/{vol}", shock, factor) for vol, factor in (("none", 1.0), ("up", 1.4), ("down", 0.75))]
    return out


def option_lines(count: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Registry lines of ``count`` options and the rates of their expiries."""
    strikes_each = -(-count // (len(UNDERLYINGS) * EXPIRIES * 2))
    lines: list[dict[str, Any]] = []
    expiries: dict[str, Any] = {}
    grid = scenarios()
    for name, (spot, vol) in UNDERLYINGS.items():
        for e in range(EXPIRIES):
            years = (7 * 4**e) / 365
            expiry = f"{name}-{7 * 4**e}d"
            expiries[expiry] = {
                "gain_ppb": int(0.95 * math.exp(-years * (RATE + 0.08)) * 1e9), "loss_ppb": 1_040_000_000,
                "basis_ppb": int((0.5 + 2 * years) * 1e9), "short_maintenance_ppb": int(0.003 * spot * 1e9) // 1000,
                "short_initial_ppb": int(0.005 * spot * 1e9) // 1000,
            }  # fmt: skip
            for k in range(strikes_each):
                strike = round(spot * math.exp((k - strikes_each / 2) * 0.5 / strikes_each), -1) or 10.0
                for kind in ("call", "put"):
                    values = price(
                        np.array([spot * (1 + s / 100) for _, s, _ in grid]),
                        np.array([strike]),
                        np.array([vol * f * math.sqrt(years) for _, _, f in grid]),
                        np.array([math.exp(-RATE * years)]),
                        np.array([kind == "call"]),
                    )
                    quanta = [int(v * 10 ** (DECIMALS - 2)) for v in values]
                    if len(lines) < count:
                        lines.append(
                            {
                                "id": f"{expiry}-{k}-{kind}", "kind": "option", "lot": "0.01", "position_limit": "1000",
                                "mark": format_quanta(quanta[0] * 100, DECIMALS),
                                "values": [format_quanta(q, DECIMALS) for q in quanta],
                                "risk": {"expiry": expiry, "strike": str(int(strike)), "type": kind},
                            }
                        )  # fmt: skip
    return lines, expiries


def make(count: int) -> Snapshot:
    """The snapshot; its index is 1000 so that rates of two underlyings fit parts per billion."""
    lines, expiries = option_lines(count)
    grid = scenarios()
    used = {line["risk"]["expiry"] for line in lines}
    parameters = {
        "mark": "mark", "basis_up": "s+4.5/none", "basis_down": "s-4.5/none", "index": "1000",
        "maintenance_loss_ppb": 800_000_000, "initial_loss_ppb": 1_000_000_000,
        "expiries": {name: rates for name, rates in expiries.items() if name in used},
        "scenarios": {name: {"kind": "regular"} for name, _, _ in grid},
    }  # fmt: skip
    cash = {
        "id": "USD", "kind": "quote", "lot": "0.000001", "position_limit": "1000000000", "mark": "1",
        "values": ["0.000001"] * len(grid), "risk": {},
    }  # fmt: skip
    axes = [
        {"spot": format_fraction(Fraction(str(s))), "vol": {1.0: "none", 1.4: "up", 0.75: "down"}[f]}
        for _, s, f in grid
    ]
    tree = {
        "schema": "zkmargin/snapshot/1", "time": 1_700_000_000,
        "quote": {"currency": "USD", "decimals": 6, "value_decimals": DECIMALS},
        "rule": {"id": "portfolio-margin/1", "parameters": parameters}, "scenarios": [n for n, _, _ in grid],
        "instruments": [cash, *lines], "axes": axes, "source": "synthetic chain",
    }  # fmt: skip
    return snapshot_from_bytes(canonical.canonical_bytes(tree))


def account(snap: Snapshot) -> tuple[Statement, Opening]:
    """Half the chain held, long and short, with cash that carries it twice over."""
    rng = random.Random(1)
    lots = [0] + [rng.randrange(-100, 101) * rng.randrange(2) for _ in snap.instruments[1:]]
    rule = build(snap, Terms("initial", Fraction(1), 3600))
    worst = -min(solvency.net_margin(rule, lots)) // (rule.amount_factor or 1)
    lots[0] = max(2 * worst, 10**9)
    terms = Terms("initial", Fraction(1), 3600)
    choice = solvency.best_choice(build(snap, terms), lots)
    program = statement.compile_terms(snap, Terms("initial", Fraction(1), 3600, tuple(sorted(choice.items()))))
    domain = cheapest_layout(program.system).n
    commitment, opening = commit(lots, domain)
    fact = Attestation("hub", "a", 1, commitment, domain, snap.registry_digest, snap.time)
    stated = make_statement(snap, fact, venue="s", amount="1", expiry=snap.time + 600, elections=choice)
    return stated, opening


def measure(count: int, repeat: int) -> dict[str, Any]:
    """One row of the table."""
    begin = time.perf_counter()
    snap = make(count)
    stated, opening = account(snap)
    compiled = statement.bind(stated, snap)
    setup = time.perf_counter() - begin
    proof = prove(stated, snap, opening)
    ms = interleaved(
        [
            ("prove", lambda: prove(stated, snap, opening)),
            ("verify", lambda: verify(stated, snap, proof)),
            ("pairings", two_pairings()),
        ],
        repeat,
    )
    layout, system = compiled.layout, compiled.program.system
    return {
        "options": count, "scenarios": len(snap.scenarios), "rows": len(system.rows),
        "words": sum(map(layout.words_of, system.limits)), "n": layout.n, "K": layout.columns,
        "prove_ms": round(ms["prove"]), "verify_ms": round(ms["verify"], 1),
        "verify_ratio": round(ms["verify"] / ms["pairings"], 1), "proof_bytes": len(proof),
        "compile_s": round(setup, 1), "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }  # fmt: skip


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="a thousand options")
    parser.add_argument("--sizes", default="100,400,1000")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = []
    for text in args.sizes.split(","):
        if sys.stderr.isatty():
            print(f"{text} options", end="\r", file=sys.stderr)
        rows.append(measure(int(text), args.repeat))
        if not args.json:
            if len(rows) == 1:
                print(" ".join(f"{key:>14}" for key in rows[0]))
            print(" ".join(f"{value:>14}" for value in rows[-1].values()), flush=True)
    if args.json:
        print(json.dumps({"rows": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
