"""What a verification process does: from documents to answers, many requests at a time, one pairing check for all.

Runs outside the server's process. Parsing is here too, so that the event loop only moves bytes. Two kinds of work stand
back: what needs a snapshot that this process does not have comes back as :class:`Missing`, and what would take long
(parsing or compiling a large snapshot) as :class:`Later`, unless it was sent as heavy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from zkmargin.circuits.errors import (
    InternalError,
    ProofRejected,
    SignatureRejected,
    StaleStatement,
    StatementMismatch,
    ZkMarginError,
)
from zkmargin.service.errors import TooExpensive, UnknownSnapshot
from zkmargin.service.http.routes.proofs.schemas import MAX_SNAPSHOTS
from zkmargin.service.verification import budget
from zkmargin.service.verification.budget import Budget, Full, Heavy
from zkmargin.service.verification.cases import Case, from_body, from_documents
from zkmargin.service.verification.jobs import (
    ORDER,
    Again,
    Answer,
    BodyJob,
    Done,
    Envelope,
    Later,
    Missing,
    Reply,
    VerifyJob,
)
from zkmargin.service.verification.parsed import Parsed, ParsedSnapshots
from zkmargin.verifier.srs import ethereum
from zkmargin.verifier.verdict import PROOF, Examination, Verdict, settle

#: Faults of the proof, which are a verdict. Any other typed error means that nothing could be checked.
VERDICTS = (StatementMismatch, StaleStatement, ProofRejected, SignatureRejected)


@dataclass(frozen=True)
class _Examined:
    """One proof under examination, on its snapshot."""

    case: Case
    on: Parsed
    examination: Examination


@dataclass(frozen=True)
class _Open:
    """A job whose proofs wait for the common check; ``learned`` are snapshots that came along."""

    cases: list[_Examined | ZkMarginError]
    learned: dict[bytes, bytes]


class Worker:
    """The state of a verification process: parsed snapshots, and what it may still take on."""

    def __init__(self, keep: int = 8) -> None:
        self.key = ethereum().key
        self.snapshots = ParsedSnapshots(keep)
        self.budget = Budget()

    def run(self, envelopes: Sequence[Envelope]) -> list[Reply]:
        """Answer every envelope; proofs of all of them share one pairing check."""
        replies: list[Reply | _Open] = []
        self.budget.begin()
        for envelope in envelopes:
            try:
                replies.append(self._open(envelope))
            except Heavy:
                replies.append(Later())
            except Full:
                replies.append(Again())
            except ZkMarginError as err:
                replies.append(err)
            except Exception as err:
                # Our bug, and only this caller's request is lost. Nothing of the exception leaves the process.
                replies.append(InternalError(f"{type(err).__name__} in verification"))
        waiting = [
            case
            for reply in replies
            if isinstance(reply, _Open)
            for case in reply.cases
            if isinstance(case, _Examined) and case.examination.failed is None
        ]
        found = self._prove(waiting)
        return [
            Done([_answer(case, found) for case in reply.cases], reply.learned) if isinstance(reply, _Open) else reply
            for reply in replies
        ]

    def _prove(self, waiting: list[_Examined]) -> dict[Examination, Verdict | InternalError]:
        """The checks of the proofs, which cost the most, and what the library keeps of them."""
        found: dict[Examination, Verdict | InternalError] = {}
        for one, result in zip(waiting, self._settle([one.examination for one in waiting]), strict=True):
            error = result.failed if isinstance(result, Verdict) else result
            if isinstance(error, ProofRejected):
                # The library names the place in the batch, which is nobody's business.
                error.field = "proof"
            found[one.examination] = result
            self.budget.keep(one.case.statement, one.on.snapshot, one.on.size, error)
        return found

    def _settle(self, examinations: list[Examination]) -> list[Verdict | InternalError]:
        """One batch; if that fails unexpectedly, each by itself, so that only the guilty one is lost."""
        try:
            return list(settle(examinations))
        except Exception as err:
            if len(examinations) == 1:
                return [InternalError(f"{type(err).__name__} in verification")]
            return [result for one in examinations for result in self._settle([one])]

    def _open(self, envelope: Envelope) -> Missing | _Open:
        """Parse a job and make all checks but the proof's."""
        job, heavy = envelope.job, envelope.heavy
        found = {
            digest: self.snapshots.parse(document, "snapshot", heavy=heavy)
            for digest, document in envelope.documents.items()
            if document is not None
        }
        cases: list[Case | ZkMarginError]
        if isinstance(job, BodyJob) and len(job.body) > budget.HEAVY_BYTES and not heavy:
            raise Heavy
        if isinstance(job, VerifyJob):
            cases = [from_documents(job)]
            texts = [] if job.snapshot is None else [(job.snapshot, "snapshot")]
        else:
            cases, texts = from_body(job)
        if len({case.statement.snapshot for case in cases if isinstance(case, Case)}) > MAX_SNAPSHOTS:
            raise TooExpensive(f"its statements name more than {MAX_SNAPSHOTS} snapshots, which is what one call gets")
        own: dict[bytes, Parsed] = {}
        learned: dict[bytes, bytes] = {}
        for text, name in texts:
            parsed = self.snapshots.parse(text, name, heavy=heavy)
            own[parsed.snapshot.digest], learned[parsed.snapshot.digest] = parsed, text
        # The only document of a call for one proof is meant, even if the statement names another.
        meant = next(iter(own.values())) if own and not (isinstance(job, BodyJob) and job.many) else None
        chosen = {
            digest: own.get(digest) or meant or found.get(digest) or self.snapshots.get(digest)
            for digest in dict.fromkeys(case.statement.snapshot for case in cases if isinstance(case, Case))
        }
        missing = [digest for digest, parsed in chosen.items() if parsed is None and digest not in envelope.documents]
        if missing:
            return Missing(tuple(missing))
        examined = [
            case if isinstance(case, ZkMarginError) else self._examine(case, chosen[case.statement.snapshot], heavy)
            for case in cases
        ]
        return _Open(examined, learned)

    def _examine(self, case: Case, on: Parsed | None, heavy: bool) -> _Examined | ZkMarginError:
        """Admit the work of one proof, and make all checks but the proof's own."""
        if on is None:
            return UnknownSnapshot("the snapshot is not known here", field="statement.snapshot")
        self.budget.admit(case.statement, on.snapshot, heavy)
        examination = Examination(case.evidence(on.snapshot), order=ORDER, key=self.key)
        examination.advance(before=PROOF)
        return _Examined(case, on, examination)


def _answer(
    one: _Examined | ZkMarginError, found: dict[Examination, Verdict | InternalError]
) -> Answer | ZkMarginError:
    """What is told of one proof: the error instead, when it is no verdict."""
    if isinstance(one, ZkMarginError):
        return one
    verdict = found.get(one.examination) or one.examination.verdict()
    if isinstance(verdict, InternalError):
        return verdict
    if verdict.failed is not None and not isinstance(verdict.failed, VERDICTS):
        return verdict.failed
    statement, context = one.case.statement, one.case.statement.context
    return Answer(
        verdict=_as_told(verdict),
        statement=statement.digest.hex(),
        snapshot=statement.snapshot.hex(),
        hub=context.hub,
        account=context.account,
        epoch=context.epoch,
        venue=context.venue,
        nonce=context.nonce,
        expiry=context.expiry,
        amount=statement.amount,
        currency=one.on.snapshot.currency,
        attestation_key=None if verdict.attestation_key is None else verdict.attestation_key.hex(),
        snapshot_key=None if verdict.snapshot_key is None else verdict.snapshot_key.hex(),
        time=one.case.now,
    )


def _as_told(verdict: Verdict) -> Verdict:
    """The verdict in this service's words, which callers have seen: a snapshot is in force here or it is not."""
    if verdict.state("snapshot_time") == "failed" and verdict.failed is not None:
        return replace(verdict, failed=StaleStatement("the snapshot is not in force", field=verdict.failed.field))
    return verdict


_worker: Worker | None = None


def start(keep: int) -> None:
    """First call in a verification process: load what it needs. Raises ``CorruptData`` for a damaged installation."""
    global _worker  # noqa: PLW0603 - one for the life of the process
    _worker = Worker(keep)


def run(envelopes: Sequence[Envelope]) -> list[Reply]:
    """Answer a batch in this process."""
    if _worker is None:
        raise InternalError("the process was not started")
    return _worker.run(envelopes)
