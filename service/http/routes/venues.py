"""Zones, venues and circuit breakers: the operators' calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import StringConstraints
from sqlalchemy import Connection

from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.schema import Strict, Time
from zkmargin.circuits.units import to_quanta
from zkmargin.service.http.auth import Caller, HubRoute, IdempotencyKey, RequestDigest
from zkmargin.service.http.describe import signed
from zkmargin.service.http.domain import Domain
from zkmargin.service.http.hub_context import HubLedger
from zkmargin.service.http.schemas import ID_PATTERN, Amount, Answer, Id, PublicKey
from zkmargin.service.ledger import breakers, idempotency, venues
from zkmargin.service.ledger.answers import Breakers, Venue
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.refusals import Forbidden
from zkmargin.service.store.tables import MAX_QUANTA

router = APIRouter(prefix="/v1", route_class=HubRoute)
VenueId = Annotated[str, Path(pattern=ID_PATTERN, description="name of a venue")]
ZoneId = Annotated[str, Path(pattern=ID_PATTERN, description="name of a zone")]
_CAIP2_PATTERN = r"^[-a-z0-9]{3,8}:[-_a-zA-Z0-9]{1,32}$"
Caip2 = Annotated[str, StringConstraints(pattern=_CAIP2_PATTERN)]
DOMAIN = Domain(router, forms={_CAIP2_PATTERN: "must be a chain as CAIP-2 writes it, such as eip155:1"})


class CapBody(Strict):
    """A cap on live credit."""

    cap: Amount


class ZoneView(Answer):
    """A partition of exposure."""

    zone: Id
    cap: Amount
    exposure: Amount


class VenueBody(Strict):
    """A venue to admit; ``key`` signs its requests, ``caip2`` names its chain (CAIP-2)."""

    venue: Id
    caip2: Caip2
    zone: Id
    cap: Amount
    key: PublicKey


class VenueView(Answer):
    """A venue. ``exposure`` is its live credit."""

    venue: Id
    caip2: Caip2
    zone: Id
    cap: Amount
    exposure: Amount
    state: Literal["active", "suspended"]
    registered: Time


class VenueList(Answer):
    """All venues."""

    venues: list[VenueView]


class BreakerBody(Strict):
    """What a breaker is for: ``hub`` or ``venue/ID``."""

    scope: Annotated[str, StringConstraints(pattern=r"^(hub|venue/[A-Za-z0-9][A-Za-z0-9._-]{0,63})$")]


class BreakerView(Answer):
    """An open circuit breaker: exposure may only fall in its scope."""

    scope: str
    reason: Literal["operator", "price-jump", "failed-proofs", "reconciliation"]
    opened: Time


class BreakerList(Answer):
    """All open breakers."""

    breakers: list[BreakerView]


def _cap(ledger: Ledger, text: str) -> int:
    cap = to_quanta(text, ledger.decimals, field="cap")
    if not 0 <= cap <= MAX_QUANTA:
        raise MalformedInput("must be below 2^63 quanta", field="cap")
    return cap


@router.put("/zones/{zone}", **signed("set_zone", "venues", "cap-below-exposure", changes=True, body=True))
def set_zone(
    caller: Caller, key: IdempotencyKey, request: RequestDigest, ledger: HubLedger, zone: ZoneId, body: CapBody
) -> ZoneView:
    """Make a zone, or change its cap. Operators only."""
    caller.expect("operator")
    cap = _cap(ledger, body.cap)
    answer, _ = idempotency.once(ledger, caller.caller, key, request, lambda tx: venues.set_zone(ledger, tx, zone, cap))
    return ZoneView.model_validate(answer)


@router.post(
    "/venues", **signed("register_venue", "venues", "conflict", "unknown-venue", changes=True, body=True, status=201)
)
def register(
    caller: Caller, key: IdempotencyKey, request: RequestDigest, ledger: HubLedger, body: VenueBody
) -> VenueView:
    """Admit a venue. Operators only."""
    caller.expect("operator")
    cap = _cap(ledger, body.cap)
    answer, _ = idempotency.once(
        ledger, caller.caller, key, request,
        lambda tx: venues.register(ledger, tx, body.venue, body.caip2, body.zone, cap, body.key), status=201,
    )  # fmt: skip
    return VenueView.model_validate(answer)


@router.get("/venues", **signed("list_venues", "venues"))
def listing(caller: Caller, ledger: HubLedger) -> VenueList:
    """All venues. Operators only."""
    caller.expect("operator")
    return VenueList.model_validate(ledger.database.read(venues.listing).to_json(ledger.money))


@router.get("/venues/{venue}", **signed("get_venue", "venues", "unknown-venue"))
def get(caller: Caller, ledger: HubLedger, venue: VenueId) -> VenueView:
    """One venue: for operators and the venue itself."""
    if caller.kind != "operator" and (caller.kind, caller.name) != ("venue", venue):
        raise Forbidden("only for operators and the venue itself")
    found = Venue(ledger.database.read(lambda tx: venues.read(tx, venue)))
    return VenueView.model_validate(found.to_json(ledger.money))


@router.put(
    "/venues/{venue}/cap",
    **signed("set_venue_cap", "venues", "unknown-venue", "cap-below-exposure", changes=True, body=True),
)
def set_cap(
    caller: Caller, key: IdempotencyKey, request: RequestDigest, ledger: HubLedger, venue: VenueId, body: CapBody
) -> VenueView:
    """Change a venue's cap. Operators only."""
    caller.expect("operator")
    cap = _cap(ledger, body.cap)
    answer, _ = idempotency.once(ledger, caller.caller, key, request, lambda tx: venues.set_cap(ledger, tx, venue, cap))
    return VenueView.model_validate(answer)


def _set_state(caller: Caller, key: str, request: bytes, ledger: Ledger, venue: str, state: str) -> VenueView:
    caller.expect("operator")
    answer, _ = idempotency.once(ledger, caller.caller, key, request, lambda tx: venues.set_state(tx, venue, state))
    return VenueView.model_validate(answer)


@router.post("/venues/{venue}/suspend", **signed("suspend_venue", "venues", "unknown-venue", changes=True))
def suspend(
    caller: Caller, key: IdempotencyKey, request: RequestDigest, ledger: HubLedger, venue: VenueId
) -> VenueView:
    """No new credit for this venue; it still reports, releases and expires. Operators only."""
    return _set_state(caller, key, request, ledger, venue, "suspended")


@router.post("/venues/{venue}/resume", **signed("resume_venue", "venues", "unknown-venue", changes=True))
def resume(caller: Caller, key: IdempotencyKey, request: RequestDigest, ledger: HubLedger, venue: VenueId) -> VenueView:
    """New credit for this venue again. Operators only."""
    return _set_state(caller, key, request, ledger, venue, "active")


@router.get("/breakers", **signed("list_breakers", "breakers"))
def list_breakers(caller: Caller, ledger: HubLedger) -> BreakerList:
    """Open circuit breakers: all for operators, the hub's and its own for a venue."""
    caller.expect("operator", "venue")
    venue = caller.name if caller.kind == "venue" else None
    found = ledger.database.read(lambda tx: breakers.listing(tx, venue=venue))
    return BreakerList.model_validate(found.to_json(ledger.money))


def _breakers(
    work: Callable[[Connection], None], caller: Caller, key: str, request: bytes, ledger: Ledger
) -> BreakerList:
    caller.expect("operator")

    def unit(tx: Connection) -> Breakers:
        work(tx)
        return breakers.listing(tx)

    answer, _ = idempotency.once(ledger, caller.caller, key, request, unit)
    return BreakerList.model_validate(answer)


@router.post("/breakers/open", **signed("open_breaker", "breakers", "unknown-venue", changes=True, body=True))
def open_breaker(
    caller: Caller, key: IdempotencyKey, request: RequestDigest, ledger: HubLedger, body: BreakerBody
) -> BreakerList:
    """Open a breaker by hand: exposure in its scope may only fall. Operators only."""

    def work(tx: Connection) -> None:
        if body.scope != breakers.HUB:
            venues.read(tx, body.scope.removeprefix("venue/"))
        breakers.open_breaker(ledger, tx, body.scope, "operator")

    return _breakers(work, caller, key, request, ledger)


@router.post("/breakers/close", **signed("close_breaker", "breakers", "not-found", changes=True, body=True))
def close_breaker(
    caller: Caller, key: IdempotencyKey, request: RequestDigest, ledger: HubLedger, body: BreakerBody
) -> BreakerList:
    """Close a breaker, after looking at what opened it. Operators only."""
    return _breakers(lambda tx: breakers.close(tx, body.scope), caller, key, request, ledger)
