"""Where things lie: the checkout, the frozen files, and the outside cases, where they lie beside the checkout."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FROZEN = ROOT / "tests" / "frozen"
SHARED = ROOT.parent / "shared"


def file_of_test(name: str) -> Path:
    """The one test file of this bare name, as documents name them."""
    (found,) = (ROOT / "tests").rglob(name)
    return found
