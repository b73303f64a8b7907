"""Venues and zones: who may extend virtual margin, and up to how much.

Exposure is the sum of live credits. It is kept on the rows, where the database's CHECK holds it at or below the cap.
That is all that a venue can cost: it is paid out of credit that it has used, and nothing else.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import BigInteger, ColumnElement, Connection, Executable, Table, bindparam, select, update

from zkmargin.service.ledger import callers, names
from zkmargin.service.ledger.answers import Venue, Venues, Zone
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.ledger.idempotency import insert_new
from zkmargin.service.refusals import CapBelowExposure, CapExceeded, Conflict, UnknownVenue, VenueSuspended
from zkmargin.service.store import tables
from zkmargin.service.store.rows import Value, VenueRow, ZoneRow, each, every, find, first, one


def read(tx: Connection, venue: str, *, lock: bool = False) -> VenueRow:
    """A venue's row; ``UnknownVenue``."""
    row = find(tx, VenueRow, lock=lock, id=venue)
    if row is None:
        raise UnknownVenue("no venue of this name is registered", field="venue")
    return row


def listing(tx: Connection) -> Venues:
    """All venues, by name."""
    return Venues(tuple(Venue(row) for row in each(tx, VenueRow, every(VenueRow).order_by(tables.venues.c.id))))


def set_zone(ledger: Ledger, tx: Connection, zone: str, cap: int) -> Zone:
    """Make a zone or change its cap; ``CapBelowExposure``."""
    insert_new(tx, tables.zones, id=zone, cap=cap)
    row = one(tx, ZoneRow, every(ZoneRow).where(tables.zones.c.id == zone).with_for_update(key_share=True))
    if cap < row.exposure:
        raise CapBelowExposure("more is out already", field="cap", exposure=ledger.money(row.exposure))
    tx.execute(update(tables.zones).where(tables.zones.c.id == zone).values(cap=cap))
    return Zone(replace(row, cap=cap))


def register(ledger: Ledger, tx: Connection, venue: str, caip2: str, zone: str, cap: int, key: str) -> Venue:
    """Admit a venue with its signing key; ``Conflict`` for a name or key that it cannot have, ``UnknownVenue`` for no
    zone.
    """
    names.expect_free(ledger, tx, "venue", venue)
    if find(tx, ZoneRow, id=zone) is None:
        raise UnknownVenue("no such zone: set its cap first", field="zone")
    now = ledger.clock()
    if not insert_new(tx, tables.venues, id=venue, caip2=caip2, zone=zone, cap=cap, state="active", registered=now):
        raise Conflict("a venue of this name is registered", field="venue")
    callers.admit(tx, "venue", venue, key, now=now, not_before=now)
    return Venue(read(tx, venue))


def set_cap(ledger: Ledger, tx: Connection, venue: str, cap: int) -> Venue:
    """Change a venue's cap; ``CapBelowExposure``."""
    row = read(tx, venue, lock=True)
    if cap < row.exposure:
        raise CapBelowExposure(
            "more is out already: suspend the venue", field="cap", exposure=ledger.money(row.exposure)
        )
    tx.execute(update(tables.venues).where(tables.venues.c.id == venue).values(cap=cap))
    return Venue(read(tx, venue))


def set_state(tx: Connection, venue: str, state: str) -> Venue:
    """Suspend or resume a venue. A suspended one still reports, releases and expires."""
    read(tx, venue, lock=True)
    tx.execute(update(tables.venues).where(tables.venues.c.id == venue).values(state=state))
    return Venue(read(tx, venue))


def _shift(table: Table, chosen: ColumnElement[bool], *conditions: ColumnElement[bool], **besides: int) -> Executable:
    """A prepared change of exposure by :amount, on condition; gives the row if it was made."""
    amount = bindparam("amount", type_=BigInteger)
    values = {"exposure": table.c.exposure + amount, **besides}
    return update(table).where(chosen, *conditions).values(values).returning(table)


_OF_VENUE = (
    tables.zones.c.id == select(tables.venues.c.zone).where(tables.venues.c.id == bindparam("of")).scalar_subquery()
)
_ITSELF = tables.venues.c.id == bindparam("of")
#: Written so that nothing overflows: exposure and cap are at most 2^63 - 1.
_ZONE_ROOM = tables.zones.c.exposure <= tables.zones.c.cap - bindparam("amount", type_=BigInteger)
_VENUE_ROOM = tables.venues.c.exposure <= tables.venues.c.cap - bindparam("amount", type_=BigInteger)
_RAISE_ZONE = _shift(tables.zones, _OF_VENUE, _ZONE_ROOM)
_RAISE_VENUE = _shift(tables.venues, _ITSELF, tables.venues.c.state == "active", _VENUE_ROOM, failed_proofs=0)
_LOWER_ZONE, _LOWER_VENUE = _shift(tables.zones, _OF_VENUE), _shift(tables.venues, _ITSELF)


def expose(tx: Connection, venue: str, amount: int) -> VenueRow:
    """Raise the exposure of a venue and its zone, which locks both; ``VenueSuspended``, ``CapExceeded``. Gives the
    venue's row, whose count of failed proofs begins anew: a proof held.
    """
    change: dict[str, Value] = {"of": venue, "amount": amount}
    zone = first(tx, ZoneRow, _RAISE_ZONE, change)
    row = first(tx, VenueRow, _RAISE_VENUE, change) if zone is not None else None
    if row is not None:
        return row
    if read(tx, venue).state != "active":
        raise VenueSuspended("the venue gets no new credit", field="venue")
    scope = "zone" if zone is None else "venue"
    raise CapExceeded(f"the {scope} has no room for this amount", field="amount", scope=scope)


def relieve(tx: Connection, venue: str, amount: int) -> VenueRow:
    """Lower the exposure of a venue and its zone; gives the venue's row."""
    change: dict[str, Value] = {"of": venue, "amount": -amount}
    one(tx, ZoneRow, _LOWER_ZONE, change)
    return one(tx, VenueRow, _LOWER_VENUE, change)
