"""Signed tokens: a JWS (RFC 7515, compact, EdDSA) whose algorithm and type the reader pins.

A token does not get to choose how it is checked. Signing lives with whoever has a key, in ``service``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BaseModel, Field, StringConstraints

from zkmargin.circuits.errors import MalformedInput, SignatureRejected
from zkmargin.circuits.schema import Strict, validate
from zkmargin.circuits.strict_json import parse_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ALGORITHM = "EdDSA"
#: A token of at most 8192 characters and its wrapping, with room for white space.
MAX_SIGNED_BYTES = 16 * 1024

Token = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$", max_length=8192)]
M = TypeVar("M", bound=BaseModel)


class SignedModel(Strict):
    """A signed document of any kind: its schema and a JWS in compact serialisation (EdDSA)."""

    schema_: Annotated[str, Field(alias="schema", max_length=64)]
    jws: Token


def read_token(data: bytes, *, schema: str, name: str) -> str:
    """The token of a signed document, not yet verified; ``MalformedInput`` for another schema or form."""
    model = validate(SignedModel, parse_json(data, name=name, max_bytes=MAX_SIGNED_BYTES), name=name)
    if model.schema_ != schema:
        raise MalformedInput(f"not a document of schema {schema}", field=f"{name}.schema")
    return model.jws


def open_document(
    data: bytes, key: Ed25519PublicKey, model: type[M], *, schema: str, token_type: str, name: str
) -> tuple[M, bytes]:
    """Check a signed document; returns the validated payload and its bytes, whose canonical form the caller checks.

    Raises ``MalformedInput`` for bytes of another form, ``SignatureRejected`` for a wrong signature.
    """
    payload = open_token(read_token(data, schema=schema, name=name), key, token_type, field=f"{name}.jws")
    tree = parse_json(payload, name=f"{name}.payload", max_bytes=MAX_SIGNED_BYTES)
    return validate(model, tree, name=f"{name}.payload"), payload


def open_token(token: str, key: Ed25519PublicKey, token_type: str, *, field: str) -> bytes:
    """The payload of a token signed under ``key`` whose protected header is exactly EdDSA and ``token_type``.

    Raises ``MalformedInput`` for a token of another form, ``SignatureRejected`` for a wrong signature.
    """
    import jwt

    # 64 bytes end in a character of two bits and four zeros (RFC 4648 section 3.5). Libraries differ on other ones;
    # with them, one signature would have sixteen tokens, each another leaf of the log.
    if not token.endswith(("A", "Q", "g", "w")):
        raise MalformedInput("the signature is not in canonical base64url", field=field)
    try:
        # Called on the JWS layer: claims are this project's own, checked by the caller. `algorithms` pins EdDSA.
        decoded: dict[str, Any] = jwt.PyJWS().decode_complete(token, key, algorithms=[ALGORITHM])
    except jwt.InvalidSignatureError:
        raise SignatureRejected("the signature does not verify under this key", field=field) from None
    except (jwt.PyJWTError, ValueError) as err:
        raise MalformedInput(f"not a signed token of this kind ({type(err).__name__})", field=field) from None
    if set(decoded["header"]) != {"alg", "typ"} or decoded["header"]["typ"] != token_type:
        raise MalformedInput("unexpected protected header", field=field)
    payload: bytes = decoded["payload"]
    return payload
