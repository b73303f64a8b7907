"""Raising any rate, haircut or add-on of any rule never raises the net margin; buffers, classes and Greeks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.circuits.test_market_rules import best_slack, loans, terms, tiered, try_proof
from tests.circuits.test_portfolio_margin import own_tree
from tests.circuits.test_span import span
from tests.support.toy import snapshot_tree
from zkmargin.circuits import canonical
from zkmargin.circuits.compiler import MarginRule, compile_rule
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.errors import MalformedInput, RuleRefused, ZkMarginError
from zkmargin.circuits.expression import FloorDiv, Linear, Sum
from zkmargin.circuits.rules import LEVELS, SHIPPED, Terms, build, rule_of
from zkmargin.circuits.rules.rule import Builder
from zkmargin.circuits.rules.terms import ceil, lot_notional
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.units import PPM, ceil_div, format_fraction, isqrt_ceil
from zkmargin.prover import solvency
from zkmargin.prover.errors import NotSolvent

#: Names of parameters whose rise must hurt, and of those whose rise must help.
WORSE = {
    "initial_ppm",
    "maintenance_ppm",
    "maintenance_fraction_ppm",
    "haircut_ppm",
    "latency_ppm",
    "charge",
    "minimum",
}
WORSE |= {
    "basis_ppb",
    "short_maintenance_ppb",
    "short_initial_ppb",
    "gross_initial_ppb",
    "maintenance_ppb",
    "initial_ppb",
}
WORSE |= {"maintenance_loss_ppb", "initial_loss_ppb"}
# Not Derive's static discounts: a skew scenario counts the size of an expiry's change,
# which either discount moves both ways.
BETTER = {"ltv_ppm", "threshold_ppm"}


def cross() -> Snapshot:
    return snapshot_from_bytes(canonical.canonical_bytes(snapshot_tree(6)))


def portfolio() -> Snapshot:
    return snapshot_from_bytes(canonical.canonical_bytes(own_tree()))


SNAPSHOTS: dict[str, Callable[[], Snapshot]] = {"cross": cross, "tiered": tiered, "loans": loans, "span": span}
SNAPSHOTS["portfolio"] = portfolio
POSITIONS = max(len(make().instruments) for make in SNAPSHOTS.values())
RAW = st.lists(st.integers(-3_000, 3_000), min_size=POSITIONS, max_size=POSITIONS)


def rates(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], bool]]:
    """(path, whether a rise hurts) of every integer rate in a snapshot."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        if isinstance(value, int) and not isinstance(value, bool) and key in WORSE | BETTER:
            yield (*path, key), key in WORSE
        yield from rates(value, (*path, key))


def raised(snap: Snapshot, path: tuple[Any, ...]) -> Snapshot | None:
    """The snapshot with one rate a tenth higher and a bit, or None where that breaks the rule's own order."""
    tree = copy.deepcopy(dict(snap.tree))
    node: Any = tree
    for key in path[:-1]:
        node = node[key]
    more = node[path[-1]] + node[path[-1]] // 10 + 1_000
    node[path[-1]] = more if str(path[-1]).endswith("_ppb") else min(1_000_000, more)
    try:
        made = snapshot_from_bytes(canonical.canonical_bytes(tree))
        for level in LEVELS:
            build(made, terms(level))
    except ZkMarginError:
        return None
    return made


CASES = [(name, path, hurts) for name, make in SNAPSHOTS.items() for path, hurts in rates(dict(make().tree))]


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "path", "hurts"), CASES, ids=lambda v: ".".join(map(str, v)) if isinstance(v, tuple) else None
)
@settings(max_examples=12, deadline=None)
@given(raw=RAW)
def test_a_higher_rate_never_moves_the_margin_the_wrong_way(
    name: str, path: tuple[Any, ...], hurts: bool, raw: list[int]
) -> None:
    before = SNAPSHOTS[name]()
    after = raised(before, path)
    if after is None:  # the next bracket or level is in the way: the table itself must be changed as a whole
        return
    for level in LEVELS:
        old, new = build(before, terms(level)), build(after, terms(level))
        z = [abs(v) if j in old.non_negative else v for j, v in enumerate(raw[: len(old.limits)])]
        change = min(solvency.net_margin(new, z)) - min(solvency.net_margin(old, z))
        assert change <= 0 if hurts else change >= 0


def test_rates_of_every_rule_are_found_and_most_can_be_raised() -> None:
    movable = {
        name: sum(raised(SNAPSHOTS[name](), path) is not None for n, path, _ in CASES if n == name)
        for name in SNAPSHOTS
    }
    assert all(count > 0 for count in movable.values()), movable


def buffered(snap: Snapshot, **overlay: Any) -> Snapshot:
    tree = copy.deepcopy(dict(snap.tree))
    tree["rule"]["overlays"] = {"slow": [{"type": "latency-buffer", "daily_ppm": 40_000, **overlay}]}
    return snapshot_from_bytes(canonical.canonical_bytes(tree))


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_a_latency_buffer_grows_with_the_root_of_the_horizon(name: str) -> None:
    snap = buffered(SNAPSHOTS[name]())
    lots = [0] * len(snap.instruments)
    row, inst = next((j, i) for j, i in enumerate(snap.instruments) if i.kind not in ("quote", "credit"))
    lots[row] = 100
    notional = inst.mark * inst.lot * 100
    for level in LEVELS:
        for hours in (6, 24, 96):
            plain = build(snap, Terms(level, Fraction(1), hours * 3600))
            rule = build(snap, Terms(level, Fraction(1), hours * 3600, overlays=("slow",)))
            unit = rule.amount_factor * 10**snap.decimals
            taken = Fraction(min(solvency.net_margin(plain, lots)) - min(solvency.net_margin(rule, lots)), unit)
            exact = notional * Fraction(4, 100) * {6: Fraction(1, 2), 24: Fraction(1), 96: Fraction(2)}[hours]
            assert exact <= taken <= exact + Fraction(100, 10**snap.value_decimals)
            assert best_slack(rule, lots) == min(solvency.net_margin(rule, lots))


def coarse(build_fine: Builder, factor: int) -> Builder:
    """The same rule, counted in units of its own: ``factor`` of them to a quote quantum, net margins rounded down."""

    def made(snap: Snapshot, level: str, multiplier: Fraction, horizon: int) -> MarginRule:
        fine = build_fine(snap, level, multiplier, horizon)
        fine = fine.elect({name: same[0].pieces[0][0] for name, same in fine.elections().items()})
        rows = tuple(
            (name, FloorDiv(f"{name}.coarse", Sum(((factor, net),)), fine.amount_factor))
            for name, net in fine.scenarios
        )
        return replace(fine, scenarios=rows, amount_factor=factor)

    return made


def replace_builder(patch: pytest.MonkeyPatch, snap: Snapshot, builder: Builder) -> None:
    """Another builder for the snapshot's rule."""
    patch.setattr(f"{SHIPPED[snap.rule_id]}.RULE", replace(rule_of(snap), build=builder))


@pytest.mark.parametrize("name", SNAPSHOTS)
@settings(max_examples=15, deadline=None)
@given(raw=RAW, factor=st.sampled_from([1, 2, 3, 99, 10**3, 10**5, 7 * 10**6]), horizon=st.integers(1, 10**6))
def test_a_latency_buffer_is_taken_from_a_rule_of_any_unit(
    name: str, raw: list[int], factor: int, horizon: int
) -> None:
    """Exactly the buffer, rounded up once to the rule's unit, also where that is coarser than a fine quantum."""
    snap = buffered(SNAPSHOTS[name]())
    with pytest.MonkeyPatch.context() as patch:
        replace_builder(patch, snap, coarse(rule_of(snap).build, factor))
        for level in LEVELS:
            plain = build(snap, Terms(level, Fraction(1), horizon))
            rule = build(snap, Terms(level, Fraction(1), horizon, overlays=("slow",)))
            z = [abs(v) if j in rule.non_negative else v for j, v in enumerate(raw[: len(rule.limits)])]
            rate = Fraction(isqrt_ceil(ceil_div(40_000**2 * horizon, 86_400)), PPM)
            buffer = sum(
                abs(lots) * ceil(lot_notional(inst, snap) * rate)
                for lots, inst in zip(z, snap.instruments, strict=True)
                if inst.kind not in ("quote", "credit")
            )
            taken = ceil_div(buffer * rule.amount_factor, snap.fine)
            assert solvency.net_margin(rule, z) == [net - taken for net in solvency.net_margin(plain, z)]
            assert Fraction(taken, rule.amount_factor) >= Fraction(buffer, snap.fine)
            assert best_slack(rule, z) == min(solvency.net_margin(rule, z))


def test_control_a_buffer_in_whole_units_to_a_fine_quantum_is_none_in_a_coarse_rule() -> None:
    """What was taken before, amount factor // fine of each, is nothing at all for a rule that counts quote quanta."""
    snap = buffered(tiered())
    with pytest.MonkeyPatch.context() as patch:
        replace_builder(patch, snap, coarse(rule_of(snap).build, 1))
        rule = build(snap, Terms("initial", Fraction(1), 86_400, overlays=("slow",)))
        assert rule.amount_factor // snap.fine == 0
        plain = build(snap, Terms("initial", Fraction(1), 86_400))
        lots = [0, 100, 0, 0]  # a notional of 1,000
        assert min(solvency.net_margin(plain, lots)) - min(solvency.net_margin(rule, lots)) == 40_00


def test_levels_that_count_in_different_units_are_refused() -> None:
    snap = tiered()
    fine = rule_of(snap).build

    def uneven(snap: Snapshot, level: str, multiplier: Fraction, horizon: int) -> MarginRule:
        return coarse(fine, 1 if level == "initial" else 2)(snap, level, multiplier, horizon)

    with pytest.MonkeyPatch.context() as patch:
        replace_builder(patch, snap, uneven)
        build(snap, terms("initial"))
        with pytest.raises(RuleRefused, match="units"):
            build(snap, terms("liquidation-end"))


def test_a_latency_buffer_is_proved_and_refused() -> None:
    snap = buffered(tiered(), instruments=["BTC"])
    lots = [-900, 100, 0, 0]
    try_proof(snap, [-700, 100, 0, 0], overlays=["slow"], horizon=86_400)
    try_proof(snap, [-780, 100, 0, 0], horizon=86_400)
    with pytest.raises(NotSolvent):
        try_proof(snap, [-780, 100, 0, 0], overlays=["slow"], horizon=86_400)
    with pytest.raises(MalformedInput):
        build(buffered(tiered(), instruments=["NOPE"]), terms(overlays=("slow",)))
    with pytest.raises(MalformedInput):
        build(buffered(tiered(), daily_ppm=-1), terms(overlays=("slow",)))
    assert min(solvency.net_margin(build(snap, terms()), lots)) < 0


def test_a_rule_says_its_class() -> None:
    assert solvency.provability_class(build(tiered(), terms())) == "A"
    assert solvency.provability_class(build(loans(), terms())) == "B"
    rule = MarginRule(((0, 9),), (("s", Linear({0: 1})),), 1, overcharge=Fraction(3, 2))
    assert solvency.provability_class(rule) == "C"
    assert compile_rule(rule).system.positions == 1


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("name", SNAPSHOTS)
@settings(max_examples=25, deadline=None)
@given(raw=RAW)
def test_liquidation_ends_between_maintenance_and_initial(name: str, raw: list[int]) -> None:
    snap = SNAPSHOTS[name]()
    nets: list[Fraction] = []
    for level in ("initial", "liquidation-end", "maintenance"):
        rule = build(snap, terms(level))
        z = [abs(v) if j in rule.non_negative else v for j, v in enumerate(raw[: len(rule.limits)])]
        nets.append(Fraction(min(solvency.net_margin(rule, z)), rule.amount_factor))
        assert best_slack(rule, z) == min(solvency.net_margin(rule, z))
    assert nets == sorted(nets)


@pytest.mark.parametrize("rounding", ["per-lot", "per-position"])
@settings(max_examples=40, deadline=None)
@given(
    lots=st.integers(-5_000, 5_000),
    mark=st.integers(1, 10**7),
    ppm=st.integers(0, 10**6),
    fraction=st.integers(0, 10**6),
    level=st.sampled_from(["initial", "maintenance"]),
)
def test_cross_margin_never_rounds_for_the_account(
    rounding: str, lots: int, mark: int, ppm: int, fraction: int, level: str
) -> None:
    price = format_fraction(Fraction(mark, 1000))
    tree = {
        "schema": "zkmargin/snapshot/1", "time": 1, "quote": {"currency": "USD", "decimals": 2, "value_decimals": 8},
        "rule": {"id": "cross-margin/1", "parameters": {
            "rounding": rounding, "tiers": {"t": {"initial_ppm": ppm, "maintenance_fraction_ppm": fraction}}}},
        "scenarios": ["mark"],
        "instruments": [{
            "id": "P", "kind": "perpetual", "lot": "0.001", "position_limit": "1000", "mark": price,
            "values": [format_fraction(Fraction(mark, 10**6))], "risk": {"tier": "t"}}],
    }  # fmt: skip
    rule = build(snapshot_from_bytes(canonical.canonical_bytes(tree)), terms(level))
    rate = Fraction(ppm, 10**6) * (Fraction(fraction, 10**6) if level == "maintenance" else 1)
    exact = abs(lots) * Fraction(mark, 10**6) * rate
    charged = lots * Fraction(mark, 10**6) - Fraction(min(solvency.net_margin(rule, [lots])), 10**8)
    bound = Fraction(abs(lots), 10**8) if rounding == "per-lot" else Fraction(2, 100)
    assert exact <= charged <= exact + bound


@settings(max_examples=40, deadline=None)
@given(
    z=st.lists(st.integers(-5_000, 5_000), min_size=3, max_size=3), level=st.sampled_from(["initial", "maintenance"])
)
def test_loans_never_round_for_the_account(z: list[int], level: str) -> None:
    snap = loans()
    rule = build(snap, terms(level)).elect({"emode": "none"})
    column = "ltv_ppm" if level == "initial" else "threshold_ppm"
    for s, net in enumerate(solvency.net_margin(rule, [*z, 0])):
        exact = Fraction(0)
        for lots, inst in zip(z, snap.instruments[:3], strict=True):
            rate = Fraction(inst.risk[column], 10**6) if lots > 0 else 1
            exact += lots * inst.values[s] * rate
        assert exact - sum(map(abs, z)) <= net <= exact
