"""Faults of the randomness, each by name: challenges reused or foreseen, statements that look alike, two portfolios
for one commitment.

Where a verifier with the fault would be convinced of something false, the test shows that too: the attack works, and
it is the check alone that stops it.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from py_arkworks_bls12381 import Scalar

from tests.prover.test_zero_knowledge import equivocated_opening
from tests.support.cheating import Attempt, CheatingProver, attempt, broken_relations
from tests.support.toy import (
    DOMAIN,
    NOW,
    Account,
    ToySrs,
    load_statement,
    open_account,
    refused,
    sample_account,
    sample_proof,
    statement_tree,
)
from zkmargin.circuits.errors import MalformedInput, ProofRejected, StatementMismatch
from zkmargin.circuits.statement import Statement, bind
from zkmargin.prover.commitment import commitment_key, sum_openings
from zkmargin.prover.documents import parse_proof, proof_bytes
from zkmargin.prover.prove import prove
from zkmargin.verifier.argument import instance as instances
from zkmargin.verifier.argument.v1 import challenges
from zkmargin.verifier.argument.v1.challenges import Beta, ColumnChallenges, Eta, Gamma
from zkmargin.verifier.argument.v1.encoding import decode
from zkmargin.verifier.field import ZERO, domain, power, scalar
from zkmargin.verifier.transcript import Transcript
from zkmargin.verifier.verify import instance_of, verify

SIZE = 2

REUSED = [("beta", "gamma"), ("eta", "gamma"), ("eta", "beta"), ("alpha", "eta"), ("zeta", "alpha"), ("nu", "zeta")]


def reusing(later: str, earlier: str) -> type[Transcript]:
    """A transcript that gives an earlier challenge again under a later name."""

    class Reusing(Transcript):
        def challenge(self, label: bytes) -> Scalar:
            value = super().challenge(label)
            if label.decode() == earlier:
                self.kept = value
            return self.kept if label.decode() == later else value

    return Reusing


@pytest.mark.parametrize(("later", "earlier"), REUSED)
def test_a_reused_challenge_is_refused(later: str, earlier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    account = sample_account(SIZE)
    statement = account.statement()
    with monkeypatch.context() as patch:
        patch.setattr(instances, "Transcript", reusing(later, earlier))
        proof = CheatingProver(attempt(account, statement)).prove()
        verify(statement, account.snapshot, proof, now=NOW)
    refused(statement, account, proof)


def test_challenges_of_another_proof_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every challenge is good, and was drawn for an earlier proof of the very same statement."""
    account, (statement, old) = sample_account(SIZE), sample_proof(SIZE)
    made = attempt(account, statement)
    instance = instance_of(bind(statement, account.snapshot))
    found = challenges.replay(instance, decode(old), commitment_key(DOMAIN).srs.digest)
    values = iter([found.gamma, found.beta, found.eta, found.alpha, found.zeta, found.nu])
    with monkeypatch.context() as patch:
        patch.setattr(Transcript, "challenge", lambda _self, _label: next(values))
        proof = CheatingProver(made).prove()
    refused(statement, account, proof)
    verify(statement, account.snapshot, old, now=NOW)


def insolvent(account: Account, commitment: bytes | None = None) -> Statement:
    """A statement about far more than the account has."""
    return load_statement(statement_tree(account.snapshot, commitment or account.commitment, amount="99999999"))


def paid_by_a_hidden_row(made: Attempt, beta: Scalar) -> Attempt:
    """A hidden row that outweighs every false row, for whoever knows beta beforehand."""
    system = made.instance.system
    values, d = [max(v, 0) for v in made.values], system.positions
    owed = ZERO
    for i, (row, constant) in enumerate(zip(system.rows, made.instance.constants, strict=True)):
        left = sum((scalar(f) * made.positions[j] for j, f in row.positions.items()), ZERO)
        left = sum((scalar(a * values[k]) for k, a in row.variables.items()), left)
        owed = owed + power(beta, i) * (left - constant)
    assert not owed.is_zero()
    positions = list(made.positions)
    positions[d] = -owed * (beta - domain(DOMAIN)[d]) * power(beta, len(system.rows)).inverse()
    point = commitment_key(DOMAIN).commit_values(positions, made.blinding)
    return replace(made, positions=positions, instance=replace(made.instance, commitment=point))


def test_a_foreseen_beta_would_prove_anything_and_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    account = sample_account(1)
    drawn = ColumnChallenges(Gamma(scalar(10**9)), Beta(scalar(10**9 + 1)), Eta(scalar(10**9 + 2)))
    made = paid_by_a_hidden_row(attempt(account, insolvent(account)), drawn.beta)
    assert broken_relations(made) == {"rows", "hidden"}
    committed = bytes(made.instance.commitment.to_compressed_bytes())
    statement = insolvent(account, committed)
    made = replace(made, instance=instance_of(bind(statement, account.snapshot)))
    with monkeypatch.context() as patch:
        patch.setattr(challenges, "round_1", lambda *_: drawn)
        proof = CheatingProver(made).prove()
        verify(statement, account.snapshot, proof, now=NOW)
    refused(statement, account, proof)
    refused(statement, account, CheatingProver(made).prove())


PREFIX = 3


def alike(account: Account) -> tuple[Statement, Statement]:
    """Two statements whose digests begin with the same bytes: by birthday, in some thousand nonces."""
    plain = statement_tree(account.snapshot, account.commitment)
    seen: dict[bytes, Statement] = {}
    for i in itertools.count():
        tree = plain | {"context": plain["context"] | {"nonce": f"{i:032x}"}}
        statement = load_statement(tree)
        other = seen.setdefault(statement.digest[:PREFIX], statement)
        if other is not statement:
            return other, statement
    raise AssertionError


def test_a_proof_for_a_statement_with_an_equal_digest_prefix_is_refused() -> None:
    account = sample_account(1)
    first, second = alike(account)
    assert first.digest[:PREFIX] == second.digest[:PREFIX]
    assert first.digest != second.digest
    proof = prove(first, account.snapshot, account.opening)
    verify(first, account.snapshot, proof, now=NOW)
    refused(second, account, proof)
    with pytest.raises(StatementMismatch) as caught:
        parse_proof(proof_bytes(first, proof), second)
    assert caught.value.field == "proof.statement"


def test_a_proof_under_another_protocol_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    account, statement = sample_account(1), sample_account(1).statement()
    with monkeypatch.context() as patch:
        patch.setattr(challenges, "PROTOCOL", b"zkmargin/argument/2")
        proof = prove(statement, account.snapshot, account.opening)
        verify(statement, account.snapshot, proof, now=NOW)
    refused(statement, account, proof)


@pytest.mark.parametrize("amount", ["-0.01", "-1000000", "-0"])
def test_a_negative_amount_is_refused(amount: str) -> None:
    """It would prove that an account is not very insolvent."""
    account, (_, proof) = sample_account(1), sample_proof(1)
    with pytest.raises(MalformedInput) as caught:
        verify(account.statement(amount=amount), account.snapshot, proof, now=NOW)
    assert caught.value.field == "statement.amount"


def test_an_amount_beyond_the_bound_check_is_refused() -> None:
    """The largest amount that the bound check counts with is still a statement; one quantum more is none."""
    account, (_, proof) = sample_account(1), sample_proof(1)
    for quanta, error in ((2**128 - 1, ProofRejected), (2**128, MalformedInput)):
        statement = account.statement(amount=f"{quanta // 100}.{quanta % 100:02d}")
        refused(statement, account, proof, error)


def richer(account: Account) -> Account:
    """The same account with more cash, under the same blinding: another commitment."""
    lots = (account.opening.lots[0] + 10**6, *account.opening.lots[1:])
    return replace(account, opening=replace(account.opening, lots=lots))


def test_two_portfolios_for_one_commitment_are_refused() -> None:
    """Words and positions of a richer account agree with each other, and not with what was committed."""
    account = sample_account(SIZE)
    statement = account.statement()
    made = attempt(richer(account), statement)
    assert broken_relations(made) == set()
    refused(statement, account, CheatingProver(made).prove())


def test_only_who_knows_tau_has_two_portfolios_for_one_commitment() -> None:
    """Binding is the ceremony's: with a known tau the same lie is accepted, which shows what the test above tests."""
    srs = ToySrs()
    key, sample = commitment_key(DOMAIN, srs), sample_account(SIZE)
    account = replace(sample, commitment=sample.opening.commitment(key))
    other = equivocated_opening(account, richer(account).opening.lots)
    assert other.opening.commitment(key) == account.commitment
    statement = account.statement()
    for owner in (account, other):
        proof = CheatingProver(attempt(owner, statement), key=key).prove()
        verify(statement, account.snapshot, proof, now=NOW, key=srs.key)
        with pytest.raises(ProofRejected):
            verify(statement, account.snapshot, proof, now=NOW)


def test_the_sum_of_two_accounts_is_no_proof_for_either() -> None:
    """Commitments add up; a proof for the sum is a proof for the sum alone."""
    first = sample_account(SIZE)
    second = open_account(first.snapshot, [1, *first.opening.lots[1:]])
    total = sum_openings([first.opening, second.opening])
    joint = Account(first.snapshot, total, total.commitment())
    statement, proof = joint.proof()
    verify(statement, joint.snapshot, proof, now=NOW)
    for part in (first, second):
        refused(part.statement(), part, proof)
