"""The prover's rounds, in the order and with the names of docs/SPEC.md.

Each round takes the state before it and the challenges that the verifier would send, and returns its message and the
next state: running them out of order, or on each other's challenges, does not type-check. Multi-scalar multiplications
run on two workers while the interpreter works on polynomials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, repeat
from operator import mul

from py_arkworks_bls12381 import Scalar

from zkmargin.circuits.errors import InternalError
from zkmargin.prover import polynomial as poly
from zkmargin.prover.commitment import CommitmentKey, Randomness
from zkmargin.prover.polynomial import Polynomial
from zkmargin.prover.witness import Witness
from zkmargin.verifier.argument.claim import Claim, limb_scales, table_polynomial
from zkmargin.verifier.argument.instance import Instance
from zkmargin.verifier.argument.matrix import matrix
from zkmargin.verifier.argument.v1.challenges import Alpha, ColumnChallenges, Nu, Zeta
from zkmargin.verifier.argument.v1.linearisation import linearise
from zkmargin.verifier.argument.v1.messages import Columns, Evaluations, Openings, Quotient, Sums
from zkmargin.verifier.field import ONE, ZERO, batch_inverse, domain, integer, powers, scalar, scalars

#: Fresh multiples of Z in each polynomial: one for its commitment and one for each opened value. The third of acc hides
#: acc(omega tau), and with it the quotient's commitment, which the identity at tau would otherwise determine.
COLUMN_BLINDING = 2
MULTIPLICITY_BLINDING = 1
HELPER_BLINDING = 1
ACCUMULATOR_BLINDING = 3


@dataclass(frozen=True)
class Start:
    """Before round 1: the instance, the witness and the opening of the commitment. Secret."""

    instance: Instance
    key: CommitmentKey
    randomness: Randomness
    witness: Witness = field(repr=False)
    positions: list[Scalar] = field(repr=False)
    position_blinding: Sequence[Scalar] = field(repr=False)

    @property
    def n(self) -> int:
        """Rows of the domain."""
        return self.instance.layout.n


@dataclass(frozen=True)
class AfterColumns:
    """After round 1: columns and multiplicities as values and as blinded polynomials."""

    start: Start
    values: list[list[Scalar]] = field(repr=False)
    multiplicity_values: list[Scalar] = field(repr=False)
    polynomials: list[Polynomial] = field(repr=False)
    multiplicity_polynomial: Polynomial = field(repr=False)


@dataclass(frozen=True)
class AfterSums:
    """After round 2: helpers, accumulator, and every constraint as a polynomial that vanishes on H."""

    columns: AfterColumns
    drawn: ColumnChallenges
    positions: Polynomial = field(repr=False)
    table_helper: Polynomial = field(repr=False)
    helpers: list[Polynomial] = field(repr=False)
    accumulator: Polynomial = field(repr=False)
    constraints: list[Polynomial] = field(repr=False)


@dataclass(frozen=True)
class AfterQuotient:
    """After round 3: the quotient."""

    sums: AfterSums
    alpha: Alpha
    polynomial: Polynomial = field(repr=False)


@dataclass(frozen=True)
class AfterEvaluations:
    """After round 4: the opened values."""

    quotient: AfterQuotient
    zeta: Zeta
    message: Evaluations


def round_1(start: Start) -> tuple[Columns, AfterColumns]:
    """Round 1, columns: commit the K limb columns and the multiplicities."""
    n = start.n
    small = scalars(range(n))
    values = [[small[limb] for limb in column] for column in start.witness.columns]
    counts = scalars(start.witness.multiplicities)
    blinding = [start.randomness(COLUMN_BLINDING) for _ in values]
    count_blinding = start.randomness(MULTIPLICITY_BLINDING)
    pending = [start.key.commit_values_later(v, b) for v, b in zip(values, blinding, strict=True)]
    pending_counts = start.key.commit_values_later(counts, count_blinding)
    polynomials = [poly.blind(poly.from_values(v), n, b) for v, b in zip(values, blinding, strict=True)]
    count_polynomial = poly.blind(poly.from_values(counts), n, count_blinding)
    state = AfterColumns(start, values, counts, polynomials, count_polynomial)
    return Columns(tuple(p.result() for p in pending), pending_counts.result()), state


def column_weights(instance: Instance, claim: Claim) -> list[list[Scalar]]:
    """The vectors v_c: weight of the word times 2**(wk) on limb k, which lies in row j + kS; zero where no word is."""
    layout = instance.layout
    capacity = layout.words_per_column
    out: list[list[Scalar]] = []
    for c in range(layout.columns):
        words = claim.words[c * capacity : (c + 1) * capacity]
        words = words + [ZERO] * (capacity - len(words))
        column: list[Scalar] = []
        for scale in limb_scales(layout):
            column += map(mul, words, repeat(scale))
        out.append(column)
    return out


def round_2(state: AfterColumns, drawn: ColumnChallenges) -> tuple[Sums, AfterSums]:
    """Round 2, sums: commit the lookup helpers and the running sum of both claims."""
    start, instance, n = state.start, state.start.instance, state.start.n
    inverses = batch_inverse(list(accumulate(repeat(ONE, n - 1), initial=drawn.gamma)))  # 1 / (gamma + i)
    helper_values = [[inverses[limb] for limb in column] for column in start.witness.columns]
    helper_blinding = [start.randomness(HELPER_BLINDING) for _ in helper_values]
    pending = [start.key.commit_values_later(v, b) for v, b in zip(helper_values, helper_blinding, strict=True)]

    claim = matrix(instance.system, instance.layout).claim(drawn.beta, instance.constants)
    weights = column_weights(instance, claim)
    position_weights = claim.position_vector(n)
    terms = list(map(mul, start.positions, position_weights))
    for column, weight in zip(state.values, weights, strict=True):
        terms = [t + v * w for t, v, w in zip(terms, column, weight, strict=True)]
    table_values = list(map(mul, state.multiplicity_values, inverses))
    table_blinding = start.randomness(HELPER_BLINDING)
    pending_table = start.key.commit_values_later(table_values, table_blinding)
    lookups = [-v for v in table_values]
    for helper in helper_values:
        lookups = [a + b for a, b in zip(lookups, helper, strict=True)]
    share = claim.target * scalar(n).inverse()
    steps = [t + drawn.eta * u - share for t, u in zip(terms, lookups, strict=True)]
    running = list(accumulate(steps, initial=ZERO))
    if not running[n].is_zero():
        raise InternalError("the running sum does not close: the witness does not satisfy the system")
    accumulator_blinding = start.randomness(ACCUMULATOR_BLINDING)
    pending_sum = start.key.commit_values_later(running[:n], accumulator_blinding)

    # The rest does not wait for alpha, so it runs while the workers multiply.
    helpers = [poly.blind(poly.from_values(v), n, b) for v, b in zip(helper_values, helper_blinding, strict=True)]
    coefficients = poly.interpolate(running[:n])
    accumulator = poly.blind(poly.from_coefficients(coefficients), n, accumulator_blinding)
    rotated = poly.rotated(coefficients, n, accumulator_blinding)
    positions = poly.blind(poly.from_values(start.positions), n, start.position_blinding)
    sum_constraint = rotated - accumulator + poly.constant(share) - positions * poly.from_values(position_weights)
    for column_polynomial, weight in zip(state.polynomials, weights, strict=True):
        sum_constraint -= column_polynomial * poly.from_values(weight)
    table_helper = poly.blind(poly.from_values(table_values), n, table_blinding)
    lookup_part = table_helper
    for helper in helpers:
        lookup_part = lookup_part - helper
    sum_constraint += lookup_part * integer(drawn.eta)
    shift, one = poly.constant(drawn.gamma), poly.constant(ONE)
    lookups_hold = [h * (shift + column) - one for h, column in zip(helpers, state.polynomials, strict=True)]
    table_holds = table_helper * (shift + table_polynomial(n)) - state.multiplicity_polynomial
    constraints = [*lookups_hold, table_holds, sum_constraint]
    after = AfterSums(state, drawn, positions, table_helper, helpers, accumulator, constraints)
    return Sums(pending_table.result(), tuple(p.result() for p in pending), pending_sum.result()), after


def round_3(state: AfterSums, alpha: Alpha) -> tuple[Quotient, AfterQuotient]:
    """Round 3, quotient: join the constraints by powers of alpha, divide by Z, commit."""
    start = state.columns.start
    total = poly.constant(ZERO)
    for constraint, factor in zip(state.constraints, powers(alpha, len(state.constraints)), strict=True):
        total += constraint * integer(factor)
    quotient = poly.divide_by_vanishing(total, start.n)
    committed = start.key.commit_coefficients_split(poly.to_scalars(quotient))
    return Quotient(committed), AfterQuotient(state, alpha, quotient)


def round_4(state: AfterQuotient, zeta: Zeta) -> tuple[Evaluations, AfterEvaluations]:
    """Round 4, evaluations: open the limb columns at zeta and acc at omega zeta. Nothing else is ever opened."""
    omega = domain(state.sums.columns.start.n)[1]
    values = tuple(poly.evaluate(p, zeta) for p in state.sums.columns.polynomials)
    message = Evaluations(values, poly.evaluate(state.sums.accumulator, omega * zeta))
    return message, AfterEvaluations(state, zeta, message)


def round_5(state: AfterEvaluations, nu: Nu) -> Openings:
    """Round 5, openings: the linearisation and the columns at zeta, the accumulator at omega zeta."""
    sums = state.quotient.sums
    columns, start = sums.columns, sums.columns.start
    lin = linearise(start.instance, sums.drawn, state.quotient.alpha, state.zeta, state.message)
    terms: list[tuple[Polynomial, Scalar]] = [
        (sums.positions, lin.commitment),
        (columns.multiplicity_polynomial, lin.multiplicities),
        (sums.table_helper, lin.table_helper),
        *zip(sums.helpers, lin.helpers, strict=True),
        (sums.accumulator, lin.accumulator),
        (state.quotient.polynomial, lin.quotient),
        *zip(columns.polynomials, powers(nu, len(columns.polynomials), nu), strict=True),
    ]
    total = poly.constant(lin.constant)
    for polynomial, factor in terms:
        total += polynomial * integer(factor)
    omega_zeta = domain(start.n)[1] * state.zeta
    pending_next = start.key.commit_coefficients_later(
        poly.to_scalars(poly.divide_by_root(sums.accumulator, omega_zeta))
    )
    pending = start.key.commit_coefficients_later(poly.to_scalars(poly.divide_by_root(total, state.zeta)))
    return Openings(pending.result(), pending_next.result())
