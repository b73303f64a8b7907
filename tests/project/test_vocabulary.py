"""One word for one thing: the retired words of docs/GLOSSARY.md are in no name of the code, nor in what it says."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.doc_blocks import documents
from tests.support.places import ROOT

LAYERS = ("circuits", "verifier", "prover", "service")
FOLDERS = (*LAYERS, "tests", "scripts", "benchmarks", "fuzz", "docs/examples")
GLOSSARY = (ROOT / "docs" / "GLOSSARY.md").read_text()

#: Retired words. None of them names a module.
RETIRED = ("book", "spoke", "judge", "wire", "strict", "access", "offer", "log", "logs")
#: Those that no other name has as a part either, but for these: the verb, and the wire's member and option.
NAMES = {"book": r"book|book_\w+|test_\w+", "spoke": r"spoke", "judge": r"test_\w+_judged?(_\w+)?"}
#: Files whose name is the wire's: the topic ``log`` of the vectors.
WIRE_FILES = {"log": {"topics/log.py"}}
#: What may stand before or after a retired word in prose that quotes the wire.
QUOTED = re.compile(r"``[^`]*``|`[^`]*`|\"[^\"]*\"|--spoke|\bspoke-\w+|\.spoke\b|\b\w+::\w+|\btest_\w+")


def files() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def parts(name: str) -> set[str]:
    """The words that a name is made of."""
    return {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def tokens(path: Path) -> Iterator[tokenize.TokenInfo]:
    yield from tokenize.generate_tokens(io.StringIO(path.read_text()).readline)


def test_the_glossary_and_this_test_retire_the_same_words() -> None:
    table = GLOSSARY.partition("## Retired words")[2]
    assert re.findall(r"^\| ([a-z]+) \| (?!what it named)", table, re.M) == list(RETIRED)


def test_no_module_bears_a_retired_word_as_its_name() -> None:
    for path in files():
        stem = path.stem
        if stem in RETIRED:
            allowed = WIRE_FILES.get(stem, set())
            assert any(path.as_posix().endswith(name) for name in allowed), f"{path.relative_to(ROOT)}: {stem}"


@pytest.mark.parametrize("word", NAMES)
def test_no_name_has_a_retired_word_in_it(word: str) -> None:
    found = set()
    for path in files():
        for token in tokens(path):
            named = token.type == tokenize.NAME and word in parts(token.string)
            if named and not re.fullmatch(NAMES[word], token.string):
                found.add(f"{path.relative_to(ROOT)}:{token.start[0]}: {token.string}")
    assert not found, "\n".join(sorted(found))


def test_book_is_a_verb() -> None:
    """No class, variable or argument is one: the name is imported, or defined or called as a function."""
    found = set()
    for path in files():
        before, now = "", ""
        for token in tokens(path):
            if now == "book" and token.string != "(" and before not in {"import", ",", "def"}:
                found.add(f"{path.relative_to(ROOT)}:{token.start[0]}")
            if token.type in (tokenize.NAME, tokenize.OP):
                before, now = now, token.string
    assert not found, "\n".join(sorted(found))


@pytest.mark.parametrize("word", ["spoke", "judge"])
def test_no_sentence_of_the_code_says_a_retired_word(word: str) -> None:
    """In comments and docstrings, but where the wire is quoted."""
    found = set()
    for path in files():
        for token in tokens(path):
            if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and token.string.startswith('"""')):
                said = QUOTED.sub("", token.string.strip('"'))
                if re.search(rf"\b{word}s?\b", said, re.I):
                    found.add(f"{path.relative_to(ROOT)}:{token.start[0]}")
    assert not found, "\n".join(sorted(found))


@pytest.mark.parametrize("page", documents(), ids=lambda page: page.name)
def test_no_document_says_what_the_glossary_retired(page: Path) -> None:
    """But for the glossary itself, examples, and the wire's member, which is in a table's first column or dotted."""
    text = re.sub(r"^```.*?^```$|`[^`]*`|^\| spoke \|| \.spoke\b", "", page.read_text(), flags=re.S | re.M)
    if page.name != "GLOSSARY.md":
        assert not re.findall(r".*\b(?:spokes?|judges?)\b.*", text, re.I)


def test_the_control() -> None:
    assert parts("SPOKE_A") == {"spoke", "a"}
    assert parts("LogForked") == {"log", "forked"}
    assert parts("WIRE_VERSIONS") == {"wire", "versions"}
    assert "log" not in parts("login_catalogue")
