"""Signed tokens: a JWS (RFC 7515, compact, EdDSA) whose algorithm and type the reader pins.

A token does not get to choose how it is checked. Signing lives with whoever has a key, in ``service``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from circuits.errors import MalformedInput, SignatureRejected

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ALGORITHM = "EdDSA"


def open_token(token: str, key: Ed25519PublicKey, token_type: str, *, field: str) -> bytes:
    """The payload of a token signed under ``key`` whose protected header is exactly EdDSA and ``token_type``.

    Raises ``MalformedInput`` for a token of another form, ``SignatureRejected`` for a wrong signature.
    """
    import jwt

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
