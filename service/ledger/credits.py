"""Credits: reserve on a proof, consume by reported fills, release, expire.

A credit has an amount, of which some is free, some used by fills and some released; what is free or used is live, and
a live credit is an entry of the committed vector. So a proof at the next epoch proves that the account is good for
it, and the sum of live credits never exceeds what was proved. Expiry frees what is unused; what is used stays live
until the venue releases it.

Booking an amount and paying a used credit out of cash lower no net margin below what was proved, on the same snapshot,
terms and elections: :mod:`zkmargin.circuits.rules.paying` lets no rule do otherwise. No more than that is claimed:
prices move, and under another election the account may never have proved as much.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select, update

from zkmargin.circuits.errors import MalformedInput, StatementMismatch, ZkMarginError
from zkmargin.circuits.purpose import ForCredit
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.units import to_lots, to_quanta
from zkmargin.service.errors import NotFound
from zkmargin.service.keys.signing import sign_credit_entry
from zkmargin.service.ledger import accounts, breakers, consent, epochs, events, portfolio, snapshots, venues
from zkmargin.service.ledger.answers import Attested, CreditChange, CreditPage, CreditState, Parts
from zkmargin.service.ledger.changes import Consumed, Expired, Issued, Released
from zkmargin.service.ledger.consent import Proved
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.ledger.epochs import Account, Holder
from zkmargin.service.observability import diagnostics
from zkmargin.service.refusals import (
    AccountFrozen,
    AmountAboveProof,
    AmountUnavailable,
    CreditExpired,
    NotAuthorised,
    NotExpired,
    SequenceConflict,
)
from zkmargin.service.store import tables
from zkmargin.service.store.rows import CreditRow, Value, VenueRow, each, every, find, one
from zkmargin.verifier.facts.credit_entry import CreditEntry

#: Credits are numbered under the log's lock, which whoever issues one holds by then.
_ISSUE = (
    insert(tables.credits)
    .values(number=select(func.coalesce(func.max(tables.credits.c.number), 0) + 1).scalar_subquery())
    .returning(tables.credits)
)


def pledged(account: str) -> str:
    """Ledger account of what an account may still pledge: its side of every credit."""
    return f"account/{account}"


def side(credit: str, part: str) -> str:
    """Ledger account of the free or used part of a credit."""
    return f"credit/{credit}/{part}"


def read(tx: Connection, credit: str, *, lock: bool = False) -> CreditRow:
    """A credit's row; ``NotFound``."""
    row = find(tx, CreditRow, lock=lock, id=credit)
    if row is None:
        raise NotFound("no such credit", field="credit")
    return row


@dataclass(frozen=True)
class _Fresh:
    """A credit that has no row yet."""

    id: str
    account: str
    venue: str
    epoch: int
    statement: str
    snapshot: str
    issued: int
    expires: int


def entry_of(
    ledger: Ledger, row: CreditRow | _Fresh, parts: Parts, *, sequence: int, caip2: str, now: int
) -> CreditEntry:
    """The signed fact of a credit's state."""
    return CreditEntry(
        hub=ledger.name, credit=row.id, account=row.account, venue=row.venue, caip2=caip2,
        amount=ledger.money(parts.amount), currency=ledger.currency, statement=bytes.fromhex(row.statement),
        epoch=row.epoch, snapshot=bytes.fromhex(row.snapshot), state="live" if parts.live else "closed",
        used=ledger.money(parts.used), released=ledger.money(parts.released), sequence=sequence, issued=row.issued,
        expires=row.expires, time=now,
    )  # fmt: skip


def state_of(row: CreditRow) -> CreditState:
    """A credit as its venue, its account and operators see it."""
    parts = Parts(row.amount, row.free, row.used, row.released)
    return CreditState(
        row.id, row.account, row.venue, row.epoch, parts, row.sequence, row.issued, row.expires, row.entry
    )


def precheck(ledger: Ledger, tx: Connection, venue: str, proved: Proved, amount: int, expires: int) -> Attested:
    """What is said before the proof is verified, so that most that are doomed cost nothing; gives the attestation to
    verify against. :func:`reserve` says all of it, under the locks.
    """
    statement, claimed = proved.statement, proved.statement.context
    try:
        named = epochs.attested(tx, claimed.account, claimed.epoch)
    except NotFound:
        named = None
    if named is None or named.commitment != statement.commitment:
        # Who knows the commitment was shown it. To others an account, its epochs and its state do not exist.
        raise StatementMismatch("not a commitment that this hub attested", field="statement.commitment")
    _expect_fitting(ledger, tx, epochs.read_row(tx, claimed.account), venue, proved, amount, expires)
    snapshots.usable(ledger, tx, statement.snapshot.hex(), ledger.clock())
    _expect_end(ledger, expires, ledger.clock())
    return named


def _expect_end(ledger: Ledger, expires: int, now: int) -> None:
    if not now < expires <= now + ledger.policy.max_credit_seconds:
        longest = ledger.policy.max_credit_seconds
        raise MalformedInput(f"must be after now and within {longest} seconds", field="expires")


def _expect_fitting(
    ledger: Ledger, tx: Connection, account: Holder, venue: str, proved: Proved, amount: int, expires: int
) -> None:
    """What statement, authorisation, account and amount say by themselves."""
    statement = proved.statement
    accounts.expect_terms(ledger, account, statement, venue=venue)
    purpose = consent.expect_purpose(statement, ForCredit)
    epochs.expect_epoch(account, statement.context.epoch)
    covered = to_quanta(statement.amount, ledger.decimals, field="statement.amount")
    if amount > covered:
        raise AmountAboveProof("more than the statement's amount", field="amount", proved=ledger.money(covered))
    granted = to_quanta(purpose.amount, ledger.decimals, field="statement.purpose.amount")
    if amount > granted:
        raise NotAuthorised("more than the holder authorised", field="amount", authorised=ledger.money(granted))
    if expires > purpose.expires:
        raise NotAuthorised("for longer than the holder authorised", field="expires", authorised=purpose.expires)
    consent.expect_authorised(ledger, tx, proved)


def _expect_eligible(
    ledger: Ledger, tx: Connection, account: Account, venue: str, proved: Proved, amount: int, expires: int, now: int
) -> Snapshot:
    statement = proved.statement
    _expect_fitting(ledger, tx, account, venue, proved, amount, expires)
    if account.state != "open":
        raise AccountFrozen("no new credit on a frozen account", field="account")
    breakers.expect_closed(tx, breakers.HUB, breakers.venue_scope(venue))
    snapshot = snapshots.usable(ledger, tx, statement.snapshot.hex(), now)
    statement.check_time(snapshot, now)
    _expect_end(ledger, expires, now)
    return snapshot


def reserve(ledger: Ledger, tx: Connection, venue: str, proved: Proved, amount: int, expires: int) -> CreditChange:
    """Book a credit on a statement whose proof was verified against the attestation of its epoch, and that the
    account's key authorises for this venue, this amount and this long.

    One transaction: latest epoch, open account, closed breakers, caps; the amount becomes an entry of the committed
    vector under a new epoch; the credit entry is signed. The database refuses a second credit on one epoch by itself.
    """
    now, statement = ledger.clock(), proved.statement
    account = epochs.read_account(ledger, tx, statement.context.account, lock=True)
    snapshot = _expect_eligible(ledger, tx, account, venue, proved, amount, expires, now)
    line = portfolio.credit_line(snapshot)
    lots = portfolio.credit_lots(amount, snapshot)
    after = portfolio.changed(accounts.listed(ledger, tx, account, snapshot), {line: lots})
    portfolio.check(after, [line], snapshot, field="amount")
    credit = secrets.token_hex(16)
    exposed: list[VenueRow] = []
    moved, state = epochs.advance(
        ledger, tx, account, snapshot, after, Issued(credit, venue, amount, expires, proved),
        live=account.live + amount, now=now,
        guard=lambda: exposed.append(venues.expose(tx, venue, amount)),
    )  # fmt: skip
    parts = Parts(amount, amount, 0, 0)
    fresh = _Fresh(
        credit, account.id, venue, account.epoch, statement.digest.hex(), statement.snapshot.hex(), now, expires
    )
    entry = sign_credit_entry(
        entry_of(ledger, fresh, parts, sequence=0, caip2=exposed[0].caip2, now=now), ledger.signing_key(tx, now).private
    ).decode()
    values: dict[str, Value] = {
        "id": credit, "account": account.id, "venue": venue, "epoch": account.epoch, "statement": fresh.statement,
        "snapshot": fresh.snapshot, "amount": amount, "free": amount, "used": 0, "released": 0, "sequence": 0,
        "issued": now, "expires": expires, "entry": entry,
    }  # fmt: skip
    row = one(tx, CreditRow, _ISSUE, values)
    events.transfer(tx, moved.head, pledged(account.id), side(credit, "free"), amount)
    return CreditChange(state_of(row), state)


def _locked(
    ledger: Ledger, tx: Connection, credit: str, venue: str | None, sequence: int | None
) -> tuple[Account, CreditRow]:
    """Account and credit, both locked; checks whose credit it is and that the report is the next one."""
    named = read(tx, credit)
    if venue is not None and named.venue != venue:
        raise NotFound("no such credit", field="credit")
    account = epochs.read_account(ledger, tx, named.account, lock=True)
    row = read(tx, credit, lock=True)
    if sequence is not None and sequence != row.sequence + 1:
        raise SequenceConflict("not the next report of this credit", field="sequence", expected=row.sequence + 1)
    return account, row


def _settle(ledger: Ledger, tx: Connection, row: CreditRow, parts: Parts, now: int) -> CreditState:
    """Write a credit's new parts, its transfers and its signed entry."""
    caip2 = venues.read(tx, row.venue).caip2
    sequence = row.sequence + 1
    entry = sign_credit_entry(
        entry_of(ledger, row, parts, sequence=sequence, caip2=caip2, now=now), ledger.signing_key(tx, now).private
    ).decode()
    tx.execute(
        update(tables.credits)
        .where(tables.credits.c.id == row.id)
        .values(free=parts.free, used=parts.used, released=parts.released, sequence=sequence, entry=entry)
    )
    return state_of(read(tx, row.id))


def consume(
    ledger: Ledger,
    tx: Connection,
    venue: str,
    credit: str,
    sequence: int,
    amount: int,
    fills: Sequence[tuple[str, str]],
) -> CreditChange:
    """Book what a venue reports: so much more of the credit is used, for these fills (instrument, quantity).

    What is used does not expire, and the venue may be paid out of it. Fills are kept in the journal as reported and
    change no portfolio: positions at a venue are the venue's to margin, within the credit. A trade between two accounts
    of the hub is booked with both holders' proofs (:mod:`zkmargin.service.ledger.trades`).
    """
    now = ledger.clock()
    account, row = _locked(ledger, tx, credit, venue, sequence)
    if now > row.expires + ledger.policy.report_grace:
        raise CreditExpired("the time to report is over", field="credit")
    if amount > row.free:
        raise AmountUnavailable("more than is free", field="amount", free=ledger.money(row.free))
    if not amount:
        raise MalformedInput("report what is used", field="amount")
    parts = Parts(row.amount, row.free - amount, row.used + amount, row.released)
    moved = epochs.note(ledger, tx, account, Consumed(credit, amount, tuple(fills)), now)
    events.transfer(tx, moved.head, side(credit, "free"), side(credit, "used"), amount)
    return CreditChange(_settle(ledger, tx, row, parts, now), None)


def payable(venue: str) -> str:
    """Ledger account of what the hub owes a venue, to be paid out of custody."""
    return f"venue/{venue}/payable"


def _reduce(
    ledger: Ledger,
    tx: Connection,
    account: Account,
    row: CreditRow,
    free: int,
    used: int,
    paid: int,
    kind: type[Released | Expired],
    now: int,
) -> CreditChange:
    """Take parts of a credit out of the committed vector, and off venue and zone; ``paid`` of the used part in cash.

    A payment takes the same amount out of the account's cash and out of its live credit, which lowers no net margin
    below what was proved on the same snapshot (``zkmargin.circuits.rules.paying``).
    """
    parts = Parts(row.amount, row.free - free, row.used - used, row.released + free + used)
    snapshot, held = accounts.workable(ledger, tx, account)
    lots = portfolio.credit_lots(parts.live, snapshot) - portfolio.credit_lots(parts.live + free + used, snapshot)
    delta = {portfolio.credit_line(snapshot): lots}
    payment: dict[str, str] = {}
    if paid:
        cash = portfolio.cash_line(snapshot)
        inst = snapshot.instruments[snapshot.index[cash]]
        delta[cash] = -to_lots(ledger.money(paid), inst.lot, field="paid")
        payment[cash] = "-" + ledger.money(paid)
    change, after = kind(row.id, free, used, paid, payment), portfolio.changed(held, delta)
    moved, state = epochs.advance(
        ledger, tx, account, snapshot, after, change, live=account.live - free - used, now=now,
        guard=lambda: venues.relieve(tx, row.venue, free + used),
    )  # fmt: skip
    for origin, target, amount in (
        (side(row.id, "free"), pledged(account.id), free),
        (side(row.id, "used"), pledged(account.id), used - paid),
        (side(row.id, "used"), payable(row.venue), paid),
    ):
        events.transfer(tx, moved.head, origin, target, amount)
    return CreditChange(_settle(ledger, tx, row, parts, now), state)


def release(
    ledger: Ledger, tx: Connection, venue: str | None, credit: str, sequence: int, free: int, used: int, paid: int
) -> CreditChange:
    """Give back parts of a credit; of the used part, ``paid`` goes to the venue from the account's cash.

    Only its venue can, or an operator (None) for a venue that is gone, who pays nothing out. ``AmountUnavailable``.
    """
    account, row = _locked(ledger, tx, credit, venue, sequence)
    if free + used <= 0:
        raise MalformedInput("release something", field="free")
    if paid > used or (paid and venue is None):
        raise MalformedInput("at most the used part that is released, and to its venue", field="paid")
    if free > row.free or used > row.used:
        raise AmountUnavailable(
            "more than the credit has", field="free" if free > row.free else "used", free=ledger.money(row.free),
            used=ledger.money(row.used),
        )  # fmt: skip
    return _reduce(ledger, tx, account, row, free, used, paid, Released, ledger.clock())


def expire(ledger: Ledger, tx: Connection, credit: str) -> CreditChange:
    """Free what is unused of a credit whose time and report grace are over; ``NotExpired`` otherwise."""
    now = ledger.clock()
    account, row = _locked(ledger, tx, credit, None, None)
    if now <= row.expires + ledger.policy.report_grace:
        raise NotExpired("its venue may still use or report", field="credit")
    if row.free == 0:
        return CreditChange(state_of(row), None)
    return _reduce(ledger, tx, account, row, row.free, 0, 0, Expired, now)


def due(ledger: Ledger, tx: Connection, limit: int = 100) -> list[str]:
    """Credits to expire now, oldest first."""
    c = tables.credits.c
    query = (
        select(c.id)
        .where(c.free > 0, c.expires + ledger.policy.report_grace < ledger.clock())
        .order_by(c.expires)
        .limit(limit)
    )
    return list(tx.execute(query).scalars())


def sweep(ledger: Ledger) -> int:
    """Expire what is due, one transaction each; gives how many. Several processes may sweep at once."""
    done = 0
    for credit in ledger.database.read(lambda tx: due(ledger, tx)):
        try:
            ledger.database.write(lambda tx, credit=credit: expire(ledger, tx, credit))  # type: ignore[misc]
            done += 1
        except ZkMarginError as err:
            # One credit that cannot be expired must not keep the others alive. Its row is named, nothing else.
            diagnostics.reporter().warning("not expired", credit=credit, code=err.code)
    return done


def listing(
    tx: Connection, *, account: str | None, venue: str | None, live: bool, after: int, limit: int
) -> CreditPage:
    """A page of credits by number."""
    c = tables.credits.c
    query = every(CreditRow).where(c.number > after).order_by(c.number).limit(limit + 1)
    if account is not None:
        query = query.where(c.account == account)
    if venue is not None:
        query = query.where(c.venue == venue)
    if live:
        query = query.where(c.free + c.used > 0)
    rows = list(each(tx, CreditRow, query))
    more = rows[limit - 1].number if len(rows) > limit else None
    return CreditPage(tuple(state_of(row) for row in rows[:limit]), more)
