"""The audit: replay every event from the beginning and compare with what the tables say.

It trusts the storage keys and the hub's pinned first signing key, and nothing else in the database. Findings name the
account, credit or row, never a position.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, select

from circuits.canonical import parse_json
from circuits.errors import ZkMarginError
from circuits.schema import StatementModel, validate
from circuits.snapshot import Snapshot
from circuits.statement import Statement, from_model
from circuits.units import to_lots, to_quanta
from verifier.attestation import Attestation, verify_attestation
from verifier.credit_entry import verify_credit_entry
from verifier.hub_keys import KeyChain, public_key
from verifier.transparency import attestation_leaf, verify_tree_head
from verifier.verify import Item, verify_batch

from ..log import tree
from ..signing import raw_public
from ..store import tables
from . import credits, epochs, events, portfolio, venues
from .book import Book
from .events import Event

#: Proofs verified in one batch.
_BATCH = 64


@dataclass
class _Credit:
    """A credit as replayed."""

    account: str
    venue: str
    amount: int
    free: int
    used: int = 0
    released: int = 0
    sequence: int = 0


@dataclass
class _Replay:
    """An account as replayed: positions as exact quantities, so that a change of registry is none."""

    epoch: int = 0
    live: int = 0
    head: str = events.GENESIS
    count: int = 0
    quantities: dict[str, Any] = field(default_factory=lambda: defaultdict(int))


@dataclass
class Audit:
    """What was looked at, and what is wrong: empty ``findings`` mean that the ledger is clean."""

    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    findings: list[str] = field(default_factory=list)

    def check(self, holds: bool, finding: str) -> None:
        """Note a finding unless it holds."""
        if not holds:
            self.findings.append(finding)


def run(book: Book, *, proofs: bool = True, progress: Callable[[str], None] = lambda step: None) -> Audit:
    """Audit the whole ledger in one read transaction; with ``proofs`` every credit's proof is verified again."""
    return book.database.consistent(lambda tx: _Auditor(book, tx, Audit()).run(proofs, progress))


STEPS = ("keys", "attestations", "log", "events", "accounts", "credits", "exposure", "proofs")


class _Auditor:
    def __init__(self, book: Book, tx: Connection, audit: Audit) -> None:
        self.book, self.tx, self.audit = book, tx, audit
        self.accounts: dict[str, _Replay] = {}
        self.credits: dict[str, _Credit] = {}
        self.attested: dict[tuple[str, int], Attestation] = {}
        self.transfers: dict[str, list[tuple[str, str, int]]] = defaultdict(list)
        self.legs: dict[str, dict[str, Any]] = defaultdict(lambda: defaultdict(int))
        self.statements: list[tuple[str, Statement, bytes]] = []

    def run(self, proofs: bool, progress: Callable[[str], None]) -> Audit:
        for step in STEPS:
            if step == "proofs" and not proofs:
                continue
            progress(step)
            getattr(self, f"_{step}")()
        return self.audit

    def rows(self, table: Any, *order: Any) -> Iterator[Any]:
        """All rows of a table in order."""
        return iter(self.tx.execute(select(table).order_by(*order)))

    def _keys(self) -> None:
        rows = list(self.rows(tables.signing_keys, tables.signing_keys.c.number))
        documents = [row.document.encode() for row in rows]
        self.chain = KeyChain.follow(documents, public_key(bytes.fromhex(rows[0].public)))
        self.audit.counts["signing keys"] = len(rows)
        for row, key in zip(rows, self.chain.keys, strict=True):
            secret = self.book.vault.open(bytes(row.sealed), purpose=f"signing-key/{row.number}")
            held = raw_public(Ed25519PrivateKey.from_private_bytes(secret))
            self.audit.check(key.key == held, f"signing key {row.number} is not the chain's")
            window = (row.public, row.not_before, row.not_after)
            same = window == (key.key.hex(), key.not_before, key.not_after)
            self.audit.check(same, f"signing key {row.number} differs from its document")

    def _attestations(self) -> None:
        self.leaves: dict[int, bytes] = {}
        for row in self.rows(tables.attestations, tables.attestations.c.account, tables.attestations.c.epoch):
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
        self.audit.counts["attestations"] = len(self.attested)

    def _log(self) -> None:
        nodes = {
            (row.level, row.position): bytes(row.hash) for row in self.rows(tables.log_nodes, tables.log_nodes.c.level)
        }
        heads = {row.size: row for row in self.rows(tables.tree_heads, tables.tree_heads.c.size)}
        state = self.tx.execute(select(tables.log_state)).one()
        frontier, wanted = tree.EMPTY, {}
        for index in range(state.size):
            if index not in self.leaves:
                self.audit.findings.append(f"log leaf {index} has no attestation")
                return
            frontier, complete = tree.append(frontier, self.leaves[index])
            wanted.update({(level, position): value for level, position, value in complete})
            self._head(heads.get(frontier.size), frontier)
        self.audit.check(len(self.leaves) == state.size, "attestations that are not in the log")
        self.audit.check(len(heads) == state.size, "tree heads of sizes that the log never had")
        self.audit.check(wanted == nodes, "nodes of the log differ from its leaves")
        self.audit.check(
            b"".join(frontier.nodes) == bytes(state.frontier), "the log's frontier differs from its leaves"
        )
        self.audit.counts["log leaves"] = state.size

    def _head(self, row: Any, frontier: tree.Frontier) -> None:
        name = f"tree head {frontier.size}"
        if row is None:
            self.audit.findings.append(f"{name} is missing")
            return
        try:
            head = self.chain.verify(verify_tree_head, row.document.encode())
        except ZkMarginError as err:
            self.audit.findings.append(f"{name}: {err}")
            return
        same = (head.size, head.root) == (frontier.size, tree.root(frontier)) and row.root == head.root.hex()
        self.audit.check(same, f"{name} is not the root of its leaves")

    def _events(self) -> None:
        for row in self.rows(tables.transfers, tables.transfers.c.number):
            self.transfers[row.event].append((row.debit, row.credit, row.amount))
        for row in self.rows(tables.events, tables.events.c.number):
            name = f"event {row.account}/{row.sequence}"
            try:
                event = events.read(self.book, row)
                self._replay(event, name)
            except (ZkMarginError, KeyError, ValueError, TypeError) as err:
                self.audit.findings.append(f"{name}: cannot be replayed ({type(err).__name__})")
                continue
            self.audit.check(event.digest == row.digest, f"{name} is not the one that was chained")
            self.audit.counts["events"] += 1
        self.audit.check(not self.transfers, "transfers that no event made")

    def _replay(self, event: Event, name: str) -> None:
        state = self.accounts.setdefault(event.account, _Replay())
        self.audit.check(event.previous == state.head, f"{name} does not follow the one before")
        self.audit.check(event.sequence == state.count + 1, f"{name} is out of sequence")
        moves = event.kind != "credit-consumed" or bool(event.content["delta"])
        self.audit.check(event.epoch == state.epoch + moves, f"{name} is of another epoch")
        state.head, state.count, state.epoch = event.digest, event.sequence, event.epoch
        for instrument, quantity in event.content.get("delta", {}).items():
            state.quantities[instrument] += _exact(quantity)
        expected = self._change(event, state, name)
        made = self.transfers.pop(event.digest, [])
        self.audit.check(made == expected, f"{name} made other transfers than its content says")

    def _change(self, event: Event, state: _Replay, name: str) -> list[tuple[str, str, int]]:
        """Replay what an event does to credits; gives the transfers that it must have made."""
        content, pledged = event.content, credits.pledged(event.account)
        if event.kind == "credit-issued":
            amount = int(content["amount"])
            statement = from_model(validate(StatementModel, content["statement"], name="statement"))
            self._issued(event, statement, amount, name)
            self.credits[content["credit"]] = _Credit(event.account, content["venue"], amount, amount)
            state.live += amount
            return [(pledged, credits.side(content["credit"], "free"), amount)]
        if event.kind == "credit-consumed":
            credit, used = self.credits[content["credit"]], int(content["used"])
            for instrument, quantity in content["delta"].items():
                self.legs[credit.venue][instrument] += _exact(quantity)
            credit.free, credit.used, credit.sequence = credit.free - used, credit.used + used, credit.sequence + 1
            sides = (credits.side(content["credit"], "free"), credits.side(content["credit"], "used"))
            return [(*sides, used)] if used else []
        if event.kind in ("credit-released", "credit-expired"):
            credit, free, used = self.credits[content["credit"]], int(content["free"]), int(content["used"])
            credit.free, credit.used, credit.sequence = credit.free - free, credit.used - used, credit.sequence + 1
            credit.released += free + used
            state.live -= free + used
            parts = (("free", free), ("used", used))
            return [(credits.side(content["credit"], part), pledged, amount) for part, amount in parts if amount]
        return []

    def _issued(self, event: Event, statement: Statement, amount: int, name: str) -> None:
        attested = self.attested.get((event.account, event.epoch - 1))
        proved = to_quanta(statement.amount, self.book.decimals, field="statement.amount")
        self.audit.check(amount <= proved, f"{name}: more than was proved")
        context = statement.context
        same = (context.hub, context.account, context.epoch, context.spoke) == (
            self.book.name, event.account, event.epoch - 1, event.content["venue"],
        )  # fmt: skip
        self.audit.check(same, f"{name}: the statement is about something else")
        self.audit.check(
            attested is not None and (attested.commitment, attested.domain) == (statement.commitment, statement.domain),
            f"{name}: the statement is about another commitment than the epoch's",
        )
        self.statements.append((name, statement, bytes.fromhex(event.content["proof"])))

    def _snapshot_of(self, registry: str) -> Snapshot:
        digest = self.tx.execute(
            select(tables.snapshots.c.digest).where(tables.snapshots.c.registry == registry).limit(1)
        ).scalar_one()
        return self.book.snapshot(self.tx, digest)

    def _accounts(self) -> None:
        live_by_account: dict[str, list[int]] = defaultdict(list)
        for credit in self.credits.values():
            live_by_account[credit.account].append(credit.free + credit.used)
        for row in self.rows(tables.accounts, tables.accounts.c.id):
            name = f"account {row.id}"
            state = self.accounts.pop(row.id, _Replay())
            same = (row.epoch, row.live, row.head, row.events) == (state.epoch, state.live, state.head, state.count)
            self.audit.check(same, f"{name} differs from its events")
            try:
                account = epochs.read_account(self.book, self.tx, row.id)
                snapshot = self._snapshot_of(row.registry)
                opened = account.portfolio.opening(snapshot).commitment()
            except ZkMarginError as err:
                self.audit.findings.append(f"{name}: {err}")
                continue
            attested = self.attested.get((row.id, row.epoch))
            self.audit.check(
                attested is not None and attested.commitment == opened
                and attested.registry.hex() == row.registry and attested.domain == account.portfolio.domain,
                f"{name}: the stored portfolio does not open the attested commitment",
            )  # fmt: skip
            line = portfolio.credit_line(snapshot)
            booked = account.portfolio.lots.get(line, 0)
            owed = sum(portfolio.credit_lots(live, snapshot) for live in live_by_account[row.id])
            self.audit.check(booked == owed, f"{name}: the committed credit is not the sum of its live credits")
            held = {k: v for k, v in account.portfolio.lots.items() if k != line}
            replayed = {
                k: to_lots(_text(v), snapshot.instruments[snapshot.index[k]].lot, field=k)
                for k, v in state.quantities.items() if v
            }  # fmt: skip
            self.audit.check(held == replayed, f"{name}: the portfolio differs from its events")
            self.audit.counts["accounts"] += 1
        self.audit.check(not self.accounts, "events of accounts that do not exist")

    def _credits(self) -> None:
        for row in self.rows(tables.credits, tables.credits.c.number):
            name, state = f"credit {row.id}", self.credits.get(row.id)
            if state is None:
                self.audit.findings.append(f"{name} was never issued")
                continue
            parts = (row.amount, row.free, row.used, row.released, row.sequence, row.account, row.venue)
            wanted = (
                state.amount, state.free, state.used, state.released, state.sequence, state.account, state.venue,
            )  # fmt: skip
            self.audit.check(parts == wanted, f"{name} differs from its events")
            try:
                entry = self.chain.verify(verify_credit_entry, row.entry.encode())
            except ZkMarginError as err:
                self.audit.findings.append(f"{name}: {err}")
                continue
            money = self.book.money
            signed = (entry.credit, entry.amount, entry.used, entry.released, entry.sequence, entry.venue)
            self.audit.check(
                signed == (row.id, money(row.amount), money(row.used), money(row.released), row.sequence, row.venue),
                f"{name} differs from its signed entry",
            )
            self.audit.counts["credits"] += 1
            self.audit.counts["live credits"] += row.free + row.used > 0
        self.audit.check(self.audit.counts["credits"] == len(self.credits), "issued credits that have no row")

    def _exposure(self) -> None:
        by_venue: dict[str, int] = defaultdict(int)
        for credit in self.credits.values():
            by_venue[credit.venue] += credit.free + credit.used
        by_zone: dict[str, int] = defaultdict(int)
        for row in self.rows(tables.settlements, tables.settlements.c.reference):
            plain = self.book.vault.open(bytes(row.sealed), purpose=f"settlement/{row.reference}")
            content = parse_json(plain, name="settlement")
            self.legs[row.venue][content["instrument"]] -= _exact(content["quantity"])
        for row in self.rows(tables.venues, tables.venues.c.id):
            owed = {name: quantity for name, quantity in self.legs[row.id].items() if quantity}
            same = owed == venues.positions(self.book, row)
            self.audit.check(same, f"venue {row.id}: what it owes is not its fills and settlements")
            self.audit.check(row.exposure == by_venue[row.id], f"venue {row.id}: exposure is not its live credits")
            by_zone[row.zone] += row.exposure
        for row in self.rows(tables.zones, tables.zones.c.id):
            self.audit.check(row.exposure == by_zone[row.id], f"zone {row.id}: exposure is not its venues'")

    def _proofs(self) -> None:
        for start in range(0, len(self.statements), _BATCH):
            part = self.statements[start : start + _BATCH]
            items = [Item(s, self.book.snapshot(self.tx, s.snapshot.hex()), proof) for _, s, proof in part]
            for (name, _, _), error in zip(part, verify_batch(items), strict=True):
                self.audit.check(error is None, f"{name}: the proof does not hold")
        self.audit.counts["proofs"] = len(self.statements)


def _exact(text: str) -> Any:
    from circuits.units import parse_decimal

    return parse_decimal(text, field="delta")


def _text(value: Any) -> str:
    from circuits.units import format_fraction

    return format_fraction(value)
