"""Every example of the documents is run, or checked by a test that it names, or counted among those that are not."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from tests.support.doc_blocks import (
    ROOT,
    Block,
    blocks,
    documents,
    every_block,
    matches,
    reader,
    sessions,
    with_earlier,
)
from tests.support.places import find_test
from zkmargin.service.cli.root import app

#: Blocks that nothing runs, by document, each with why. A new one is a decision, and changes this table.
SHOWN = {
    "README.md": ["CI-runs-them", "installs-from-a-registry"],
    "CONTRIBUTING.md": ["CI-runs-them"],
    "SPEC.md": ["a-formula"],
    "VECTORS.md": ["takes-minutes-or-a-program-of-yours", "needs-public-suites"],
}
#: Words with which a line would be a command.
COMMANDS = r"zkmargin|make|pip|python3?|curl|export|git|sqlite3|openssl|\$"


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(sessions()))
def test_the_blocks_run_as_printed(name: str, tmp_path: Path) -> None:
    with reader(tmp_path) as shell:
        for block in with_earlier(name):
            shell.run(block)


def test_every_block_says_what_is_done_with_it() -> None:
    for block in every_block():
        assert len({"run", "test", "shown"} & set(block.marks)) == 1, f"{block.place}: say run, test or shown"
        unknown = set(block.marks) - {"run", "test", "shown", "file", "until", "prints", "after"}
        assert not unknown, f"{block.place}: {unknown}"


def test_the_tests_that_blocks_name_exist() -> None:
    named = [block for block in every_block() if "test" in block.marks]
    assert len(named) > 5
    for block in named:
        file, _, test = block.marks["test"].partition("::")
        tree = ast.parse(find_test(file).read_text())
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, block.place


def test_what_is_not_run_is_counted() -> None:
    found: dict[str, Counter[str]] = {}
    for block in every_block():
        if "shown" in block.marks:
            found.setdefault(block.document, Counter())[block.marks["shown"]] += 1
    assert found == {document: Counter(why) for document, why in SHOWN.items()}


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_no_command_hides_outside_of_a_block(path: Path) -> None:
    """An indented command would be run by nobody."""
    inside = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.S | re.M)
    assert not re.findall(rf"^(?: {{4}}|\t)\s*(?:{COMMANDS})\s.*$", inside, re.M)


def named_commands() -> list[str]:
    """Commands of ours inside of sentences, of every document."""
    texts = "\n".join(re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.S | re.M) for path in documents())
    return sorted({" ".join(found.split()) for found in re.findall(r"`(?:[A-Z_]+=\S+ )?(zkmargin [a-z][^`]*)`", texts)})


@pytest.mark.parametrize("text", named_commands())
def test_a_command_named_in_a_sentence_exists_with_its_options(text: str) -> None:
    _, *words = text.split()
    command: Any = get_command(app)
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands, text
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, text


def test_the_readme_lists_every_document() -> None:
    text = (ROOT / "README.md").read_text()
    for path in (ROOT / "docs").glob("*.md"):
        assert f"docs/{path.name}" in text, path.name


def test_links_between_documents_lead_somewhere() -> None:
    """Files and headings, as the usual readers of Markdown make anchors of them."""
    checked = 0
    for path in documents():
        text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.S | re.M)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"\w+:", target):
                continue
            file, _, anchor = target.partition("#")
            other = (path.parent / file).resolve() if file else path
            assert other.exists(), f"{path.name}: {target}"
            assert not anchor or anchor in anchors(other), f"{path.name}: {target}"
            checked += 1
    assert checked > 50


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def block(text: str, **marks: str) -> Block:
    return Block("x.md", 1, "sh", {"run": "x"} | marks, text)


@pytest.mark.parametrize(
    "broken",
    [block("false\n"), block("true\nno-such-command\ntrue\n"), block("false | true\n"), block("exit 0\n"),
     block("echo something else\n", prints=""), block("echo no; exit 1\n", until="ready")],
    ids=["fails", "fails early", "fails in a pipe", "leaves", "prints what is not in the document", "never ready"],
)  # fmt: skip
def test_a_block_that_does_not_work_is_seen(broken: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of this whole file."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "x.md").write_text("Nothing is printed here.")
    monkeypatch.setattr("tests.support.doc_blocks.ROOT", tmp_path)
    place = tmp_path / "reader"
    place.mkdir()
    with reader(place) as shell:
        shell.run(block("echo fine\n"))
        with pytest.raises(AssertionError, match=r"x\.md:1"):
            shell.run(broken)


def test_another_output_than_the_printed_one_is_seen() -> None:
    matches("one\ntwo\nthree\n", ["one", "...", "three"], block(""))
    for wrong in (["one", "three"], ["one", "...", "two"], ["two", "..."], ["one", "two", "three", "four"]):
        with pytest.raises(AssertionError):
            matches("one\ntwo\nthree\n", wrong, block(""))


def test_a_block_without_a_mark_or_an_end_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "x.md"
    page.write_text("```sh\nmake\n```\n")
    assert [b.marks for b in blocks(page)] == [{}]
    page.write_text("```sh run=a\nmake\n")
    with pytest.raises(AssertionError):
        blocks(page)
