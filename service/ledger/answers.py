"""What the ledger answers: amounts as integers in quanta, written as JSON here and nowhere else.

``to_json`` is what the record under an idempotency key keeps and what the HTTP models read, so that who asks again is
told the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from zkmargin.service.ledger.json_tree import Money, Tree, parsed
from zkmargin.service.store.rows import BreakerRow, PublishedRow, TreeHeadRow, VenueRow, ZoneRow


class Answer(Protocol):
    """What a call may be answered with."""

    def to_json(self, money: Money, /) -> Tree:
        """As the interface shows it; ``money`` writes an amount."""


@dataclass(frozen=True)
class Attested:
    """An epoch as everybody entitled sees it; ``document`` is the signed attestation, ``leaf`` its place in the log."""

    account: str
    epoch: int
    commitment: bytes
    leaf: int
    document: str

    def to_json(self, money: Money, /) -> Tree:
        """As the interface shows it."""
        return {
            "account": self.account,
            "epoch": self.epoch,
            "leaf": self.leaf,
            "attestation": parsed(self.document, name="attestation"),
        }


@dataclass(frozen=True)
class Inclusion:
    """That a leaf is in the log of a size: the path, and the signed ``head`` that it leads to."""

    leaf: int
    size: int
    path: tuple[str, ...]
    head: str

    def to_json(self, money: Money, /) -> Tree:
        """As the interface shows it."""
        head = parsed(self.head, name="tree-head")
        return {"leaf": self.leaf, "size": self.size, "path": list(self.path), "head": head}


@dataclass(frozen=True)
class Head:
    """A signed tree head."""

    row: TreeHeadRow

    def to_json(self, money: Money, /) -> Tree:
        """As the interface shows it."""
        return {"size": self.row.size, "head": parsed(self.row.document, name="tree-head")}


@dataclass(frozen=True)
class Logged:
    """An attestation and the proof that it is in the log."""

    attested: Attested
    inclusion: Inclusion

    def to_json(self, money: Money, /) -> Tree:
        """As the interface shows it."""
        return {**self.attested.to_json(money), "inclusion": self.inclusion.to_json(money)}


@dataclass(frozen=True)
class SealedOpening:
    """An epoch and its opening, ``sealed`` to the holder."""

    attested: Attested
    sealed: bytes = field(repr=False)

    def to_json(self, money: Money, /) -> Tree:
        """As the interface shows it."""
        return {**self.attested.to_json(money), "sealed_opening": self.sealed.hex()}


@dataclass(frozen=True)
class AccountState:
    """An account as its owner and operators see it: no position. ``live`` is its live credit in quanta."""

    account: str
    rule: str
    jurisdiction: str | None
    state: str
    epoch: int
    live: int
    attested: Attested

    def to_json(self, money: Money, /) -> Tree:
        """As the interface shows it."""
        return {
            "account": self.account, "rule": self.rule, "jurisdiction": self.jurisdiction, "state": self.state,
            "epoch": self.epoch, "live_credit": money(self.live), "attested": self.attested.to_json(money),
        }  # fmt: skip


@dataclass(frozen=True)
class Parts:
    """How a credit is divided, in quanta."""

    amount: int
    free: int
    used: int
    released: int

    @property
    def live(self) -> int:
        """What still counts against the account."""
        return self.free + self.used


@dataclass(frozen=True)
class CreditState:
    """A credit as its venue, its account and operators see it; ``entry`` is its signed entry."""

    credit: str
    account: str
    venue: str
    epoch: int
    parts: Parts
    sequence: int
    issued: int
    expires: int
    entry: str

    def to_json(self, money: Money, /) -> Tree:
        """As the interface shows it."""
        parts = self.parts
        return {
            "credit": self.credit, "account": self.account, "venue": self.venue, "epoch": self.epoch,
            "amount": money(parts.amount), "free": money(parts.free), "used": money(parts.used),
            "released": money(parts.released), "state": "live" if parts.live else "closed",
            "sequence": self.sequence, "issued": self.issued, "expires": self.expires,
            "entry": parsed(self.entry, name="entry"),
        }  # fmt: skip


@dataclass(frozen=True)
class CreditChange:
    """A credit after a change; ``attested`` is the account's new epoch, None when positions did not change."""

    credit: CreditState
    attested: Attested | None

    def to_json(self, money: Money, /) -> Tree:
        """As the interface shows it."""
        attested = None if self.attested is None else self.attested.to_json(money)
        return {**self.credit.to_json(money), "attested": attested}


@dataclass(frozen=True)
class CreditPage:
    """A page of credits, and the number after which the next one begins."""

    credits: tuple[CreditState, ...]
    next: int | None

    def to_json(self, money: Money, /) -> Tree:
        """As the interface shows it."""
        return {"credits": [credit.to_json(money) for credit in self.credits], "next": self.next}


@dataclass(frozen=True)
class Trade:
    """A booked trade and the new epochs of its two accounts."""

    trade: str
    venue: str
    maker: Attested
    taker: Attested

    def to_json(self, money: Money, /) -> Tree:
        """As the interface shows it."""
        return {
            "trade": self.trade, "venue": self.venue, "maker": self.maker.to_json(money),
            "taker": self.taker.to_json(money),
        }  # fmt: skip


@dataclass(frozen=True)
class Venue:
    """A venue as operators and the venue itself see it."""

    row: VenueRow

    def to_json(self, money: Money, /) -> Tree:
        """As the interface shows it."""
        row = self.row
        return {
            "venue": row.id, "caip2": row.caip2, "zone": row.zone, "cap": money(row.cap),
            "exposure": money(row.exposure), "state": row.state, "registered": row.registered,
        }  # fmt: skip


@dataclass(frozen=True)
class Venues:
    """All venues, by name."""

    venues: tuple[Venue, ...]

    def to_json(self, money: Money, /) -> Tree:
        """As the interface shows it."""
        return {"venues": [venue.to_json(money) for venue in self.venues]}


@dataclass(frozen=True)
class Zone:
    """A partition of exposure."""

    row: ZoneRow

    def to_json(self, money: Money, /) -> Tree:
        """As the interface shows it."""
        return {"zone": self.row.id, "cap": money(self.row.cap), "exposure": money(self.row.exposure)}


@dataclass(frozen=True)
class Breakers:
    """Open circuit breakers."""

    breakers: tuple[BreakerRow, ...]

    def to_json(self, money: Money, /) -> Tree:
        """As the interface shows it."""
        return {"breakers": [{"scope": row.scope, "reason": row.reason, "opened": row.opened} for row in self.breakers]}


@dataclass(frozen=True)
class Key:
    """A registered key of a caller, and the first and last second of its validity."""

    kid: str
    not_before: int
    not_after: int

    def to_json(self, money: Money, /) -> Tree:
        """As the interface shows it."""
        return {"kid": self.kid, "not_before": self.not_before, "not_after": self.not_after}


@dataclass(frozen=True)
class Grant:
    """Whether a venue may see an account's attestations."""

    account: str
    venue: str
    granted: bool

    def to_json(self, money: Money, /) -> Tree:
        """As the interface shows it."""
        return {"account": self.account, "venue": self.venue, "granted": self.granted}


@dataclass(frozen=True)
class Published:
    """A published snapshot's name and validity."""

    row: PublishedRow

    def to_json(self, money: Money, /) -> Tree:
        """As the interface shows it."""
        row = self.row
        return {
            "digest": row.digest, "registry": row.registry, "oracle": row.oracle, "time": row.time,
            "valid_until": row.valid_until,
        }  # fmt: skip


@dataclass(frozen=True)
class Documents:
    """A published snapshot with its documents: the snapshot and the oracle's signature."""

    published: Published
    snapshot: bytes = field(repr=False)
    signed: str

    def to_json(self, money: Money, /) -> Tree:
        """As the interface shows it."""
        documents = {
            "snapshot": parsed(self.snapshot, name="snapshot"), "signed": parsed(self.signed, name="signed-snapshot"),
        }  # fmt: skip
        return {**self.published.to_json(money), **documents}


@dataclass(frozen=True)
class Import:
    """A book that was taken over: its digest, who signed it, and each account's new epoch."""

    digest: str
    signer: str
    accounts: tuple[Attested, ...]

    def to_json(self, money: Money, /) -> Tree:
        """As the interface shows it."""
        accounts: list[Tree] = [{"account": a.account, "epoch": a.epoch, "leaf": a.leaf} for a in self.accounts]
        return {"import": self.digest, "signer": self.signer, "accounts": accounts}


@dataclass(frozen=True)
class SigningKey:
    """A new signing key of the hub, its public half as hex, and its validity."""

    key: str
    not_before: int
    not_after: int

    def to_json(self, money: Money, /) -> Tree:
        """As the command shows it."""
        return {"key": self.key, "not_before": self.not_before, "not_after": self.not_after}


@dataclass(frozen=True)
class HubKeys:
    """The chain of the hub's signing keys as signed documents, oldest first."""

    hub: str
    documents: tuple[str, ...]

    def to_json(self, money: Money, /) -> Tree:
        """As the interface shows it."""
        return {"hub": self.hub, "keys": [parsed(document, name="hub-key") for document in self.documents]}


@dataclass(frozen=True)
class Hub:
    """A hub that was made: its first signing key, its first operator and that one's key."""

    hub: str
    key: str
    operator: str
    kid: str

    def to_json(self, money: Money, /) -> Tree:
        """As the command shows it."""
        return {"hub": self.hub, "key": self.key, "operator": self.operator, "kid": self.kid}
