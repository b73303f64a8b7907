"""The audit: replay every event from the beginning and compare with what the tables say.

It trusts the storage keys and the hub's first signing key (pinned by the caller, or as the database has it), and
nothing else in the database. Findings name the account, credit or row, never a position.

What nothing else in the database repeats, it cannot check: caps and the states of venues, open breakers, grants, who
a caller's key belongs to and for how long, when a snapshot was received, nonces, and stored answers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.errors import SignatureRejected, ZkMarginError
from zkmargin.circuits.purpose import ANY, ForTrade
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.units import format_fraction, to_lots
from zkmargin.service.errors import NotFound
from zkmargin.service.keys.request_signatures import key_id
from zkmargin.service.keys.signing import raw_public
from zkmargin.service.ledger import callers, credits, epochs, merkle_tree, portfolio, venues
from zkmargin.service.ledger.answers import Parts
from zkmargin.service.ledger.changes import Opened
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.ledger.replay import BROKEN, Account, Replay
from zkmargin.service.store import rows
from zkmargin.service.store.database import away
from zkmargin.service.store.rows import R, each, every, one
from zkmargin.verifier.batch import verify_batch
from zkmargin.verifier.facts.attestation import Attestation, verify_attestation
from zkmargin.verifier.facts.credit_entry import verify_credit_entry
from zkmargin.verifier.facts.hub_keys import KeyChain, public_key
from zkmargin.verifier.facts.snapshot_signature import SnapshotSignature, verify_snapshot_signature
from zkmargin.verifier.facts.transparency import attestation_leaf, verify_tree_head
from zkmargin.verifier.verify import Item

#: Proofs verified in one batch.
_BATCH = 64


@dataclass
class Audit:
    """What was looked at, and what is wrong: empty ``findings`` mean that the ledger is clean."""

    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    findings: list[str] = field(default_factory=list)

    def check(self, holds: bool, finding: str) -> None:
        """Note a finding unless it holds."""
        if not holds:
            self.findings.append(finding)


def run(
    ledger: Ledger,
    *,
    proofs: bool = True,
    pinned: bytes | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Audit:
    """Audit the whole ledger in one read transaction; with ``proofs`` every credit's proof is verified again.

    ``pinned`` is the hub's first public key (32 bytes) as somebody outside the database knows it. ``Unavailable`` when
    the database does not answer, which is no finding.
    """
    return ledger.database.consistent(lambda tx: _Auditor(ledger, tx, Audit(), pinned).run(proofs, progress))


STEPS = (
    "keys", "snapshots", "attestations", "log", "events", "accounts", "receipts", "credits", "exposure", "proofs",
)  # fmt: skip


class _Auditor:
    def __init__(self, ledger: Ledger, tx: Connection, audit: Audit, pinned: bytes | None) -> None:
        self.ledger, self.tx, self.audit, self.pinned = ledger, tx, audit, pinned
        self.attested: dict[tuple[str, int], Attestation] = {}
        self.snapshots: dict[str, Snapshot] = {}
        self.by_registry: dict[str, Snapshot] = {}
        self.leaves: dict[int, bytes] = {}
        self.leaf_times: dict[int, int] = {}

    def run(self, proofs: bool, progress: Callable[[str], None]) -> Audit:
        for step in STEPS:
            if step == "proofs" and not proofs:
                continue
            progress(step)
            try:
                getattr(self, f"_{step}")()
            except (*BROKEN, SQLAlchemyError) as err:
                if isinstance(err, DBAPIError) and away(err):
                    raise
                # What is too broken to be read is a finding too. The message could hold a value.
                self.audit.findings.append(f"{step}: cannot be audited ({type(err).__name__})")
                if step in ("keys", "events"):
                    break  # All that follows rests on it.
        return self.audit

    def stored(self, kind: type[R], *order: str) -> Iterator[R]:
        """All rows of a table, ordered by these columns."""
        return each(self.tx, kind, every(kind).order_by(*(kind.table.c[name] for name in order)))

    def _keys(self) -> None:
        held = list(self.stored(rows.SigningKeyRow, "number"))
        documents = [row.document.encode() for row in held]
        pinned = self.pinned or bytes.fromhex(held[0].public)
        self.chain = KeyChain.follow(documents, public_key(pinned))
        self.audit.counts["signing keys"] = len(held)
        for row, key in zip(held, self.chain.keys, strict=True):
            secret = self.ledger.vault.open(row.sealed, purpose=f"signing-key/{row.number}")
            public = raw_public(Ed25519PrivateKey.from_private_bytes(secret))
            self.audit.check(key.key == public, f"signing key {row.number} is not the chain's")
            window = (row.public, row.not_before, row.not_after)
            same = window == (key.key.hex(), key.not_before, key.not_after)
            self.audit.check(same, f"signing key {row.number} differs from its document")
        numbers = [row.number for row in held]
        self.audit.check(numbers == [*range(1, len(held) + 1)], "signing keys are not numbered in order")
        hub = one(self.tx, rows.HubRow, every(rows.HubRow))
        same = (hub.name, hub.created) == (self.chain.hub, self.chain.keys[0].not_before)
        self.audit.check(same, "the hub's row differs from its first key")
        self.audit.check(hub.name == self.ledger.name, "the hub was opened under another name")
        for known in self.stored(rows.KeyRow, "kid"):
            same = known.kid == key_id(bytes.fromhex(known.public))
            self.audit.check(same, f"key {known.kid} of {known.kind}/{known.owner} is another")

    def _snapshots(self) -> None:
        hub = one(self.tx, rows.HubRow, every(rows.HubRow))
        for row in self.stored(rows.SnapshotRow, "time"):
            name = f"snapshot {row.digest}"
            try:
                # Not the book's copy, which may be older than what the row holds now.
                snapshot = snapshot_from_bytes(row.document)
                signed = self._signed(row, snapshot)
            except BROKEN as err:
                self.audit.findings.append(f"{name}: does not hold ({type(err).__name__})")
                continue
            same = (row.digest, row.registry, row.oracle, row.time, row.valid_until) == (
                snapshot.digest.hex(), snapshot.registry_digest.hex(), signed.oracle, signed.time, signed.valid_until,
            )  # fmt: skip
            self.audit.check(same, f"{name} differs from its documents")
            quote = (snapshot.currency, snapshot.decimals)
            self.audit.check(quote == (hub.currency, hub.decimals), f"{name} is of another currency than the hub")
            self.snapshots[snapshot.digest.hex()] = snapshot
            self.by_registry[snapshot.registry_digest.hex()] = snapshot
        self.audit.counts["snapshots"] = len(self.snapshots)

    def _signed(self, row: rows.SnapshotRow, snapshot: Snapshot) -> SnapshotSignature:
        """An oracle's signature under any key that the oracle ever had."""
        for key in callers.keys_of(self.tx, "oracle", row.oracle):
            try:
                return verify_snapshot_signature(
                    row.signature.encode(), snapshot, public_key(bytes.fromhex(key.public))
                )
            except SignatureRejected:
                continue
        raise SignatureRejected("no key of the oracle signed this")

    def _attestations(self) -> None:
        for row in self.stored(rows.AttestationRow, "account", "epoch"):
            name = f"attestation {row.account}/{row.epoch}"
            try:
                fact = self.chain.verify(verify_attestation, row.document.encode())
            except ZkMarginError as err:
                self.audit.findings.append(f"{name}: {err}")
                continue
            same = (fact.account, fact.epoch, fact.commitment.hex(), fact.time)
            self.audit.check(same == (row.account, row.epoch, row.commitment, row.time), f"{name} differs from its row")
            self.attested[row.account, row.epoch] = fact
            self.leaves[row.leaf] = attestation_leaf(row.document.encode())
            self.leaf_times[row.leaf] = fact.time
        self.audit.counts["attestations"] = len(self.attested)

    def _log(self) -> None:
        nodes = {(row.level, row.position): row.hash for row in self.stored(rows.LogNodeRow, "level")}
        heads = {row.size: row for row in self.stored(rows.TreeHeadRow, "size")}
        state = one(self.tx, rows.LogStateRow, every(rows.LogStateRow))
        frontier, wanted = merkle_tree.EMPTY, {}
        times = [heads[size].time for size in sorted(heads)]
        self.audit.check(times == sorted(times), "tree heads go back in time")
        for index in range(state.size):
            if index not in self.leaves:
                self.audit.findings.append(f"log leaf {index} has no attestation")
                return
            # The head before it was last signed while it was the newest.
            before = heads[index].time if index in heads else 0
            late = self.leaf_times[index] + callers.NONCE_MARGIN >= before
            self.audit.check(late, f"log leaf {index}: attested before the head that it follows")
            frontier, complete = merkle_tree.append(frontier, self.leaves[index])
            wanted.update({(level, position): value for level, position, value in complete})
            self._head(heads.get(frontier.size), frontier)
        self.audit.check(len(self.leaves) == state.size, "attestations that are not in the log")
        self.audit.check(len(heads) == state.size, "tree heads of sizes that the log never had")
        self.audit.check(wanted == nodes, "nodes of the log differ from its leaves")
        self.audit.check(b"".join(frontier.nodes) == state.frontier, "the log's frontier differs from its leaves")
        self.audit.counts["log leaves"] = state.size

    def _head(self, row: rows.TreeHeadRow | None, frontier: merkle_tree.Frontier) -> None:
        name = f"tree head {frontier.size}"
        if row is None:
            self.audit.findings.append(f"{name} is missing")
            return
        try:
            head = self.chain.verify(verify_tree_head, row.document.encode())
        except ZkMarginError as err:
            self.audit.findings.append(f"{name}: {err}")
            return
        self.audit.check((head.root.hex(), head.time) == (row.root, row.time), f"{name} differs from its row")
        same = (head.size, head.root) == (frontier.size, merkle_tree.root(frontier))
        self.audit.check(same, f"{name} is not the root of its leaves")

    def _events(self) -> None:
        made: dict[str, list[tuple[str, str, int]]] = defaultdict(list)
        for move in self.stored(rows.TransferRow, "number"):
            made[move.event].append((move.debit, move.credit, move.amount))
        keys = [
            (row.owner, bytes.fromhex(row.public), row.not_before, row.not_after)
            for row in self.stored(rows.KeyRow, "kid")
            if row.kind == "account"
        ]
        self.replay = Replay(self.ledger, self.attested, made, self.audit.findings, self.by_registry, keys)
        for row in self.stored(rows.EventRow, "number"):
            self.audit.counts["events"] += self.replay.row(row)
        self.audit.check(not made, "transfers that no event made")
        self.audit.check(self.replay.made == set(self.attested), "attestations that no event made, or none of an event")
        for trade, moved in self.replay.trades.items():
            self.audit.check(not any(moved.values()), f"trade {trade} is not conserved")
            self._parties(trade)
        self.audit.counts["trades"] = len(self.replay.trades)
        for digest, taken in self.replay.imports.items():
            self.audit.findings.extend(taken.findings(digest, self.ledger.name))
        self.audit.counts["imports"] = len(self.replay.imports)

    def _parties(self, trade: str) -> None:
        """Each side of a trade traded with whom its holder authorised."""
        sides = self.replay.parties[trade]
        self.audit.check(len(sides) == 2, f"trade {trade} has not two sides")
        for (name, _, purpose), (_, other, _) in zip(sides, sides[::-1], strict=True):
            wanted = purpose.counterparty if isinstance(purpose, ForTrade) else None
            self.audit.check(wanted in (ANY, other), f"{name}: traded with another than was authorised")

    def _accounts(self) -> None:
        live_by_account: dict[str, list[int]] = defaultdict(list)
        for credit in self.replay.credits.values():
            live_by_account[credit.account].append(credit.free + credit.used)
        rest = dict(self.replay.accounts)
        for row in self.stored(rows.AccountRow, "id"):
            name, state = f"account {row.id}", rest.pop(row.id, Account())
            same = (row.epoch, row.live, row.head, row.events, row.state, row.opened) == (
                state.epoch, state.live, state.head, state.count, state.state, state.opened,
            )  # fmt: skip
            self.audit.check(same, f"{name} differs from its events")
            same = state.terms == Opened(row.rule, row.jurisdiction, row.encryption_key)
            self.audit.check(same, f"{name} has other terms than it was opened with")
            try:
                self._portfolio(row, state, live_by_account[row.id], name)
            except BROKEN as err:
                self.audit.findings.append(f"{name}: the portfolio cannot be read ({type(err).__name__})")
                continue
            self.audit.counts["accounts"] += 1
        self.audit.check(not rest, "events of accounts that do not exist")

    def _portfolio(self, row: rows.AccountRow, state: Account, live: list[int], name: str) -> None:
        held = epochs.read_account(self.ledger, self.tx, row.id).portfolio
        snapshot = self.by_registry[row.registry]
        attested = self.attested.get((row.id, row.epoch))
        self.audit.check(
            attested is not None and attested.commitment == held.opening(snapshot).commitment()
            and attested.registry.hex() == row.registry and attested.domain == held.domain,
            f"{name}: the stored portfolio does not open the attested commitment",
        )  # fmt: skip
        line = portfolio.credit_line(snapshot)
        owed = sum(portfolio.credit_lots(amount, snapshot) for amount in live)
        self.audit.check(
            held.lots.get(line, 0) == owed, f"{name}: the committed credit is not the sum of its live credits"
        )
        replayed = {
            k: to_lots(format_fraction(v), snapshot.instruments[snapshot.index[k]].lot, field=k)
            for k, v in state.quantities.items() if v
        }  # fmt: skip
        same = {k: v for k, v in held.lots.items() if k != line} == replayed
        self.audit.check(same, f"{name}: the portfolio differs from its events")

    def _receipts(self) -> None:
        booked = {row.reference: (row.account, row.event) for row in self.stored(rows.ReceiptRow)}
        self.audit.check(booked == self.replay.receipts, "receipts differ from the deposits that were booked")
        self.audit.counts["receipts"] = len(booked)

    def _credits(self) -> None:
        for row in self.stored(rows.CreditRow, "number"):
            name, state = f"credit {row.id}", self.replay.credits.get(row.id)
            if state is None:
                self.audit.findings.append(f"{name} was never issued")
                continue
            statement = state.statement
            found = (
                row.amount, row.free, row.used, row.released, row.sequence, row.account, row.venue, row.statement,
                row.snapshot, row.epoch, row.issued, row.expires,
            )  # fmt: skip
            wanted = (
                state.amount, state.free, state.used, state.released, state.sequence, state.account, state.venue,
                statement.digest.hex(), statement.snapshot.hex(), statement.context.epoch, state.issued, state.expires,
            )  # fmt: skip
            self.audit.check(found == wanted, f"{name} differs from its events")
            self.audit.check(row.snapshot in self.snapshots, f"{name}: its snapshot is missing")
            try:
                entry = self.chain.verify(verify_credit_entry, row.entry.encode())
                parts = Parts(row.amount, row.free, row.used, row.released)
                caip2 = venues.read(self.tx, row.venue).caip2
                same = entry == credits.entry_of(
                    self.ledger, row, parts, sequence=row.sequence, caip2=caip2, now=entry.time
                )
            except (ZkMarginError, ValueError) as err:
                self.audit.findings.append(f"{name}: the entry cannot be read ({type(err).__name__})")
                continue
            self.audit.check(same, f"{name} differs from its signed entry")
            self.audit.counts["credits"] += 1
            self.audit.counts["live credits"] += row.free + row.used > 0
        self.audit.check(
            self.audit.counts["credits"] == len(self.replay.credits), "issued credits that have no sound row"
        )

    def _exposure(self) -> None:
        by_venue: dict[str, int] = defaultdict(int)
        for credit in self.replay.credits.values():
            by_venue[credit.venue] += credit.free + credit.used
        by_zone: dict[str, int] = defaultdict(int)
        for row in self.stored(rows.VenueRow, "id"):
            self.audit.check(row.exposure == by_venue[row.id], f"venue {row.id}: exposure is not its live credits")
            by_zone[row.zone] += row.exposure
        for zone in self.stored(rows.ZoneRow, "id"):
            self.audit.check(zone.exposure == by_zone.pop(zone.id, 0), f"zone {zone.id}: exposure is not its venues'")
        self.audit.check(not by_zone, "venues in zones that do not exist")

    def _proofs(self) -> None:
        statements = self.replay.statements
        for start in range(0, len(statements), _BATCH):
            part = statements[start : start + _BATCH]
            items: list[Item] = []
            for name, statement, proof in part:
                if statement.snapshot.hex() not in self.snapshots:
                    raise NotFound(f"the snapshot of {name}", field="snapshots")
                items.append(Item(statement, self.snapshots[statement.snapshot.hex()], proof))
            for (name, _, _), error in zip(part, verify_batch(items), strict=True):
                self.audit.check(error is None, f"{name}: the proof does not hold")
        self.audit.counts["proofs"] = len(statements)
