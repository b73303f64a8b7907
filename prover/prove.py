"""Prove a statement: five messages, five sets of challenges, one proof."""

from __future__ import annotations

from collections.abc import Callable

from zkmargin.circuits.errors import InternalError, StatementMismatch
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import Statement, bind
from zkmargin.prover import rounds
from zkmargin.prover.commitment import CommitmentKey, Opening, Randomness, commitment_key, fresh, workers
from zkmargin.prover.witness import Witness, build_witness
from zkmargin.verifier.argument.instance import Instance
from zkmargin.verifier.argument.v1 import challenges
from zkmargin.verifier.argument.v1.encoding import encode
from zkmargin.verifier.argument.v1.equation import equation
from zkmargin.verifier.argument.v1.messages import Proof
from zkmargin.verifier.kzg import holds
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
    """Run the rounds for a bound system. The challenges are the verifier's own code, so the two cannot drift."""
    t = challenges.begin(instance, key.srs.digest)
    start = rounds.Start(instance, key, randomness, witness, opening.values(), opening.blinding)
    progress("columns")
    columns, after_columns = rounds.round_1(start)
    drawn = challenges.round_1(t, columns)
    progress("sums")
    sums, after_sums = rounds.round_2(after_columns, drawn)
    alpha = challenges.round_2(t, sums)
    progress("quotient")
    quotient, after_quotient = rounds.round_3(after_sums, alpha)
    zeta = challenges.round_3(t, quotient)
    progress("evaluations")
    evaluations, after_evaluations = rounds.round_4(after_quotient, zeta)
    nu = challenges.round_4(t, evaluations)
    progress("openings")
    openings = rounds.round_5(after_evaluations, nu)
    return Proof(instance.layout, columns, sums, quotient, evaluations, openings)


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
    if not holds(equation(instance, verifier_key, proof), verifier_key):
        raise InternalError("the finished proof does not verify")
    return encode(proof)
