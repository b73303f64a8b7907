"""The hub's tables. Invariants that a row can carry are CHECK constraints here, so that no bug of the service's can
book past them; those that span rows are the audit's (:mod:`zkmargin.service.ledger.audit`).

Money is in quote quanta below 2**63. Whatever tells a position (portfolios, blindings, deposits, fills, evidence) is
in a ``sealed`` column, encrypted by :mod:`zkmargin.service.keys.vault`. Times are Unix seconds.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

#: Amounts are BIGINT in both databases.
MAX_QUANTA = 2**63 - 1

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)
#: SQLite numbers rows by itself for INTEGER only.
_Serial = BigInteger().with_variant(Integer, "sqlite")
_NAME, _HEX32 = String(64), String(64)


def _amount(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


#: One row: whose ledger this is, in which currency.
hub = Table(
    "hub",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", _NAME, nullable=False),
    Column("currency", _NAME, nullable=False),
    Column("decimals", Integer, nullable=False),
    Column("created", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="single"),
)

#: The hub's signing keys, overlapping in time; ``document`` is the public chain's link.
signing_keys = Table(
    "signing_keys",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("public", _HEX32, nullable=False, unique=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    CheckConstraint("not_before < not_after", name="validity"),
)

#: Public keys of whoever signs requests: operators, oracles, venues, accounts.
keys = Table(
    "keys",
    metadata,
    Column("kid", String(32), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("owner", _NAME, nullable=False),
    Column("public", _HEX32, nullable=False, unique=True),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    CheckConstraint("kind IN ('operator', 'oracle', 'venue', 'account')", name="kind"),
    Index(None, "kind", "owner"),
)

#: Nonces of signed requests, until they expire.
nonces = Table(
    "nonces",
    metadata,
    Column("kid", String(32), nullable=False),
    Column("nonce", String(64), nullable=False),
    Column("expires", BigInteger, nullable=False, index=True),
    Column("ticket", String(32), nullable=False),
    PrimaryKeyConstraint("kid", "nonce"),
)

#: What became of a request, by caller and idempotency key: one row, written once for good. ``status`` is 2xx with the
#: answer, 4xx with the refusal, or 0 while a try (``owner``) works on it, for whom others wait ``until`` then.
idempotency = Table(
    "idempotency",
    metadata,
    Column("caller", String(96), nullable=False),
    Column("key", String(64), nullable=False),
    Column("request", _HEX32, nullable=False),
    Column("status", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created", BigInteger, nullable=False, index=True),
    Column("owner", String(32)),
    Column("until", BigInteger),
    PrimaryKeyConstraint("caller", "key"),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("number", _Serial, primary_key=True, autoincrement=True),
    Column("digest", _HEX32, nullable=False, unique=True),
    Column("registry", _HEX32, nullable=False),
    Column("oracle", _NAME, nullable=False),
    Column("time", BigInteger, nullable=False, unique=True),
    Column("valid_until", BigInteger, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Column("signature", Text, nullable=False),
    CheckConstraint("time < valid_until", name="validity"),
)

#: A zone is a partition of exposure: its venues together can never have more live credit than its cap.
zones = Table(
    "zones",
    metadata,
    Column("id", _NAME, primary_key=True),
    Column("cap", BigInteger, nullable=False),
    _amount("exposure"),
    CheckConstraint("exposure >= 0 AND exposure <= cap", name="exposure"),
)

venues = Table(
    "venues",
    metadata,
    Column("id", _NAME, primary_key=True),
    Column("caip2", String(64), nullable=False),
    Column("zone", _NAME, ForeignKey("zones.id"), nullable=False),
    Column("cap", BigInteger, nullable=False),
    _amount("exposure"),
    Column("state", String(16), nullable=False),
    Column("failed_proofs", Integer, nullable=False, server_default="0"),
    Column("registered", BigInteger, nullable=False),
    CheckConstraint("exposure >= 0 AND exposure <= cap", name="exposure"),
    CheckConstraint("state IN ('active', 'suspended')", name="state"),
)

#: Open circuit breakers: no row, no breaker. Scope is ``hub`` or ``venue/ID``.
breakers = Table(
    "breakers",
    metadata,
    Column("scope", String(80), primary_key=True),
    Column("reason", String(32), nullable=False),
    Column("opened", BigInteger, nullable=False),
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", _NAME, primary_key=True),
    Column("rule", _NAME, nullable=False),
    Column("jurisdiction", _NAME, nullable=False),
    Column("state", String(16), nullable=False),
    Column("encryption_key", _HEX32, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("registry", _HEX32, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    _amount("live"),
    Column("events", BigInteger, nullable=False),
    Column("head", _HEX32, nullable=False),
    Column("opened", BigInteger, nullable=False),
    CheckConstraint("live >= 0", name="live"),
    CheckConstraint("epoch >= 1 AND events >= epoch", name="epoch"),
    CheckConstraint("state IN ('open', 'frozen')", name="state"),
)

#: Which venues may see an account's attestations.
grants = Table(
    "grants",
    metadata,
    Column("account", _NAME, ForeignKey("accounts.id"), nullable=False),
    Column("venue", _NAME, ForeignKey("venues.id"), nullable=False),
    PrimaryKeyConstraint("account", "venue"),
)

#: Every change of an account, in order, chained by digest. ``sealed`` is the change itself.
events = Table(
    "events",
    metadata,
    Column("number", _Serial, primary_key=True, autoincrement=True),
    Column("account", _NAME, ForeignKey("accounts.id"), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("kind", String(24), nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("previous", _HEX32, nullable=False),
    Column("digest", _HEX32, nullable=False, unique=True),
    UniqueConstraint("account", "sequence"),
)

#: External references of deposits, so that one custody receipt is booked once.
receipts = Table(
    "receipts",
    metadata,
    Column("reference", _NAME, primary_key=True),
    Column("account", _NAME, ForeignKey("accounts.id"), nullable=False),
    Column("event", _HEX32, nullable=False),
)

attestations = Table(
    "attestations",
    metadata,
    Column("account", _NAME, ForeignKey("accounts.id"), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("commitment", String(96), nullable=False),
    Column("leaf", BigInteger, nullable=False, unique=True),
    Column("time", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    PrimaryKeyConstraint("account", "epoch"),
)

credits = Table(
    "credits",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("number", BigInteger, nullable=False, unique=True),
    Column("account", _NAME, ForeignKey("accounts.id"), nullable=False),
    Column("venue", _NAME, ForeignKey("venues.id"), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("statement", _HEX32, nullable=False, unique=True),
    Column("snapshot", _HEX32, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("free", BigInteger, nullable=False),
    Column("used", BigInteger, nullable=False),
    Column("released", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("issued", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("entry", Text, nullable=False),
    CheckConstraint("amount > 0 AND free >= 0 AND used >= 0 AND released >= 0", name="signs"),
    CheckConstraint("amount = free + used + released", name="parts"),
    # One proof issues one credit: an epoch's commitment does not contain what was booked on it.
    UniqueConstraint("account", "epoch"),
    Index(None, "venue", "number"),
    Index(None, "account", "number"),
    Index(None, "expires"),
)

#: Double entry: one row moves ``amount`` from one ledger account to another, so it balances by construction.
transfers = Table(
    "transfers",
    metadata,
    Column("number", _Serial, primary_key=True, autoincrement=True),
    Column("event", _HEX32, nullable=False, index=True),
    Column("debit", String(96), nullable=False),
    Column("credit", String(96), nullable=False),
    Column("amount", BigInteger, nullable=False),
    CheckConstraint("amount > 0", name="amount"),
    CheckConstraint("debit <> credit", name="sides"),
)

#: The transparency log's one moving part: its size and the roots of its complete subtrees.
log_state = Table(
    "log_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    Column("frontier", LargeBinary, nullable=False),
    CheckConstraint("id = 1", name="single"),
)

log_nodes = Table(
    "log_nodes",
    metadata,
    Column("level", Integer, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    PrimaryKeyConstraint("level", "position"),
)

tree_heads = Table(
    "tree_heads",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("root", _HEX32, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)
