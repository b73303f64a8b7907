"""The rule that docs/RULES.md shows is real: it loads by its entry point, proves and verifies."""

from __future__ import annotations

import importlib.metadata
import re
from types import SimpleNamespace
from typing import Any

import pytest

from tests.circuits.test_market_rules import line, make, try_proof
from tests.support.places import ROOT
from zkmargin.circuits.errors import NotSolvent

TEXT = (ROOT / "docs" / "RULES.md").read_text()


def test_the_third_party_rule_proves(monkeypatch: pytest.MonkeyPatch) -> None:
    found = re.search(r"^```python[^\n]*\n(.*?)^```", TEXT, re.S | re.M)
    assert found
    module: dict[str, Any] = {"__name__": "long_short"}
    exec(compile(found[1], "long_short", "exec", dont_inherit=True), module)  # noqa: S102 - the block of our own document

    def entry_points(*, group: str, name: str) -> list[Any]:
        assert group == "zkmargin.rules"
        return [SimpleNamespace(load=lambda: module["build"])] if name == "long-short/1" else []

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    snap = make(
        {"id": "long-short/1", "parameters": {"long_ppm": 100_000, "short_ppm": 200_000}},
        [line("USD", "quote", "1", ["1", "1"], {}), line("BTC", "perpetual", "100", ["10", "8"], {})],
    )
    try_proof(snap, [3000, -100], amount="1800")
    with pytest.raises(NotSolvent):
        try_proof(snap, [3000, -100], amount="1800.01")
