"""The wheel has the frozen vectors and what answers them; what makes them, and what cheats, stays in tests/."""

from __future__ import annotations

import ast
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.places import ROOT
from tests.support.wheels import build_wheel, copy_sources
from zkmargin.service.vectors.case import frozen_files

pytestmark = pytest.mark.slow

INSIDE = "zkmargin/service/vectors/"
#: What answers cases. A module that joins them is looked at by whoever adds it here.
MODULES = (
    "__init__", "case", "curves_native", "curves_reference", "data/__init__", "driver", "eip2537", "engine", "flags",
    "native", "reference", "runner", "signatures", "suites",
)  # fmt: skip


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """Every file of the wheel by its name."""
    with zipfile.ZipFile(build_wheel(copy_sources(tmp_path_factory.mktemp("source")))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def trees(files: Mapping[str, bytes]) -> Iterator[tuple[str, ast.AST]]:
    """Every node of every module, with the module's file."""
    for name, data in files.items():
        if name.endswith(".py"):
            for node in ast.walk(ast.parse(data)):
                yield name, node


def imported(node: ast.AST) -> list[str]:
    """The modules, and the names in them, that a node imports."""
    if isinstance(node, ast.ImportFrom):
        return [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def weapons(files: Mapping[str, bytes]) -> set[str]:
    """Files that import the tests, chose a proof's randomness, or have the names or the seed of the generators."""
    defined = {
        node.name
        for path in ("vectors/seed.py", "vectors/weak.py", "support/cheating.py")
        for node in ast.walk(ast.parse((ROOT / "tests" / path).read_text()))
        if isinstance(node, ast.ClassDef)
    }
    found = set()
    for name, node in trees(files):
        if isinstance(node, ast.ClassDef) and node.name in defined:
            found.add(f"{name}: class {node.name}")
        given = [word.value for word in node.keywords if word.arg == "randomness"] if isinstance(node, ast.Call) else []
        # Handing on what one was given chooses nothing.
        if any(not isinstance(value, ast.Name) or value.id != "randomness" for value in given):
            found.add(f"{name}: chooses the randomness of a proof or commitment")
        if isinstance(node, ast.Constant) and "never for anything else" in repr(node.value):
            found.add(f"{name}: the public seed")
        found |= {f"{name}: imports {module}" for module in imported(node) if module.split(".")[0] == "tests"}
    return found


def test_the_wheel_has_the_frozen_files(packed: Mapping[str, bytes]) -> None:
    inside = {f"{INSIDE}data/{path}": data for path, data in frozen_files().items()}
    assert len(inside) == 17
    assert {name: packed.get(name) for name in inside} == inside


def test_the_wheel_has_what_answers_them_and_nothing_that_makes_them(packed: Mapping[str, bytes]) -> None:
    modules = {name.removeprefix(INSIDE) for name in packed if name.startswith(INSIDE) and name.endswith(".py")}
    assert modules == {f"{name}.py" for name in MODULES}
    assert weapons(packed) == set()


def test_control_the_generators_would_be_found() -> None:
    made = {path.name: path.read_bytes() for path in (ROOT / "tests" / "vectors").rglob("*.py")}
    told = "\n".join(sorted(weapons(made)))
    for sign in ("the public seed", "class Stream", "accounts.py: chooses the randomness", "cheats.py: imports tests"):
        assert sign in told


def test_no_vector_engine_can_prove(packed: Mapping[str, bytes]) -> None:
    """They open commitments, and nothing else of the prover."""
    used = {
        module
        for name, node in trees({name: data for name, data in packed.items() if name.startswith(INSIDE)})
        for module in imported(node)
        if module.startswith("zkmargin.prover.") and isinstance(node, ast.ImportFrom)
    }
    assert not {module for module in used if module.split(".")[2] in ("prove", "rounds", "witness")}


def test_only_the_command_imports_the_vectors() -> None:
    """Of all modules only those below service/vectors import each other, and one command group them."""
    for layer in ("circuits", "verifier", "prover", "service"):
        for path in (ROOT / layer).rglob("*.py"):
            place = path.relative_to(ROOT)
            if place.is_relative_to(Path("service/vectors")) or str(place) == "service/cli/vectors.py":
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                assert not any("zkmargin.service.vectors" in name for name in imported(node)), place
