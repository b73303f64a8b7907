"""The argument: replay the rounds from the proof to recompute every challenge, then state the opening equation.

Notation and round names are those of docs/SPEC.md. The verifier's whole check is one pairing equation,

    e(F + zeta W + mu (acc - a [1] + omega zeta W'), [1]_2) = e(W + mu W', [tau]_2),

with F the linearisation (zero at zeta) plus the nu-weighted openings of the limb columns, a = acc(omega zeta), and W,
W' the opening proofs at zeta and at omega zeta.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from py_arkworks_bls12381 import G1Point, Scalar

from zkmargin.circuits.errors import ProofRejected
from zkmargin.circuits.layout import Layout
from zkmargin.circuits.system import LinearSystem
from zkmargin.verifier.claim import Claim, matrix, table_at, word_weights
from zkmargin.verifier.curve import encode_g1, msm, pairing_product_is_one
from zkmargin.verifier.field import ZERO, domain, encode_scalar, inner, powers, scalar, vanishing
from zkmargin.verifier.proof import Proof
from zkmargin.verifier.srs import VerifierKey
from zkmargin.verifier.transcript import Transcript

PROTOCOL = b"zkmargin/argument/1"


@dataclass(frozen=True)
class Instance:
    """What is proved, without its meaning: a bound linear system about one committed position vector.

    ``statement`` is the 32-byte digest of the canonical statement, ``constants`` the right-hand sides c_i.
    """

    layout: Layout
    system: LinearSystem
    constants: Sequence[Scalar]
    commitment: G1Point
    statement: bytes

    def transcript(self, srs_digest: bytes) -> Transcript:
        """A transcript that has absorbed everything public."""
        t = Transcript()
        t.absorb(b"protocol", PROTOCOL)
        t.absorb(b"srs", srs_digest)
        t.absorb(b"parameters", self.layout.n.to_bytes(4, "big") + self.layout.columns.to_bytes(4, "big"))
        t.absorb(b"statement", self.statement)
        t.absorb(b"system", self.system.digest)
        t.absorb(b"constants", b"".join(map(encode_scalar, self.constants)))
        t.absorb(b"commitment", encode_g1(self.commitment))
        return t


@dataclass(frozen=True)
class Challenges:
    """All challenges in the order of their rounds."""

    gamma: Scalar
    beta: Scalar
    eta: Scalar
    alpha: Scalar
    zeta: Scalar
    nu: Scalar
    mu: Scalar


def round_1(t: Transcript, columns: Sequence[G1Point], multiplicities: G1Point) -> tuple[Scalar, Scalar, Scalar]:
    """Round 1, columns: absorbs limb columns and multiplicities; gives gamma (lookup), beta (rows), eta (joining)."""
    t.absorb_points(b"columns", columns)
    t.absorb_point(b"multiplicities", multiplicities)
    return t.challenge(b"gamma"), t.challenge(b"beta"), t.challenge(b"eta")


def round_2(t: Transcript, table_helper: G1Point, helpers: Sequence[G1Point], accumulator: G1Point) -> Scalar:
    """Round 2, sums: absorbs the lookup helpers and the accumulator of the running sum; gives alpha (constraints)."""
    t.absorb_point(b"table-helper", table_helper)
    t.absorb_points(b"helpers", helpers)
    t.absorb_point(b"accumulator", accumulator)
    return t.challenge(b"alpha")


def round_3(t: Transcript, quotient: G1Point) -> Scalar:
    """Round 3, quotient: absorbs the quotient; gives zeta (evaluation point)."""
    t.absorb_point(b"quotient", quotient)
    return t.challenge(b"zeta")


def round_4(t: Transcript, evaluations: Sequence[Scalar], accumulator_next: Scalar) -> Scalar:
    """Round 4, evaluations: absorbs l_c(zeta) and acc(omega zeta); gives nu (batching of openings at zeta)."""
    t.absorb_scalars(b"evaluations", evaluations)
    t.absorb_scalars(b"accumulator-next", [accumulator_next])
    return t.challenge(b"nu")


def round_5(t: Transcript, opening: G1Point, opening_next: G1Point) -> Scalar:
    """Round 5, openings: absorbs both opening proofs; gives mu (joining of the two points)."""
    t.absorb_point(b"opening", opening)
    t.absorb_point(b"opening-next", opening_next)
    return t.challenge(b"mu")


def replay(instance: Instance, proof: Proof, srs_digest: bytes) -> Challenges:
    """Replay the protocol from the proof to recompute the challenges."""
    t = instance.transcript(srs_digest)
    gamma, beta, eta = round_1(t, proof.columns, proof.multiplicities)
    alpha = round_2(t, proof.table_helper, proof.helpers, proof.accumulator)
    zeta = round_3(t, proof.quotient)
    nu = round_4(t, proof.evaluations, proof.accumulator_next)
    mu = round_5(t, proof.opening, proof.opening_next)
    return Challenges(gamma, beta, eta, alpha, zeta, nu, mu)


@dataclass(frozen=True)
class PublicEvaluations:
    """The public vectors, interpolated on H, at zeta: v_c for each column, u for the positions, t for the table."""

    columns: tuple[Scalar, ...]
    positions: Scalar
    table: Scalar


def evaluate_public(layout: Layout, claim: Claim, zeta: Scalar) -> PublicEvaluations:
    """v_c(zeta), u(zeta) and t(zeta). Raises ``ZeroDivisionError`` on a degenerate challenge."""
    per_word = word_weights(layout, zeta)
    capacity = layout.words_per_column
    columns = tuple(inner(claim.words[c * capacity : (c + 1) * capacity], per_word) for c in range(layout.columns))
    return PublicEvaluations(columns, claim.evaluate_positions(layout.n, zeta), table_at(layout.n, zeta))


@dataclass(frozen=True)
class Linearisation:
    """Coefficients of the linearisation polynomial on the committed polynomials, and its constant term."""

    commitment: Scalar
    multiplicities: Scalar
    table_helper: Scalar
    helpers: list[Scalar]
    accumulator: Scalar
    quotient: Scalar
    constant: Scalar


def linearise(
    instance: Instance, c: Challenges, evaluations: Sequence[Scalar], accumulator_next: Scalar
) -> Linearisation:
    """The linearisation at zeta of the constraints, weighted by powers of alpha, minus Z(zeta) times the quotient.

    ``evaluations[c]`` is l_c(zeta), ``accumulator_next`` is acc(omega zeta). The constraints on H are, for each
    column c,

        h_c (gamma + l_c) = 1,   and once   h_T (gamma + t) = m                                     (lookup), and
        acc(omega X) - acc(X) = sum_c l_c v_c + x u + eta (sum_c h_c - h_T) - target/n              (running sum),

    with h_T the table helper and t(omega**i) = i.
    """
    layout = instance.layout
    claim = matrix(instance.system, layout).claim(c.beta, instance.constants)
    public = evaluate_public(layout, claim, c.zeta)
    *alphas, table, join = powers(c.alpha, layout.columns + 2)
    total = inner(evaluations, public.columns) - claim.target * scalar(layout.n).inverse()
    return Linearisation(
        commitment=-(join * public.positions),
        multiplicities=-table,
        table_helper=table * (c.gamma + public.table) + join * c.eta,
        helpers=[a * (c.gamma + value) - join * c.eta for a, value in zip(alphas, evaluations, strict=True)],
        accumulator=-join,
        quotient=-vanishing(layout.n, c.zeta),
        constant=join * (accumulator_next - total) - sum(alphas, ZERO),
    )


@dataclass(frozen=True)
class Equation:
    """The pairing equation of one proof, e(left, [1]_2) = e(right, [tau]_2), both sides as sums not yet computed.

    The last term of ``left`` is on the generator [1]_1, so that a batch can share it.
    """

    left_points: list[G1Point]
    left_coefficients: list[Scalar]
    opening: G1Point
    opening_next: G1Point
    mu: Scalar


def equation(instance: Instance, key: VerifierKey, proof: Proof) -> Equation:
    """The equation that this proof must satisfy. Raises ``ProofRejected`` on a degenerate challenge (never
    honestly).
    """
    c = replay(instance, proof, key.digest)
    try:
        lin = linearise(instance, c, proof.evaluations, proof.accumulator_next)
    except ZeroDivisionError:
        raise ProofRejected("degenerate challenge", field="proof") from None
    nus = powers(c.nu, len(proof.columns), c.nu)
    omega_zeta = domain(instance.layout.n)[1] * c.zeta
    generator = lin.constant - inner(nus, proof.evaluations) - c.mu * proof.accumulator_next
    terms: list[tuple[G1Point, Scalar]] = [
        (instance.commitment, lin.commitment),
        (proof.multiplicities, lin.multiplicities),
        (proof.table_helper, lin.table_helper),
        *zip(proof.helpers, lin.helpers, strict=True),
        (proof.accumulator, lin.accumulator + c.mu),
        (proof.quotient, lin.quotient),
        *zip(proof.columns, nus, strict=True),
        (proof.opening, c.zeta),
        (proof.opening_next, c.mu * omega_zeta),
        (key.g1, generator),
    ]
    return Equation([p for p, _ in terms], [a for _, a in terms], proof.opening, proof.opening_next, c.mu)


def holds(eq: Equation, key: VerifierKey) -> bool:
    """Check one equation by two pairings."""
    left = msm(eq.left_points, eq.left_coefficients)
    right = eq.opening + eq.opening_next * eq.mu
    return pairing_product_is_one([left, -right], [key.g2, key.tau_g2])
