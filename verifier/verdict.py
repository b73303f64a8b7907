"""From documents to a verdict: every check of a proof and of the signed documents around it, in one sequence.

The command line, the client and the service all ask here. Each check is written once, in :data:`CHECKS`; an order is a
tuple of their names, and leaves none out. Where several things are wrong, the first check of the order that fails gives
the error, which readers have come to know: so there are two orders. :data:`ORDER` is everybody's but the service's,
which groups its answer by what a caller asks about (:mod:`zkmargin.service.verification.jobs`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Generic, Literal, TypeVar

from zkmargin.circuits.errors import MissingExtra, ZkMarginError
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import Statement
from zkmargin.verifier.batch import check_pairings
from zkmargin.verifier.facts.attestation import Attestation, check_attested
from zkmargin.verifier.facts.snapshot_signature import SnapshotSignature
from zkmargin.verifier.proof_document import ProofDocument
from zkmargin.verifier.srs import VerifierKey, ethereum
from zkmargin.verifier.verify import PAIRING, PROOF_CHECKS, Item, Task, check_pairing

F_co = TypeVar("F_co", covariant=True)
State = Literal["passed", "failed", "skipped", "not-checked"]


@dataclass(frozen=True)
class Signed(Generic[F_co]):
    """A fact whose signature was verified, and the raw key under which, where the reader wants to know."""

    fact: F_co
    key: bytes | None = None


@dataclass(frozen=True)
class Evidence:
    """What the reader has: documents, and the clock that it goes by (Unix seconds; None leaves times unchecked).

    The snapshot is the reader's own choice, or signed. ``attestation`` and ``signed_snapshot`` verify a signature under
    the keys that the reader trusts when they are called, each in its turn and once: ``verify_attestation`` and
    ``verify_snapshot_signature`` without a clock, or what the reader verified before. None: there is no such document.
    """

    statement: Statement
    snapshot: Snapshot
    proof: ProofDocument
    now: int | None
    attestation: Callable[[], Signed[Attestation]] | None = None
    signed_snapshot: Callable[[], Signed[SnapshotSignature]] | None = None


@dataclass(frozen=True)
class Check:
    """What became of one check, and why where it was not made or failed."""

    name: str
    state: State
    why: str = ""


@dataclass(frozen=True)
class Verdict:
    """What was found: every check once, in the order in which they are made. Only ``failed`` None is a valid proof,
    and only for what the checks that passed say.
    """

    checks: tuple[Check, ...]
    failed: ZkMarginError | None
    attestation_key: bytes | None = None
    snapshot_key: bytes | None = None

    def require(self) -> None:
        """Raise the error of the check that failed."""
        if self.failed is not None:
            raise self.failed

    def state(self, name: str) -> State:
        """What became of the check of this name."""
        return next(check.state for check in self.checks if check.name == name)


class Examination:
    """One proof under examination: its checks as far as they were made.

    Raises ``ValueError`` for an order that is not all of :data:`CHECKS` and then the pairing.
    """

    def __init__(
        self, evidence: Evidence, *, order: Sequence[str] | None = None, key: VerifierKey | None = None
    ) -> None:
        self.order = tuple(ORDER if order is None else order)
        if sorted(self.order) != sorted(ORDER) or self.order[-1] != PAIRING:
            raise ValueError("an order has every check once, and the pairing last")
        self.evidence = evidence
        self.attestation: Signed[Attestation] | None = None
        self.signature: Signed[SnapshotSignature] | None = None
        self.failed: ZkMarginError | None = None
        self._key = key
        self._made: list[Check] = []

    @cached_property
    def task(self) -> Task:
        """The proof by itself, for the checks that need no document but the statement and the snapshot."""
        e = self.evidence
        return Task(Item(e.statement, e.snapshot, e.proof.proof, e.now), self._key or ethereum().key)

    def open_attestation(self) -> Signed[Attestation] | None:
        """The attestation, its signature verified once; None where there is none."""
        if self.attestation is None and self.evidence.attestation is not None:
            self.attestation = self.evidence.attestation()
        return self.attestation

    def open_signature(self) -> Signed[SnapshotSignature] | None:
        """The snapshot's signature, verified once; None where there is none."""
        if self.signature is None and self.evidence.signed_snapshot is not None:
            self.signature = self.evidence.signed_snapshot()
        return self.signature

    def advance(self, *, before: str = PAIRING) -> None:
        """Make the checks that come before the one named, up to the first that fails."""
        while self.failed is None and (name := self.order[len(self._made)]) != before:
            if name in PROOF_CHECKS:
                _ = self.task  # a damaged installation is no verdict
            try:
                made = CHECKS[name](self)
            except ZkMarginError as err:
                self._fail(err)
            else:
                self._made.append(Check(name, "passed") if made else Check(name, "not-checked", NOTHING_TO_CHECK[name]))

    def pair(self, error: ZkMarginError | None) -> None:
        """Record what the pairing came to."""
        if error is None:
            self._made.append(Check(PAIRING, "passed"))
        else:
            self._fail(error)

    def conclude_with(self, verify: Callable[[Item], None]) -> Verdict:
        """Leave the checks of the proof to another verifier, which makes them all and raises; ``MissingExtra`` is
        raised on. On a failure the pairing is what failed: the other verifier does not say how far it came.

        ``ValueError`` for an order in which they are not all together at the end.
        """
        self.advance(before=PROOF)
        if self.failed is None:
            left = self.order[len(self._made) : -1]
            if left != tuple(PROOF_CHECKS):
                raise ValueError("the checks of the proof are not made together")
            try:
                verify(self.task.item)
            except MissingExtra:
                raise
            except ZkMarginError as err:
                self._made += [Check(name, "skipped", "left to the other verifier") for name in left]
                self._fail(err)
            else:
                self._made += [Check(name, "passed") for name in (*left, PAIRING)]
        return self.verdict()

    def _fail(self, error: ZkMarginError) -> None:
        self.failed = error
        self._made.append(Check(self.order[len(self._made)], "failed", error.message))

    def verdict(self) -> Verdict:
        """The verdict, after all checks are made or one has failed."""
        failed = self._made[-1].name
        rest = [Check(name, "skipped", f"{failed} failed") for name in self.order[len(self._made) :]]
        keys = [signed.key if signed else None for signed in (self.attestation, self.signature)]
        return Verdict((*self._made, *rest), self.failed, *keys)


def _proof_document(at: Examination) -> bool:
    at.evidence.proof.check_about(at.evidence.statement)
    return True


def _snapshot_signature(at: Examination) -> bool:
    return at.open_signature() is not None


def _snapshot_time(at: Examination) -> bool:
    signed = at.open_signature()
    if signed is None or at.evidence.now is None:
        return False
    signed.fact.check_in_force(at.evidence.now)
    return True


def _attestation(at: Examination) -> bool:
    attested = at.open_attestation()
    if attested is None:
        return False
    check_attested(at.evidence.statement, at.evidence.snapshot, attested.fact)
    return True


def _attestation_time(at: Examination) -> bool:
    attested = at.open_attestation()
    if attested is None or at.evidence.now is None:
        return False
    check_attested(at.evidence.statement, at.evidence.snapshot, attested.fact, now=at.evidence.now)
    return True


def _of_proof(check: Callable[[Task], bool]) -> Callable[[Examination], bool]:
    return lambda at: check(at.task)


#: Every check but the pairing, by its name. Each raises the typed error of what it finds; False says that it had
#: nothing to check.
CHECKS: Mapping[str, Callable[[Examination], bool]] = MappingProxyType(
    {
        "proof_document": _proof_document,
        "snapshot_signature": _snapshot_signature,
        "snapshot_time": _snapshot_time,
        "attestation": _attestation,
        "attestation_time": _attestation_time,
        **{name: _of_proof(check) for name, check in PROOF_CHECKS.items()},
    }
)
#: The first check of the proof by itself.
PROOF = next(iter(PROOF_CHECKS))
#: The order in which they are made and refuse: docs/SPEC.md, "Verification", has it with the errors.
ORDER = (*CHECKS, PAIRING)
#: Why a check was not made.
NOTHING_TO_CHECK: Mapping[str, str] = MappingProxyType(
    {
        "snapshot_signature": "no signature was given: the reader vouches for the snapshot",
        "snapshot_time": "no signature was given, or no clock",
        "attestation": "no attestation was given: nothing says whose commitment this is",
        "attestation_time": "no attestation was given, or no clock",
        "statement_time": "no clock was given",
    }
)


def examine(evidence: Evidence, *, order: Sequence[str] | None = None, key: VerifierKey | None = None) -> Verdict:
    """All checks of one proof, in order; the verdict says what became of each. ``verdict.require()`` raises."""
    at = Examination(evidence, order=order, key=key)
    at.advance()
    if at.failed is None:
        try:
            check_pairing(at.task.equation, at.task.key)
        except ZkMarginError as err:
            at.pair(err)
        else:
            at.pair(None)
    return at.verdict()


def settle(examinations: Sequence[Examination]) -> list[Verdict]:
    """The verdicts of many, each advanced to its end first, with one pairing for all that came so far.

    They must be under one key: ``ValueError`` otherwise.
    """
    for at in examinations:
        at.advance()
    waiting = [(i, at) for i, at in enumerate(examinations) if at.failed is None]
    if waiting:
        key = waiting[0][1].task.key
        if any(at.task.key != key for _, at in waiting):
            raise ValueError("proofs under several keys do not share a pairing")
        rejected = check_pairings([(i, at.task.equation) for i, at in waiting], key)
        for i, at in waiting:
            at.pair(rejected.get(i))
    return [at.verdict() for at in examinations]


def verify_account(
    statement: Statement,
    snapshot: Snapshot,
    proof: bytes,
    attestation: Attestation,
    *,
    now: int,
    key: VerifierKey | None = None,
) -> None:
    """What a venue wants of a proof: that it holds, and that the commitment is the account's by the hub's attestation,
    verified before. Raises the typed error of the first check that fails.

    The two belong together: a commitment means a portfolio only on the domain and the registry that the hub attested.
    """
    document = ProofDocument(statement.digest, proof)
    examine(Evidence(statement, snapshot, document, now, lambda: Signed(attestation)), key=key).require()
