"""A prover without scruples: the rounds with no check in them, and every step replaceable.

It runs the whole protocol with a consistent transcript whatever it is given: columns of arbitrary field
elements, any position vector, any multiplicities. Where something does not hold, :class:`Lie` says in which
place the false claim is hidden, so that no refusal comes from a convenient place only. The tests and the frozen vectors
both cheat with it; it is not installed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import accumulate
from typing import Protocol

from py_arkworks_bls12381 import G1Point, Scalar

from tests.support.toy import settle
from zkmargin.circuits.compiler import Negative, Positive
from zkmargin.circuits.layout import LIMBS, Layout
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import Statement, bind
from zkmargin.prover import polynomial as poly
from zkmargin.prover.commitment import CommitmentKey, Opening, Randomness, commitment_key, fresh
from zkmargin.prover.polynomial import Polynomial
from zkmargin.prover.rounds import column_weights
from zkmargin.prover.witness import assign, limb_columns
from zkmargin.verifier.argument.claim import table_polynomial
from zkmargin.verifier.argument.instance import Instance
from zkmargin.verifier.argument.matrix import matrix
from zkmargin.verifier.argument.v1 import challenges
from zkmargin.verifier.argument.v1.encoding import encode
from zkmargin.verifier.argument.v1.linearisation import linearise
from zkmargin.verifier.argument.v1.messages import Columns, Evaluations, Openings, Proof, Quotient, Sums
from zkmargin.verifier.field import ONE, ZERO, batch_inverse, domain, powers, scalar, scalars
from zkmargin.verifier.transcript import Transcript
from zkmargin.verifier.verify import instance_of


class Lie(Enum):
    """Where a cheating prover puts what does not add up."""

    SUM = "the running sum does not close"
    HELPER = "one lookup helper is false where it closes the sum"
    TABLE_HELPER = "the table's helper is false where it closes the sum"
    LAST_EVALUATION = "acc(omega zeta) is what makes the linearisation vanish"
    COLUMN_EVALUATION = "l_0(zeta) is what makes the linearisation vanish"


@dataclass(frozen=True)
class Attempt:
    """What a cheating prover starts from: columns of any field elements, all n rows of x."""

    instance: Instance
    values: list[int] = field(repr=False)
    columns: list[list[Scalar]] = field(repr=False)
    counts: list[Scalar] = field(repr=False)
    positions: list[Scalar] = field(repr=False)
    blinding: Sequence[Scalar] = field(repr=False)

    @property
    def layout(self) -> Layout:
        """The statement's layout."""
        return self.instance.layout

    def limb(self, variable: int, i: int = 0) -> tuple[int, int]:
        """(column, row) of limb i of a variable, least significant first, over all its words."""
        layout = self.layout
        index = sum(layout.words_of(limit) for limit in self.instance.system.limits[:variable]) + i // LIMBS
        column, word = divmod(index, layout.words_per_column)
        return column, word + (i % LIMBS) * layout.words_per_column

    def with_limb(self, at: tuple[int, int], limb: Scalar) -> Attempt:
        """One limb replaced."""
        columns = [list(column) for column in self.columns]
        columns[at[0]][at[1]] = limb
        return replace(self, columns=columns)

    def with_values(self, values: Sequence[int]) -> Attempt:
        """Other non-negative variables, honestly cut into limbs."""
        columns = limb_columns(values, self.instance.system.limits, self.layout)
        return replace(self, values=list(values), columns=[scalars(column) for column in columns]).recounted()

    def recounted(self) -> Attempt:
        """The best multiplicities: honest for limbs in the table, silent about all others."""
        table = {value: i for i, value in enumerate(scalars(range(self.layout.n)))}
        counts = [0] * self.layout.n
        for column in self.columns:
            for limb in column:
                if limb in table:
                    counts[table[limb]] += 1
        return replace(self, counts=scalars(counts))


def broken_relations(made: Attempt) -> set[str]:
    """Which parts of the relation do not hold, by direct computation modulo r: range, count, rows, hidden."""
    layout, system = made.layout, made.instance.system
    out: set[str] = set()
    table = set(scalars(range(layout.n)))
    if not all(limb in table for column in made.columns for limb in column):
        out.add("range")
    if made.counts != made.recounted().counts:
        out.add("count")
    if any(not value.is_zero() for value in made.positions[system.positions :]):
        out.add("hidden")
    variables: list[Scalar] = []
    for k, limit in enumerate(system.limits):
        total = ZERO
        for i in reversed(range(LIMBS * layout.words_of(limit))):
            column, row = made.limb(k, i)
            total = total * scalar(layout.n) + made.columns[column][row]
        variables.append(total)
    for equation, constant in zip(system.rows, made.instance.constants, strict=True):
        left = sum((scalar(f) * made.positions[j] for j, f in equation.positions.items()), ZERO)
        left = sum((scalar(a) * variables[k] for k, a in equation.variables.items()), left)
        if left != constant:
            out.add("rows")
    return out


class Openable(Protocol):
    """An account whose commitment the cheater can open."""

    @property
    def snapshot(self) -> Snapshot:
        """What its statements are about."""

    @property
    def opening(self) -> Opening:
        """Its positions and blinding."""


def attempt(
    account: Openable, statement: Statement, *, inflate: Sequence[int] = (), held: Opening | None = None
) -> Attempt:
    """The best assignment for a statement, true or false: negative variables are kept as negative integers.

    Their columns hold zeros, for a fault to fill. ``inflate[j]`` is added to both parts of position j
    (a loan has one part only, and stays). ``held`` is what the words are made for, if not the account's own positions.
    """
    bound = bind(statement, account.snapshot)
    z = [x + bound.delta.get(j, 0) for j, x in enumerate((held or account.opening).lots)]
    values = assign(bound.program, z, bound.amount)
    for k, definition in enumerate(bound.program.definitions):
        if inflate and isinstance(definition, Positive | Negative):
            inflated = definition.position not in bound.program.rule.non_negative
            values[k] += inflate[definition.position] if inflated else 0
    values = settle(bound.program, z, values, bound.amount)
    start = Attempt(instance_of(bound), [], [], [], account.opening.values(), account.opening.blinding)
    return replace(start.with_values([max(value, 0) for value in values]), values=values)


class CheatingProver:
    """The rounds, step by step; each method is a step that a subclass may replace."""

    def __init__(
        self,
        made: Attempt,
        lie: Lie = Lie.SUM,
        key: CommitmentKey | None = None,
        randomness: Randomness = fresh,
    ) -> None:
        self.made, self.lie, self.draw = made, lie, randomness
        self.instance, self.n = made.instance, made.layout.n
        self.key = key or commitment_key(self.n)
        self.positions = poly.blind(poly.from_values(made.positions), self.n, made.blinding)

    def commit(self, polynomial: Polynomial) -> G1Point:
        """A commitment by coefficients, whatever the degree below the size of the SRS."""
        return self.key.commit_coefficients(poly.to_scalars(polynomial) or [ZERO])

    def blinded(self, values: Sequence[Scalar], count: int) -> Polynomial:
        """A column as the honest prover would blind it."""
        return poly.blind(poly.from_values(values), self.n, self.draw(count))

    def transcript(self) -> Transcript:
        """What the challenges are drawn from."""
        return challenges.begin(self.instance, self.key.srs.digest)

    def table_helper_values(self, gamma: Scalar) -> list[Scalar]:
        """m / (gamma + t)."""
        inverses = batch_inverse([gamma + t for t in scalars(range(self.n))])
        return [m * r for m, r in zip(self.made.counts, inverses, strict=True)]

    def helper_values(self, gamma: Scalar) -> list[list[Scalar]]:
        """1 / (gamma + l_c), for any field elements in the columns."""
        return [batch_inverse([gamma + limb for limb in column]) for column in self.made.columns]

    def steps(self, table_helper: Sequence[Scalar], helpers: Sequence[Sequence[Scalar]]) -> list[Scalar]:
        """The terms of the running sum, row by row."""
        out = [x * u - self.share for x, u in zip(self.made.positions, self.position_weights, strict=True)]
        for column, weights in zip(self.made.columns, self.weights, strict=True):
            out = [s + v * w for s, v, w in zip(out, column, weights, strict=True)]
        for helper in helpers:
            out = [s + self.drawn.eta * h for s, h in zip(out, helper, strict=True)]
        return [s - self.drawn.eta * h for s, h in zip(out, table_helper, strict=True)]

    def running_sum(self, steps: Sequence[Scalar]) -> list[Scalar]:
        """acc on H; whether it closes is not looked at."""
        return list(accumulate(steps, initial=ZERO))[: self.n]

    def constraints(
        self,
        columns: Sequence[Polynomial],
        counts: Polynomial,
        table_helper: Polynomial,
        helpers: Sequence[Polynomial],
        accumulator: Polynomial,
        gamma: Scalar,
    ) -> list[Polynomial]:
        """Every constraint polynomial, whether or not it vanishes on H."""
        h = domain(self.n)
        turned = poly.from_coefficients([c * h[k % self.n] for k, c in enumerate(poly.to_scalars(accumulator))])
        total = turned - accumulator + poly.constant(self.share)
        total -= self.positions * poly.from_values(self.position_weights)
        for column, weights in zip(columns, self.weights, strict=True):
            total -= column * poly.from_values(weights)
        lookups = table_helper
        for helper in helpers:
            lookups = lookups - helper
        total += lookups * poly.constant(self.drawn.eta)
        shift, one = poly.constant(gamma), poly.constant(ONE)
        looked_up = [h * (shift + column) - one for h, column in zip(helpers, columns, strict=True)]
        return [*looked_up, table_helper * (shift + table_polynomial(self.n)) - counts, total]

    def quotient(self, constraints: Sequence[Polynomial], alpha: Scalar) -> Polynomial:
        """The quotient; the remainder, if there is one, is dropped."""
        total = poly.constant(ZERO)
        for constraint, factor in zip(constraints, powers(alpha, len(constraints)), strict=True):
            total += constraint * poly.constant(factor)
        return poly.divide_by_vanishing(total, self.n)

    def evaluations(self, columns: Sequence[Polynomial], accumulator: Polynomial) -> Evaluations:
        """What is said to be l_c(zeta) and acc(omega zeta)."""
        values = tuple(poly.evaluate(column, self.zeta) for column in columns)
        last = poly.evaluate(accumulator, domain(self.n)[1] * self.zeta)

        def fault(values: tuple[Scalar, ...], last: Scalar) -> Scalar:
            return poly.evaluate(self.linearisation(Evaluations(values, last)), self.zeta)

        if self.lie is Lie.LAST_EVALUATION:
            last = root_of_affine(lambda t: fault(values, t))
        elif self.lie is Lie.COLUMN_EVALUATION:
            values = (root_of_affine(lambda t: fault((t, *values[1:]), last)), *values[1:])
        return Evaluations(values, last)

    def linearisation(self, said: Evaluations) -> Polynomial:
        """The linearisation with these opened values."""
        lin = linearise(self.instance, self.drawn, self.alpha, self.zeta, said)
        total = poly.constant(lin.constant)
        committed = [self.positions, self.counts, self.table_helper, *self.helpers, self.accumulator, self.divided]
        factors = [lin.commitment, lin.multiplicities, lin.table_helper, *lin.helpers, lin.accumulator, lin.quotient]
        for polynomial, factor in zip(committed, factors, strict=True):
            total += polynomial * poly.constant(factor)
        return total

    def openings(self, said: Evaluations, nu: Scalar) -> Openings:
        """Opening proofs; remainders are dropped."""
        total = self.linearisation(said)
        for column, factor in zip(self.columns, powers(nu, len(self.columns), nu), strict=True):
            total += column * poly.constant(factor)
        omega_zeta = domain(self.n)[1] * self.zeta
        opening_next = self.commit(poly.divide_by_root(self.accumulator, omega_zeta))
        return Openings(self.commit(poly.divide_by_root(total, self.zeta)), opening_next)

    def prove(self) -> bytes:
        """All rounds in order. Nothing is checked."""
        made, t = self.made, self.transcript()
        self.columns = [self.blinded(column, 2) for column in made.columns]
        self.counts = self.blinded(made.counts, 1)
        columns = Columns(tuple(map(self.commit, self.columns)), self.commit(self.counts))
        self.drawn = challenges.round_1(t, columns)
        gamma = self.drawn.gamma
        claim = matrix(self.instance.system, made.layout).claim(self.drawn.beta, self.instance.constants)
        self.weights, self.position_weights = (
            column_weights(self.instance, claim),
            claim.position_vector(self.n),
        )
        self.share = claim.target * scalar(self.n).inverse()
        helpers, table_helper = self.helper_values(gamma), self.table_helper_values(gamma)
        gap = sum(self.steps(table_helper, helpers), ZERO) * self.drawn.eta.inverse()
        if self.lie is Lie.HELPER:
            helpers[0][3] = helpers[0][3] - gap
        elif self.lie is Lie.TABLE_HELPER:
            table_helper[3] = table_helper[3] + gap
        self.helpers = [self.blinded(values, 1) for values in helpers]
        self.table_helper = self.blinded(table_helper, 1)
        self.accumulator = self.blinded(self.running_sum(self.steps(table_helper, helpers)), 3)
        summed = tuple(map(self.commit, self.helpers))
        sums = Sums(self.commit(self.table_helper), summed, self.commit(self.accumulator))
        self.alpha = challenges.round_2(t, sums)
        held = self.constraints(self.columns, self.counts, self.table_helper, self.helpers, self.accumulator, gamma)
        self.divided = self.quotient(held, self.alpha)
        quotient = Quotient(self.commit(self.divided))
        self.zeta = challenges.round_3(t, quotient)
        said = self.evaluations(self.columns, self.accumulator)
        nu = challenges.round_4(t, said)
        return encode(Proof(made.layout, columns, sums, quotient, said, self.openings(said, nu)))


def root_of_affine(f: Callable[[Scalar], Scalar]) -> Scalar:
    """t with f(t) = 0, for f(t) = a + b t."""
    at_zero, at_one = f(ZERO), f(ONE)
    return at_zero * (at_zero - at_one).inverse()
