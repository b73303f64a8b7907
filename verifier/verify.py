"""Verify a proof. ``verify`` raises; it never answers False.

Each check of a proof is written once, in :data:`PROOF_CHECKS`; the pairing comes last, one for many proofs in
:mod:`zkmargin.verifier.batch`. What is checked besides of the documents around a proof, and in which order, says
:mod:`zkmargin.verifier.verdict`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from zkmargin.circuits.errors import ProofRejected
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import BoundStatement, Statement, bind
from zkmargin.verifier.argument.instance import Instance
from zkmargin.verifier.argument.versions import Version, version_of
from zkmargin.verifier.curve import decode_g1
from zkmargin.verifier.field import scalars
from zkmargin.verifier.kzg import Equation, holds
from zkmargin.verifier.srs import VerifierKey, ethereum


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
