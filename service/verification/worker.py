"""What a verification process does: from documents to verdicts, many requests at a time, one pairing check for all.

Runs outside the server's process. Parsing is here too, so that the event loop only moves bytes. Two kinds of work stand
back: what needs a snapshot that this process does not have comes back as :class:`Missing`, and what would take long
(parsing or compiling a large snapshot) as :class:`Later`, unless it was sent as heavy.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.documents.statement import StatementModel, statement_from_model
from zkmargin.circuits.errors import (
    InternalError,
    MalformedInput,
    ProofRejected,
    SignatureRejected,
    StaleStatement,
    StatementMismatch,
    ZkMarginError,
)
from zkmargin.circuits.schema import ProofModel, dump, load, validate
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import Statement
from zkmargin.prover.documents import proof_of
from zkmargin.service.errors import TooExpensive, UnknownSnapshot
from zkmargin.service.http.routes.proofs.schemas import MAX_SNAPSHOTS, VerifyBatchRequest, VerifyRequest
from zkmargin.service.http.schemas import parse_body
from zkmargin.service.verification.budget import Budget, Full, Heavy
from zkmargin.service.verification.jobs import (
    CHECKS,
    Again,
    BodyJob,
    Done,
    Envelope,
    Job,
    Later,
    Missing,
    Reply,
    Verdict,
    VerifyJob,
)
from zkmargin.verifier.facts.attestation import Attestation, check_attested, load_public_key, verify_attestation
from zkmargin.verifier.facts.snapshot_signature import SnapshotSignature, verify_snapshot_signature
from zkmargin.verifier.srs import ethereum
from zkmargin.verifier.verify import Item, verify_batch

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from pydantic import BaseModel

#: Faults of the proof, which are a verdict. Any other typed error means that nothing could be checked.
VERDICTS = (StatementMismatch, StaleStatement, ProofRejected, SignatureRejected)
#: A document of this size parses in some 50 ms.
HEAVY_BYTES = 128 * 1024
#: Bytes of the documents whose parsed snapshots a process keeps; parsed they take ten times as much memory.
KEPT_BYTES = 32 * 1024 * 1024


@dataclass
class _Case:
    """One proof under examination."""

    statement: Statement
    proof: bytes
    attestation: bytes | None
    signed_snapshot: bytes | None
    hub_keys: tuple[bytes, ...]
    oracle_keys: tuple[bytes, ...]
    now: int
    snapshot: Snapshot | None = None
    #: Bytes of the snapshot's document.
    size: int = 0
    other: ZkMarginError | None = None
    checks: dict[str, str] = field(default_factory=dict)
    failed: ZkMarginError | None = None
    attested: Attestation | None = None
    attestation_key: str | None = None
    signed: SnapshotSignature | None = None
    snapshot_key: str | None = None


class Judge:
    """The state of a verification process: parsed snapshots, and what it may still take on."""

    def __init__(self, keep: int = 8) -> None:
        self.keep = keep
        self.key = ethereum().key
        self.snapshots: OrderedDict[bytes, Snapshot] = OrderedDict()
        self.sizes: dict[bytes, int] = {}
        self.texts: OrderedDict[bytes, bytes] = OrderedDict()
        self.budget = Budget()

    def run(self, envelopes: Sequence[Envelope]) -> list[Reply]:
        """Judge every envelope; proofs of all of them share one pairing check."""
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
        cases = [c for r in replies if isinstance(r, _Open) for c in r.cases if isinstance(c, _Case) and not c.failed]
        self._prove(cases)
        return [r.close() if isinstance(r, _Open) else r for r in replies]

    def _prove(self, cases: list[_Case]) -> None:
        items = [Item(c.statement, c.snapshot, c.proof) for c in cases if c.snapshot is not None]
        for case, error in zip(cases, self._verify(items), strict=True):
            if isinstance(error, ProofRejected):
                # The library names the place in the batch, which is nobody's business.
                error.field = "proof"
            case.checks["proof"] = "failed" if error else "passed"
            case.failed = error
            if case.snapshot is not None:
                self.budget.keep(case.statement, case.snapshot, case.size, error)

    def _verify(self, items: list[Item]) -> list[ZkMarginError | None]:
        """One batch; if that fails unexpectedly, each by itself, so that only the guilty one is lost."""
        try:
            return verify_batch(items, key=self.key)
        except Exception as err:
            if len(items) == 1:
                return [InternalError(f"{type(err).__name__} in verification")]
            return [error for item in items for error in self._verify([item])]

    def _open(self, envelope: Envelope) -> Missing | _Open:
        """Parse a job and make all checks but the proof's."""
        job = envelope.job
        own: dict[bytes, tuple[Snapshot, bytes]] = {}
        found = {
            digest: (self._parse(document, "snapshot", envelope.heavy), document)
            for digest, document in envelope.documents.items()
            if document is not None
        }
        cases: list[_Case | ZkMarginError]
        if isinstance(job, BodyJob) and len(job.body) > HEAVY_BYTES and not envelope.heavy:
            raise Heavy
        if isinstance(job, VerifyJob):
            many, cases = False, [_from_documents(job)]
            texts = [] if job.snapshot is None else [(job.snapshot, "snapshot")]
        else:
            many, (cases, texts) = job.many, _from_body(job)
        if len({c.statement.snapshot for c in cases if isinstance(c, _Case)}) > MAX_SNAPSHOTS:
            raise TooExpensive(f"its statements name more than {MAX_SNAPSHOTS} snapshots, which is what one call gets")
        for text, name in texts:
            snap = self._parse(text, name, envelope.heavy)
            own[snap.digest] = snap, text
        missing: dict[bytes, None] = {}
        for case in cases:
            if isinstance(case, ZkMarginError):
                continue
            digest = case.statement.snapshot
            if digest in own or (own and not many):
                # The only document of a call for one proof is meant, even if the statement names another.
                case.snapshot, text = own[digest] if digest in own else next(iter(own.values()))
                case.size = len(text)
            elif digest in found:
                case.snapshot, text = found[digest]
                case.size = len(text)
            elif digest in self.snapshots:
                self.snapshots.move_to_end(digest)
                case.snapshot, case.size = self.snapshots[digest], self.sizes[digest]
            elif digest not in envelope.documents:
                missing[digest] = None
        if missing:
            return Missing(tuple(missing))
        examined = [c if isinstance(c, ZkMarginError) else self._examine(c, envelope.heavy) for c in cases]
        return _Open(examined, {digest: text for digest, (_, text) in own.items()})

    def _parse(self, text: bytes, name: str, heavy: bool) -> Snapshot:
        """A snapshot document, parsed once for each text."""
        mark = hashlib.sha256(text).digest()
        found = self.snapshots.get(self.texts.get(mark, b""))
        if found is not None:
            self.snapshots.move_to_end(found.digest)
            return found
        if len(text) > HEAVY_BYTES and not heavy:
            raise Heavy
        try:
            snap = snapshot_from_bytes(text)
        except ZkMarginError as err:
            if err.field:
                err.field = name + err.field.removeprefix("snapshot")
            raise
        self.snapshots[snap.digest] = snap
        self.texts[mark] = snap.digest
        self.sizes[snap.digest] = len(text)
        while len(self.snapshots) > self.keep or (len(self.snapshots) > 1 and sum(self.sizes.values()) > KEPT_BYTES):
            del self.sizes[self.snapshots.popitem(last=False)[0]]
        while len(self.texts) > 4 * self.keep:
            self.texts.popitem(last=False)
        return snap

    def _examine(self, case: _Case, heavy: bool) -> _Case | ZkMarginError:
        """All checks but the proof's; the error instead, when it is no verdict."""
        snap = case.snapshot
        if snap is None:
            return UnknownSnapshot("the snapshot is not known here", field="statement.snapshot")
        self.budget.admit(case.statement, snap, heavy)
        steps: tuple[tuple[str, Callable[[_Case, Snapshot], bool]], ...] = (
            ("attestation", _check_attestation),
            ("snapshot_signature", _check_signature),
            ("times", _check_times),
        )
        name = ""
        try:
            for name, step in steps:
                case.checks[name] = "passed" if step(case, snap) else "not-checked"
            name = "proof"
            if case.other is not None:
                raise case.other
        except VERDICTS as err:
            case.failed = err
            case.checks |= dict.fromkeys((c for c in CHECKS if c not in case.checks), "skipped") | {name: "failed"}
        except ZkMarginError as err:
            return err
        return case


@dataclass
class _Open:
    """A job whose proofs wait for the common check."""

    cases: list[_Case | ZkMarginError] = field(default_factory=list)
    learned: dict[bytes, bytes] = field(default_factory=dict)

    def close(self) -> Done:
        return Done([_verdict(c) if isinstance(c, _Case) else c for c in self.cases], self.learned)


def _verdict(case: _Case) -> Verdict | ZkMarginError:
    if case.failed is not None and not isinstance(case.failed, VERDICTS):
        return case.failed
    statement, context = case.statement, case.statement.context
    return Verdict(
        checks={name: case.checks[name] for name in CHECKS},
        failed=case.failed,
        statement=statement.digest.hex(),
        snapshot=statement.snapshot.hex(),
        hub=context.hub,
        account=context.account,
        epoch=context.epoch,
        venue=context.venue,
        nonce=context.nonce,
        expiry=context.expiry,
        amount=statement.amount,
        currency=case.snapshot.currency if case.snapshot else "",
        attestation_key=case.attestation_key,
        snapshot_key=case.snapshot_key,
        time=case.now,
    )


@lru_cache(maxsize=256)
def _public_key(raw: bytes) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(raw)


def raw_key(text: str, field: str) -> bytes:
    """A public key from hex or PEM: 32 bytes. ``MalformedInput`` names ``field``."""
    if len(text) == 64:
        return bytes.fromhex(text)
    try:
        return load_public_key(text.encode()).public_bytes_raw()
    except MalformedInput as err:
        raise MalformedInput(err.message, field=field) from None


T = TypeVar("T")


def _under(keys: Sequence[bytes], check: Callable[[Ed25519PublicKey], T], field: str) -> tuple[T, str]:
    """The result of a signature check under the first key that fits, and that key."""
    rejected: SignatureRejected | None = None
    for raw in keys:
        try:
            return check(_public_key(raw)), raw.hex()
        except SignatureRejected as err:
            rejected = err
    raise rejected or MalformedInput("no key is configured here: name the one that you trust", field=field)


def _check_attestation(case: _Case, snap: Snapshot) -> bool:
    data = case.attestation
    if data is None:
        return False
    fact, case.attestation_key = _under(case.hub_keys, lambda key: verify_attestation(data, key), "hub_key")
    case.attested = fact
    check_attested(case.statement, snap, fact)
    return True


def _check_signature(case: _Case, snap: Snapshot) -> bool:
    data = case.signed_snapshot
    if data is None:
        return False
    case.signed, case.snapshot_key = _under(
        case.oracle_keys, lambda key: verify_snapshot_signature(data, snap, key), "oracle_key"
    )
    return True


def _check_times(case: _Case, snap: Snapshot) -> bool:
    case.statement.check_time(snap, case.now)
    if case.attested is not None:
        check_attested(case.statement, snap, case.attested, now=case.now)
    if case.signed is not None and not case.signed.in_force(case.now):
        raise StaleStatement("the snapshot is not in force", field="signed-snapshot.payload.valid_until")
    return True


def _case(
    statement: StatementModel,
    proof: ProofModel,
    job: Job,
    attestation: bytes | None,
    signed: bytes | None,
    hub_keys: tuple[bytes, ...],
    oracle_keys: tuple[bytes, ...],
) -> _Case | ZkMarginError:
    """One proof's documents as domain types. A proof of another statement is a verdict, found by the proof's check."""
    now = int(time.time()) if job.now is None else job.now
    try:
        stated = statement_from_model(statement)
        case = _Case(stated, b"", attestation, signed, hub_keys, oracle_keys, now)
        try:
            case.proof = proof_of(proof, stated)
        except StatementMismatch as err:
            case.other = err
    except ZkMarginError as err:
        return err
    return case


def _from_documents(job: VerifyJob) -> _Case:
    case = _case(
        load(StatementModel, job.statement, name="statement"),
        load(ProofModel, job.proof, name="proof"),
        job,
        job.attestation,
        job.signed_snapshot,
        job.hub_keys,
        job.oracle_keys,
    )
    if isinstance(case, ZkMarginError):
        raise case
    return case


def _bytes(model: BaseModel | None) -> bytes | None:
    return None if model is None else json.dumps(dump(model)).encode()


def _from_body(job: BodyJob) -> tuple[list[_Case | ZkMarginError], list[tuple[bytes, str]]]:
    """The proofs of a body, and its snapshot documents with their names; these are not validated yet.

    Raises ``BrokenJson`` or ``MalformedInput`` with the path in the body.
    """
    tree = parse_body(job.body)
    texts: list[tuple[bytes, str]] = []
    if isinstance(tree, dict):
        given = tree.pop("snapshots", []) if job.many else [tree.pop("snapshot", None)]
        if not isinstance(given, list):
            raise MalformedInput("Input should be a valid list", field="snapshots")
        if len(given) > MAX_SNAPSHOTS:
            raise MalformedInput(f"more than {MAX_SNAPSHOTS}", field="snapshots")
        for i, document in enumerate(given):
            if document is not None or job.many:
                text = json.dumps(document, separators=(",", ":")).encode()
                texts.append((text, f"snapshots.{i}" if job.many else "snapshot"))
    try:
        request: VerifyRequest | VerifyBatchRequest
        if job.many:
            request = validate(VerifyBatchRequest, tree, name="body")
        else:
            request = validate(VerifyRequest, tree, name="body")
    except MalformedInput as err:
        raise MalformedInput(err.message, field=(err.field or "body").removeprefix("body.")) from None
    hub_keys = (raw_key(request.hub_key, "hub_key"),) if request.hub_key else job.hub_keys
    oracle_keys = (raw_key(request.oracle_key, "oracle_key"),) if request.oracle_key else job.oracle_keys
    items = request.items if isinstance(request, VerifyBatchRequest) else [request]
    cases = [
        _case(i.statement, i.proof, job, _bytes(i.attestation), _bytes(i.signed_snapshot), hub_keys, oracle_keys)
        for i in items
    ]
    return cases, texts


_judge: Judge | None = None


def start(keep: int) -> None:
    """First call in a verification process: load what it needs. Raises ``CorruptData`` for a damaged installation."""
    global _judge  # noqa: PLW0603 - one for the life of the process
    _judge = Judge(keep)


def run(envelopes: Sequence[Envelope]) -> list[Reply]:
    """Judge a batch in this process."""
    if _judge is None:
        raise InternalError("the process was not started")
    return _judge.run(envelopes)
