"""What a proof claims of its commitments, as two openings: here the argument meets the polynomial commitment.

At zeta the linearisation F is zero and each limb column l_c takes its evaluation, all joined by powers of nu; at
omega zeta acc takes its evaluation. :mod:`zkmargin.verifier.kzg` joins the two by mu to the pairing equation

    e(F + sum_c nu^(c+1) (l_c - l_c(zeta) [1]) + zeta W + mu (acc - a [1] + omega zeta W'), [1]_2)
        = e(W + mu W', [tau]_2),    a = acc(omega zeta).
"""

from __future__ import annotations

from collections.abc import Callable

from py_arkworks_bls12381 import G1Point, Scalar

from zkmargin.circuits.errors import ProofRejected
from zkmargin.circuits.layout import Layout
from zkmargin.verifier.argument.instance import Instance
from zkmargin.verifier.argument.v1.challenges import replay
from zkmargin.verifier.argument.v1.encoding import decode
from zkmargin.verifier.argument.v1.linearisation import linearise
from zkmargin.verifier.argument.v1.messages import Proof
from zkmargin.verifier.field import ONE, ZERO, domain, inner, powers
from zkmargin.verifier.kzg import Equation, Opening, join
from zkmargin.verifier.srs import VerifierKey


def equation(instance: Instance, key: VerifierKey, proof: Proof) -> Equation:
    """The equation that this proof must satisfy. Raises ``ProofRejected`` on a degenerate challenge (never
    honestly).
    """
    c = replay(instance, proof, key.digest)
    values = proof.evaluations
    try:
        lin = linearise(instance, c, c.alpha, c.zeta, values)
    except ZeroDivisionError:
        raise ProofRejected("degenerate challenge", field="proof") from None
    nus = powers(c.nu, len(values.limbs), c.nu)
    # Each commitment, with its coefficient in what is opened at zeta and in what is opened at omega zeta.
    terms: list[tuple[G1Point, Scalar, Scalar]] = [
        (instance.commitment, lin.commitment, ZERO),
        (proof.columns.multiplicities, lin.multiplicities, ZERO),
        (proof.sums.table_helper, lin.table_helper, ZERO),
        *((helper, a, ZERO) for helper, a in zip(proof.sums.helpers, lin.helpers, strict=True)),
        (proof.sums.accumulator, lin.accumulator, ONE),
        (proof.quotient.quotient, lin.quotient, ZERO),
        *((limbs, nu, ZERO) for limbs, nu in zip(proof.columns.limbs, nus, strict=True)),
    ]
    commitments, at_zeta, at_next = zip(*terms, strict=True)
    omega_zeta = domain(instance.layout.n)[1] * c.zeta
    opening = Opening(at_zeta, inner(nus, values.limbs) - lin.constant, c.zeta, proof.openings.opening)
    opening_next = Opening(at_next, values.accumulator_next, omega_zeta, proof.openings.opening_next)
    return join(commitments, opening, opening_next, c.mu, key)


def read(data: bytes, layout: Layout) -> Callable[[Instance, VerifierKey], Equation]:
    """Decode a proof for this layout; what it claims of an instance comes when that is given.

    Raises ``MalformedProof`` naming the element.
    """
    proof = decode(data, layout)
    return lambda instance, key: equation(instance, key, proof)
