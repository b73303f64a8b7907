"""The journal: every change of an account, chained by digest, its content sealed.

digest = SHA-256(``zkmargin/event/1`` || 0x00 || RFC 8785 of {account, sequence, epoch, kind, time, detail, previous})
with ``detail`` the SHA-256 of the content, which carries a salt: the chain can be shown without showing an amount.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from sqlalchemy import Connection

from zkmargin.circuits import canonical
from zkmargin.circuits.errors import InternalError
from zkmargin.service.ledger.changes import KINDS
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.store import tables
from zkmargin.service.store.queries import put
from zkmargin.service.store.rows import EventRow

#: What the first event of an account follows.
GENESIS = "00" * 32


@dataclass(frozen=True)
class Event:
    """One change. ``content`` is secret: the bytes that :mod:`zkmargin.service.ledger.changes` writes and reads."""

    account: str
    sequence: int
    epoch: int
    kind: str
    time: int
    previous: str
    content: bytes = field(repr=False)

    @property
    def digest(self) -> str:
        """The event's place in the chain."""
        tree = {
            "account": self.account,
            "sequence": self.sequence,
            "epoch": self.epoch,
            "kind": self.kind,
            "time": self.time,
            "previous": self.previous,
            "detail": hashlib.sha256(self.content).hexdigest(),
        }
        return canonical.digest(tree, domain="zkmargin/event/1").hex()


def purpose(account: str, sequence: int) -> str:
    """What the vault binds an event's content to."""
    return f"event/{account}/{sequence}"


def record(ledger: Ledger, tx: Connection, event: Event) -> str:
    """Append an event; gives its digest. A lost race shows as the database's uniqueness of (account, sequence).

    ``InternalError`` for a kind that the audit could not replay.
    """
    if event.kind not in KINDS:
        raise InternalError("an event of no known kind", field="events.kind")
    sealed = ledger.vault.seal(event.content, purpose=purpose(event.account, event.sequence))
    digest = event.digest
    put(
        tx, tables.events, account=event.account, sequence=event.sequence, epoch=event.epoch, kind=event.kind,
        time=event.time, sealed=sealed, previous=event.previous, digest=digest,
    )  # fmt: skip
    return digest


def read(ledger: Ledger, row: EventRow) -> Event:
    """An event from its row."""
    content = ledger.vault.open(row.sealed, purpose=purpose(row.account, row.sequence))
    return Event(row.account, row.sequence, row.epoch, row.kind, row.time, row.previous, content)


def transfer(tx: Connection, event: str, debit: str, credit: str, amount: int) -> None:
    """Move an amount between two ledger accounts; nothing for zero."""
    if amount:
        put(tx, tables.transfers, event=event, debit=debit, credit=credit, amount=amount)
