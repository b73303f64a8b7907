"""The best election is the one with the best net margin among those that meet the overlays: against brute force."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.circuits.test_market_rules import loans, terms
from tests.circuits.test_paying import choices, eth_loans, varied
from tests.circuits.test_rule_monotone import portfolio
from tests.circuits.test_span import span
from tests.service.cli.test_cli import call
from tests.support.toy import load_snapshot
from zkmargin.circuits import canonical
from zkmargin.circuits.compiler import Constraint, MarginRule
from zkmargin.circuits.election import elections, resolver
from zkmargin.circuits.expression import Election, Expression, FloorDiv, Linear, Min, Sum
from zkmargin.circuits.rules import LEVELS, Terms, build
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.prover import solvency
from zkmargin.prover.evaluation import evaluate
from zkmargin.prover.explain import explain

MAKERS: dict[str, Callable[[], Snapshot]] = {
    "loans": loans,
    "portfolio": portfolio,
    "spreads": lambda: span("election"),
}


def worth(rule: MarginRule, choice: dict[str, str], z: Sequence[int], amount: int) -> tuple[bool, int]:
    """Whether a choice meets every constraint, and its smallest net margin."""
    slacks = [slack for _, slack in solvency.slacks(rule.elect(choice), z, amount)]
    return all(slack >= 0 for slack in slacks[len(rule.scenarios) :]), min(slacks[: len(rule.scenarios)])


def expect_best(rule: MarginRule, z: Sequence[int], amount: int) -> None:
    chosen = worth(rule, solvency.best_choice(rule, z, amount), z, amount)
    assert chosen == max(worth(rule, choice, z, amount) for choice in choices(rule))
    slacks = [slack for _, slack in solvency.slacks(rule, z, amount)]
    assert min(slacks[: len(rule.scenarios)]) == chosen[1]


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=40, deadline=None)
@given(rng=st.randoms(use_true_random=False), amount=st.integers(0, 10**6))
def test_the_best_choice_of_every_rule_with_elections(name: str, rng: random.Random, amount: int) -> None:
    snap = varied(name, rng)
    level, overlays = rng.choice(LEVELS), rng.choice([(), ("all",)])
    rule = build(snap, Terms(level, Fraction(rng.choice([1, 2])), 3600, (), overlays))
    z = [rng.choice([0, 1, -1]) * rng.randrange(2_000) for _ in snap.instruments]
    z = [abs(v) if j in rule.non_negative else v for j, v in enumerate(z)]
    expect_best(rule, z, amount)


COEFFICIENTS = st.integers(-9, 9)
LINEAR = st.builds(lambda a, b, c: Linear({0: a, 1: b}, c), COEFFICIENTS, COEFFICIENTS, COEFFICIENTS)


def pieces(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    """Elections of three names in sums, minima and roundings; also inside each other."""

    def elected(name: str) -> st.SearchStrategy[Expression]:
        return st.builds(lambda a, b: Election(name, (("a", a), ("b", b))), inner, inner)

    names = ("x", "y", "z")
    return st.one_of(
        *map(elected, names),
        st.builds(lambda a, b, f: Sum(((f, a), (2, b)), 1), inner, inner, st.integers(1, 5)),
        st.builds(lambda a, b: Min("m", (a, b)), inner, inner),
        st.builds(lambda a, d: FloorDiv("f", a, d), inner, st.integers(1, 4)),
    )


TREES: st.SearchStrategy[Expression] = st.recursive(LINEAR, pieces, max_leaves=8)


@settings(max_examples=250, deadline=None)
@given(
    st.lists(TREES, min_size=1, max_size=3),
    st.lists(TREES, max_size=2),
    st.lists(st.integers(-20, 20), min_size=2, max_size=2),
    st.integers(0, 9),
)
def test_the_best_choice_of_any_small_rule(
    net: list[Expression], limits: list[Expression], z: list[int], amount: int
) -> None:
    rows = tuple((f"s{k}", expr) for k, expr in enumerate(net))
    rule = MarginRule(((-20, 20),) * 2, rows, 3, constraints=tuple(Constraint("c", expr, 2) for expr in limits))
    expect_best(rule, z, amount)


def test_many_joint_elections_are_improved_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit no single election betters the choice, and it meets what can be met."""
    monkeypatch.setattr("zkmargin.prover.elections.MAX_JOINT", 4)
    rows: list[tuple[str, Expression]] = []
    for s in range(3):
        parts = [
            (1, Election(f"e{k}", (("a", Linear({0: 1}, s * k)), ("b", Linear({0: 1}, 2 - k)), ("c", Linear({0: -1})))))
            for k in range(4)
        ]
        rows.append((f"s{s}", Sum(tuple(parts))))
    limit = Election("e3", (("a", Linear({}, -1)), ("b", Linear({}, -1)), ("c", Linear({}, 0))))
    rule = MarginRule(((-9, 9),), tuple(rows), 1, constraints=(Constraint("only c", limit),))
    chosen = solvency.best_choice(rule, [5])
    reached = worth(rule, chosen, [5], 0)
    assert reached[0]
    assert chosen["e3"] == "c"
    for name in chosen:
        for label in "abc":
            assert worth(rule, chosen | {name: label}, [5], 0) <= reached


def by_smallest_value(exprs: Sequence[Expression], z: Sequence[int]) -> dict[str, str]:
    """How elections were chosen before: rows of money and rows of anything else compared as if they were one."""
    found, out = elections(exprs), {}
    for name, same in found.items():
        labels = [label for label, _ in same[0].pieces]
        sums = [sum(evaluate(one.pieces[k][1], z) for one in same) for k in range(len(labels))]
        out[name] = labels[sums.index(max(sums))]
    joint = [name for name, same in found.items() if len(same) > 1]
    if len(joint) == 1:
        labels = [label for label, _ in found[joint[0]][0].pieces]

        def smallest(label: str) -> int:
            resolve = resolver({**out, joint[0]: label})
            return min(evaluate(resolve(expr), z) for expr in exprs)

        out[joint[0]] = max(labels, key=smallest)
    return out


def banned_ether() -> Snapshot:
    tree = copy.deepcopy(dict(loans().tree))
    tree["rule"]["overlays"] = {"eu": [{"type": "banned", "instruments": ["ETH"]}]}
    return load_snapshot(tree)


def test_control_a_met_ban_hid_the_better_category() -> None:
    """A ban that is met counts 0 lots, and no net margin is below that: the first label was as good as any."""
    rule, z = build(banned_ether(), terms(overlays=("eu",))), [500_000, 10_000, 0, 0]
    exprs = [expr for _, expr in rule.scenarios] + [c.expression for c in rule.constraints]
    old, new = by_smallest_value(exprs, z), solvency.best_choice(rule, z)
    assert (old, new) == ({"emode": "none"}, {"emode": "stable"})
    assert worth(rule, old, z, 0) < worth(rule, new, z, 0)


def test_control_two_levels_in_one_sum_have_weights() -> None:
    """At liquidation end a piece counts as often as its level does; the plain sum of the pieces named the worse one."""

    def level(k: int) -> list[tuple[int, Expression]]:
        """Piece a is worth 4 at the first level, piece b 3 at the second, which counts nine times."""
        first, second = ((Linear({}, 4), Linear({})), (Linear({}), Linear({}, 3)))[k]
        return [((1, 9)[k], Election(name, (("a", first), ("b", second)))) for name in ("e", "f")]

    rule = MarginRule(((0, 1),), (("s", Sum((*level(0), *level(1)))),), 1)
    old, new = by_smallest_value([expr for _, expr in rule.scenarios], [0]), solvency.best_choice(rule, [0])
    assert (old, new) == ({"e": "a", "f": "a"}, {"e": "b", "f": "b"})
    assert (worth(rule, old, [0], 0), worth(rule, new, [0], 0)) == ((True, 8), (True, 54))


def test_an_election_that_meets_an_overlay_goes_before_a_richer_one() -> None:
    rich = Election("e", (("rich", Linear({}, 100)), ("meets", Linear({}, 10))))
    rule = MarginRule(
        ((0, 1),), (("s", rich),), 1,
        constraints=(Constraint("c", Election("e", (("rich", Linear({}, -1)), ("meets", Linear({}, 0))))),),
    )  # fmt: skip
    assert solvency.best_choice(rule, [0]) == {"e": "meets"}
    impossible = MarginRule(((0, 1),), (("s", rich),), 1, constraints=(Constraint("c", Linear({}, -1)),))
    assert solvency.best_choice(impossible, [0]) == {"e": "rich"}
    assert dict(solvency.slacks(impossible, [0], 0))["c"] < 0  # and what is not met is named


def test_an_explanation_shows_the_best_election_its_requirement_and_what_no_election_meets() -> None:
    snap = banned_ether()
    made = explain(snap, terms(overlays=("eu",)), [500_000, 10_000, 0, 0])
    assert made.elections == (("emode", "stable"),)
    assert made.net_margin == Fraction(500_000 * 95, 100) + 940 + Fraction(1, 2)
    assert made.requirement == 500_000 * Fraction(5, 100) + Fraction(50)
    assert dict(made.overlays) == {"eu.banned.ETH": True}
    broken = explain(snap, terms(overlays=("eu",)), [500_000, 10_000, 1, 0])
    assert broken.elections == (("emode", "stable"),)
    assert dict(broken.overlays) == {"eu.banned.ETH": False}


def test_the_best_election_for_a_statement_knows_its_amount(tmp_path: Path) -> None:
    """Without an amount the category is better; with one, which becomes a debt in quote, only outside it proves."""
    snap, lots = eth_loans(), [0, 1_000, 0]
    rule = build(snap, terms("initial"))
    assert solvency.best_choice(rule, lots) == {"emode": "eth"}
    assert solvency.best_choice(rule, lots, 500_000) == {"emode": "none"}
    paths = {n: tmp_path / n for n in ("key", "pub", "held", "snapshot", "opening", "attestation", "statement")}
    paths["snapshot"].write_bytes(snap.to_bytes())
    held: dict[str, Any] = {
        "schema": "zkmargin/portfolio/1",
        "positions": [{"instrument": "ETH", "quantity": "100"}],
    }
    paths["held"].write_bytes(canonical.canonical_bytes(held))
    env = {"ZKMARGIN_PASSPHRASE": "p"}
    call("keygen", "--key", paths["key"], "--public", paths["pub"], env=env)
    call(
        "commit", "--portfolio", paths["held"], "--snapshot", paths["snapshot"], "--account", "a", "--key",
        paths["key"], "--opening", paths["opening"], "--attestation", paths["attestation"], "--time", 1000, env=env,
    )  # fmt: skip
    common = (
        "statement", "--snapshot", paths["snapshot"], "--attestation", paths["attestation"], "--hub-key", paths["pub"],
        "--spoke", "v", "--expiry", 2000, "--now", 1000, "--best-for", paths["opening"],
    )  # fmt: skip
    unproved = call(*common, "--amount", "5000.01", "--out", tmp_path / "other", env=env)["warnings"]
    assert unproved[-1] == "no elections prove this for the opening: mark is not met"
    assert call(*common, "--amount", "5000", "--out", paths["statement"], env=env)["warnings"] == []
    call(
        "prove", "--statement", paths["statement"], "--snapshot", paths["snapshot"], "--opening", paths["opening"],
        "--out", tmp_path / "proof", env=env,
    )  # fmt: skip
