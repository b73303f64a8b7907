"""Accounts: open, deposit, withdraw what stays proved, recommit on a new registry, freeze, fetch the opening."""

from __future__ import annotations

from fractions import Fraction

from sqlalchemy import Connection, insert, select, update

from circuits.canonical import parse_json
from circuits.errors import MalformedInput
from circuits.snapshot import Snapshot
from circuits.statement import Statement, cheapest_domain
from circuits.units import to_lots
from prover.commitment import commit
from prover.documents import opening_bytes

from ..refusals import AccountFrozen, Conflict, PositionLimit, StatementRefused
from ..store import tables
from . import access, breakers, epochs, events, portfolio, snapshots
from .book import Book
from .epochs import Account, Attested
from .events import Event, Tree
from .idempotency import insert_new
from .portfolio import Portfolio


def view(book: Book, account: Account, state: Attested) -> Tree:
    """An account as its owner and operators see it: no position."""
    return {
        "account": account.id, "rule": account.rule, "jurisdiction": account.jurisdiction or None,
        "state": account.state, "epoch": account.epoch, "live_credit": book.money(account.live),
        "attested": state.to_json(),
    }  # fmt: skip


def open_account(
    book: Book, tx: Connection, name: str, *, key: str, encryption_key: str, jurisdiction: str | None
) -> Tree:
    """Open an account: its owner's signing key, the key its openings are encrypted to, the rule of the newest snapshot.

    ``jurisdiction`` names an overlay set of the snapshot that every statement of the account must carry.
    """
    now = book.clock()
    snapshot = snapshots.in_force(book, tx, now)
    if jurisdiction is not None and jurisdiction not in snapshot.overlays:
        raise MalformedInput("the snapshot has no overlay set of this name", field="jurisdiction")
    if tx.execute(select(tables.accounts.c.id).where(tables.accounts.c.id == name)).one_or_none() is not None:
        raise Conflict("an account of this name is open", field="account")
    access.admit(tx, "account", name, key, not_before=now)
    domain = cheapest_domain(snapshot)
    commitment, opening = commit([0] * len(snapshot.instruments), domain)
    empty = Portfolio(snapshot.registry_digest, domain, {}, opening.blinding)
    terms = {"rule": snapshot.rule_id, "jurisdiction": jurisdiction or "", "encryption_key": encryption_key}
    content = events.salted(terms)
    first = Event(name, 1, 1, "opened", now, events.GENESIS, content)
    tx.execute(
        insert(tables.accounts).values(
            id=name, rule=snapshot.rule_id, jurisdiction=jurisdiction or "", state="open",
            encryption_key=encryption_key, epoch=1, registry=snapshot.registry_digest.hex(),
            sealed=book.vault.seal(empty.to_bytes(), purpose=epochs.sealed_purpose(name, 1)),
            live=0, events=1, head=first.digest, opened=now,
        )
    )  # fmt: skip
    events.record(book, tx, first)
    account = epochs.read_account(book, tx, name)
    return view(book, account, epochs.attest(book, tx, account, commitment, now))


def listed(book: Book, tx: Connection, account: Account, snapshot: Snapshot) -> dict[str, int]:
    """The account's positions in lots of a snapshot's registry."""
    if account.portfolio.registry == snapshot.registry_digest:
        return dict(account.portfolio.lots)
    digest = tx.execute(
        select(tables.snapshots.c.digest)
        .where(tables.snapshots.c.registry == account.portfolio.registry.hex())
        .order_by(tables.snapshots.c.time.desc())
        .limit(1)
    ).scalar_one()
    return portfolio.relisted(account.portfolio, book.snapshot(tx, digest), snapshot)


def deposit(book: Book, tx: Connection, name: str, instrument: str, quantity: str, reference: str) -> Tree:
    """Book what custody received. ``reference`` is custody's own and books once, whatever the idempotency key."""
    now = book.clock()
    account = epochs.read_account(book, tx, name, lock=True)
    snapshot = book.snapshot(tx, snapshots.latest(tx).digest)
    lots = asset_lots(snapshot, instrument, quantity)
    after = portfolio.changed(listed(book, tx, account, snapshot), {instrument: lots})
    portfolio.check(after, [instrument], snapshot, field="instrument")
    content = {"reference": reference, "delta": {instrument: quantity}}
    moved, state = epochs.advance(book, tx, account, snapshot, after, "deposited", content, live=account.live, now=now)
    if not insert_new(tx, tables.receipts, reference=reference, account=name, event=moved.head):
        raise Conflict("this receipt is booked", field="reference")
    return view(book, moved, state)


def asset_lots(snapshot: Snapshot, instrument: str, quantity: str) -> int:
    """A positive quantity of something that custody can hold, in lots."""
    row = snapshot.row_of(instrument, field="instrument")
    inst = snapshot.instruments[row]
    if inst.kind not in ("quote", "spot"):
        raise MalformedInput("only the quote currency and spot assets move in and out", field="instrument")
    lots = to_lots(quantity, inst.lot, field="quantity")
    if lots <= 0:
        raise MalformedInput("must be positive", field="quantity")
    return lots


def expect_terms(book: Book, account: Account, statement: Statement, *, spoke: str) -> None:
    """What this hub asks of a statement, whatever it proves; ``StatementRefused`` names the field.

    Initial level, multiplier of at least 1, a horizon within policy, the account's rule and its jurisdiction's overlay
    set: a looser statement would be true of an account that is not good for the amount.
    """
    terms = statement.terms
    wanted = [
        ("context.hub", statement.context.hub == book.name, "names another hub"),
        ("context.account", statement.context.account == account.id, "names another account"),
        ("context.spoke", statement.context.spoke == spoke, "names another spoke"),
        ("level", terms.level == "initial", "must be initial"),
        ("multiplier", terms.multiplier >= Fraction(1), "must be at least 1"),
        ("horizon", terms.horizon <= book.policy.max_horizon, f"must be at most {book.policy.max_horizon} s"),
        ("rule", statement.rule_id == account.rule, "is not the account's"),
        (
            "overlays",
            not account.jurisdiction or account.jurisdiction in terms.overlays,
            "must contain the overlay set of the account's jurisdiction",
        ),
    ]
    for name, holds, message in wanted:
        if not holds:
            raise StatementRefused(message, field=f"statement.{name}")


def withdraw(book: Book, tx: Connection, name: str, instrument: str, quantity: str, statement: Statement) -> Tree:
    """Pay out what a verified statement shows the account can do without: its delta is this one leg.

    The proof itself was checked before; here that it is about the latest epoch, now that the row is locked.
    """
    now = book.clock()
    account = epochs.read_account(book, tx, name, lock=True)
    epochs.expect_epoch(account, statement.context.epoch)
    expect_terms(book, account, statement, spoke=book.name)
    if account.state != "open":
        raise AccountFrozen("nothing leaves a frozen account", field="account")
    breakers.expect_closed(tx, breakers.HUB)
    snapshot = snapshots.usable(book, tx, statement.snapshot.hex(), now)
    statement.check_time(snapshot, now)
    lots = asset_lots(snapshot, instrument, quantity)
    row = snapshot.row_of(instrument, field="instrument")
    proved = {
        leg: to_lots(text, snapshot.instruments[snapshot.row_of(leg, field="statement.delta")].lot, field="delta")
        for leg, text in statement.delta
    }
    if proved != {instrument: -lots}:
        raise StatementRefused("must take out exactly what is withdrawn", field="statement.delta")
    held = listed(book, tx, account, snapshot)
    if held.get(instrument, 0) < lots:
        # Borrowing is a trade, not a withdrawal: custody pays out what it holds for the account.
        raise PositionLimit("the account does not hold so much", field="quantity")
    after = portfolio.changed(held, {instrument: -lots})
    content = {
        "delta": {instrument: f"-{quantity}"},
        "statement": parse_json(statement.to_bytes(), name="statement"),
        "row": row,
    }
    moved, state = epochs.advance(book, tx, account, snapshot, after, "withdrawn", content, live=account.live, now=now)
    return view(book, moved, state)


def recommit(book: Book, tx: Connection, name: str) -> Tree:
    """A new epoch of the same positions: fresh blinding, the newest registry and domain."""
    now = book.clock()
    account = epochs.read_account(book, tx, name, lock=True)
    snapshot = book.snapshot(tx, snapshots.latest(tx).digest)
    lots = listed(book, tx, account, snapshot)
    moved, state = epochs.advance(book, tx, account, snapshot, lots, "recommitted", {}, live=account.live, now=now)
    return view(book, moved, state)


def set_state(book: Book, tx: Connection, name: str, state: str) -> Tree:
    """Freeze an account or open it again."""
    account = epochs.read_account(book, tx, name, lock=True)
    if account.state != state:
        kind = "frozen" if state == "frozen" else "unfrozen"
        epochs.note(book, tx, account, kind, {}, book.clock())
        tx.execute(update(tables.accounts).where(tables.accounts.c.id == name).values(state=state))
    return view(book, epochs.read_account(book, tx, name), epochs.attested(tx, name, account.epoch))


def encrypted_opening(book: Book, tx: Connection, name: str) -> Tree:
    """The opening of the latest epoch, encrypted to the holder by HPKE (RFC 9180) base mode: X25519, HKDF-SHA256,
    AES-256-GCM, info ``zkmargin/opening/1 || 0x00 || commitment``.
    """
    account = epochs.read_account(book, tx, name)
    state = epochs.attested(tx, name, account.epoch)
    digest = tx.execute(
        select(tables.snapshots.c.digest)
        .where(tables.snapshots.c.registry == account.portfolio.registry.hex())
        .order_by(tables.snapshots.c.time.desc())
        .limit(1)
    ).scalar_one()
    plain = opening_bytes(account.portfolio.opening(book.snapshot(tx, digest)), account.portfolio.registry)
    key = tx.execute(select(tables.accounts.c.encryption_key).where(tables.accounts.c.id == name)).scalar_one()
    from ..sealing import seal_to

    return {**state.to_json(), "sealed_opening": seal_to(bytes.fromhex(key), plain, state.commitment).hex()}
