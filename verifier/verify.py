"""Verify one proof or many. ``verify`` raises; it never answers False.

Each check of a proof is written once, in :data:`PROOF_CHECKS`; the pairing comes last, one for many proofs. What is
checked besides of the documents around a proof, and in which order, says :mod:`zkmargin.verifier.verdict`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from py_arkworks_bls12381 import G1Point, Scalar

from zkmargin.circuits.errors import ProofRejected, ZkMarginError
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import BoundStatement, Statement, bind
from zkmargin.verifier.argument.instance import Instance
from zkmargin.verifier.argument.versions import Version, version_of
from zkmargin.verifier.curve import decode_g1, msm, pairing_product_is_one
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


@dataclass(frozen=True)
class Task:
    """One proof to check, and what its checks come to, each worked out once."""

    item: Item
    key: VerifierKey

    @cached_property
    def version(self) -> Version:
        """The version of the argument that reads the proof; ``MalformedProof`` for a wrong header."""
        return version_of(self.item.proof)

    @cached_property
    def bound(self) -> BoundStatement:
        """The statement joined with its snapshot; raises what ``bind`` raises."""
        return bind(self.item.statement, self.item.snapshot)

    @cached_property
    def equation(self) -> Equation:
        """The equation that the proof must satisfy; ``MalformedProof``, ``MalformedInput`` or ``ProofRejected``."""
        return self.version.read(self.item.proof, self.bound.layout)(instance_of(self.bound), self.key)


def _header(task: Task) -> bool:
    return task.version is not None


def _binding(task: Task) -> bool:
    return task.bound is not None


def _statement_time(task: Task) -> bool:
    item = task.item
    if item.now is None:
        return False
    item.statement.check_time(item.snapshot, item.now)
    return True


def _elements(task: Task) -> bool:
    return task.equation is not None


#: The checks of a proof before its pairing, in the order of docs/SPEC.md, "Verification". Each raises the typed error
#: of what it finds; False says that it had nothing to check.
PROOF_CHECKS: Mapping[str, Callable[[Task], bool]] = MappingProxyType(
    {"proof_header": _header, "binding": _binding, "statement_time": _statement_time, "elements": _elements}
)
#: The check that is made last.
PAIRING = "pairing"


def prepare(item: Item, key: VerifierKey) -> Equation:
    """All checks but the pairing; raises the typed error of the first that fails."""
    task = Task(item, key)
    for check in PROOF_CHECKS.values():
        check(task)
    return task.equation


def check_pairing(eq: Equation, key: VerifierKey) -> None:
    """Raise ``ProofRejected`` unless one equation holds."""
    if not holds(eq, key):
        raise ProofRejected("the opening equation does not hold", field="proof")


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
    check_pairing(prepare(Item(statement, snapshot, proof, now), key), key)


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
