"""The one sequence of checks: what a verdict says, in which order checks refuse, and that many share a pairing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from tests.support.places import ROOT
from tests.support.toy import DOMAIN, NOW, ToySrs, sample_account, sample_proof
from zkmargin.circuits.errors import (
    MalformedInput,
    MalformedProof,
    MissingExtra,
    ProofRejected,
    SignatureRejected,
    StaleStatement,
    StatementMismatch,
    ZkMarginError,
)
from zkmargin.circuits.schema import ProofModel
from zkmargin.verifier.batch import _batch_holds
from zkmargin.verifier.facts.attestation import Attestation
from zkmargin.verifier.facts.snapshot_signature import SnapshotSignature
from zkmargin.verifier.proof_document import ProofDocument
from zkmargin.verifier.verdict import (
    CHECKS,
    NOTHING_TO_CHECK,
    ORDER,
    PROOF,
    Check,
    Evidence,
    Examination,
    Signed,
    Verdict,
    examine,
    settle,
)
from zkmargin.verifier.verify import Item, verify

ACCOUNT = sample_account(1)
STATEMENT, BYTES = sample_proof(1)
FACT = Attestation(
    "hub-1", "alice", 7, STATEMENT.commitment, DOMAIN, ACCOUNT.snapshot.registry_digest, ACCOUNT.snapshot.time
)
SIGNATURE = SnapshotSignature("oracle-1", ACCOUNT.snapshot.digest, ACCOUNT.snapshot.time, NOW + 300)
KEYS = (b"h" * 32, b"o" * 32)


def document(proof: bytes = BYTES) -> ProofDocument:
    return ProofDocument(STATEMENT.digest, proof)


def refusing() -> Signed[Any]:
    raise SignatureRejected("no", field="signature")


GOOD = Evidence(
    STATEMENT, ACCOUNT.snapshot, document(), NOW, lambda: Signed(FACT, KEYS[0]), lambda: Signed(SIGNATURE, KEYS[1])
)  # fmt: skip
FALSE = BYTES[:-1] + bytes([BYTES[-1] ^ 1])
#: For each check, evidence that it refuses and all before it accept, and the error.
FAULTS: dict[str, tuple[Evidence, type[ZkMarginError]]] = {
    "proof_document": (replace(GOOD, proof=ProofDocument(bytes(32), b"")), StatementMismatch),
    "snapshot_signature": (replace(GOOD, signed_snapshot=refusing), SignatureRejected),
    "snapshot_time": (
        replace(GOOD, signed_snapshot=lambda: Signed(replace(SIGNATURE, valid_until=NOW - 1))), StaleStatement,
    ),
    "attestation": (replace(GOOD, attestation=lambda: Signed(replace(FACT, epoch=8))), StatementMismatch),
    "attestation_time": (replace(GOOD, attestation=lambda: Signed(replace(FACT, time=NOW + 31))), StaleStatement),
    "proof_header": (replace(GOOD, proof=document(BYTES[:-1])), MalformedProof),
    "binding": (replace(GOOD, statement=replace(STATEMENT, rule_id="another/1")), StatementMismatch),
    "statement_time": (
        replace(GOOD, statement=replace(STATEMENT, context=replace(STATEMENT.context, expiry=NOW - 1))), StaleStatement,
    ),
    "elements": (replace(GOOD, proof=document(BYTES[:3] + bytes(len(BYTES) - 3))), MalformedProof),
    "pairing": (replace(GOOD, proof=document(FALSE)), ProofRejected),
}  # fmt: skip


def states(verdict: Verdict) -> list[str]:
    assert tuple(check.name for check in verdict.checks) == ORDER
    return [check.state for check in verdict.checks]


def test_the_specification_lists_the_checks_in_their_order() -> None:
    section = (ROOT / "docs/SPEC.md").read_text().split("## From documents to a verdict\n")[1].split("\n## ")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == ORDER
    assert set(FAULTS) == set(ORDER) == {*CHECKS, "pairing"}


def test_a_verdict_names_every_check_once_and_the_keys() -> None:
    verdict = examine(GOOD)
    verdict.require()
    assert states(verdict) == ["passed"] * len(ORDER)
    assert (verdict.failed, verdict.attestation_key, verdict.snapshot_key) == (None, *KEYS)


def test_a_verdict_says_which_checks_were_not_made_and_why() -> None:
    verdict = examine(replace(GOOD, now=None, attestation=None, signed_snapshot=None))
    unmade = {check.name: check.why for check in verdict.checks if check.state == "not-checked"}
    assert unmade == dict(NOTHING_TO_CHECK)
    assert all(unmade.values())
    assert states(verdict).count("passed") == len(ORDER) - len(unmade)
    assert (verdict.failed, verdict.attestation_key, verdict.snapshot_key) == (None, None, None)
    unmade = {check.name: check.why for check in examine(replace(GOOD, now=None)).checks if check.state != "passed"}
    assert set(unmade) == {"snapshot_time", "attestation_time", "statement_time"}


@pytest.mark.parametrize("name", ORDER)
def test_each_check_refuses_what_is_its_own_and_the_rest_is_skipped(name: str) -> None:
    evidence, error = FAULTS[name]
    place = ORDER.index(name)
    verdict = examine(evidence)
    assert type(verdict.failed) is error
    assert states(verdict) == ["passed"] * place + ["failed"] + ["skipped"] * (len(ORDER) - place - 1)
    assert verdict.checks[place] == Check(name, "failed", verdict.failed.message)
    assert {check.why for check in verdict.checks[place + 1 :]} <= {f"{name} failed"}
    with pytest.raises(error) as caught:
        verdict.require()
    assert caught.value is verdict.failed
    # No order lets it pass.
    turned = (*reversed(ORDER[:-1]), "pairing")
    assert [check.state for check in examine(evidence, order=turned).checks].count("failed") == 1


@pytest.mark.parametrize(("first", "second"), list(pairwise(ORDER)))
def test_of_two_faults_the_first_in_order_is_told(first: str, second: str) -> None:
    """What differs from the good evidence in either, put together: refused as the first alone is."""
    (one, error), (two, other) = FAULTS[first], FAULTS[second]
    changed = {name: value for name, value in vars(two).items() if value != getattr(GOOD, name)}
    changed |= {name: value for name, value in vars(one).items() if value != getattr(GOOD, name)}
    verdict = examine(replace(GOOD, **changed))
    assert verdict.state(first) == "failed"
    assert type(verdict.failed) is error
    assert (type(examine(two).failed), examine(two).state(first)) == (other, "passed")


@pytest.mark.parametrize("order", [ORDER[:-1], ORDER[1:], (*ORDER, "binding"), (ORDER[-1], *ORDER[:-1]), ()])
def test_an_order_leaves_nothing_out(order: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="every check once"):
        Examination(GOOD, order=order)


def test_nothing_is_opened_or_bound_after_a_refusal() -> None:
    opened: list[str] = []

    def attested() -> Signed[Attestation]:
        opened.append("attestation")
        return Signed(FACT)

    evidence = replace(FAULTS["snapshot_signature"][0], attestation=attested)
    assert examine(evidence).state("attestation") == "skipped"
    assert opened == []
    examine(replace(GOOD, attestation=attested)).require()
    assert opened == ["attestation"]


def test_many_share_a_pairing_and_a_bad_one_hurts_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from zkmargin.verifier import batch as module

    calls: list[int] = []
    real = _batch_holds
    monkeypatch.setattr(module, "_batch_holds", lambda eqs, key: (calls.append(len(eqs)), real(eqs, key))[1])
    assert [v.failed for v in settle([Examination(GOOD) for _ in range(3)])] == [None] * 3
    assert calls == [3]
    verdicts = settle(
        [Examination(FAULTS[name][0]) for name in ("pairing", "elements", "binding")] + [Examination(GOOD)]
    )
    assert [next(c.name for c in v.checks if c.state == "failed") for v in verdicts[:3]] == [
        "pairing",
        "elements",
        "binding",
    ]
    assert verdicts[3] == examine(GOOD)
    assert verdicts[0].failed is not None
    assert verdicts[0].failed.field == "proofs.0"
    assert settle([]) == []


def test_proofs_under_two_keys_share_no_pairing() -> None:
    with pytest.raises(ValueError, match="several keys"):
        settle([Examination(GOOD), Examination(GOOD, key=ToySrs().key)])
    assert isinstance(examine(GOOD, key=ToySrs().key).failed, ProofRejected)


def test_a_sequence_may_stop_before_a_check_and_go_on() -> None:
    at = Examination(FAULTS["binding"][0])
    at.advance(before=PROOF)
    assert at.failed is None
    at.advance(before=PROOF)
    (verdict,) = settle([at])
    assert verdict == replace(examine(FAULTS["binding"][0]), failed=verdict.failed)
    assert isinstance(verdict.failed, StatementMismatch)


def test_another_verifier_may_make_the_checks_of_the_proof() -> None:
    def with_ours(item: Item) -> None:
        verify(item.statement, item.snapshot, item.proof, now=item.now)

    def missing(item: Item) -> None:
        raise MissingExtra("not installed")

    assert Examination(GOOD).conclude_with(with_ours) == examine(GOOD)
    verdict = Examination(FAULTS["elements"][0]).conclude_with(with_ours)
    assert (verdict.state("attestation_time"), verdict.state("elements")) == ("passed", "skipped")
    assert isinstance(verdict.failed, MalformedProof)
    early = FAULTS["attestation"][0]
    asked: list[Callable[..., Any]] = []
    assert Examination(early).conclude_with(lambda item: asked.append(verify)).state("attestation") == "failed"
    assert asked == []
    with pytest.raises(MissingExtra):
        Examination(GOOD).conclude_with(missing)
    apart = ("statement_time", *(name for name in ORDER if name != "statement_time"))
    with pytest.raises(ValueError, match="not made together"):
        Examination(GOOD, order=apart).conclude_with(with_ours)


def test_a_proof_document_is_read_where_it_is_about_the_statement() -> None:
    def model(statement: str, proof: str) -> ProofModel:
        return ProofModel.model_validate({"schema": "zkmargin/proof/1", "statement": statement, "proof": proof})

    own = STATEMENT.digest.hex()
    read = ProofDocument.from_model(model(own, "0102"), STATEMENT)
    assert read == ProofDocument(STATEMENT.digest, b"\x01\x02")
    read.check_about(STATEMENT)
    assert "0102" not in repr(read)
    with pytest.raises(MalformedInput) as caught:
        ProofDocument.from_model(model(own, "010"), STATEMENT)
    assert (caught.value.field, caught.value.message) == ("proof.proof", "odd number of hex digits")
    foreign = ProofDocument.from_model(model("ab" * 32, "010"), STATEMENT)
    assert foreign == ProofDocument(b"\xab" * 32, b"")
    with pytest.raises(StatementMismatch) as refused:
        foreign.check_about(STATEMENT)
    assert (refused.value.field, refused.value.message) == (
        "proof.statement", "the proof document names another statement",
    )  # fmt: skip
    text = b'{"schema":"zkmargin/proof/1","statement":"' + own.encode() + b'","proof":"0102"}'
    assert ProofDocument.from_bytes(text, STATEMENT) == read
