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

from zkmargin.circuits.errors import StatementMismatch
from zkmargin.circuits.units import parse_decimal

if TYPE_CHECKING:
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
