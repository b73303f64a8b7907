"""Venues and zones: who may extend virtual margin, and up to how much.

Exposure is the sum of live credits. It is kept on the rows, where the database's CHECK holds it at or below the cap.
That is all that a venue can cost: it is paid out of credit that it has used, and nothing else.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select, update

from ..refusals import CapBelowExposure, CapExceeded, Conflict, UnknownVenue, VenueSuspended
from ..store import tables
from ..store.statements import find
from . import access
from .book import Book
from .events import Tree
from .idempotency import insert_new


def view(book: Book, row: Any) -> Tree:
    """A venue as operators and the venue itself see it."""
    return {
        "venue": row.id, "caip2": row.caip2, "zone": row.zone, "cap": book.money(row.cap),
        "exposure": book.money(row.exposure), "state": row.state, "registered": row.registered,
    }  # fmt: skip


def read(tx: Connection, venue: str, *, lock: bool = False) -> Any:
    """A venue's row; ``UnknownVenue``."""
    row = find(tx, tables.venues, lock=lock, id=venue)
    if row is None:
        raise UnknownVenue("no venue of this name is registered", field="venue")
    return row


def listing(book: Book, tx: Connection) -> list[Tree]:
    """All venues, by name."""
    return [view(book, row) for row in tx.execute(select(tables.venues).order_by(tables.venues.c.id))]


def set_zone(book: Book, tx: Connection, zone: str, cap: int) -> Tree:
    """Make a zone or change its cap; ``CapBelowExposure``."""
    insert_new(tx, tables.zones, id=zone, cap=cap)
    row = tx.execute(select(tables.zones).where(tables.zones.c.id == zone).with_for_update(key_share=True)).one()
    if cap < row.exposure:
        raise CapBelowExposure("more is out already", field="cap", exposure=book.money(row.exposure))
    tx.execute(update(tables.zones).where(tables.zones.c.id == zone).values(cap=cap))
    return {"zone": zone, "cap": book.money(cap), "exposure": book.money(row.exposure)}


def register(book: Book, tx: Connection, venue: str, caip2: str, zone: str, cap: int, key: str) -> Tree:
    """Admit a venue with its signing key; ``Conflict`` for a taken name or key, ``UnknownVenue`` for no zone."""
    if tx.execute(select(tables.zones.c.id).where(tables.zones.c.id == zone)).one_or_none() is None:
        raise UnknownVenue("no such zone: set its cap first", field="zone")
    now = book.clock()
    if not insert_new(tx, tables.venues, id=venue, caip2=caip2, zone=zone, cap=cap, state="active", registered=now):
        raise Conflict("a venue of this name is registered", field="venue")
    access.admit(tx, "venue", venue, key, not_before=now)
    return view(book, read(tx, venue))


def set_cap(book: Book, tx: Connection, venue: str, cap: int) -> Tree:
    """Change a venue's cap; ``CapBelowExposure``."""
    row = read(tx, venue, lock=True)
    if cap < row.exposure:
        raise CapBelowExposure("more is out already: suspend the venue", field="cap", exposure=book.money(row.exposure))
    tx.execute(update(tables.venues).where(tables.venues.c.id == venue).values(cap=cap))
    return view(book, read(tx, venue))


def set_state(book: Book, tx: Connection, venue: str, state: str) -> Tree:
    """Suspend or resume a venue. A suspended one still reports, releases and expires."""
    read(tx, venue, lock=True)
    tx.execute(update(tables.venues).where(tables.venues.c.id == venue).values(state=state))
    return view(book, read(tx, venue))


def expose(tx: Connection, venue: str, amount: int) -> Any:
    """Raise the exposure of a venue and its zone, both locked; ``VenueSuspended``, ``CapExceeded``. Gives its row,
    whose count of failed proofs begins anew: a proof held.
    """
    row, zone = _lock(tx, venue)
    if row.state != "active":
        raise VenueSuspended("the venue gets no new credit", field="venue")
    if zone.exposure + amount > zone.cap:
        raise CapExceeded("the zone has no room for this amount", field="amount", scope="zone")
    if row.exposure + amount > row.cap:
        raise CapExceeded("the venue has no room for this amount", field="amount", scope="venue")
    _shift(tx, row, amount, failed_proofs=0)
    return row


def relieve(tx: Connection, venue: str, amount: int) -> Any:
    """Lower the exposure of a venue and its zone; gives the venue's row."""
    row, _ = _lock(tx, venue)
    _shift(tx, row, -amount)
    return row


def _lock(tx: Connection, venue: str) -> tuple[Any, Any]:
    zone_of = read(tx, venue).zone
    zone = find(tx, tables.zones, lock=True, id=zone_of)
    return read(tx, venue, lock=True), zone


def _shift(tx: Connection, row: Any, amount: int, **besides: Any) -> None:
    for table, name, more in ((tables.zones, row.zone, {}), (tables.venues, row.id, besides)):
        tx.execute(update(table).where(table.c.id == name).values(exposure=table.c.exposure + amount, **more))
