"""circuits <- verifier <- prover <- service: each imports only to its left; secrets have no repr."""

from __future__ import annotations

import ast

import pytest

from scripts import mutate
from tests.support.imports import LAYERS, circles, imported, imports_of, modules
from tests.support.places import ROOT
from zkmargin.prover.commitment import commit
from zkmargin.prover.witness import Witness


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_to_its_left(layer: str) -> None:
    right = {f"zkmargin.{name}" for name in LAYERS[LAYERS.index(layer) + 1 :]}
    files = sorted((ROOT / layer).rglob("*.py"))
    assert files
    for path in files:
        found = {".".join(name.split(".")[:2]) for name in imported(ast.parse(path.read_text()))}
        assert not found & right, f"{path.relative_to(ROOT)} imports to its right"


def test_no_module_leads_back_to_itself() -> None:
    """What functions import late and what only the type checker reads counts too: it hides a circle and ends none."""
    graph = {name: imports_of(name) for name in modules()}
    assert len(graph) > 150
    assert circles(graph) == []


def test_a_circle_would_be_seen() -> None:
    graph = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"e"}, "e": set(), "f": {"a", "e"}}
    assert circles(graph) == [["a", "b", "c"]]
    assert imports_of("zkmargin.__main__") == {"zkmargin.service.cli.entry"}


def test_only_the_command_line_talks_to_a_terminal() -> None:
    """The layers below have no command line, and the service's other rooms neither print nor ask."""
    room = ROOT / "service" / "cli"
    for name, path in modules().items():
        if path.is_relative_to(room):
            continue
        tree = ast.parse(path.read_text())
        assert not {full.split(".")[0] for full in imported(tree)} & {"typer", "rich", "click", "argparse"}, name
        calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert not {call.id for call in calls if isinstance(call, ast.Name)} & {"print", "input"}, name


def test_the_mathematics_has_no_curve() -> None:
    for path in (ROOT / "circuits").rglob("*.py"):
        assert "arkworks" not in path.read_text().replace('arkworks"', ""), path


def test_the_mutation_tests_know_every_file_of_the_verifier() -> None:
    """A file without a list of tests would end the whole run; a list of no file would show nothing."""
    assert list(mutate.TESTS) == mutate.files()
    for tests in mutate.TESTS.values():
        assert all((ROOT / "tests" / name.partition("::")[0]).is_file() for name in tests)


@pytest.mark.parametrize(
    ("folders", "most"),
    [((*LAYERS, "src", "scripts", "benchmarks", "fuzz", "docs"), 420), (("tests",), 500)],
    ids=["code", "tests"],
)
def test_files_stay_readable(folders: tuple[str, ...], most: int) -> None:
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert len(paths) > 100
    assert {str(p.relative_to(ROOT)) for p in paths if len(p.read_text().splitlines()) > most} == set()


def test_secrets_do_not_show_in_a_repr() -> None:
    _, opening = commit([123456789, -987654321], 256)
    assert "123456789" not in repr(opening)
    assert str(opening.blinding[0]) not in repr(opening)
    from zkmargin.circuits.layout import Layout

    witness = Witness(Layout(256, 1), ((77,) * 256,), (5,) * 256)
    assert "77" not in repr(witness)
