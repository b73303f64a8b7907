"""Many proofs with one pairing: a random combination of their equations, and bisection for the false ones."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from py_arkworks_bls12381 import G1Point, Scalar

from zkmargin.circuits.errors import ProofRejected, ZkMarginError
from zkmargin.verifier.curve import msm, pairing_product_is_one
from zkmargin.verifier.field import ZERO, scalar
from zkmargin.verifier.kzg import Equation, holds
from zkmargin.verifier.srs import VerifierKey, ethereum
from zkmargin.verifier.verify import Item, prepare

#: Batch weights: a false proof survives a batch with probability 2**-128.
BATCH_WEIGHT_BITS = 128


def _batch_holds(equations: Sequence[Equation], key: VerifierKey) -> bool:
    """One multi-scalar multiplication for each side and one pairing product for all equations.

    The weights are drawn here, after all proofs are fixed, from the operating system's generator.
    """
    weights = [scalar(secrets.randbelow((1 << BATCH_WEIGHT_BITS) - 1) + 1) for _ in equations]
    generator = ZERO
    points: list[G1Point] = []
    coefficients: list[Scalar] = []
    right_points: list[G1Point] = []
    right_coefficients: list[Scalar] = []
    for weight, eq in zip(weights, equations, strict=True):
        generator = generator + weight * eq.left_coefficients[-1]
        points += eq.left_points[:-1]
        coefficients += [weight * a for a in eq.left_coefficients[:-1]]
        right_points += [eq.opening, eq.opening_next]
        right_coefficients += [weight, weight * eq.mu]
    left = msm([*points, key.g1], [*coefficients, generator])
    right = msm(right_points, right_coefficients)
    return pairing_product_is_one([left, -right], [key.g2, key.tau_g2])


def _bisect(indexed: Sequence[tuple[int, Equation]], key: VerifierKey, rejected: dict[int, ProofRejected]) -> None:
    if not indexed:
        return
    if len(indexed) == 1:
        index, eq = indexed[0]
        if not holds(eq, key):
            rejected[index] = ProofRejected("the opening equation does not hold", field=f"proofs.{index}")
        return
    if _batch_holds([eq for _, eq in indexed], key):
        return
    middle = len(indexed) // 2
    _bisect(indexed[:middle], key, rejected)
    _bisect(indexed[middle:], key, rejected)


def check_pairings(indexed: Sequence[tuple[int, Equation]], key: VerifierKey) -> dict[int, ProofRejected]:
    """One pairing for many equations, each with its place: the places of those that do not hold, with their errors.

    Sound up to 2**-128 for each combined check; bad proofs are found by bisection.
    """
    rejected: dict[int, ProofRejected] = {}
    _bisect(indexed, key, rejected)
    return rejected


def verify_batch(items: Sequence[Item], *, key: VerifierKey | None = None) -> list[ZkMarginError | None]:
    """Verify many proofs at once. Entry i of the answer is None where proof i holds, else its typed error.

    Sound up to 2**-128 for each combined check; bad proofs are found by bisection.
    """
    key = key or ethereum().key
    results: list[ZkMarginError | None] = [None] * len(items)
    indexed: list[tuple[int, Equation]] = []
    for i, item in enumerate(items):
        try:
            indexed.append((i, prepare(item, key)))
        except ZkMarginError as err:
            results[i] = err
    for i, rejected in check_pairings(indexed, key).items():
        results[i] = rejected
    return results
