"""Rows as types: what the ledger reads of each table, with the names and order of :mod:`zkmargin.service.store.tables`.

A query is built from its row type and read through one of the functions below, so that no row without a type leaves
this module. Amounts are integers in quote quanta, times Unix seconds, digests and public keys lower-case hex.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, TypeAlias, TypeVar

from sqlalchemy import Connection, Executable, Select, Table, bindparam, select

from zkmargin.service.store import tables

#: What a column holds.
Value: TypeAlias = str | int | bytes | None


@dataclass(frozen=True, slots=True)
class Record:
    """Base of the row types: ``table`` is whose row it is, each field a column of the same name."""

    table: ClassVar[Table]


R = TypeVar("R", bound=Record)
#: A query for the columns of one row type.
Query: TypeAlias = Select[*tuple[Value, ...]]


@dataclass(frozen=True, slots=True)
class HubRow(Record):
    """Whose ledger it is."""

    table: ClassVar[Table] = tables.hub
    id: int
    name: str
    currency: str
    decimals: int
    created: int


@dataclass(frozen=True, slots=True)
class SigningKeyRow(Record):
    """One of the hub's signing keys; ``sealed`` is the private one, ``document`` the public chain's link."""

    table: ClassVar[Table] = tables.signing_keys
    number: int
    public: str
    sealed: bytes
    not_before: int
    not_after: int
    document: str


@dataclass(frozen=True, slots=True)
class KeyRow(Record):
    """A public key of whoever signs requests."""

    table: ClassVar[Table] = tables.keys
    kid: str
    kind: str
    owner: str
    public: str
    not_before: int
    not_after: int


@dataclass(frozen=True, slots=True)
class IdempotencyRow(Record):
    """What became of a request; ``owner`` and ``until`` while a try works on it."""

    table: ClassVar[Table] = tables.idempotency
    caller: str
    key: str
    request: str
    status: int
    sealed: bytes
    created: int
    owner: str | None
    until: int | None


@dataclass(frozen=True, slots=True)
class PublishedRow(Record):
    """A published snapshot's row without its documents."""

    table: ClassVar[Table] = tables.snapshots
    digest: str
    registry: str
    oracle: str
    time: int
    valid_until: int
    received: int


@dataclass(frozen=True, slots=True)
class SnapshotRow(Record):
    """A published snapshot, whole: some megabytes."""

    table: ClassVar[Table] = tables.snapshots
    number: int
    digest: str
    registry: str
    oracle: str
    time: int
    valid_until: int
    received: int
    document: bytes
    signature: str


@dataclass(frozen=True, slots=True)
class ZoneRow(Record):
    """A partition of exposure."""

    table: ClassVar[Table] = tables.zones
    id: str
    cap: int
    exposure: int


@dataclass(frozen=True, slots=True)
class VenueRow(Record):
    """A venue, its cap and its live credit."""

    table: ClassVar[Table] = tables.venues
    id: str
    caip2: str
    zone: str
    cap: int
    exposure: int
    state: str
    failed_proofs: int
    registered: int


@dataclass(frozen=True, slots=True)
class BreakerRow(Record):
    """An open circuit breaker."""

    table: ClassVar[Table] = tables.breakers
    scope: str
    reason: str
    opened: int


@dataclass(frozen=True, slots=True)
class AccountRow(Record):
    """An account; ``sealed`` is its portfolio, ``live`` the sum of its live credits."""

    table: ClassVar[Table] = tables.accounts
    id: str
    rule: str
    jurisdiction: str
    state: str
    encryption_key: str
    epoch: int
    registry: str
    sealed: bytes
    live: int
    events: int
    head: str
    opened: int


@dataclass(frozen=True, slots=True)
class EventRow(Record):
    """A link of an account's journal; ``sealed`` is the change itself."""

    table: ClassVar[Table] = tables.events
    number: int
    account: str
    sequence: int
    epoch: int
    kind: str
    time: int
    sealed: bytes
    previous: str
    digest: str


@dataclass(frozen=True, slots=True)
class ReceiptRow(Record):
    """A custody receipt that was booked."""

    table: ClassVar[Table] = tables.receipts
    reference: str
    account: str
    event: str


@dataclass(frozen=True, slots=True)
class AttestationRow(Record):
    """The attestation of an epoch and its leaf in the log."""

    table: ClassVar[Table] = tables.attestations
    account: str
    epoch: int
    commitment: str
    leaf: int
    time: int
    document: str


@dataclass(frozen=True, slots=True)
class CreditRow(Record):
    """A credit: ``amount`` is divided into ``free``, ``used`` and ``released``."""

    table: ClassVar[Table] = tables.credits
    id: str
    number: int
    account: str
    venue: str
    epoch: int
    statement: str
    snapshot: str
    amount: int
    free: int
    used: int
    released: int
    sequence: int
    issued: int
    expires: int
    entry: str


@dataclass(frozen=True, slots=True)
class TransferRow(Record):
    """An amount moved between two ledger accounts by an event."""

    table: ClassVar[Table] = tables.transfers
    number: int
    event: str
    debit: str
    credit: str
    amount: int


@dataclass(frozen=True, slots=True)
class LogStateRow(Record):
    """The log's size and the roots of its complete subtrees, joined."""

    table: ClassVar[Table] = tables.log_state
    id: int
    size: int
    frontier: bytes


@dataclass(frozen=True, slots=True)
class LogNodeRow(Record):
    """A complete node of the log's tree."""

    table: ClassVar[Table] = tables.log_nodes
    level: int
    position: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class TreeHeadRow(Record):
    """A signed tree head."""

    table: ClassVar[Table] = tables.tree_heads
    size: int
    root: str
    time: int
    document: str


#: Statements are built once: building one costs more than running it.
_ALL: dict[type[Record], Query] = {}
_BY: dict[tuple[type[Record], tuple[str, ...], bool], Query] = {}


def every(kind: type[Record]) -> Query:
    """The query for all rows of a type; narrow it with ``where`` and ``order_by``, not with other columns."""
    if kind not in _ALL:
        _ALL[kind] = select(*(kind.table.columns[field.name] for field in fields(kind)))
    return _ALL[kind]


def _by(kind: type[Record], names: tuple[str, ...], lock: bool) -> Query:
    key = kind, names, lock
    if key not in _BY:
        query = every(kind).where(*(kind.table.c[name] == bindparam(name) for name in names))
        _BY[key] = query.with_for_update(key_share=True) if lock else query
    return _BY[key]


def find(tx: Connection, kind: type[R], *, lock: bool = False, **values: Value) -> R | None:
    """The row with these values, or None; locked against other changes until the transaction ends if asked."""
    return first(tx, kind, _by(kind, tuple(values), lock), values)


def first(tx: Connection, kind: type[R], query: Executable, values: Mapping[str, Value] | None = None) -> R | None:
    """The one row that a query or a change gives, or None."""
    row = tx.execute(query, values).one_or_none()
    return None if row is None else _made(kind, row)


def one(tx: Connection, kind: type[R], query: Executable, values: Mapping[str, Value] | None = None) -> R:
    """The one row that a query or a change gives."""
    return _made(kind, tx.execute(query, values).one())


def each(tx: Connection, kind: type[R], query: Executable) -> Iterator[R]:
    """The rows that a query gives."""
    return (_made(kind, row) for row in tx.execute(query))


def _made(kind: type[R], row: Iterable[Value]) -> R:
    """A row of its type. The one place where the database is believed as to the types, which a test compares with the
    columns themselves.
    """
    build: Callable[..., R] = kind
    return build(*row)
