"""One rule, two readings: evaluator and compiled system agree, and no assignment beats the best one."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.toy import settle
from zkmargin.circuits.compiler import (
    Auxiliary,
    MarginRule,
    Negative,
    Positive,
    Program,
    Slack,
    compile_rule,
    split_penalty,
)
from zkmargin.circuits.errors import RuleRefused
from zkmargin.circuits.expression import Abs, CeilDiv, Expression, FloorDiv, Linear, Max, Min, Shared, Sum
from zkmargin.prover import solvency
from zkmargin.prover.witness import assign, residuals

LIMITS = ((-40, 40), (0, 40), (-40, 40))
AMOUNT_FACTOR = 3


class Builder:
    """Random expressions that keep to the discipline; names are unique."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw, self.names = draw, itertools.count()

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def name(self) -> str:
        return f"e{next(self.names)}"

    def linear(self) -> Expression:
        return Linear({j: self.integer(-9, 9) for j in range(len(LIMITS))}, self.integer(-50, 50))

    def expression(self, depth: int, *, cost: bool) -> Expression:
        """A convex expression (a cost) or a concave one (a benefit)."""
        kinds = ["linear", "sum", "extreme", "rounded", "shared"] if depth else ["linear", "abs"]
        kind = self.draw(st.sampled_from(kinds))
        if kind == "linear" or (kind == "abs" and not cost):
            return self.linear()
        if kind == "abs":
            return Abs(self.integer(0, len(LIMITS) - 1))
        if kind == "sum":
            same = (self.integer(0, 4), self.expression(depth - 1, cost=cost))
            opposite = (-self.integer(0, 4), self.expression(depth - 1, cost=not cost))
            return Sum((same, opposite), self.integer(-20, 20))
        if kind == "extreme":
            pieces = tuple(self.expression(depth - 1, cost=cost) for _ in range(self.integer(1, 3)))
            return Max(self.name(), pieces) if cost else Min(self.name(), pieces)
        if kind == "rounded":
            argument, divisor = self.expression(depth - 1, cost=cost), self.integer(1, 7)
            return CeilDiv(self.name(), argument, divisor) if cost else FloorDiv(self.name(), argument, divisor)
        return Shared(self.name(), self.expression(depth - 1, cost=cost))


@st.composite
def rules(draw: st.DrawFn) -> MarginRule:
    """Rules of one to three scenarios that share a requirement."""
    builder = Builder(draw)
    requirement = Shared("requirement", builder.expression(2, cost=True))
    scenarios = []
    for s in range(draw(st.integers(1, 3))):
        net = Sum(((1, builder.expression(3, cost=False)), (-draw(st.integers(0, 3)), requirement)))
        scenarios.append((f"s{s}", net))
    return MarginRule(LIMITS, tuple(scenarios), AMOUNT_FACTOR, frozenset({1}))


POSITIONS = st.tuples(*(st.integers(low, high) for low, high in LIMITS))


def scenario_slacks(program: Program) -> list[int]:
    """The slack variable of every scenario, in order."""
    by_row = {d.row: k for k, d in enumerate(program.definitions) if isinstance(d, Slack)}
    return [by_row[i] for i in program.scenario_rows]


@settings(max_examples=200)
@given(rules(), POSITIONS, st.integers(0, 100))
def test_best_slack_is_the_evaluators_net_margin(rule: MarginRule, z: tuple[int, ...], amount: int) -> None:
    program = compile_rule(rule)
    values = assign(program, z, amount)
    assert not any(residuals(program.system, z, values, amount))
    slacks = scenario_slacks(program)
    assert [values[k] for k in slacks] == [margin - AMOUNT_FACTOR * amount for margin in solvency.net_margin(rule, z)]
    for k, value in enumerate(values):
        if k not in slacks:
            assert 0 <= value <= program.system.variables[k].limit
        else:
            assert value <= program.system.variables[k].limit


@settings(max_examples=200)
@given(rules())
def test_a_split_is_never_paid_for(rule: MarginRule) -> None:
    penalties = split_penalty(compile_rule(rule))
    assert len(penalties) == len(rule.scenarios)
    assert all(penalty <= 0 for penalty in penalties.values())


def feasible(program: Program, values: list[int]) -> bool:
    """Whether everything but the scenarios' own slacks is non-negative."""
    slacks = scenario_slacks(program)
    return all(value >= 0 for k, value in enumerate(values) if k not in slacks)


@settings(max_examples=150)
@given(rules(), POSITIONS)
def test_every_auxiliary_is_tight(rule: MarginRule, z: tuple[int, ...]) -> None:
    """One step in the direction that would help breaks a row, without any other change to help it."""
    program = compile_rule(rule)
    best = assign(program, z, 0)
    assert settle(program, z, best, 0) == best
    for k, definition in enumerate(program.definitions):
        if isinstance(definition, Auxiliary) and not isinstance(definition.expression, Shared):
            moved = list(best)
            moved[k] += -1 if isinstance(definition.expression, Max | CeilDiv) else 1
            assert not feasible(program, settle(program, z, moved, 0))


@settings(max_examples=150)
@given(rules(), POSITIONS, st.integers(0, 2**32))
def test_no_other_assignment_has_a_larger_slack(rule: MarginRule, z: tuple[int, ...], seed: int) -> None:
    """Splits inflated and auxiliaries moved at random: where the rows still hold, no scenario gains."""
    program, rng = compile_rule(rule), random.Random(seed)
    best = assign(program, z, 0)
    slacks = scenario_slacks(program)
    free = [
        k
        for k, d in enumerate(program.definitions)
        if isinstance(d, Auxiliary) and not isinstance(d.expression, Shared)
    ]
    for _ in range(40):
        moved, inflation = list(best), [rng.choice([0, 0, 1, 7]) for _ in LIMITS]
        for k, definition in enumerate(program.definitions):
            if isinstance(definition, Positive | Negative) and definition.position != 1:
                moved[k] += inflation[definition.position]
        for k in rng.sample(free, min(len(free), rng.randint(0, 3))):
            moved[k] += rng.choice([-3, -1, 1, 2, 5, 30])
        settled = settle(program, z, moved, 0)
        assert not any(residuals(program.system, z, settled, 0))
        if feasible(program, settled):
            assert all(settled[k] <= best[k] for k in slacks)


def test_inflating_an_absolute_value_costs_exactly_what_it_inflates() -> None:
    """Control of the one above: the moves are not all infeasible."""
    rule = MarginRule(LIMITS, (("s", Sum(((1, Linear({0: 5})), (-2, Shared("r", Abs(0)))))),), 1)
    program = compile_rule(rule)
    (slack,) = scenario_slacks(program)
    best = assign(program, [7, 0, 0], 0)
    moved = list(best)
    for k, definition in enumerate(program.definitions):
        if isinstance(definition, Positive | Negative) and definition.position == 0:
            moved[k] += 4
    settled = settle(program, [7, 0, 0], moved, 0)
    assert feasible(program, settled)
    assert (best[slack], settled[slack]) == (21, 21 - 2 * 8)


A, L = Abs(0), Linear({0: 1})
CONVEX_MAX, CONCAVE_MIN = Max("tiers", (L, A)), Min("cap", (L, Linear({}, 5)))
REFUSED: dict[str, tuple[Expression, str]] = {
    "an absolute value as a benefit": (Sum(((1, A),)), "scenario(s)"),
    "a cost as a benefit": (Sum(((3, CONVEX_MAX),)), "scenario(s)"),
    "a capped benefit as a cost": (Sum(((-1, CONCAVE_MIN),)), "scenario(s)"),
    "a cost and a capped benefit added": (Sum(((1, A), (1, CONCAVE_MIN))), "min(cap)"),
    "a benefit inside a maximum": (Sum(((-1, Max("outer", (CONCAVE_MIN,))),)), "max(outer)"),
    "a cost inside a minimum": (Min("outer", (CONVEX_MAX,)), "min(outer)"),
    "a cost rounded down": (FloorDiv("wrong", A, 2), "floordiv(wrong)"),
    "a benefit rounded up": (Sum(((-1, CeilDiv("wrong", CONCAVE_MIN, 2)),)), "ceildiv(wrong)"),
    "a divisor of zero": (FloorDiv("zero", L, 0), "floordiv(zero)"),
    "a negative divisor": (FloorDiv("negative", L, -2), "floordiv(negative)"),
    "a maximum of nothing": (Sum(((-1, Max("empty", ())),)), "max(empty)"),
}


@pytest.mark.parametrize(("expression", "field"), REFUSED.values(), ids=REFUSED)
def test_a_rule_outside_the_discipline_is_refused_by_name(expression: Expression, field: str) -> None:
    with pytest.raises(RuleRefused) as caught:
        compile_rule(MarginRule(LIMITS, (("s", expression),), 1))
    assert caught.value.field == field


def test_a_rule_without_scenarios_is_refused() -> None:
    with pytest.raises(RuleRefused):
        compile_rule(MarginRule(LIMITS, (), 1))
