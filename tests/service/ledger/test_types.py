"""The money path has types: no ``Any`` in ledger and store, JSON at one edge, and a journal whose bytes stay."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import get_args, get_type_hints

import pytest

from tests.project.test_docs import block
from tests.support.places import ROOT
from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.errors import CorruptData, ZkMarginError
from zkmargin.service.ledger import answers, changes
from zkmargin.service.ledger.changes import KINDS, Change, read_content, sealed_bytes

ROOMS = ("service/ledger", "service/store")
#: What the ledger parses, and where: everything else goes through ``json_tree``. A signed import and the columns of
#: pydantic models are checked by their schema instead.
PARSERS = {"service/ledger/json_tree.py", "service/ledger/imports.py"}


def sources() -> Iterator[tuple[str, ast.Module]]:
    """The modules of both rooms, by path below the project's folder."""
    for room in ROOMS:
        for path in sorted((ROOT / room).glob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def names(tree: ast.Module) -> set[str]:
    """Every name and attribute that a module mentions, and what it imports."""
    out: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            out.add(node.id)
        elif isinstance(node, ast.Attribute):
            out.add(node.attr)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            out.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            out.add(node.value)  # an annotation in quotes
    return out


def test_nothing_is_of_any_type() -> None:
    assert [path for path, tree in sources() if "Any" in names(tree)] == []
    assert "Any" in names(ast.parse("from typing import Any"))
    assert "Any" in names(ast.parse("x: 'Any' = 1"))


def test_json_is_parsed_at_the_edge_alone() -> None:
    found = {path for path, tree in sources() if {"parse_json", "loads"} & names(tree)}
    assert found == PARSERS


def test_amounts_are_integers() -> None:
    """Fields that hold money in answers and changes, wherever they stand."""
    money = {"amount", "free", "used", "paid", "released", "live", "cap", "exposure"}
    seen: set[str] = set()
    for module in (answers, changes):
        for kind in vars(module).values():
            if isinstance(kind, type) and is_dataclass(kind):
                hints = get_type_hints(kind)
                held = {field.name for field in fields(kind)} & money
                assert all(hints[name] is int for name in held), kind
                seen |= held
    assert seen >= {"amount", "free", "used", "paid", "released", "live"}


# The journal.

COMMITTED = {"blinding": ["01" + "00" * 31, "02" + "00" * 31], "domain": 64, "registry": "ab" * 32}
#: The document is with the first account of an import, cash with a release that is paid.
MAY_BE_ABSENT = {("imported", "document"), ("credit-released", "delta")}


@pytest.fixture(scope="module")
def evidence() -> dict[str, object]:
    """A statement with something in place of its proof and authorisation, which are read as they are."""
    statement = json.loads(block("statement.json"))
    return {"statement": statement, "proof": "00ff", "authorisation": {"jws": "a.b.c", "schema": "s"}}


#: A content of each kind as it was always written, without its salt; ``...`` stands for the evidence.
WRITTEN: dict[str, dict[str, object]] = {
    "opened": {"rule": "cross-margin/1", "jurisdiction": "", "encryption_key": "cd" * 32, **COMMITTED},
    "deposited": {"reference": "r-1", "delta": {"QUOTE-0": "10.50"}, **COMMITTED},
    "withdrawn": {"delta": {"QUOTE-0": "-10"}, "destination": "vault-1", "proof": ..., **COMMITTED},
    "recommitted": {**COMMITTED},
    "credit-issued": {"credit": "c1", "venue": "v", "amount": "1000", "expires": 7, "proof": ..., **COMMITTED},
    "credit-consumed": {"credit": "c1", "used": "5", "fills": [["BTC-PERP", "0.1"], ["ETH-PERP", "-2"]]},
    "credit-released": {"credit": "c1", "free": "0", "used": "7", "paid": "3", "delta": {"Q": "-0.03"}, **COMMITTED},
    "credit-expired": {"credit": "c1", "free": "9", "used": "0", "paid": "0", **COMMITTED},
    "traded": {"trade": "t", "venue": "v", "delta": {"Q": "1"}, "proof": ..., **COMMITTED},
    "imported": {
        "import": "ef" * 32, "delta": {"Q": "1"}, "document": {"jws": "a.b.c", "schema": "s"}, "key": "01" * 32,
        **COMMITTED,
    },
    "frozen": {},
    "unfrozen": {},
}  # fmt: skip


def written(kind: str, evidence: dict[str, object]) -> dict[str, object]:
    """The content with evidence and salt."""
    tree = WRITTEN[kind] | {"salt": "5a" * 16}
    return tree | evidence if tree.get("proof") is ... else tree


@pytest.mark.parametrize("kind", KINDS)
def test_the_sealed_bytes_of_each_kind_stay(kind: str, evidence: dict[str, object]) -> None:
    data = canonical_bytes(written(kind, evidence))
    content = read_content(kind, data)
    assert content.change.kind == kind
    assert sealed_bytes(content.change, content.committed, "5a" * 16) == data
    # The salt is fresh otherwise, so that equal changes have different digests.
    fresh = json.loads(sealed_bytes(content.change, content.committed))
    assert (len(fresh.pop("salt")), fresh) == (32, {k: v for k, v in json.loads(data).items() if k != "salt"})


@pytest.mark.parametrize("kind", KINDS)
def test_a_content_that_says_more_or_less_is_refused(kind: str, evidence: dict[str, object]) -> None:
    tree = written(kind, evidence)
    documents = {"document", "authorisation"}
    for name in tree:
        if (kind, name) not in MAY_BE_ABSENT:
            with pytest.raises(ZkMarginError):
                read_content(kind, canonical_bytes({k: v for k, v in tree.items() if k != name}))
        for other in (None, True, [[1]], {"x": 1}):
            if name in documents and isinstance(other, dict):
                continue  # a signed document is looked at where its signature is
            with pytest.raises((ZkMarginError, ValueError)):
                read_content(kind, canonical_bytes(tree | {name: other}))
    with pytest.raises(CorruptData):
        read_content(kind, canonical_bytes(tree | {"note": "more"}))
    with pytest.raises(CorruptData):
        read_content(kind, canonical_bytes(tree) + b" ")


@pytest.mark.parametrize("amount", ["007", "-1", "1.0", "1_0", " 1", "١", ""])
def test_an_amount_is_written_in_one_way(amount: str) -> None:
    tree = WRITTEN["credit-consumed"] | {"used": amount, "salt": "5a" * 16}
    with pytest.raises(CorruptData):
        read_content("credit-consumed", canonical_bytes(tree))


def test_no_kind_is_forgotten() -> None:
    assert [kind.kind for kind in get_args(Change)] == [*KINDS]
    assert set(WRITTEN) == set(KINDS)
    with pytest.raises(CorruptData):
        read_content("renamed", b"{}")
