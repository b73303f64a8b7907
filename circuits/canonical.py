"""Canonical JSON out: RFC 8785 (JCS), and the digests over it; :mod:`zkmargin.circuits.strict_json` reads it."""

from __future__ import annotations

import hashlib
from typing import Any

from zkmargin.circuits.errors import MalformedInput


def canonical_bytes(tree: Any) -> bytes:
    """RFC 8785 bytes of a JSON tree without floats."""
    import rfc8785

    try:
        return rfc8785.dumps(tree)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as err:
        raise MalformedInput(f"no canonical form: {type(err).__name__}") from None


def digest(tree: Any, *, domain: str) -> bytes:
    """SHA-256 over ``domain || 0x00 || RFC 8785 bytes``: 32 bytes, separated by document type."""
    return hashlib.sha256(domain.encode("ascii") + b"\x00" + canonical_bytes(tree)).digest()
