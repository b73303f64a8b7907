"""What a holder's tools may authorise on their own: a policy, and what it does not cover is refused by name.

A venue demands, and its demand commits nobody. Whoever answers demands without a person looking at each of them gives
``answer`` a policy; the default one lets solvency be shown and signs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field

from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.errors import ZkMarginError
from zkmargin.circuits.purpose import ForCredit, ForTrade, ForWithdrawal, legs_cost
from zkmargin.circuits.schema import Decimal, Name, Strict, load
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import Statement
from zkmargin.circuits.units import parse_decimal

#: The longest latency buffer of a statement that a policy covers, in seconds. It grows with the horizon, which a venue
#: chooses: what an account is good for under many of them would tell what it holds.
MAX_HORIZON = 86_400


class NotCovered(ZkMarginError):
    """The holder's policy does not cover what is asked; nothing was proved or signed. ``field`` names the limit."""

    code = "not-covered"
    exit_code = 15


class _ShowRuleModel(Strict):
    """What a venue may be shown: that the account is good for so much, its add-ons scaled up to so many times."""

    venue: Name
    amount: Decimal
    multiplier: Decimal = "1"


class _CreditRuleModel(Strict):
    """The most that one credit of a venue may come to, and for how long."""

    venue: Name
    amount: Decimal
    seconds: Annotated[int, Field(ge=1, le=366 * 86400)]
    total: Decimal | None = None


class _TradeRuleModel(Strict):
    """What a trade at a venue may move: these instruments, at most so much loss at the marks, with these accounts."""

    venue: Name
    instruments: Annotated[list[Name], Field(min_length=1, max_length=256)]
    limit: Decimal
    counterparties: Annotated[list[Name], Field(min_length=1, max_length=256)]


class _WithdrawalRuleModel(Strict):
    """What may be paid out, and where to."""

    instrument: Name
    quantity: Decimal
    destinations: Annotated[list[str], Field(min_length=1, max_length=256)]


class _PolicyModel(Strict):
    """``zkmargin/policy/1``."""

    schema_: Literal["zkmargin/policy/1"] = Field(alias="schema")
    show: bool = True
    shows: Annotated[list[_ShowRuleModel], Field(max_length=256)] = Field(default_factory=list)
    credits: Annotated[list[_CreditRuleModel], Field(max_length=256)] = Field(default_factory=list)
    trades: Annotated[list[_TradeRuleModel], Field(max_length=256)] = Field(default_factory=list)
    withdrawals: Annotated[list[_WithdrawalRuleModel], Field(max_length=256)] = Field(default_factory=list)


@dataclass(frozen=True)
class ShowRule:
    """``venue`` may learn whether the account is good for at most ``amount``, its add-ons times ``multiplier`` at most.

    Who may ask for any amount searches for what the account is good for, answer by answer; so by default it is 0, at a
    multiplier of 1: solvent or not. No rule shows solvency after a trade, which would tell positions.
    """

    venue: str
    amount: str
    multiplier: str = "1"


@dataclass(frozen=True)
class CreditRule:
    """One credit of ``venue``: at most ``amount`` of the quote currency, for at most ``seconds`` from now.

    With ``total`` only while all live credit of the account, of whatever venue, comes to at most that with this one: a
    venue that asks again and again gets no more.
    """

    venue: str
    amount: str
    seconds: int
    total: str | None = None


@dataclass(frozen=True)
class TradeRule:
    """A trade at ``venue`` of these instruments, taking at most ``limit`` at the marks, with these counterparties.

    ``any`` among the counterparties lets a statement leave the counterparty open.
    """

    venue: str
    instruments: tuple[str, ...]
    limit: str
    counterparties: tuple[str, ...]


@dataclass(frozen=True)
class WithdrawalRule:
    """At most ``quantity`` of ``instrument`` at a time, to one of ``destinations``."""

    instrument: str
    quantity: str
    destinations: tuple[str, ...]


@dataclass(frozen=True)
class Policy:
    """A holder's standing instruction: what may be proved and signed without asking.

    Each statement is looked at by itself. How many there are is for whoever answers to count.
    """

    show: bool = True
    shows: tuple[ShowRule, ...] = field(default=())
    credits: tuple[CreditRule, ...] = field(default=())
    trades: tuple[TradeRule, ...] = field(default=())
    withdrawals: tuple[WithdrawalRule, ...] = field(default=())

    @classmethod
    def from_bytes(cls, data: bytes) -> Policy:
        """Read the document ``zkmargin/policy/1``; ``MalformedInput`` names the field."""
        m = load(_PolicyModel, data, name="policy")
        for kind, rules in (
            ("shows", m.shows),
            ("credits", m.credits),
            ("trades", m.trades),
            ("withdrawals", m.withdrawals),
        ):
            for i, rule in enumerate(rules):
                for limit in ("amount", "limit", "quantity", "multiplier", "total"):
                    if getattr(rule, limit, None) is not None:
                        parse_decimal(getattr(rule, limit), field=f"policy.{kind}.{i}.{limit}")
        return cls(
            m.show,
            tuple(ShowRule(r.venue, r.amount, r.multiplier) for r in m.shows),
            tuple(CreditRule(r.venue, r.amount, r.seconds, r.total) for r in m.credits),
            tuple(TradeRule(r.venue, tuple(r.instruments), r.limit, tuple(r.counterparties)) for r in m.trades),
            tuple(WithdrawalRule(r.instrument, r.quantity, tuple(r.destinations)) for r in m.withdrawals),
        )

    def to_bytes(self) -> bytes:
        """The document."""
        tree = {
            "schema": "zkmargin/policy/1",
            "show": self.show,
            "shows": [dict(vars(rule)) for rule in self.shows],
            "credits": [{k: v for k, v in vars(rule).items() if v is not None} for rule in self.credits],
            "trades": [
                vars(rule) | {"instruments": list(rule.instruments), "counterparties": list(rule.counterparties)}
                for rule in self.trades
            ],
            "withdrawals": [vars(rule) | {"destinations": list(rule.destinations)} for rule in self.withdrawals],
        }
        _PolicyModel.model_validate(tree)
        return canonical_bytes(tree)

    def check(self, statement: Statement, snapshot: Snapshot, now: int, *, owed: Fraction | None = None) -> None:
        """``NotCovered`` unless one rule of the purpose's kind covers the whole statement.

        ``owed`` is the account's live credit in the quote currency; without it no rule with a total covers anything.
        """
        purpose = statement.purpose
        match purpose:
            case ForCredit():
                self._credit(purpose, now, owed)
                self._shown(statement, parse_decimal(purpose.amount, field="amount"))
            case ForTrade():
                counterparty, limit = purpose.counterparty, parse_decimal(purpose.limit, field="limit")
                self._trade(statement, snapshot, limit, counterparty)
                self._shown(statement)
            case ForWithdrawal():
                self._withdrawal(statement, purpose)
            case _ if not self.show:
                raise NotCovered("the policy shows nothing", field="statement.purpose")
            case _:
                if statement.delta:
                    raise NotCovered("shows solvency after a trade, which tells positions", field="statement.delta")
                self._shown(statement)

    def _shown(self, statement: Statement, granted: Fraction = Fraction(0)) -> None:
        """``NotCovered`` for what tells a venue more of the equity than ``granted``, or than a rule lets it."""
        terms, amount = statement.terms, parse_decimal(statement.amount, field="statement.amount")
        rules = [rule for rule in self.shows if rule.venue == statement.context.venue]
        limits = [
            (parse_decimal(r.amount, field="amount"), parse_decimal(r.multiplier, field="multiplier")) for r in rules
        ]
        limits += [(granted, Fraction(1))]
        limits = [(most, times) for most, times in limits if amount <= most]
        if not limits:
            raise NotCovered("shows more than the policy lets this venue see", field="statement.amount")
        if not any(1 <= terms.multiplier <= times for _, times in limits):
            raise NotCovered("scales add-ons otherwise than the policy lets it", field="statement.multiplier")
        if terms.level != "initial":
            raise NotCovered("of another level than venues ask for", field="statement.level")
        if terms.horizon > MAX_HORIZON:
            raise NotCovered(f"a latency buffer of more than {MAX_HORIZON} s", field="statement.horizon")

    def _credit(self, purpose: ForCredit, now: int, owed: Fraction | None) -> None:
        rules = [rule for rule in self.credits if rule.venue == purpose.venue]
        if not rules:
            raise NotCovered("no credit for this venue", field="statement.purpose.venue")
        amount = parse_decimal(purpose.amount, field="amount")
        rules = [rule for rule in rules if amount <= parse_decimal(rule.amount, field="amount")]
        if not rules:
            raise NotCovered("more than the policy lets this venue have", field="statement.purpose.amount")
        rules = [rule for rule in rules if rule.total is None or _within(rule.total, amount, owed)]
        if not rules:
            raise NotCovered("more than the policy lets all credits come to", field="statement.purpose.amount")
        if not any(purpose.expires <= now + rule.seconds for rule in rules):
            raise NotCovered("for longer than the policy lets this venue have it", field="statement.purpose.expires")

    def _trade(self, statement: Statement, snapshot: Snapshot, limit: Fraction, counterparty: str) -> None:
        rules = [rule for rule in self.trades if rule.venue == statement.context.venue]
        if not rules:
            raise NotCovered("no trade at this venue", field="statement.context.spoke")
        names = {name for name, _ in statement.delta}
        rules = [rule for rule in rules if names <= set(rule.instruments)]
        if not rules:
            raise NotCovered("an instrument that the policy does not trade here", field="statement.delta")
        rules = [rule for rule in rules if counterparty in rule.counterparties]
        if not rules:
            raise NotCovered("not with this counterparty", field="statement.purpose.counterparty")
        worst = max(limit, legs_cost(statement.delta, snapshot))
        if not any(worst <= parse_decimal(rule.limit, field="limit") for rule in rules):
            raise NotCovered("takes more at the marks than the policy lets it", field="statement.purpose.limit")

    def _withdrawal(self, statement: Statement, purpose: ForWithdrawal) -> None:
        ((name, quantity),) = statement.delta
        rules = [rule for rule in self.withdrawals if rule.instrument == name]
        taken = -parse_decimal(quantity, field="statement.delta")
        rules = [rule for rule in rules if taken <= parse_decimal(rule.quantity, field="quantity")]
        if not rules:
            raise NotCovered("more than the policy lets out", field="statement.delta")
        if not any(purpose.destination in rule.destinations for rule in rules):
            raise NotCovered("not to this destination", field="statement.purpose.destination")


def _within(total: str, amount: Fraction, owed: Fraction | None) -> bool:
    return owed is not None and owed + amount <= parse_decimal(total, field="total")


#: Shows solvency, signs nothing.
SHOW_ONLY = Policy()
