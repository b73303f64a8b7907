"""The journal replayed from its beginning: what accounts, credits, transfers, receipts and venues must be.

Positions are exact quantities here, so that a change of registry is none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.documents.statement import StatementModel, statement_from_model
from zkmargin.circuits.errors import SignatureRejected, ZkMarginError
from zkmargin.circuits.purpose import ForCredit, ForTrade, ForWithdrawal, Purpose
from zkmargin.circuits.schema import validate
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import Statement
from zkmargin.circuits.units import format_fraction, parse_decimal, to_lots, to_quanta
from zkmargin.service.ledger import credits, events, portfolio
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.ledger.events import Event
from zkmargin.service.ledger.imports import Replayed
from zkmargin.service.store.rows import EventRow
from zkmargin.verifier.facts.attestation import Attestation
from zkmargin.verifier.facts.authorisation import check_authorises, verify_authorisation
from zkmargin.verifier.facts.hub_keys import public_key
from zkmargin.verifier.field import decode_scalar

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
    terms: Mapping[str, Any] = field(default_factory=dict)
    credits: list[Credit] = field(default_factory=list)
    quantities: dict[str, Fraction] = field(default_factory=quantities, repr=False)


@dataclass
class Replay:
    """What the events say. ``attested`` are the attestations by account and epoch, ``transfers`` those of each event;
    what no event made is left in it.
    """

    ledger: Ledger
    attested: Mapping[tuple[str, int], Attestation]
    transfers: dict[str, list[tuple[str, str, int]]]
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
        content = event.content
        self.check(event.previous == state.head, f"{name} does not follow the one before")
        self.check(event.sequence == state.count + 1, f"{name} is out of sequence")
        self.check((event.kind == "opened") == (event.sequence == 1), f"{name} is of another kind")
        still = event.kind in ("frozen", "unfrozen", "credit-consumed")
        self.check(event.epoch == state.epoch + (not still), f"{name} is of another epoch")
        state.head, state.count, state.epoch = event.digest, event.sequence, event.epoch
        moved = {k: parse_decimal(quantity, field="delta") for k, quantity in content.get("delta", {}).items()}
        self.check(self._may_move(event, moved), f"{name} moves what its kind does not")
        for instrument, quantity in moved.items():
            state.quantities[instrument] += quantity
        expected = self._change(event, state, name)
        made = self.transfers.pop(event.digest, [])
        self.check(made == expected, f"{name} made other transfers than its content says")
        if not still:
            self._committed(event, state, name)

    def _may_move(self, event: Event, moved: Mapping[str, Fraction]) -> bool:
        """Whether an event of this kind moves such quantities: nothing leaves by one that needs no consent."""
        if event.kind in ("withdrawn", "traded", "imported"):
            return True  # What the statement or the signed import says, which is looked at with it.
        if event.kind not in ("deposited", "credit-released"):
            return not moved
        snapshot = self.registries[event.content["registry"]]
        if event.kind == "credit-released":
            paid = Fraction(int(event.content["paid"]), 10**self.ledger.decimals)
            return moved == ({portfolio.cash_line(snapshot): -paid} if paid else {})
        kinds = [snapshot.instruments[snapshot.index[instrument]].kind for instrument in moved]
        return len(kinds) == 1 and kinds[0] in portfolio.ASSETS and min(moved.values()) > 0

    def _committed(self, event: Event, state: Account, name: str) -> None:
        """Make the epoch's commitment again, from the positions and credits as replayed and the event's blinding."""
        self.made.add((event.account, event.epoch))
        snapshot, attested = self.registries[event.content["registry"]], self.attested.get((event.account, event.epoch))
        lots = {
            k: to_lots(format_fraction(v), snapshot.instruments[snapshot.index[k]].lot, field=k)
            for k, v in state.quantities.items() if v
        }  # fmt: skip
        live = [c.free + c.used for c in state.credits]
        if owed := sum(portfolio.credit_lots(amount, snapshot) for amount in live):
            lots[portfolio.credit_line(snapshot)] = owed
        blinding = tuple(decode_scalar(bytes.fromhex(b), field="blinding") for b in event.content["blinding"])
        held = portfolio.Portfolio(snapshot.registry_digest, event.content["domain"], lots, blinding)
        same = attested is not None and (attested.commitment, attested.domain, attested.registry) == (
            held.opening(snapshot).commitment(), held.domain, held.registry,
        )  # fmt: skip
        self.check(same, f"{name}: the attested commitment is not of what the account then held")
        # Else an event could be dated back to when a key that signed it was still valid.
        self.check(attested is None or attested.time == event.time, f"{name}: attested at another time")

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
                statement = self._proved(event, state, content["venue"], name)
                proved = to_quanta(statement.amount, self.ledger.decimals, field="statement.amount")
                self.check(amount <= proved and not statement.delta, f"{name}: more than was proved")
                self._granted(statement.purpose, amount, content["expires"], name)
                credit = Credit(
                    event.account, content["venue"], statement, event.time, content["expires"], amount, amount
                )
                self.credits[content["credit"]] = credit
                state.credits.append(credit)
                state.live += amount
                return [(pledged, credits.side(content["credit"], "free"), amount)]
            case "credit-consumed":
                credit, used = self._next(event, name), int(content["used"])
                self.check(0 < used <= credit.free, f"{name}: uses more than was free")
                credit.free, credit.used = credit.free - used, credit.used + used
                return [(credits.side(content["credit"], "free"), credits.side(content["credit"], "used"), used)]
            case "credit-released" | "credit-expired":
                credit = self._next(event, name)
                free, used, paid = (int(content[part]) for part in ("free", "used", "paid"))
                within = 0 <= free <= credit.free and 0 <= paid <= used <= credit.used and free + used > 0
                self.check(within, f"{name}: gives back more than there was")
                if event.kind == "credit-expired":
                    self.check(used == 0 and event.time > credit.expires, f"{name}: expires what it may not, or early")
                credit.free, credit.used = credit.free - free, credit.used - used
                credit.released += free + used
                state.live -= free + used
                sides = (credits.side(content["credit"], "free"), credits.side(content["credit"], "used"))
                moves = [
                    (sides[0], pledged, free), (sides[1], pledged, used - paid),
                    (sides[1], credits.payable(credit.venue), paid),
                ]  # fmt: skip
                return [move for move in moves if move[2]]
            case "withdrawn":
                statement = self._proved(event, state, self.ledger.name, name)
                self.check(dict(statement.delta) == content["delta"], f"{name}: took out other than was proved")
                purpose = statement.purpose
                paid_to = purpose.destination if isinstance(purpose, ForWithdrawal) else None
                self.check(paid_to == content["destination"], f"{name}: paid out to another than was authorised")
            case "traded":
                statement = self._proved(event, state, content["venue"], name)
                self.check(dict(statement.delta) == content["delta"], f"{name}: moved other than was proved")
                self.check(isinstance(statement.purpose, ForTrade), f"{name}: the statement is for another use")
                self.parties[content["trade"]].append((name, event.account, statement.purpose))
                for instrument, quantity in content["delta"].items():
                    self.trades[content["trade"]][instrument] += parse_decimal(quantity, field="delta")
            case "imported":
                self.imports[content["import"]].event(event.account, content)
                self.check(event.sequence == 2, f"{name}: an import into an account that was in use")
            case "recommitted":
                pass
            case _:
                self.findings.append(f"{name} is of no known kind")
        return []

    def _granted(self, purpose: Purpose, amount: int, expires: int, name: str) -> None:
        """A credit is within what its holder authorised."""
        if not isinstance(purpose, ForCredit):
            self.findings.append(f"{name}: the statement is for another use")
            return
        granted = to_quanta(purpose.amount, self.ledger.decimals, field="statement.purpose.amount")
        self.check(amount <= granted and expires <= purpose.expires, f"{name}: more than was authorised")

    def _authorised(self, event: Event, statement: Statement, name: str) -> None:
        """A key that was the account's at the time signed the statement."""
        document = canonical_bytes(event.content["authorisation"])
        for account, public, first, last in self.keys:
            if account == event.account and first <= event.time <= last:
                try:
                    check_authorises(verify_authorisation(document, public_key(public)), statement)
                except SignatureRejected:
                    continue
                return
        self.findings.append(f"{name}: no key of the account authorises it")

    def _next(self, event: Event, name: str) -> Credit:
        found = self.credits[event.content["credit"]]
        self.check(found.account == event.account, f"{name}: changes another account's credit")
        found.sequence += 1
        return found

    def _proved(self, event: Event, state: Account, venue: str, name: str) -> Statement:
        """The statement of an event, which must be one that the hub takes, about the epoch before."""
        statement = statement_from_model(validate(StatementModel, event.content["statement"], name="statement"))
        attested, context, terms = (
            self.attested.get((event.account, event.epoch - 1)),
            statement.context,
            statement.terms,
        )
        same = (context.hub, context.account, context.epoch, context.venue, statement.rule_id) == (
            self.ledger.name, event.account, event.epoch - 1, venue, state.terms["rule"],
        )  # fmt: skip
        self.check(same, f"{name}: the statement is about something else")
        jurisdiction = state.terms["jurisdiction"]
        strict = terms.level == "initial" and terms.multiplier >= 1 and event.time <= context.expiry
        self.check(
            strict and (not jurisdiction or jurisdiction in terms.overlays), f"{name}: the statement is a looser one"
        )
        self.check(
            attested is not None and (attested.commitment, attested.domain) == (statement.commitment, statement.domain),
            f"{name}: the statement is about another commitment than the epoch's",
        )
        self.check(state.state == "open", f"{name}: the account was frozen")
        self._authorised(event, statement, name)
        self.statements.append((name, statement, bytes.fromhex(event.content["proof"])))
        return statement
