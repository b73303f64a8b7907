"""Published snapshots: taken over from a registered oracle, in order of time, and which a statement may name."""

from __future__ import annotations

from fractions import Fraction

from sqlalchemy import Connection, insert, select

from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import CLOCK_SKEW
from zkmargin.circuits.units import PPM
from zkmargin.service.errors import NotFound
from zkmargin.service.ledger import breakers
from zkmargin.service.ledger.answers import Documents, Published
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.ledger.portfolio import cash_line, credit_line
from zkmargin.service.refusals import Conflict, SnapshotRefused, StaleSnapshot
from zkmargin.service.store import tables
from zkmargin.service.store.rows import HubRow, PublishedRow, SnapshotRow, every, find, first, one
from zkmargin.verifier.facts.snapshot_signature import SnapshotSignature

_LATEST = every(PublishedRow).order_by(tables.snapshots.c.time.desc()).limit(1)


def latest(tx: Connection) -> PublishedRow:
    """The newest published snapshot; ``NotFound`` before the first."""
    row = first(tx, PublishedRow, _LATEST)
    if row is None:
        raise NotFound("no snapshot was published yet", field="snapshot")
    return row


def by_digest(tx: Connection, digest: str) -> PublishedRow:
    """A published snapshot by its name; ``NotFound``."""
    row = find(tx, PublishedRow, digest=digest)
    if row is None:
        raise NotFound("no such snapshot was published here", field="snapshot")
    return row


def document(tx: Connection, digest: str) -> bytes:
    """A published snapshot's bytes; ``NotFound``."""
    row = tx.execute(select(tables.snapshots.c.document).where(tables.snapshots.c.digest == digest)).one_or_none()
    if row is None:
        raise NotFound("no such snapshot was published here", field="snapshot")
    return bytes(row.document)


def documents(tx: Connection, published: PublishedRow) -> Documents:
    """A published snapshot with its documents."""
    row = one(tx, SnapshotRow, every(SnapshotRow).where(tables.snapshots.c.digest == published.digest))
    return Documents(Published(published), row.document, row.signature)


def in_force(ledger: Ledger, tx: Connection, now: int) -> Snapshot:
    """The newest snapshot, if it is in force; ``StaleSnapshot`` otherwise: without prices exposure only falls."""
    newest = latest(tx)
    if not newest.time - CLOCK_SKEW <= now <= newest.valid_until:
        raise StaleSnapshot("no snapshot is in force: wait for the oracle's next", field="snapshot")
    return ledger.snapshot(tx, newest.digest)


def usable(ledger: Ledger, tx: Connection, digest: str, now: int, *, grace: int | None = None) -> Snapshot:
    """The snapshot that a statement names, if a proof may rest on it now.

    It must be the newest, or have been superseded at most ``grace`` seconds ago (the policy's), and be in force:
    otherwise an account could choose the prices that suit it. ``StaleSnapshot`` names the newest.
    """
    newest = latest(tx)
    try:
        named = newest if newest.digest == digest else by_digest(tx, digest)
    except NotFound:
        raise StaleSnapshot(
            "not a snapshot of this hub: prove on the newest", field="statement.snapshot", newest=newest.digest
        ) from None
    if not named.time - CLOCK_SKEW <= now <= named.valid_until:
        raise StaleSnapshot("no longer in force: prove on the newest", field="statement.snapshot", newest=newest.digest)
    if named.digest != newest.digest:
        successor = tx.execute(
            select(tables.snapshots.c.received)
            .where(tables.snapshots.c.time > named.time)
            .order_by(tables.snapshots.c.time)
            .limit(1)
        ).scalar_one()
        allowed = ledger.policy.snapshot_grace if grace is None else grace
        # Without grace not even in the second of its arrival, which another host's clock could make longer.
        if not allowed or now > successor + allowed:
            raise StaleSnapshot("superseded: prove on the newest", field="statement.snapshot", newest=newest.digest)
    return ledger.snapshot(tx, digest)


def publish(
    ledger: Ledger, tx: Connection, snapshot: Snapshot, signed: SnapshotSignature, document: bytes
) -> Published:
    """Take over an oracle's snapshot. A jump of any mark beyond the policy opens the hub's breaker: exposure may then
    only fall until an operator closes it.

    The time must be later than the last one's. ``SnapshotRefused`` for another currency, no credit line, or lots of
    cash or credits that do not divide a quantum; ``Conflict`` for a time that is not newer.
    """
    if (snapshot.currency, snapshot.decimals) != (ledger.currency, ledger.decimals):
        raise SnapshotRefused("the hub's currency and decimals are others", field="snapshot.quote")
    for name in (credit_line(snapshot), cash_line(snapshot)):
        row = snapshot.index[name]
        if (Fraction(1, 10**snapshot.decimals) / snapshot.instruments[row].lot).denominator != 1:
            # A payment would take cash, and of a credit in coarser lots nothing: less would be left than was proved.
            raise SnapshotRefused("does not divide a quote quantum", field=f"snapshot.instruments.{row}.lot")
    now = ledger.clock()
    # Publishing is rare: one at a time.
    one(tx, HubRow, every(HubRow).with_for_update(key_share=True))
    digest = snapshot.digest.hex()
    try:
        last: PublishedRow | None = latest(tx)
    except NotFound:
        last = None
    if last is not None and last.digest != digest and snapshot.time <= last.time:
        raise Conflict("a newer snapshot was published", field="snapshot.time")
    if last is None or last.digest != digest:
        tx.execute(
            insert(tables.snapshots).values(
                digest=digest, registry=snapshot.registry_digest.hex(), oracle=signed.oracle, time=snapshot.time,
                valid_until=signed.valid_until, received=now, document=snapshot.to_bytes(), signature=document.decode(),
            )
        )  # fmt: skip
        if last is not None and jumped(ledger.snapshot(tx, last.digest), snapshot, ledger.policy.jump_ppm):
            breakers.open_breaker(ledger, tx, breakers.HUB, "price-jump")
    return Published(by_digest(tx, digest))


def jumped(old: Snapshot, new: Snapshot, limit_ppm: int) -> bool:
    """Whether any instrument that both list moved by more than ``limit_ppm`` of its old mark."""
    for name, row in old.index.items():
        if name not in new.index or old.instruments[row].mark == 0 or old.instruments[row].kind == "option":
            continue  # options are derived from what is watched here, and may well double
        before, after = old.instruments[row].mark, new.instruments[new.index[name]].mark
        if abs(after - before) > before * Fraction(limit_ppm, PPM):
            return True
    return False
