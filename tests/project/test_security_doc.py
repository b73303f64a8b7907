"""docs/SECURITY.md: the tests that it names exist, its error terms are the computed ones, its attacks complete."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from fuzz.targets import corpus
from scripts import soundness
from tests.support.places import ROOT, find_test
from zkmargin.circuits import statement
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.rules import LEVELS, Terms, build
from zkmargin.circuits.system import FIELD_ORDER
from zkmargin.prover import solvency

TEXT = (ROOT / "docs" / "SECURITY.md").read_text()


def names_in(path: Path) -> set[str]:
    """Names of the test functions of a file."""
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_every_test_that_the_document_names_exists() -> None:
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", TEXT)
    assert len(named) > 60
    for file, name in named:
        assert name in names_in(find_test(file)), f"{file}::{name}"


def test_every_test_that_attacks_by_name_is_in_the_document() -> None:
    """Controls apart. A new attack is added to the table on the day it is written."""
    for path in sorted((ROOT / "tests").rglob("test_cheating_*.py")):
        for name in names_in(path):
            if name.startswith("test_") and name.endswith(("is_refused", "are_refused")):
                assert name in TEXT or name in VARIANTS, name


#: Variants of an attack that the table has under another name.
VARIANTS = {
    "test_same_positions_under_another_blinding_are_another_account",
    "test_proof_for_an_equal_portfolio_is_refused",
    "test_a_snapshot_older_than_the_horizon_is_refused",
    "test_proof_on_another_srs_is_refused",
    "test_commitment_at_infinity_is_refused",
}


def test_the_error_terms_are_the_computed_ones() -> None:
    for line in soundness.table():
        assert line in TEXT
    assert sum(soundness.terms(*soundness.SIZES[-1][1:]).values()) < Fraction(1, 2**237)


def test_powers_of_two_are_rounded_up() -> None:
    assert soundness.bits(Fraction(1, 8)) == "2^-3"
    assert soundness.bits(Fraction(9, 64)) == "2^-2"
    assert soundness.bits(Fraction(1, FIELD_ORDER)) == "2^-254"


def systems() -> Iterator[statement.Program]:
    """Every shipped rule, at every level."""
    for data in corpus("snapshot"):
        snap = snapshot_from_bytes(data)
        overlays = tuple(sorted(snap.tree["rule"].get("overlays") or {}))
        for level in LEVELS:
            terms = Terms(level, Fraction(1), 3600, (), overlays)
            choice = solvency.best_choice(build(snap, terms), [0] * len(snap.instruments))
            yield statement.compile_terms(
                snap, Terms(level, Fraction(1), 3600, tuple(sorted(choice.items())), overlays)
            )


def test_a_compiled_system_has_no_more_rows_than_variables() -> None:
    """Which bounds R in the error term of beta by the number of words."""
    found = [(len(program.system.rows), len(program.system.variables)) for program in systems()]
    assert len(found) > 15
    assert all(rows <= variables for rows, variables in found)
