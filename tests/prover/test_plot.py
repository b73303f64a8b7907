"""Charts: every point is its own scenario's, whatever a rule leaves out or adds; readable, with units; every rule."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.circuits.test_market_rules import loans, tiered
from tests.circuits.test_portfolio_margin import own_portfolios, own_tree
from tests.circuits.test_span import span
from tests.service.cli.test_cli import demo_file
from tests.support.toy import load_snapshot
from zkmargin.circuits import canonical
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.errors import MissingExtra
from zkmargin.circuits.rules import LEVELS, SHIPPED, Terms
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.prover.documents import portfolio_lots
from zkmargin.prover.explain import Explanation, explain
from zkmargin.prover.plot import MAX_BARS, Panel, amount, draw, figure, heading, panels


def with_axes(tree: dict[str, Any]) -> Snapshot:
    """The portfolio-margin snapshot with axes: its scenarios are called "state:spot"."""
    axes = []
    for name in tree["scenarios"]:
        state, spot = name.split(":")
        percent = f"{(float(spot) - 1) * 100:.6g}"
        axes.append({"spot": "0" if percent == "-0" else percent, "vol": state if state in ("up", "down") else "none"})
    return load_snapshot(tree | {"axes": axes})


PMRM = with_axes(own_tree())
DEMO = snapshot_from_bytes(demo_file("snapshot.json"))
ACCOUNTS: dict[str, tuple[Snapshot, list[int]]] = {
    "portfolio-margin/1": (PMRM, list(own_portfolios(1)[0])),
    "span-scan/1": (span(), [100_000, 40, -25, 30, -12, 3]),
    "tiered-margin/1": (tiered(), [9_000, 100, -50, 7]),
    "collateral-loan/1": (loans(), [-900, 10_000, 0, 0]),
    "cross-margin/1": (DEMO, portfolio_lots(demo_file("portfolio.json"), DEMO)),
}


def explained(rule: str, level: str = "initial") -> tuple[Explanation, Snapshot, list[int]]:
    snap, lots = ACCOUNTS[rule]
    return explain(snap, Terms(level, Fraction(1), 3600), lots), snap, lots


def points(panel: Panel) -> dict[str, tuple[Fraction, str, Fraction]]:
    """Scenario to where it is drawn: spot, state, value."""
    return {p.scenario: (p.spot, state, p.value) for state, curve in panel.curves.items() for p in curve}


def test_every_shipped_rule_has_a_chart() -> None:
    assert set(ACCOUNTS) == set(SHIPPED)


def test_a_point_is_its_own_scenarios() -> None:
    """The rule drops the marks and appends the basis: by place every point would move."""
    answer, snap, lots = explained("portfolio-margin/1")
    margins, axes = dict(answer.scenarios), dict(zip(snap.scenarios, snap.axes, strict=True))
    assert list(margins) != list(axes)
    margin, _, change = panels(answer, snap, lots)
    assert points(margin) == {name: (*axes[name], margins[name]) for name in margins if name in axes}
    assert margin.levels == (("basis", margins["basis"]),)
    assert margin.binding == answer.worst_scenario
    marked = sum(x * i.lot * i.mark for x, i in zip(lots, snap.instruments, strict=True))
    for s, name in enumerate(snap.scenarios):
        value = Fraction(sum(x * i.values[s] for x, i in zip(lots, snap.instruments, strict=True)))
        assert points(change)[name] == (*axes[name], value / 10**snap.value_decimals - marked)


@settings(max_examples=6, deadline=None)
@given(st.permutations(range(len(PMRM.scenarios))), st.sampled_from(own_portfolios(6)), st.sampled_from(LEVELS))
def test_the_order_of_scenarios_moves_no_point(order: list[int], held: tuple[int, ...], level: str) -> None:
    tree = dict(PMRM.tree)
    for key in ("scenarios", "axes"):
        tree[key] = [tree[key][i] for i in order]
    tree["instruments"] = [
        inst | {"values": [inst["values"][i] for i in order]} for inst in tree["instruments"]
    ]  # fmt: skip
    other = load_snapshot(tree)
    terms = Terms(level, Fraction(1), 3600)
    for one, two in zip(
        panels(explain(PMRM, terms, held), PMRM, held), panels(explain(other, terms, held), other, held), strict=True
    ):
        assert points(one) == points(two)
        assert (one.levels, one.title) == (two.levels, two.title)


@pytest.mark.parametrize("rule", sorted(SHIPPED))
@pytest.mark.parametrize("level", LEVELS)
def test_a_panel_says_something_and_adds_up(rule: str, level: str) -> None:
    answer, snap, lots = explained(rule, level)
    shown = panels(answer, snap, lots)
    assert len(shown) >= 2
    for panel in shown:
        assert len(panel.bars) > 1 or panel.curves
        assert not (panel.bars and panel.curves)
    if answer.components:
        assert sum(value for _, value in answer.components) == answer.requirement
    bars = {panel.title: panel.bars for panel in shown}
    if bars.get("net margin in each scenario"):
        assert bars["net margin in each scenario"] == answer.scenarios  # from top to bottom in the snapshot's order
    assert (len(answer.scenarios) == 1) == ("net margin in each scenario" not in bars)


@pytest.mark.parametrize("rule", sorted(SHIPPED))
def test_what_is_drawn_is_readable(rule: str) -> None:
    answer, snap, lots = explained(rule)
    made = figure(answer, snap, lots, "alice")
    made.canvas.draw()
    title = made.get_suptitle()
    for part in ("alice", "initial margin", "net margin", "health factor", answer.currency):
        assert part in title
    assert len(made.axes) == len(panels(answer, snap, lots))
    for axis in made.axes:
        assert axis.get_title()
        assert answer.currency in (axis.get_xlabel(), axis.get_ylabel())
        for side in (axis.xaxis, axis.yaxis):
            assert side.get_offset_text().get_text() == ""
        labels = [t.get_text() for side in (axis.xaxis, axis.yaxis) for t in side.get_ticklabels()]
        assert not [text for text in labels if "e+" in text or "1e" in text]
        if axis.patches:
            low, high = axis.get_ylim()
            assert low > high  # from top to bottom


def test_figures_have_thousands_and_as_many_decimals_as_they_need() -> None:
    assert amount(Fraction(1_753_512), 1_753_512) == "1,753,512"
    assert amount(Fraction(-1_234_567, 1000), 2000) == "-1,235"
    assert amount(Fraction(1, 3), 1) == "0.33"
    assert amount(Fraction(0), 0) == "0"


def test_a_crowd_of_scenarios_is_cut_to_the_worst_in_their_order() -> None:
    tree = {**tiered().tree}
    count = MAX_BARS + 20
    tree["scenarios"] = [f"s{i}" for i in range(count)]
    rows = []
    for inst in tree["instruments"]:
        first = Fraction(inst["values"][0])
        fixed = inst["kind"] in ("quote", "credit")
        values = [first if fixed else first * (100 + i * 7 % count) / 100 for i in range(count)]
        rows.append(inst | {"values": [f"{float(v):.6f}".rstrip("0").rstrip(".") for v in values]})
    tree["instruments"] = rows
    snap = snapshot_from_bytes(canonical.canonical_bytes(tree))
    answer = explain(snap, Terms("initial", Fraction(1), 3600), [9_000, 100, 50, 7])
    margin = panels(answer, snap, [9_000, 100, 50, 7])[0]
    order = [name for name, _ in answer.scenarios]
    kept = [name for name, _ in margin.bars]
    assert len(kept) == MAX_BARS
    assert kept == [name for name in order if name in kept]
    assert answer.worst_scenario in kept
    assert f"smallest {MAX_BARS} of {count}" in margin.title


def test_a_name_is_no_markup_and_no_health_is_said_plainly() -> None:
    answer, snap, lots = explained("span-scan/1")
    assert answer.health_factor is None
    assert "above 1,000" in heading(answer, "x")
    assert draw(answer, snap, lots, Path("a.svg"), account="$\\frac{1}{0$")
    assert "binding" not in heading(answer, "x")


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match="plot"):
        draw(*explained("span-scan/1"), Path("a.png"), account="x")
