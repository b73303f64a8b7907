"""Properties of every shipped rule: order of levels, rates, scaling, splitting, and evaluator against system."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.circuits.test_market_rules import best_slack, loans, terms, tiered
from tests.circuits.test_span import span
from tests.support.toy import snapshot_tree
from zkmargin.circuits import canonical
from zkmargin.circuits.compiler import MarginRule
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.rules import build
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.prover import solvency
from zkmargin.prover.evaluation import evaluate


def cross() -> Snapshot:
    return snapshot_from_bytes(canonical.canonical_bytes(snapshot_tree(6)))


RULES: dict[str, Callable[[], Snapshot]] = {"cross": cross, "tiered": tiered, "loans": loans, "span": span}
every_rule = pytest.mark.parametrize("name", RULES)
RAW = st.lists(st.integers(-4_000, 4_000), min_size=6, max_size=6)


def fitted(rule: MarginRule, raw: list[int]) -> list[int]:
    z = raw[: len(rule.limits)]
    return [abs(v) if j in rule.non_negative else v for j, v in enumerate(z)]


@every_rule
@settings(max_examples=25, deadline=None)
@given(raw=RAW, k=st.integers(1, 5))
def test_levels_multiplier_scaling_and_system(name: str, raw: list[int], k: int) -> None:
    snap = RULES[name]()
    initial, rule, heavier = (build(snap, terms(*t)) for t in (("initial",), ("maintenance",), ("maintenance", k)))
    z = fitted(rule, raw)
    net = min(solvency.net_margin(rule, z))
    assert min(solvency.net_margin(initial, z)) <= net
    assert min(solvency.net_margin(heavier, z)) <= net
    assert best_slack(rule, z) == net
    scaled = min(solvency.net_margin(rule, [k * v for v in z]))
    if name == "tiered":  # marginal rates rise with size
        assert scaled <= k * net
    else:  # homogeneous; the scan but for the one ceiling of its spread
        assert 0 <= scaled - k * net < (k if name == "span" else 1)


@every_rule
@settings(max_examples=25, deadline=None)
@given(first=RAW, second=RAW)
def test_splitting_an_account(name: str, first: list[int], second: list[int]) -> None:
    rule = build(RULES[name](), terms())
    if name == "loans":
        rule = rule.elect({"emode": "none"})  # an account is in one category, so two accounts can be in two
    a, b = fitted(rule, first), fitted(rule, second)
    whole = min(solvency.net_margin(rule, [x + y for x, y in zip(a, b, strict=True)]))
    parts = min(solvency.net_margin(rule, a)) + min(solvency.net_margin(rule, b))
    if name != "tiered":
        assert parts <= whole
        return
    # Tiered requirements are convex from 0, so on one side two accounts never need more than the one they came from.
    cost = dict(rule.components)["BTC"]
    one, two = [0, abs(a[1]), 0, 0], [0, abs(b[1]), 0, 0]
    assert evaluate(cost, one) + evaluate(cost, two) <= evaluate(cost, [0, one[1] + two[1], 0, 0])
    assert evaluate(cost, one) + evaluate(cost, [0, -two[1], 0, 0]) >= evaluate(cost, [0, one[1] - two[1], 0, 0])


@settings(max_examples=25, deadline=None)
@given(RAW)
def test_a_higher_charge_never_raises_the_scans_net_margin(z: list[int]) -> None:
    low = build(span("election"), terms())
    for change in ({"spread": {"charge": "3.2"}}, {"group": {"short_option_minimum": "0.3"}}):
        high = build(span("election", **change), terms())
        assert min(solvency.net_margin(high, z)) <= min(solvency.net_margin(low, z))
