"""Every public field is bound: change one, and the old proof is refused with a typed error.

The JSON trees of statement and snapshot are walked, so that a new field is tested on the day it is added.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.support.cheating import CheatingProver, attempt
from tests.support.toy import (
    NOW,
    Account,
    Tree,
    load_snapshot,
    load_statement,
    open_account,
    sample_account,
    snapshot_tree,
    statement_tree,
    trade,
)
from zkmargin.circuits.errors import MalformedInput, ProofRejected, StatementMismatch, ZkMarginError
from zkmargin.circuits.statement import bind
from zkmargin.prover.prove import prove
from zkmargin.verifier.verify import verify

Path = tuple[str | int, ...]

ACCOUNT = sample_account(1)
#: A statement that uses every field: an amount, a trade, a multiplier.
CHANGES: Tree = {
    "amount": "12.34",
    "multiplier": "1.5",
    "delta": [trade(ACCOUNT.snapshot, 0, -50), trade(ACCOUNT.snapshot, 2, 5)],
}
STATEMENT, PROOF = ACCOUNT.proof(**CHANGES)
STATEMENT_TREE: Tree = copy.deepcopy(dict(STATEMENT.tree))
SNAPSHOT_TREE: Tree = copy.deepcopy(dict(ACCOUNT.snapshot.tree))


def leaves(node: Any, path: Path = ()) -> Iterator[Path]:
    """The path of every scalar in a JSON tree."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
    if items is None:
        yield path
        return
    for key, value in items:
        yield from leaves(value, (*path, key))


def branches(node: Any, path: Path = ()) -> Iterator[Path]:
    """The path of every object in a JSON tree."""
    if isinstance(node, dict):
        yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from branches(value, (*path, key))


def at(tree: Any, path: Path) -> Any:
    """The node at a path."""
    for key in path:
        tree = tree[key]
    return tree


def changed(tree: Tree, path: Path, value: Any) -> Tree:
    """A copy with one leaf replaced."""
    out = copy.deepcopy(tree)
    at(out, path[:-1])[path[-1]] = value
    return out


OTHER_COMMITMENT = open_account(ACCOUNT.snapshot, ACCOUNT.opening.lots).commitment.hex()
WORDS = {"initial": "maintenance", "per-lot": "per-position", "spot": "perpetual", "large": "open"}
WORDS |= {STATEMENT_TREE["commitment"]: OTHER_COMMITMENT}


def variants(path: Path, value: Any) -> list[Any]:
    """Other values of the same type, near and far; most of them are well-formed."""
    if value is None:
        return ["5", 5]
    if isinstance(value, int):
        return [512, 1024] if path == ("domain",) else [value + 1, max(value - 1, 0) if value else 2]
    if value in WORDS:
        return [WORDS[value]]
    digits = value.removeprefix("-")
    if len(value) in (32, 64) and set(value) <= set("0123456789abcdef"):
        return [
            ("0" if value[0] != "0" else "1") + value[1:],
            value[:-1] + ("0" if value[-1] != "0" else "1"),
        ]
    if digits.replace(".", "", 1).isdigit():
        bumped = digits[:-1] + ("1" if digits[-1] != "1" else "2")
        negated = digits if value.startswith("-") else "-" + digits
        return [value.replace(digits, bumped), "1" + value.replace("-", ""), negated]
    return [value + "x"]


def cases(tree: Tree) -> list[Any]:
    """(path, other value) for every leaf."""
    out = []
    for path in leaves(tree):
        for index, value in enumerate(variants(path, at(tree, path))):
            assert value != at(tree, path)
            # No value in the name: commitments differ between the processes that collect.
            out.append(pytest.param(path, value, id=f"{'.'.join(map(str, path))}-{index}"))
    return out


def check(statement_tree: Tree, snapshot_tree: Tree = SNAPSHOT_TREE, proof: bytes = PROOF) -> None:
    """What a verifier does with documents."""
    verify(load_statement(statement_tree), load_snapshot(snapshot_tree), proof, now=NOW)


def test_control_the_walked_trees_are_complete_and_verify() -> None:
    check(STATEMENT_TREE)
    top = {path[0] for path in leaves(STATEMENT_TREE)}
    assert top == set(statement_tree(ACCOUNT.snapshot, ACCOUNT.commitment))
    context = {path[1] for path in leaves(STATEMENT_TREE) if path[0] == "context"}
    assert context == {"hub", "account", "epoch", "spoke", "nonce", "expiry"}
    assert {path[0] for path in leaves(SNAPSHOT_TREE)} == set(snapshot_tree())


@pytest.mark.parametrize(("path", "value"), cases(STATEMENT_TREE))
def test_changed_statement_field_is_refused(path: Path, value: Any) -> None:
    with pytest.raises(ZkMarginError):
        check(changed(STATEMENT_TREE, path, value))


@pytest.mark.parametrize(("path", "value"), cases(SNAPSHOT_TREE))
def test_changed_snapshot_field_is_refused_under_the_old_statement(path: Path, value: Any) -> None:
    with pytest.raises((StatementMismatch, MalformedInput)):
        check(STATEMENT_TREE, changed(SNAPSHOT_TREE, path, value))


@pytest.mark.parametrize(("path", "value"), cases(SNAPSHOT_TREE))
def test_changed_snapshot_field_is_refused_under_a_statement_that_names_it(path: Path, value: Any) -> None:
    tree = changed(SNAPSHOT_TREE, path, value)
    try:
        digest = load_snapshot(tree).digest
    except MalformedInput as refusal:
        assert str(refusal.field).startswith("snapshot")  # noqa: PT017 - either refusal will do
        return
    with pytest.raises(ZkMarginError):
        check(STATEMENT_TREE | {"snapshot": digest.hex()}, tree)


#: Well-formed changes of each field: the refusal must come from the proof, not from the parser.
WELL_FORMED: dict[str, tuple[Path, Any]] = {
    "commitment": (("commitment",), OTHER_COMMITMENT),
    "less amount": (("amount",), "12.33"),
    "more amount": (("amount",), "12.35"),
    "no amount": (("amount",), "0"),
    "same amount in other digits": (("amount",), "12.340"),
    "level": (("level",), "maintenance"),
    "multiplier": (("multiplier",), "1.4"),
    "same multiplier in other digits": (("multiplier",), "1.50"),
    "horizon": (("horizon",), 3601),
    "no trade": (("delta",), []),
    "half of the trade": (("delta",), STATEMENT_TREE["delta"][:1]),
    "trade in another order": (("delta",), STATEMENT_TREE["delta"][::-1]),
    "a trade of nothing": (("delta",), [*STATEMENT_TREE["delta"], trade(ACCOUNT.snapshot, 1, 0)]),
    "trade of another instrument": (("delta", 1, "instrument"), ACCOUNT.snapshot.instruments[3].id),
    "trade of another quantity": (("delta", 1, "quantity"), "0.06"),
    "purpose": (("purpose",), {"for": "trade", "limit": "1000000", "counterparty": "any"}),
    "hub": (("context", "hub"), "hub-2"),
    "account": (("context", "account"), "bob"),
    "epoch before": (("context", "epoch"), 6),
    "epoch after": (("context", "epoch"), 8),
    "spoke": (("context", "spoke"), "spoke-2"),
    "nonce": (("context", "nonce"), "f" * 32),
    "expiry": (("context", "expiry"), NOW + 10**6),
}


@pytest.mark.parametrize(("path", "value"), WELL_FORMED.values(), ids=WELL_FORMED)
def test_well_formed_other_statement_is_refused_by_the_equation(path: Path, value: Any) -> None:
    tree = changed(STATEMENT_TREE, path, value)
    assert load_statement(tree).digest != STATEMENT.digest
    with pytest.raises(ProofRejected):
        check(tree)


def test_the_other_version_of_a_statement_is_another_statement() -> None:
    """Version 1 shows as much and says less: neither proof is the other's."""
    older = {k: v for k, v in STATEMENT_TREE.items() if k != "purpose"} | {"schema": "zkmargin/statement/1"}
    assert load_statement(older).purpose == STATEMENT.purpose
    with pytest.raises(ProofRejected):
        check(older)
    check(older, proof=prove(load_statement(older), ACCOUNT.snapshot, ACCOUNT.opening))


USES: list[Tree] = [
    {"for": "credit", "venue": "spoke-1", "amount": "12.34", "expires": NOW + 60},
    {"for": "trade", "limit": "1000000", "counterparty": "any"},
    {"for": "withdrawal", "destination": "vault-1"},
]
#: What else must change for a purpose to fit its statement.
FITTING: list[Tree] = [
    {"delta": []},
    {},
    {"delta": CHANGES["delta"][:1], "context": STATEMENT_TREE["context"] | {"spoke": "hub-1"}},
]


@pytest.mark.parametrize(("use", "fitting"), list(zip(USES, FITTING, strict=True)), ids=[use["for"] for use in USES])
def test_every_member_of_a_purpose_is_bound(use: Tree, fitting: Tree) -> None:
    """The proof of one purpose is of no other, member by member, and a control verifies."""
    tree = STATEMENT_TREE | fitting | {"purpose": use}
    stated = load_statement(tree)
    proof = prove(stated, ACCOUNT.snapshot, ACCOUNT.opening)
    check(tree, proof=proof)
    others: list[Tree] = [{"purpose": {"for": "show"}}]
    if use["for"] == "credit":
        others += [{"purpose": use | {"amount": "12.33"}}, {"purpose": use | {"expires": NOW + 61}}]
    elif use["for"] == "trade":
        others += [{"purpose": use | {"limit": "999999"}}, {"purpose": use | {"counterparty": "bob"}}]
    else:
        others += [{"purpose": use | {"destination": "vault-2"}}]
    for other in others:
        assert load_statement(tree | other).digest != stated.digest
        with pytest.raises(ProofRejected):
            check(tree | other, proof=proof)


def test_a_changed_value_is_refused_even_by_a_prover_who_keeps_to_the_old_words() -> None:
    """The statement names the new snapshot, the challenges are its own, and the rows no longer hold."""
    account = ACCOUNT
    tree = changed(SNAPSHOT_TREE, ("instruments", 2, "values", 1), "0.5")
    moved = Account(load_snapshot(tree), account.opening, account.commitment)
    statement = moved.statement()
    old = attempt(account, account.statement())
    new = attempt(moved, statement)
    assert old.instance.layout == new.instance.layout
    proof = CheatingProver(replace(old, instance=new.instance)).prove()
    with pytest.raises(ProofRejected):
        verify(statement, moved.snapshot, proof, now=NOW)
    verify(statement, moved.snapshot, CheatingProver(new).prove(), now=NOW)


@pytest.mark.parametrize("path", list(branches(STATEMENT_TREE)), ids=lambda p: ".".join(map(str, p)) or "statement")
def test_an_added_or_missing_field_is_refused(path: Path) -> None:
    tree = copy.deepcopy(STATEMENT_TREE)
    at(tree, path)["extra"] = "1"
    with pytest.raises(MalformedInput) as caught:
        check(tree)
    assert str(caught.value.field).endswith("extra")
    for key in list(at(STATEMENT_TREE, path)):
        tree = copy.deepcopy(STATEMENT_TREE)
        del at(tree, path)[key]
        with pytest.raises(MalformedInput):
            check(tree)


def test_the_same_documents_in_another_order_are_the_same_statement() -> None:
    """Control: only the canonical form counts."""
    backwards = dict(reversed(STATEMENT_TREE.items()))
    check(backwards, dict(reversed(SNAPSHOT_TREE.items())))
    assert bind(load_statement(backwards), ACCOUNT.snapshot).statement.digest == STATEMENT.digest
