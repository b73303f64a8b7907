"""The trusted base is what docs/SECURITY.md says, and small: the tables are those of ``python -m scripts.trusted``."""

from __future__ import annotations

import pytest

from scripts import trusted
from scripts.trusted import Loaded
from tests.support.places import ROOT
from zkmargin.circuits.rules import SHIPPED

TEXT = (ROOT / "docs" / "SECURITY.md").read_text()


@pytest.fixture(scope="module")
def found() -> dict[str, Loaded]:
    """What the command measures, in fresh interpreters."""
    return trusted.measure()


def test_the_document_has_the_commands_tables(found: dict[str, Loaded]) -> None:
    for line in (*trusted.table(found), *trusted.packages(found)):
        assert line in TEXT.splitlines(), f"docs/SECURITY.md misses: {line}"


def test_the_core_is_below_its_limit(found: dict[str, Loaded]) -> None:
    assert found["core"].lines < trusted.MOST_LINES
    assert f"below {trusted.MOST_LINES:,} lines" in TEXT


def test_importing_the_verifier_loads_no_rule_no_document_and_no_signed_fact(found: dict[str, Loaded]) -> None:
    core = found["core"].modules
    assert "zkmargin.verifier.verify" in core
    assert not core.keys() & {*SHIPPED.values(), "zkmargin.circuits.schema", "zkmargin.circuits.rules.registration"}
    others = ("zkmargin.prover", "zkmargin.service", "zkmargin.verifier.facts", "zkmargin.circuits.documents")
    assert not [name for name in core if name.startswith(others)]


def test_a_rule_loads_no_other(found: dict[str, Loaded]) -> None:
    for rule_id, module in SHIPPED.items():
        assert found[rule_id].modules.keys() & SHIPPED.values() == {module}
        assert not any(name.startswith(("zkmargin.prover", "zkmargin.service")) for name in found[rule_id].modules)


def test_every_part_is_counted_once(found: dict[str, Loaded]) -> None:
    parts = [name for name in found if name not in SHIPPED]
    names = [name for part in parts for name in found[part].modules]
    assert len(names) == len(set(names))
    assert not set(names) & found[trusted.largest(found)].modules.keys()
