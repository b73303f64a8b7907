"""Venues and zones: who may extend virtual margin, and up to how much.

Exposure is the sum of live credits. It is kept on the rows, where the database's CHECK holds it at or below the cap.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert, select, update

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
    if tx.execute(select(tables.venues.c.id).where(tables.venues.c.id == venue)).one_or_none() is not None:
        raise Conflict("a venue of this name is registered", field="venue")
    now = book.clock()
    tx.execute(insert(tables.venues).values(id=venue, caip2=caip2, zone=zone, cap=cap, state="active", registered=now))
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


def expose(book: Book, tx: Connection, venue: str, amount: int) -> Any:
    """Raise the exposure of a venue and its zone, where both have room; ``VenueSuspended``, ``CapExceeded``. Gives its
    row, whose count of failed proofs begins anew: a proof held.

    Two statements that lock and check at once (zone first, as everywhere), because all credits of a zone wait here.
    """
    zones, lines = tables.zones.c, tables.venues.c
    # The cap less the amount: the sum could leave the database's integers.
    raised = tx.execute(
        update(tables.zones)
        .where(zones.id == _zone_of(venue), zones.exposure <= zones.cap - amount)
        .values(exposure=zones.exposure + amount)
        .returning(zones.id)
    ).one_or_none()
    row = tx.execute(
        update(tables.venues)
        .where(lines.id == venue, lines.state == "active", lines.exposure <= lines.cap - amount)
        .values(exposure=lines.exposure + amount, failed_proofs=0)
        .returning(tables.venues)
    ).one_or_none()
    if row is None and read(tx, venue).state != "active":
        raise VenueSuspended("the venue gets no new credit", field="venue")
    for scope, booked in (("venue", row), ("zone", raised)):
        if booked is None:
            raise CapExceeded(f"the {scope} has no room for this amount", field="amount", scope=scope)
    return row


def relieve(tx: Connection, venue: str, amount: int) -> None:
    """Lower the exposure of a venue and its zone."""
    zones, lines = tables.zones.c, tables.venues.c
    tx.execute(update(tables.zones).where(zones.id == _zone_of(venue)).values(exposure=zones.exposure - amount))
    tx.execute(update(tables.venues).where(lines.id == venue).values(exposure=lines.exposure - amount))


def _zone_of(venue: str) -> Any:
    return select(tables.venues.c.zone).where(tables.venues.c.id == venue).scalar_subquery()
