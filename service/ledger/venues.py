"""Venues and zones: who may extend virtual margin, and up to how much.

Exposure is the sum of live credits. It is kept on the rows, where the database's CHECK holds it at or below the cap.
What a venue owes for the fills that it reported counts against its cap too.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from typing import Any

from sqlalchemy import Connection, select, update

from circuits.canonical import canonical_bytes, parse_json
from circuits.snapshot import Snapshot
from circuits.units import ceil_div, format_fraction, parse_decimal

from ..errors import NotFound
from ..refusals import CapBelowExposure, CapExceeded, Conflict, UnknownVenue, VenueSuspended
from ..store import tables
from . import access, snapshots
from .book import Book
from .events import Tree
from .idempotency import insert_new


def view(book: Book, tx: Connection, row: Any) -> Tree:
    """A venue as operators and the venue itself see it; ``claim`` is what it owes at the newest marks."""
    owed: int | None = None
    with suppress(NotFound, CapExceeded):
        owed = claim(book, positions(book, row), book.snapshot(tx, snapshots.latest(tx).digest))
    return {
        "venue": row.id, "caip2": row.caip2, "zone": row.zone, "cap": book.money(row.cap),
        "exposure": book.money(row.exposure), "claim": None if owed is None else book.money(owed),
        "state": row.state, "registered": row.registered,
    }  # fmt: skip


def read(tx: Connection, venue: str, *, lock: bool = False) -> Any:
    """A venue's row; ``UnknownVenue``."""
    query = select(tables.venues).where(tables.venues.c.id == venue)
    row = tx.execute(query.with_for_update(key_share=True) if lock else query).one_or_none()
    if row is None:
        raise UnknownVenue("no venue of this name is registered", field="venue")
    return row


def listing(book: Book, tx: Connection) -> list[Tree]:
    """All venues, by name."""
    return [view(book, tx, row) for row in tx.execute(select(tables.venues).order_by(tables.venues.c.id))]


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
    sealed = seal_positions(book, venue, {})
    if not insert_new(
        tx, tables.venues, id=venue, caip2=caip2, zone=zone, cap=cap, state="active", registered=now, sealed=sealed
    ):
        raise Conflict("a venue of this name is registered", field="venue")
    access.admit(tx, "venue", venue, key, not_before=now)
    return view(book, tx, read(tx, venue))


def set_cap(book: Book, tx: Connection, venue: str, cap: int) -> Tree:
    """Change a venue's cap; ``CapBelowExposure``."""
    row = read(tx, venue, lock=True)
    if cap < row.exposure:
        raise CapBelowExposure("more is out already: suspend the venue", field="cap", exposure=book.money(row.exposure))
    tx.execute(update(tables.venues).where(tables.venues.c.id == venue).values(cap=cap))
    return view(book, tx, read(tx, venue))


def set_state(book: Book, tx: Connection, venue: str, state: str) -> Tree:
    """Suspend or resume a venue. A suspended one still reports, releases and expires."""
    read(tx, venue, lock=True)
    tx.execute(update(tables.venues).where(tables.venues.c.id == venue).values(state=state))
    return view(book, tx, read(tx, venue))


def expose(book: Book, tx: Connection, venue: str, amount: int, snapshot: Snapshot) -> Any:
    """Raise the exposure of a venue and its zone, both locked; ``VenueSuspended``, ``CapExceeded``. Gives its row."""
    row, zone = _lock(tx, venue)
    if row.state != "active":
        raise VenueSuspended("the venue gets no new credit", field="venue")
    if zone.exposure + amount > zone.cap:
        raise CapExceeded("the zone has no room for this amount", field="amount", scope="zone")
    owed = claim(book, positions(book, row), snapshot)
    if row.exposure + amount + max(0, owed) > row.cap:
        raise CapExceeded("the venue has no room for this amount", field="amount", scope="venue")
    _shift(tx, row, amount)
    return row


def relieve(tx: Connection, venue: str, amount: int) -> Any:
    """Lower the exposure of a venue and its zone; gives the venue's row."""
    row, _ = _lock(tx, venue)
    _shift(tx, row, -amount)
    return row


def positions(book: Book, row: Any) -> dict[str, Fraction]:
    """What a venue owes for the fills that it reported, by instrument: the sum of all accounts' legs there."""
    tree = parse_json(book.vault.open(bytes(row.sealed), purpose=sealed_purpose(row.id)), name="venue")
    return {name: parse_decimal(text, field="venue") for name, text in tree.items()}


def sealed_purpose(venue: str) -> str:
    """What the vault binds a venue's positions to."""
    return f"venue/{venue}"


def seal_positions(book: Book, venue: str, held: Mapping[str, Fraction]) -> bytes:
    """For the row; zeros are left out."""
    tree = {name: format_fraction(quantity) for name, quantity in held.items() if quantity}
    return book.vault.seal(canonical_bytes(tree), purpose=sealed_purpose(venue))


def claim(book: Book, held: Mapping[str, Fraction], snapshot: Snapshot) -> int:
    """What a venue owes in quote quanta at a snapshot's marks, rounded up; negative if it is owed.

    What a snapshot no longer lists has no price: ``CapExceeded`` if the venue owes it, nothing if it is owed.
    """
    total = Fraction(0)
    for name, quantity in held.items():
        if name in snapshot.index:
            total += quantity * snapshot.instruments[snapshot.index[name]].mark
        elif quantity > 0:
            raise CapExceeded("the venue owes what is no longer listed: settle it", field="venue", scope="settlement")
    scaled = total * 10**book.decimals
    return ceil_div(scaled.numerator, scaled.denominator)


def record_fills(book: Book, tx: Connection, venue: str, legs: Mapping[str, str], snapshot: Snapshot) -> None:
    """Book reported legs as owed by the venue. What it owes at the marks and its live credit stay within its cap:
    a venue, with whomever it colludes, can never cost more than its partition. ``CapExceeded``.
    """
    row, _ = _lock(tx, venue)
    held = positions(book, row)
    for name, quantity in legs.items():
        held[name] = held.get(name, Fraction(0)) + parse_decimal(quantity, field="fills")
    if row.exposure + max(0, claim(book, held, snapshot)) > row.cap:
        raise CapExceeded("the venue would owe more than its cap", field="fills", scope="settlement")
    table = tables.venues
    tx.execute(update(table).where(table.c.id == venue).values(sealed=seal_positions(book, venue, held)))


def settle(book: Book, tx: Connection, venue: str, instrument: str, quantity: str, reference: str) -> Tree:
    """Book what a venue paid (negative: was paid) of what it owes; ``reference`` is custody's and books once."""
    row, _ = _lock(tx, venue)
    held = positions(book, row)
    held[instrument] = held.get(instrument, Fraction(0)) - parse_decimal(quantity, field="quantity")
    now = book.clock()
    content = {"venue": venue, "time": now, "instrument": instrument, "quantity": quantity}
    sealed = book.vault.seal(canonical_bytes(content), purpose=f"settlement/{reference}")
    if not insert_new(tx, tables.settlements, reference=reference, venue=venue, time=now, sealed=sealed):
        raise Conflict("this settlement is booked", field="reference")
    table = tables.venues
    tx.execute(update(table).where(table.c.id == venue).values(sealed=seal_positions(book, venue, held)))
    return view(book, tx, read(tx, venue))


def _lock(tx: Connection, venue: str) -> tuple[Any, Any]:
    zone_of = read(tx, venue).zone
    zone = tx.execute(select(tables.zones).where(tables.zones.c.id == zone_of).with_for_update(key_share=True)).one()
    return read(tx, venue, lock=True), zone


def _shift(tx: Connection, row: Any, amount: int) -> None:
    for table, name in ((tables.zones, row.zone), (tables.venues, row.id)):
        tx.execute(update(table).where(table.c.id == name).values(exposure=table.c.exposure + amount))
