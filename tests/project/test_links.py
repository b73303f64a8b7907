"""A checkout without symbolic links, as git makes it on Windows: what it says, and how it is mended."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.links import LAYERS
from tests.support.places import ROOT

pytestmark = pytest.mark.slow

BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


def run(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=place, capture_output=True, text=True, check=False)


def git(place: Path, *words: str) -> str:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.invalid", "-c", "commit.gpgsign=false")
    done = run(place, "git", *who, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone with text files for links, of a small repository of the same form."""
    origin = tmp_path / "origin"
    for name in LAYERS:
        (origin / name).mkdir(parents=True)
        (origin / name / "__init__.py").write_text(f'NAME = "{name}"\n')
    shutil.copytree(ROOT / "src" / "zkmargin", origin / "src" / "zkmargin", symlinks=True)
    (origin / "scripts").mkdir()
    for name in ("scripts/links.py", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, origin / name)
    git(origin, "init", "--quiet")
    git(origin, "add", "--all")
    git(origin, "commit", "--quiet", "--message", "x")
    git(tmp_path, "clone", "--quiet", "-c", "core.symlinks=false", str(origin), "clone")
    made = tmp_path / "clone"
    assert all((made / "src" / "zkmargin" / name).read_text() == f"../../{name}" for name in LAYERS)
    return made


def test_the_links_are_mended_and_git_sees_no_change(checkout: Path) -> None:
    done = run(checkout, sys.executable, "scripts/links.py")
    assert (done.returncode, done.stdout) == (0, "linked in src/zkmargin: circuits, verifier, prover, service\n")
    for name in LAYERS:
        code = f"import sys; sys.path.insert(0, 'src'); from zkmargin.{name} import NAME; print(NAME)"
        assert run(checkout, sys.executable, "-c", code).stdout == f"{name}\n"
    assert git(checkout, "status", "--porcelain") == ""
    again = run(checkout, sys.executable, "scripts/links.py")
    assert (again.returncode, again.stdout) == (0, "")


def test_a_build_says_what_to_do(checkout: Path) -> None:
    done = run(checkout, sys.executable, "-c", BUILD, "built")
    assert done.returncode != 0
    assert "src/zkmargin/circuits is no folder" in done.stderr
    assert "Run: python scripts/links.py" in done.stderr
    assert run(checkout, sys.executable, "scripts/links.py").returncode == 0
    assert run(checkout, sys.executable, "-c", BUILD, "built").returncode == 0


def test_an_archive_without_git_is_mended_too(checkout: Path) -> None:
    shutil.rmtree(checkout / ".git")
    (checkout / "src" / "zkmargin" / "prover").unlink()
    assert run(checkout, sys.executable, "scripts/links.py").returncode == 0
    assert (checkout / "src" / "zkmargin" / "prover").samefile(checkout / "prover")


def test_what_is_no_link_is_not_replaced(checkout: Path) -> None:
    place = checkout / "src" / "zkmargin" / "service"
    place.write_text("something of mine")
    done = run(checkout, sys.executable, "scripts/links.py")
    assert (done.returncode, "move away what is there" in done.stderr) == (1, True)
    assert place.read_text() == "something of mine"
    assert (checkout / "src" / "zkmargin" / "circuits").is_file()
