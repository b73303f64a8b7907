"""Deribit's published portfolio-margin example, reproduced by the portfolio-margin rule (quote currency BTC).

Risk vectors of linear positions in coin are size * (1 - 1/(1 + shock)); the roll shock is |size| at the smallest
annualised move per expiry; the maintenance factor applies to both. Market-maker protection and open orders are flat
amounts outside the rule.
"""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest

from tests.support.places import SHARED
from zkmargin.circuits import canonical
from zkmargin.circuits.compiler import compile_rule
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.rules import Terms, build
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.units import format_fraction
from zkmargin.prover import solvency
from zkmargin.prover.witness import assign

FILE = SHARED / "cases" / "deribit_pme" / "doc_example.json"
needs_case = pytest.mark.skipif(not FILE.exists(), reason=f"no Deribit case in {FILE}")
DECIMALS = 24
LOT = Fraction(1, 10**9)


def case() -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(FILE.read_text())
    return tree


def shocks(tree: dict[str, Any]) -> list[Fraction]:
    """The buckets of the price range, -16 % to +16 %."""
    return [Fraction(text) for text in tree["initial_risk_vectors_standard"]["BTC-PERPETUAL"]]


def per_lot(shock: Fraction) -> str:
    """Profit in coin of one lot, rounded down."""
    return format_fraction(Fraction(LOT * (1 - 1 / (1 + shock)) * 10**DECIMALS // 1, 10**DECIMALS))


def load(tree: dict[str, Any]) -> Snapshot:
    names = [f"spot{int(s * 100):+d}" for s in shocks(tree)]
    model = tree["model_params"]
    move = Fraction(str(model["currency"]["btc"]["min_annualised_move"]))
    factor = Fraction(str(model["general"]["mm_factor"]))
    mark = names[len(names) // 2]
    risk = {"maintenance_ppb": int(move * factor * 10**9), "initial_ppb": int(move * 10**9)}
    instruments: list[dict[str, Any]] = [
        {"id": "BTC", "kind": "quote", "lot": "0.000000001", "position_limit": "1000", "mark": "1",
         "values": ["0.000000001"] * len(names), "risk": {}},
    ]  # fmt: skip
    for name in tree["portfolio"]:
        instruments.append(
            {"id": name, "kind": "perpetual", "lot": "0.000000001", "position_limit": "1000", "mark": "1",
             "values": [per_lot(s) for s in shocks(tree)], "risk": risk}
        )  # fmt: skip
    parameters = {
        "mark": mark, "basis_up": mark, "basis_down": mark, "index": "1", "initial_loss_ppb": 10**9,
        "maintenance_loss_ppb": int(factor * 10**9), "expiries": {},
        "scenarios": {name: {"kind": "regular"} for name in names},
    }  # fmt: skip
    return snapshot_from_bytes(
        canonical.canonical_bytes(
            {"schema": "zkmargin/snapshot/1", "time": model["general"]["timestamp"] // 1000,
             "quote": {"currency": "BTC", "decimals": 9, "value_decimals": DECIMALS},
             "rule": {"id": "portfolio-margin/1", "parameters": parameters}, "scenarios": names,
             "instruments": instruments}
        )
    )  # fmt: skip


@needs_case
def test_the_risk_vectors_are_those_published() -> None:
    tree = case()
    for name, vector in tree["initial_risk_vectors_standard"].items():
        for text, published in vector.items():
            shock = Fraction(text)
            ours = Fraction(str(tree["portfolio"][name])) * (1 - 1 / (1 + shock))
            assert float(ours) == pytest.approx(published, rel=1e-12, abs=1e-18)


@needs_case
@pytest.mark.parametrize("level", ["initial", "maintenance"])
def test_worst_bucket_roll_shock_and_margins_are_those_published(level: str) -> None:
    tree = case()
    snap = load(tree)
    z = [0, *(int(Fraction(str(size)) / LOT) for size in tree["portfolio"].values())]
    rule = build(snap, Terms(level, Fraction(1), 3600))
    unit = rule.amount_factor * 10**snap.decimals
    margins = solvency.net_margin(rule, z)
    details = tree["margins"]["initial_margin_details"]
    flat = Fraction(str(details["mmp_margin"])) + Fraction(str(details["open_orders_margin"]))
    required = -Fraction(min(margins), unit)
    if level == "initial":
        assert float(required) == pytest.approx(details["risk_matrix_margin"], rel=1e-8)
        assert float(required + flat) == pytest.approx(tree["margins"]["initial_margin"], rel=1e-8)
        roll = Fraction(str(details["risk_matrix_margin_details"]["roll_shock"]))
        assert float(required - roll) == pytest.approx(-tree["aggregated_standard_worst"], rel=1e-8)
    else:
        assert float(required) == pytest.approx(tree["margins"]["maintenance_margin"], rel=1e-8)
    assert rule.scenarios[margins.index(min(margins))][0] == "spot-16"
    program = compile_rule(rule.elect(solvency.best_choice(rule, z)))
    values = assign(program, z, 0)
    slacks = [values[k] for k, v in enumerate(program.system.variables) if v.name.startswith("slack(scenario")]
    assert min(slacks) == min(margins)
