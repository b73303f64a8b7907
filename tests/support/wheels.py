"""The wheel, built from a copy of what it is made of."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.places import ROOT

LAYERS = ("circuits", "verifier", "prover", "service")


def copy_sources(folder: Path) -> Path:
    """Copy the layers, the links to them and what describes them into a folder; returns it."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", *LAYERS):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignore)
    return folder


def build_wheel(sources: Path) -> Path:
    """Build the wheel of copied sources, beside them in ``built``; returns its path."""
    code = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, "built"], cwd=sources, check=True, capture_output=True)
    (wheel,) = (sources / "built").glob("*.whl")
    return wheel
