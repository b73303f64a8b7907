"""Strict JSON in, canonical JSON out.

Canonical form is RFC 8785 (JCS). Amounts are decimal *strings*; the only JSON numbers allowed are integers of
at most 53 bits, so that every implementation reads the same value.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from .errors import MalformedInput

#: Larger inputs are refused before parsing. A snapshot of 1,000 instruments x 128 scenarios is about 3 MB.
MAX_JSON_BYTES = 16 * 1024 * 1024
#: Documents of this project nest at most 6 deep; the margin is for context objects.
MAX_JSON_DEPTH = 12
#: RFC 8785 section 3.2.2.3 / RFC 7493: integers beyond this are not portable.
MAX_SAFE_INTEGER = 2**53 - 1


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise MalformedInput("duplicate key", field=key[:80])
        out[key] = value
    return out


def _reject_float(text: str) -> Any:
    raise MalformedInput(f"non-integer JSON number {text[:32]!r}: amounts are decimal strings")


def _parse_int(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > MAX_SAFE_INTEGER:
        raise MalformedInput(f"JSON integer {text[:24]!r} exceeds 53 bits: use a decimal string")
    return int(text)


def _check_tree(value: Any, depth: int = 0) -> None:
    if depth > MAX_JSON_DEPTH:
        raise MalformedInput(f"JSON nested deeper than {MAX_JSON_DEPTH}")
    if isinstance(value, str):
        # A lone surrogate has no UTF-8 form, so it could be neither digested nor printed.
        if not value.isascii() and any("\ud800" <= ch <= "\udfff" for ch in value):
            raise MalformedInput("string with a lone surrogate")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_tree(key, depth + 1)
            _check_tree(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_tree(item, depth + 1)


def parse_json(data: bytes, *, name: str = "document") -> Any:
    """Parse strict JSON: UTF-8, no duplicate key, no float, NaN or Infinity, bounded size and depth.

    Raises ``MalformedInput``; never returns a float.
    """
    if len(data) > MAX_JSON_BYTES:
        raise MalformedInput(f"larger than {MAX_JSON_BYTES} bytes", field=name)
    try:
        text = data.decode("utf-8")
        tree = json.loads(
            text,
            object_pairs_hook=_reject_duplicates,
            parse_float=_reject_float,
            parse_constant=_reject_float,
            parse_int=_parse_int,
        )
    except UnicodeDecodeError:
        raise MalformedInput("not UTF-8", field=name) from None
    except json.JSONDecodeError as err:
        raise MalformedInput(f"not JSON: {err.msg} at line {err.lineno}", field=name) from None
    except RecursionError:
        raise MalformedInput("JSON nested too deep", field=name) from None
    _check_tree(tree)
    return tree


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
