"""Hiding by construction: a simulator without a witness, and any portfolio as explanation of any proof."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from py_arkworks_bls12381 import G1Point, Scalar

from tests.support.cheating import Attempt, CheatingProver, attempt
from tests.support.toy import (
    DOMAIN,
    NOW,
    Account,
    ToySrs,
    bind_all,
    lagrange_at,
    load_statement,
    open_account,
    portfolio,
    random_scalar,
    sample_account,
    sample_proof,
    solve,
    statement_tree,
    trade,
)
from zkmargin.circuits.errors import ProofRejected
from zkmargin.circuits.statement import Statement, bind
from zkmargin.prover import polynomial as poly
from zkmargin.prover import rounds
from zkmargin.prover.commitment import commitment_key, fresh
from zkmargin.prover.errors import NotSolvent
from zkmargin.prover.polynomial import Polynomial
from zkmargin.prover.prove import prove, prove_instance
from zkmargin.verifier.argument.instance import Instance
from zkmargin.verifier.argument.v1 import challenges
from zkmargin.verifier.argument.v1.challenges import Beta, ColumnChallenges, Eta, Gamma
from zkmargin.verifier.argument.v1.encoding import HEADER_BYTES, decode, encode
from zkmargin.verifier.argument.v1.linearisation import linearise
from zkmargin.verifier.argument.v1.messages import Columns, Evaluations, Openings, Proof, Quotient, Sums
from zkmargin.verifier.curve import G1_BYTES, encode_g1
from zkmargin.verifier.field import ONE, domain, inner, powers, scalar, vanishing
from zkmargin.verifier.srs import VerifierKey
from zkmargin.verifier.verify import instance_of, verify

SIZES = (1, 2, 3)
TOY = ToySrs()
RICH = "99999999999999"


def simulate(instance: Instance, key: VerifierKey, tau: Scalar, rng: random.Random) -> Proof:
    """An accepting proof made from tau and the statement alone.

    1. Every committed polynomial has one blinding coefficient more than it is opened, so its commitment is a
       uniform point: take random points. The quotient's is uniform because acc(omega tau) is (a third one).
    2. The opened values l_c(zeta), acc(omega zeta) are uniform and independent of these: take random scalars.
    3. Everything else is determined: W = (F + sum_c nu^(c+1) (l_c - l_c(zeta)))/(tau - zeta) and
       W' = (acc - acc(omega zeta))/(tau - omega zeta), as points. Only who knows tau can divide.
    """
    k = instance.layout.columns

    def point() -> G1Point:
        return key.g1 * random_scalar(rng)

    t = challenges.begin(instance, key.digest)
    columns = Columns(tuple(point() for _ in range(k)), point())
    drawn = challenges.round_1(t, columns)
    sums = Sums(point(), tuple(point() for _ in range(k)), point())
    alpha = challenges.round_2(t, sums)
    quotient = Quotient(point())
    zeta = challenges.round_3(t, quotient)
    said = Evaluations(tuple(random_scalar(rng) for _ in range(k)), random_scalar(rng))
    nu = challenges.round_4(t, said)
    lin = linearise(instance, drawn, alpha, zeta, said)
    total = instance.commitment * lin.commitment + columns.multiplicities * lin.multiplicities
    total = total + sums.table_helper * lin.table_helper + sums.accumulator * lin.accumulator
    total = total + quotient.quotient * lin.quotient + key.g1 * lin.constant
    for helper, factor in zip(sums.helpers, lin.helpers, strict=True):
        total = total + helper * factor
    for column, value, factor in zip(columns.limbs, said.limbs, powers(nu, k, nu), strict=True):
        total = total + (column - key.g1 * value) * factor
    omega_zeta = domain(instance.layout.n)[1] * zeta
    next_ = (sums.accumulator - key.g1 * said.accumulator_next) * (tau - omega_zeta).inverse()
    openings = Openings(total * (tau - zeta).inverse(), next_)
    return Proof(instance.layout, columns, sums, quotient, said, openings)


def statement_about_nobody(size: int, amount: str) -> tuple[Account, Statement, Instance]:
    """A statement about a commitment that nobody can open, with its instance."""
    account = sample_account(size)
    point = G1Point.hash_to_curve(b"nobody", b"zkmargin tests")
    statement = load_statement(statement_tree(account.snapshot, encode_g1(point), amount=amount))
    return account, statement, instance_of(bind(statement, account.snapshot))


@pytest.mark.parametrize("amount", ["0", "123.45", RICH])
@pytest.mark.parametrize("size", SIZES)
def test_simulator_convinces_without_a_witness(size: int, amount: str) -> None:
    """No portfolio, no opening: for true, unknown and false statements alike, under a tau that it knows."""
    account, statement, instance = statement_about_nobody(size, amount)
    assert instance.layout.columns == size
    proof = encode(simulate(instance, TOY.key, TOY.tau, random.Random(size)))
    verify(statement, account.snapshot, proof, now=NOW, key=TOY.key)
    with pytest.raises(ProofRejected):
        verify(statement, account.snapshot, proof, now=NOW)


@pytest.mark.parametrize("offset", [1, -1, 2])
def test_simulator_needs_the_very_tau(offset: int) -> None:
    account, statement, instance = statement_about_nobody(1, "0")
    guess = TOY.tau + scalar(offset)
    proof = encode(simulate(instance, TOY.key, guess, random.Random(1)))
    with pytest.raises(ProofRejected):
        verify(statement, account.snapshot, proof, now=NOW, key=TOY.key)


class Recorded(CheatingProver):
    """Keeps every blinded polynomial in the order in which it is drawn."""

    def __init__(self, made: Attempt) -> None:
        super().__init__(made, key=commitment_key(DOMAIN, TOY))
        self.kept: list[Polynomial] = []

    def blinded(self, values: Sequence[Scalar], count: int) -> Polynomial:
        self.kept.append(super().blinded(values, count))
        return self.kept[-1]


class Equivocator(CheatingProver):
    """Blinds other values so that they agree with ``targets`` at tau and wherever the proof shows them."""

    def __init__(self, made: Attempt, targets: Sequence[Polynomial], zeta: Scalar) -> None:
        super().__init__(made, key=commitment_key(DOMAIN, TOY))
        omega = domain(DOMAIN)[1]
        self.targets = iter(targets)
        self.points = {1: [TOY.tau], 2: [TOY.tau, zeta], 3: [TOY.tau, omega * TOY.tau, omega * zeta]}

    def blinded(self, values: Sequence[Scalar], count: int) -> Polynomial:
        target = next(self.targets)
        points = self.points[count]
        gaps = [poly.evaluate(target, x) - inner(values, lagrange_at(self.n, x)) for x in points]
        right = [gap * vanishing(self.n, x).inverse() for gap, x in zip(gaps, points, strict=True)]
        return poly.blind(poly.from_values(values), self.n, solve([powers(x, count) for x in points], right))


def equivocated_opening(account: Account, lots: Sequence[int]) -> Account:
    """Other positions under the same commitment: with tau, the blinding can make up any difference."""
    weights = lagrange_at(DOMAIN, TOY.tau)
    other = replace(account.opening, lots=tuple(lots))
    gap = inner(account.opening.values(), weights) - inner(other.values(), weights)
    shift = gap * vanishing(DOMAIN, TOY.tau).inverse()
    first, second = account.opening.blinding
    return replace(account, opening=replace(other, blinding=(first + shift, second)))


@pytest.mark.parametrize("size", SIZES)
def test_any_solvent_portfolio_explains_the_very_same_proof(size: int) -> None:
    """Perfect hiding: another solvent portfolio has randomness that gives the same bytes."""
    sample = sample_account(size)
    key = commitment_key(DOMAIN, TOY)
    mine = replace(sample, commitment=sample.opening.commitment(key))
    lots = portfolio(len(sample.snapshot.instruments), cash=77_000_000, seed=5)
    theirs = equivocated_opening(mine, lots)
    assert theirs.opening.commitment(key) == mine.commitment
    statement = mine.statement()
    prover = Recorded(attempt(mine, statement))
    proof = prover.prove()
    verify(statement, mine.snapshot, proof, now=NOW, key=TOY.key)
    made = attempt(theirs, statement)
    assert made.columns != prover.made.columns
    assert made.positions != prover.made.positions
    assert Equivocator(made, prover.kept, prover.zeta).prove() == proof


def test_an_insolvent_portfolio_explains_no_proof() -> None:
    """Control of the one above: there the sum does not close, and no blinding mends the opening."""
    sample = sample_account(1)
    key = commitment_key(DOMAIN, TOY)
    mine = replace(sample, commitment=sample.opening.commitment(key))
    theirs = equivocated_opening(mine, [0] * len(sample.snapshot.instruments))
    statement = mine.statement(amount="1")
    with pytest.raises(NotSolvent):
        bind_all(theirs, statement)
    prover = Recorded(attempt(mine, statement))
    proof = prover.prove()
    made = attempt(theirs, statement)
    assert Equivocator(made, prover.kept, prover.zeta).prove() != proof


def elements(proof: bytes) -> list[bytes]:
    """All points and scalars of a proof."""
    body, k = proof[HEADER_BYTES:], decode(proof).layout.columns
    cut = G1_BYTES * (2 * k + 6)
    points = [body[i : i + G1_BYTES] for i in range(0, cut, G1_BYTES)]
    return points + [body[i : i + 32] for i in range(cut, len(body), 32)]


@pytest.mark.parametrize("size", SIZES)
def test_two_proofs_of_one_statement_share_no_element(size: int) -> None:
    """Nor does one proof repeat an element, or show the commitment."""
    account, (statement, first) = sample_account(size), sample_proof(size)
    second = prove(statement, account.snapshot, account.opening)
    both = [*elements(first), *elements(second), account.commitment]
    assert len(set(both)) == len(both) == 2 * (3 * size + 7) + 1


def test_two_commitments_to_one_portfolio_differ() -> None:
    account = sample_account(1)
    commitments = {open_account(account.snapshot, account.opening.lots).commitment for _ in range(8)}
    assert len(commitments) == 8


def fixed(values: Sequence[Sequence[Scalar]]) -> rounds.Randomness:
    """Randomness that gives these blindings in this order."""
    remaining = iter(values)

    def draw(count: int) -> list[Scalar]:
        drawn = list(next(remaining))
        assert len(drawn) == count
        return drawn

    return draw


def blindings(size: int) -> list[list[Scalar]]:
    """As many coefficients for each polynomial as it shows values, and one for its commitment.

    Columns are opened at zeta, multiplicities and helpers nowhere; acc at omega zeta, and the quotient's
    commitment would show its value at omega tau.
    """
    return [fresh(2) for _ in range(size)] + [fresh(1)] + [fresh(1) for _ in range(size + 1)] + [fresh(3)]


def committed(proof: Proof) -> list[G1Point]:
    """The blinded commitments in the order in which their blinding is drawn."""
    columns, sums = proof.columns, proof.sums
    return [*columns.limbs, columns.multiplicities, *sums.helpers, sums.table_helper, sums.accumulator]


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_every_blinding_coefficient_reaches_the_proof(size: int) -> None:
    """And with all of them fixed nothing else is random."""
    account, (statement, _) = sample_account(size), sample_proof(size)
    bound, key = bind_all(account, statement), commitment_key(DOMAIN)

    def run(values: Sequence[Sequence[Scalar]]) -> Proof:
        return prove_instance(bound.instance, bound.witness, account.opening, key, randomness=fixed(values))

    values = blindings(size)
    first = run(values)
    assert encode(run(values)) == encode(first)
    names = [(p, c) for p, drawn in enumerate(values) for c in range(len(drawn))]
    own = committed(first)
    for index, coefficient in names:
        moved = [list(drawn) for drawn in values]
        moved[index][coefficient] = moved[index][coefficient] + ONE
        second = run(moved)
        assert committed(second)[index] != own[index]


def evaluations_under_fixed_challenges(
    account: Account, statement: Statement, draws: Sequence[Sequence[Scalar]], patch: pytest.MonkeyPatch
) -> Proof:
    """The honest proof when the verifier's challenges do not depend on anything (as if they were lucky)."""
    a, b, c, d, e, f = (scalar(10**9 + k) for k in range(6))
    with patch.context() as patched:
        patched.setattr(challenges, "round_1", lambda *_: ColumnChallenges(Gamma(a), Beta(b), Eta(c)))
        patched.setattr(challenges, "round_2", lambda *_: d)
        patched.setattr(challenges, "round_3", lambda *_: e)
        patched.setattr(challenges, "round_4", lambda *_: f)
        bound = bind_all(account, statement)
        key = commitment_key(DOMAIN)
        return prove_instance(bound.instance, bound.witness, account.opening, key, randomness=fixed(draws))


def test_no_opened_value_depends_on_the_blinding_of_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    account = sample_account(2)
    twin = open_account(account.snapshot, account.opening.lots)
    draws = blindings(2)
    first = evaluations_under_fixed_challenges(account, account.statement(), draws, monkeypatch)
    second = evaluations_under_fixed_challenges(twin, twin.statement(), draws, monkeypatch)
    assert first.evaluations == second.evaluations
    assert committed(first) == committed(second)
    assert first.quotient != second.quotient


def test_opened_columns_depend_on_the_words_and_not_on_the_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """One account holds what the other has after its public trade: other positions, the same words.

    acc does change, as a column of the sum; a coefficient of its own hides its one opened value.
    """
    account = sample_account(2)
    lots = list(account.opening.lots)
    lots[0], lots[3] = lots[0] - 40, lots[3] + 7
    other = open_account(account.snapshot, lots)
    delta = [trade(account.snapshot, 0, 40), trade(account.snapshot, 3, -7)]
    draws = blindings(2)
    first = evaluations_under_fixed_challenges(account, account.statement(), draws, monkeypatch)
    second = evaluations_under_fixed_challenges(other, other.statement(delta=delta), draws, monkeypatch)
    assert first.evaluations.limbs == second.evaluations.limbs
    assert first.sums.accumulator != second.sums.accumulator


def test_with_fixed_blinding_another_portfolio_shows_in_every_element() -> None:
    """Which is why blinding must never be used twice."""
    account = sample_account(1)
    draws = blindings(1)
    proofs = []
    for seed in (1, 2):
        lots = portfolio(len(account.snapshot.instruments), seed=seed)
        opening = replace(account.opening, lots=tuple(lots))
        owner = Account(account.snapshot, opening, opening.commitment())
        bound = bind_all(owner, owner.statement())
        made = prove_instance(bound.instance, bound.witness, opening, commitment_key(DOMAIN), randomness=fixed(draws))
        proofs.append(elements(encode(made)))
    assert all(a != b for a, b in zip(*proofs, strict=True))
