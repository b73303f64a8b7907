"""Derive's 60 published PMRM v2 accounts, matched by the portfolio-margin rule at both levels."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from tests.support import derive_cases
from tests.support.derive_cases import PPB, QUOTE_DECIMALS, load
from zkmargin.circuits.compiler import MarginRule, Program, Slack, compile_rule, split_penalty
from zkmargin.circuits.rules import Terms, build
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.prover import solvency
from zkmargin.prover.domains import cheapest_domain
from zkmargin.prover.evaluation import evaluate
from zkmargin.prover.witness import assign, residuals

LEVELS = ("initial", "maintenance")
#: Cases that the rule cannot express, with the reason; none.
INEXPRESSIBLE: dict[str, str] = {}
PATHS = derive_cases.paths()
needs_cases = pytest.mark.skipif(not PATHS, reason=f"no Derive cases at {derive_cases.FOLDER}")
every_case = pytest.mark.parametrize("path", PATHS or [None], ids=[p.stem for p in PATHS] or ["none"])


def rule_of(snapshot: Snapshot, level: str, multiplier: Fraction = Fraction(1)) -> MarginRule:
    return build(snapshot, Terms(level, multiplier, 3600))


def money(rule: MarginRule, fine: int) -> Fraction:
    """Quote units."""
    return Fraction(fine, rule.amount_factor * 10**QUOTE_DECIMALS)


def slacks(program: Program, z: tuple[int, ...], amount: int = 0) -> list[int]:
    """The scenarios' slacks of the best assignment, after checking that everything else is a valid witness."""
    values = assign(program, z, amount)
    assert not any(residuals(program.system, z, values, amount))
    by_row = {d.row: k for k, d in enumerate(program.definitions) if isinstance(d, Slack)}
    own = [by_row[i] for i in program.scenario_rows]
    for k, (value, variable) in enumerate(zip(values, program.system.variables, strict=True)):
        assert value <= variable.limit
        assert value >= 0 or k in own
    return [values[k] for k in own]


@needs_cases
def test_every_case_is_read() -> None:
    assert len(PATHS) == 60
    assert not INEXPRESSIBLE


@needs_cases
@pytest.mark.parametrize("level", LEVELS)
@every_case
def test_margin_matches(path: Path, level: str) -> None:
    case = load(path)
    rule = rule_of(case.snapshot, level)
    margin = money(rule, min(solvency.net_margin(rule, case.lots)))
    assert float(margin) == pytest.approx(case.expected[level], rel=1e-6, abs=1e-6)


@needs_cases
@pytest.mark.parametrize("level", LEVELS)
@every_case
def test_the_loss_of_every_scenario_matches(path: Path, level: str) -> None:
    """What a scenario's row adds to mark-to-market less contingencies is the loss factor times Derive's loss."""
    case = load(path)
    rule = rule_of(case.snapshot, level)
    unit = 10**derive_cases.VALUE_DECIMALS
    parameters = case.snapshot.parameters
    mark = case.snapshot.scenarios.index(parameters["mark"])
    value = sum(z * inst.values[mark] for z, inst in zip(case.lots, case.snapshot.instruments, strict=True))
    rest = Fraction(value - evaluate(dict(rule.components)["requirement"], case.lots), unit)
    factor = Fraction(parameters[f"{level}_loss_ppb"], PPB)
    rows = dict(zip([name for name, _ in rule.scenarios], solvency.net_margin(rule, case.lots), strict=True))
    assert [name for name, _ in case.losses] == [name for name, _ in rule.scenarios][:-1]
    scale = 1e-6 * max(1.0, *(abs(loss) for _, loss in case.losses))
    for name, loss in case.losses:
        assert float((money(rule, rows[name]) - rest) / factor) == pytest.approx(loss, rel=1e-6, abs=scale)


@needs_cases
@pytest.mark.parametrize("level", LEVELS)
@every_case
def test_the_best_slack_is_the_evaluators_margin(path: Path, level: str) -> None:
    case = load(path)
    rule = rule_of(case.snapshot, level)
    program = compile_rule(rule.elect(solvency.best_choice(rule, case.lots)))
    assert slacks(program, case.lots) == solvency.net_margin(rule, case.lots)
    assert all(penalty <= 0 for penalty in split_penalty(program).values())
    for amount in (1, 10**9):
        expected = [margin - rule.amount_factor * amount for margin in solvency.net_margin(rule, case.lots)]
        assert slacks(program, case.lots, amount) == expected


@needs_cases
@every_case
def test_a_wrong_election_never_pays(path: Path) -> None:
    """Each election turned round alone, and all at once: no scenario gains."""
    case = load(path)
    rule = rule_of(case.snapshot, "initial")
    best, right = solvency.best_choice(rule, case.lots), solvency.net_margin(rule, case.lots)
    flipped = {name: "short" if label == "long" else "long" for name, label in best.items()}
    for choice in [best | {name: flipped[name]} for name in best] + [flipped]:
        wrong = rule.elect(choice)
        margins = solvency.net_margin(wrong, case.lots)
        assert all(a <= b for a, b in zip(margins, right, strict=True))
        assert slacks(compile_rule(wrong), case.lots) == margins


@needs_cases
@every_case
def test_every_system_fits_a_domain(path: Path) -> None:
    case = load(path)
    for level in LEVELS:
        rule = rule_of(case.snapshot, level)
        compile_rule(rule.elect(solvency.best_choice(rule, case.lots))).system.layout(cheapest_domain(case.snapshot))
