"""circuits <- verifier <- prover <- service: each imports only to its left; secrets have no repr."""

from __future__ import annotations

import ast

import pytest

from scripts import mutate
from tests.support.places import ROOT
from zkmargin.prover.commitment import commit
from zkmargin.prover.witness import Witness

ORDER = ("circuits", "verifier", "prover", "service")


@pytest.mark.parametrize("layer", ORDER)
def test_a_layer_imports_only_to_its_left(layer: str) -> None:
    right = set(ORDER[ORDER.index(layer) + 1 :])
    files = sorted((ROOT / layer).rglob("*.py"))
    assert files
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            assert not {n.split(".")[0] for n in names} & right, f"{path.relative_to(ROOT)} imports to its right"


def test_the_mathematics_has_no_curve() -> None:
    for path in (ROOT / "circuits").rglob("*.py"):
        assert "arkworks" not in path.read_text().replace('arkworks"', ""), path


def test_the_mutation_tests_know_every_file_of_the_verifier() -> None:
    """A file without a list of tests would end the whole run; a list of no file would show nothing."""
    assert list(mutate.TESTS) == mutate.files()
    for tests in mutate.TESTS.values():
        assert all((ROOT / "tests" / name.partition("::")[0]).is_file() for name in tests)


def test_files_stay_readable() -> None:
    for layer in ORDER:
        for path in (ROOT / layer).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 420, path


def test_secrets_do_not_show_in_a_repr() -> None:
    _, opening = commit([123456789, -987654321], 256)
    assert "123456789" not in repr(opening)
    assert str(opening.blinding[0]) not in repr(opening)
    from zkmargin.circuits.layout import Layout

    witness = Witness(Layout(256, 1), ((77,) * 256,), (5,) * 256)
    assert "77" not in repr(witness)
