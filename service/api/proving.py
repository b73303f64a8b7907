"""A statement's proof inside a hub's call: verified in the pool against the hub's own attestation."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import Request
from sqlalchemy import Connection, select
from starlette.concurrency import run_in_threadpool

from circuits.canonical import canonical_bytes
from circuits.errors import ProofRejected
from circuits.schema import dump
from circuits.statement import from_model
from prover.documents import proof_bytes, proof_of

from ..jobs import VerifyJob
from ..ledger.book import Book
from ..ledger.consent import Proved
from ..ledger.epochs import Attested
from ..store import tables
from ..workers import VerifierPool
from .models import ProvedBody

#: What a proof in a call may come to.
PROOF_PROBLEMS = (
    "malformed-proof", "statement-mismatch", "stale-statement", "proof-rejected", "rule-refused", "system-too-large",
)  # fmt: skip


def pool_of(request: Request) -> VerifierPool:
    """The application's verification processes."""
    pool: VerifierPool = request.app.state.service.parts["pool"]
    return pool


def proved_of(body: ProvedBody) -> Proved:
    """The parts of a body as domain types; ``MalformedInput`` or ``StatementMismatch`` names the field."""
    statement = from_model(body.statement)
    return Proved(statement, proof_of(body.proof, statement), canonical_bytes(dump(body.authorisation)))


async def verify_attested(
    request: Request,
    book: Book,
    before: Callable[[Connection], Attested],
    proved: Proved,
    *,
    answered: Callable[[Connection], bool],
    rejected: Callable[[], None] | None = None,
) -> None:
    """Check in a read transaction what can be checked before (``before`` gives the attestation), then the proof.
    Nothing for a request that ``answered`` knows: its answer is repeated whatever has changed since.

    Raises the typed error of the first check that fails; ``rejected`` runs for a proof that does not hold.
    """

    def read(tx: Connection) -> tuple[Attested, tuple[bytes, ...]] | None:
        if answered(tx):
            return None
        rows = tx.execute(select(tables.signing_keys.c.public)).scalars()
        return before(tx), tuple(bytes.fromhex(public) for public in rows)

    found = await run_in_threadpool(book.database.read, read)
    if found is None:
        return
    attested, keys = found
    verdict = await pool_of(request).verify(
        VerifyJob(
            proved.statement.to_bytes(), proof_bytes(proved.statement, proved.proof),
            attestation=attested.document.encode(), hub_keys=keys, now=book.clock(),
        )
    )  # fmt: skip
    if verdict.failed is not None:
        if isinstance(verdict.failed, ProofRejected) and rejected is not None:
            await run_in_threadpool(rejected)
        raise verdict.failed
