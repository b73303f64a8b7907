"""The work that a statement asks for is known before it is done, and nobody can ask for more than is needed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from benchmarks import options
from tests.circuits.test_market_rules import loans, tiered
from tests.circuits.test_span import span
from tests.support import toy
from tests.support.places import ROOT
from zkmargin.circuits import compiler, statement
from zkmargin.circuits.compiler import compile_rule
from zkmargin.circuits.documents.snapshot import MAX_OVERLAY_ENTRIES
from zkmargin.circuits.errors import MalformedInput, SystemTooLarge, ZkMarginError
from zkmargin.circuits.expression import Abs, Linear, Max, Sum
from zkmargin.circuits.rules import SHIPPED, Terms, build, find, work
from zkmargin.circuits.rules.rule import ROW, Sizes
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.verifier.argument.matrix import _build

#: Lines of Python that a step stands for. Whoever makes a rule slower learns here that its estimate is too low.
LINES_PER_STEP = 40
LEVELS = ("initial", "maintenance", "liquidation-end")
Tree = dict[str, Any]


def lines_of(run: Callable[[], object]) -> int:
    """Lines that are executed: a measure of work that is the same on every machine."""
    count = 0

    def trace(*_: object) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return count


def steps_of(rule_id: str, sizes: Sizes) -> int:
    """What a shipped rule says of its work beside the values; every one of them does."""
    rule = find(rule_id)
    assert rule is not None
    assert rule.steps is not None
    return rule.steps(sizes)


def compile_all(snap: Snapshot, level: str, overlays: tuple[str, ...]) -> None:
    """What a verifier does for a statement before it looks at the proof."""
    rule = build(snap, Terms(level, Fraction(3, 2), 3600, (), overlays))
    choice = {name: same[0].pieces[0][0] for name, same in rule.elections().items()}
    system = compile_rule(rule.elect(choice)).system
    _build(system, system.layout(2048))


def shaped(rule: str, parameters: Tree, count: int, scenarios: int, kind: str, risk: Callable[[int], Tree]) -> Snapshot:
    """Cash and ``count`` instruments of one kind."""
    tree = toy.snapshot_tree(count + 1, scenarios)
    tree["rule"] = {"id": rule, "parameters": parameters}
    for j, line in enumerate(tree["instruments"][1:]):
        line |= {
            "kind": kind,
            "risk": risk(j),
            "lot": "0.01",
            "mark": "5",
            "values": [str(5 + s % 3) for s in range(scenarios)],
        }
    if rule == "collateral-loan/1":
        tree["instruments"][0]["risk"] = {"ltv_ppm": 900_000, "threshold_ppm": 900_000}
    return toy.load_snapshot(tree)


def brackets(tables: int, count: int, used: int) -> Snapshot:
    line = [{"lower": str(1000 * k), "initial_ppm": 1000 + 7 * k, "maintenance_ppm": 500 + 3 * k} for k in range(64)]
    parameters = {"tables": {f"t{i}": line for i in range(tables)}}
    return shaped("tiered-margin/1", parameters, count, 4, "perpetual", lambda j: {"table": f"t{j % used}"})


def categories(count: int, scenarios: int) -> Snapshot:
    parameters = {"categories": {f"c{i}": {"ltv_ppm": 800_001 + i, "threshold_ppm": 900_001 + i} for i in range(16)}}
    return shaped(
        "collateral-loan/1", parameters, count, scenarios, "spot",
        lambda j: {"ltv_ppm": 700_001 + j, "threshold_ppm": 800_001 + j, "category": f"c{j % 16}"},
    )  # fmt: skip


def scan(scenarios: int, *, groups: int = 1, spreads: int = 1, months: int = 2, elected: int = 0) -> Snapshot:
    group = {
        "short_option_minimum": "0.123",
        "spreads": [
            {
                "months": [f"m{q}-{m}" for m in range(months)], "charge": "1.23", "outright": "0.77",
                "form": "election" if q < elected else "lemma",
            }
            for q in range(spreads)
        ],
    }  # fmt: skip
    parameters = {
        "weights_ppm": [1_000_000 - s for s in range(scenarios)], "initial_factor_ppm": 1_234_567,
        "groups": {f"g{i}": group for i in range(groups)},
    }  # fmt: skip
    return shaped(
        "span-scan/1", parameters, 24, scenarios, "option",
        lambda j: {"group": f"g{j % groups}", "month": f"m{j % spreads}-{j % months}", "delta": "0.123456789"},
    )  # fmt: skip


def expiries(scenarios: int, count: int, kind: str, instruments: int) -> Snapshot:
    rates = {
        "gain_ppb": 900_000_001, "loss_ppb": 1_100_000_001, "basis_ppb": 10**8, "short_maintenance_ppb": 10**7,
        "short_initial_ppb": 2 * 10**7, "gross_initial_ppb": 10**6,
    }  # fmt: skip
    names = [f"scenario-{s}" for s in range(scenarios)]
    parameters = {
        "mark": names[0], "basis_up": names[1], "basis_down": names[2], "index": "100.3",
        "maintenance_loss_ppb": 10**9, "initial_loss_ppb": 1_200_000_000,
        "scenarios": {name: {"kind": kind} for name in names}, "expiries": {f"e{e}": rates for e in range(count)},
    }  # fmt: skip
    return shaped(
        "portfolio-margin/1", parameters, instruments, scenarios, "option",
        lambda j: {
            "expiry": f"e{j % count}", "strike": str(1000 + j // (2 * count)),
            "type": "put" if j // count % 2 else "call", "latency_ppm": 777,
        },
    )  # fmt: skip


def cross(rounding: str) -> Snapshot:
    return toy.load_snapshot(toy.snapshot_tree(20, 8, rounding=rounding))


SNAPSHOTS: dict[str, Callable[[], Snapshot]] = {
    "cross": lambda: cross("per-lot"),
    "cross, ceilings": lambda: cross("per-position"),
    "tiered": tiered,
    "loans": loans,
    "span": span,
    "span, elected": lambda: span("election"),
    "options": lambda: options.make(40),
    "brackets": lambda: brackets(3, 12, 3),
    "brackets that nobody uses": lambda: brackets(40, 2, 1),
    "categories": lambda: categories(9, 6),
    "categories in many scenarios": lambda: categories(2, 40),
    "many spreads": lambda: scan(2, spreads=12),
    "many months": lambda: scan(2, spreads=8, months=64),
    "elected spreads": lambda: scan(3, spreads=12, elected=4),
    "many groups": lambda: scan(4, groups=200, spreads=0 + 1),
    "groups and scenarios": lambda: scan(40, groups=40),
    "regular scenarios": lambda: expiries(12, 8, "regular", 24),
    "skew scenarios": lambda: expiries(12, 8, "skew", 24),
    "expiries of nobody": lambda: expiries(60, 64, "skew", 3),
}


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("name", SNAPSHOTS)
def test_no_rule_takes_more_work_than_was_told(name: str) -> None:
    snap = SNAPSHOTS[name]()
    for level in LEVELS[::2]:
        told = work.steps(snap, level, ())
        assert told is not None
        assert lines_of(lambda level=level: compile_all(snap, level, ())) <= LINES_PER_STEP * told


def overlaid(entries: list[Tree], instruments: int = 16, scenarios: int = 4) -> Snapshot:
    tree = toy.snapshot_tree(instruments, scenarios)
    for line in tree["instruments"][2:]:
        line["greeks"] = {"delta": "0.123456789", "gamma": "1.1", "vega": "0.5"}
    tree["rule"]["overlays"] = {"x": entries}
    return toy.load_snapshot(tree)


#: All but cash and credits, which no overlay may charge for.
NAMES = [line["id"] for line in toy.snapshot_tree(16, 4)["instruments"]][2:]
OVERLAYS: list[Tree] = [
    {"type": "leverage-cap", "max": "3.456789"},
    {"type": "concentration", "max_ppm": 345_678},
    {"type": "banned", "instruments": NAMES},
    {"type": "banned", "instruments": NAMES[:1] * 64},
    {"type": "minimum-equity", "amount": "5"},
    {"type": "greek-limit", "greek": "delta", "max": "5.5"},
    {"type": "latency-buffer", "daily_ppm": 543},
    {"type": "latency-buffer", "daily_ppm": 543, "instruments": NAMES[:1] * 500},
]


@pytest.mark.parametrize("entry", OVERLAYS, ids=lambda e: f"{e['type']}-{len(e.get('instruments', []))}")
@pytest.mark.parametrize("count", [1, 12])
def test_no_overlay_takes_more_work_than_was_told(entry: Tree, count: int) -> None:
    snap = overlaid([entry] * count)
    for level in LEVELS[1:]:
        told, plain = work.steps(snap, level, ("x",)), work.steps(snap, level, ())
        assert told is not None
        assert plain is not None
        assert lines_of(lambda level=level: compile_all(snap, level, ("x",))) <= LINES_PER_STEP * told
        assert told > plain


def test_an_estimate_that_leaves_out_overlays_would_be_too_low() -> None:
    """The control: by instruments and scenarios alone, as it once was, the attack is light work."""
    snap = overlaid([{"type": "concentration", "max_ppm": 1_000_000}] * MAX_OVERLAY_ENTRIES)
    told = work.steps(snap, "maintenance", ())
    assert told is not None
    assert lines_of(lambda: compile_all(snap, "maintenance", ("x",))) > LINES_PER_STEP * told


def test_an_overlay_set_has_so_many_entries() -> None:
    entry = {"type": "concentration", "max_ppm": 1_000_000}
    overlaid([entry] * MAX_OVERLAY_ENTRIES)
    with pytest.raises(MalformedInput) as caught:
        overlaid([entry] * (MAX_OVERLAY_ENTRIES + 1))
    assert caught.value.field == "snapshot.rule.overlays.x"


@pytest.mark.parametrize(
    ("snap", "overlays", "field"),
    [
        (lambda: overlaid([OVERLAYS[1]] * 64, 400, 2), ("x",), "snapshot.rule.overlays.x"),
        (lambda: overlaid([OVERLAYS[6]] * 64, 512, 512), ("x",), "snapshot.rule.overlays.x"),
        (lambda: categories(900, 100), (), "snapshot.rule.parameters"),
        (lambda: expiries(512, 512, "skew", 3), (), "snapshot.rule.parameters"),
    ],
    ids=["rows", "buffers", "categories", "expiries"],
)
def test_what_nobody_needs_is_refused_before_anything_is_built(
    snap: Callable[[], Snapshot], overlays: tuple[str, ...], field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statement, "build", lambda *_: pytest.fail("built"))
    if field == "snapshot.rule.parameters" and not overlays:
        monkeypatch.setattr(work, "MAX_STEPS", 2**22)
    made = snap()
    terms = Terms("maintenance", Fraction(1), 3600, (), overlays)
    for _ in range(2):
        with pytest.raises(SystemTooLarge) as caught:
            statement.compile_terms(made, terms)
        assert caught.value.field == field
    if overlays:
        with pytest.raises(pytest.fail.Exception):
            statement.compile_terms(made, Terms("maintenance", Fraction(1), 3600))


def test_a_refusal_is_kept_like_a_program_and_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    snap, calls = overlaid([{"type": "nonesuch"}]), []
    real = statement.build
    monkeypatch.setattr(statement, "build", lambda *given: (calls.append(1), real(*given))[1])
    for _ in range(3):
        with pytest.raises(MalformedInput) as caught:
            statement.compile_terms(snap, Terms("maintenance", Fraction(1), 3600, (), ("x",)))
        assert caught.value.field == "snapshot.rule.overlays.x.0.type"
    assert len(calls) == 1
    statement.forget_compiled()
    with pytest.raises(MalformedInput):
        statement.compile_terms(snap, Terms("maintenance", Fraction(1), 3600, (), ("x",)))
    assert len(calls) == 2


def test_compiling_stops_where_no_layout_can_hold_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = build(cross("per-lot"), Terms("maintenance", Fraction(1), 3600))
    added = 0

    def pieces() -> Any:
        nonlocal added
        for k in range(10**6):
            added += 1
            yield compiler.Constraint(f"c{k}", Sum(((-1, Abs(0)),)))

    class Endless(tuple):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            return pieces()

    object.__setattr__(rule, "constraints", Endless())
    with pytest.raises(SystemTooLarge) as caught:
        compile_rule(rule)
    assert caught.value.field == "system"
    assert added <= compiler.MAX_WORDS
    # And at its coefficients, which words do not count.
    monkeypatch.setattr(compiler, "MAX_ENTRIES", 1000)
    wide = Max("wide", tuple(Linear(dict.fromkeys(range(20), 1 + k)) for k in range(60)))
    object.__setattr__(rule, "constraints", (compiler.Constraint("wide", Sum(((-1, wide),))),))
    with pytest.raises(SystemTooLarge, match="coefficients"):
        compile_rule(rule)


@pytest.mark.parametrize("rule", SHIPPED)
def test_a_book_of_200_instruments_in_2500_scenarios_stays_possible(rule: str) -> None:
    parameters: Tree = {
        "tables": {"t": [{}] * 12}, "categories": dict.fromkeys("abcd"), "expiries": dict.fromkeys("abcdefghijkl"),
        "groups": {"g": {"spreads": [{"months": ["a", "b"]}] * 8}},
    }  # fmt: skip
    sizes = Sizes(200, 2500, parameters, [{"table": "t", "group": "g"}] * 200)
    assert work.BASE + 200 * work.INSTRUMENT + 2 * ROW * sizes.cells + steps_of(rule, sizes) < work.MAX_STEPS


def test_every_frozen_snapshot_and_the_largest_benchmark_stay_possible() -> None:
    frozen = ROOT / "service/vectors/data/v1/shared.json"
    made = 0
    for document in _documents(json.loads(frozen.read_bytes()), "zkmargin/snapshot/1"):
        try:
            snap = toy.load_snapshot(document)
        except ZkMarginError:
            continue  # some are there to be refused
        work.check(snap, "liquidation-end", tuple(snap.overlays))
        made += 1
    assert made > 5
    work.check(options.make(1000), "liquidation-end", ())


def _documents(tree: Any, schema: str) -> Any:
    if isinstance(tree, dict):
        if tree.get("schema") == schema:
            yield tree
        for value in tree.values():
            yield from _documents(value, schema)
    elif isinstance(tree, list):
        for value in tree:
            yield from _documents(value, schema)


def test_whatever_a_document_holds_its_work_is_told() -> None:
    for junk in (None, 1, "x", [], {}, [[1]], {"a": {"spreads": [1, {"months": 5}]}}, {"g": None}):
        parameters = dict.fromkeys(("tables", "categories", "expiries", "groups"), junk)
        sizes = Sizes(3, 2, parameters, [{"table": junk, "group": junk}])
        assert all(steps_of(rule, sizes) >= 0 for rule in SHIPPED)
    snap = overlaid([{"type": junk, "instruments": junk} for junk in (None, 1, "banned", [], {})])
    assert work.steps(snap, "initial", ("x", "nonesuch"))


def test_the_work_of_a_third_partys_rule_is_unknown() -> None:
    tree = toy.snapshot_tree(3, 2)
    tree["rule"] = {"id": "someone/1", "parameters": {}}
    snap = toy.load_snapshot(tree)
    assert work.steps(snap, "initial", ()) is None
    work.check(snap, "initial", ())
