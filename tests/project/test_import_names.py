"""One import name: nothing of the project is imported, run or named as a module but below ``zkmargin``."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.imports import LAYERS, imported
from tests.support.places import ROOT

FOLDERS = (*LAYERS, "src", "tests", "scripts", "benchmarks", "fuzz", "docs")
#: Texts that name modules to Python, setuptools, mypy or coverage.
SETTINGS = ("pyproject.toml", "Makefile", ".ci/run")
ONE_OF = "|".join(LAYERS)
#: A whole string that could be a module, or an entry point: ``service.cli.entry:main``.
DOTTED = re.compile(rf"(?:{ONE_OF})(?:\.[A-Za-z_]\w*)+(?::\w+)?")
#: A line of Python inside of other text, and a module that a command runs.
LINE = re.compile(rf"^[ >.]*(?:from (?:{ONE_OF})(?:\.\w+)* import|import (?:{ONE_OF})\b).*|-m (?:{ONE_OF})\b", re.M)


def is_module(text: str) -> bool:
    """Whether ``service.cli`` and what follows it is a module of ours; ``service.json`` is a file."""
    first, second = text.partition(":")[0].split(".")[:2]
    return (ROOT / first / second).is_dir() or (ROOT / first / f"{second}.py").is_file()


def bare(source: str) -> Iterator[str]:
    """Each bare name in a Python source: imported, or in a string that is a module's name."""
    tree = ast.parse(source)
    yield from (name for name in imported(tree) if name.split(".")[0] in LAYERS)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if DOTTED.fullmatch(node.value) and is_module(node.value):
                yield node.value
            yield from LINE.findall(node.value)


def sources() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def test_no_python_file_names_a_bare_module() -> None:
    paths = [path for path in sources() if path != Path(__file__)]
    assert len(paths) > 300
    assert {str(path.relative_to(ROOT)): found for path in paths if (found := list(bare(path.read_text())))} == {}


def test_no_document_and_no_setting_names_a_bare_module() -> None:
    paths = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in SETTINGS)]
    for path in paths:
        text = path.read_text()
        assert not LINE.findall(text), path.name
        quoted = [name for name in re.findall(r"[\"'`]([\w.:]+)[\"'`]", text) if DOTTED.fullmatch(name)]
        assert not [name for name in quoted if is_module(name)], path.name


@pytest.mark.parametrize(
    "source",
    ["import circuits", "import service.cli as c", "from verifier import verify", "from prover.prove import prove",
     "def f():\n    from service.http.app import create_app", "find('service.http.app')",
     "entry = 'service.cli.entry:main'", "run('''\nimport circuits.units\n''')", "run('python -m service.cli')"],
)  # fmt: skip
def test_a_bare_name_would_be_seen(source: str) -> None:
    assert list(bare(source))


@pytest.mark.parametrize(
    "source",
    ["import zkmargin.circuits", "from zkmargin.service import cli", "open('service.json')", "x = 'circuits'",
     "from zkmargin import verifier", "x = 'zkmargin.service.cli'"],
)  # fmt: skip
def test_what_is_none_is_left_alone(source: str) -> None:
    assert not list(bare(source))
