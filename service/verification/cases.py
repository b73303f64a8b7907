"""From a job to its cases: the documents of each proof, parsed, with the keys and the clock that check them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from zkmargin.circuits.documents.statement import StatementModel, statement_from_model
from zkmargin.circuits.errors import MalformedInput, SignatureRejected, ZkMarginError
from zkmargin.circuits.schema import ProofModel, dump, load, validate
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import Statement
from zkmargin.service.http.routes.proofs.schemas import MAX_SNAPSHOTS, VerifyBatchRequest, VerifyRequest
from zkmargin.service.http.schemas import parse_body
from zkmargin.service.verification.jobs import BodyJob, Job, VerifyJob
from zkmargin.verifier.facts.attestation import Attestation, load_public_key, verify_attestation
from zkmargin.verifier.facts.snapshot_signature import SnapshotSignature, verify_snapshot_signature
from zkmargin.verifier.proof_document import ProofDocument
from zkmargin.verifier.verdict import Evidence, Signed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from pydantic import BaseModel

F = TypeVar("F")


@dataclass(frozen=True)
class Case:
    """The documents of one proof but its snapshot. Keys are raw Ed25519 keys; ``now`` in Unix seconds."""

    statement: Statement
    proof: ProofDocument
    attestation: bytes | None
    signed_snapshot: bytes | None
    hub_keys: tuple[bytes, ...]
    oracle_keys: tuple[bytes, ...]
    now: int

    def evidence(self, snapshot: Snapshot) -> Evidence:
        """What the sequence of checks takes, on this snapshot."""
        return Evidence(
            self.statement, snapshot, self.proof, self.now,
            None if self.attestation is None else self._attestation,
            None if self.signed_snapshot is None else lambda: self._signature(snapshot),
        )  # fmt: skip

    def _attestation(self) -> Signed[Attestation]:
        data = self.attestation or b""
        return _under(self.hub_keys, lambda key: verify_attestation(data, key), "hub_key")

    def _signature(self, snapshot: Snapshot) -> Signed[SnapshotSignature]:
        data = self.signed_snapshot or b""
        return _under(self.oracle_keys, lambda key: verify_snapshot_signature(data, snapshot, key), "oracle_key")


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


def _under(keys: Sequence[bytes], check: Callable[[Ed25519PublicKey], F], field: str) -> Signed[F]:
    """The result of a signature check under the first key that fits, and that key."""
    rejected: SignatureRejected | None = None
    for raw in keys:
        try:
            return Signed(check(_public_key(raw)), raw)
        except SignatureRejected as err:
            rejected = err
    raise rejected or MalformedInput("no key is configured here: name the one that you trust", field=field)


def _case(
    statement: StatementModel,
    proof: ProofModel,
    job: Job,
    attestation: bytes | None,
    signed: bytes | None,
    hub_keys: tuple[bytes, ...],
    oracle_keys: tuple[bytes, ...],
) -> Case:
    """One proof's documents as domain types. A proof of another statement is a verdict, found by its check."""
    now = int(time.time()) if job.now is None else job.now
    stated = statement_from_model(statement)
    return Case(stated, ProofDocument.from_model(proof, stated), attestation, signed, hub_keys, oracle_keys, now)


def from_documents(job: VerifyJob) -> Case:
    """The one case of a job of documents; ``MalformedInput`` names the field."""
    return _case(
        load(StatementModel, job.statement, name="statement"),
        load(ProofModel, job.proof, name="proof"),
        job,
        job.attestation,
        job.signed_snapshot,
        job.hub_keys,
        job.oracle_keys,
    )


def _bytes(model: BaseModel | None) -> bytes | None:
    return None if model is None else json.dumps(dump(model)).encode()


def from_body(job: BodyJob) -> tuple[list[Case | ZkMarginError], list[tuple[bytes, str]]]:
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
    cases: list[Case | ZkMarginError] = []
    for item in items:
        attestation, signed = _bytes(item.attestation), _bytes(item.signed_snapshot)
        try:
            cases.append(_case(item.statement, item.proof, job, attestation, signed, hub_keys, oracle_keys))
        except ZkMarginError as err:
            cases.append(err)
    return cases, texts
