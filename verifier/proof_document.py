"""A proof document (docs/FILES.md, "Proof"): which statement it names, and the proof's bytes."""

from __future__ import annotations

from dataclasses import dataclass, field

from zkmargin.circuits.errors import MalformedInput, StatementMismatch
from zkmargin.circuits.schema import ProofModel, load
from zkmargin.circuits.statement import Statement


@dataclass(frozen=True)
class ProofDocument:
    """A proof document's content: the digest of the statement that it names, and the proof's bytes."""

    statement: bytes
    proof: bytes = field(repr=False)

    @classmethod
    def from_model(cls, model: ProofModel, statement: Statement) -> ProofDocument:
        """From a validated document; its proof is read only where it is about ``statement``, else left empty.

        Raises ``MalformedInput`` for an odd number of hex digits.
        """
        if model.statement != statement.digest.hex():
            return cls(bytes.fromhex(model.statement), b"")
        if len(model.proof) % 2:
            raise MalformedInput("odd number of hex digits", field="proof.proof")
        return cls(statement.digest, bytes.fromhex(model.proof))

    @classmethod
    def from_bytes(cls, data: bytes, statement: Statement) -> ProofDocument:
        """Parse a proof document; ``MalformedInput`` names the field."""
        return cls.from_model(load(ProofModel, data, name="proof"), statement)

    def check_about(self, statement: Statement) -> None:
        """Raise ``StatementMismatch`` where the document is about another statement."""
        if self.statement != statement.digest:
            raise StatementMismatch("the proof document names another statement", field="proof.statement")
