"""What a statement is for. The proof binds it, so that a proof made for one use is worthless for another.

A proof alone is knowledge of solvency, never consent: what moves value is booked only for the purpose that the
statement names, and with the signature of the account's key over the statement
(``zkmargin.verifier.facts.authorisation``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from zkmargin.circuits.errors import MalformedInput, StatementMismatch
from zkmargin.circuits.units import parse_decimal

if TYPE_CHECKING:
    from zkmargin.circuits.schema import ForCreditModel, ForShowModel, ForTradeModel, ForWithdrawalModel
    from zkmargin.circuits.snapshot import Snapshot

#: The counterparty of a trade with whom it may be. No account has this name.
ANY = "any"
_AT = "statement.purpose"


@dataclass(frozen=True)
class ForShow:
    """Solvency is shown, and nothing may be booked. The only purpose of a statement of version 1."""

    name = "show"


@dataclass(frozen=True)
class ForCredit:
    """A credit: the venue may draw up to ``amount`` (quote currency, decimal) until ``expires`` (Unix seconds)."""

    name = "credit"
    venue: str
    amount: str
    expires: int


@dataclass(frozen=True)
class ForTrade:
    """A trade of the statement's delta with ``counterparty``, an account or :data:`ANY`.

    ``limit`` is the most, in the quote currency, that the legs may take from the account at the snapshot's marks.
    """

    name = "trade"
    limit: str
    counterparty: str


@dataclass(frozen=True)
class ForWithdrawal:
    """A withdrawal of the statement's delta, one negative leg, to ``destination`` as custody names it."""

    name = "withdrawal"
    destination: str


Purpose = ForShow | ForCredit | ForTrade | ForWithdrawal
SHOW = ForShow()


def to_tree(purpose: Purpose) -> dict[str, str | int]:
    """The member ``purpose`` of a statement or demand."""
    return {"for": purpose.name, **vars(purpose)}


def from_model(model: ForShowModel | ForCreditModel | ForTradeModel | ForWithdrawalModel) -> Purpose:
    """A validated document's purpose."""
    match model.for_:
        case "credit":
            return ForCredit(model.venue, model.amount, model.expires)
        case "trade":
            return ForTrade(model.limit, model.counterparty)
        case "withdrawal":
            return ForWithdrawal(model.destination)
    return SHOW


def check_purpose(
    purpose: Purpose, *, amount: str, delta: Iterable[tuple[str, str]], venue: str, hub: str, account: str
) -> None:
    """Check that a purpose fits the rest of its statement; ``MalformedInput`` names the field.

    A credit is its venue's, of no more than the statement proves, and rests on no delta. A trade has legs. A
    withdrawal is asked for by the hub, and takes out one thing.
    """
    if isinstance(purpose, ForShow):
        return
    legs = [parse_decimal(quantity, field=f"statement.delta.{i}.quantity") for i, (_, quantity) in enumerate(delta)]
    match purpose:
        case ForCredit():
            granted = parse_decimal(purpose.amount, field=f"{_AT}.amount")
            if not 0 < granted <= parse_decimal(amount, field="statement.amount"):
                raise MalformedInput("must be above 0 and at most the statement's amount", field=f"{_AT}.amount")
            if purpose.venue != venue:
                raise MalformedInput("must be the venue that the context names", field=f"{_AT}.venue")
            if legs:
                raise MalformedInput("a credit rests on what is held, not on an order", field="statement.delta")
        case ForTrade():
            if parse_decimal(purpose.limit, field=f"{_AT}.limit") < 0:
                raise MalformedInput("must not be negative", field=f"{_AT}.limit")
            if purpose.counterparty == account:
                raise MalformedInput("an account does not trade with itself", field=f"{_AT}.counterparty")
            if not legs or 0 in legs:
                raise MalformedInput("a trade has legs, none of them 0", field="statement.delta")
        case ForWithdrawal():
            if venue != hub:
                raise MalformedInput("a withdrawal is the hub's to pay", field="statement.context.spoke")
            if len(legs) != 1 or legs[0] >= 0:
                raise MalformedInput("a withdrawal takes out one thing: one negative leg", field="statement.delta")


def legs_cost(delta: Iterable[tuple[str, str]], snapshot: Snapshot) -> Fraction:
    """What legs take from an account at a snapshot's marks, in the quote currency; negative when they bring something.

    ``MalformedInput`` for an unknown instrument.
    """
    cost = Fraction(0)
    for i, (name, quantity) in enumerate(delta):
        mark = snapshot.instruments[snapshot.row_of(name, field=f"statement.delta.{i}.instrument")].mark
        cost -= parse_decimal(quantity, field=f"statement.delta.{i}.quantity") * mark
    return cost


def check_limit(purpose: Purpose, delta: Iterable[tuple[str, str]], snapshot: Snapshot) -> None:
    """``StatementMismatch`` for a trade or withdrawal of credit, or a trade that takes more than its limit."""
    if not isinstance(purpose, ForTrade | ForWithdrawal):
        return
    legs = tuple(delta)
    for i, (name, _) in enumerate(legs):
        field = f"statement.delta.{i}.instrument"
        if snapshot.instruments[snapshot.row_of(name, field=field)].kind == "credit":
            raise StatementMismatch("credit is neither traded nor withdrawn", field=field)
    if isinstance(purpose, ForTrade) and legs_cost(legs, snapshot) > parse_decimal(purpose.limit, field=f"{_AT}.limit"):
        raise StatementMismatch("the legs take more than this at the snapshot's marks", field=f"{_AT}.limit")
