"""The polynomial commitment: what an opening claims, and two openings joined to one pairing equation.

Nothing here knows of limbs, sums or margins: an argument says which combinations of its commitments take which values
at which points, and this module says when that holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from py_arkworks_bls12381 import G1Point, Scalar

from zkmargin.verifier.curve import msm, pairing_product_is_one
from zkmargin.verifier.srs import VerifierKey


@dataclass(frozen=True)
class Opening:
    """The claim p(point) = value for a combination p of committed polynomials, one coefficient for each commitment.

    ``proof`` is [(p(tau) - value) / (tau - point)]_1.
    """

    coefficients: Sequence[Scalar]
    value: Scalar
    point: Scalar
    proof: G1Point


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


def join(commitments: Sequence[G1Point], first: Opening, second: Opening, mu: Scalar, key: VerifierKey) -> Equation:
    """Both openings in one equation, the second times mu:

    e(p + mu p' - (value + mu value') [1] + point W + mu point' W', [1]_2) = e(W + mu W', [tau]_2).
    """
    coefficients = [a + mu * b for a, b in zip(first.coefficients, second.coefficients, strict=True)]
    return Equation(
        [*commitments, first.proof, second.proof, key.g1],
        [*coefficients, first.point, mu * second.point, -(first.value + mu * second.value)],
        first.proof,
        second.proof,
        mu,
    )


def holds(eq: Equation, key: VerifierKey) -> bool:
    """Check one equation by two pairings."""
    left = msm(eq.left_points, eq.left_coefficients)
    right = eq.opening + eq.opening_next * eq.mu
    return pairing_product_is_one([left, -right], [key.g2, key.tau_g2])
