"""What is built for others holds every file of the packages, and their types."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.project.test_layering import ORDER
from tests.support.places import ROOT

#: A file that pyproject.toml does not name, for the control.
FORGOTTEN = "zkmargin/service/demo_data/forgotten.bin"


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages and what describes them, in a folder that a build may write to."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (folder / "src" / FORGOTTEN).write_bytes(b"not named in pyproject.toml")
    return folder


@pytest.fixture(scope="module")
def packed(copied: Path) -> set[str]:
    """Names of the files in the wheel that is built from it."""
    code = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, "built"], cwd=copied, check=True, capture_output=True)
    (wheel,) = (copied / "built").glob("*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_holds_every_file_but_the_forgotten_one(copied: Path, packed: set[str]) -> None:
    source = copied / "src"
    files = {str(path.relative_to(source)) for path in (source / "zkmargin").rglob("*") if path.is_file()}
    assert {path.split("/")[1] for path in files if path.count("/") > 1} == set(ORDER)
    assert files - packed == {FORGOTTEN}


def test_the_wheel_says_that_it_is_typed(packed: set[str]) -> None:
    assert "zkmargin/py.typed" in packed


def test_the_wheel_holds_nothing_else(packed: set[str]) -> None:
    others = {name for name in packed if not name.startswith("zkmargin/")}
    assert {re.sub(r"-[^/]*", "", name.split("/")[0]) for name in others} == {"zkmargin"}
    assert all(".dist-info/" in name for name in others)
