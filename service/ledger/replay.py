"""The journal replayed from its beginning: what accounts, credits, transfers, receipts and venues must be.

Positions are exact quantities here, so that a change of registry is none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeAlias, assert_never

from zkmargin.circuits.errors import CorruptData, SignatureRejected, ZkMarginError
from zkmargin.circuits.purpose import ForCredit, ForTrade, ForWithdrawal, Purpose
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import Statement
from zkmargin.circuits.units import format_fraction, parse_decimal, to_lots, to_quanta
from zkmargin.service.ledger import credits, events, portfolio
from zkmargin.service.ledger.changes import (
    KINDS,
    STILL,
    Change,
    Consumed,
    Content,
    Deposited,
    Expired,
    Frozen,
    Imported,
    Issued,
    Opened,
    Recommitted,
    Released,
    Traded,
    Unfrozen,
    Withdrawn,
    delta_of,
    read_content,
)
from zkmargin.service.ledger.consent import Proved
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.ledger.events import Event
from zkmargin.service.ledger.imports import Replayed
from zkmargin.service.ledger.portfolio import Committed
from zkmargin.service.store.rows import EventRow
from zkmargin.verifier.facts.attestation import Attestation
from zkmargin.verifier.facts.authorisation import check_authorises, verify_authorisation
from zkmargin.verifier.facts.hub_keys import public_key

#: A transfer: debit, credit, amount.
Move: TypeAlias = tuple[str, str, int]
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
    expires: int
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
    terms: Opened | None = None
    credits: list[Credit] = field(default_factory=list)
    quantities: dict[str, Fraction] = field(default_factory=quantities, repr=False)


@dataclass
class Replay:
    """What the events say. ``attested`` are the attestations by account and epoch, ``transfers`` those of each event;
    what no event made is left in it.
    """

    ledger: Ledger
    attested: Mapping[tuple[str, int], Attestation]
    transfers: dict[str, list[Move]]
    findings: list[str]
    #: A snapshot of each registry.
    registries: Mapping[str, Snapshot]
    #: The keys of accounts: (account, raw public key, first and last second of validity).
    keys: Sequence[tuple[str, bytes, int, int]]
    accounts: dict[str, Account] = field(default_factory=dict)
    credits: dict[str, Credit] = field(default_factory=dict)
    receipts: dict[str, tuple[str, str]] = field(default_factory=dict)
    #: What each trade's sides moved, which must sum to nothing.
    trades: dict[str, dict[str, Fraction]] = field(default_factory=lambda: defaultdict(quantities), repr=False)
    #: And between whom: (event, account, the purpose of its statement).
    parties: dict[str, list[tuple[str, str, Purpose]]] = field(default_factory=lambda: defaultdict(list), repr=False)
    #: What each import gave to whom.
    imports: dict[str, Replayed] = field(default_factory=lambda: defaultdict(Replayed), repr=False)
    #: Epochs that an event made.
    made: set[tuple[str, int]] = field(default_factory=set)
    #: Statement and proof of every credit, withdrawal and trade, to be verified again.
    statements: list[tuple[str, Statement, bytes]] = field(default_factory=list, repr=False)

    def check(self, holds: bool, finding: str) -> None:
        """Note a finding unless it holds."""
        if not holds:
            self.findings.append(finding)

    def row(self, row: EventRow) -> bool:
        """Replay one event's row; says whether it could be."""
        name = f"event {row.account}/{row.sequence}"
        try:
            event = events.read(self.ledger, row)
            self._event(event, name)
        except BROKEN as err:
            self.findings.append(f"{name}: cannot be replayed ({type(err).__name__})")
            return False
        self.check(event.digest == row.digest, f"{name} is not the one that was chained")
        return True

    def _event(self, event: Event, name: str) -> None:
        state = self.accounts.setdefault(event.account, Account())
        self.check(event.previous == state.head, f"{name} does not follow the one before")
        self.check(event.sequence == state.count + 1, f"{name} is out of sequence")
        self.check((event.kind == "opened") == (event.sequence == 1), f"{name} is of another kind")
        still = event.kind in STILL
        self.check(event.epoch == state.epoch + (not still), f"{name} is of another epoch")
        state.head, state.count, state.epoch = event.digest, event.sequence, event.epoch
        if event.kind not in KINDS:
            self.findings.append(f"{name} is of no known kind")
            return
        content = read_content(event.kind, event.content)
        delta = delta_of(content.change)
        moved = {k: parse_decimal(quantity, field="delta") for k, quantity in delta.items()}
        self.check(self._may_move(content, moved), f"{name} moves what its kind does not")
        for instrument, quantity in moved.items():
            state.quantities[instrument] += quantity
        expected = self._change(event, content.change, state, name)
        made = self.transfers.pop(event.digest, [])
        self.check(made == expected, f"{name} made other transfers than its content says")
        if content.committed is not None:
            self._committed(event, content.committed, state, name)

    def _may_move(self, content: Content, moved: Mapping[str, Fraction]) -> bool:
        """Whether such a change moves such quantities: nothing leaves by one that needs no consent."""
        change, committed = content.change, content.committed
        if isinstance(change, Withdrawn | Traded | Imported):
            return True  # What the statement or the signed import says, which is looked at with it.
        if committed is None or not isinstance(change, Deposited | Released):
            return not moved
        snapshot = self.registries[committed.registry.hex()]
        if isinstance(change, Released):
            paid = Fraction(change.paid, 10**self.ledger.decimals)
            return moved == ({portfolio.cash_line(snapshot): -paid} if paid else {})
        kinds = [snapshot.instruments[snapshot.index[instrument]].kind for instrument in moved]
        return len(kinds) == 1 and kinds[0] in portfolio.ASSETS and min(moved.values()) > 0

    def _committed(self, event: Event, committed: Committed, state: Account, name: str) -> None:
        """Make the epoch's commitment again, from the positions and credits as replayed and the event's blinding."""
        self.made.add((event.account, event.epoch))
        snapshot = self.registries[committed.registry.hex()]
        attested = self.attested.get((event.account, event.epoch))
        lots = {
            k: to_lots(format_fraction(v), snapshot.instruments[snapshot.index[k]].lot, field=k)
            for k, v in state.quantities.items() if v
        }  # fmt: skip
        live = [c.free + c.used for c in state.credits]
        if owed := sum(portfolio.credit_lots(amount, snapshot) for amount in live):
            lots[portfolio.credit_line(snapshot)] = owed
        held = portfolio.Portfolio(snapshot.registry_digest, committed.domain, lots, committed.blinding)
        same = attested is not None and (attested.commitment, attested.domain, attested.registry) == (
            held.opening(snapshot).commitment(), held.domain, held.registry,
        )  # fmt: skip
        self.check(same, f"{name}: the attested commitment is not of what the account then held")
        # Else an event could be dated back to when a key that signed it was still valid.
        self.check(attested is None or attested.time == event.time, f"{name}: attested at another time")

    def _change(self, event: Event, change: Change, state: Account, name: str) -> list[Move]:
        """What an event does besides moving positions; gives the transfers that it must have made."""
        match change:
            case Opened():
                state.opened, state.terms = event.time, change
            case Deposited():
                self.receipts[change.reference] = (event.account, event.digest)
            case Frozen():
                state.state = "frozen"
            case Unfrozen():
                state.state = "open"
            case Issued():
                return self._issued(event, change, state, name)
            case Consumed():
                return self._consumed(event, change, name)
            case Released() | Expired():
                return self._reduced(event, change, state, name)
            case Withdrawn():
                statement = self._proved(event, change.proved, state, self.ledger.name, name)
                self.check(dict(statement.delta) == change.delta, f"{name}: took out other than was proved")
                purpose = statement.purpose
                paid_to = purpose.destination if isinstance(purpose, ForWithdrawal) else None
                self.check(paid_to == change.destination, f"{name}: paid out to another than was authorised")
            case Traded():
                statement = self._proved(event, change.proved, state, change.venue, name)
                self.check(dict(statement.delta) == change.delta, f"{name}: moved other than was proved")
                self.check(isinstance(statement.purpose, ForTrade), f"{name}: the statement is for another use")
                self.parties[change.trade].append((name, event.account, statement.purpose))
                for instrument, quantity in change.delta.items():
                    self.trades[change.trade][instrument] += parse_decimal(quantity, field="delta")
            case Imported():
                self.imports[change.digest].event(event.account, change)
                self.check(event.sequence == 2, f"{name}: an import into an account that was in use")
            case Recommitted():
                pass
            case _:
                assert_never(change)
        return []

    def _issued(self, event: Event, change: Issued, state: Account, name: str) -> list[Move]:
        statement = self._proved(event, change.proved, state, change.venue, name)
        proved = to_quanta(statement.amount, self.ledger.decimals, field="statement.amount")
        self.check(change.amount <= proved and not statement.delta, f"{name}: more than was proved")
        self._granted(statement.purpose, change.amount, change.expires, name)
        credit = Credit(
            event.account, change.venue, statement, event.time, change.expires, change.amount, change.amount
        )
        self.credits[change.credit] = credit
        state.credits.append(credit)
        state.live += change.amount
        return [(credits.pledged(event.account), credits.side(change.credit, "free"), change.amount)]

    def _consumed(self, event: Event, change: Consumed, name: str) -> list[Move]:
        credit = self._next(event, change.credit, name)
        self.check(0 < change.used <= credit.free, f"{name}: uses more than was free")
        credit.free, credit.used = credit.free - change.used, credit.used + change.used
        return [(credits.side(change.credit, "free"), credits.side(change.credit, "used"), change.used)]

    def _reduced(self, event: Event, change: Released | Expired, state: Account, name: str) -> list[Move]:
        credit = self._next(event, change.credit, name)
        free, used, paid = change.free, change.used, change.paid
        within = 0 <= free <= credit.free and 0 <= paid <= used <= credit.used and free + used > 0
        self.check(within, f"{name}: gives back more than there was")
        if isinstance(change, Expired):
            self.check(used == 0 and event.time > credit.expires, f"{name}: expires what it may not, or early")
        credit.free, credit.used = credit.free - free, credit.used - used
        credit.released += free + used
        state.live -= free + used
        pledged, unused = credits.pledged(event.account), credits.side(change.credit, "free")
        spent, owed = credits.side(change.credit, "used"), credits.payable(credit.venue)
        moves = [(unused, pledged, free), (spent, pledged, used - paid), (spent, owed, paid)]
        return [move for move in moves if move[2]]

    def _granted(self, purpose: Purpose, amount: int, expires: int, name: str) -> None:
        """A credit is within what its holder authorised."""
        if not isinstance(purpose, ForCredit):
            self.findings.append(f"{name}: the statement is for another use")
            return
        granted = to_quanta(purpose.amount, self.ledger.decimals, field="statement.purpose.amount")
        self.check(amount <= granted and expires <= purpose.expires, f"{name}: more than was authorised")

    def _authorised(self, event: Event, proved: Proved, name: str) -> None:
        """A key that was the account's at the time signed the statement."""
        for account, public, first, last in self.keys:
            if account == event.account and first <= event.time <= last:
                try:
                    check_authorises(verify_authorisation(proved.authorisation, public_key(public)), proved.statement)
                except SignatureRejected:
                    continue
                return
        self.findings.append(f"{name}: no key of the account authorises it")

    def _next(self, event: Event, credit: str, name: str) -> Credit:
        found = self.credits[credit]
        self.check(found.account == event.account, f"{name}: changes another account's credit")
        found.sequence += 1
        return found

    def _proved(self, event: Event, proved: Proved, state: Account, venue: str, name: str) -> Statement:
        """The statement of an event, which must be one that the hub takes, about the epoch before. ``venue`` is whom it
        is for, the hub itself for a withdrawal.
        """
        statement, opened = proved.statement, state.terms
        if opened is None:
            raise CorruptData("an account that was never opened", field="events")
        context, terms, attested = (
            statement.context, statement.terms, self.attested.get((event.account, event.epoch - 1)),
        )  # fmt: skip
        same = (context.hub, context.account, context.epoch, context.venue, statement.rule_id) == (
            self.ledger.name, event.account, event.epoch - 1, venue, opened.rule,
        )  # fmt: skip
        self.check(same, f"{name}: the statement is about something else")
        jurisdiction = opened.jurisdiction
        strict = terms.level == "initial" and terms.multiplier >= 1 and event.time <= context.expiry
        self.check(
            strict and (not jurisdiction or jurisdiction in terms.overlays), f"{name}: the statement is a looser one"
        )
        self.check(
            attested is not None and (attested.commitment, attested.domain) == (statement.commitment, statement.domain),
            f"{name}: the statement is about another commitment than the epoch's",
        )
        self.check(state.state == "open", f"{name}: the account was frozen")
        self._authorised(event, proved, name)
        self.statements.append((name, statement, proved.proof))
        return statement
