"""What a person is told: no regular expressions, the kind of a wrong document, the field that was meant, all faults."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.project.test_docs import block
from tests.service.cli.test_cli import call
from zkmargin.circuits import canonical
from zkmargin.circuits.documents.snapshot import SnapshotModel, snapshot_from_bytes
from zkmargin.circuits.documents.statement import StatementModel, statement_from_bytes
from zkmargin.circuits.errors import MAX_FAULTS, MalformedInput
from zkmargin.circuits.schema import ProofModel, load
from zkmargin.prover.documents import OpeningModel, portfolio_lots
from zkmargin.prover.portfolio import PortfolioModel
from zkmargin.service.cli.root import app
from zkmargin.verifier.facts.attestation import AttestationModel

DOCUMENTS = {
    "snapshot": (SnapshotModel, block("snapshot.json")),
    "portfolio": (PortfolioModel, block("portfolio.json")),
    "opening": (OpeningModel, block("opening.json")),
    "statement": (StatementModel, block("statement.json")),
}
MODELS = {
    **{name: model for name, (model, _) in DOCUMENTS.items()},
    "attestation": AttestationModel,
    "proof": ProofModel,
}


def told(call: Callable[[], object]) -> MalformedInput:
    with pytest.raises(MalformedInput) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("wanted", sorted(MODELS))
@pytest.mark.parametrize("given", sorted(DOCUMENTS))
def test_a_document_of_another_kind_is_named(wanted: str, given: str) -> None:
    if wanted == given:
        return
    error = told(lambda: load(MODELS[wanted], DOCUMENTS[given][1], name=wanted))
    assert f"this is a {given} document" in error.message
    assert f"zkmargin/{wanted}/1" in error.message
    assert error.field == f"{wanted}.schema"


def test_a_version_of_the_future_and_a_key_file_are_named() -> None:
    tree = json.loads(block("snapshot.json")) | {"schema": "zkmargin/snapshot/9", "new": 1}
    assert "not version 9" in told(lambda: snapshot_from_bytes(json.dumps(tree).encode())).message
    assert "PEM file" in told(lambda: statement_from_bytes(b"-----BEGIN PUBLIC KEY-----\n")).message


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
@pytest.mark.parametrize("nested", [False, True])
def test_a_misspelt_field_is_met_with_the_one_that_was_meant(name: str, nested: bool) -> None:
    model, data = DOCUMENTS[name]
    tree = json.loads(data)
    places = [t for v in tree.values() for t in (v if isinstance(v, list) else [v]) if isinstance(t, dict)]
    holder = places[0] if nested and places else tree
    meant = next(k for k in holder if k not in ("schema", "type") and len(k) > 4)
    misspelt = meant[:-2] + meant[-1] + meant[-2]
    holder[misspelt] = holder.pop(meant)
    error = told(lambda: load(model, json.dumps(tree).encode(), name=name))
    messages = [error.message, *(message for _, message in error.more)]
    assert f"unknown key; did you mean {meant}?" in messages
    secret = name in ("portfolio", "opening")
    assert (misspelt in str(error) + str(error.more)) is not secret  # a key of a secret document is never repeated
    holder["zzzzzz"] = 1
    assert "zzzzzz" not in str(told(lambda: load(model, json.dumps(tree).encode(), name=name)).to_json()) or not secret


@pytest.mark.parametrize(
    ("edit", "field", "says"),
    [
        ({"amount": "50,000"}, "statement.amount", "without thousands separators"),
        ({"amount": "5e4"}, "statement.amount", "plain decimal"),
        ({"rule": "a b"}, "statement.rule", "letters, digits"),
        ({"snapshot": "XYZ"}, "statement.snapshot", "64 lower-case hex digits"),
        ({"commitment": "00"}, "statement.commitment", "96 lower-case hex digits"),
        ({"context": {}}, "statement.context.hub", "is missing"),
    ],
)
def test_no_regular_expression_is_shown(edit: dict[str, Any], field: str, says: str) -> None:
    tree = json.loads(block("statement.json")) | edit
    error = told(lambda: statement_from_bytes(json.dumps(tree).encode()))
    assert error.field == field
    assert says in error.message
    for message in (error.message, *(m for _, m in error.more)):
        assert "^" not in message
        assert "pattern" not in message


def test_every_pattern_of_every_model_has_words() -> None:
    """A pattern without words gets the general sentence; none of the documents that people write has one."""
    from zkmargin.circuits import schema

    for model in (SnapshotModel, PortfolioModel, StatementModel):
        text = json.dumps(model.model_json_schema())
        patterns = {json.loads(f'"{p}"') for p in re.findall(r'"pattern": "((?:[^"\\]|\\.)*)"', text)}
        assert patterns <= set(schema._FORMS)


def test_all_faults_of_a_document_are_told_and_bounded() -> None:
    tree = json.loads(block("portfolio.json"))
    for position in tree["positions"]:
        position["quantity"] = "1,0"
    error = told(lambda: portfolio_lots(json.dumps(tree).encode(), snapshot_from_bytes(block("snapshot.json"))))
    assert [f["field"] for f in error.to_json()["faults"]] == [f"portfolio.positions.{i}.quantity" for i in range(3)]
    assert pickle.loads(pickle.dumps(error)).more == error.more  # noqa: S301 - our own
    many = {
        "schema": "zkmargin/portfolio/1",
        "positions": [{"instrument": f"I{i}", "quantity": "1"} for i in range(99)],
    }
    error = told(lambda: portfolio_lots(canonical.canonical_bytes(many), snapshot_from_bytes(block("snapshot.json"))))
    assert len(error.to_json()["faults"]) == MAX_FAULTS
    assert "faults" not in told(lambda: statement_from_bytes(b"[]")).to_json()


def test_all_faults_reach_the_terminal_and_json(tmp_path: Any) -> None:
    (tmp_path / "s.json").write_bytes(block("snapshot.json"))
    rows = [{"instrument": "USD", "quantity": "1,0"}, {"instrument": "NOPE", "quantity": "x"}]
    (tmp_path / "p.json").write_text(json.dumps({"schema": "zkmargin/portfolio/1", "positions": rows}))
    words = ["explain", "--snapshot", tmp_path / "s.json", "--portfolio", tmp_path / "p.json"]
    assert len(call(*words, code=3)["error"]["faults"]) == 2
    shown = CliRunner().invoke(app, [str(word) for word in words]).stderr
    assert shown.count("malformed-input: portfolio.positions.") == 2


@pytest.mark.parametrize(
    ("value", "says"), [("50,000", "without thousands separators"), ("-5", "not negative"), ("1e3", "plain decimal")]
)
def test_no_regular_expression_is_answered_over_http(value: str, says: str) -> None:
    from pydantic import ValidationError

    from zkmargin.service.http.failures import malformed
    from zkmargin.service.http.routes.venues import CapBody
    from zkmargin.service.http.schemas import FORMS

    with pytest.raises(ValidationError) as caught:
        CapBody.model_validate({"cap": value})
    [fault] = [f for f in caught.value.errors() if f["loc"][-1] == "cap"]
    error = malformed({**fault, "loc": ("body", *fault["loc"])}, FORMS)
    assert says in error.message
    assert "^" not in error.message
    assert error.field == "cap"


def test_what_is_no_public_key_is_named(tmp_path: Any) -> None:
    from zkmargin.service.files import read_public_key
    from zkmargin.service.keys.signing_keys import generate_key, private_pem, public_pem

    key = generate_key()
    files = {
        "a": block("snapshot.json"),
        "b": private_pem(key),
        "c": public_pem(key),
        "d": b"-----BEGIN PUBLIC KEY-----\r\n",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert "this is a snapshot document" in told(lambda: read_public_key(tmp_path / "a")).message
    assert "this is a signing key" in told(lambda: read_public_key(tmp_path / "b")).message
    for name in "cd":  # another layout of PEM is for the parser to see
        assert read_public_key(tmp_path / name) == files[name]
