"""The oracle's signed fact: this digest is the snapshot of this time, in force until then.

A JWS over the RFC 8785 bytes of the payload, next to the snapshot and never inside it, because a snapshot is named by
its digest. Signing lives with the oracle, in ``service``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StringConstraints

from zkmargin.circuits import canonical
from zkmargin.circuits.errors import MalformedInput, StaleStatement, StatementMismatch
from zkmargin.circuits.schema import Hex32, Name, Strict, Time, dump, load
from zkmargin.circuits.statement import CLOCK_SKEW
from zkmargin.verifier.facts.jws import open_token

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from zkmargin.circuits.snapshot import Snapshot

SCHEMA = "zkmargin/signed-snapshot/1"
TOKEN_TYPE = "zkmargin-snapshot+jws"  # noqa: S105 - a media type, no secret


class SignedSnapshotModel(Strict):
    """``zkmargin/signed-snapshot/1``: JWS compact serialisation (EdDSA) over the canonical payload."""

    schema_: Literal["zkmargin/signed-snapshot/1"] = Field(alias="schema")
    jws: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$", max_length=8192)]


class SignedSnapshotPayloadModel(Strict):
    """What the oracle signs; ``valid_until`` is the last second in which the snapshot is in force."""

    schema_: Literal["zkmargin/signed-snapshot/1"] = Field(alias="schema")
    oracle: Name
    snapshot: Hex32
    time: Time
    valid_until: Time


@dataclass(frozen=True)
class SnapshotSignature:
    """A verified signature; times in Unix seconds."""

    oracle: str
    snapshot: bytes
    time: int
    valid_until: int

    def payload(self) -> bytes:
        """RFC 8785 bytes that the oracle signs."""
        model = SignedSnapshotPayloadModel(
            schema="zkmargin/signed-snapshot/1",
            oracle=self.oracle,
            snapshot=self.snapshot.hex(),
            time=self.time,
            valid_until=self.valid_until,
        )
        return canonical.canonical_bytes(dump(model))

    def in_force(self, now: int) -> bool:
        """Whether the snapshot may still be used at ``now``, up to the clocks' skew before its time."""
        return self.time - CLOCK_SKEW <= now <= self.valid_until

    def check_in_force(self, now: int) -> None:
        """Raise ``StaleStatement`` where the snapshot may not be used at ``now``."""
        if not self.in_force(now):
            when = "not in force yet" if now < self.time else "no longer in force"
            raise StaleStatement(f"the snapshot is {when}", field="signed-snapshot.payload.valid_until")


def verify_snapshot_signature(
    data: bytes, snapshot: Snapshot, key: Ed25519PublicKey, *, now: int | None = None
) -> SnapshotSignature:
    """Check that an oracle signed exactly this snapshot and, with ``now``, that it is in force.

    Raises ``MalformedInput`` for bytes of another form, ``SignatureRejected`` for a wrong signature,
    ``StatementMismatch`` for a signature of another snapshot, ``StaleStatement`` outside its time.
    """
    token = load(SignedSnapshotModel, data, name="signed-snapshot").jws
    payload = open_token(token, key, TOKEN_TYPE, field="signed-snapshot.jws")
    model = load(SignedSnapshotPayloadModel, payload, name="signed-snapshot.payload")
    signed = SnapshotSignature(model.oracle, bytes.fromhex(model.snapshot), model.time, model.valid_until)
    if signed.payload() != payload:
        raise MalformedInput("payload is not in canonical form", field="signed-snapshot.payload")
    if signed.snapshot != snapshot.digest:
        raise StatementMismatch("signed another snapshot", field="signed-snapshot.payload.snapshot")
    if signed.time != snapshot.time:
        raise StatementMismatch("differs from the snapshot's time", field="signed-snapshot.payload.time")
    if now is not None:
        signed.check_in_force(now)
    return signed
