"""What is built for others holds every file of the packages, their types, and one name: ``zkmargin``."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import zkmargin
from tests.support.imports import LAYERS
from tests.support.places import ROOT
from tests.support.wheels import build_sdist, build_wheel, copy_sources

pytestmark = pytest.mark.slow

#: A file that pyproject.toml does not name, for the control.
FORGOTTEN = "service/demo_data/forgotten.bin"


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages and what describes them, in a folder that a build may write to."""
    folder = copy_sources(tmp_path_factory.mktemp("source"))
    (folder / FORGOTTEN).write_bytes(b"not named in pyproject.toml")
    return folder


@pytest.fixture(scope="module")
def wheel(copied: Path) -> Path:
    return build_wheel(copied)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what an installation of the wheel adds to site-packages."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)  # noqa: S202 - our own
    return folder


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_wheel_holds_every_file_but_the_forgotten_one(copied: Path, installed: Path) -> None:
    of_layers = {f"{layer}/{name}" for layer in LAYERS for name in files_of(copied / layer)}
    top = {path.name for path in (copied / "src" / "zkmargin").iterdir() if path.is_file()}
    assert top == {"py.typed", "__init__.py", "__main__.py"}
    assert of_layers | top == files_of(installed / "zkmargin") | {FORGOTTEN}


def test_an_installation_adds_one_name(installed: Path) -> None:
    (record,) = installed.glob("*.dist-info/RECORD")
    tops = {line.split("/")[0] for line in record.read_text().splitlines()}
    assert tops == {"zkmargin", record.parent.name}
    assert record.parent.name == f"zkmargin-{zkmargin.__version__}.dist-info"


def test_what_is_installed_runs_by_itself(installed: Path) -> None:
    """Away from the checkout, whose editable installation would answer too."""
    code = """
import importlib.metadata, runpy, sys
sys.path.insert(0, sys.argv.pop(1))
import zkmargin
from zkmargin.circuits import system
assert zkmargin.__file__.startswith(sys.path[0]) and system.__file__.startswith(sys.path[0]), system.__file__
assert zkmargin.__version__ == importlib.metadata.version("zkmargin")
runpy.run_module("zkmargin", run_name="__main__")
"""
    words = [sys.executable, "-c", code, str(installed), "--version"]
    done = subprocess.run(words, cwd=installed, capture_output=True, text=True, check=True)
    assert done.stdout == f"zkmargin {zkmargin.__version__}\n"


def test_the_version_is_written_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "zkmargin.__version__"}


def contents(wheel: Path) -> dict[str, int]:
    """The files of a wheel and a check sum of each; not what describes it."""
    with zipfile.ZipFile(wheel) as archive:
        return {info.filename: info.CRC for info in archive.infolist() if info.filename.startswith("zkmargin/")}


def test_the_source_distribution_has_no_links_and_makes_the_same_wheel(
    copied: Path, wheel: Path, tmp_path: Path
) -> None:
    """It may be unpacked where links are none."""
    with tarfile.open(build_sdist(copied)) as archive:
        assert not [member.name for member in archive if member.issym() or member.islnk()]
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    assert {path.name for path in unpacked.iterdir() if path.is_dir()} == {"src"}
    assert contents(build_wheel(unpacked)) == contents(wheel)
