"""SPAN-style scan: against a plain reference in fractions, the compiled system, a proof, and bad parameters."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.circuits.test_market_rules import best_slack, line, make, terms, try_proof
from zkmargin.circuits import canonical
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.errors import MalformedInput, RuleRefused, ZkMarginError
from zkmargin.circuits.rules import build
from zkmargin.circuits.rules.span_scan import STANDARD
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.prover import solvency
from zkmargin.prover.errors import NotSolvent

SCAN = {"F1": Fraction(12), "F2": Fraction(11), "X": Fraction(7)}


def array(mark: Fraction, move: Fraction, vega: Fraction) -> list[str]:
    """Value of a lot of 0.1 in the 16 scenarios, to 6 decimals."""
    out = []
    for thirds, volatility, _ in STANDARD:
        value = (mark + move * Fraction(thirds, 3) + vega * volatility) / 10
        out.append(f"{float(value):.6f}".rstrip("0").rstrip("."))
    return out


def span(form: str = "lemma", **change: Any) -> Snapshot:
    spread = {"months": ["m1", "m2"], "charge": "3.1", "outright": "1.6", "form": form}
    group = {"short_option_minimum": "0.25", "spreads": [spread]}
    parameters: dict[str, Any] = {
        "weights_ppm": [w for _, _, w in STANDARD],
        "initial_factor_ppm": 1_100_000,
        "groups": {"A": group, "B": {}},
    }
    parameters |= {k: v for k, v in change.items() if k in parameters}
    spread.update(change.get("spread", {}))
    group.update(change.get("group", {}))
    instruments = [
        line("USD", "quote", "1", ["1"] * 16, {}),
        line("F1", "future", "100", array(Fraction(100), SCAN["F1"], Fraction(0)),
             {"group": "A", "month": "m1", "delta": "0.1"}),
        line("F2", "future", "101", array(Fraction(101), SCAN["F2"], Fraction(0)),
             {"group": "A", "month": "m2", "delta": "0.1"}),
        line("C1", "option", "5", array(Fraction(5), Fraction(4), Fraction(1)),
             {"group": "A", "month": "m1", "delta": "0.05"}),
        line("X", "perpetual", "50", array(Fraction(50), SCAN["X"], Fraction(0)), {"group": "B"}),
        line("GOLD", "spot", "50", ["5"] * 16, {"haircut_ppm": 100_000}),
    ]  # fmt: skip
    instruments[1]["risk"].update(change.get("risk", {}))
    names = tuple(f"s{i}" for i in range(16))
    return make({"id": "span-scan/1", "parameters": parameters}, instruments, names)


def reference(snap: Snapshot, z: list[int], factor: Fraction) -> Fraction:
    """Net margin in fine quanta without any rounding."""
    unit = 10**6
    mark = [i.mark * i.lot * unit for i in snap.instruments]
    net = sum((q * m for q, m in zip(z, mark, strict=True)), Fraction(0))
    for rows, spread in (((1, 2, 3), True), ((4,), False)):
        scan = Fraction(0)
        for s, (_, _, weight) in enumerate(STANDARD):
            loss = sum((z[j] * (mark[j] - snap.instruments[j].values[s]) for j in rows), Fraction(0))
            scan = max(scan, loss * weight / 10**6)
        base = scan
        if spread:
            months = [z[1] * Fraction(1, 10) + z[3] * Fraction(1, 20), z[2] * Fraction(1, 10)]
            longs = sum((max(m, Fraction(0)) for m in months), Fraction(0))
            shorts = sum((max(-m, Fraction(0)) for m in months), Fraction(0))
            base += Fraction("1.6") * unit * abs(longs - shorts) + Fraction("3.1") * unit * min(longs, shorts)
            base = max(base, Fraction("0.25") * unit * max(-z[3], 0))
        net -= factor * base
    return net - factor * abs(z[5]) * mark[5] / 10


POSITIONS = st.lists(st.integers(-5_000, 5_000), min_size=6, max_size=6)


@settings(max_examples=60, deadline=None)
@given(
    POSITIONS, st.sampled_from(["lemma", "election"]), st.sampled_from(["initial", "maintenance"]), st.integers(1, 3)
)
def test_the_rule_is_the_reference_rounded_against_the_account(
    z: list[int], form: str, level: str, multiplier: int
) -> None:
    snap = span(form)
    rule = build(snap, terms(level, multiplier))
    factor = multiplier * (Fraction(11, 10) if level == "initial" else Fraction(1))
    exact, (found,) = reference(snap, z, factor), solvency.net_margin(rule, z)
    assert found <= exact <= found + (sum(map(abs, z)) + 2) * (factor + 1) + 2
    assert best_slack(rule, z) == found


@pytest.mark.parametrize("form", ["lemma", "election"])
def test_it_proves_and_verifies(form: str) -> None:
    snap, z = span(form), [20_000, 100, -80, -40, 10, 5]
    choice = solvency.best_choice(build(snap, terms()), z)
    assert list(choice) == (["A.spreads"] if form == "election" else [])
    more = {"elections": choice} if choice else {}
    try_proof(snap, z, **more)
    with pytest.raises(NotSolvent):
        try_proof(snap, z, amount="1000000", **more)


@pytest.mark.parametrize(
    ("change", "error", "field"),
    [
        ({"spread": {"outright": "1.5"}}, RuleRefused, "groups.A.spreads.0"),
        ({"spread": {"charge": "-1"}}, MalformedInput, "groups.A.spreads.0.charge"),
        ({"spread": {"months": ["m1", "m1"]}}, MalformedInput, "groups.A.spreads.0.months"),
        ({"group": {"short_option_minimum": "-1"}}, MalformedInput, "groups.A.short_option_minimum"),
        ({"initial_factor_ppm": 999_999}, MalformedInput, "initial_factor_ppm"),
        ({"weights_ppm": [1_000_000]}, MalformedInput, "weights_ppm"),
        ({"groups": {}}, MalformedInput, "instruments.1.risk.group"),
        ({"risk": {"month": "m9"}}, MalformedInput, "instruments.1.risk.month"),
        ({"risk": {"colour": 1}}, MalformedInput, "instruments.1.risk.colour"),
    ],
)
def test_a_bad_parameter_is_named(change: dict[str, Any], error: type[ZkMarginError], field: str) -> None:
    with pytest.raises(error) as caught:
        build(span(**change), terms())
    assert str(caught.value.field).endswith(field)


def test_a_group_whose_election_could_not_be_named_is_refused() -> None:
    tree = json.loads(span("election").to_bytes())
    long = "A" * 57
    groups = tree["rule"]["parameters"]["groups"]
    groups[long] = groups.pop("A")
    for inst in tree["instruments"]:
        if inst["risk"].get("group") == "A":
            inst["risk"]["group"] = long
    with pytest.raises(MalformedInput, match="56 characters"):
        build(snapshot_from_bytes(canonical.canonical_bytes(tree)), terms())
