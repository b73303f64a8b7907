"""Amount and credits count as the debt that they become: booking and paying lower nothing, under any shipped rule."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.circuits.test_market_rules import best_slack, make, terms, tiered, try_proof
from tests.circuits.test_market_rules import line as market_line
from tests.circuits.test_rule_monotone import SNAPSHOTS
from tests.circuits.test_span import span
from tests.support.toy import Tree, load_snapshot
from zkmargin.circuits.compiler import Constraint, MarginRule
from zkmargin.circuits.errors import MalformedInput, RuleRefused
from zkmargin.circuits.expression import (
    Abs,
    Amount,
    CeilDiv,
    Election,
    Expression,
    FloorDiv,
    Linear,
    Max,
    Min,
    Part,
    Shared,
    Sum,
)
from zkmargin.circuits.rules import LEVELS, Terms, build, collateral_loan, paying
from zkmargin.circuits.rules.terms import quote_debts
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import bind
from zkmargin.circuits.units import format_fraction
from zkmargin.prover import solvency
from zkmargin.prover.commitment import commit
from zkmargin.prover.documents import make_statement
from zkmargin.prover.domains import cheapest_domain
from zkmargin.prover.errors import NotSolvent
from zkmargin.prover.prove import prove
from zkmargin.verifier import reference
from zkmargin.verifier.facts.attestation import Attestation
from zkmargin.verifier.verify import verify

MAKERS: dict[str, Callable[[], Snapshot]] = {**SNAPSHOTS, "spreads": lambda: span("election")}
#: Lots of cash and credits in quote quanta; half a quantum needs finer values.
LOTS = (Fraction(1), Fraction(2), Fraction(5), Fraction(100), Fraction(250), Fraction(1, 2))
EVERY_OVERLAY = [
    {"type": "leverage-cap", "max": "3.5"},
    {"type": "concentration", "max_ppm": 700_000},
    {"type": "minimum-equity", "amount": "1"},
    {"type": "latency-buffer", "daily_ppm": 12_345},
    {"type": "greek-limit", "greek": "delta", "max": "10"},
]


def cash_lines(tree: Tree, rng: random.Random) -> None:
    """One quote line and up to two credit lines, with lots of their own, in any place of the registry."""
    quote = tree["quote"]
    quanta = [lot for lot in LOTS if quote["value_decimals"] > quote["decimals"] or lot.denominator == 1]
    old = next(inst for inst in tree["instruments"] if inst["kind"] == "quote")
    lines = [inst for inst in tree["instruments"] if inst["kind"] not in ("quote", "credit")]

    def add(name: str, kind: str, risk: Tree) -> None:
        lot = rng.choice(quanta) / 10 ** quote["decimals"]
        value = format_fraction(-lot if kind == "credit" else lot)
        added = {
            "id": name, "kind": kind, "lot": format_fraction(lot), "position_limit": format_fraction(lot * 10**9),
            "mark": "1", "values": [value] * len(tree["scenarios"]), "risk": risk,
        }  # fmt: skip
        lines.insert(rng.randrange(len(lines) + 1), added)

    add("CASH", "quote", old.get("risk", {}))
    for k in range(rng.choice([1, 1, 2])):
        add(f"OWED-{k}", "credit", {})
    tree["instruments"] = lines


def any_categories(tree: Tree, rng: random.Random) -> None:
    """Other rates, categories and members: the quote line in one of them or in none, its loan-to-value from 0 to 1."""

    def rates() -> Tree:
        low, high = sorted(rng.choice([0, 1_000_000, rng.randrange(1_000_000)]) for _ in range(2))
        return {"ltv_ppm": low, "threshold_ppm": high}

    names = ["eth", "stable", "x"][: rng.randrange(4)]
    tree["rule"]["parameters"] = {"categories": {name: rates() for name in names}}
    for inst in tree["instruments"]:
        if inst["kind"] != "credit":
            inst["risk"] = rates() | ({"category": rng.choice(names)} if names and rng.randrange(2) else {})


def varied(name: str, rng: random.Random) -> Snapshot:
    """A snapshot of a rule with other cash lines, and with other parameters where they touch cash."""
    tree = copy.deepcopy(dict(MAKERS[name]().tree))
    cash_lines(tree, rng)
    if name == "loans":
        any_categories(tree, rng)
    named = [{"type": "banned", "instruments": [i["id"]]} for i in tree["instruments"] if i["kind"] == "spot"]
    tree["rule"]["overlays"] = {"all": EVERY_OVERLAY + named}
    return load_snapshot(tree)


def choices(rule: MarginRule) -> list[dict[str, str]]:
    found = rule.elections()
    labels = [[label for label, _ in same[0].pieces] for same in found.values()]
    return [dict(zip(found, chosen, strict=True)) for chosen in product(*labels)]


def unit_of(*sizes: Fraction) -> Fraction:
    """The least money that is whole lots of all sizes, found by counting."""
    return next(
        k * max(sizes) for k in range(1, 10**6) if all((k * max(sizes) / size).denominator == 1 for size in sizes)
    )


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=30, deadline=None)
@given(data=st.data(), rng=st.randoms(use_true_random=False))
def test_booking_and_paying_never_lower_anything(name: str, data: st.DataObject, rng: random.Random) -> None:
    """Whatever the cash is before and after: long, short, or through zero."""
    snap = varied(name, rng)
    level, multiplier = rng.choice(LEVELS), rng.choice([Fraction(1), Fraction(3, 4), Fraction(9, 4)])
    knobs = Terms(level, multiplier, rng.choice([60, 7200]), (), rng.choice([(), ("all",)]))
    cash, quantum = snap.index["CASH"], Fraction(1, 10**snap.decimals)
    owed = rng.choice([j for j, inst in enumerate(snap.instruments) if inst.kind == "credit"])
    lot = {j: snap.instruments[j].lot for j in (cash, owed)}
    z = [rng.choice([0, 1, -1]) * rng.randrange(5_000) for _ in snap.instruments]
    for j, inst in enumerate(snap.instruments):
        z[j] = abs(z[j]) if inst.kind == "credit" else z[j]
    step = unit_of(lot[cash], lot[owed])
    paid = data.draw(st.integers(0, 10_000)) * step
    z[owed] += int(paid / lot[owed])
    booked = data.draw(st.integers(0, 10_000)) * unit_of(lot[owed], quantum)
    z[cash] = data.draw(st.integers(-20_000, 20_000))
    free = build(snap, knobs)
    for choice in choices(free):
        rule = free.elect(choice)
        before = solvency.slacks(rule, z, int(booked / quantum))
        after = list(z)
        after[cash] -= int(paid / lot[cash])
        after[owed] -= int(paid / lot[owed])
        grown = list(z)
        grown[owed] += int(booked / lot[owed])
        released = list(z)
        released[owed] -= int(paid / lot[owed])
        for moved in (
            solvency.slacks(rule, after, int(booked / quantum)),
            solvency.slacks(rule, grown, 0),
            solvency.slacks(rule, released, int(booked / quantum)),
        ):
            assert all(new >= old for (_, new), (_, old) in zip(moved, before, strict=True))


@settings(max_examples=40, deadline=None)
@given(rng=st.randoms(use_true_random=False), amount=st.integers(0, 10**7))
def test_the_system_has_the_debt_that_the_evaluator_has(rng: random.Random, amount: int) -> None:
    snap = varied("loans", rng)
    rule = build(snap, terms(rng.choice(LEVELS), overlays=("all",)))
    z = [rng.randrange(-5_000, 5_000) for _ in snap.instruments]
    z = [abs(v) if snap.instruments[j].kind == "credit" else v for j, v in enumerate(z)]
    for choice in choices(rule):
        elected = rule.elect(choice)
        assert best_slack(elected, z, amount) == min(slack for _, slack in solvency.slacks(elected, z, amount))


def eth_loans(*, quote_in: str | None = None, ltv: int = 800_000, lot: str = "0.01") -> Snapshot:
    """100 ETH's market: own LTV 50 %, 90 % in category eth; the quote currency in a category of the caller's."""
    cash: Tree = {"ltv_ppm": ltv, "threshold_ppm": ltv} | ({"category": quote_in} if quote_in else {})
    ether = {"ltv_ppm": 500_000, "threshold_ppm": 500_000, "category": "eth"}
    categories = {"eth": {"ltv_ppm": 900_000, "threshold_ppm": 900_000}}
    return make(
        {"id": "collateral-loan/1", "parameters": {"categories": categories}},
        [
            market_line("USD", "quote", "1", [lot], cash) | {"lot": lot},
            market_line("ETH", "spot", "100", ["10"], ether),
            market_line("CREDIT", "credit", "1", [f"-{lot}"], {}) | {"lot": lot},
        ],
        ("mark",),
    )


def money(rule: MarginRule, z: list[int], amount: int = 0) -> Fraction:
    return Fraction(min(slack for _, slack in solvency.slacks(rule, z, amount)), 10**6)


def test_a_credit_in_quote_is_no_loan_of_a_category_without_it() -> None:
    """100 ETH at 100: 9,000 was lent under a category that quote is not in, and 4,000 of it was not there."""
    snap = eth_loans()
    for z, amount in (([0, 1_000, 0], "9000"), ([0, 1_000, 900_000], "0"), ([0, 1_000, 899], "0.01")):
        with pytest.raises(NotSolvent):
            try_proof(snap, z, amount, level="initial", elections={"emode": "eth"})
    # What RULES.md says: most under each election, with and without cash.
    for lots, election, most in ((0, "none", "5000"), (0, "eth", "8.99"), (2_000_000, "eth", "20004.99")):
        z, more = [lots, 1_000, 0], format_fraction(Fraction(most) + Fraction(1, 100))
        try_proof(snap, z, most, level="initial", elections={"emode": election})
        with pytest.raises(NotSolvent):
            try_proof(snap, z, more, level="initial", elections={"emode": election})
    rule = build(snap, terms("initial"))
    owed, paid = [0, 1_000, 900_000], [-900_000, 1_000, 0]
    for election, values in (("none", (-4_000, -4_000)), ("eth", (-9_000_000, -9_000_000))):
        elected = rule.elect({"emode": election})
        assert tuple(money(elected, z) for z in (owed, paid)) == values
        assert money(elected, [0, 1_000, 0], 900_000) == values[0]


def test_a_credit_in_quote_is_a_loan_of_a_category_with_it() -> None:
    try_proof(eth_loans(quote_in="eth"), [0, 1_000, 400_000], "5000", level="initial", elections={"emode": "eth"})


def short_parts(snap: Snapshot) -> dict[int, Expression]:
    """What the rule charged before: the negative balance alone."""
    rows = {j: inst.values[0] for j, inst in enumerate(snap.instruments) if inst.kind == "quote"}
    return {row: Sum(((value, Part(row, -1)),)) for row, value in rows.items()}


def test_control_the_charge_on_the_negative_balance_alone_lends_what_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(collateral_loan, "quote_debts", short_parts)
    snap = eth_loans()
    with pytest.raises(RuleRefused, match="paying"):
        build(snap, terms("initial"))
    monkeypatch.setattr(paying, "expect_payable", lambda rule, _: rule)
    rule = build(snap, terms("initial"))
    eth, none = rule.elect({"emode": "eth"}), rule.elect({"emode": "none"})
    assert money(eth, [0, 1_000, 0], 900_000) == 0
    assert money(eth, [0, 1_000, 900_000]) == 0
    assert money(none, [-900_000, 1_000, 0]) == -4_000
    assert money(eth, [-900_000, 1_000, 0]) == -9_000_000


@pytest.mark.parametrize("ltv", [0, 800_000, 1_000_000])
def test_paying_frees_the_discount_of_the_cash_that_is_paid(ltv: int) -> None:
    """A credit of 100 on 100 in cash: the discount counts until it is paid, whatever the loan-to-value is."""
    for quote_in, elected in ((None, "none"), (None, "eth"), ("eth", "eth")):
        rule = build(eth_loans(quote_in=quote_in, ltv=ltv), terms("initial")).elect({"emode": elected})
        own = max(ltv, 900_000) if quote_in == elected else ltv
        assert money(rule, [10_000, 0, 10_000]) == Fraction(own, 10_000) - 100
        assert money(rule, [10_000, 0, 0], 10_000) == Fraction(own, 10_000) - 100
        assert money(rule, [0, 0, 0]) == 0


def test_categories_need_the_line_in_which_amounts_are_owed() -> None:
    tree = copy.deepcopy(dict(eth_loans().tree))
    tree["instruments"] = tree["instruments"][1:]
    with pytest.raises(MalformedInput) as caught:
        build(load_snapshot(tree), terms())
    assert caught.value.field == "snapshot.instruments"
    tree["rule"]["parameters"] = {"categories": {}}
    del tree["instruments"][0]["risk"]["category"]
    build(load_snapshot(tree), terms())


def with_credit(overlay: Tree) -> Tree:
    tree = copy.deepcopy(dict(tiered(overlays={"o": [overlay]}).tree))
    tree["instruments"].append(market_line("CREDIT", "credit", "1", ["-1", "-1"], {}))
    tree["instruments"][0]["greeks"] = {"gamma": "1"}
    tree["instruments"][4]["greeks"] = {"vega": "-1"}
    return tree


@pytest.mark.parametrize(
    "overlay",
    [
        {"type": "banned", "instruments": ["USD"]},
        {"type": "banned", "instruments": ["ETH", "CREDIT"]},
        {"type": "latency-buffer", "daily_ppm": 1, "instruments": ["USD"]},
        {"type": "latency-buffer", "daily_ppm": 1, "instruments": ["BTC", "CREDIT"]},
        {"type": "greek-limit", "greek": "gamma", "max": "1000"},
        {"type": "greek-limit", "greek": "vega", "max": "1000"},
    ],
)
def test_an_overlay_on_cash_or_credits_is_refused_where_there_are_credits(overlay: dict[str, Any]) -> None:
    tree = with_credit(overlay)
    for level in LEVELS:
        with pytest.raises(RuleRefused) as caught:
            build(load_snapshot(tree), terms(level, overlays=("o",)))
        assert str(caught.value.field).startswith(("constraint(o.", "scenario("))
        build(load_snapshot(tree), terms(level))  # a statement that does not join it
    if "CREDIT" not in overlay.get("instruments", []):
        tree["instruments"].pop()
        build(load_snapshot(tree), terms(overlays=("o",)))


V, QUOTE, CREDIT, OTHER = 10**6, 0, 1, 2
CASH = Linear({QUOTE: V, CREDIT: -V})
OWED = Sum(((-1, CASH), (10**4, Amount(10**9))))


@pytest.mark.parametrize(
    ("charge", "payable"),
    [
        (Abs(OTHER), True),
        (Part(QUOTE, 1), True),  # a discount: paying frees it
        (Part(QUOTE, -1), False),
        (Abs(QUOTE), False),
        (Part(CREDIT, -1), True),
        (Part(CREDIT, 1), False),  # booked, it would cost what the amount did not
        (Abs(CREDIT), False),
        (Max("debt", (OWED, Linear({}))), True),
        (Max("cash", (Linear({QUOTE: -V}), Linear({}))), False),
        (Max("without the amount", (Linear({QUOTE: -V, CREDIT: V}), Linear({}))), False),
        (CeilDiv("up", OWED, 7), True),
        (CeilDiv("up", Linear({QUOTE: -1}), 7), False),
        (Shared("s", OWED), True),
        (Shared("s", Abs(QUOTE)), False),
    ],
)
def test_what_a_rule_may_charge_for_is_decided_from_its_terms(charge: Expression, payable: bool) -> None:
    snap = make(
        {"id": "tiered-margin/1", "parameters": {"tables": {}}},
        [
            market_line("USD", "quote", "1", ["1"], {}),
            market_line("CREDIT", "credit", "1", ["-1"], {}),
            market_line("GOLD", "spot", "50", ["5"], {"haircut_ppm": 1}),
        ],
        ("mark",),
    )
    limits = tuple((0 if k == CREDIT else -(10**6), 10**6) for k in range(3))
    net = Sum(((1, CASH), (-1, charge)))
    wrapped = (net, Min("m", (net, CASH)), FloorDiv("f", net, 1), Election("e", (("a", CASH), ("b", net))))
    for expr in wrapped:
        rule = MarginRule(limits, (("s", expr),), 10**4, frozenset({CREDIT}))
        constrained = MarginRule(
            limits, (("s", CASH),), 10**4, frozenset({CREDIT}), (), (Constraint("c", expr, 10**4),)
        )
        for made in (rule, constrained):
            if payable:
                assert paying.expect_payable(made, snap) is made
            else:
                with pytest.raises(RuleRefused, match=r"booking|paying"):
                    paying.expect_payable(made, snap)


def test_the_amount_of_a_constraint_counts_too() -> None:
    """A constraint that credits enter and the amount does not would break at booking; a credit is no asset either."""
    snap = eth_loans()
    rule = MarginRule(((-9, 9), (-9, 9), (0, 9)), (), 1, frozenset({2}), (), (Constraint("c", Linear({0: 1, 2: -1})),))
    with pytest.raises(RuleRefused, match="booking"):
        paying.expect_payable(rule, snap)
    asset = MarginRule(rule.limits, (("s", Linear({2: 1})),), 1, frozenset({2}))
    with pytest.raises(RuleRefused, match="releasing"):
        paying.expect_payable(asset, snap)


def test_an_amount_beyond_every_account_is_refused_by_the_prover_not_by_its_words() -> None:
    snap = eth_loans()
    with pytest.raises(NotSolvent):
        try_proof(snap, [0, 1_000, 0], str(2**120), level="initial", elections={"emode": "eth"})


def test_the_pairs_of_lines_that_are_looked_at_are_few() -> None:
    """Each takes a walk over the rule: thousands of lines of either kind would be work without end."""
    tree = copy.deepcopy(dict(eth_loans().tree))
    credit = tree["instruments"].pop()
    for count, refused in ((paying.MAX_PAIRS, False), (paying.MAX_PAIRS + 1, True)):
        lines = [credit | {"id": f"CREDIT-{k}"} for k in range(count)]
        snap = load_snapshot(tree | {"instruments": [*tree["instruments"], *lines]})
        if refused:
            with pytest.raises(RuleRefused, match="pairs"):
                build(snap, terms())
        else:
            build(snap, terms())


def test_credit_lines_without_a_quote_line_are_few_too() -> None:
    credit = market_line("CREDIT", "credit", "1", ["-1"], {})
    for count, refused in ((paying.MAX_PAIRS, False), (paying.MAX_PAIRS + 1, True)):
        lines = [credit | {"id": f"CREDIT-{k}"} for k in range(count)]
        snap = make({"id": "tiered-margin/1", "parameters": {"tables": {}}}, lines, ("mark",))
        if refused:
            with pytest.raises(RuleRefused, match="pairs"):
                build(snap, terms())
        else:
            build(snap, terms())


def test_the_debt_of_many_quote_lines_takes_no_walk_over_the_market_for_each() -> None:
    """The largest amount is found once: for each of 2,000 lines again it was the square of a snapshot's size."""
    snap = eth_loans()
    looked = 0

    class Counted(tuple[int, ...]):
        def __iter__(self) -> Iterator[int]:
            nonlocal looked
            looked += 1
            return super().__iter__()

    lines = tuple(
        replace(inst, values=Counted(inst.values)) for inst in (*snap.instruments, *[snap.instruments[0]] * 200)
    )
    assert len(quote_debts(replace(snap, instruments=lines))) == 201
    assert looked <= len(lines)


def test_the_reference_verifies_a_proof_with_the_amount_in_a_charge() -> None:
    """Its equations are its own, its system the compiler's, where a row of no scenario has an amount factor now."""
    snap, lots = eth_loans(), [2_000_000, 1_000, 300_000]
    commitment, opening = commit(lots, cheapest_domain(snap))
    fact = Attestation("h", "a", 1, commitment, opening.domain, snap.registry_digest, snap.time)
    made = make_statement(
        snap, fact, venue="s", amount="17000", expiry=2000, level="initial", elections={"emode": "eth"}
    )  # fmt: skip
    bound = bind(made, snap)
    scenarios = {bound.program.system.rows[k].name for k in bound.program.scenario_rows}
    charged = {row.name for row in bound.program.system.rows if row.amount_factor}
    assert scenarios < charged
    proof = prove(made, snap, opening)
    verify(made, snap, proof, now=1001)
    reference.verify(made, snap, proof, now=1001)
