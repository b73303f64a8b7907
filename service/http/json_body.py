"""Bodies to JSON trees, as strictly as documents are read from files."""

from __future__ import annotations

from typing import Any

from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.strict_json import MAX_JSON_BYTES, parse_json
from zkmargin.service.errors import BrokenJson


def parse_body(data: bytes, *, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Strict JSON of a body, or ``BrokenJson``."""
    try:
        return parse_json(data, name="body", max_bytes=max_bytes)
    except MalformedInput as err:
        raise BrokenJson(err.message, field="body") from None
