"""Every path, module, name and test that a document mentions is there."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.support.places import ROOT

TOP = ("circuits", "verifier", "prover", "service", "src", "tests", "scripts", "benchmarks", "fuzz", "docs")
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "adr").glob("*.md")),
]
#: Dotted names that are no modules: the entry point group, the default database, a hub of the vectors.
NO_MODULES = {"zkmargin.rules", "zkmargin.db"}
#: Files that an example has its reader write.
WRITTEN_BY_READERS = {"program.py"}
#: What a run makes.
MADE = {"benchmarks/peers/.work", "fuzz/findings"}


def named_paths(text: str) -> set[str]:
    """Paths from the top of the checkout, without a placeholder in capitals."""
    found = re.findall(rf"(?<![\w./-])(?:{'|'.join(TOP)})/[\w./-]*[\w/]", text)
    return {path for path in found if not re.search(r"\b[A-Z]+\.py$", path)} - MADE


def is_there(name: str) -> bool:
    """Whether a dotted name is a module, or a name in one."""
    module, names = name, []
    while True:
        try:
            found = importlib.import_module(module)
            break
        except ModuleNotFoundError:
            module, _, last = module.rpartition(".")
            names.insert(0, last)
            if not module:
                return False
    for part in names:
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_document_names_exists(page: Path) -> None:
    text = page.read_text()
    missing = {path for path in named_paths(text) if not (ROOT / path).exists()}
    dotted = set(re.findall(r"(?<![\w./:-])zkmargin(?:\.\w+)+", text)) - NO_MODULES
    missing |= {name for name in dotted if not is_there(name)}
    here = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    missing |= {name for name in re.findall(r"\btest_\w+\.py", text) if here[name] != 1}
    files = {path.name for top in TOP for path in (ROOT / top).rglob("*.py")} | WRITTEN_BY_READERS
    if page.name != "MUTANTS.md":  # the record of a run of its day
        missing |= set(re.findall(r"`(\w+\.py)`", text)) - files
    assert not missing, f"{page.name}: {sorted(missing)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_document_imports_a_layer_by_its_bare_name(page: Path) -> None:
    assert not re.findall(r"\b(?:from|import) (?:circuits|verifier|prover|service)\b", page.read_text())


def test_names_of_the_specification_are_those_of_the_code() -> None:
    """SPEC.md says that names in ``code`` style are the source's."""
    code = "\n".join(path.read_text() for layer in TOP[:3] for path in (ROOT / layer).rglob("*.py"))
    known = set(re.findall(r"\w+", code))
    text = re.sub(r"^```.*?^```$", "", (ROOT / "docs" / "SPEC.md").read_text(), flags=re.S | re.M)
    named = {name for name in re.findall(r"`([A-Za-z_]\w*)`", text) if not re.fullmatch("[0-9a-f]{64}", name)}
    assert len(named) > 80
    assert not named - known, sorted(named - known)


def test_the_readme_says_where_to_look() -> None:
    """Files, and the names in them, of the table that a newcomer reads first."""
    table = (ROOT / "README.md").read_text().partition("## Where to look\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!where is|---)(.*?) \| (.*?) \| (.*?) \|$", table, re.M)
    told = " ".join(row[0] for row in rows)
    for asked in ("a proof checked", "a credit booked", "a rule written", "key stored"):
        assert asked in told
    for _, files, names in rows:
        modules = [
            importlib.import_module("zkmargin." + path.removesuffix(".py").replace("/", "."))
            for path in re.findall(r"\]\(([\w/.]+)\)", files)
        ]
        assert modules
        for name in re.findall(r"`(\w+)`", names):
            assert any(hasattr(module, name) for module in modules), f"{files}: {name}"


def test_the_indices_are_complete() -> None:
    """Of the documents, and of the decisions, which are numbered without a gap and have three parts each."""
    index = (ROOT / "docs" / "README.md").read_text()
    assert all(f"]({page.name})" in index for page in (ROOT / "docs").glob("*.md") if page.name != "README.md")
    records = sorted((ROOT / "docs" / "adr").glob("0*.md"))
    listed = (records[0].parent / "README.md").read_text()
    for number, record in enumerate(records, 1):
        text = record.read_text()
        title = re.fullmatch(rf"# ({number:04}) (.+)", text.partition("\n")[0])
        assert title, record.name
        assert f"| [{title[1]}]({record.name}) | {title[2]} |" in listed, record.name
        assert [f"**{part}.**" in text for part in ("Context", "Decision", "Considered", "Consequences")] == [True] * 4


def test_the_control() -> None:
    assert named_paths("`service/ledger/credits.py`, [x](docs/HUB.md#a) and service/nothing.py.") == {
        "service/ledger/credits.py", "docs/HUB.md", "service/nothing.py",
    }  # fmt: skip
    assert named_paths("`circuits/rules/NAME.py`") == set()
    assert is_there("zkmargin.verifier.batch.verify_batch")
    assert not is_there("zkmargin.verifier.verify.no_such_name")
    assert not is_there("zkmargin.no_such_module.at_all")
