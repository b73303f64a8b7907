"""Circuit breakers: while one is open, exposure may only fall."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select, update

from zkmargin.service.errors import NotFound
from zkmargin.service.ledger.answers import Breakers
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.ledger.idempotency import insert_new
from zkmargin.service.refusals import BreakerOpen
from zkmargin.service.store import tables
from zkmargin.service.store.rows import BreakerRow, each, every

HUB = "hub"
#: Why one may be open.
REASONS = ("operator", "price-jump", "failed-proofs", "reconciliation")


def venue_scope(venue: str) -> str:
    """The scope of a venue's breaker."""
    return f"venue/{venue}"


def open_breaker(ledger: Ledger, tx: Connection, scope: str, reason: str) -> None:
    """Open a breaker; one that is open stays as it is."""
    insert_new(tx, tables.breakers, scope=scope, reason=reason, opened=ledger.clock())


def close(tx: Connection, scope: str) -> None:
    """Close a breaker, which an operator does; ``NotFound`` when it is not open."""
    if tx.execute(delete(tables.breakers).where(tables.breakers.c.scope == scope)).rowcount == 0:
        raise NotFound("no such breaker is open", field="scope")
    if scope.startswith("venue/"):
        venue = scope.removeprefix("venue/")
        tx.execute(update(tables.venues).where(tables.venues.c.id == venue).values(failed_proofs=0))


def listing(tx: Connection, *, venue: str | None = None) -> Breakers:
    """All open breakers; of a venue's view the hub's and its own, as another's say how that one fares."""
    query = every(BreakerRow).order_by(tables.breakers.c.scope)
    if venue is not None:
        query = query.where(tables.breakers.c.scope.in_((HUB, venue_scope(venue))))
    return Breakers(tuple(each(tx, BreakerRow, query)))


#: Few are ever open, so all of them are read.
_OPEN = every(BreakerRow)


def expect_closed(tx: Connection, *scopes: str) -> None:
    """``BreakerOpen`` if one of these is open."""
    for row in each(tx, BreakerRow, _OPEN):
        if row.scope in scopes:
            raise BreakerOpen("exposure may only fall until an operator closes it", scope=row.scope, reason=row.reason)


def count_failure(ledger: Ledger, venue: str) -> None:
    """A venue sent a proof that does not hold; enough in a row open its breaker. A transaction of its own."""

    def unit(tx: Connection) -> None:
        table = tables.venues
        tx.execute(update(table).where(table.c.id == venue).values(failed_proofs=table.c.failed_proofs + 1))
        failed = tx.execute(select(table.c.failed_proofs).where(table.c.id == venue)).scalar_one_or_none()
        if failed is not None and failed >= ledger.policy.max_failed_proofs:
            open_breaker(ledger, tx, venue_scope(venue), "failed-proofs")

    ledger.database.write(unit)
