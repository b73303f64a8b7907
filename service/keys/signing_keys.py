"""Ed25519 signing keys as PEM: how whoever signs stores a key in a file (PKCS #8, public: SubjectPublicKeyInfo).

A running hub has none of these files: its own signing keys are sealed in the ledger (``zkmargin.service.keys.vault``).
What is signed with keys is in ``zkmargin.service.keys.signing``.
"""

from __future__ import annotations

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from zkmargin.circuits.errors import MalformedInput


def generate_key() -> Ed25519PrivateKey:
    """A fresh signing key."""
    return Ed25519PrivateKey.generate()


def private_pem(key: Ed25519PrivateKey) -> bytes:
    """PKCS #8 PEM. Secret: callers seal it before it reaches a disk."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_pem(key: Ed25519PrivateKey) -> bytes:
    """SubjectPublicKeyInfo PEM of the public half."""
    return public_pem_of(key.public_key())


def public_pem_of(key: Ed25519PublicKey) -> bytes:
    """SubjectPublicKeyInfo PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def load_private_key(pem: bytes) -> Ed25519PrivateKey:
    """A signing key from PEM; the message never quotes the input."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):  # the last: OpenSSL refuses the key's bytes
        raise MalformedInput("not an unencrypted PEM private key", field="key") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise MalformedInput("not an Ed25519 private key", field="key")
    return key
