"""The transparency log and the hub's keys: for anybody to check."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy import Connection

from zkmargin.circuits.schema import Hex32, Name, Strict, Time
from zkmargin.service.http.auth import Caller, HubRoute, IdempotencyKey, RequestDigest
from zkmargin.service.http.describe import public, signed
from zkmargin.service.http.domain import Domain
from zkmargin.service.http.hub_context import HubLedger
from zkmargin.service.http.schemas import Answer, Count, Kid, PublicKey, SignedDocument
from zkmargin.service.ledger import callers, idempotency, setup, transparency
from zkmargin.service.ledger.answers import Head, Key

router = APIRouter(prefix="/v1", route_class=HubRoute)
DOMAIN = Domain(router)
Size = Annotated[int | None, Query(ge=1, le=2**53 - 1, description="size of the tree; the latest by default")]
Number = Annotated[int, Query(ge=1, le=2**53 - 1)]


class KeyBody(Strict):
    """One more public key of the caller; without times valid from now on."""

    key: PublicKey
    not_before: Time | None = None
    not_after: Time | None = None


class KeyView(Answer):
    """A registered key."""

    kid: Kid
    not_before: Time
    not_after: Time


class HubKeys(Answer):
    """The hub's chain of signing keys, oldest first; pin the first and follow."""

    hub: Name
    keys: list[SignedDocument]


class InclusionView(Answer):
    """RFC 9162 inclusion proof of a leaf under a signed tree head."""

    leaf: Count
    size: Count
    path: Annotated[list[Hex32], Field(max_length=64)]
    head: SignedDocument


class ConsistencyView(Answer):
    """RFC 9162 consistency proof between two sizes."""

    first: Count
    second: Count
    path: Annotated[list[Hex32], Field(max_length=64)]


class HeadView(Answer):
    """A signed tree head."""

    size: Count
    head: SignedDocument


@router.get("/log/head", **public("log_head", "log", "not-found"))
def head(ledger: HubLedger, size: Size = None) -> HeadView:
    """A signed tree head. Compare it with what others got."""
    found = Head(ledger.database.read(lambda tx: transparency.head(tx, size)))
    return HeadView.model_validate(found.to_json(ledger.money))


@router.get("/log/inclusion", **public("log_inclusion", "log", "not-found"))
def inclusion(
    ledger: HubLedger, leaf: Annotated[int, Query(ge=0, le=2**53 - 1, description="index from 0")], size: Size = None
) -> InclusionView:
    """That a leaf is under a tree head (RFC 9162)."""
    found = ledger.database.read(lambda tx: transparency.logged(tx, leaf, size))
    return InclusionView.model_validate(found.to_json(ledger.money))


@router.get("/log/consistency", **public("log_consistency", "log", "not-found"))
def consistency(ledger: HubLedger, first: Number, second: Number) -> ConsistencyView:
    """That the tree of one size begins with the tree of another (RFC 9162)."""
    path = ledger.database.read(lambda tx: transparency.consistency(tx, first, second))
    return ConsistencyView.model_validate({"first": first, "second": second, "path": path})


@router.get("/keys", **public("hub_keys", "keys"))
def hub_keys(ledger: HubLedger) -> HubKeys:
    """The chain of the hub's signing keys. Pin the first and follow."""
    return HubKeys.model_validate(ledger.database.read(setup.key_documents).to_json(ledger.money))


@router.post("/keys", **signed("add_key", "keys", "conflict", changes=True, body=True, status=201))
def add_key(caller: Caller, key: IdempotencyKey, request: RequestDigest, ledger: HubLedger, body: KeyBody) -> KeyView:
    """Register one more public key of the caller: the first half of a rotation. Both are valid meanwhile."""
    now = ledger.clock()
    begins = now if body.not_before is None else body.not_before
    ends = callers.FOREVER if body.not_after is None else body.not_after

    def unit(tx: Connection) -> Key:
        return callers.admit(tx, caller.kind, caller.name, body.key, now=now, not_before=begins, not_after=ends)

    answer, _ = idempotency.once(ledger, caller.caller, key, request, unit, status=201)
    return KeyView.model_validate(answer)


@router.post("/keys/{kid}/retire", **signed("retire_key", "keys", "not-found", "conflict", changes=True))
def retire_key(caller: Caller, key: IdempotencyKey, request: RequestDigest, ledger: HubLedger, kid: Kid) -> KeyView:
    """End a key of the caller's now: the second half of a rotation."""
    answer, _ = idempotency.once(
        ledger,
        caller.caller,
        key,
        request,
        lambda tx: callers.retire(tx, caller.kind, caller.name, kid, ledger.clock()),
    )
    return KeyView.model_validate(answer)


@router.post("/keys/{kid}/revoke", **signed("revoke_key", "keys", "not-found", "conflict", changes=True))
def revoke_key(caller: Caller, key: IdempotencyKey, request: RequestDigest, ledger: HubLedger, kid: Kid) -> KeyView:
    """End anybody's key now, when it is lost or stolen. Operators only."""
    caller.expect("operator")
    answer, _ = idempotency.once(
        ledger, caller.caller, key, request, lambda tx: callers.revoke_key(tx, kid, ledger.clock())
    )
    return KeyView.model_validate(answer)
