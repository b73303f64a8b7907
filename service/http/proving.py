"""A statement's proof inside a hub's call: verified in the pool against the hub's own attestation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, select
from starlette.concurrency import run_in_threadpool

from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.documents.statement import StatementModel, statement_from_model
from zkmargin.circuits.errors import ProofRejected, ZkMarginError
from zkmargin.circuits.schema import ProofModel, Strict, dump
from zkmargin.prover.documents import proof_bytes, proof_of
from zkmargin.service.ledger import idempotency
from zkmargin.service.ledger.answers import Answer, Attested
from zkmargin.service.ledger.consent import Proved
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.ledger.json_tree import Tree
from zkmargin.service.store import tables
from zkmargin.service.verification.jobs import VerifyJob
from zkmargin.service.verification.pool import VerifierPool
from zkmargin.verifier.facts.authorisation import AuthorisationModel

#: What a proof in a call may come to.
PROOF_PROBLEMS = (
    "malformed-proof", "statement-mismatch", "stale-statement", "proof-rejected", "rule-refused", "system-too-large",
    "too-expensive",
)  # fmt: skip


class ProvedBody(Strict):
    """A statement, its proof, and the signature of the account's key that authorises the statement's purpose."""

    statement: StatementModel
    proof: ProofModel
    authorisation: AuthorisationModel


def proved_of(body: ProvedBody) -> Proved:
    """The parts of a body as domain types; ``MalformedInput`` or ``StatementMismatch`` names the field."""
    statement = statement_from_model(body.statement)
    return Proved(statement, proof_of(body.proof, statement), canonical_bytes(dump(body.authorisation)))


@dataclass(frozen=True)
class Part:
    """A proof of a call. ``before`` says what can be said before it is verified, and gives the attestation."""

    before: Callable[[Connection], Attested]
    proved: Proved = field(repr=False)


async def change_on_proofs(
    pool: VerifierPool,
    ledger: Ledger,
    call: idempotency.Call,
    parts: Sequence[Part],
    work: Callable[[Connection], Answer],
    *,
    rejected: Callable[[], None] | None = None,
) -> Tree:
    """Book a change that rests on proofs: claim its key and check what can be checked, verify, then ``work`` in one
    transaction. Gives the answer, or the one that another try of the same request was given.

    Raises the request's refusal: the typed error of the first check that fails, or the one told before. ``rejected``
    runs for a proof that does not hold.
    """

    def check(tx: Connection) -> tuple[list[Attested], tuple[bytes, ...]]:
        found = [part.before(tx) for part in parts]
        rows = tx.execute(select(tables.signing_keys.c.public)).scalars()
        return found, tuple(bytes.fromhex(public) for public in rows)

    claimed = await run_in_threadpool(idempotency.claim, ledger, call, check)
    if isinstance(claimed, idempotency.Outcome):
        return claimed.told()
    found, keys = claimed
    try:
        for part, attested in zip(parts, found, strict=True):
            await _verify(pool, ledger, part, attested, keys)
    except ZkMarginError as err:
        outcome = await run_in_threadpool(idempotency.refuse, ledger, call, err)
        if isinstance(err, ProofRejected) and rejected is not None and not outcome.earlier:
            await run_in_threadpool(rejected)
        return outcome.told()
    return (await run_in_threadpool(idempotency.settle, ledger, call, work)).told()


async def _verify(pool: VerifierPool, ledger: Ledger, part: Part, attested: Attested, keys: tuple[bytes, ...]) -> None:
    answer = await pool.verify(
        VerifyJob(
            part.proved.statement.to_bytes(), proof_bytes(part.proved.statement, part.proved.proof),
            attestation=attested.document.encode(), hub_keys=keys, now=ledger.clock(),
        )
    )  # fmt: skip
    if answer.failed is not None:
        raise answer.failed
