"""Vectors of version 2 against a second reader, and against verifiers that forget one thing each."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.support import spec_compiler, spec_statement
from zkmargin.circuits import canonical, purpose, statement
from zkmargin.circuits.errors import StatementMismatch, ZkMarginError
from zkmargin.service.vectors import native, signatures
from zkmargin.service.vectors.case import Case, load_topic
from zkmargin.service.vectors.engine import Answer, Input, LocalEngine, check_claim
from zkmargin.service.vectors.runner import fault_of


class Said(ZkMarginError):
    """A refusal of the second reader, as engines raise it."""

    def __init__(self, refused: spec_statement.Refused) -> None:
        super().__init__(str(refused), field="document")
        self.code = refused.code


def op_statement(given: Input) -> Mapping[str, Any]:
    found = spec_statement.digest(spec_statement.statement(given.text("statement")))
    if given.has("claimed"):
        check_claim(given.text("claimed"), found, "digest")
    return {"digest": found}


def op_binds(given: Input) -> Mapping[str, Any]:
    """Bound by the second reader, compiled by the second compiler: the system's digest."""
    tree, snap = spec_statement.statement(given.text("statement")), spec_statement.parse(given.text("snapshot"))
    spec_statement.bind(tree, snap)
    return {"system": spec_compiler.system_digest(snap, tree)}


def op_authorisation(given: Input) -> Mapping[str, Any]:
    tree = spec_statement.statement(given.text("statement"))
    now = given.optional_number("now")
    return spec_statement.authorisation(given.text("authorisation"), given.text("key"), tree, now)


OPERATIONS = {"statement-digest": op_statement, "compile": op_binds, "authorisation": op_authorisation}


def second_reader(case: Case) -> Answer:
    """The second reader's answer."""

    def operation(given: Input) -> Mapping[str, Any]:
        try:
            return OPERATIONS[case.operation](given)
        except spec_statement.Refused as refused:
            raise Said(refused) from None

    return LocalEngine("words", {case.operation: operation}, exact=False).answer(case)


def told(case: Case) -> Case:
    """A case without the values that the second reader does not find: of a compilation it finds the system."""
    values = {name: value for name, value in case.values.items() if case.operation != "compile" or name == "system"}
    return replace(case, values=values)


@pytest.mark.parametrize(
    ("topic", "operation"),
    [
        ("purposes", "statement-digest"), ("trades", "compile"), ("authorisations", "authorisation"),
        ("documents", "statement-digest"),
    ],
)  # fmt: skip
def test_who_reads_only_the_documents_answers_the_same(topic: str, operation: str) -> None:
    cases = [case for case in load_topic(topic).cases if case.operation == operation]
    assert len(cases) > 50
    faults = {case.id: fault for case in cases if (fault := fault_of(told(case), second_reader(case), exact=False))}
    assert faults == {}


def test_the_second_reader_imports_nothing_of_the_project() -> None:
    for node in ast.walk(ast.parse(Path(spec_statement.__file__).read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            assert not {name.split(".")[0] for name in names} & {"zkmargin", "tests"}


def wrong(topic: str, about: str = "") -> dict[str, str]:
    """Comments of the cases that this project's own engine now answers wrongly, and their flags."""
    engine = native.engine()
    return {
        case.comment: case.flags[0] if case.flags else ""
        for case in load_topic(topic).cases
        if about in case.comment and fault_of(case, engine.answer(case), exact=False)
    }


def test_a_verifier_that_does_not_digest_the_purpose_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the proofs of provers that make the same mistake."""
    digest = canonical.digest

    def careless(tree: Any, *, domain: str) -> bytes:
        return digest({name: value for name, value in tree.items() if name != "purpose"}, domain=domain)

    monkeypatch.setattr(canonical, "digest", careless)
    found = wrong("purpose-proofs", "a prover that digests")
    assert found["credit: a prover that digests without the purpose"] == "MissingMessage"
    assert found["trade: a prover that digests without the purpose"] == "MissingMessage"


@pytest.mark.parametrize("member", ["amount", "venue", "expires", "limit", "counterparty", "destination", "for"])
def test_a_verifier_that_does_not_digest_one_member_is_caught(member: str, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = canonical.digest

    def careless(tree: Any, *, domain: str) -> bytes:
        uses = {name: value for name, value in tree.get("purpose", {}).items() if name != member}
        return digest(dict(tree) | ({"purpose": uses} if "purpose" in tree else {}), domain=domain)

    monkeypatch.setattr(canonical, "digest", careless)
    found = wrong("purpose-proofs", "a prover that digests")
    assert any(comment.endswith(f"digests without purpose.{member}") for comment in found)


def test_a_verifier_that_does_not_look_at_the_limit_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement, "check_limit", lambda *_: None)
    assert {"OverLimit", "CreditLeg"} <= set(wrong("trades").values())


@pytest.mark.parametrize("rough", [float, lambda cost: int(cost * 100), round], ids=["floats", "cents", "units"])
def test_a_limit_that_is_not_exact_is_caught(rough: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def roughly(use: Any, legs: Any, snap: Any) -> None:
        exact = purpose.legs_cost(legs, snap)
        if isinstance(use, purpose.ForTrade) and rough(exact) > rough(Fraction(use.limit)):
            raise StatementMismatch("roughly more than the limit", field="statement.purpose.limit")

    monkeypatch.setattr(statement, "check_limit", roughly)
    assert "OverLimit" in wrong("trades").values()


def test_a_purpose_that_is_not_checked_against_its_statement_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zkmargin.circuits.documents.statement.check_purpose", lambda *_, **__: None)
    found = wrong("purposes")
    for comment in ("credit of 10.01 where 10 is proved", "trade with itself", "withdrawal of two things"):
        assert found[comment] == "BadPurpose"


def test_an_authorisation_that_is_not_compared_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures, "check_authorises", lambda *_, **__: None)
    assert {"OtherPurpose", "OtherVersion", "OtherContext", "FromTheFuture"} <= set(wrong("authorisations").values())
