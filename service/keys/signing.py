"""What the hub signs (attestations, credit entries, tree heads, its own next key), and what a holder authorises.

The one place where a JWS (RFC 7515, compact, EdDSA) is written; ``verifier`` reads them. The protected header is
exactly {alg, typ}, the payload RFC 8785 JSON. No key is stored here: see the room's table in ``zkmargin.service.keys``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zkmargin.circuits import canonical
from zkmargin.verifier.facts import attestation as attestations
from zkmargin.verifier.facts import authorisation, credit_entry, hub_keys, transparency
from zkmargin.verifier.facts.jws import ALGORITHM

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def sign_token(payload: bytes, key: Ed25519PrivateKey, token_type: str) -> str:
    """A JWS in compact serialisation."""
    import jwt

    return jwt.PyJWS().encode(payload, key, algorithm=ALGORITHM, headers={"typ": token_type})


def sign_document(payload: bytes, key: Ed25519PrivateKey, *, schema: str, token_type: str) -> bytes:
    """The canonical document {schema, jws} over a canonical payload."""
    return canonical.canonical_bytes({"schema": schema, "jws": sign_token(payload, key, token_type)})


def sign_attestation(fact: attestations.Attestation, key: Ed25519PrivateKey) -> bytes:
    """The attestation document."""
    schema, kind = "zkmargin/attestation/1", attestations.TOKEN_TYPE
    return sign_document(fact.payload(), key, schema=schema, token_type=kind)


def sign_credit_entry(entry: credit_entry.CreditEntry, key: Ed25519PrivateKey) -> bytes:
    """The credit entry document; ``MalformedInput`` for numbers that no credit has."""
    return sign_document(entry.payload(), key, schema=credit_entry.SCHEMA, token_type=credit_entry.TOKEN_TYPE)


def sign_tree_head(head: transparency.TreeHead, key: Ed25519PrivateKey) -> bytes:
    """The tree head document."""
    return sign_document(head.payload(), key, schema=transparency.SCHEMA, token_type=transparency.TOKEN_TYPE)


def sign_hub_key(fact: hub_keys.HubKey, key: Ed25519PrivateKey) -> bytes:
    """The document in which ``key`` appoints ``fact.key``; the first key of a chain appoints itself."""
    return sign_document(fact.payload(), key, schema=hub_keys.SCHEMA, token_type=hub_keys.TOKEN_TYPE)


def sign_authorisation(consent: authorisation.Authorisation, key: Ed25519PrivateKey) -> bytes:
    """As the holder: the document in which the account's key authorises a statement's purpose."""
    return sign_document(consent.payload(), key, schema=authorisation.SCHEMA, token_type=authorisation.TOKEN_TYPE)


def raw_public(key: Ed25519PrivateKey) -> bytes:
    """The 32 raw bytes of the public half, as hub key documents hold them."""
    return key.public_key().public_bytes_raw()
