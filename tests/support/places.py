"""Where things lie: the checkout, the frozen files, and the outside cases, where they lie beside the checkout."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FROZEN = ROOT / "tests" / "frozen"
SHARED = ROOT.parent / "shared"


def find_test(name: str) -> Path:
    """The test file of this name. Documents name test files without their folder, so names are given once."""
    (found,) = (ROOT / "tests").rglob(name)
    return found
