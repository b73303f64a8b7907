"""Portfolio documents, and the cash of contracts that were not paid for.

A position counts at its full value, whatever was paid for it. So the cash of an account with a perpetual or a future
is its collateral less quantity times entry price: somebody who deposits 1,000 and buys 5 contracts at 20,000 has
-99,000 in cash and contracts worth 100,000. A portfolio file may leave that to us, with an entry price at the position.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field

from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.schema import Decimal, Name, Secret, Text, load
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.units import parse_decimal, to_lots
from zkmargin.prover.witness import check_positions

#: Contracts that cost nothing to enter, so that a file may well forget their price.
UNPAID_KINDS = ("perpetual", "future")
#: A portfolio is of one direction where its net value is so much of its gross value. Others have cash of either sign.
DIRECTED = Fraction(3, 4)


class PositionModel(Secret):
    """Signed quantity of one instrument, in units (not lots); ``entry`` is a price to charge to cash for each unit."""

    instrument: Name
    quantity: Decimal
    entry: Decimal | None = None


class PortfolioModel(Secret):
    """``zkmargin/portfolio/1``. Secret."""

    schema_: Literal["zkmargin/portfolio/1"] = Field(alias="schema")
    positions: Annotated[list[PositionModel], Field(max_length=2048)]
    source: Text = ""


@dataclass(frozen=True)
class Portfolio:
    """Lots in registry order, cash after entry prices; ``entered`` are the rows that had one. Secret."""

    lots: tuple[int, ...] = field(repr=False)
    entered: frozenset[int] = field(repr=False)


def parse_portfolio(data: bytes, snapshot: Snapshot) -> Portfolio:
    """A portfolio document to lots; instruments it does not name are zero.

    Entry prices are charged to cash: less quantity times price, exact, the sum rounded down to a lot of the quote
    currency. ``MalformedInput`` for every unknown or repeated instrument, quantity off its lot grid or limit, or entry
    price where none belongs.
    """
    model = load(PortfolioModel, data, name="portfolio")
    lots = [0] * len(snapshot.instruments)
    seen: set[str] = set()
    costs: dict[int, Fraction] = {}
    faults: list[MalformedInput] = []
    for i, position in enumerate(model.positions):
        try:
            row = _row(position, snapshot, seen, at=f"portfolio.positions.{i}")
            lots[row] = to_lots(
                position.quantity, snapshot.instruments[row].lot, field=f"portfolio.positions.{i}.quantity"
            )
            if position.entry is not None:
                costs[row] = _cost(position, snapshot, row, at=f"portfolio.positions.{i}.entry")
        except MalformedInput as err:
            faults.append(err)
    MalformedInput.raise_all(faults)
    if costs:
        cash = _cash_row(snapshot)
        lot = snapshot.instruments[cash].lot
        left = lots[cash] * lot - sum(costs.values())
        lots[cash] = left // lot  # down: against the account
    check_positions(lots, snapshot, field="portfolio")
    return Portfolio(tuple(lots), frozenset(costs))


def _row(position: PositionModel, snapshot: Snapshot, seen: set[str], *, at: str) -> int:
    row = snapshot.row_of(position.instrument, field=f"{at}.instrument")
    if position.instrument in seen:
        raise MalformedInput("duplicate instrument", field=f"{at}.instrument")
    seen.add(position.instrument)
    return row


def _cost(position: PositionModel, snapshot: Snapshot, row: int, *, at: str) -> Fraction:
    """Quantity times entry price, in units of the quote currency."""
    if snapshot.instruments[row].kind in ("quote", "credit"):
        raise MalformedInput("cash and credits have no entry price", field=at)
    price = parse_decimal(position.entry or "", field=at)
    if price < 0:
        raise MalformedInput("must not be negative", field=at)
    return parse_decimal(position.quantity, field=at) * price


def _cash_row(snapshot: Snapshot) -> int:
    """The row of the quote currency; ``MalformedInput`` where there is none, or more than one."""
    rows = [row for row, inst in enumerate(snapshot.instruments) if inst.kind == "quote"]
    if len(rows) != 1:
        raise MalformedInput("an entry price needs a snapshot with one line of kind quote", field="portfolio.positions")
    return rows[0]


def notional_warnings(lots: Sequence[int], entered: Collection[int], snapshot: Snapshot) -> list[str]:
    """A warning where cash looks as if it were the collateral alone. It is a guess, and says so.

    Contracts without an entry price are worth N at their marks, and cash is charged for them, if the file follows the
    convention. Then cash is below zero where the portfolio is long (nobody pays contracts in full), and covers -N where
    it is net short (or the account is under water). Names instruments, no quantity.
    """
    rows = [
        row for row, inst in enumerate(snapshot.instruments)
        if inst.kind in UNPAID_KINDS and lots[row] and row not in entered
    ]  # fmt: skip
    cash = [row for row, inst in enumerate(snapshot.instruments) if inst.kind == "quote"]
    if not rows or len(cash) != 1:
        return []
    each = [lots[row] * snapshot.instruments[row].lot * snapshot.instruments[row].mark for row in rows]
    worth, gross = sum(each, Fraction(0)), sum(map(abs, each), Fraction(0))
    held = lots[cash[0]] * snapshot.instruments[cash[0]].lot
    raw = held >= 0 and worth >= DIRECTED * gross if worth > 0 else held < -worth
    if not raw:
        return []
    names = ", ".join(snapshot.instruments[row].id for row in rows[:5]) + (", ..." if len(rows) > 5 else "")
    return [
        f"{names}: a perpetual or future counts at its full value, so {snapshot.instruments[cash[0]].id} must be the "
        "collateral less quantity times entry price. Here it looks like the collateral alone. Unless the contracts "
        "were paid in full, give each position its entry price (docs/FILES.md, Portfolio)"
    ]
