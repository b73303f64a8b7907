"""docs/SPEC.md says which field of which type each of its letters is: the table is true, and nothing is left out."""

from __future__ import annotations

import importlib
import re
from dataclasses import fields

from tests.support.places import ROOT
from zkmargin.verifier.argument.v1 import messages
from zkmargin.verifier.argument.v1.challenges import Challenges

ROW = re.compile(r"^\| .* \| `(verifier/[a-z0-9_/]+)\.py` \|$", re.MULTILINE)


def named() -> list[tuple[str, str, str]]:
    """Module, type and field of every name in the table."""
    spec = (ROOT / "docs" / "SPEC.md").read_text()
    out = []
    for row in ROW.finditer(spec):
        module = "zkmargin." + row[1].replace("/", ".")
        out += [(module, kind, name) for kind, name in re.findall(r"`([A-Z]\w+)\.(\w+)`", row[0])]
    return out


def test_every_name_of_the_table_is_a_field() -> None:
    assert len(named()) > 20
    for module, kind, name in named():
        found = getattr(importlib.import_module(module), kind)
        assert name in {field.name for field in fields(found)}, f"{kind}.{name}"


def test_every_message_and_challenge_has_its_letter() -> None:
    listed = {(kind, name) for _, kind, name in named()}
    for message in (messages.Columns, messages.Sums, messages.Quotient, messages.Evaluations, messages.Openings):
        assert {(message.__name__, field.name) for field in fields(message)} <= listed
    assert {field.name for field in fields(Challenges)} <= {
        name for kind, name in listed if kind.endswith("Challenges")
    }
