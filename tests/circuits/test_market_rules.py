"""Tiered margin, collateral and loans, overlays, elections, chords: against formulas of their own, and proved."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zkmargin.circuits import canonical, statement
from zkmargin.circuits.compiler import Constraint, MarginRule, compile_rule
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.documents.statement import statement_from_bytes
from zkmargin.circuits.errors import MalformedInput, ProofRejected, RuleRefused, StatementMismatch, ZkMarginError
from zkmargin.circuits.expression import Abs, Election, Expression, Linear, Max, Part, Sum
from zkmargin.circuits.rules import Terms, build
from zkmargin.circuits.rules.chords import chords
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.prover import solvency
from zkmargin.prover.commitment import commit
from zkmargin.prover.documents import make_statement
from zkmargin.prover.domains import cheapest_domain
from zkmargin.prover.errors import NotSolvent
from zkmargin.prover.evaluation import evaluate
from zkmargin.prover.explain import account_greeks
from zkmargin.prover.prove import prove
from zkmargin.prover.witness import assign, residuals
from zkmargin.verifier.facts.attestation import Attestation
from zkmargin.verifier.verify import verify

TABLE = [
    {"lower": "0", "initial_ppm": 20_000, "maintenance_ppm": 10_000},
    {"lower": "50000", "initial_ppm": 50_000, "maintenance_ppm": 25_000},
    {"lower": "250000", "initial_ppm": 100_000, "maintenance_ppm": 50_000},
]
CATEGORIES = {"stable": {"ltv_ppm": 930_000, "threshold_ppm": 950_000}}


def line(name: str, kind: str, mark: str, values: list[str], risk: dict[str, Any], **more: object) -> dict[str, Any]:
    lot = "1" if kind in ("quote", "credit") else "0.1"
    return {
        "id": name, "kind": kind, "lot": lot, "position_limit": "1000000", "mark": mark, "values": values, "risk": risk,
    } | more  # fmt: skip


def make(
    rule: dict[str, Any], instruments: list[dict[str, Any]], scenarios: tuple[str, ...] = ("mark", "down")
) -> Snapshot:
    tree = {
        "schema": "zkmargin/snapshot/1", "time": 1000, "quote": {"currency": "USD", "decimals": 2, "value_decimals": 6},
        "rule": rule, "scenarios": list(scenarios), "instruments": instruments,
    }  # fmt: skip
    return snapshot_from_bytes(canonical.canonical_bytes(tree))


def tiered(table: object = TABLE, overlays: dict[str, Any] | None = None) -> Snapshot:
    rule: dict[str, Any] = {"id": "tiered-margin/1", "parameters": {"tables": {"t": table}}}
    if overlays:
        rule["overlays"] = overlays
    return make(
        rule,
        [
            line("USD", "quote", "1", ["1", "1"], {}),
            line("BTC", "perpetual", "100", ["10", "8"], {"table": "t"}, greeks={"delta": "0.1"}),
            line("ETH", "perpetual", "10", ["1", "0.7"], {"table": "t"}, greeks={"delta": "0.01", "gamma": "0.5"}),
            line("GOLD", "spot", "50", ["5", "4.9"], {"haircut_ppm": 100_000}),
        ],
    )


def loans() -> Snapshot:
    rule = {"id": "collateral-loan/1", "parameters": {"categories": CATEGORIES}}
    return make(
        rule,
        [
            line("USD", "quote", "1", ["1", "1"], {"ltv_ppm": 770_000, "threshold_ppm": 800_000, "category": "stable"}),
            line(
                "DAI",
                "spot",
                "1",
                ["0.1", "0.099"],
                {"ltv_ppm": 750_000, "threshold_ppm": 780_000, "category": "stable"},
            ),
            line("ETH", "spot", "2000", ["200", "150"], {"ltv_ppm": 800_000, "threshold_ppm": 825_000}),
            line("CREDIT", "credit", "1", ["-1", "-1"], {}),
        ],
    )


def try_proof(snap: Snapshot, lots: list[int], amount: str = "0", level: str = "maintenance", **extra: Any) -> None:
    """Prove and verify; raises whatever the prover raises."""
    commitment, opening = commit(lots, cheapest_domain(snap))
    fact = Attestation("h", "a", 1, commitment, opening.domain, snap.registry_digest, snap.time)
    stated = make_statement(snap, fact, venue="s", amount=amount, expiry=2000, level=level, **extra)
    verify(stated, snap, prove(stated, snap, opening), now=1001)


def terms(level: str = "maintenance", multiplier: int = 1, **extra: Any) -> Terms:
    return Terms(level, Fraction(multiplier), 3600, **extra)


def marginal(notional: Fraction, column: str) -> Fraction:
    """The requirement as an integral of the marginal rate: another way to say what tiers mean."""
    total = Fraction(0)
    for k, bracket in enumerate(TABLE):
        upper = Fraction(str(TABLE[k + 1]["lower"])) if k + 1 < len(TABLE) else notional
        width = max(Fraction(0), min(notional, upper) - Fraction(str(bracket["lower"])))
        total += width * Fraction(int(bracket[column]), 1_000_000)
    return total


@given(st.integers(-100_000, 100_000), st.sampled_from(["initial", "maintenance"]), st.integers(1, 5))
def test_a_tiered_requirement_is_the_integral_of_its_rates(lots: int, level: str, multiplier: int) -> None:
    rule = build(tiered(), terms(level, multiplier))
    exact = marginal(abs(lots) * Fraction(10), f"{level}_ppm") * multiplier * 10**6
    found = evaluate(dict(rule.components)["BTC"], [0, lots, 0, 0])
    assert exact <= found < exact + 1


def test_coarse_quanta_do_not_turn_the_levels_around() -> None:
    """One lot worth a hundred quanta, rates of a hundredth of a per cent: rounding per lot would reverse the order."""
    table = [
        {"lower": "0", "initial_ppm": 5_000, "maintenance_ppm": 0},
        {"lower": "100000", "initial_ppm": 20_000, "maintenance_ppm": 10_100},
    ]
    tree = dict(tiered(table).tree)
    tree["quote"] = {"currency": "USD", "decimals": 2, "value_decimals": 2}
    for inst in tree["instruments"]:
        inst["values"] = ["1", "1"]
        inst |= {"lot": "1", "mark": "1"}
    snap = snapshot_from_bytes(canonical.canonical_bytes(tree))
    z = [0, 200_000, 0, 0]
    initial, end, maintenance = (build(snap, terms(level)) for level in ("initial", "liquidation-end", "maintenance"))
    assert (
        min(solvency.net_margin(initial, z)) * 100
        <= min(solvency.net_margin(end, z))
        <= min(solvency.net_margin(maintenance, z)) * 100
    )
    assert min(solvency.net_margin(initial, z)) == 100 * (200_000 - 500 - 2_000)


@given(st.lists(st.integers(-9_000, 9_000), min_size=4, max_size=4))
def test_levels_are_ordered_and_splitting_never_pays(z: list[int]) -> None:
    z[0] *= 1000
    for snap in (tiered(), loans()):
        if snap.rule_id.startswith("collateral"):
            z = [*z[:3], abs(z[3])]
        initial, maintenance = build(snap, terms("initial")), build(snap, terms())
        assert min(solvency.net_margin(initial, z)) <= min(solvency.net_margin(maintenance, z))
        half = [v // 2 for v in z]
        rest = [v - h for v, h in zip(z, half, strict=True)]
        assert min(solvency.net_margin(maintenance, half)) + min(solvency.net_margin(maintenance, rest)) <= min(
            solvency.net_margin(maintenance, z)
        ) or (snap.rule_id.startswith("tiered") or "emode" in maintenance.elections())


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda t: [t[0], t[2], t[1]], RuleRefused),
        (lambda t: t[1:], RuleRefused),
        (lambda t: [t[0], {**t[1], "initial_ppm": 10_000, "maintenance_ppm": 5_000}], RuleRefused),
        (lambda t: [{**t[0], "maintenance_ppm": 30_000}], MalformedInput),
        (lambda t: [{**t[0], "lower": "-1"}], RuleRefused),
        (lambda t: [], MalformedInput),
    ],
)
def test_a_bad_tier_table_is_named_and_refused(change: Any, error: type[ZkMarginError]) -> None:
    with pytest.raises(error) as caught:
        build(tiered(change(TABLE)), terms())
    assert caught.value.field


def best_slack(rule: MarginRule, z: list[int], amount: int = 0) -> int:
    """Smallest slack of the compiled system under its best witness."""
    elected = rule.elect(solvency.best_choice(rule, z))
    program = compile_rule(elected)
    values = assign(program, z, amount)
    assert not any(residuals(program.system, z, values, amount))
    slacks = [
        values[k] for k, v in enumerate(program.system.variables) if v.name.startswith(("slack(scenario", "slack(con"))
    ]
    assert all(v >= 0 for k, v in enumerate(values) if program.system.variables[k].name not in _outer(program))
    return min(slacks)


def _outer(program: Any) -> set[str]:
    return {v.name for v in program.system.variables if v.name.startswith(("slack(scenario", "slack(con"))}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-5_000, 5_000), min_size=4, max_size=4), st.integers(0, 1000), st.booleans())
def test_the_best_slack_is_the_evaluators(z: list[int], amount: int, use_loans: bool) -> None:
    snap = loans() if use_loans else tiered(overlays=OVERLAYS)
    z = [z[0] * 1000, *z[1:3], abs(z[3])]
    names = () if use_loans else ("retail",)
    rule = build(snap, terms(overlays=names))
    assert best_slack(rule, z, amount) == min(slack for _, slack in solvency.slacks(rule, z, amount))


def test_a_category_is_one_choice_for_every_scenario() -> None:
    rule = build(loans(), terms())
    assert list(rule.elections()) == ["emode"]
    z = [-900, 10_000, 0, 0]  # 1000 DAI against 900 USD: only the category carries it
    assert solvency.best_choice(rule, z) == {"emode": "stable"}
    assert min(solvency.net_margin(rule, z)) == (-900 * 10**6) + 10_000 * (99_000 - 4_950)
    none = rule.elect({"emode": "none"})
    assert min(solvency.net_margin(none, z)) < 0


def test_a_category_does_not_carry_a_debt_outside_it() -> None:
    z = [100_000, 0, -400, 0]  # 80,000 of ether owed against 100,000 in cash
    rule = build(loans(), terms())
    assert solvency.best_choice(rule, z) == {"emode": "none"}
    assert min(solvency.net_margin(rule.elect({"emode": "stable"}), z)) < -(10**6)
    assert min(solvency.net_margin(rule, z)) == 80_000 * 10**6 - 80_000 * 10**6


def test_loans_prove_with_the_best_election_and_with_no_other() -> None:
    snap, lots = loans(), [-900, 10_000, 0, 0]
    try_proof(snap, lots, elections={"emode": "stable"})
    with pytest.raises(NotSolvent):
        try_proof(snap, lots, elections={"emode": "none"})
    for elections in (None, {"emode": "gold"}, {"emode": "stable", "other": "x"}):
        with pytest.raises(StatementMismatch) as caught:
            try_proof(snap, lots, elections=elections)
        assert str(caught.value.field).startswith("statement.elections.")


def test_a_proof_under_one_election_does_not_hold_under_another() -> None:
    snap, lots = loans(), [500_000, 10_000, 10, 0]
    commitment, opening = commit(lots, cheapest_domain(snap))
    fact = Attestation("h", "a", 1, commitment, opening.domain, snap.registry_digest, snap.time)

    def stated(choice: str) -> statement.Statement:
        return make_statement(
            snap, fact, venue="s", amount="1", expiry=2000, elections={"emode": choice}, nonce="0" * 32
        )

    proof = prove(stated("none"), snap, opening)
    verify(stated("none"), snap, proof)
    with pytest.raises(ProofRejected):
        verify(stated("stable"), snap, proof)


OVERLAYS: dict[str, Any] = {
    "retail": [
        {"type": "leverage-cap", "max": "2"},
        {"type": "concentration", "max_ppm": 1_500_000},
        {"type": "minimum-equity", "amount": "100"},
        {"type": "greek-limit", "greek": "delta", "max": "1000"},
    ],
    "no-gold": [{"type": "banned", "instruments": ["GOLD"]}],
}


@pytest.mark.parametrize(
    ("lots", "broken"),
    [
        ([10_000, 500, 0, 0], None),
        ([-12_000, 2_000, 0, 0], "retail.leverage-cap"),
        ([-9_000, 1_900, -1_000, 0], "retail.leverage-cap"),
        ([-8_000, 2_000, 0, 0], "retail.concentration.BTC"),
        ([50, 1, 0, 0], "retail.minimum-equity"),
        ([900_000, 10_001, 0, 0], "retail.delta-limit.above"),
        ([900_000, -10_001, 0, 0], "retail.delta-limit.below"),
        ([10_000, 0, 0, 1], "no-gold.banned.GOLD"),
    ],
)
def test_an_overlay_is_met_or_named(lots: list[int], broken: str | None) -> None:
    snap = tiered(overlays=OVERLAYS)
    try_proof(snap, lots)  # the rule alone carries every one of them
    if broken is None:
        try_proof(snap, lots, overlays=["no-gold", "retail"])
        return
    with pytest.raises(NotSolvent) as caught:
        try_proof(snap, lots, overlays=["no-gold", "retail"])
    rule = build(snap, terms(overlays=("no-gold", "retail")))
    assert broken in {name for name, slack in solvency.slacks(rule, lots, 0) if slack < 0}
    assert caught.value.code == "not-solvent"


def test_the_leverage_cap_counts_the_amount_asked_for() -> None:
    snap = tiered(overlays=OVERLAYS)
    lots = [-2_000, 1_000, 0, 0]  # equity 8,000, gross 10,000: above 1.5 and 2 times what an amount leaves
    try_proof(snap, lots, amount="1333.33", overlays=["retail"])
    with pytest.raises(NotSolvent, match="concentration"):
        try_proof(snap, lots, amount="1333.34", overlays=["retail"])
    with pytest.raises(NotSolvent, match="leverage"):
        try_proof(snap, lots, amount="3000.01", overlays=["retail"])


@pytest.mark.parametrize(
    ("overlay", "field"),
    [
        ({"type": "leverage-cap", "max": "0"}, "max"),
        ({"type": "leverage-cap", "max": "1001"}, "max"),
        ({"type": "leverage-cap"}, "max"),
        ({"type": "concentration", "max_ppm": -1}, "max_ppm"),
        ({"type": "banned", "instruments": ["NOPE"]}, "instruments.0"),
        ({"type": "minimum-equity", "amount": "-1"}, "amount"),
        ({"type": "greek-limit", "greek": "theta", "max": "1"}, "greek"),
        ({"type": "greek-limit", "greek": "delta", "max": "-1"}, "max"),
        ({"type": "unknown"}, "type"),
    ],
)
def test_a_bad_overlay_is_named_and_refused(overlay: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        build(tiered(overlays={"x": [overlay]}), terms(overlays=("x",)))
    assert str(caught.value.field).endswith(f"x.0.{field}")


def test_an_overlay_set_must_exist_and_be_sorted() -> None:
    snap = tiered(overlays=OVERLAYS)
    with pytest.raises(StatementMismatch):
        try_proof(snap, [1000, 0, 0, 0], overlays=["eu"])
    commitment, opening = commit([1000, 0, 0, 0], 256)
    fact = Attestation("h", "a", 1, commitment, opening.domain, snap.registry_digest, snap.time)
    made = dict(make_statement(snap, fact, venue="s", amount="0", expiry=2000, overlays=["no-gold", "retail"]).tree)
    for wrong in (["retail", "no-gold"], ["retail", "retail"]):
        with pytest.raises(MalformedInput):
            statement_from_bytes(canonical.canonical_bytes({**made, "overlays": wrong}))


def test_greeks_add_up() -> None:
    assert account_greeks(tiered(), [0, 100, -50, 7]) == {"delta": Fraction(19, 2), "gamma": Fraction(-25)}


def test_elections_only_where_more_is_better() -> None:
    choice = Election("e", (("a", Linear({0: 1})), ("b", Linear({0: 2}))))
    cost: Expression = Sum(((-1, choice),))
    for bad in (cost, Max("m", (cost,)), Sum(((-2, Max("m", (choice,))),))):
        with pytest.raises(RuleRefused, match="less is better"):
            MarginRule(((-5, 5),), (("s", bad),), 1).elections()
    other = Election("e", (("a", Linear({0: 1})),))
    with pytest.raises(RuleRefused, match="different pieces"):
        MarginRule(((-5, 5),), (("s", choice), ("t", other)), 1).elections()
    with pytest.raises(RuleRefused, match="must name one"):
        compile_rule(MarginRule(((-5, 5),), (("s", choice),), 1))


def test_a_part_or_constraint_that_would_pay_is_refused() -> None:
    for expr in (Sum(((1, Part(0, 1)),)), Sum(((1, Abs(0)),))):
        with pytest.raises(RuleRefused):
            compile_rule(MarginRule(((-5, 5),), (("s", Linear({0: 1})),), 1, constraints=(Constraint("c", expr),)))


@given(st.integers(0, 1000), st.integers(1, 50))
def test_chords_over_charge_by_no_more_than_they_say(z: int, impact: int) -> None:
    def cost(lots: Fraction) -> Fraction:
        return Fraction(impact, 7) * lots * lots

    made = chords("impact", 0, [0, 10, 100, 400, 1000], cost)
    for sign in (1, -1):
        charged = evaluate(made.expression, [sign * z])
        assert cost(Fraction(z)) <= charged <= cost(Fraction(z)) + made.overcharge


def test_chords_of_what_is_not_convex_are_refused() -> None:
    with pytest.raises(RuleRefused, match="not convex"):
        chords("root", 0, [0, 10, 100], lambda z: min(z, Fraction(10)))
    for points in ([0], [1, 2], [0, 5, 5], [0, 9, 3]):
        with pytest.raises(RuleRefused, match="breakpoints"):
            chords("x", 0, points, lambda z: z)
