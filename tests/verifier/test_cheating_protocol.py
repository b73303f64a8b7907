"""Faults of the protocol by name: other statements, replays, forgetful transcripts, another SRS or layout.

Where a false claim can be made consistently, the cheating prover makes it so: its challenges are those of the
statement under which the proof is offered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
from py_arkworks_bls12381 import G1Point, Scalar

from tests.support.cheating import Attempt, CheatingProver, attempt, broken_relations
from tests.support.toy import (
    DOMAIN,
    NOW,
    Account,
    ToySrs,
    bind_all,
    load_snapshot,
    open_account,
    portfolio,
    refused,
    sample_account,
    sample_proof,
    snapshot_tree,
    trade,
)
from zkmargin.circuits.errors import (
    MalformedInput,
    MalformedProof,
    ProofRejected,
    StaleStatement,
    StatementMismatch,
)
from zkmargin.circuits.layout import Layout
from zkmargin.circuits.statement import Statement, bind
from zkmargin.prover.commitment import CommitmentKey, commitment_key, fresh
from zkmargin.prover.prove import prove_instance
from zkmargin.prover.witness import assign
from zkmargin.verifier.argument import instance as instances
from zkmargin.verifier.argument.v1.challenges import replay
from zkmargin.verifier.argument.v1.encoding import decode, encode
from zkmargin.verifier.argument.v1.equation import equation
from zkmargin.verifier.argument.v1.messages import Columns, Evaluations, Openings, Proof, Quotient, Sums
from zkmargin.verifier.curve import G1_INFINITY
from zkmargin.verifier.field import ONE, ZERO, scalar
from zkmargin.verifier.kzg import holds
from zkmargin.verifier.srs import ethereum
from zkmargin.verifier.transcript import Transcript
from zkmargin.verifier.verify import instance_of, verify

SIZE = 3


# Other statements: a true witness of one statement, run under another.


def other_account() -> Account:
    account = sample_account(SIZE)
    return open_account(account.snapshot, portfolio(len(account.snapshot.instruments), seed=2))


def test_wrong_account_is_refused() -> None:
    """Somebody else's statement with one's own words, on one's own positions and on theirs."""
    mine, theirs = sample_account(SIZE), other_account()
    statement = theirs.statement()
    made = replace(attempt(mine, mine.statement()), instance=instance_of(bind(statement, theirs.snapshot)))
    refused(statement, theirs, CheatingProver(made).prove())
    known = replace(made, positions=theirs.opening.values(), blinding=theirs.opening.blinding)
    assert broken_relations(known) == {"rows"}
    refused(statement, theirs, CheatingProver(known).prove())


def test_same_positions_under_another_blinding_are_another_account() -> None:
    account = sample_account(SIZE)
    twin = open_account(account.snapshot, account.opening.lots)
    statement = twin.statement()
    made = replace(attempt(account, statement), instance=instance_of(bind(statement, account.snapshot)))
    assert broken_relations(made) == set()
    refused(statement, twin, CheatingProver(made).prove())


CHANGES: dict[str, Callable[[Account], dict[str, Any]]] = {
    "wrong amount": lambda account: {"amount": "0.01"},
    "wrong delta": lambda account: {"delta": [trade(account.snapshot, 2, 1)]},
    "wrong delta of cash": lambda account: {"delta": [trade(account.snapshot, 0, -1)]},
    "wrong level": lambda account: {"level": "maintenance"},
    "wrong multiplier": lambda account: {"multiplier": "1.000001"},
    "wrong horizon": lambda account: {"horizon": 7200},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_witness_of_another_statement_is_refused(change: Callable[[Account], dict[str, Any]]) -> None:
    account = sample_account(SIZE)
    statement = account.statement(**change(account))
    made = attempt(account, account.statement())
    made = replace(made, instance=instance_of(bind(statement, account.snapshot)))
    assert broken_relations(made) == {"rows"}
    refused(statement, account, CheatingProver(made).prove())


def test_witness_of_another_snapshot_is_refused() -> None:
    account = sample_account(SIZE)
    tree = snapshot_tree(16, 20, limit="100000000000", seed=2)
    moved = replace(account, snapshot=load_snapshot(tree))
    statement = moved.statement()
    made = replace(attempt(account, account.statement()), instance=instance_of(bind(statement, moved.snapshot)))
    assert broken_relations(made) == {"rows"}
    refused(statement, moved, CheatingProver(made).prove())
    refused(account.statement(), moved, sample_proof(SIZE)[1], StatementMismatch)


REPLAYS = {
    "stale epoch": {"epoch": 8},
    "other account": {"account": "bob"},
    "other hub": {"hub": "hub-2"},
    "other spoke": {"spoke": "spoke-2"},
    "other request": {"nonce": "00112233445566778899aabbccddeefe"},
    "later expiry": {"expiry": NOW + 601},
}


@pytest.mark.parametrize("context", REPLAYS.values(), ids=REPLAYS)
def test_replayed_proof_is_refused(context: dict[str, Any]) -> None:
    """The algebraic relation is the very same: only the challenges tell the two apart."""
    account, (old, proof) = sample_account(SIZE), sample_proof(SIZE)
    statement = account.statement(context=dict(old.tree["context"]) | context)
    assert (statement.commitment, statement.snapshot) == (old.commitment, old.snapshot)
    made = attempt(account, statement)
    assert broken_relations(made) == set()
    assert made.instance.constants == attempt(account, old).instance.constants
    refused(statement, account, proof)
    verify(statement, account.snapshot, CheatingProver(made).prove(), now=NOW)


def test_proof_for_an_equal_portfolio_is_refused() -> None:
    account, (_, proof) = sample_account(SIZE), sample_proof(SIZE)
    twin = open_account(account.snapshot, account.opening.lots)
    refused(twin.statement(), twin, proof)


@pytest.mark.parametrize(
    ("now", "field"),
    [
        (NOW + 601, "statement.context.expiry"),
        (NOW - 31, "snapshot.time"),
    ],
)
def test_out_of_its_time_a_proof_is_refused(now: int, field: str) -> None:
    account, (statement, proof) = sample_account(SIZE), sample_proof(SIZE)
    with pytest.raises(StaleStatement) as caught:
        verify(statement, account.snapshot, proof, now=now)
    assert caught.value.field == field


def test_a_snapshot_older_than_the_horizon_is_refused() -> None:
    account = sample_account(1)
    statement, proof = account.proof(horizon=60)
    verify(statement, account.snapshot, proof, now=NOW + 60)
    with pytest.raises(StaleStatement) as caught:
        verify(statement, account.snapshot, proof, now=NOW + 61)
    assert caught.value.field == "statement.horizon"


# Transcripts that forget: the prover's challenges do not depend on one of the messages.

MESSAGES = ["protocol", "srs", "parameters", "statement", "system", "constants", "commitment"]
MESSAGES += [
    "columns",
    "multiplicities",
    "table-helper",
    "helpers",
    "accumulator",
    "quotient",
    "evaluations",
    "accumulator-next",
]
CHALLENGES = ["gamma", "beta", "eta", "alpha", "zeta", "nu"]


def forgetful(labels: Iterable[str]) -> type[Transcript]:
    """A transcript that does not absorb the messages with these labels."""
    forgotten = {label.encode() for label in labels}

    class Forgetful(Transcript):
        def absorb(self, label: bytes, data: bytes) -> None:
            if label not in forgotten:
                super().absorb(label, data)

    return Forgetful


@pytest.mark.parametrize("label", ["nothing", *MESSAGES, *CHALLENGES])
def test_challenges_that_forget_a_message_are_refused(label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    account = sample_account(SIZE)
    statement = account.statement()
    made = attempt(account, statement)
    with monkeypatch.context() as patch:
        patch.setattr(instances, "Transcript", forgetful([label]))
        proof = CheatingProver(made).prove()
        verify(statement, account.snapshot, proof, now=NOW)
    if label == "nothing":
        verify(statement, account.snapshot, proof, now=NOW)
    else:
        refused(statement, account, proof)


def test_openings_shifted_against_each_other_are_refused() -> None:
    """W + mu D and W' - D keep W + mu W' under the old mu, but mu is drawn after both."""
    account, (statement, data) = sample_account(SIZE), sample_proof(SIZE)
    instance = bind_all(account, statement).instance
    proof = decode(data)
    mu = replay(instance, proof, ethereum().key.digest).mu
    shift = G1Point() * scalar(12345)
    old = proof.openings
    new = Openings(old.opening + shift * mu, old.opening_next - shift)
    assert new.opening + new.opening_next * mu == old.opening + old.opening_next * mu
    refused(statement, account, encode(replace(proof, openings=new)))


# Another SRS, and the other ways to leave the statement's parameters.


def toy_attempt(srs: ToySrs) -> tuple[Account, Statement, Attempt, CommitmentKey]:
    """The sample account committed on a toy SRS."""
    sample = sample_account(1)
    key = commitment_key(DOMAIN, srs)
    account = replace(sample, commitment=sample.opening.commitment(key))
    statement = account.statement()
    return account, statement, attempt(account, statement), key


def test_proof_on_another_srs_is_refused() -> None:
    srs = ToySrs()
    account, statement, made, key = toy_attempt(srs)
    proof = CheatingProver(made, key=key).prove()
    verify(statement, account.snapshot, proof, now=NOW, key=srs.key)
    refused(statement, account, proof)


def test_proof_on_another_srs_under_the_name_of_ours_is_refused() -> None:
    srs = ToySrs()
    srs.digest = ethereum().digest
    account, statement, made, key = toy_attempt(srs)
    proof = CheatingProver(made, key=key).prove()
    verify(statement, account.snapshot, proof, now=NOW, key=srs.key)
    refused(statement, account, proof)


@pytest.mark.parametrize("layout", [Layout(256, SIZE + 1), Layout(512, SIZE), Layout(1024, 1)], ids=str)
def test_proof_in_another_layout_is_refused_by_shape(layout: Layout) -> None:
    """The system laid out on more columns, or on another domain: true, and not what the statement says."""
    account = sample_account(SIZE)
    statement = account.statement()
    opening = replace(account.opening, domain=layout.n)
    bound = bind_all(account, statement)
    program = bound.bound.program
    values = assign(program, opening.lots, bound.bound.amount)
    wide = replace(bound.instance, layout=layout)
    if layout.columns * layout.words_per_column < sum(layout.words_of(m) for m in program.system.limits):
        pytest.fail("the system does not fit this layout")
    made = Attempt(wide, [], [], [], opening.values(), opening.blinding).with_values(values)
    proof = CheatingProver(made).prove()
    with pytest.raises(MalformedProof) as caught:
        verify(statement, account.snapshot, proof, now=NOW)
    assert caught.value.field in ("proof.K", "proof.n")
    relabelled = bytes([1, 8, SIZE]) + proof[3:]
    with pytest.raises((MalformedProof, ProofRejected)):
        verify(statement, account.snapshot, relabelled, now=NOW)


def test_commitment_at_infinity_is_refused() -> None:
    """An account of nothing with no blinding would be the neutral element."""
    account = sample_account(1)
    nobody = replace(account, commitment=G1_INFINITY)
    with pytest.raises(MalformedInput) as caught:
        verify(nobody.statement(), account.snapshot, sample_proof(1)[1], now=NOW)
    assert caught.value.field == "statement.commitment"


@pytest.mark.parametrize("value", [ZERO, ONE], ids=["0", "1"])
def test_neutral_elements_satisfy_no_equation_even_undecoded(value: Scalar) -> None:
    """The "0 bug": past the decoder too, a proof of nothing but neutral elements does not hold."""
    account = sample_account(SIZE)
    statement = account.statement()
    instance = instance_of(bind(statement, account.snapshot))
    zero, key = G1Point.identity(), ethereum().key
    layout = instance.layout
    proof = Proof(
        layout,
        Columns((zero,) * layout.columns, zero),
        Sums(zero, (zero,) * layout.columns, zero),
        Quotient(zero),
        Evaluations((value,) * layout.columns, value),
        Openings(zero, zero),
    )
    assert not holds(equation(instance, key, proof), key)
    with pytest.raises(MalformedProof):
        decode(encode(proof))


def test_the_honest_rounds_and_the_cheating_ones_make_the_same_proof() -> None:
    """Control of the framework: same randomness, same bytes."""
    account = sample_account(1)
    bound = bind_all(account, account.statement())
    honest_draws: list[list[Scalar]] = []

    def record(count: int) -> list[Scalar]:
        honest_draws.append(fresh(count))
        return honest_draws[-1]

    proof = encode(
        prove_instance(bound.instance, bound.witness, account.opening, commitment_key(DOMAIN), randomness=record)
    )
    draws = iter(honest_draws)

    def replayed(count: int) -> list[Scalar]:
        drawn = next(draws)
        assert len(drawn) == count
        return drawn

    assert CheatingProver(attempt(account, account.statement()), randomness=replayed).prove() == proof
