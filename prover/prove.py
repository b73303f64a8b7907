"""Prove a statement: five messages, five sets of challenges, one proof."""

from __future__ import annotations

from collections.abc import Callable

from zkmargin.circuits.errors import InternalError, StatementMismatch
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import Statement, bind
from zkmargin.prover import rounds
from zkmargin.prover.commitment import CommitmentKey, Opening, Randomness, commitment_key, fresh, workers
from zkmargin.prover.witness import Witness, build_witness
from zkmargin.verifier import argument
from zkmargin.verifier.argument import Challenges, Instance
from zkmargin.verifier.field import ONE
from zkmargin.verifier.proof import Proof
from zkmargin.verifier.verify import instance_of

#: Names of the steps that a progress display shows, in order.
STEPS = ("witness", "columns", "sums", "quotient", "evaluations", "openings", "check")
Progress = Callable[[str], None]


def _silent(step: str) -> None:
    """No progress display."""


def prove_instance(
    instance: Instance,
    witness: Witness,
    opening: Opening,
    key: CommitmentKey,
    *,
    randomness: Randomness = fresh,
    progress: Progress = _silent,
) -> Proof:
    """Run the rounds for a bound system. The transcript is the verifier's own code, so the two cannot drift."""
    t = instance.transcript(key.srs.digest)
    start = rounds.Start(instance, key, randomness, witness, opening.values(), opening.blinding)
    progress("columns")
    (columns, multiplicities), state_1 = rounds.round_1(start)
    gamma, beta, eta = argument.round_1(t, columns, multiplicities)
    progress("sums")
    (table_helper, helpers, accumulator), state_2 = rounds.round_2(state_1, gamma, beta, eta)
    alpha = argument.round_2(t, table_helper, helpers, accumulator)
    progress("quotient")
    quotient, state_3 = rounds.round_3(state_2, alpha)
    zeta = argument.round_3(t, quotient)
    progress("evaluations")
    (evaluations, accumulator_next), state_4 = rounds.round_4(state_3, zeta)
    nu = argument.round_4(t, evaluations, accumulator_next)
    progress("openings")
    challenges = Challenges(
        gamma, beta, eta, alpha, zeta, nu, mu=ONE
    )  # mu comes after the openings, which don't use it
    opening_proof, opening_next = rounds.round_5(state_4, challenges)
    return Proof(
        layout=instance.layout,
        columns=tuple(columns),
        multiplicities=multiplicities,
        table_helper=table_helper,
        helpers=tuple(helpers),
        accumulator=accumulator,
        quotient=quotient,
        opening=opening_proof,
        opening_next=opening_next,
        evaluations=tuple(evaluations),
        accumulator_next=accumulator_next,
    )


def prove(
    statement: Statement,
    snapshot: Snapshot,
    opening: Opening,
    *,
    randomness: Randomness = fresh,
    progress: Progress = _silent,
) -> bytes:
    """Prove a statement about one's own portfolio; returns the proof's bytes.

    Raises ``NotSolvent`` (naming scenario and shortfall, for the holder only) when the statement is false, and
    ``StatementMismatch`` when the opening does not open the statement's commitment. The finished proof is verified
    before it is returned, so a hardware or software fault gives ``InternalError`` and no proof.
    """
    bound = bind(statement, snapshot)
    progress("witness")
    if opening.domain != statement.domain:
        raise StatementMismatch("the opening is for another domain", field="statement.domain")
    witness = build_witness(bound, snapshot, opening.lots)
    key = commitment_key(statement.domain)
    opened = workers().submit(opening.commitment, key)
    instance = instance_of(bound)
    proof = prove_instance(instance, witness, opening, key, randomness=randomness, progress=progress)
    progress("check")
    if opened.result() != statement.commitment:
        raise StatementMismatch("the opening does not open this commitment", field="statement.commitment")
    verifier_key = key.srs.key
    if not argument.holds(argument.equation(instance, verifier_key, proof), verifier_key):
        raise InternalError("the finished proof does not verify")
    return proof.to_bytes()
