"""Verify one proof or many. ``verify`` raises; it never answers False.

Order of checks: shape of the proof, statement against snapshot, times, elements of the proof, the pairing equation.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from py_arkworks_bls12381 import G1Point, Scalar

from zkmargin.circuits.errors import ProofRejected, ZkMarginError
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import BoundStatement, Statement, bind
from zkmargin.verifier.argument.instance import Instance
from zkmargin.verifier.argument.versions import version_of
from zkmargin.verifier.curve import decode_g1, msm, pairing_product_is_one
from zkmargin.verifier.facts.attestation import Attestation, check_attested
from zkmargin.verifier.field import ZERO, scalar, scalars
from zkmargin.verifier.kzg import Equation, holds
from zkmargin.verifier.srs import VerifierKey, ethereum

#: Batch weights: a false proof survives a batch with probability 2**-128.
BATCH_WEIGHT_BITS = 128


@dataclass(frozen=True)
class Item:
    """One proof to verify in a batch. ``now`` in Unix seconds, or None to leave times unchecked."""

    statement: Statement
    snapshot: Snapshot
    proof: bytes
    now: int | None = None


def instance_of(bound: BoundStatement) -> Instance:
    """The algebraic instance of a statement: decodes its commitment (``MalformedInput`` when it is no proper point)."""
    statement = bound.statement
    commitment = decode_g1(statement.commitment, field="statement.commitment")
    return Instance(bound.layout, bound.program.system, scalars(bound.constants), commitment, statement.digest)


def prepare(item: Item, key: VerifierKey) -> Equation:
    """All checks but the pairing; raises the typed error of the first that fails."""
    version = version_of(item.proof)
    bound = bind(item.statement, item.snapshot)
    if item.now is not None:
        item.statement.check_time(item.snapshot, item.now)
    equation = version.read(item.proof, bound.layout)
    return equation(instance_of(bound), key)


def verify(
    statement: Statement,
    snapshot: Snapshot,
    proof: bytes,
    *,
    now: int | None = None,
    key: VerifierKey | None = None,
) -> None:
    """Verify that ``proof`` proves ``statement`` on ``snapshot``. Returns nothing; raises a ``ZkMarginError``.

    ``now`` is the verifier's own clock in Unix seconds; without it times are left to the caller. The statement, the
    snapshot and ``now`` are the verifier's: never take them from the prover unchecked. ``MalformedInput``,
    ``StatementMismatch``, ``StaleStatement`` and ``ProofRejected`` say what failed and whose fault it is.
    """
    key = key or ethereum().key
    if not holds(prepare(Item(statement, snapshot, proof, now), key), key):
        raise ProofRejected("the opening equation does not hold", field="proof")


def verify_account(
    statement: Statement,
    snapshot: Snapshot,
    proof: bytes,
    attestation: Attestation,
    *,
    now: int,
    key: VerifierKey | None = None,
) -> None:
    """What a venue wants: :func:`verify`, and that the commitment is the account's by the hub's attestation.

    The two belong together: a commitment means a portfolio only on the domain and the registry that the hub attested.
    """
    check_attested(statement, snapshot, attestation, now=now)
    verify(statement, snapshot, proof, now=now, key=key)


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


def _bisect(indexed: Sequence[tuple[int, Equation]], key: VerifierKey, results: list[ZkMarginError | None]) -> None:
    if not indexed:
        return
    if len(indexed) == 1:
        index, eq = indexed[0]
        if not holds(eq, key):
            results[index] = ProofRejected("the opening equation does not hold", field=f"proofs.{index}")
        return
    if _batch_holds([eq for _, eq in indexed], key):
        return
    middle = len(indexed) // 2
    _bisect(indexed[:middle], key, results)
    _bisect(indexed[middle:], key, results)


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
    _bisect(indexed, key, results)
    return results
