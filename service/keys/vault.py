"""Encryption at rest: AES-256-GCM under a keyring that never enters the database.

The keyring (the storage keys) comes from the configuration. The hub's signing keys, portfolios and stored answers lie
in the database, sealed under it.

A sealed value is ``0x01 || key id (8) || salt (16) || nonce (12) || ciphertext``. Every value has a key of its own,
by HKDF-SHA256 (RFC 5869) from the keyring's key and the salt, so that no number of values comes near GCM's bound for
random nonces (NIST SP 800-38D section 8.3: 2**32 under one key). What a value belongs to is associated data: a sealed
portfolio moved to another account's row does not open.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from zkmargin.circuits.errors import CorruptData, MalformedInput

KEY_BYTES = 32
_VERSION, _ID, _SALT, _NONCE = b"\x01", 8, 16, 12
_HEADER = 1 + _ID + _SALT + _NONCE
_HEX_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class StorageKey:
    """One key of the ring. Its id is a digest of it, so that two hosts cannot name different keys alike."""

    secret: bytes = field(repr=False)

    @property
    def id(self) -> bytes:
        """First 8 bytes of SHA-256 over a label and the key."""
        return hashlib.sha256(b"zkmargin/storage-key/1\x00" + self.secret).digest()[:_ID]


@dataclass(frozen=True)
class Vault:
    """A keyring: the first key seals, all of them open."""

    keys: tuple[StorageKey, ...] = field(repr=False)

    def seal(self, plain: bytes, *, purpose: str) -> bytes:
        """Encrypt and authenticate ``plain`` for one purpose, such as ``account/acct-1/7``."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key, salt, nonce = self.keys[0], secrets.token_bytes(_SALT), secrets.token_bytes(_NONCE)
        sealed = AESGCM(_derive(key, salt)).encrypt(nonce, plain, purpose.encode())
        return _VERSION + key.id + salt + nonce + sealed

    def open(self, sealed: bytes, *, purpose: str) -> bytes:
        """Decrypt; ``CorruptData`` for another purpose, an unknown key or changed bytes."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if len(sealed) <= _HEADER or sealed[:1] != _VERSION:
            raise CorruptData("not a sealed value", field=purpose)
        key = next((k for k in self.keys if k.id == sealed[1 : 1 + _ID]), None)
        if key is None:
            raise CorruptData("sealed under a key that the keyring does not have", field=purpose)
        salt = sealed[1 + _ID : 1 + _ID + _SALT]
        nonce = sealed[1 + _ID + _SALT : _HEADER]
        try:
            return AESGCM(_derive(key, salt)).decrypt(nonce, sealed[_HEADER:], purpose.encode())
        except InvalidTag:
            raise CorruptData("does not open: changed, or moved from another place", field=purpose) from None

    def current(self, sealed: bytes) -> bool:
        """Whether a value is sealed under the first key already."""
        return sealed[1 : 1 + _ID] == self.keys[0].id


def _derive(key: StorageKey, salt: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), KEY_BYTES, salt, b"zkmargin/vault/1").derive(key.secret)


def parse_keys(text: str) -> Vault:
    """A keyring from 64 hex digits a key, separated by commas or white space; the first is the one that seals."""
    return vault(re.split(r"[,\s]+", text.strip()))


def vault(keys: Sequence[str]) -> Vault:
    """A keyring from hex keys; the message never quotes one."""
    if not keys or any(not _HEX_KEY.fullmatch(key) for key in keys):
        raise MalformedInput("one or more keys of 64 hex digits", field="storage-keys")
    return Vault(tuple(StorageKey(bytes.fromhex(key)) for key in keys))


def new_key() -> str:
    """A fresh key as hex. Secret."""
    return secrets.token_hex(KEY_BYTES)
