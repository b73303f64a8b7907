"""The wheel, built from a copy of what it is made of."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.imports import LAYERS
from tests.support.places import ROOT


def copy_sources(folder: Path) -> Path:
    """Copy the layers, the links to them and what describes them into a folder; returns it."""
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", *LAYERS):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignore)
    return folder


def _build(what: str, sources: Path) -> None:
    code = f"import sys; from setuptools import build_meta; build_meta.build_{what}(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, "built"], cwd=sources, check=True, capture_output=True)


def build_wheel(sources: Path) -> Path:
    """Build the wheel of copied sources, beside them in ``built``; returns its path."""
    _build("wheel", sources)
    (wheel,) = (sources / "built").glob("*.whl")
    return wheel


def build_sdist(sources: Path) -> Path:
    """Build the source distribution of copied sources, beside them in ``built``; returns its path."""
    _build("sdist", sources)
    (archive,) = (sources / "built").glob("*.tar.gz")
    return archive
