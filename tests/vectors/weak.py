"""Provers for the vectors that do one thing wrong, on purpose: their proofs are what a verifier must refuse.

Nothing here can be reached from the normal prove path; all randomness is the vectors' public seed, and a statement of
another hub than the vectors' is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property, lru_cache
from itertools import accumulate

from py_arkworks_bls12381 import G1Point, G2Point, Scalar

from tests.vectors.accounts import Account
from tests.vectors.seed import Stream, guard
from zkmargin.circuits.statement import Statement, bind
from zkmargin.prover import polynomial as poly
from zkmargin.prover.commitment import CommitmentKey, Opening, Randomness, commitment_key
from zkmargin.prover.polynomial import Polynomial
from zkmargin.prover.prove import prove_instance
from zkmargin.prover.rounds import column_weights
from zkmargin.prover.witness import assign, build_witness, count_multiplicities, limb_columns
from zkmargin.verifier.argument.claim import table_polynomial
from zkmargin.verifier.argument.instance import Instance
from zkmargin.verifier.argument.matrix import matrix
from zkmargin.verifier.argument.v1 import challenges
from zkmargin.verifier.argument.v1.linearisation import linearise
from zkmargin.verifier.argument.v1.messages import Columns, Evaluations, Openings, Proof, Quotient, Sums
from zkmargin.verifier.argument.v1.wire import encode
from zkmargin.verifier.curve import encode_g1
from zkmargin.verifier.field import (
    ONE,
    ZERO,
    batch_inverse,
    domain,
    encode_scalar,
    powers,
    scalar,
    scalars,
    vanishing,
)
from zkmargin.verifier.srs import Srs, VerifierKey
from zkmargin.verifier.transcript import Transcript
from zkmargin.verifier.verify import instance_of


class WeakTranscript(Transcript):
    """A transcript that leaves messages out, or answers a challenge with an earlier one."""

    def __init__(self, *, dropped: str = "", repeated: str = "") -> None:
        super().__init__()
        self._dropped, self._repeated = dropped.encode(), repeated.encode()
        self._last: Scalar | None = None

    def absorb(self, label: bytes, data: bytes) -> None:
        """Append a message, unless it is the one left out."""
        if label != self._dropped:
            super().absorb(label, data)

    def challenge(self, label: bytes) -> Scalar:
        """The challenge, or the one before it where this label repeats."""
        if label == self._repeated and self._last is not None:
            super().challenge(label)
            return self._last
        self._last = super().challenge(label)
        return self._last


@dataclass(frozen=True)
class WeakInstance(Instance):
    """An instance whose prover uses another transcript, or other public values in it."""

    make: Callable[[], Transcript]
    srs_digest: bytes | None = None
    protocol: bytes = challenges.PROTOCOL

    def transcript(self, protocol: bytes, srs_digest: bytes) -> Transcript:
        """The public messages in the right order, into whatever transcript this instance has."""
        t = self.make()
        t.absorb(b"protocol", self.protocol)
        t.absorb(b"srs", self.srs_digest or srs_digest)
        t.absorb(b"parameters", self.layout.n.to_bytes(4, "big") + self.layout.columns.to_bytes(4, "big"))
        t.absorb(b"statement", self.statement)
        t.absorb(b"system", self.system.digest)
        t.absorb(b"constants", b"".join(map(encode_scalar, self.constants)))
        t.absorb(b"commitment", encode_g1(self.commitment))
        return t


def prove_weakly(
    account: Account,
    stated: Statement,
    label: str,
    make: Callable[[], Transcript] = Transcript,
    *,
    srs_digest: bytes | None = None,
    protocol: bytes = challenges.PROTOCOL,
    key: CommitmentKey | None = None,
    digest: bytes | None = None,
) -> str:
    """An honest witness and rounds, but for the transcript or the commitment key; the proof in hex, never checked.

    ``digest`` is absorbed as the statement's.
    """
    guard(stated)
    bound = bind(stated, account.snapshot)
    plain = replace(instance_of(bound), statement=digest or stated.digest)
    weak = WeakInstance(**vars(plain), make=make, srs_digest=srs_digest, protocol=protocol)
    witness = build_witness(bound, account.snapshot, account.opening.lots)
    chosen = key or commitment_key(stated.domain)
    made = prove_instance(weak, witness, account.opening, chosen, randomness=Stream(f"weak/{label}").scalars)
    return encode(made).hex()


class KnownSrs(Srs):
    """An SRS whose tau everybody knows: under it anybody opens anything."""

    def __init__(self, n: int) -> None:
        self.tau = Stream("tau").scalars(1)[0]
        self.size = 2 * n + 16

    @cached_property
    def powers_g1(self) -> list[G1Point]:
        """[tau**k]_1."""
        return [G1Point() * t for t in powers(self.tau, self.size)]

    @lru_cache  # noqa: B019 - one instance in a generation
    def lagrange(self, n: int) -> list[G1Point]:
        """[L_i(tau)]_1."""
        h = domain(n)
        inverses = batch_inverse([self.tau - x for x in h], vanishing(n, self.tau) * scalar(n).inverse())
        return [G1Point() * (a * x) for a, x in zip(inverses, h, strict=True)]

    @cached_property
    def key(self) -> VerifierKey:
        """The verifier's part."""
        return VerifierKey(G1Point(), G2Point(), G2Point() * self.tau, self.digest)


class Lie(Enum):
    """Where a cheating prover puts what does not add up."""

    SUM = "the running sum does not close"
    HELPER = "one lookup helper is false where it closes the sum"
    TABLE_HELPER = "the table's helper is false where it closes the sum"
    LAST_EVALUATION = "acc(omega zeta) is what makes the linearisation vanish"
    COLUMN_EVALUATION = "l_0(zeta) is what makes the linearisation vanish"


@dataclass(frozen=True)
class Attempt:
    """What a cheating prover starts from: columns of any field elements, any multiplicities, all n rows of x."""

    instance: Instance
    columns: list[list[Scalar]] = field(repr=False)
    counts: list[Scalar] = field(repr=False)
    positions: list[Scalar] = field(repr=False)
    blinding: Sequence[Scalar] = field(repr=False)

    def limb(self, variable: int) -> tuple[int, int]:
        """(column, row) of the least significant limb of a variable."""
        layout = self.instance.layout
        index = sum(layout.words_of(limit) for limit in self.instance.system.limits[:variable])
        return divmod(index, layout.words_per_column)

    def with_limb(self, variable: int, value: int) -> Attempt:
        """The least significant limb of a variable replaced by any field element; it is not counted."""
        column, row = self.limb(variable)
        columns = [list(values) for values in self.columns]
        columns[column][row] = scalar(value)
        counts = list(self.counts)
        counts[0] = counts[0] - ONE  # the zero that stood there
        return replace(self, columns=columns, counts=counts)


def attempt(account: Account, stated: Statement, *, held: Opening | None = None) -> tuple[Attempt, list[int]]:
    """The best assignment for a statement, true or false, and its values; negative ones have zeros in the columns.

    ``held`` is what the words are made for, if not the account's own positions.
    """
    guard(stated)
    bound = bind(stated, account.snapshot)
    lots = (held or account.opening).lots
    z = [x + bound.delta.get(j, 0) for j, x in enumerate(lots)]
    values = assign(bound.program, z, bound.amount)
    limbs = limb_columns([max(v, 0) for v in values], bound.program.system.limits, bound.layout)
    counts = scalars(count_multiplicities(limbs, bound.layout.n))
    columns = [scalars(column) for column in limbs]
    made = Attempt(instance_of(bound), columns, counts, account.opening.values(), account.opening.blinding)
    return made, list(values)


class CheatingProver:
    """The rounds with no check in them, and a consistent transcript whatever they are given."""

    def __init__(self, made: Attempt, lie: Lie, randomness: Randomness) -> None:
        self.made, self.lie, self.draw = made, lie, randomness
        self.instance, self.n = made.instance, made.instance.layout.n
        self.key = commitment_key(self.n)
        self.positions = poly.blind(poly.from_values(made.positions), self.n, made.blinding)

    def commit(self, polynomial: Polynomial) -> G1Point:
        """A commitment by coefficients."""
        return self.key.commit_coefficients(poly.to_scalars(polynomial) or [ZERO])

    def blinded(self, values: Sequence[Scalar], count: int) -> Polynomial:
        """A column as the honest prover would blind it."""
        return poly.blind(poly.from_values(values), self.n, self.draw(count))

    def steps(self, table_helper: Sequence[Scalar], helpers: Sequence[Sequence[Scalar]]) -> list[Scalar]:
        """The terms of the running sum, row by row."""
        out = [x * u - self.share for x, u in zip(self.made.positions, self.position_weights, strict=True)]
        for column, weights in zip(self.made.columns, self.weights, strict=True):
            out = [s + v * w for s, v, w in zip(out, column, weights, strict=True)]
        for helper in helpers:
            out = [s + self.drawn.eta * h for s, h in zip(out, helper, strict=True)]
        return [s - self.drawn.eta * h for s, h in zip(out, table_helper, strict=True)]

    def quotient(self, gamma: Scalar, alpha: Scalar) -> Polynomial:
        """The joined constraints by Z; the remainder, where a constraint does not hold, is dropped."""
        h = domain(self.n)
        turned = [c * h[k % self.n] for k, c in enumerate(poly.to_scalars(self.accumulator))]
        total = poly.from_coefficients(turned) - self.accumulator + poly.constant(self.share)
        total -= self.positions * poly.from_values(self.position_weights)
        for column, weights in zip(self.columns, self.weights, strict=True):
            total -= column * poly.from_values(weights)
        lookups = self.table_helper
        for helper in self.helpers:
            lookups = lookups - helper
        total += lookups * poly.constant(self.drawn.eta)
        shift, one = poly.constant(gamma), poly.constant(ONE)
        held = [h * (shift + column) - one for h, column in zip(self.helpers, self.columns, strict=True)]
        held += [self.table_helper * (shift + table_polynomial(self.n)) - self.counts, total]
        joined = poly.constant(ZERO)
        for constraint, factor in zip(held, powers(alpha, len(held)), strict=True):
            joined += constraint * poly.constant(factor)
        return poly.divide_by_vanishing(joined, self.n)

    def linearisation(self, said: Evaluations) -> Polynomial:
        """The linearisation with these opened values."""
        lin = linearise(self.instance, self.drawn, self.alpha, self.zeta, said)
        total = poly.constant(lin.constant)
        committed = [self.positions, self.counts, self.table_helper, *self.helpers, self.accumulator, self.divided]
        factors = [lin.commitment, lin.multiplicities, lin.table_helper, *lin.helpers, lin.accumulator, lin.quotient]
        for polynomial, factor in zip(committed, factors, strict=True):
            total += polynomial * poly.constant(factor)
        return total

    def evaluations(self) -> Evaluations:
        """What is said to be l_c(zeta) and acc(omega zeta)."""
        values = tuple(poly.evaluate(column, self.zeta) for column in self.columns)
        last = poly.evaluate(self.accumulator, domain(self.n)[1] * self.zeta)

        def fault(values: tuple[Scalar, ...], last: Scalar) -> Scalar:
            return poly.evaluate(self.linearisation(Evaluations(values, last)), self.zeta)

        if self.lie is Lie.LAST_EVALUATION:
            last = root_of_affine(lambda t: fault(values, t))
        elif self.lie is Lie.COLUMN_EVALUATION:
            values = (root_of_affine(lambda t: fault((t, *values[1:]), last)), *values[1:])
        return Evaluations(values, last)

    def prove(self) -> str:
        """All rounds in order; the proof in hex."""
        made, t = self.made, challenges.begin(self.instance, self.key.srs.digest)
        self.columns = [self.blinded(column, 2) for column in made.columns]
        self.counts = self.blinded(made.counts, 1)
        columns = Columns(tuple(map(self.commit, self.columns)), self.commit(self.counts))
        self.drawn = challenges.round_1(t, columns)
        gamma = self.drawn.gamma
        claim = matrix(self.instance.system, self.instance.layout).claim(self.drawn.beta, self.instance.constants)
        self.weights, self.position_weights = column_weights(self.instance, claim), claim.position_vector(self.n)
        self.share = claim.target * scalar(self.n).inverse()
        helpers = [batch_inverse([gamma + limb for limb in column]) for column in made.columns]
        inverses = batch_inverse([gamma + entry for entry in scalars(range(self.n))])
        table_helper = [m * i for m, i in zip(made.counts, inverses, strict=True)]
        gap = sum(self.steps(table_helper, helpers), ZERO) * self.drawn.eta.inverse()
        if self.lie is Lie.HELPER:
            helpers[0][3] = helpers[0][3] - gap
        elif self.lie is Lie.TABLE_HELPER:
            table_helper[3] = table_helper[3] + gap
        self.helpers = [self.blinded(values, 1) for values in helpers]
        self.table_helper = self.blinded(table_helper, 1)
        running = list(accumulate(self.steps(table_helper, helpers), initial=ZERO))[: self.n]
        self.accumulator = self.blinded(running, 3)
        summed = tuple(map(self.commit, self.helpers))
        sums = Sums(self.commit(self.table_helper), summed, self.commit(self.accumulator))
        self.alpha = challenges.round_2(t, sums)
        self.divided = self.quotient(gamma, self.alpha)
        quotient = Quotient(self.commit(self.divided))
        self.zeta = challenges.round_3(t, quotient)
        said = self.evaluations()
        nu = challenges.round_4(t, said)
        total = self.linearisation(said)
        for column, factor in zip(self.columns, powers(nu, len(self.columns), nu), strict=True):
            total += column * poly.constant(factor)
        opening = self.commit(poly.divide_by_root(total, self.zeta))
        opening_next = self.commit(poly.divide_by_root(self.accumulator, domain(self.n)[1] * self.zeta))
        openings = Openings(opening, opening_next)
        return encode(Proof(self.instance.layout, columns, sums, quotient, said, openings)).hex()


def root_of_affine(f: Callable[[Scalar], Scalar]) -> Scalar:
    """t with f(t) = 0, for f(t) = a + b t."""
    at_zero, at_one = f(ZERO), f(ONE)
    return at_zero * (at_zero - at_one).inverse()
