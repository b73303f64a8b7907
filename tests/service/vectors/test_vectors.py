"""The frozen test vectors: well-formed, reproducible, and able to tell a wrong verifier."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.support.places import ROOT
from tests.support.toy import sample_account
from tests.vectors import generate
from tests.vectors.accounts import ACCOUNTS, prove_statement
from tests.vectors.generate import TOPICS, VERSIONS, build, compare
from zkmargin.circuits.errors import CorruptData, InternalError, MalformedInput
from zkmargin.service.cli.root import app
from zkmargin.service.vectors import case as cases
from zkmargin.service.vectors import native, reference
from zkmargin.service.vectors.case import (
    SHARED_FILE,
    VALID,
    WIRE_VERSIONS,
    Case,
    Topic,
    digest_of,
    frozen_files,
    load_shared,
    load_topic,
    parse_file,
    path_of,
    shipped,
    topic_names,
)
from zkmargin.service.vectors.driver import answer_line
from zkmargin.service.vectors.engine import Answer, Input, LocalEngine, Operation
from zkmargin.service.vectors.flags import FLAGS
from zkmargin.service.vectors.runner import fault_of, run

DATA = ROOT / "service" / "vectors" / "data"
every_topic = pytest.mark.parametrize("name", topic_names())
every_version = pytest.mark.parametrize("version", WIRE_VERSIONS)
topic = load_topic


def of_version(version: int) -> list[str]:
    return [name for name, its in shipped().items() if its == version]


@every_version
def test_there_are_enough_cases_and_most_are_invalid(version: int) -> None:
    found = [case for name in of_version(version) for case in topic(name).cases]
    invalid = sum(case.result != VALID for case in found)
    assert set(of_version(version)) == {module.NAME for module in VERSIONS[version]}
    assert len(found) >= 400
    assert 2 * invalid > len(found)
    assert sum(path.stat().st_size for path in (DATA / f"v{version}").iterdir()) < 3 * 1024 * 1024


def test_names_and_ids_are_unique_over_all_versions() -> None:
    found = [case.id for name in topic_names() for case in topic(name).cases]
    assert len(set(found)) == len(found)
    assert sum(len(modules) for modules in VERSIONS.values()) == len(TOPICS) == len(topic_names())


#: One digest over the files of each version as they were frozen. A later version adds files, and changes none of these.
FROZEN = {
    1: "0b09496b6bb645202e48de79073858aee7d40acdba9eb06990bf949074bd3c57",
    2: "481d292a79e679ef23d953cb73185f8e0b592778f59f1e53e5ceedd8024b732a",
}


@every_version
def test_the_files_are_those_that_were_frozen(version: int) -> None:
    files = {path: data for path, data in frozen_files().items() if path.startswith(path_of(version, ""))}
    assert digest_of(files.items()) == FROZEN[version]


@every_topic
def test_a_file_has_its_schema_and_every_flag_is_explained(name: str) -> None:
    version = shipped()[name]
    model = parse_file((DATA / path_of(version, f"{name}.json")).read_bytes(), name=name)
    assert (model.topic, model.wire_version) == (name, version)
    assert all(len(note.text) > 10 for note in model.notes.values())
    assert {flag: note.text for flag, note in model.notes.items()} == {f: FLAGS[f].text for f in model.notes}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda t: t.update(number_of_cases=1), CorruptData),
        (lambda t: t.update(number_invalid=0), CorruptData),
        (lambda t: t["notes"].popitem(), CorruptData),
        (lambda t: t["cases"].append(t["cases"][0]), CorruptData),
        (lambda t: t["cases"][0].update(error={"code": "x"}), CorruptData),
        (lambda t: t["cases"][0].update(result="maybe"), MalformedInput),
        (lambda t: t.update(schema="zkmargin/vectors/2"), MalformedInput),
        (lambda t: t.update(wire_version=3), MalformedInput),
        (lambda t: t.update(more=1), MalformedInput),
    ],
)
def test_a_damaged_file_is_refused(change: Any, error: type[Exception]) -> None:
    tree = json.loads((DATA / "v1" / "encodings.json").read_bytes())
    change(tree)
    with pytest.raises(error):
        parse_file(json.dumps(tree).encode(), name="encodings")


def test_a_file_in_the_folder_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its references would be looked up among other texts."""
    monkeypatch.setattr(cases, "_read", lambda path: (DATA / path.replace("v2/", "v1/")).read_bytes())
    monkeypatch.setattr(cases, "shipped", lambda: {"encodings": 2})
    with pytest.raises(CorruptData) as caught:
        load_topic("encodings")
    assert caught.value.field == "vectors/v2/encodings.json"


@every_version
def test_every_shared_text_is_used_and_every_reference_has_one(version: int) -> None:
    texts = json.loads((DATA / path_of(version, SHARED_FILE)).read_bytes())["texts"]
    raw = "".join((DATA / path_of(version, f"{name}.json")).read_text() for name in of_version(version))
    assert [name for name in texts if f'"@{name}"' not in raw] == []
    with pytest.raises(CorruptData):
        load_shared(version).resolve({"a": ["@no-such-text"]})


@every_topic
def test_the_native_engine_answers_every_case_rightly(name: str) -> None:
    report = run([topic(name)], [native.engine()])
    assert report.failures == []
    assert report.ran == len(topic(name).cases)


def sampled(name: str, step: int) -> Topic:
    one = topic(name)
    return replace(one, cases=one.cases[::step])


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("encodings", 2), ("documents", 1), ("systems", 1), ("transcripts", 3), ("commitments", 9), ("proofs", 41),
        ("cheats", 19), ("signed", 1), ("purposes", 1), ("trades", 1), ("authorisations", 1), ("purpose-proofs", 16),
    ],
)  # fmt: skip
def test_the_reference_engine_agrees(name: str, step: int) -> None:
    """A part of the slow topics; ``make vectors`` runs all of them."""
    report = run([sampled(name, step)], [reference.engine()])
    assert report.failures == []
    covered = sum(t.passed for t in report.tallies)
    signed = name in ("signed", "authorisations")
    assert (covered == 0) == signed, "signatures have no second implementation, and the count says so"


def test_generation_reproduces_the_frozen_files_byte_for_byte() -> None:
    """All but the cheating provers, which take as long as the rest; ``make vectors`` compares them too."""
    made = build([name for name in TOPICS if name != "cheats"])
    frozen = {str(path.relative_to(DATA)): path.read_bytes() for path in DATA.glob("v*/*.json")}
    assert frozen == frozen_files()
    assert set(frozen) - set(made.files) == {"v1/cheats.json"}
    for name, data in made.files.items():
        assert data == frozen[name], name
    compare(frozen)
    for name in ("v1/log.json", "v2/purposes.json", "v2/shared.json"):
        for other in ({**frozen, name: frozen[name] + b" "}, {k: frozen[k] for k in frozen if k != name}):
            with pytest.raises(CorruptData) as caught:
                compare(other)
            assert caught.value.field == f"vectors/{name}"


def test_the_document_has_every_topic_operation_and_a_true_example() -> None:
    text = (ROOT / "docs" / "VECTORS.md").read_text()
    for name in topic_names():
        assert f"| `{name}` |" in text
    used = {case.operation for name in topic_names() for case in topic(name).cases}
    assert used <= set(native.OPERATIONS)
    for operation in native.OPERATIONS:
        short = operation.replace("eip2537-", "-") if operation != "eip2537-g1-add" else operation
        assert f"`{short}`" in text, operation
    question, told = re.findall(r'^\{"id":.*$', text, re.MULTILINE)
    answer = answer_line(question.encode(), native.engine())
    assert answer == json.loads(told)
    case = next(case for case in topic("encodings").cases if case.id == answer["id"])
    assert json.loads(question)["input"] == dict(case.input)


def test_the_readme_has_the_counts() -> None:
    found = [case for name in topic_names() for case in topic(name).cases]
    invalid = sum(case.result != VALID for case in found)
    assert f"{len(found):,} frozen cases, {invalid:,} of them invalid" in (ROOT / "README.md").read_text()


def accept_everything(given: Input) -> Mapping[str, Any]:
    return {}


def refuse_everything(given: Input) -> Mapping[str, Any]:
    raise MalformedInput("no", field="x")


def crash(given: Input) -> Mapping[str, Any]:
    raise ZeroDivisionError("no")


@pytest.mark.parametrize("operation", [accept_everything, refuse_everything, crash])
def test_an_engine_that_does_not_look_fails(operation: Operation) -> None:
    """Of every topic: whoever accepts all fails the invalid cases, whoever refuses all the valid ones."""
    for name in topic_names():
        one = topic(name)
        engine = LocalEngine("broken", dict.fromkeys(native.OPERATIONS, operation), exact=False)
        report = run([one], [engine])
        wrong = sum(t.failed for t in report.tallies)
        valid = sum(case.result == VALID for case in one.cases)
        if operation is accept_everything:
            assert wrong >= len(one.cases) - valid > 0
        elif operation is refuse_everything:
            assert wrong >= valid > 0
        else:
            assert wrong == len(one.cases)
        assert not report.ok


def weaker(name: str, operation: Operation) -> LocalEngine:
    return LocalEngine("weaker", native.OPERATIONS | {name: operation}, exact=False)


def failed_flags(engine: LocalEngine, names: list[str]) -> set[str]:
    found: set[str] = set()
    for name in names:
        for case in topic(name).cases:
            if fault_of(case, engine.answer(case), exact=False):
                found.update(case.flags)
    return found


def test_a_decoder_that_ignores_the_subgroup_is_caught() -> None:
    from py_arkworks_bls12381 import G1Point

    def unchecked(given: Input) -> Mapping[str, Any]:
        try:
            xy = bytes(G1Point.from_compressed_bytes_unchecked(given.hex("bytes")).to_xy_bytes_be())
        except ValueError:
            raise MalformedInput("no point", field="point") from None
        return {"x": xy[:48].hex(), "y": xy[48:].hex()}

    assert "NotInSubgroup" in failed_flags(weaker("decode-g1", unchecked), ["encodings"])


def test_a_scalar_that_is_reduced_is_caught() -> None:
    from zkmargin.circuits.system import FIELD_ORDER

    def reduced(given: Input) -> Mapping[str, Any]:
        return {"integer": str(int.from_bytes(given.hex("bytes"), "big") % FIELD_ORDER)}

    assert {"ScalarNotReduced", "WrongLength"} <= failed_flags(weaker("decode-scalar", reduced), ["encodings"])


@pytest.mark.parametrize("label", ["statement", "constants", "commitment", "accumulator-next", "quotient"])
def test_a_verifier_that_forgets_a_message_is_caught(label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It accepts the one proof that was made with the same mistake."""
    from zkmargin.verifier.transcript import Transcript

    absorb = Transcript.absorb

    def forgetful(self: Transcript, name: bytes, data: bytes) -> None:
        if name != label.encode():
            absorb(self, name, data)

    monkeypatch.setattr(Transcript, "absorb", forgetful)
    engine = native.engine()
    case = next(c for c in topic("cheats").cases if c.comment.endswith(f"does not absorb {label}"))
    assert engine.answer(case).verdict == "accepted"
    assert fault_of(case, engine.answer(case), exact=True)


def test_a_batch_without_random_weights_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    from zkmargin.verifier import batch

    monkeypatch.setattr(batch.secrets, "randbelow", lambda bound: 0)  # every weight is 1
    case = next(c for c in topic("batches").cases if "opposite" in c.comment)
    assert native.engine().answer(case).verdict == "accepted"
    assert fault_of(case, native.engine().answer(case), exact=True)


CASE = Case("c", "op", {}, VALID, values={"a": 1, "b": "x"})
REFUSED = Case("r", "op", {}, "invalid", flags=("Infinity",), code="malformed-input", at="point")


@pytest.mark.parametrize(
    ("case", "answer", "exact", "right"),
    [
        (CASE, Answer("accepted", {"a": 1, "b": "x", "more": 0}), True, True),
        (CASE, Answer("accepted", {"a": 1}), False, False),
        (CASE, Answer("accepted", {"a": 2, "b": "x"}), False, False),
        (CASE, Answer("accepted", {"a": True, "b": "x"}), False, False),
        (CASE, Answer("accepted", {"a": "1", "b": "x"}), False, False),
        (CASE, Answer("rejected", {"a": 1, "b": "x"}), False, False),
        (CASE, Answer("failed"), False, False),
        (REFUSED, Answer("rejected", code="malformed-input", at="point"), True, True),
        (REFUSED, Answer("rejected"), False, True),
        (REFUSED, Answer("rejected"), True, False),
        (REFUSED, Answer("rejected", code="proof-rejected"), False, False),
        (REFUSED, Answer("rejected", code="malformed-input", at="other"), True, False),
        (REFUSED, Answer("accepted"), False, False),
    ],
)
def test_answers_are_judged(case: Case, answer: Answer, exact: bool, right: bool) -> None:
    assert (fault_of(case, answer, exact=exact) is None) == right


def test_a_run_of_nothing_is_an_error() -> None:
    with pytest.raises(MalformedInput):
        run([], [native.engine()])
    with pytest.raises(MalformedInput):
        run([Topic("empty", "", ())], [native.engine()])
    nothing = run([Topic("t", "", (replace(CASE, operation="no-such-operation"),))], [native.engine()])
    assert (nothing.ran, nothing.ok) == (0, False)


def test_a_case_without_its_input_decides_nothing() -> None:
    engine = native.engine()
    for given in ({}, {"bytes": 1}, {"bytes": "zz"}, {"bytes": None}):
        assert engine.answer(Case("x", "decode-g1", given, VALID)).verdict == "failed"


def test_the_public_seed_proves_for_the_vectors_hub_only() -> None:
    account = sample_account(1)
    with pytest.raises(InternalError):
        prove_statement(account.statement(), account.snapshot, account.opening)
    prove_statement(ACCOUNTS["cross"].statement(), ACCOUNTS["cross"].snapshot, ACCOUNTS["cross"].opening)


def command(*args: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["vectors", *map(str, args)])
    assert result.exit_code == code, result.output
    return result.output


def test_generate_writes_a_folder_for_each_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = generate.Generated({"v1/a.json": b"{}", "v2/a.json": b"[]"}, {"a": (2, 1)}, "00")
    monkeypatch.setattr(generate, "build", lambda **_: made)
    for _ in range(2):
        assert generate.main(["--out", str(tmp_path)]) == 0
        assert "2 cases, 1 invalid, 4 bytes" in capsys.readouterr().out
        assert {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.glob("v*/*.json")} == made.files
    assert generate.main(["--check"]) == 1
    assert "vectors/v1/a.json" in capsys.readouterr().err
    for wrong in ([], ["--out", str(tmp_path / "none")], ["--check", "--out", "."]):
        with pytest.raises(SystemExit):
            generate.main(wrong)


def test_run_prints_what_it_ran() -> None:
    cases = len(topic("encodings").cases)
    told = json.loads(command("run", "--suite", "encodings", "--json"))
    assert (told["ok"], told["ran"], told["passed"], told["failed"]) == (True, cases, cases, 0)
    assert f"{cases} answers: {cases} right, 0 wrong; 0 cases not covered" in command("run", "--suite", "encodings")
    both = json.loads(command("run", "--suite", "encodings", "--engine", "both", "--json"))
    assert [r["engine"] for r in both["results"]] == ["native", "reference"]


def test_what_is_not_covered_is_counted_and_alone_is_no_success() -> None:
    told = json.loads(command("run", "--suite", "signed", "--engine", "reference", "--json", code=6))
    assert (told["ok"], told["ran"], told["not_covered"]) == (False, 0, len(topic("signed").cases))


@pytest.mark.parametrize(
    "args",
    [
        ("run", "--suite", "no-such-topic"),
        ("run", "--engine", "third"),
        ("run", "--driver", ""),
        ("run", "--driver", "'"),
        ("run", "--suite", "encodings", "--driver", "/no/such/program"),
        ("run", "--driver", "true", "--timeout", "0"),
        ("answer", "--engine", "both"),
    ],
)
def test_wrong_use_is_a_typed_error(args: tuple[str, ...]) -> None:
    assert "malformed-input" in command(*args, code=3)
