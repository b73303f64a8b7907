"""The portfolio-margin rule on an account of our own: exact formulas, elections, refusals, proofs."""

from __future__ import annotations

import copy
import random
from fractions import Fraction
from typing import Any

import pytest

from tests.circuits.test_derive import LEVELS, money, rule_of, slacks
from tests.support import derive_cases
from tests.support.derive_cases import NOW, PPB, QUOTE_DECIMALS, Oracle, Tree
from tests.support.toy import load_snapshot
from zkmargin.circuits.compiler import compile_rule
from zkmargin.circuits.errors import MalformedInput, RuleRefused, StatementMismatch
from zkmargin.circuits.rules import Terms, build
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import compile_terms
from zkmargin.circuits.units import format_quanta
from zkmargin.prover import solvency
from zkmargin.prover.commitment import commit
from zkmargin.prover.documents import make_statement
from zkmargin.prover.domains import cheapest_domain
from zkmargin.prover.errors import NotSolvent
from zkmargin.prover.evaluation import evaluate
from zkmargin.prover.explain import explain
from zkmargin.prover.prove import prove
from zkmargin.verifier.facts.attestation import Attestation
from zkmargin.verifier.verify import verify


def own_scenarios() -> list[Tree]:
    shocks = [(1.2, "Up", 1), (1.1, "None", 1), (1, "None", 1), (1, "Down", 1), (0.9, "None", 1), (0.8, "Up", 1)]
    shocks += [(2.5, "Up", 0.05), (1, "LINEAR", 1.5), (1, "ABS", 2)]
    return [{"SpotShock": s, "VolShockDirection": d, "DampeningFactor": f} for s, d, f in shocks]


def own_option(seconds: int, strike: float, call: int, vol: float, amount: float) -> Tree:
    return {"Expiry": seconds, "Strike": strike, "IsCall": call, "MarkVol": vol, "Amount": amount}


def own_feed(seconds: int, forward: float, rate: float, confidence: float) -> Tree:
    feed = {"FeedExpiry": seconds, "Forward": forward, "ForwardConfidence": 1.0, "Rate": rate}
    return feed | {"RateConfidence": 1.0, "OptionVolConfidences": confidence}


#: Invented: cash, two collaterals, a perpetual, options of two expiries with both sides of one strike.
OWN = Oracle(
    {
        "Cash": 250.5, "SpotPrice": 200.0, "SpotConfidence": 0.9, "NumPerps": -1.5, "PerpPrice": 201.0,
        "PerpConfidence": 0.8, "UnrealisedPerpPNL": 3.25, "UnrealisedFunding": -0.5, "StablePrice": 0.97,
        "Collaterals": [
            {"Name": "BASE", "Amount": 3.0, "Price": 200.0, "Confidence": 1.0, "IsRiskCancelling": True,
             "IMHaircut": 0.02, "MMHaircut": 0.03},
            {"Name": "STABLE", "Amount": 100.0, "Price": 1.0, "Confidence": 0.4, "IsRiskCancelling": False,
             "IMHaircut": 0.01, "MMHaircut": 0.02},
        ],
        "Options": [
            own_option(864_000, 190.0, 1, 0.7, -2.0), own_option(864_000, 190.0, 0, 0.7, 1.5),
            own_option(864_000, 230.0, 1, 0.8, 3.0), own_option(8_640_000, 150.0, 0, 0.9, -1.0),
        ],
        "OptionFeeds": [own_feed(864_000, 200.4, 0.05, 0.9), own_feed(8_640_000, 204.0, 0.06, 0.3)],
    },
    {
        "Scenarios": own_scenarios(),
        "SkewShock": {
            "LINEAR_SCALE_CAP": 0.6, "LINEAR_CBASE": -0.05, "ABS_SCALE_CAP": 0.9, "ABS_CBASE": -0.05,
            "MIN_K_STAR": 0.01, "MIN_WIDTH_SCALE": 4.0, "VOL_PARAM_STATIC": 0.6, "VOL_PARAM_SCALE": -0.1,
        },
        "VolShock": {
            "VOLRANGEUP": 0.5, "MIN_VOL_EVAL_SHOCKED": 0.45, "VOLRANGEDOWN": 0.3, "SHORTTERMPOWER": 0.3,
            "LONGTERMPOWER": 0.13, "DTE_FLOOR": 1.0,
        },
        "Margin": {
            "MM_LOSS_FACTOR": 0.8, "IM_LOSS_FACTOR": 1.0, "SHORT_RATE_MULTSCALE": 0.5, "LONG_RATE_MULTSCALE": 1,
            "SHORT_RATE_ADDSCALE": 0.08, "LONG_RATE_ADDSCALE": 0.08, "BASE_STATIC_DISCOUNT": 0.95,
            "BASE_STATIC_DISCOUNT_NEG": 1.04,
        },
        "BasisContingency": {
            "SCENARIO_SPOT_UP": 1.05, "SCENARIO_SPOT_DOWN": 0.95, "BASIS_CONT_ADD_FACTOR": 0.5,
            "BASIS_CONT_MULT_FACTOR": 2.0,
        },
        "OtherContingency": {
            "PEG_LOSS_THRESHOLD": 0.98, "PEG_LOSS_FACTOR": 2.0, "CONF_THRESHOLD": 0.55, "CONF_MARGIN": 1.0,
            "MM_PERP_PERCENT": 0.015, "IM_PERP_PERCENT": 0.005, "MM_OPTION_PERCENT": 0.003, "IM_OPTION_PERCENT": 0.002,
        },
    },
)  # fmt: skip


def own_tree() -> Tree:
    return copy.deepcopy(derive_cases.document(OWN)[0])


def own_portfolios(count: int) -> list[tuple[int, ...]]:
    """The account's lots, nothing, and random signed portfolios."""
    lots = derive_cases.document(OWN)[1]
    rng = random.Random(5)
    out = [lots, (0,) * len(lots)]
    while len(out) < count:
        held = [rng.choice([0, 1, -1]) * rng.randint(1, 500) for _ in lots[1:]]
        out.append((rng.randint(-(10**9), 10**9), *held))
    return out


def direct(snapshot: Snapshot, level: str, z: tuple[int, ...]) -> Fraction:
    """The margin by the formulas of PMRMLib_2, branches and all, in exact fractions of quote units."""
    p, insts = snapshot.parameters, snapshot.instruments
    initial, index = level == "initial", Fraction(p["index"])
    unit = 10**snapshot.value_decimals

    def value(rows: list[int], scenario: str) -> Fraction:
        column = snapshot.scenarios.index(scenario)
        return Fraction(sum(z[j] * insts[j].values[column] for j in rows), unit)

    everything = list(range(len(insts)))
    expiries = {e: [j for j in everything if insts[j].risk.get("expiry") == e] for e in p["expiries"]}
    plain = [j for j in everything if insts[j].kind != "option"]
    basis, worst, contingency = Fraction(0), [], Fraction(0)
    for e, rows in expiries.items():
        now = value(rows, p["mark"])
        fall = min(value(rows, p["basis_up"]) - now, value(rows, p["basis_down"]) - now, Fraction(0))
        basis += fall * Fraction(p["expiries"][e]["basis_ppb"], PPB)
    worst.append(basis)
    for name, scenario in p["scenarios"].items():
        total = value(plain, name) - value(plain, p["mark"])
        for e, rows in expiries.items():
            shocked = value(rows, name)
            rate = p["expiries"][e]["gain_ppb" if shocked >= 0 else "loss_ppb"]
            difference = shocked * Fraction(rate, PPB) - value(rows, p["mark"])
            total += -abs(difference) if scenario["kind"] == "skew" else difference
        worst.append(total * Fraction(scenario["dampening_ppb"], PPB))
    for j in plain:
        base = index * insts[j].lot if insts[j].kind == "perpetual" else Fraction(insts[j].values[0], unit)
        if insts[j].kind == "spot":
            base = value([j], p["mark"]) / z[j] if z[j] else Fraction(0)
        contingency += abs(z[j]) * base * Fraction(insts[j].risk.get(f"{level}_ppb", 0), PPB)
    for e, rows in expiries.items():
        rates = p["expiries"][e]
        strikes: dict[str, Fraction] = {}
        for j in rows:
            strike = insts[j].risk["strike"]
            strikes[strike] = strikes.get(strike, Fraction(0)) + z[j] * insts[j].lot
        naked = sum(max(Fraction(0), -net) for net in strikes.values())
        contingency += naked * index * Fraction(rates[f"short_{level}_ppb"], PPB)
        if initial:
            gross = sum(abs(z[j]) * insts[j].lot for j in rows)
            contingency += gross * index * Fraction(rates["gross_initial_ppb"], PPB)
    return min(worst) * Fraction(p[f"{level}_loss_ppb"], PPB) - contingency + value(everything, p["mark"])


@pytest.mark.parametrize("level", LEVELS)
def test_the_rule_is_the_formulas_on_any_portfolio(level: str) -> None:
    """Rounded against the account, by less than 10^-7 of what the account holds."""
    snapshot = load_snapshot(own_tree())
    rule = rule_of(snapshot, level)
    named: set[tuple[str, str]] = set()
    for z in own_portfolios(60):
        margin, exact = money(rule, min(solvency.net_margin(rule, z))), direct(snapshot, level, z)
        gross = sum(abs(q) * max(inst.values) for q, inst in zip(z, snapshot.instruments, strict=True))
        assert margin <= exact
        assert exact - margin <= Fraction(gross, 10**snapshot.value_decimals) / 10**7
        choice = solvency.best_choice(rule, z)
        named |= set(choice.items())
        program = compile_rule(rule.elect(choice))
        assert slacks(program, z) == solvency.net_margin(rule, z)
    assert {label for _, label in named} == {"long", "short"}
    assert len({name for name, _ in named}) == 4


def test_a_basis_shock_that_gains_in_one_expiry_pays_for_no_other() -> None:
    """Scenarios dampened to nothing leave the basis row to bind: long both sides of a strike, short another expiry."""
    tree = own_tree()
    for scenario in tree["rule"]["parameters"]["scenarios"].values():
        scenario["dampening_ppb"] = 0
    snapshot = load_snapshot(tree)
    rule = rule_of(snapshot, "maintenance")
    assert rule.elections() == {}
    for z in ((0, 0, 0, 0, 4_000, 8_400, 0, -3_600), *own_portfolios(20)):
        rows = solvency.net_margin(rule, z)
        assert rows[-1] <= min(rows[:-1])
        exact = direct(snapshot, "maintenance", z)
        assert 0 <= exact - money(rule, rows[-1]) < Fraction(1, 10**4)
        assert slacks(compile_rule(rule), z) == rows


def test_levels_and_multipliers_are_ordered() -> None:
    snapshot = load_snapshot(own_tree())
    for z in own_portfolios(40):
        rules = [rule_of(snapshot, "initial", Fraction(m)) for m in ("2", "1.5", "1")]
        rules += [rule_of(snapshot, "maintenance", Fraction(m)) for m in ("1", "0.5")]
        margins = [min(solvency.net_margin(rule, z)) for rule in rules]
        assert margins == sorted(margins)


def test_mark_and_basis_shocks_are_no_rows_of_their_own() -> None:
    """The two basis shocks are scenarios of the snapshot, but no losses; "basis" is one row."""
    snapshot = load_snapshot(own_tree())
    names = [name for name, _ in rule_of(snapshot, "initial").scenarios]
    assert len(snapshot.scenarios) == 11
    assert names == [*snapshot.scenarios[:9], "basis"]


@pytest.mark.parametrize("level", LEVELS)
def test_an_account_proves_its_margin_and_not_a_quantum_more(level: str) -> None:
    snapshot = load_snapshot(own_tree())
    lots = list(own_portfolios(1)[0])
    rule = rule_of(snapshot, level)
    lots[0] += 17 - min(solvency.net_margin(rule, lots)) // rule.amount_factor
    commitment, opening = commit(lots, cheapest_domain(snapshot))
    fact = Attestation("hub", "acct", 1, commitment, opening.domain, snapshot.registry_digest, NOW)

    def state(amount: int, elections: dict[str, str]) -> Any:
        text = format_quanta(amount, QUOTE_DECIMALS)
        return make_statement(
            snapshot, fact, venue="s", amount=text, expiry=NOW + 60, level=level, elections=elections
        )  # fmt: skip

    best = solvency.best_choice(rule, lots)
    statement = state(17, best)
    verify(statement, snapshot, prove(statement, snapshot, opening), now=NOW)
    with pytest.raises(NotSolvent) as caught:
        prove(state(18, best), snapshot, opening)
    assert caught.value.shortfall == "0.000001"
    flipped = {name: "short" if label == "long" else "long" for name, label in best.items()}
    with pytest.raises(NotSolvent):
        prove(state(17, flipped), snapshot, opening)
    with pytest.raises(StatementMismatch):
        prove(state(17, {}), snapshot, opening)
    assert solvency.net_margin(compile_terms(snapshot, statement.terms).rule, lots) == solvency.net_margin(rule, lots)


def test_explain_counts_in_quote_units() -> None:
    snapshot = load_snapshot(own_tree())
    rule, z = rule_of(snapshot, "initial"), own_portfolios(1)[0]
    shown = explain(snapshot, Terms("initial", Fraction(1), 3600), z)
    assert shown.net_margin == money(rule, min(solvency.net_margin(rule, z)))
    assert shown.requirement > 0


def test_the_latency_buffer_grows_with_the_root_of_the_horizon() -> None:
    tree = own_tree()
    for line in tree["instruments"]:
        if line["kind"] != "quote":
            line["risk"]["latency_ppm"] = 10_000
    snapshot, z = load_snapshot(tree), own_portfolios(1)[0]
    day, hour = (build(snapshot, Terms("initial", Fraction(1), h)) for h in (86_400, 3600))
    plain = rule_of(load_snapshot(own_tree()), "initial")
    parts = [evaluate(dict(rule.components)["requirement"], z) for rule in (day, hour, plain)]
    assert parts[0] > parts[1] > parts[2]
    assert (parts[0] - parts[2]) / (parts[1] - parts[2]) == pytest.approx(24**0.5, rel=1e-3)


def edit(path: str, value: Any) -> Tree:
    """The own snapshot with one member replaced (or added); a value of None deletes it."""
    tree = own_tree()
    *parents, last = path.split("/")
    node: Any = tree
    for key in parents:
        node = node[int(key)] if isinstance(node, list) else node[key]
    if value is None:
        del node[last]
    else:
        node[int(last) if isinstance(node, list) else last] = value
    return tree


P = "rule/parameters"
WRONG: dict[str, tuple[Tree, str]] = {
    "an unknown mark": (edit(f"{P}/mark", "x"), "snapshot.rule.parameters.mark"),
    "an unknown basis": (edit(f"{P}/basis_up", "x"), "snapshot.rule.parameters.basis_up"),
    "an unknown scenario": (
        edit(f"{P}/scenarios/x", {"kind": "regular", "dampening_ppb": PPB}),
        "snapshot.rule.parameters.scenarios.x",
    ),
    "a scenario without use": (edit(f"{P}/scenarios/up:1.2", None), "snapshot.scenarios.0"),
    "an unknown kind": (edit(f"{P}/scenarios/up:1.2/kind", "x"), "snapshot.rule.parameters.scenarios.up:1.2.kind"),
    "a factor in quotes": (edit(f"{P}/initial_loss_ppb", "1"), "snapshot.rule.parameters.initial_loss_ppb"),
    "levels in the wrong order": (edit(f"{P}/initial_loss_ppb", 1), "snapshot.rule.parameters.initial_loss_ppb"),
    "an index below zero": (edit(f"{P}/index", "-1"), "snapshot.rule.parameters.index"),
    "rates in the wrong order": (edit("instruments/3/risk/initial_ppb", 1), "snapshot.instruments.3.risk"),
    "short rates in the wrong order": (
        edit(f"{P}/expiries/E864000/short_initial_ppb", 1),
        "snapshot.rule.parameters.expiries.E864000",
    ),
    "an unknown expiry": (edit("instruments/4/risk/expiry", "x"), "snapshot.instruments.4.risk.expiry"),
    "two calls of one strike": (edit("instruments/5/risk/type", "call"), "snapshot.instruments.5.risk"),
    "two lots at one strike": (
        edit("instruments/5/lot", "0.1"),
        "snapshot.instruments.5.lot",
    ),
    "a future": (edit("instruments/3/kind", "future"), "snapshot.instruments.3.kind"),
    "an unknown member": (edit(f"{P}/x", 1), "snapshot.rule.parameters.x"),
}  # fmt: skip


@pytest.mark.parametrize(("tree", "field"), WRONG.values(), ids=WRONG)
def test_a_wrong_snapshot_is_refused_by_name(tree: Tree, field: str) -> None:
    snapshot = load_snapshot(tree)
    with pytest.raises(MalformedInput) as caught:
        rule_of(snapshot, "initial")
    assert caught.value.field == field


def test_discounts_in_the_wrong_order_are_refused() -> None:
    """A gain discounted less than a loss is convex: outside class A, and no election is offered for it."""
    tree = edit(f"{P}/expiries/E864000/gain_ppb", 2 * PPB)
    with pytest.raises(RuleRefused) as caught:
        rule_of(load_snapshot(tree), "initial")
    assert caught.value.field == "snapshot.rule.parameters.expiries.E864000"


def test_equal_discounts_need_no_election() -> None:
    tree = own_tree()
    for expiry in tree["rule"]["parameters"]["expiries"].values():
        expiry["gain_ppb"] = expiry["loss_ppb"] = PPB
    snapshot = load_snapshot(tree)
    rule = rule_of(snapshot, "maintenance")
    assert rule.elections() == {}
    for z in own_portfolios(20):
        assert slacks(compile_rule(rule), z) == solvency.net_margin(rule, z)
        assert money(rule, min(solvency.net_margin(rule, z))) <= direct(snapshot, "maintenance", z)


def test_an_expiry_with_a_slash_would_make_two_elections_one() -> None:
    tree = own_tree()
    expiries = tree["rule"]["parameters"]["expiries"]
    name = next(iter(expiries))
    expiries["a/b"] = expiries.pop(name)
    for line in tree["instruments"]:
        if line["risk"].get("expiry") == name:
            line["risk"]["expiry"] = "a/b"
    with pytest.raises(MalformedInput, match="slash"):
        build(load_snapshot(tree), Terms("initial", Fraction(1), 3600))
