"""What is true proves, up to a slack of exactly zero; what is false by one quantum does not."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.cheating import attempt, broken_relations
from tests.support.toy import NOW, Account, Tree, edge_account, load_snapshot, open_account, snapshot_tree, trade
from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.statement import bind, compile_terms
from zkmargin.circuits.units import format_quanta
from zkmargin.prover import solvency
from zkmargin.prover.errors import NotSolvent
from zkmargin.prover.prove import prove
from zkmargin.prover.witness import assign
from zkmargin.verifier.verify import verify

SCENARIOS = 5


def money(quanta: int) -> str:
    """Quote quanta of the test snapshots as a document writes them."""
    return format_quanta(quanta, 2)


def proves(account: Account, **changes: object) -> None:
    """The honest prover makes a proof, and the verifier takes it."""
    statement = account.statement(**changes)
    verify(statement, account.snapshot, prove(statement, account.snapshot, account.opening), now=NOW)


@pytest.mark.parametrize("scenario", range(SCENARIOS))
def test_slack_zero_proves_and_one_quantum_less_does_not_in_each_scenario(scenario: int) -> None:
    account, margin = edge_account(SCENARIOS, scenario)
    bound = bind(account.statement(amount=money(margin)), account.snapshot)
    values = assign(bound.program, account.opening.lots, bound.amount)
    rows = [bound.program.system.rows[i] for i in bound.program.scenario_rows]
    slacks = [values[next(k for k, a in reversed(row.variables.items()) if a == -1)] for row in rows]
    assert slacks[scenario] == 0
    assert min(slacks[:scenario] + slacks[scenario + 1 :]) > 0
    proves(account, amount=money(margin))
    with pytest.raises(NotSolvent) as caught:
        proves(account, amount=money(margin + 1))
    assert (caught.value.scenario, caught.value.shortfall) == (f"scenario-{scenario}", "0.01")


@pytest.mark.parametrize("scenario", range(SCENARIOS))
def test_a_public_trade_moves_the_edge_exactly(scenario: int) -> None:
    """Selling the last cent of slack proves, one cent more does not."""
    account, margin = edge_account(SCENARIOS, scenario)
    proves(account, amount=money(margin - 3), delta=[trade(account.snapshot, 0, -3)])
    with pytest.raises(NotSolvent):
        proves(account, amount=money(margin - 3), delta=[trade(account.snapshot, 0, -4)])


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Small snapshots of every kind of instrument and both roundings."""
    tree = snapshot_tree(
        draw(st.integers(1, 7)),
        draw(st.integers(1, 5)),
        rounding=draw(st.sampled_from(["per-lot", "per-position"])),
        seed=draw(st.integers(0, 10**6)),
    )
    for line in tree["instruments"]:
        for name in ("latency_ppm", "haircut_ppm"):
            if name in line["risk"]:
                line["risk"][name] = draw(st.integers(0, 999_999))
    return tree


@settings(max_examples=25)
@given(
    trees(),
    st.integers(0, 10**6),
    st.sampled_from(["initial", "maintenance"]),
    st.integers(1, 3_000_000),
    st.integers(1, 10**6),
)
def test_random_rules_and_portfolios_prove_their_whole_margin_and_no_more(
    tree: Tree, seed: int, level: str, multiplier: int, horizon: int
) -> None:
    snapshot, rng = load_snapshot(tree), random.Random(seed)
    lots = [0 if inst.kind == "credit" else rng.randint(-5000, 5000) for inst in snapshot.instruments]
    terms: Tree = {"level": level, "multiplier": format_quanta(multiplier, 6), "horizon": horizon}
    lots[0] = 0
    base = open_account(snapshot, lots).statement(**terms)
    poor = min(solvency.net_margin(compile_terms(snapshot, base.terms).rule, lots))
    lots[0] = -(poor // snapshot.fine) + rng.randint(0, 1000)
    account = open_account(snapshot, lots)
    margin = min(solvency.net_margin(compile_terms(snapshot, base.terms).rule, lots)) // snapshot.fine
    assert 0 <= margin <= 1000
    proves(account, amount=money(margin), **terms)
    with pytest.raises(NotSolvent) as caught:
        proves(account, amount=money(margin + 1), **terms)
    assert caught.value.shortfall == "0.01"


@settings(max_examples=25)
@given(trees(), st.integers(0, 10**6))
def test_the_cheating_framework_and_the_witness_agree_on_what_is_true(tree: Tree, seed: int) -> None:
    """The relation as the tests compute it holds for honest witnesses of random rules."""
    snapshot, rng = load_snapshot(tree), random.Random(seed)
    lots = [10**7, 5, *(rng.randint(-5000, 5000) for _ in snapshot.instruments)][: len(snapshot.instruments)]
    account = open_account(snapshot, lots)
    assert broken_relations(attempt(account, account.statement())) == set()


@pytest.mark.parametrize("rounding", ["per-lot", "per-position"])
@pytest.mark.parametrize("sign", [1, -1])
def test_positions_at_their_limits_prove_and_one_lot_beyond_is_refused(sign: int, rounding: str) -> None:
    rich = snapshot_tree(6, 3, rounding=rounding, limit="1000")
    rich["instruments"][0]["position_limit"] = "90000000000"
    snapshot = load_snapshot(rich)
    limits = [inst.position_limit for inst in snapshot.instruments]
    lots = [limits[0], limits[1], *(sign * limit for limit in limits[2:])]
    proves(open_account(snapshot, lots))
    for row in range(len(lots)):
        beyond = list(lots)
        beyond[row] += 1 if lots[row] > 0 else -1
        with pytest.raises(MalformedInput) as caught:
            proves(open_account(snapshot, beyond))
        assert str(caught.value.field).endswith(snapshot.instruments[row].id)


def test_a_loan_cannot_be_negative() -> None:
    snapshot = load_snapshot(snapshot_tree(3, 2))
    with pytest.raises(MalformedInput) as caught:
        proves(open_account(snapshot, [1000, -1, 0]))
    assert caught.value.field == "opening.CREDIT-1"
    with pytest.raises(MalformedInput) as caught:
        proves(open_account(snapshot, [1000, 1, 0]), delta=[trade(snapshot, 1, -2)])
    assert caught.value.field == "opening after delta.CREDIT-1"


def test_an_empty_account_proves_nothing_owed() -> None:
    snapshot = load_snapshot(snapshot_tree(5, 3))
    account = open_account(snapshot, [0] * 5)
    proves(account)
    with pytest.raises(NotSolvent):
        proves(account, amount="0.01")


@pytest.mark.parametrize("rounding", ["per-lot", "per-position"])
def test_levels_are_ordered(rounding: str) -> None:
    """Initial margin asks for no less than maintenance, and a larger multiplier for no less."""
    snapshot = load_snapshot(snapshot_tree(8, 3, rounding=rounding))
    rng = random.Random(4)
    for _ in range(20):
        lots = [10**6, 10, *(rng.randint(-3000, 3000) for _ in range(6))]
        account = open_account(snapshot, lots)

        def margin(level: str, multiplier: str, account: Account = account) -> int:
            terms = account.statement(level=level, multiplier=multiplier).terms
            return min(solvency.net_margin(compile_terms(snapshot, terms).rule, account.opening.lots))

        assert margin("initial", "1") <= margin("maintenance", "1")
        assert margin("maintenance", "1.5") <= margin("maintenance", "1") <= margin("maintenance", "0.5")


def test_per_position_rounding_never_asks_for_more_than_per_lot() -> None:
    trees = [snapshot_tree(8, 3, rounding=rounding) for rounding in ("per-position", "per-lot")]
    for tree in trees:
        for line in tree["instruments"]:
            if line["kind"] == "perpetual":
                line["risk"]["latency_ppm"] = 0
    exact, coarse = map(load_snapshot, trees)
    lots = [10**6, 10, 501, -333, 77, -12, 1, -1]
    terms = open_account(exact, lots).statement().terms
    assert terms.multiplier == Fraction(1)
    precise, rough = (min(solvency.net_margin(compile_terms(s, terms).rule, lots)) for s in (exact, coarse))
    over_charge = sum(abs(x) for x in lots[2:])
    quanta = sum(1 for inst in exact.instruments if inst.kind in ("spot", "perpetual")) * exact.fine
    assert -quanta < precise - rough < over_charge
