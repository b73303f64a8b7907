"""Signed tokens and every way to get one wrong, for any document of the hub or the oracle."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Iterator
from hashlib import sha256
from typing import TYPE_CHECKING

from tests.vectors.cases import text
from tests.vectors.seed import signing_key
from zkmargin.service.keys import signing_keys
from zkmargin.service.vectors.case import Tree
from zkmargin.verifier.facts.attestation import TOKEN_TYPE
from zkmargin.verifier.facts.snapshot_signature import TOKEN_TYPE as SNAPSHOT_TYPE

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MALFORMED, REJECTED = "malformed-input", "signature-rejected"
#: Order of the Ed25519 group (RFC 8032).
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493


def b64(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(payload: bytes, header: object, key: Ed25519PrivateKey) -> str:
    """A compact JWS with any protected header, signed with Ed25519 whatever the header says."""
    head = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    body = f"{b64(head)}.{b64(payload)}"
    return f"{body}.{b64(key.sign(body.encode()))}"


def hs256(payload: bytes, token_type: str, secret: bytes) -> str:
    """A JWS under HMAC with SHA-256."""
    body = f"{b64(json.dumps({'alg': 'HS256', 'typ': token_type}).encode())}.{b64(payload)}"
    return f"{body}.{b64(hmac.new(secret, body.encode(), sha256).digest())}"


def bad_tokens(payload: bytes, token_type: str, key: Ed25519PrivateKey) -> Iterator[tuple[str, str, str, str]]:
    """(flag, code, comment, token) of tokens that must be refused, for a good payload."""
    header = {"alg": "EdDSA", "typ": token_type}
    good = token(payload, header, key)
    head, body, signature = good.split(".")
    none = b64(json.dumps({"alg": "none", "typ": token_type}).encode())
    yield "AlgorithmNone", MALFORMED, "alg none, the signature kept", f"{none}.{body}.{signature}"
    yield "AlgorithmNone", MALFORMED, "alg none, an empty signature", f"{none}.{body}."
    yield "AlgorithmNone", MALFORMED, "alg None in other letters", token(payload, header | {"alg": "nOnE"}, key)
    public = signing_keys.public_pem(key)
    yield "AlgorithmConfusion", MALFORMED, "HS256, the PEM as secret", hs256(payload, token_type, public)
    yield "AlgorithmConfusion", MALFORMED, "HS256, a weak secret", hs256(payload, token_type, b"secret")
    yield "AlgorithmConfusion", MALFORMED, "ES256 in the header", token(payload, header | {"alg": "ES256"}, key)
    yield "AlgorithmConfusion", MALFORMED, "no alg", token(payload, {"typ": token_type}, key)
    yield "WrongTokenType", MALFORMED, "typ JWT", token(payload, header | {"typ": "JWT"}, key)
    yield "WrongTokenType", MALFORMED, "no typ", token(payload, {"alg": "EdDSA"}, key)
    other = SNAPSHOT_TYPE if token_type == TOKEN_TYPE else TOKEN_TYPE
    yield "WrongTokenType", MALFORMED, "the type of another document", token(payload, header | {"typ": other}, key)
    yield "WrongTokenType", MALFORMED, "the type in capitals", token(payload, header | {"typ": token_type.upper()}, key)
    extras: tuple[Tree, ...] = ({"kid": "1"}, {"jwk": {}}, {"crit": ["exp"], "exp": 1})
    for extra in extras:
        yield "ExtraHeader", MALFORMED, f"{min(extra)} in the header", token(payload, header | extra, key)
    yield (
        "ExtraHeader",
        MALFORMED,
        "an unencoded payload (b64 false)",
        token(payload, header | {"b64": False, "crit": ["b64"]}, key),
    )
    yield "WrongKey", REJECTED, "another key's signature", token(payload, header, signing_key("stranger"))
    yield "ChangedSignature", REJECTED, "the first bit", f"{head}.{body}.{_flip(signature, 0)}"
    yield "ChangedSignature", REJECTED, "a bit of S", f"{head}.{body}.{_flip(signature, 40)}"
    yield "ChangedSignature", REJECTED, "zeros", f"{head}.{body}.{b64(bytes(64))}"
    yield "ChangedSignature", REJECTED, "63 bytes", f"{head}.{body}.{b64(_raw(signature)[:60] + bytes(3))}"
    yield "NotCanonicalBase64", MALFORMED, "unused bits of the last character", f"{good[:-1]}{_next(good[-1])}"
    yield "ChangedSignature", REJECTED, "65 bytes", f"{head}.{body}.{b64(_raw(signature) + bytes(1))}"
    raw = _raw(signature)
    larger = (int.from_bytes(raw[32:], "little") + ED25519_ORDER).to_bytes(32, "little")
    yield "SignatureMalleability", REJECTED, "S + L", f"{head}.{body}.{b64(raw[:32] + larger)}"
    yield (
        "ChangedPayload",
        REJECTED,
        "a changed payload under the old signature",
        f"{head}.{b64(payload[:-1])}.{signature}",
    )
    spaced = json.dumps(json.loads(payload), indent=1).encode()
    yield "NotCanonical", MALFORMED, "white space in the signed payload", token(spaced, header, key)
    yield "NotCanonical", MALFORMED, "a byte after the signed payload", token(payload + b" ", header, key)
    backwards = json.dumps(dict(reversed(list(json.loads(payload).items()))), separators=(",", ":")).encode()
    yield "NotCanonical", MALFORMED, "keys in another order", token(backwards, header, key)
    doubled = payload.replace(b"{", b'{"time":1,', 1)
    yield "DuplicateKey", MALFORMED, "a key twice in the signed payload", token(doubled, header, key)
    yield "UnknownKey", MALFORMED, "a member more", token(payload.replace(b"{", b'{"a":1,', 1), header, key)
    yield "NotJson", MALFORMED, "a payload that is no JSON", token(b"\xff", header, key)
    yield "BadToken", MALFORMED, "two parts", f"{head}.{body}"
    yield "BadToken", MALFORMED, "four parts", f"{good}.{signature}"
    yield "BadToken", MALFORMED, "padding", f"{head}.{body}.{signature}=="
    yield "BadToken", MALFORMED, "a header that is no JSON", token(payload, b"{", key)
    yield "BadToken", MALFORMED, "empty", ""


def _raw(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _next(letter: str) -> str:
    """The letter that differs in the lowest bit, which base64 does not use in the last character of 64 bytes."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return alphabet[alphabet.index(letter) ^ 1]


def _flip(part: str, byte: int) -> str:
    raw = bytearray(_raw(part))
    raw[byte] ^= 1
    return b64(bytes(raw))


def document(schema: str, jws: str) -> str:
    """A signed document."""
    return text({"schema": schema, "jws": jws})
