"""SPEC.md, "Canonical JSON and digests": RFC 8785 for trees without floats, and digests separated by document type."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical(tree: Any) -> str:
    """The canonical form: members by the UTF-16 code units of their names, no white space, shortest escapes."""
    if isinstance(tree, dict):
        names = sorted(tree, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{canonical(name)}:{canonical(tree[name])}" for name in names) + "}"
    if isinstance(tree, list):
        return "[" + ",".join(canonical(item) for item in tree) + "]"
    return json.dumps(tree, ensure_ascii=False)


def digest(tree: Any, domain: str) -> bytes:
    """SHA-256(domain || 00 || canonical bytes of tree): 32 bytes."""
    return hashlib.sha256(domain.encode("ascii") + b"\x00" + canonical(tree).encode("utf-8")).digest()
