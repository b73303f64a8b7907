"""The hub's own context: whose ledger it is, its database, keyring, signing keys, policy and clock."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, bindparam, select

from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.errors import CorruptData, MalformedInput
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.units import format_quanta, to_quanta
from zkmargin.service.errors import NotFound
from zkmargin.service.keys.vault import Vault
from zkmargin.service.refusals import Unavailable
from zkmargin.service.store import tables
from zkmargin.service.store.database import Database
from zkmargin.service.store.rows import HubRow, SigningKeyRow, every, find, first

#: Parsed snapshots kept in memory; one may take some ten megabytes.
_SNAPSHOTS = 8
_SIGNING_KEY = (
    every(SigningKeyRow)
    .where(tables.signing_keys.c.not_before <= bindparam("now"), tables.signing_keys.c.not_after >= bindparam("now"))
    .order_by(tables.signing_keys.c.number.desc())
    .limit(1)
)


@dataclass(frozen=True)
class Policy:
    """What a hub asks of statements and reports. Times in seconds.

    ``min_horizon`` and ``max_horizon`` bound the horizon: the latency buffer, and how old a price a proof may rest
    on. A snapshot that was superseded stays good for ``snapshot_grace``, so that a proof under way is not lost. A
    venue may report use until ``report_grace`` after a credit's end. ``max_failed_proofs`` in a row open a venue's
    breaker. ``jump_ppm`` of any mark between snapshots opens the hub's. After ``claim_seconds`` a try of a request that
    did not come to an end may be overtaken by another one.
    """

    min_horizon: int = 60
    max_horizon: int = 3600
    snapshot_grace: int = 60
    max_credit_seconds: int = 7 * 86400
    report_grace: int = 60
    max_failed_proofs: int = 100
    jump_ppm: int = 500_000
    claim_seconds: int = 10


@dataclass
class SnapshotCache:
    """Parsed snapshots by digest, newest use last."""

    entries: OrderedDict[str, Snapshot] = field(default_factory=OrderedDict)
    lock: Lock = field(default_factory=Lock)

    def get(self, digest: str, read: Callable[[], bytes]) -> Snapshot:
        """The parsed snapshot; ``read`` gives its bytes when it is not here."""
        with self.lock:
            if digest in self.entries:
                self.entries.move_to_end(digest)
                return self.entries[digest]
        parsed = snapshot_from_bytes(read())
        if parsed.digest.hex() != digest:
            raise CorruptData("a stored snapshot is not the one it is named after", field=f"snapshots.{digest}")
        with self.lock:
            self.entries[digest] = parsed
            while len(self.entries) > _SNAPSHOTS:
                self.entries.popitem(last=False)
        return parsed


@dataclass(frozen=True)
class SigningKey:
    """One of the hub's signing keys with its validity."""

    public: str
    not_before: int
    not_after: int
    private: Ed25519PrivateKey = field(repr=False)


@dataclass
class Ledger:
    """Everything that a unit of work needs besides its connection."""

    database: Database
    vault: Vault
    name: str
    currency: str
    decimals: int
    policy: Policy = field(default_factory=Policy)
    clock: Callable[[], int] = field(default=lambda: int(time.time()))
    cache: SnapshotCache = field(default_factory=SnapshotCache)
    _current: tuple[int, SigningKey | None] = field(default=(0, None), repr=False)
    _signing: dict[str, SigningKey] = field(default_factory=dict, repr=False)

    @classmethod
    def open(
        cls,
        database: Database,
        vault: Vault,
        *,
        policy: Policy | None = None,
        clock: Callable[[], int] | None = None,
    ) -> Ledger:
        """The ledger of an initialised database; ``NotFound`` before ``zkmargin hub init``."""
        row = database.read(lambda tx: find(tx, HubRow, id=1))
        if row is None:
            raise NotFound("the database holds no hub: run zkmargin hub init", field="database")
        ledger = cls(database, vault, row.name, row.currency, row.decimals)
        ledger.policy = policy or Policy()
        if clock is not None:
            ledger.clock = clock
        return ledger

    def quanta(self, text: str, *, field: str) -> int:
        """An amount of the hub's currency in quanta: positive, below 2**63."""
        amount = to_quanta(text, self.decimals, field=field)
        if not 0 < amount <= tables.MAX_QUANTA:
            raise MalformedInput("must be positive and below 2^63 quanta", field=field)
        return amount

    def money(self, quanta: int) -> str:
        """An amount as a decimal string."""
        return format_quanta(quanta, self.decimals)

    def snapshot(self, tx: Connection, digest: str) -> Snapshot:
        """A published snapshot, parsed; ``NotFound``."""

        def read() -> bytes:
            row = tx.execute(
                select(tables.snapshots.c.document).where(tables.snapshots.c.digest == digest)
            ).one_or_none()
            if row is None:
                raise NotFound("no such snapshot was published here", field="snapshot")
            return bytes(row.document)

        return self.cache.get(digest, read)

    def signing_key(self, tx: Connection, now: int) -> SigningKey:
        """The newest signing key that is valid now; ``Unavailable`` when the hub has none.

        Looked up once a second, so that a new key is taken into use at once and not looked for at every signature.
        """
        at, key = self._current
        if key is None or at != now:
            key = self._find_key(tx, now)
            self._current = (now, key)
        return key

    def forget_signing_key(self) -> None:
        """Look for the newest signing key again, within the same second: there is a new one."""
        self._current = (0, None)

    def _find_key(self, tx: Connection, now: int) -> SigningKey:
        row = first(tx, SigningKeyRow, _SIGNING_KEY, {"now": now})
        if row is None:
            raise Unavailable("the hub has no signing key that is valid now: run zkmargin hub rotate-signing-key")
        if row.public not in self._signing:
            secret = self.vault.open(row.sealed, purpose=f"signing-key/{row.number}")
            private = Ed25519PrivateKey.from_private_bytes(secret)
            self._signing[row.public] = SigningKey(row.public, row.not_before, row.not_after, private)
        return self._signing[row.public]
