"""The public functions of verification: which keys and clocks they use, in which order they refuse, and what they
say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from py_arkworks_bls12381 import Scalar

from tests.project.test_docs import block, proof_document
from tests.support.cheating import CheatingProver, attempt
from tests.support.toy import DOMAIN, NOW, ToySrs, bind_all, sample_account, sample_proof
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.documents.statement import statement_from_bytes
from zkmargin.circuits.errors import (
    MalformedInput,
    MalformedProof,
    ProofRejected,
    StaleStatement,
    StatementMismatch,
)
from zkmargin.prover.commitment import commitment_key
from zkmargin.verifier import batch as module
from zkmargin.verifier.argument.instance import Instance
from zkmargin.verifier.argument.v1 import challenges
from zkmargin.verifier.argument.v1.challenges import replay
from zkmargin.verifier.argument.v1.encoding import decode
from zkmargin.verifier.argument.v1.equation import equation
from zkmargin.verifier.argument.v1.linearisation import linearise
from zkmargin.verifier.argument.v1.messages import Proof
from zkmargin.verifier.batch import _batch_holds, verify_batch
from zkmargin.verifier.curve import encode_g1, msm
from zkmargin.verifier.facts.attestation import Attestation
from zkmargin.verifier.field import ZERO, encode_scalar
from zkmargin.verifier.srs import ethereum
from zkmargin.verifier.verdict import verify_account
from zkmargin.verifier.verify import Item, instance_of, prepare, verify

ACCOUNT = sample_account(1)
STATEMENT, PROOF = sample_proof(1)
FACT = Attestation(
    "hub-1", "alice", 7, STATEMENT.commitment, DOMAIN, ACCOUNT.snapshot.registry_digest, ACCOUNT.snapshot.time
)
SPOILED = PROOF[:-1] + bytes([PROOF[-1] ^ 1])


def test_a_good_proof_holds_with_and_without_a_clock() -> None:
    verify(STATEMENT, ACCOUNT.snapshot, PROOF)
    verify(STATEMENT, ACCOUNT.snapshot, PROOF, now=NOW)
    verify_account(STATEMENT, ACCOUNT.snapshot, PROOF, FACT, now=NOW)
    assert verify_batch([Item(STATEMENT, ACCOUNT.snapshot, PROOF), Item(STATEMENT, ACCOUNT.snapshot, PROOF, NOW)]) == [
        None,
        None,
    ]


def test_a_rejected_proof_is_named() -> None:
    with pytest.raises(ProofRejected) as caught:
        verify(STATEMENT, ACCOUNT.snapshot, SPOILED, now=NOW)
    assert (caught.value.field, caught.value.message) == ("proof", "the opening equation does not hold")
    (result,) = verify_batch([Item(STATEMENT, ACCOUNT.snapshot, SPOILED)])
    assert isinstance(result, ProofRejected)
    assert (result.field, result.message) == ("proofs.0", "the opening equation does not hold")


def test_without_a_clock_an_expired_statement_holds_and_with_one_it_does_not() -> None:
    late = NOW + 10**6
    verify(STATEMENT, ACCOUNT.snapshot, PROOF)
    for check in (
        lambda: verify(STATEMENT, ACCOUNT.snapshot, PROOF, now=late),
        lambda: verify_account(STATEMENT, ACCOUNT.snapshot, PROOF, FACT, now=late),
    ):
        with pytest.raises(StaleStatement):
            check()
    assert isinstance(verify_batch([Item(STATEMENT, ACCOUNT.snapshot, PROOF, late)])[0], StaleStatement)


def test_a_clock_at_the_epoch_is_a_clock() -> None:
    """Zero is a time, not the absence of one."""
    with pytest.raises(StaleStatement):
        verify(STATEMENT, ACCOUNT.snapshot, PROOF, now=0)


def test_an_account_is_checked_against_its_attestation_its_time_and_its_proof() -> None:
    with pytest.raises(StatementMismatch):
        verify_account(STATEMENT, ACCOUNT.snapshot, PROOF, replace(FACT, epoch=8), now=NOW)
    with pytest.raises(StaleStatement):
        verify_account(STATEMENT, ACCOUNT.snapshot, PROOF, replace(FACT, time=NOW + 31), now=NOW)
    verify_account(STATEMENT, ACCOUNT.snapshot, PROOF, replace(FACT, time=NOW + 30), now=NOW)
    with pytest.raises(ProofRejected):
        verify_account(STATEMENT, ACCOUNT.snapshot, SPOILED, FACT, now=NOW)


def test_every_function_takes_another_key() -> None:
    srs = ToySrs()
    key = commitment_key(DOMAIN, srs)
    account = replace(ACCOUNT, commitment=ACCOUNT.opening.commitment(key))
    statement = account.statement()
    proof = CheatingProver(attempt(account, statement), key=key).prove()
    fact = replace(FACT, commitment=account.commitment)
    verify(statement, account.snapshot, proof, now=NOW, key=srs.key)
    verify_account(statement, account.snapshot, proof, fact, now=NOW, key=srs.key)
    items = [Item(statement, account.snapshot, proof)] * 2
    assert verify_batch(items, key=srs.key) == [None, None]
    assert verify_batch(items[:1], key=srs.key) == [None]
    assert all(isinstance(result, ProofRejected) for result in verify_batch(items))
    with pytest.raises(ProofRejected):
        verify_account(statement, account.snapshot, proof, fact, now=NOW)


def test_shape_is_refused_before_the_statement_is_bound() -> None:
    """A statement of another snapshot costs a compilation; a proof of no shape must not."""
    other = sample_account(2).snapshot
    with pytest.raises(MalformedProof):
        prepare(Item(STATEMENT, other, b""), ethereum().key)
    with pytest.raises(StatementMismatch):
        prepare(Item(STATEMENT, other, PROOF), ethereum().key)


def test_times_are_refused_before_elements() -> None:
    with pytest.raises(StaleStatement):
        prepare(Item(STATEMENT, ACCOUNT.snapshot, PROOF[:3] + bytes(len(PROOF) - 3), 0), ethereum().key)


def test_the_statements_commitment_is_decoded_by_name() -> None:
    statement = replace(STATEMENT, commitment=bytes(48))
    with pytest.raises(MalformedInput) as caught:
        verify(statement, ACCOUNT.snapshot, PROOF)
    assert caught.value.field == "statement.commitment"


def test_weights_are_never_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """A weight of zero would let its proof through unseen: the smallest draw still refuses, and so does the largest."""
    items = [Item(STATEMENT, ACCOUNT.snapshot, SPOILED), Item(STATEMENT, ACCOUNT.snapshot, PROOF)]
    for drawn in (0, 2**128 - 2):

        class Fixed:
            randbelow = staticmethod(lambda _bound, drawn=drawn: drawn)

        monkeypatch.setattr(module, "secrets", Fixed)
        key = ethereum().key
        assert not _batch_holds([prepare(item, key) for item in items], key)
        assert _batch_holds([prepare(items[1], key)] * 2, key)


def test_a_good_batch_costs_one_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """One combined equation for all, none for each; a single proof is checked alone, without weights."""
    calls: list[int] = []
    real, alone = _batch_holds, module.holds
    monkeypatch.setattr(module, "_batch_holds", lambda eqs, key: calls.append(len(eqs)) or real(eqs, key))
    monkeypatch.setattr(module, "holds", lambda eq, key: calls.append(-1) or alone(eq, key))
    item = Item(STATEMENT, ACCOUNT.snapshot, PROOF)
    verify_batch([item] * 5)
    assert calls == [5]
    verify_batch([item])
    assert calls == [5, -1]
    verify_batch([])
    assert calls == [5, -1]


def test_bisection_checks_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real = _batch_holds
    monkeypatch.setattr(module, "_batch_holds", lambda eqs, key: calls.append(len(eqs)) or real(eqs, key))
    item = Item(STATEMENT, ACCOUNT.snapshot, PROOF)
    results = verify_batch([item] * 7 + [replace(item, proof=SPOILED)])
    assert [result is None for result in results] == [True] * 7 + [False]
    assert calls == [8, 4, 4, 2, 2]


# The challenges and the equation, against the figures that docs/SPEC.md prints.


def spec_figures() -> dict[str, str]:
    """Names and values of the last worked example."""
    from tests.project.test_docs import ROOT

    lines = (ROOT / "docs" / "SPEC.md").read_text().splitlines()
    pairs = [line.split() for line in lines if line.startswith("    ")]
    return {" ".join(pair[:-1]): pair[-1] for pair in pairs if len(pair) > 1 and len(pair[-1]) in (64, 96)}


def example() -> tuple[Instance, Proof]:
    """The statement and the proof of docs/FILES.md."""
    from zkmargin.circuits import statement
    from zkmargin.prover.documents import parse_proof

    snap, stated = snapshot_from_bytes(block("snapshot.json")), statement_from_bytes(block("statement.json"))
    return instance_of(statement.bind(stated, snap)), decode(parse_proof(proof_document(), stated))


def test_the_challenges_are_those_of_the_specification() -> None:
    instance, proof = example()
    found = replay(instance, proof, ethereum().digest)
    figures = spec_figures()
    names = ("gamma", "beta", "eta", "alpha", "zeta", "nu", "mu")
    assert {name: encode_scalar(getattr(found, name)).hex() for name in names} == {k: figures[k] for k in names}
    linearised = linearise(instance, found, found.alpha, found.zeta, proof.evaluations)
    assert encode_scalar(linearised.constant).hex() == figures["constant"]


def test_both_sides_of_the_equation_are_those_of_the_specification() -> None:
    """With the two openings exchanged a proof would hold too, by another equation than the one that is written."""
    (instance, proof), figures = example(), spec_figures()
    made = equation(instance, ethereum().key, proof)
    assert encode_g1(msm(made.left_points, made.left_coefficients)).hex() == figures["A"]
    assert encode_g1(made.opening + made.opening_next * made.mu).hex() == figures["W + mu W'"]


def test_a_degenerate_challenge_names_the_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(challenges, "round_3", lambda *_: ZERO)
    with pytest.raises(ProofRejected) as caught:
        verify(STATEMENT, ACCOUNT.snapshot, PROOF)
    assert (caught.value.field, caught.value.message) == ("proof", "degenerate challenge")


def test_the_equation_of_a_proof_counts_every_element() -> None:
    """C, m, h_T, h_c, acc, q, l_c, W, W' and the generator, each once."""
    account, (statement, data) = sample_account(3), sample_proof(3)
    key = ethereum().key
    made = equation(bind_all(account, statement).instance, key, decode(data))
    assert len(made.left_points) == len(made.left_coefficients) == 8 + 2 * 3
    assert made.left_points[-1] == key.g1
    assert all(isinstance(value, Scalar) and not value.is_zero() for value in made.left_coefficients)
