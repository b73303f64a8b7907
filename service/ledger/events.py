"""The journal: every change of an account, chained by digest, its content sealed.

digest = SHA-256(``zkmargin/event/1`` || 0x00 || RFC 8785 of {account, sequence, epoch, kind, time, detail, previous})
with ``detail`` the SHA-256 of the content, which carries a salt: the chain can be shown without showing an amount.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from sqlalchemy import Connection

from zkmargin.circuits import canonical
from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.errors import InternalError
from zkmargin.circuits.strict_json import parse_json
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.store import tables
from zkmargin.service.store.queries import put
from zkmargin.service.store.rows import EventRow

Tree = dict[str, Any]
#: What the first event of an account follows.
GENESIS = "00" * 32
#: Every kind of change: no other is recorded, and the audit replays each.
Kind = Literal[
    "opened", "deposited", "withdrawn", "recommitted", "credit-issued", "credit-consumed", "credit-released",
    "credit-expired", "traded", "imported", "frozen", "unfrozen",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Event:
    """One change. ``content`` is secret."""

    account: str
    sequence: int
    epoch: int
    kind: str
    time: int
    previous: str
    content: Tree = field(repr=False)

    def sealed_bytes(self) -> bytes:
        """Canonical bytes of the content, which is what the vault seals and the chain digests."""
        return canonical_bytes(self.content)

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
            "detail": hashlib.sha256(self.sealed_bytes()).hexdigest(),
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
    sealed = ledger.vault.seal(event.sealed_bytes(), purpose=purpose(event.account, event.sequence))
    digest = event.digest
    put(
        tx, tables.events, account=event.account, sequence=event.sequence, epoch=event.epoch, kind=event.kind,
        time=event.time, sealed=sealed, previous=event.previous, digest=digest,
    )  # fmt: skip
    return digest


def read(ledger: Ledger, row: EventRow) -> Event:
    """An event from its row."""
    content = parse_json(ledger.vault.open(row.sealed, purpose=purpose(row.account, row.sequence)), name="event")
    return Event(row.account, row.sequence, row.epoch, row.kind, row.time, row.previous, content)


def salted(content: Tree) -> Tree:
    """The content with a fresh salt, so that its digest tells nothing about it."""
    return {**content, "salt": secrets.token_hex(16)}


def transfer(tx: Connection, event: str, debit: str, credit: str, amount: int) -> None:
    """Move an amount between two ledger accounts; nothing for zero."""
    if amount:
        put(tx, tables.transfers, event=event, debit=debit, credit=credit, amount=amount)
