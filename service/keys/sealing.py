"""Openings on their way to the holder: HPKE (RFC 9180) base mode to a key that only the holder has.

The holder stores it as a PEM file; the hub has the public half, with the account.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zkmargin.circuits.errors import MalformedInput, SignatureRejected

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.hpke import Suite

#: Bound into every ciphertext, so that none is taken for another kind of message.
INFO = b"zkmargin/opening/1\x00"


def _suite() -> Suite:
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def check_encryption_key(raw: bytes, *, field: str) -> None:
    """``MalformedInput`` unless this is an X25519 public key that gives a secret (RFC 7748 section 6.1)."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

    try:
        # A point of small order gives the all-zero secret, which the library refuses.
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(raw))
    except ValueError:
        raise MalformedInput("not a usable X25519 public key", field=field) from None


def load_encryption_key(pem: bytes) -> X25519PrivateKey:
    """A holder's encryption key from PEM; the message never quotes the input."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise MalformedInput("not an unencrypted PEM private key", field="encryption-key") from None
    if not isinstance(key, X25519PrivateKey):
        raise MalformedInput("not an X25519 private key", field="encryption-key")
    return key


def load_encryption_public(pem: bytes) -> bytes:
    """A raw X25519 public key from PEM."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise MalformedInput("not a PEM public key", field="encryption-public") from None
    if not isinstance(key, X25519PublicKey):
        raise MalformedInput("not an X25519 public key", field="encryption-public")
    return key.public_bytes_raw()


def generate_encryption_key() -> tuple[bytes, bytes]:
    """A fresh X25519 key as PEM: PKCS #8 private (secret) and SubjectPublicKeyInfo public."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = X25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def seal_to(public: bytes, plain: bytes, bound: bytes) -> bytes:
    """Encrypt to a raw X25519 public key; ``bound`` goes into HPKE's info behind the label. Gives ``encapsulated key
    || ciphertext``.
    """
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    return _suite().encrypt(plain, X25519PublicKey.from_public_bytes(public), info=INFO + bound)


def open_sealed(private: X25519PrivateKey, sealed: bytes, bound: bytes) -> bytes:
    """Inverse of :func:`seal_to`; ``SignatureRejected`` for another key, another commitment or changed bytes."""
    from cryptography.exceptions import InvalidTag

    try:
        return _suite().decrypt(sealed, private, info=INFO + bound)
    except (InvalidTag, ValueError):
        raise SignatureRejected("does not open with this key", field="sealed_opening") from None
