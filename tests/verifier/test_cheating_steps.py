"""False steps of the protocol, each by name: the witness is true, one step of the argument is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from py_arkworks_bls12381 import G1Point, Scalar

from tests.support.cheating import CheatingProver, Lie, attempt, broken_relations
from tests.support.toy import NOW, refused, sample_account
from zkmargin.prover import polynomial as poly
from zkmargin.prover.commitment import fresh
from zkmargin.prover.polynomial import Polynomial
from zkmargin.verifier.argument.v1.messages import Evaluations, Openings
from zkmargin.verifier.field import ONE, ZERO, domain, powers, scalar
from zkmargin.verifier.verify import verify

SIZE = 3


class FalseHelpers(CheatingProver):
    """Two rows of a helper are false and cancel in the sum."""

    def helper_values(self, gamma: Scalar) -> list[list[Scalar]]:
        values = super().helper_values(gamma)
        values[0][5], values[0][9] = values[0][5] + ONE, values[0][9] - ONE
        return values


class HelpersLentToEachOther(CheatingProver):
    """A row of the first helper is false and the last helper makes up for it in the sum."""

    def helper_values(self, gamma: Scalar) -> list[list[Scalar]]:
        values = super().helper_values(gamma)
        values[0][0], values[-1][0] = values[0][0] + ONE, values[-1][0] - ONE
        return values


class SwappedHelpers(CheatingProver):
    """Helpers of other columns."""

    def helper_values(self, gamma: Scalar) -> list[list[Scalar]]:
        return super().helper_values(gamma)[::-1]


class FalseTable(CheatingProver):
    """The table is said to hold n where it holds 0, which is the entry most used."""

    def table_helper_values(self, gamma: Scalar) -> list[Scalar]:
        values = super().table_helper_values(gamma)
        return [self.made.counts[0] * (gamma + scalar(self.n)).inverse(), *values[1:]]


class FalseTableHelper(CheatingProver):
    """Two rows of the table's helper are false and cancel in the sum."""

    def table_helper_values(self, gamma: Scalar) -> list[Scalar]:
        values = super().table_helper_values(gamma)
        return [values[0] + ONE, values[1] - ONE, *values[2:]]


class JumpingSum(CheatingProver):
    """The running sum jumps in one row and back in another."""

    def running_sum(self, steps: Sequence[Scalar]) -> list[Scalar]:
        values = super().running_sum(steps)
        return [*values[:7], values[7] + ONE, *values[8:]]


class OpenSum(CheatingProver):
    """One unit too much enters in row 3, and the running sum does not close."""

    def steps(self, table_helper: Sequence[Scalar], helpers: Sequence[Sequence[Scalar]]) -> list[Scalar]:
        steps = super().steps(table_helper, helpers)
        return [*steps[:3], steps[3] + ONE, *steps[4:]]


class ForgottenConstraint(CheatingProver):
    """The quotient leaves out the running sum."""

    def quotient(self, constraints: Sequence[Polynomial], alpha: Scalar) -> Polynomial:
        return super().quotient(constraints[:-1], alpha)


class ZeroQuotient(CheatingProver):
    """The quotient is a constant."""

    def quotient(self, constraints: Sequence[Polynomial], alpha: Scalar) -> Polynomial:
        return poly.constant(ONE)


class ForgottenAlpha(CheatingProver):
    """The constraints are joined with the weights of another alpha."""

    def quotient(self, constraints: Sequence[Polynomial], alpha: Scalar) -> Polynomial:
        made = [constraint * poly.constant(scalar(k + 1)) for k, constraint in enumerate(constraints)]
        return super().quotient(made, alpha)


class SwappedEvaluations(CheatingProver):
    """l_0(zeta) and l_1(zeta) change places before nu is drawn."""

    def evaluations(self, columns: Sequence[Polynomial], accumulator: Polynomial) -> Evaluations:
        said = super().evaluations(columns, accumulator)
        return replace(said, limbs=(said.limbs[1], said.limbs[0], *said.limbs[2:]))


class FalseEvaluation(CheatingProver):
    """l_2(zeta) is one too large."""

    def evaluations(self, columns: Sequence[Polynomial], accumulator: Polynomial) -> Evaluations:
        said = super().evaluations(columns, accumulator)
        return replace(said, limbs=(*said.limbs[:-1], said.limbs[-1] + ONE))


class UnrotatedEvaluation(CheatingProver):
    """acc(zeta) instead of acc(omega zeta)."""

    def evaluations(self, columns: Sequence[Polynomial], accumulator: Polynomial) -> Evaluations:
        said = super().evaluations(columns, accumulator)
        return replace(said, accumulator_next=poly.evaluate(accumulator, self.zeta))


class SwappedOpenings(CheatingProver):
    """The two opening proofs change places."""

    def openings(self, said: Evaluations, nu: Scalar) -> Openings:
        made = super().openings(said, nu)
        return Openings(made.opening_next, made.opening)


class OpeningElsewhere(CheatingProver):
    """Evaluations and opening proof are right, for the point zeta + 1."""

    def evaluations(self, columns: Sequence[Polynomial], accumulator: Polynomial) -> Evaluations:
        last = poly.evaluate(accumulator, domain(self.n)[1] * self.zeta)
        return Evaluations(tuple(poly.evaluate(column, self.zeta + ONE) for column in columns), last)

    def openings(self, said: Evaluations, nu: Scalar) -> Openings:
        made = super().openings(said, nu)
        total = self.linearisation(said)
        for column, factor in zip(self.columns, powers(nu, len(self.columns), nu), strict=True):
            total += column * poly.constant(factor)
        return replace(made, opening=self.commit(poly.divide_by_root(total, self.zeta + ONE)))


class NextOpeningElsewhere(CheatingProver):
    """acc is opened, correctly, at omega^2 zeta."""

    def evaluations(self, columns: Sequence[Polynomial], accumulator: Polynomial) -> Evaluations:
        said = super().evaluations(columns, accumulator)
        return replace(said, accumulator_next=poly.evaluate(accumulator, domain(self.n)[2] * self.zeta))

    def openings(self, said: Evaluations, nu: Scalar) -> Openings:
        made = super().openings(said, nu)
        elsewhere = poly.divide_by_root(self.accumulator, domain(self.n)[2] * self.zeta)
        return replace(made, opening_next=self.commit(elsewhere))


class QuotientTooLong(CheatingProver):
    """The quotient has one term of a higher degree than any honest one."""

    def quotient(self, constraints: Sequence[Polynomial], alpha: Scalar) -> Polynomial:
        return super().quotient(constraints, alpha) + poly.from_coefficients([ZERO] * (self.n + 2) + [ONE])


class QuotientTooShort(CheatingProver):
    """The quotient lacks its highest term."""

    def quotient(self, constraints: Sequence[Polynomial], alpha: Scalar) -> Polynomial:
        return poly.from_coefficients(poly.to_scalars(super().quotient(constraints, alpha))[:-1])


class ForgedHelper(CheatingProver):
    """A whole helper column is made up."""

    def helper_values(self, gamma: Scalar) -> list[list[Scalar]]:
        values = super().helper_values(gamma)
        return [fresh(self.n), *values[1:]]


class DoubledColumn(CheatingProver):
    """The last column is the first one again."""

    def prove(self) -> bytes:
        self.made = replace(self.made, columns=[*self.made.columns[:-1], self.made.columns[0]]).recounted()
        return super().prove()


class RandomOpenings(CheatingProver):
    """Both opening proofs are arbitrary points."""

    def openings(self, said: Evaluations, nu: Scalar) -> Openings:
        a, b = fresh(2)
        return Openings(G1Point() * a, G1Point() * b)


FALSE_STEPS = [
    FalseHelpers,
    HelpersLentToEachOther,
    SwappedHelpers,
    FalseTable,
    FalseTableHelper,
    JumpingSum,
    OpenSum,
    ForgottenConstraint,
    ZeroQuotient,
    ForgottenAlpha,
    SwappedEvaluations,
    FalseEvaluation,
    UnrotatedEvaluation,
    SwappedOpenings,
    OpeningElsewhere,
    NextOpeningElsewhere,
    QuotientTooLong,
    QuotientTooShort,
    ForgedHelper,
    DoubledColumn,
    RandomOpenings,
]


@pytest.mark.parametrize("cheater", FALSE_STEPS)
def test_false_step_is_refused(cheater: type[CheatingProver]) -> None:
    account = sample_account(SIZE)
    statement = account.statement()
    made = attempt(account, statement)
    assert broken_relations(made) == set()
    refused(statement, account, cheater(made).prove())


class StartsElsewhere(CheatingProver):
    """acc starts, and ends, at 12345 instead of 0."""

    def running_sum(self, steps: Sequence[Scalar]) -> list[Scalar]:
        return [value + scalar(12345) for value in super().running_sum(steps)]


class EndsElsewhere(CheatingProver):
    """acc is right but in the last row, so that it neither arrives nor returns."""

    def running_sum(self, steps: Sequence[Scalar]) -> list[Scalar]:
        values = super().running_sum(steps)
        return [*values[:-1], values[-1] + ONE]


class LongColumns(CheatingProver):
    """Columns of a higher degree than honest ones, with the same values on H."""

    def blinded(self, values: Sequence[Scalar], count: int) -> Polynomial:
        return super().blinded(values, count + 20)


@pytest.mark.parametrize("cheater", [StartsElsewhere, LongColumns])
def test_what_the_argument_does_not_claim_helps_nobody(cheater: type[CheatingProver]) -> None:
    """The sum is cyclic, and only values on H count: a true statement passes so, and a false one does not."""
    account = sample_account(SIZE)
    statement = account.statement()
    made = attempt(account, statement)
    verify(statement, account.snapshot, cheater(made).prove(), now=NOW)
    at, row = made.limb(0)
    wrong = made.with_limb((at, row), made.columns[at][row] + ONE).recounted()
    assert "rows" in broken_relations(wrong)
    for lie in Lie:
        refused(statement, account, cheater(wrong, lie).prove())


def test_an_accumulator_that_ends_elsewhere_is_refused() -> None:
    account = sample_account(SIZE)
    statement = account.statement()
    refused(statement, account, EndsElsewhere(attempt(account, statement)).prove())


def test_swapped_columns_are_refused() -> None:
    account = sample_account(SIZE)
    statement = account.statement()
    made = attempt(account, statement)
    swapped = replace(made, columns=[made.columns[1], made.columns[0], *made.columns[2:]])
    assert broken_relations(swapped) == {"rows"}
    refused(statement, account, CheatingProver(swapped).prove())
