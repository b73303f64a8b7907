"""Strict JSON in: bounded, without duplicate keys and without floats.

Amounts are decimal *strings*; the only JSON numbers allowed are integers of at most 53 bits, so that every
implementation reads the same value.
"""

from __future__ import annotations

import json
from typing import Any

from zkmargin.circuits.errors import MalformedInput

#: Larger inputs are refused before parsing. A snapshot of 1,000 instruments x 128 scenarios is about 3 MB.
MAX_JSON_BYTES = 16 * 1024 * 1024
#: A snapshot of 2048 instruments x 512 scenarios has a million values; nothing else comes near.
MAX_JSON_NODES = 1_200_000
#: No object of this project has more members than there are instruments.
MAX_JSON_MEMBERS = 4096
#: Documents of this project nest at most 6 deep; the margin is for context objects.
MAX_JSON_DEPTH = 12
#: RFC 8785 section 3.2.2.3 / RFC 7493: integers beyond this are not portable.
MAX_SAFE_INTEGER = 2**53 - 1


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_JSON_MEMBERS:
        raise MalformedInput(f"an object with more than {MAX_JSON_MEMBERS} members")
    out = dict(pairs)
    if len(out) != len(pairs):
        raise MalformedInput("an object with a duplicate key")
    return out


def _reject_float(text: str) -> Any:
    # The number is not quoted: it may be somebody's position.
    raise MalformedInput("a JSON number that is no integer: amounts are decimal strings")


def _parse_int(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > MAX_SAFE_INTEGER:
        raise MalformedInput("a JSON integer of more than 53 bits: use a decimal string")
    return int(text)


def _check_tree(value: Any, depth: int = 0) -> int:
    """Check strings and depth; returns the number of nodes."""
    if depth > MAX_JSON_DEPTH:
        raise MalformedInput(f"JSON nested deeper than {MAX_JSON_DEPTH}")
    nodes = 1
    if isinstance(value, str):
        # A lone surrogate has no UTF-8 form, so it could be neither digested nor printed.
        if not value.isascii() and any("\ud800" <= ch <= "\udfff" for ch in value):
            raise MalformedInput("string with a lone surrogate")
    elif isinstance(value, dict):
        for key, item in value.items():
            nodes += _check_tree(key, depth + 1) + _check_tree(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            nodes += _check_tree(item, depth + 1)
    return nodes


def parse_json(data: bytes, *, name: str = "document", max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Parse strict JSON: UTF-8, no duplicate key, no float, NaN or Infinity, bounded size and depth.

    Raises ``MalformedInput``; never returns a float.
    """
    if len(data) > max_bytes:
        raise MalformedInput(f"larger than {max_bytes} bytes", field=name)
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
    except MalformedInput as err:
        raise MalformedInput(err.message, field=name) from None
    try:
        nodes = _check_tree(tree)
    except MalformedInput as err:
        raise MalformedInput(err.message, field=name) from None
    if nodes > MAX_JSON_NODES:
        raise MalformedInput(f"more than {MAX_JSON_NODES} values", field=name)
    return tree
