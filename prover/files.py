"""Files of the command line: bounded reads, atomic writes, secrets with mode 0600 and, with a passphrase, sealed.

A sealed document is AES-256-GCM under a scrypt key (RFC 7914; N = 2**15, r = 8, p = 1), the schema name as associated
data.
"""

from __future__ import annotations

import base64
import os
import secrets
import tempfile
from pathlib import Path
from typing import Any

from circuits.canonical import MAX_JSON_BYTES, canonical_bytes, parse_json
from circuits.errors import MalformedInput

#: Where the passphrase of sealed files comes from; never the command line, where other users could read it.
PASSPHRASE_VARIABLE = "ZKMARGIN_PASSPHRASE"  # noqa: S105 - the name of a variable
SEALED_SCHEMA = "zkmargin/sealed/1"
_SCRYPT = {"n": 2**15, "r": 8, "p": 1}


def read_file(path: Path) -> bytes:
    """A file's bytes, or ``MalformedInput`` naming the path: missing, unreadable or above 16 MiB."""
    try:
        with path.open("rb") as handle:
            data = handle.read(MAX_JSON_BYTES + 1)
    except OSError as err:
        raise MalformedInput(err.strerror or "cannot be read", field=str(path)) from None
    if len(data) > MAX_JSON_BYTES:
        raise MalformedInput(f"larger than {MAX_JSON_BYTES} bytes", field=str(path))
    return data


def write_file(path: Path, data: bytes, *, secret: bool = False) -> None:
    """Replace a file atomically: readers see the old bytes or the new ones. Secret files get mode 0600 from the
    start.
    """
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # created with mode 0600
    except OSError as err:
        raise MalformedInput(err.strerror or "cannot be written", field=str(path)) from None
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        if not secret:
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(name, 0o666 & ~mask)
        os.replace(name, path)
    except OSError as err:
        os.unlink(name)
        raise MalformedInput(err.strerror or "cannot be written", field=str(path)) from None
    except BaseException:
        os.unlink(name)
        raise


def check_targets(*paths: Path, secret: Path | None = None, force: bool = False) -> None:
    """Refuse, before anything is written, what would lose a file: one path for two outputs,
    a directory that is not there,
    a target that is no regular file, and an existing secret unless ``force``.
    """
    everything = [*paths, *([secret] if secret else [])]
    if len({path.absolute() for path in everything}) != len(everything):
        raise MalformedInput("the same path for two outputs", field=str(everything[-1]))
    for path in everything:
        if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise MalformedInput("its directory is missing or cannot be written", field=str(path))
        if path.exists() and not path.is_file():
            raise MalformedInput("is not a regular file", field=str(path))
    if secret is not None and secret.exists() and not force:
        raise MalformedInput("exists, and may be the only copy of a secret; --force replaces it", field=str(secret))


def _cipher(passphrase: str, salt: bytes) -> Any:
    import hashlib

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    key = hashlib.scrypt(os.fsencode(passphrase), salt=salt, maxmem=64 * 1024 * 1024, dklen=32, **_SCRYPT)
    return AESGCM(key)


def seal(data: bytes, passphrase: str) -> bytes:
    """Encrypt a document under a passphrase."""
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    box = _cipher(passphrase, salt).encrypt(nonce, data, SEALED_SCHEMA.encode())
    return canonical_bytes(
        {
            "schema": SEALED_SCHEMA,
            "salt": salt.hex(),
            "nonce": nonce.hex(),
            "box": base64.b64encode(box).decode(),
        }
    )


def unseal(data: bytes, *, name: str) -> bytes:
    """The document inside a sealed one; anything else is returned as it is. The passphrase comes from the
    environment.
    """
    if SEALED_SCHEMA.encode() not in data[:MAX_JSON_BYTES]:
        return data
    tree = parse_json(data, name=name)
    if not isinstance(tree, dict) or tree.get("schema") != SEALED_SCHEMA:
        return data
    passphrase = os.environ.get(PASSPHRASE_VARIABLE)
    if not passphrase:
        raise MalformedInput(f"is sealed; set {PASSPHRASE_VARIABLE}", field=name)
    from cryptography.exceptions import InvalidTag

    try:
        salt, nonce = bytes.fromhex(tree["salt"]), bytes.fromhex(tree["nonce"])
        box = base64.b64decode(tree["box"], validate=True)
        opened: bytes = _cipher(passphrase, salt).decrypt(nonce, box, SEALED_SCHEMA.encode())
    except InvalidTag:
        raise MalformedInput("wrong passphrase or damaged file", field=name) from None
    except (KeyError, TypeError, ValueError):
        raise MalformedInput("not a sealed document", field=name) from None
    return opened


def write_secret(path: Path, data: bytes, *, unencrypted: bool) -> None:
    """Write a secret document: sealed under the passphrase, or in clear (mode 0600) if the caller asked for that."""
    passphrase = os.environ.get(PASSPHRASE_VARIABLE)
    if passphrase:
        data = seal(data, passphrase)
    elif not unencrypted:
        raise MalformedInput(f"set {PASSPHRASE_VARIABLE} to seal this file, or pass --unencrypted", field=str(path))
    write_file(path, data, secret=True)
