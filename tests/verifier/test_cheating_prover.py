"""Faults of the witness, each by name: a prover with no checks runs every round, and every proof is refused.

Each fault states which part of the relation it breaks, and nothing else is broken, so the refusal is for that
reason. It is tried with the false claim hidden in each of several places (:class:`Lie`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import pytest
from py_arkworks_bls12381 import Scalar

from tests.support.cheating import Attempt, CheatingProver, Lie, attempt, broken_relations
from tests.support.toy import DOMAIN, NOW, Account, edge_account, load_statement, sample_account, statement_tree
from zkmargin.circuits.errors import ProofRejected, SystemTooLarge
from zkmargin.circuits.layout import LIMBS, Layout
from zkmargin.circuits.statement import Statement, bind
from zkmargin.circuits.system import FIELD_ORDER, LinearSystem, Row, Variable
from zkmargin.prover import solvency
from zkmargin.prover.commitment import Opening, commitment_key
from zkmargin.prover.errors import NotSolvent
from zkmargin.prover.prove import prove
from zkmargin.prover.witness import residuals
from zkmargin.verifier.argument.instance import Instance
from zkmargin.verifier.argument.v1.encoding import decode
from zkmargin.verifier.argument.v1.equation import equation
from zkmargin.verifier.field import ONE, integer, scalar, scalars
from zkmargin.verifier.kzg import holds
from zkmargin.verifier.srs import ethereum
from zkmargin.verifier.verify import instance_of, verify

FLIP = 5
SIZES = (1, 2, 3)


@dataclass(frozen=True)
class Setting:
    """An account, a statement about it, and what a cheating prover starts from."""

    account: Account
    statement: Statement
    made: Attempt

    def slack(self) -> int:
        """The variable that is the slack of the worst scenario."""
        program = bind(self.statement, self.account.snapshot).program
        slacks = [(self.made.values[_slack_of(program.system.rows[i])], i) for i in program.scenario_rows]
        return _slack_of(program.system.rows[min(slacks)[1]])


def _slack_of(row: Row) -> int:
    return next(k for k, a in reversed(row.variables.items()) if a == -1)


@lru_cache
def solvent(size: int) -> Setting:
    account = sample_account(size)
    statement = account.statement()
    return Setting(account, statement, attempt(account, statement))


@lru_cache
def insolvent(size: int) -> Setting:
    """The amount is one quote quantum more than the account has in its worst scenario."""
    account = sample_account(size)
    bound = bind(account.statement(), account.snapshot)
    margin = min(solvency.net_margin(bound.program.rule, account.opening.lots)) // account.snapshot.fine
    statement = account.statement(amount=f"{(margin + 1) // 100}.{(margin + 1) % 100:02d}")
    return Setting(account, statement, attempt(account, statement))


def wrong_digit(s: Setting) -> Attempt:
    """A limb of the cash position's word is another table entry."""
    column, row = s.made.limb(0)
    old = integer(s.made.columns[column][row])
    return s.made.with_limb((column, row), scalar(old ^ FLIP)).recounted()


def carried(s: Setting, carry: int) -> Attempt:
    """The cash position's word is the same number: limb 0 is raised by carry * n, limb 1 lowered by carry."""
    (column, low), (_, high) = s.made.limb(0, 0), s.made.limb(0, 1)
    limbs = s.made.columns[column]
    made = s.made.with_limb((column, low), limbs[low] + scalar(carry * DOMAIN))
    return made.with_limb((column, high), limbs[high] - scalar(carry)).recounted()


def limb_outside_table(s: Setting) -> Attempt:
    """A limb of n or more."""
    return carried(s, 1)


def negative_limb(s: Setting) -> Attempt:
    """A limb below zero."""
    return carried(s, -1)


def negative_slack_as_field_element(s: Setting) -> Attempt:
    """Every row holds modulo r: each negative slack sits in its lowest limb as a field element."""
    made = s.made
    for k, value in enumerate(made.values):
        if value < 0:
            made = made.with_limb(made.limb(k), scalar(value))
    return made.recounted()


def negative_slack_wrapped(s: Setting) -> Attempt:
    """Two's complement: every limb is in the table."""
    bits = s.made.layout.word_bits
    limits = s.made.instance.system.limits
    wrapped = [v % (1 << bits * s.made.layout.words_of(m)) for v, m in zip(s.made.values, limits, strict=True)]
    return replace(s.made.with_values(wrapped), values=s.made.values)


def negative_slack_around_r(s: Setting) -> Attempt:
    """Wrap-around: the digits of r + slack, as many as there are limbs; the top limb takes the rest."""
    made, layout = s.made, s.made.layout
    for k, value in enumerate(made.values):
        if value < 0:
            rest = value % FIELD_ORDER
            last = LIMBS * layout.words_of(made.instance.system.limits[k]) - 1
            for i in range(last):
                made = made.with_limb(made.limb(k, i), scalar(rest % layout.n))
                rest //= layout.n
            made = made.with_limb(made.limb(k, last), scalar(rest))
    return made.recounted()


def multiplicity_too_many(s: Setting) -> Attempt:
    """One table entry is said to be used once more."""
    return replace(s.made, counts=[s.made.counts[0] + ONE, *s.made.counts[1:]])


def multiplicity_moved(s: Setting) -> Attempt:
    """One use is moved to another entry, so that the total is right."""
    first, second, *rest = s.made.counts
    return replace(s.made, counts=[first - ONE, second + ONE, *rest])


def foreign_words(s: Setting) -> Attempt:
    """Words of a richer account for this account's commitment."""
    lots = (s.account.opening.lots[0] + 777, *s.account.opening.lots[1:])
    richer = replace(s.account, opening=replace(s.account.opening, lots=lots))
    made = attempt(richer, s.statement)
    return replace(made, positions=s.made.positions)


def _hidden(s: Setting, row: int, value: Scalar) -> Attempt:
    """Commit to one more value in a row that holds no instrument; the statement names that commitment."""
    positions = list(s.made.positions)
    positions[row] = value
    point = commitment_key(DOMAIN).commit_values(positions, s.made.blinding)
    return replace(s.made, positions=positions, instance=replace(s.made.instance, commitment=point))


def hidden_row_first(s: Setting) -> Attempt:
    """A value in row d."""
    return _hidden(s, s.made.instance.system.positions, scalar(1))


def hidden_row_last(s: Setting) -> Attempt:
    """A value in row n - 1."""
    return _hidden(s, DOMAIN - 1, scalar(-(10**12)))


def position_modulo_r(s: Setting) -> Attempt:
    """Cash of -1 lot committed, the word p0 says r - 1: limb 0 is the field element."""
    positions = [scalar(-1), *s.made.positions[1:]]
    point = commitment_key(DOMAIN).commit_values(positions, s.made.blinding)
    poor = replace(s.account, opening=replace(s.account.opening, lots=(-1, *s.account.opening.lots[1:])))
    made = attempt(poor, s.statement)
    values = [max(v, 0) for v in made.values]
    made = replace(made.with_values([0, 0, *values[2:]]), values=made.values)
    made = made.with_limb(made.limb(0), scalar(-1))
    for k, value in enumerate(made.values):
        if value < 0:
            made = made.with_limb(made.limb(k), scalar(value))
    return replace(made.recounted(), instance=replace(made.instance, commitment=point), positions=positions)


Fault = Callable[[Setting], Attempt]
ON_TRUE: dict[Fault, set[str]] = {
    wrong_digit: {"rows"},
    limb_outside_table: {"range"},
    negative_limb: {"range"},
    multiplicity_too_many: {"count"},
    multiplicity_moved: {"count"},
    foreign_words: {"rows"},
    hidden_row_first: {"hidden"},
    hidden_row_last: {"hidden"},
    position_modulo_r: {"range"},
}
ON_FALSE: dict[Fault, set[str]] = {
    negative_slack_as_field_element: {"range"},
    negative_slack_wrapped: {"rows"},
    negative_slack_around_r: {"range"},
}
EVERY = [(fault, solvent, broken) for fault, broken in ON_TRUE.items()]
EVERY += [(fault, insolvent, broken) for fault, broken in ON_FALSE.items()]
CASES = [pytest.param(*case, id=case[0].__name__) for case in EVERY]
LIES = pytest.mark.parametrize("lie", Lie, ids=lambda lie: lie.name.lower())


def statement_about(s: Setting, made: Attempt) -> tuple[Statement, Attempt]:
    """The statement that names what the attempt has committed to, and the attempt bound to it."""
    commitment = bytes(made.instance.commitment.to_compressed_bytes())
    changes = {"amount": s.statement.amount}
    statement = load_statement(statement_tree(s.account.snapshot, commitment, **changes))
    return statement, replace(made, instance=instance_of(bind(statement, s.account.snapshot)))


@LIES
@pytest.mark.parametrize("size", SIZES)
def test_control_the_cheating_prover_convinces_of_a_true_statement(size: int, lie: Lie) -> None:
    s = solvent(size)
    assert s.made.layout == Layout(DOMAIN, size)
    assert broken_relations(s.made) == set()
    verify(s.statement, s.account.snapshot, CheatingProver(s.made, lie).prove(), now=NOW)


@pytest.mark.slow
@LIES
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize(("fault", "setting", "broken"), CASES)
def test_fault_is_refused(
    fault: Fault, setting: Callable[[int], Setting], broken: set[str], size: int, lie: Lie
) -> None:
    s = setting(size)
    statement, made = statement_about(s, fault(s))
    assert broken_relations(made) == broken
    proof = CheatingProver(made, lie).prove()
    with pytest.raises(ProofRejected):
        verify(statement, s.account.snapshot, proof, now=NOW)


SCENARIOS = 4


@pytest.mark.parametrize("fault", ON_FALSE)
@pytest.mark.parametrize("scenario", range(SCENARIOS))
def test_one_quantum_short_in_one_scenario_is_refused_on_every_path(scenario: int, fault: Fault) -> None:
    account, margin = edge_account(SCENARIOS, scenario)
    statement = account.statement(amount=f"{(margin + 1) // 100}.{(margin + 1) % 100:02d}")
    s = Setting(account, statement, attempt(account, statement))
    assert [v for v in s.made.values if v < 0] == [-1]
    assert s.made.values[s.slack()] == -1
    with pytest.raises(NotSolvent) as caught:
        prove(statement, account.snapshot, account.opening)
    assert (caught.value.scenario, caught.value.shortfall) == (f"scenario-{scenario}", "0.01")
    proof = CheatingProver(fault(s)).prove()
    with pytest.raises(ProofRejected):
        verify(statement, account.snapshot, proof, now=NOW)


def test_inflated_splits_are_harmless_where_there_is_slack() -> None:
    s = solvent(2)
    d = s.made.instance.system.positions
    inflate = [10 + j for j in range(d)]
    made = attempt(s.account, s.statement, inflate=inflate)
    assert made.values[s.slack()] < s.made.values[s.slack()]
    assert broken_relations(made) == set()
    verify(s.statement, s.account.snapshot, CheatingProver(made).prove(), now=NOW)


def test_inflating_a_split_never_turns_insolvency_into_a_proof() -> None:
    s = insolvent(2)
    d = s.made.instance.system.positions
    for j in range(d):
        made = attempt(s.account, s.statement, inflate=[int(i == j) * 10**6 for i in range(d)])
        assert made.values[s.slack()] <= s.made.values[s.slack()] < 0
    proof = CheatingProver(negative_slack_as_field_element(replace(s, made=made))).prove()
    with pytest.raises(ProofRejected):
        verify(s.statement, s.account.snapshot, proof, now=NOW)


def wrapping_instance() -> tuple[Instance, Opening, list[int]]:
    """x = p and a * w = 1 with a * 3 = 1 + k r: false over the integers, true modulo r for w = 3."""
    factor = pow(3, -1, FIELD_ORDER)
    system = LinearSystem(
        1,
        (Variable("p", 1 << 20), Variable("w", 1 << 20)),
        (Row("tie(0)", {0: 1}, {0: -1}), Row("wrapping", {}, {1: factor}, -1)),
    )
    opening = Opening(DOMAIN, (5,), tuple(scalars([11, 12])))
    constants = scalars(system.constants({}, 0))
    instance = Instance(Layout(DOMAIN, 1), system, constants, opening.commitment_point(), bytes(32))
    return instance, opening, [5, 3]


def test_a_row_that_could_wrap_modulo_r_is_refused_by_the_bound_check_and_only_by_it() -> None:
    instance, opening, values = wrapping_instance()
    assert any(residuals(instance.system, [5], values, 0))
    made = Attempt(instance, [], [], [], opening.values(), opening.blinding).with_values(values)
    assert broken_relations(made) == set()
    key = ethereum().key
    assert holds(equation(instance, key, decode(CheatingProver(made).prove())), key)
    with pytest.raises(SystemTooLarge) as caught:
        instance.system.layout(DOMAIN)
    assert caught.value.field == "wrapping"


def test_hidden_rows_and_wrong_digit_cannot_cancel() -> None:
    """A cheater knows no beta when it commits: an offset hidden in row d does not pay for a false row."""
    s = solvent(1)
    short = wrong_digit(s)
    for value in (1, -1, FLIP, -FLIP):
        hidden = hidden_row_first(replace(s, made=short))
        moved = _hidden(replace(s, made=hidden), s.made.instance.system.positions, scalar(value))
        statement, made = statement_about(s, moved)
        assert broken_relations(made) == {"rows", "hidden"}
        proof = CheatingProver(made).prove()
        with pytest.raises(ProofRejected):
            verify(statement, s.account.snapshot, proof, now=NOW)
