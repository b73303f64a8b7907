"""The hub's signed fact: this commitment is this account's portfolio in this epoch.

A JWS (RFC 7515, compact, EdDSA) over the RFC 8785 bytes of the payload. Algorithm and type are pinned: a token does
not get to choose how it is checked. Signing lives with the hub, in ``service``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StringConstraints

from zkmargin.circuits import canonical
from zkmargin.circuits.errors import MalformedInput, StaleStatement, StatementMismatch
from zkmargin.circuits.schema import Hex32, Hex48, Name, Strict, Time, dump, load
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import CLOCK_SKEW, Statement
from zkmargin.verifier.facts.jws import ALGORITHM, open_token

__all__ = ["ALGORITHM", "TOKEN_TYPE", "Attestation", "check_attested", "load_public_key", "verify_attestation"]

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

TOKEN_TYPE = "zkmargin-attestation+jws"  # noqa: S105 - a media type, no secret


class AttestationPayloadModel(Strict):
    """The signed fact: this commitment is this account's portfolio in this epoch."""

    schema_: Literal["zkmargin/attestation/1"] = Field(alias="schema")
    hub: Name
    account: Name
    epoch: Annotated[int, Field(ge=0, le=2**53 - 1)]
    commitment: Hex48
    domain: Literal[256, 512, 1024, 2048]
    registry: Hex32
    time: Time


class AttestationModel(Strict):
    """``zkmargin/attestation/1``: JWS compact serialisation (EdDSA) over the canonical payload."""

    schema_: Literal["zkmargin/attestation/1"] = Field(alias="schema")
    jws: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$", max_length=8192)]


@dataclass(frozen=True)
class Attestation:
    """A verified attestation."""

    hub: str
    account: str
    epoch: int
    commitment: bytes
    domain: int
    registry: bytes
    time: int

    def payload(self) -> bytes:
        """RFC 8785 bytes that the hub signs."""
        model = AttestationPayloadModel(
            schema="zkmargin/attestation/1",
            hub=self.hub,
            account=self.account,
            epoch=self.epoch,
            commitment=self.commitment.hex(),
            domain=self.domain,  # type: ignore[arg-type] # pydantic checks the value
            registry=self.registry.hex(),
            time=self.time,
        )
        return canonical.canonical_bytes(dump(model))


def load_public_key(pem: bytes) -> Ed25519PublicKey:
    """An Ed25519 public key from PEM (SubjectPublicKeyInfo)."""
    from cryptography.exceptions import InternalError, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm, InternalError):  # the last: OpenSSL refuses the key's bytes
        raise MalformedInput("not a PEM public key", field="hub-key") from None
    if not isinstance(key, Ed25519PublicKey):
        raise MalformedInput("not an Ed25519 public key", field="hub-key")
    return key


def verify_attestation(data: bytes, key: Ed25519PublicKey) -> Attestation:
    """Parse an attestation document and check its signature under the hub's key.

    Raises ``MalformedInput`` for bytes of another form, ``SignatureRejected`` for a wrong signature.
    """
    token = load(AttestationModel, data, name="attestation").jws
    payload = open_token(token, key, TOKEN_TYPE, field="attestation.jws")
    model = load(AttestationPayloadModel, payload, name="attestation.payload")
    attestation = Attestation(
        model.hub, model.account, model.epoch, bytes.fromhex(model.commitment), model.domain,
        bytes.fromhex(model.registry), model.time,
    )  # fmt: skip
    if attestation.payload() != payload:
        raise MalformedInput("payload is not in canonical form", field="attestation.payload")
    return attestation


def check_attested(
    statement: Statement, snapshot: Snapshot, attestation: Attestation, *, now: int | None = None
) -> None:
    """Check that a statement speaks of exactly what the hub attested; ``StatementMismatch`` names the field.

    The proof alone shows that *some* commitment is solvent; this is what makes it the account's.
    """
    context = statement.context
    pairs: list[tuple[str, object, object]] = [
        ("context.hub", context.hub, attestation.hub),
        ("context.account", context.account, attestation.account),
        ("context.epoch", context.epoch, attestation.epoch),
        ("commitment", statement.commitment, attestation.commitment),
        ("domain", statement.domain, attestation.domain),
    ]
    for name, stated, attested in pairs:
        if stated != attested:
            raise StatementMismatch("differs from the hub's attestation", field=f"statement.{name}")
    if attestation.registry != snapshot.registry_digest:
        raise StatementMismatch("the attested positions are rows of another registry", field="attestation.registry")
    if now is not None and attestation.time > now + CLOCK_SKEW:
        raise StaleStatement("the attestation is from the future", field="attestation.time")
