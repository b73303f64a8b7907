"""Epochs: each change of a portfolio is a new commitment with fresh blinding, attested and logged at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from sqlalchemy import Connection, bindparam, update

from zkmargin.circuits.snapshot import Snapshot
from zkmargin.prover.commitment import commit
from zkmargin.prover.domains import cheapest_domain
from zkmargin.service.errors import NotFound
from zkmargin.service.keys.signing import sign_attestation
from zkmargin.service.ledger import portfolio, transparency
from zkmargin.service.ledger.answers import Attested
from zkmargin.service.ledger.changes import Moving, Still, sealed_bytes
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.ledger.events import Event, record
from zkmargin.service.ledger.json_tree import Fields, parsed
from zkmargin.service.ledger.portfolio import Portfolio
from zkmargin.service.refusals import StaleEpoch
from zkmargin.service.store import tables
from zkmargin.service.store.queries import put
from zkmargin.service.store.rows import AccountRow, AttestationRow, Value, every, find, first
from zkmargin.verifier.facts.attestation import Attestation

_EPOCHS = tables.attestations.c
_LATEST = every(AttestationRow).where(_EPOCHS.account == bindparam("of")).order_by(_EPOCHS.epoch.desc()).limit(1)
_MOVE = update(tables.accounts).where(tables.accounts.c.id == bindparam("of_id"))


@dataclass(frozen=True)
class Account:
    """An account's row with its portfolio opened."""

    id: str
    rule: str
    jurisdiction: str
    state: str
    epoch: int
    live: int
    events: int
    head: str
    portfolio: Portfolio = field(repr=False)


#: What a statement about an account is held against: its row, or the account with its portfolio opened.
Holder: TypeAlias = Account | AccountRow


def sealed_purpose(account: str, epoch: int) -> str:
    """What the vault binds a portfolio to: an older row put back does not open."""
    return f"account/{account}/{epoch}"


def read_row(tx: Connection, account: str, *, lock: bool = False) -> AccountRow:
    """An account's row, locked until the transaction ends if asked; ``NotFound``."""
    row = find(tx, AccountRow, lock=lock, id=account)
    if row is None:
        raise NotFound("no such account", field="account")
    return row


def read_account(ledger: Ledger, tx: Connection, account: str, *, lock: bool = False) -> Account:
    """An account, with its row locked until the transaction ends if asked; ``NotFound``."""
    row = read_row(tx, account, lock=lock)
    opened = portfolio.from_bytes(ledger.vault.open(row.sealed, purpose=sealed_purpose(row.id, row.epoch)))
    return Account(row.id, row.rule, row.jurisdiction, row.state, row.epoch, row.live, row.events, row.head, opened)


def attested(tx: Connection, account: str, epoch: int | None = None) -> Attested:
    """The attestation of an epoch, the latest by default; ``NotFound``."""
    if epoch is None:
        row = first(tx, AttestationRow, _LATEST, {"of": account})
    else:
        row = find(tx, AttestationRow, account=account, epoch=epoch)
    if row is None:
        raise NotFound("no such epoch of this account", field="epoch")
    return Attested(row.account, row.epoch, bytes.fromhex(row.commitment), row.leaf, row.document)


def expect_epoch(account: Holder, epoch: int) -> None:
    """``StaleEpoch`` unless a statement's epoch is the latest. It does not say which one is: a venue that was shown one
    epoch could follow the account's activity for ever. Its holder and granted venues can ask.
    """
    if epoch != account.epoch:
        raise StaleEpoch(
            "the account has moved on: fetch the attestation and opening of its latest epoch and prove again",
            field="statement.context.epoch",
        )


def note(ledger: Ledger, tx: Connection, account: Account, change: Still, now: int) -> Account:
    """Record a change that leaves the committed portfolio as it is."""
    content = sealed_bytes(change, None)
    event = Event(account.id, account.events + 1, account.epoch, change.kind, now, account.head, content)
    digest = record(ledger, tx, event)
    tx.execute(
        update(tables.accounts)
        .where(tables.accounts.c.id == account.id, tables.accounts.c.events == account.events)
        .values(events=event.sequence, head=digest)
    )
    return replace(account, events=event.sequence, head=digest)


def advance(
    ledger: Ledger,
    tx: Connection,
    account: Account,
    snapshot: Snapshot,
    lots: Mapping[str, int],
    change: Moving,
    *,
    live: int,
    now: int,
    guard: Callable[[], object] | None = None,
) -> tuple[Account, Attested]:
    """Commit to new positions with fresh blinding, sign and log the attestation, record the event.

    ``lots`` are in the snapshot's registry; ``live`` is the account's live credit in quanta after the change. The
    account's row must be locked; the log's is locked here, last. ``guard`` runs just before that: for locks that many
    accounts share, and that are held for as short as can be.
    """
    domain = cheapest_domain(snapshot)
    commitment, opening = commit(portfolio.vector(lots, snapshot), domain)
    after = Portfolio(snapshot.registry_digest, domain, dict(lots), opening.blinding)
    epoch, sequence = account.epoch + 1, account.events + 1
    content = sealed_bytes(change, after.committed)
    event = Event(account.id, sequence, epoch, change.kind, now, account.head, content)
    digest = record(ledger, tx, event)
    values: dict[str, Value] = {
        "epoch": epoch,
        "registry": snapshot.registry_digest.hex(),
        "sealed": ledger.vault.seal(after.to_bytes(), purpose=sealed_purpose(account.id, epoch)),
        "live": live,
        "events": sequence,
        "head": digest,
    }
    tx.execute(_MOVE, {"of_id": account.id, **values})
    moved = replace(account, epoch=epoch, live=live, events=sequence, head=digest, portfolio=after)
    if guard is not None:
        guard()
    return moved, attest(ledger, tx, moved, commitment, now)


def attest(ledger: Ledger, tx: Connection, account: Account, commitment: bytes, now: int) -> Attested:
    """Sign the attestation of an account's present epoch and append it to the log."""
    held = account.portfolio
    fact = Attestation(ledger.name, account.id, account.epoch, commitment, held.domain, held.registry, now)
    key = ledger.signing_key(tx, now)
    document = sign_attestation(fact, key.private)
    leaf = transparency.append(ledger, tx, Fields(parsed(document, name="attestation"), "attestation").text("jws"), now)
    put(
        tx, tables.attestations, account=account.id, epoch=account.epoch, commitment=commitment.hex(), leaf=leaf,
        time=now, document=document.decode(),
    )  # fmt: skip
    return Attested(account.id, account.epoch, commitment, leaf, document.decode())
