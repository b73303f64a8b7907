"""dYdX v4's table of margin requirements, matched exactly by the cross-margin rule rounded per position."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest

from tests.support.places import SHARED
from tests.support.toy import NOW, Tree, load_snapshot, open_account, snapshot_tree
from zkmargin.circuits.compiler import MarginRule
from zkmargin.circuits.rules import Terms, build
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import compile_terms
from zkmargin.circuits.units import MAX_LOTS, format_fraction, format_quanta
from zkmargin.prover import solvency
from zkmargin.prover.evaluation import evaluate
from zkmargin.prover.prove import prove
from zkmargin.prover.witness import assign
from zkmargin.verifier.verify import verify

PATH = SHARED / "cases" / "dydx_v4" / "margin_requirements.json"
needs_cases = pytest.mark.skipif(not PATH.exists(), reason=f"no dYdX cases at {PATH}")
#: dYdX counts quote in quantums of 10^-6.
QUOTE_DECIMALS = 6
VALUE_DECIMALS = 12
LEVELS = {"initial": "bigExpectedInitialMargin", "maintenance": "bigExpectedMaintenanceMargin"}


def cases() -> list[Any]:
    """Every case of the table, by name."""
    if not PATH.exists():
        return []
    table = json.loads(PATH.read_text())["cases"]
    return [pytest.param(case, id=f"{i}-{case['name'][:40]}") for i, case in enumerate(table)]


def snapshot_of(case: dict[str, Any]) -> Snapshot:
    """One perpetual beside the quote currency: lot 10^atomicResolution, mark price * 10^exponent."""
    lot = Fraction(10) ** case["baseCurrencyAtomicResolution"]
    mark = case["price"] * Fraction(10) ** case["exponent"]
    tier: Tree = {
        "initial_ppm": case["initialMarginPpm"],
        "maintenance_fraction_ppm": case["maintenanceFractionPpm"],
    }
    risk: Tree = {"tier": "tier"}
    if case["openInterest"] is not None:
        tier["open_interest_lower"] = format_quanta(case["openInterestLowerCap"], QUOTE_DECIMALS)
        tier["open_interest_upper"] = format_quanta(case["openInterestUpperCap"], QUOTE_DECIMALS)
        risk["open_interest"] = format_fraction(case["openInterest"] * lot)
    perpetual: Tree = {
        "id": "PERP",
        "kind": "perpetual",
        "lot": format_fraction(lot),
        "position_limit": format_fraction(min(abs(case["bigBaseQuantums"]), MAX_LOTS) * lot),
        "mark": format_fraction(mark),
        "values": [format_fraction(mark * lot)],
        "risk": risk,
    }
    quote: Tree = {
        "id": "USDC",
        "kind": "quote",
        "lot": "0.000001",
        "position_limit": "1000000000000",
        "mark": "1",
        "values": ["0.000001"],
        "risk": {},
    }
    tree = snapshot_tree(1, 1, rounding="per-position") | {"instruments": [quote, perpetual]}
    tree["quote"] = {"currency": "USDC", "decimals": QUOTE_DECIMALS, "value_decimals": VALUE_DECIMALS}
    tree["rule"]["parameters"]["tiers"] = {"tier": tier}
    return load_snapshot(tree)


def rule_of(snapshot: Snapshot, level: str) -> MarginRule:
    return build(snapshot, Terms(level, Fraction(1), 3600))


def requirement(snapshot: Snapshot, level: str, z: list[int]) -> Fraction:
    """The requirement in quote quanta; whole for this rounding."""
    parts = dict(rule_of(snapshot, level).components)
    return Fraction(evaluate(parts["requirement"], z), snapshot.fine)


@needs_cases
def test_the_whole_table_is_read() -> None:
    assert len(cases()) == 14


@needs_cases
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("case", cases())
def test_requirement_matches_exactly(case: dict[str, Any], level: str) -> None:
    """The rule has no bound of its own: the evaluator takes the positions beyond 2^63 as well."""
    snapshot = snapshot_of(case)
    size = case["bigBaseQuantums"]
    for z in ([0, size], [123, -size]):
        assert requirement(snapshot, level, z) == case[LEVELS[level]]


@needs_cases
@pytest.mark.parametrize("case", cases())
def test_net_margin_is_net_value_less_the_requirement(case: dict[str, Any]) -> None:
    """dYdX's Risk: NC = quote + size * price, in quote quantums; ours is exact, in fine ones."""
    snapshot = snapshot_of(case)
    size, quote = case["bigBaseQuantums"], 10**9
    shift = case["exponent"] + case["baseCurrencyAtomicResolution"] + QUOTE_DECIMALS
    value = quote + size * case["price"] * Fraction(10) ** shift
    for level, name in LEVELS.items():
        margin = Fraction(solvency.net_margin(rule_of(snapshot, level), [quote, size])[0], snapshot.fine)
        assert margin == value - case[name]


@needs_cases
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("case", [c for c in cases() if abs(c.values[0]["bigBaseQuantums"]) <= MAX_LOTS])
def test_a_portfolio_proves_its_margin_rounded_down_and_not_a_quantum_more(case: dict[str, Any], level: str) -> None:
    snapshot = snapshot_of(case)
    size = case["bigBaseQuantums"]
    program = compile_terms(snapshot, Terms(level, Fraction(1), 3600))
    fine = solvency.net_margin(program.rule, [0, size])[0]
    quote = -(fine // snapshot.fine) + 17
    account = open_account(snapshot, [quote, size])
    margin = solvency.net_margin(program.rule, account.opening.lots)[0] // snapshot.fine
    assert margin == 17
    statement = account.statement(level=level, amount=format_quanta(margin, QUOTE_DECIMALS))
    verify(statement, snapshot, prove(statement, snapshot, account.opening), now=NOW)
    slacks = [k for k, v in enumerate(program.system.variables) if v.name.startswith("slack(scenario(")]
    assert assign(program, account.opening.lots, margin)[slacks[0]] == fine % snapshot.fine
    assert assign(program, account.opening.lots, margin + 1)[slacks[0]] < 0


def test_net_value_rounds_down() -> None:
    """Half a quantum of value is none, on both sides of zero."""
    tree = snapshot_tree(1, 1, rounding="per-position")
    tree["quote"] = {"currency": "USDC", "decimals": 6, "value_decimals": 7}
    quote, spot = dict(tree["instruments"][0]), dict(tree["instruments"][0])
    quote |= {"lot": "0.000001", "values": ["0.000001"], "position_limit": "1000"}
    spot |= {"id": "HALF", "kind": "spot", "lot": "1", "position_limit": "1000", "mark": "0.0000005"}
    spot |= {"values": ["0.0000005"], "risk": {"haircut_ppm": 0}}
    tree["instruments"] = [quote, spot]
    snapshot = load_snapshot(tree)
    rule = rule_of(snapshot, "initial")
    for lots, whole in (([0, 1], 0), ([0, 3], 1), ([1, -1], 0), ([0, -1], -1), ([5, 2], 6)):
        assert solvency.net_margin(rule, lots)[0] // snapshot.fine == whole


@pytest.mark.parametrize(("size", "fraction_ppm", "rounded"), [(31, 300_000, 2), (30, 300_000, 1), (21, 500_000, 2)])
def test_maintenance_is_rounded_up_twice(size: int, fraction_ppm: int, rounded: int) -> None:
    """3.1 quanta of initial requirement are 4, and 0.3 of these 1.2, so 2; rounded once they would be 1."""
    case = {
        "price": 1,
        "exponent": 0,
        "baseCurrencyAtomicResolution": -6,
        "initialMarginPpm": 100_000,
        "maintenanceFractionPpm": fraction_ppm,
        "openInterest": None,
        "bigBaseQuantums": size,
    }
    snapshot = snapshot_of(case)
    assert requirement(snapshot, "initial", [0, size]) == -(-size // 10)
    assert requirement(snapshot, "maintenance", [0, -size]) == rounded
