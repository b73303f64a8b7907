"""What a file holds, told from its bytes: so that no command replaces a file of another kind."""

from __future__ import annotations

import json
import re

#: Base64 of what precedes the key in the DER of RFC 8410, by the label of the PEM block.
_PEM = (
    (b"PRIVATE KEY", b"MC4CAQAwBQYDK2VwBCIEI", "signing key"),
    (b"PRIVATE KEY", b"MC4CAQAwBQYDK2VuBCIEI", "encryption key"),
    (b"PUBLIC KEY", b"MCowBQYDK2VwAyEA", "public signing key"),
    (b"PUBLIC KEY", b"MCowBQYDK2VuAyEA", "public encryption key"),
)
_SCHEMA = re.compile(r"zkmargin/([a-z-]{1,40})/[0-9]{1,4}")
_STORAGE_KEYS = re.compile(rb"([0-9a-f]{64}\n){1,256}")
EMPTY, SEALED, UNKNOWN, FOLDER = "empty file", "sealed file", "file of unknown content", "folder"
PEM_FILE, PUBLIC_KEY = "PEM file", "public signing key"


def schema_kind(schema: object) -> str | None:
    """The kind that a ``schema`` member names, whatever its version; None for anything else."""
    match = _SCHEMA.fullmatch(schema) if isinstance(schema, str) else None
    return None if match is None else f"{match[1]} document"


def kind_of(data: bytes) -> str:
    """The kind of a file: of a document the name in its schema, without the version."""
    if not data:
        return EMPTY
    if data.startswith(b"\x89PNG\r\n") or (data.startswith(b"<?xml") and b"<svg" in data[:2000]):
        return "chart"
    if data.startswith(b"-----BEGIN "):
        for label, prefix, kind in _PEM:
            if data.startswith(b"-----BEGIN " + label + b"-----\n" + prefix):
                return kind
        return PEM_FILE
    if _STORAGE_KEYS.fullmatch(data):
        return "storage keys"
    return _json_kind(data)


def _json_kind(data: bytes) -> str:
    if data.lstrip()[:1] != b"{":
        return UNKNOWN
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return UNKNOWN
    if set(tree) == {"held", "shown", "proven"}:
        return "evidence of a fork"
    kind = schema_kind(tree.get("schema"))
    return SEALED if kind == "sealed document" else kind or UNKNOWN
