"""Accounts: open, deposit, withdraw what stays proved, recommit on a new registry, freeze, fetch the opening."""

from __future__ import annotations

from fractions import Fraction

from sqlalchemy import Connection, bindparam, insert, select, update

from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.purpose import ForWithdrawal
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import Statement
from zkmargin.circuits.units import to_lots
from zkmargin.prover.commitment import commit
from zkmargin.prover.documents import opening_bytes
from zkmargin.prover.domains import cheapest_domain
from zkmargin.service.keys.sealing import seal_to
from zkmargin.service.ledger import breakers, callers, consent, epochs, events, names, portfolio, snapshots
from zkmargin.service.ledger.answers import AccountState, Attested, SealedOpening
from zkmargin.service.ledger.changes import (
    Deposited,
    Frozen,
    Opened,
    Recommitted,
    Unfrozen,
    Withdrawn,
    sealed_bytes,
)
from zkmargin.service.ledger.consent import Proved
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.ledger.epochs import Account, Holder
from zkmargin.service.ledger.events import Event
from zkmargin.service.ledger.idempotency import insert_new
from zkmargin.service.ledger.portfolio import Portfolio
from zkmargin.service.refusals import AccountFrozen, Conflict, PositionLimit, StatementRefused
from zkmargin.service.store import tables
from zkmargin.service.store.rows import AccountRow, find

_LIVE = select(tables.credits.c.free + tables.credits.c.used).where(
    tables.credits.c.account == bindparam("of"), tables.credits.c.free + tables.credits.c.used > 0
)


def state_of(account: Account, attested: Attested) -> AccountState:
    """An account as its owner and operators see it: no position."""
    return AccountState(
        account.id, account.rule, account.jurisdiction or None, account.state, account.epoch, account.live, attested
    )


def open_account(
    ledger: Ledger, tx: Connection, name: str, *, key: str, encryption_key: str, jurisdiction: str | None
) -> AccountState:
    """Open an account: its owner's signing key, the key its openings are encrypted to, the rule of the newest snapshot.

    ``jurisdiction`` names an overlay set of the snapshot that every statement of the account must carry.
    """
    now = ledger.clock()
    snapshot = snapshots.in_force(ledger, tx, now)
    if jurisdiction is not None and jurisdiction not in snapshot.overlays:
        raise MalformedInput("the snapshot has no overlay set of this name", field="jurisdiction")
    if find(tx, AccountRow, id=name) is not None:
        raise Conflict("an account of this name is open", field="account")
    names.expect_free(ledger, tx, "account", name)
    callers.admit(tx, "account", name, key, now=now, not_before=now)
    domain = cheapest_domain(snapshot)
    commitment, opening = commit([0] * len(snapshot.instruments), domain)
    empty = Portfolio(snapshot.registry_digest, domain, {}, opening.blinding)
    terms = Opened(snapshot.rule_id, jurisdiction or "", encryption_key)
    content = sealed_bytes(terms, empty.committed)
    first = Event(name, 1, 1, terms.kind, now, events.GENESIS, content)
    tx.execute(
        insert(tables.accounts).values(
            id=name, rule=snapshot.rule_id, jurisdiction=jurisdiction or "", state="open",
            encryption_key=encryption_key, epoch=1, registry=snapshot.registry_digest.hex(),
            sealed=ledger.vault.seal(empty.to_bytes(), purpose=epochs.sealed_purpose(name, 1)),
            live=0, events=1, head=first.digest, opened=now,
        )
    )  # fmt: skip
    events.record(ledger, tx, first)
    account = epochs.read_account(ledger, tx, name)
    return state_of(account, epochs.attest(ledger, tx, account, commitment, now))


def listed(ledger: Ledger, tx: Connection, account: Account, snapshot: Snapshot) -> dict[str, int]:
    """The account's positions in lots of a snapshot's registry; ``PositionLimit`` where they are not to be had there.

    The credit line is always counted from the live credits themselves, each rounded up: a change of lots cannot
    lose any.
    """
    held = account.portfolio
    old = snapshot if held.registry == snapshot.registry_digest else _of_registry(ledger, tx, held.registry)
    out = portfolio.relisted(held, old, snapshot)
    live = tx.execute(_LIVE, {"of": account.id}).scalars()
    owed = sum(portfolio.credit_lots(amount, snapshot) for amount in live)
    return portfolio.changed(out, {portfolio.credit_line(snapshot): owed} if owed else {})


def _of_registry(ledger: Ledger, tx: Connection, registry: bytes) -> Snapshot:
    """The newest snapshot of a registry."""
    digest = tx.execute(
        select(tables.snapshots.c.digest)
        .where(tables.snapshots.c.registry == registry.hex())
        .order_by(tables.snapshots.c.time.desc())
        .limit(1)
    ).scalar_one()
    return ledger.snapshot(tx, digest)


def workable(ledger: Ledger, tx: Connection, account: Account) -> tuple[Snapshot, dict[str, int]]:
    """A snapshot on which the account can be committed, with its positions there: the newest, or the newest of the
    registry that it is committed under, so that exposure can fall whatever was delisted meanwhile.
    """
    newest = ledger.snapshot(tx, snapshots.latest(tx).digest)
    try:
        return newest, listed(ledger, tx, account, newest)
    except PositionLimit:
        own = _of_registry(ledger, tx, account.portfolio.registry)
        return own, listed(ledger, tx, account, own)


def deposit(ledger: Ledger, tx: Connection, name: str, instrument: str, quantity: str, reference: str) -> AccountState:
    """Book what custody received. ``reference`` is custody's own and books once, whatever the idempotency key."""
    now = ledger.clock()
    account = epochs.read_account(ledger, tx, name, lock=True)
    snapshot, held = workable(ledger, tx, account)
    lots = asset_lots(snapshot, instrument, quantity)
    after = portfolio.changed(held, {instrument: lots})
    portfolio.check(after, [instrument], snapshot, field="instrument")
    change = Deposited(reference, {instrument: quantity})
    moved, state = epochs.advance(ledger, tx, account, snapshot, after, change, live=account.live, now=now)
    if not insert_new(tx, tables.receipts, reference=reference, account=name, event=moved.head):
        raise Conflict("this receipt is booked", field="reference")
    return state_of(moved, state)


def asset_lots(snapshot: Snapshot, instrument: str, quantity: str) -> int:
    """A positive quantity of something that custody can hold, in lots."""
    row = snapshot.row_of(instrument, field="instrument")
    inst = snapshot.instruments[row]
    if inst.kind not in portfolio.ASSETS:
        raise MalformedInput("only the quote currency and spot assets move in and out", field="instrument")
    lots = to_lots(quantity, inst.lot, field="quantity")
    if lots <= 0:
        raise MalformedInput("must be positive", field="quantity")
    return lots


def expect_terms(ledger: Ledger, account: Holder, statement: Statement, *, venue: str) -> None:
    """What this hub asks of a statement, whatever it proves; ``StatementRefused`` names the field.

    Initial level, multiplier of at least 1, a horizon within policy (with it the prover chooses the latency buffer),
    the account's rule and its jurisdiction's overlay set: a looser statement would be true of an account that is not
    good for the amount.
    """
    terms = statement.terms
    wanted = [
        ("context.hub", statement.context.hub == ledger.name, "names another hub"),
        ("context.account", statement.context.account == account.id, "names another account"),
        ("context.spoke", statement.context.venue == venue, "names another venue"),
        ("level", terms.level == "initial", "must be initial"),
        ("multiplier", terms.multiplier >= Fraction(1), "must be at least 1"),
        (
            "horizon",
            ledger.policy.min_horizon <= terms.horizon <= ledger.policy.max_horizon,
            f"must be from {ledger.policy.min_horizon} to {ledger.policy.max_horizon} s",
        ),
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


def legs(statement: Statement, snapshot: Snapshot) -> dict[str, int]:
    """A statement's delta in lots."""
    out: dict[str, int] = {}
    for i, (name, quantity) in enumerate(statement.delta):
        inst = snapshot.instruments[snapshot.row_of(name, field=f"statement.delta.{i}.instrument")]
        out[name] = to_lots(quantity, inst.lot, field=f"statement.delta.{i}.quantity")
    return out


def expect_movable(
    ledger: Ledger, tx: Connection, account: Account, statement: Statement, *, venue: str, now: int
) -> Snapshot:
    """That value may leave this account on this statement: latest epoch, open, breakers closed, the newest prices.

    Whoever knows better prices than a superseded snapshot's could take out what is not there any more, so there is no
    grace here. Gives the snapshot.
    """
    expect_terms(ledger, account, statement, venue=venue)
    epochs.expect_epoch(account, statement.context.epoch)
    if account.state != "open":
        raise AccountFrozen("nothing leaves a frozen account", field="account")
    breakers.expect_closed(tx, breakers.HUB)
    snapshot = snapshots.usable(ledger, tx, statement.snapshot.hex(), now, grace=0)
    statement.check_time(snapshot, now)
    return snapshot


def expect_withdrawal(
    ledger: Ledger, tx: Connection, proved: Proved, snapshot: Snapshot, instrument: str, lots: int
) -> ForWithdrawal:
    """What a withdrawal's statement and its authorisation say by themselves; gives its destination."""
    purpose = consent.expect_purpose(proved.statement, ForWithdrawal)
    if legs(proved.statement, snapshot) != {instrument: -lots}:
        raise StatementRefused("must take out exactly what is withdrawn", field="statement.delta")
    consent.expect_authorised(ledger, tx, proved)
    return purpose


def withdraw(ledger: Ledger, tx: Connection, name: str, instrument: str, quantity: str, proved: Proved) -> AccountState:
    """Pay out what a verified statement shows the account can do without: its delta is this one leg.

    To the destination that the account's key signed; the event says it to custody.

    The proof itself was checked before; here that it is about the latest epoch, now that the row is locked.
    """
    now = ledger.clock()
    account = epochs.read_account(ledger, tx, name, lock=True)
    snapshot = expect_movable(ledger, tx, account, proved.statement, venue=ledger.name, now=now)
    lots = asset_lots(snapshot, instrument, quantity)
    destination = expect_withdrawal(ledger, tx, proved, snapshot, instrument, lots).destination
    held = listed(ledger, tx, account, snapshot)
    if held.get(instrument, 0) < lots:
        # Borrowing is a trade, not a withdrawal: custody pays out what it holds for the account.
        raise PositionLimit("the account does not hold so much", field="quantity")
    after = portfolio.changed(held, {instrument: -lots})
    # As the statement writes it, which the account's key signed: the request may write the same quantity otherwise.
    change = Withdrawn(destination, dict(proved.statement.delta), proved)
    moved, state = epochs.advance(ledger, tx, account, snapshot, after, change, live=account.live, now=now)
    return state_of(moved, state)


def recommit(ledger: Ledger, tx: Connection, name: str) -> AccountState:
    """A new epoch of the same positions: fresh blinding, the newest registry and domain."""
    now = ledger.clock()
    account = epochs.read_account(ledger, tx, name, lock=True)
    snapshot = ledger.snapshot(tx, snapshots.latest(tx).digest)
    lots = listed(ledger, tx, account, snapshot)
    moved, state = epochs.advance(ledger, tx, account, snapshot, lots, Recommitted(), live=account.live, now=now)
    return state_of(moved, state)


def set_state(ledger: Ledger, tx: Connection, name: str, state: str) -> AccountState:
    """Freeze an account or open it again."""
    account = epochs.read_account(ledger, tx, name, lock=True)
    if account.state != state:
        epochs.note(ledger, tx, account, Frozen() if state == "frozen" else Unfrozen(), ledger.clock())
        tx.execute(update(tables.accounts).where(tables.accounts.c.id == name).values(state=state))
    return state_of(epochs.read_account(ledger, tx, name), epochs.attested(tx, name, account.epoch))


def encrypted_opening(ledger: Ledger, tx: Connection, name: str) -> SealedOpening:
    """The opening of the latest epoch, encrypted to the holder by HPKE (RFC 9180) base mode: X25519, HKDF-SHA256,
    AES-256-GCM, info ``zkmargin/opening/1 || 0x00 || commitment``.
    """
    account = epochs.read_account(ledger, tx, name)
    state = epochs.attested(tx, name, account.epoch)
    snapshot = _of_registry(ledger, tx, account.portfolio.registry)
    plain = opening_bytes(account.portfolio.opening(snapshot), account.portfolio.registry)
    key = epochs.read_row(tx, name).encryption_key
    return SealedOpening(state, seal_to(bytes.fromhex(key), plain, state.commitment))
