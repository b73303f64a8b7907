"""What an event of the journal says, a type for each kind; the JSON that is sealed is written and read here.

A content holds what its type says and nothing else: what is read must come out the same when it is written again, so
that the replay, which sees types alone, overlooks nothing that the journal holds.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self, TypeAlias, get_args

from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.errors import CorruptData
from zkmargin.service.ledger.consent import Proved
from zkmargin.service.ledger.json_tree import Fields, Json, Tree, parsed
from zkmargin.service.ledger.portfolio import Committed


@dataclass(frozen=True)
class Opened:
    """An account was opened under these terms; ``jurisdiction`` is empty for none."""

    kind: ClassVar[str] = "opened"
    rule: str
    jurisdiction: str
    encryption_key: str

    def to_json(self) -> Tree:
        """As it is sealed."""
        return {"rule": self.rule, "jurisdiction": self.jurisdiction, "encryption_key": self.encryption_key}

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Inverse of :meth:`to_json`; ``CorruptData``."""
        return cls(fields.text("rule"), fields.text("jurisdiction"), fields.text("encryption_key"))


@dataclass(frozen=True)
class Deposited:
    """Custody received ``delta`` under its own ``reference``."""

    kind: ClassVar[str] = "deposited"
    reference: str
    delta: Mapping[str, str] = field(repr=False)

    def to_json(self) -> Tree:
        """As it is sealed."""
        return {"reference": self.reference, "delta": self.delta}

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Inverse of :meth:`to_json`; ``CorruptData``."""
        return cls(fields.text("reference"), fields.quantities("delta"))


@dataclass(frozen=True)
class Withdrawn:
    """Custody pays ``delta`` out, as ``proved``."""

    kind: ClassVar[str] = "withdrawn"
    destination: str = field(repr=False)
    delta: Mapping[str, str] = field(repr=False)
    proved: Proved = field(repr=False)

    def to_json(self) -> Tree:
        """As it is sealed."""
        return {"delta": self.delta, "destination": self.destination, **self.proved.to_json()}

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Inverse of :meth:`to_json`; ``CorruptData``."""
        return cls(fields.text("destination"), fields.quantities("delta"), Proved.from_json(fields))


@dataclass(frozen=True)
class Recommitted:
    """The same positions under a new commitment."""

    kind: ClassVar[str] = "recommitted"

    def to_json(self) -> Tree:
        """As it is sealed."""
        return {}

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Inverse of :meth:`to_json`."""
        return cls()


@dataclass(frozen=True)
class Issued:
    """A credit of ``amount`` quanta was booked, as ``proved``."""

    kind: ClassVar[str] = "credit-issued"
    credit: str
    venue: str
    amount: int
    expires: int
    proved: Proved = field(repr=False)

    def to_json(self) -> Tree:
        """As it is sealed."""
        named: Tree = {"credit": self.credit, "venue": self.venue, "amount": str(self.amount), "expires": self.expires}
        return {**named, **self.proved.to_json()}

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Inverse of :meth:`to_json`; ``CorruptData``."""
        return cls(
            fields.text("credit"), fields.text("venue"), fields.quanta("amount"), fields.number("expires"),
            Proved.from_json(fields),
        )  # fmt: skip


@dataclass(frozen=True)
class Consumed:
    """So many quanta more of a credit are used, for these fills (instrument, quantity) as the venue reported them."""

    kind: ClassVar[str] = "credit-consumed"
    credit: str
    used: int
    fills: tuple[tuple[str, str], ...] = field(repr=False)

    def to_json(self) -> Tree:
        """As it is sealed."""
        return {"credit": self.credit, "used": str(self.used), "fills": [list(fill) for fill in self.fills]}

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Inverse of :meth:`to_json`; ``CorruptData``."""
        return cls(fields.text("credit"), fields.quanta("used"), fields.pairs("fills"))


@dataclass(frozen=True)
class Reduced:
    """Parts of a credit are live no more, in quanta; ``paid`` of the used part in cash, which is ``delta``."""

    credit: str
    free: int
    used: int
    paid: int
    delta: Mapping[str, str] = field(repr=False)

    def to_json(self) -> Tree:
        """As it is sealed."""
        parts = {"credit": self.credit, "free": str(self.free), "used": str(self.used), "paid": str(self.paid)}
        return {**parts, **({"delta": self.delta} if self.delta else {})}

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Inverse of :meth:`to_json`; ``CorruptData``."""
        free, used, paid = (fields.quanta(part) for part in ("free", "used", "paid"))
        return cls(fields.text("credit"), free, used, paid, fields.quantities("delta"))


@dataclass(frozen=True)
class Released(Reduced):
    """By its venue, or by an operator for a venue that is gone."""

    kind: ClassVar[str] = "credit-released"


@dataclass(frozen=True)
class Expired(Reduced):
    """Because its time was over."""

    kind: ClassVar[str] = "credit-expired"


@dataclass(frozen=True)
class Traded:
    """One side of a trade: the account's legs, as ``proved``."""

    kind: ClassVar[str] = "traded"
    trade: str
    venue: str
    delta: Mapping[str, str] = field(repr=False)
    proved: Proved = field(repr=False)

    def to_json(self) -> Tree:
        """As it is sealed."""
        return {"trade": self.trade, "venue": self.venue, "delta": self.delta, **self.proved.to_json()}

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Inverse of :meth:`to_json`; ``CorruptData``."""
        return cls(
            fields.text("trade"), fields.text("venue"), fields.quantities("delta"), Proved.from_json(fields)
        )  # fmt: skip


@dataclass(frozen=True)
class SignedImport:
    """A signed import as it came, and the raw public key that it was signed with."""

    document: bytes = field(repr=False)
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class Imported:
    """What one account got from an import; the first account's event keeps the document."""

    kind: ClassVar[str] = "imported"
    digest: str
    delta: Mapping[str, str] = field(repr=False)
    signed: SignedImport | None = field(repr=False)

    def to_json(self) -> Tree:
        """As it is sealed."""
        out: dict[str, Json] = {"import": self.digest, "delta": self.delta}
        if self.signed is not None:
            out |= {"document": parsed(self.signed.document, name="import"), "key": self.signed.key.hex()}
        return out

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Inverse of :meth:`to_json`; ``CorruptData``."""
        signed = None
        if "document" in fields:
            signed = SignedImport(canonical_bytes(fields.tree("document")), fields.raw("key"))
        return cls(fields.text("import"), fields.quantities("delta"), signed)


@dataclass(frozen=True)
class Frozen:
    """Nothing leaves the account any more."""

    kind: ClassVar[str] = "frozen"

    def to_json(self) -> Tree:
        """As it is sealed."""
        return {}

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Inverse of :meth:`to_json`."""
        return cls()


@dataclass(frozen=True)
class Unfrozen:
    """The account is open again."""

    kind: ClassVar[str] = "unfrozen"

    def to_json(self) -> Tree:
        """As it is sealed."""
        return {}

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Inverse of :meth:`to_json`."""
        return cls()


#: Changes that leave the committed portfolio as it is.
Still: TypeAlias = Consumed | Frozen | Unfrozen
#: Changes that make an epoch.
Moving: TypeAlias = (
    Opened | Deposited | Withdrawn | Recommitted | Issued | Released | Expired | Traded | Imported
)  # fmt: skip
Change: TypeAlias = Still | Moving
#: Every kind of change: no other is recorded, and the audit replays each.
KINDS: Mapping[str, type[Change]] = {kind.kind: kind for kind in get_args(Change)}
STILL = frozenset(kind.kind for kind in get_args(Still))


@dataclass(frozen=True)
class Content:
    """A change and, where it makes an epoch, what is needed to make the epoch's commitment again."""

    change: Change
    committed: Committed | None = field(repr=False)


def sealed_bytes(change: Change, committed: Committed | None, salt: str | None = None) -> bytes:
    """Canonical bytes of a content, which the vault seals and the chain digests; with a fresh salt, so that its digest
    tells nothing about it.
    """
    epoch = {} if committed is None else committed.to_json()
    return canonical_bytes({**change.to_json(), **epoch, "salt": salt or secrets.token_hex(16)})


def read_content(kind: str, data: bytes) -> Content:
    """The content of an event of a kind; ``CorruptData`` for bytes that do not say exactly what such an event says."""
    if kind not in KINDS:
        raise CorruptData("an event of no known kind", field="events.kind")
    fields = Fields(parsed(data, name="event"), "event")
    committed = None if kind in STILL else Committed.from_json(fields)
    content = Content(KINDS[kind].from_json(fields), committed)
    if sealed_bytes(content.change, committed, fields.text("salt")) != data:
        raise CorruptData("an event says more or less than its kind does", field="event")
    return content


def delta_of(change: Change) -> Mapping[str, str]:
    """The quantities that a change moves, by instrument."""
    if isinstance(change, Deposited | Withdrawn | Reduced | Traded | Imported):
        return change.delta
    return {}
