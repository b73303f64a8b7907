"""The journal replayed from its beginning: what accounts, credits, transfers, receipts and venues must be.

Positions are exact quantities here, so that a change of registry is none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from circuits.errors import ZkMarginError
from circuits.schema import StatementModel, validate
from circuits.statement import Statement, from_model
from circuits.units import parse_decimal, to_quanta
from verifier.attestation import Attestation

from . import credits, events
from .book import Book
from .events import Event

#: Faults of a content that was not written by this code.
BROKEN = (ZkMarginError, KeyError, ValueError, TypeError, AttributeError)


def quantities() -> dict[str, Fraction]:
    """A sum of quantities by instrument."""
    return defaultdict(Fraction)


@dataclass
class Credit:
    """A credit as replayed."""

    account: str
    venue: str
    statement: Statement
    issued: int
    amount: int
    free: int
    used: int = 0
    released: int = 0
    sequence: int = 0


@dataclass
class Account:
    """An account as replayed."""

    epoch: int = 0
    live: int = 0
    head: str = events.GENESIS
    count: int = 0
    state: str = "open"
    opened: int = 0
    terms: Mapping[str, Any] = field(default_factory=dict)
    quantities: dict[str, Fraction] = field(default_factory=quantities, repr=False)


@dataclass
class Replay:
    """What the events say. ``attested`` are the attestations by account and epoch, ``transfers`` those of each event;
    what no event made is left in it.
    """

    book: Book
    attested: Mapping[tuple[str, int], Attestation]
    transfers: dict[str, list[tuple[str, str, int]]]
    findings: list[str]
    accounts: dict[str, Account] = field(default_factory=dict)
    credits: dict[str, Credit] = field(default_factory=dict)
    receipts: dict[str, tuple[str, str]] = field(default_factory=dict)
    legs: dict[str, dict[str, Fraction]] = field(default_factory=lambda: defaultdict(quantities), repr=False)
    #: Statement and proof of every credit, to be verified again.
    statements: list[tuple[str, Statement, bytes]] = field(default_factory=list, repr=False)

    def check(self, holds: bool, finding: str) -> None:
        """Note a finding unless it holds."""
        if not holds:
            self.findings.append(finding)

    def row(self, row: Any) -> bool:
        """Replay one event's row; says whether it could be."""
        name = f"event {row.account}/{row.sequence}"
        try:
            event = events.read(self.book, row)
            self._event(event, name)
        except BROKEN as err:
            self.findings.append(f"{name}: cannot be replayed ({type(err).__name__})")
            return False
        self.check(event.digest == row.digest, f"{name} is not the one that was chained")
        return True

    def _event(self, event: Event, name: str) -> None:
        state = self.accounts.setdefault(event.account, Account())
        content = event.content
        self.check(event.previous == state.head, f"{name} does not follow the one before")
        self.check(event.sequence == state.count + 1, f"{name} is out of sequence")
        self.check((event.kind == "opened") == (event.sequence == 1), f"{name} is of another kind")
        still = event.kind in ("frozen", "unfrozen") or (event.kind == "credit-consumed" and not content["delta"])
        self.check(event.epoch == state.epoch + (not still), f"{name} is of another epoch")
        state.head, state.count, state.epoch = event.digest, event.sequence, event.epoch
        for instrument, quantity in content.get("delta", {}).items():
            state.quantities[instrument] += parse_decimal(quantity, field="delta")
        expected = self._change(event, state, name)
        made = self.transfers.pop(event.digest, [])
        self.check(made == expected, f"{name} made other transfers than its content says")

    def _change(self, event: Event, state: Account, name: str) -> list[tuple[str, str, int]]:
        """What an event does besides moving positions; gives the transfers that it must have made."""
        content, pledged = event.content, credits.pledged(event.account)
        match event.kind:
            case "opened":
                state.opened, state.terms = event.time, content
            case "deposited":
                self.receipts[content["reference"]] = (event.account, event.digest)
            case "frozen" | "unfrozen":
                state.state = "frozen" if event.kind == "frozen" else "open"
            case "credit-issued":
                amount = int(content["amount"])
                statement = from_model(validate(StatementModel, content["statement"], name="statement"))
                self._issued(event, statement, amount, name)
                fresh = Credit(event.account, content["venue"], statement, event.time, amount, amount)
                self.credits[content["credit"]] = fresh
                state.live += amount
                return [(pledged, credits.side(content["credit"], "free"), amount)]
            case "credit-consumed":
                credit, used = self._next(content["credit"]), int(content["used"])
                for instrument, quantity in content["delta"].items():
                    self.legs[credit.venue][instrument] += parse_decimal(quantity, field="delta")
                credit.free, credit.used = credit.free - used, credit.used + used
                sides = (credits.side(content["credit"], "free"), credits.side(content["credit"], "used"))
                return [(*sides, used)] if used else []
            case "credit-released" | "credit-expired":
                credit, free, used = self._next(content["credit"]), int(content["free"]), int(content["used"])
                credit.free, credit.used = credit.free - free, credit.used - used
                credit.released += free + used
                state.live -= free + used
                parts = (("free", free), ("used", used))
                return [(credits.side(content["credit"], part), pledged, amount) for part, amount in parts if amount]
            case "withdrawn" | "recommitted":
                pass
            case _:
                self.findings.append(f"{name} is of no known kind")
        return []

    def _next(self, credit: str) -> Credit:
        found = self.credits[credit]
        found.sequence += 1
        return found

    def _issued(self, event: Event, statement: Statement, amount: int, name: str) -> None:
        attested = self.attested.get((event.account, event.epoch - 1))
        proved = to_quanta(statement.amount, self.book.decimals, field="statement.amount")
        self.check(amount <= proved, f"{name}: more than was proved")
        context = statement.context
        same = (context.hub, context.account, context.epoch, context.spoke) == (
            self.book.name, event.account, event.epoch - 1, event.content["venue"],
        )  # fmt: skip
        self.check(same, f"{name}: the statement is about something else")
        self.check(
            attested is not None and (attested.commitment, attested.domain) == (statement.commitment, statement.domain),
            f"{name}: the statement is about another commitment than the epoch's",
        )
        self.statements.append((name, statement, bytes.fromhex(event.content["proof"])))
