"""Snapshots: published by registered oracles, read by anybody."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from sqlalchemy import Connection

from zkmargin.circuits import snapshot as snapshots
from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.documents.snapshot import SnapshotModel, snapshot_from_model
from zkmargin.circuits.errors import SignatureRejected
from zkmargin.circuits.schema import Hex32, Name, Strict, Time, dump
from zkmargin.service.http.auth import Caller, HubRoute, IdempotencyKey, RequestDigest
from zkmargin.service.http.describe import public, signed
from zkmargin.service.http.domain import Allowance, Domain
from zkmargin.service.http.hub_context import HubLedger
from zkmargin.service.http.schemas import Answer, SignedDocument
from zkmargin.service.ledger import callers, idempotency
from zkmargin.service.ledger import snapshots as published
from zkmargin.service.ledger.answers import Documents, Published
from zkmargin.service.ledger.context import Ledger
from zkmargin.verifier.facts.hub_keys import public_key
from zkmargin.verifier.facts.snapshot_signature import SignedSnapshotModel, SnapshotSignature, verify_snapshot_signature

router = APIRouter(prefix="/v1/snapshots", route_class=HubRoute)
DOMAIN = Domain(router, allowances=(Allowance("/v1/snapshots", "POST", large=True),))
Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="digest of a snapshot")]


class PublishBody(Strict):
    """A snapshot and its oracle's signature."""

    snapshot: SnapshotModel
    signed: SignedSnapshotModel


class PublishedView(Answer):
    """A published snapshot's name and validity."""

    digest: Hex32
    registry: Hex32
    oracle: Name
    time: Time
    valid_until: Time


class SnapshotView(PublishedView):
    """With the documents themselves."""

    snapshot: dict[str, Any]
    signed: SignedDocument


@router.post(
    "",
    **signed("publish_snapshot", "snapshots", "signature-rejected", "statement-mismatch", "stale-statement", "conflict",
             "snapshot-refused", "rule-refused", changes=True, body=True),
)  # fmt: skip
def publish(
    caller: Caller, key: IdempotencyKey, request: RequestDigest, ledger: HubLedger, body: PublishBody
) -> PublishedView:
    """Publish a signed snapshot, as its oracle. It is in force until a newer one, and no longer than it says."""
    caller.expect("oracle")
    snapshot = snapshot_from_model(body.snapshot)
    document = canonical_bytes(dump(body.signed))

    def unit(tx: Connection) -> Published:
        return published.publish(ledger, tx, snapshot, _verify(ledger, tx, caller.name, document, snapshot), document)

    answer, _ = idempotency.once(ledger, caller.caller, key, request, unit)
    return PublishedView.model_validate(answer)


def _verify(
    ledger: Ledger, tx: Connection, oracle: str, document: bytes, snapshot: snapshots.Snapshot
) -> SnapshotSignature:
    """The signature under any of the oracle's keys that is valid now."""
    now = ledger.clock()
    for row in callers.keys_of(tx, "oracle", oracle):
        if not row.not_before <= now <= row.not_after:
            continue
        try:
            fact = verify_snapshot_signature(document, snapshot, public_key(bytes.fromhex(row.public)), now=now)
        except SignatureRejected:
            continue
        if fact.oracle != oracle:
            break
        return fact
    raise SignatureRejected("not signed by this oracle", field="signed.jws")


def _view(ledger: Ledger, digest: str | None) -> SnapshotView:
    def unit(tx: Connection) -> Documents:
        found = published.latest(tx) if digest is None else published.by_digest(tx, digest)
        return published.documents(tx, found)

    return SnapshotView.model_validate(ledger.database.read(unit).to_json(ledger.money))


@router.get("/latest", **public("latest_snapshot", "snapshots", "not-found"))
def latest(ledger: HubLedger) -> SnapshotView:
    """The newest snapshot with its oracle's signature. Check the signature and that it is in force."""
    return _view(ledger, None)


@router.get("/{digest}", **public("get_snapshot", "snapshots", "not-found"))
def by_digest(ledger: HubLedger, digest: Digest) -> SnapshotView:
    """A published snapshot by its digest."""
    return _view(ledger, digest)
