"""The holder's signed consent: this account's key authorises what this statement is for.

A proof shows that an account *could*; the hub books nothing that its key did not sign. A JWS over the RFC 8785 bytes of
the payload; signing lives with the holder, in ``service``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from zkmargin.circuits import canonical
from zkmargin.circuits.errors import MalformedInput, StaleStatement, StatementMismatch
from zkmargin.circuits.schema import Hex32, Name, Strict, Time, dump
from zkmargin.circuits.statement import CLOCK_SKEW, Statement
from zkmargin.verifier.facts.jws import Token, open_document

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SCHEMA = "zkmargin/authorisation/1"
TOKEN_TYPE = "zkmargin-authorisation+jws"  # noqa: S105 - a media type, no secret


class AuthorisationModel(Strict):
    """``zkmargin/authorisation/1``: JWS compact serialisation (EdDSA) over the canonical payload."""

    schema_: Literal["zkmargin/authorisation/1"] = Field(alias="schema")
    jws: Token


class AuthorisationPayloadModel(Strict):
    """What the account's key signs: the digest of the statement, whose purpose is what is authorised."""

    schema_: Literal["zkmargin/authorisation/1"] = Field(alias="schema")
    hub: Name
    account: Name
    statement: Hex32
    time: Time


@dataclass(frozen=True)
class Authorisation:
    """A verified authorisation; ``statement`` is a digest, ``time`` of signing in Unix seconds."""

    hub: str
    account: str
    statement: bytes
    time: int

    def payload(self) -> bytes:
        """RFC 8785 bytes that the account's key signs."""
        model = AuthorisationPayloadModel(
            schema="zkmargin/authorisation/1",
            hub=self.hub,
            account=self.account,
            statement=self.statement.hex(),
            time=self.time,
        )
        return canonical.canonical_bytes(dump(model))


def verify_authorisation(data: bytes, key: Ed25519PublicKey) -> Authorisation:
    """Parse an authorisation and check its signature under a key of the account.

    Raises ``MalformedInput`` for bytes of another form, ``SignatureRejected`` for a wrong signature.
    """
    model, payload = open_document(
        data, key, AuthorisationPayloadModel, schema=SCHEMA, token_type=TOKEN_TYPE, name="authorisation"
    )
    consent = Authorisation(model.hub, model.account, bytes.fromhex(model.statement), model.time)
    if consent.payload() != payload:
        raise MalformedInput("payload is not in canonical form", field="authorisation.payload")
    return consent


def check_authorises(consent: Authorisation, statement: Statement, *, now: int | None = None) -> None:
    """Check that an authorisation is of exactly this statement; ``StatementMismatch`` names the field.

    That the signing key is the account's the caller knows from whoever registered it. ``StaleStatement`` for one that
    is from the future by ``now``; its end is the statement's own expiry.
    """
    context = statement.context
    pairs: list[tuple[str, object, object]] = [
        ("hub", consent.hub, context.hub),
        ("account", consent.account, context.account),
        ("statement", consent.statement, statement.digest),
    ]
    for name, signed, stated in pairs:
        if signed != stated:
            raise StatementMismatch("authorises another statement", field=f"authorisation.{name}")
    if now is not None and consent.time > now + CLOCK_SKEW:
        raise StaleStatement("the authorisation is from the future", field="authorisation.time")
