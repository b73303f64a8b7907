"""Typed errors. Each says whose fault it is, names the field, and carries a stable code.

``code`` is the machine-readable name (used in ``--json`` output), ``exit_code`` what the command line returns. No
message may contain a position, a blinding or a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: A document may be wrong in a thousand places; so many are told at once.
MAX_FAULTS = 20


class ZkMarginError(Exception):
    """Base of every error that this project raises on purpose."""

    code = "error"
    exit_code = 1

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by members: constructors of subclasses take more than a message, and errors cross processes."""
        return _restore, (type(self), self.args, dict(vars(self)))

    def to_json(self) -> dict[str, str]:
        """The error as a flat JSON object: ``code``, ``message`` and, where known, ``field``."""
        out = {"code": self.code, "message": self.message}
        if self.field:
            out["field"] = self.field
        return out


def _restore(kind: type[ZkMarginError], args: tuple[Any, ...], members: dict[str, Any]) -> ZkMarginError:
    error = kind.__new__(kind, *args)
    vars(error).update(members)
    return error


class MalformedInput(ZkMarginError):
    """Bytes or JSON that are not of the documented form. The sender's fault.

    ``more`` are the other faults of the same document, as (field, message), at most ``MAX_FAULTS`` with this one.
    """

    code = "malformed-input"
    exit_code = 3

    def __init__(self, message: str, *, field: str | None = None, more: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message, field=field)
        self.more = tuple(more[: MAX_FAULTS - 1])

    def to_json(self) -> dict[str, Any]:
        """The error as JSON; where there are several faults, ``faults`` has them all."""
        out: dict[str, Any] = dict(super().to_json())
        if self.more:
            faults = [(self.field or "", self.message), *self.more]
            out["faults"] = [{"field": field, "message": message} for field, message in faults]
        return out

    @classmethod
    def raise_all(cls, faults: Sequence[MalformedInput]) -> None:
        """Raise the first of several faults with the others in it; nothing where there is none."""
        if faults:
            first, *others = faults
            more = [*first.more, *((other.field or "", other.message) for other in others)]
            raise cls(first.message, field=first.field, more=more)


class MalformedProof(MalformedInput):
    """Proof bytes of a wrong length, version, or with a non-canonical element. The sender's fault."""

    code = "malformed-proof"


class StatementMismatch(ZkMarginError):
    """Well-formed parts that do not belong together (other snapshot, other commitment, unknown rule)."""

    code = "statement-mismatch"
    exit_code = 4


class StaleStatement(ZkMarginError):
    """The statement, snapshot or attestation is outside its time of validity."""

    code = "stale-statement"
    exit_code = 5


class ProofRejected(ZkMarginError):
    """The proof is well formed and its equation does not hold: nothing is proved."""

    code = "proof-rejected"
    exit_code = 6


class SignatureRejected(ZkMarginError):
    """An attestation whose signature does not verify under the given key."""

    code = "signature-rejected"
    exit_code = 6


class RuleRefused(ZkMarginError):
    """A margin rule that is not provable in its class; ``field`` names the offending term."""

    code = "rule-refused"
    exit_code = 7


class SystemTooLarge(ZkMarginError):
    """A system whose integers could wrap modulo the field order, or that fits no supported (n, K)."""

    code = "system-too-large"
    exit_code = 7


class CorruptData(ZkMarginError):
    """A data file of the installation (SRS, Lagrange basis) whose digest is not the pinned one."""

    code = "corrupt-data"
    exit_code = 9


class MissingExtra(ZkMarginError):
    """An optional part of the distribution is not installed; the message says which extra to install."""

    code = "missing-extra"
    exit_code = 14


class InternalError(ZkMarginError):
    """Our bug: an invariant of this program failed."""

    code = "internal-error"
    exit_code = 70
