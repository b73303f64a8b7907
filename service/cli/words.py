"""A statement in words: what a holder allows by proving it and by signing it. For people; no program reads it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from fractions import Fraction

from zkmargin.circuits.purpose import ANY, ForCredit, ForTrade, ForWithdrawal, legs_cost
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import Statement
from zkmargin.circuits.units import ceil_div, format_quanta, parse_decimal


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _legs(statement: Statement) -> str:
    """Legs as what the account receives and gives."""
    got = [f"{quantity} {name}" for name, quantity in statement.delta if not quantity.startswith("-")]
    given = [f"{quantity[1:]} {name}" for name, quantity in statement.delta if quantity.startswith("-")]
    parts = [f"receives {', '.join(got)}" if got else "receives NOTHING", f"gives {', '.join(given) or 'nothing'}"]
    return " and ".join(parts)


def _cost(statement: Statement, snapshot: Snapshot) -> str:
    """What the legs take at the snapshot's marks, rounded up to the quote's decimals."""
    cost: Fraction = legs_cost(statement.delta, snapshot) * 10**snapshot.decimals
    quanta = ceil_div(cost.numerator, cost.denominator)
    amount = f"{format_quanta(abs(quanta), snapshot.decimals)} {snapshot.currency}"
    return f"at this snapshot's marks that {'takes' if quanta > 0 else 'brings'} {amount}"


def in_words(statement: Statement, snapshot: Snapshot) -> list[str]:
    """What a statement authorises when the account's key signs it, a line each.

    ``MalformedInput`` for a delta that the snapshot cannot express.
    """
    c, purpose = statement.context, statement.purpose
    unit = snapshot.currency
    match purpose:
        case ForCredit():
            lines = [
                f"{purpose.venue} may draw up to {purpose.amount} {unit} on account {c.account} of {c.hub}, "
                f"until {_time(purpose.expires)}.",
                "What it has drawn it may be paid out of the account's cash, without asking again.",
            ]
        case ForTrade():
            other = "any account" if purpose.counterparty == ANY else f"account {purpose.counterparty}"
            lines = [
                f"{c.venue} may book a trade of account {c.account} of {c.hub} with {other}: "
                f"the account {_legs(statement)};",
                f"{_cost(statement, snapshot)} (limit {purpose.limit} {unit}).",
            ]
        case ForWithdrawal():
            name, quantity = statement.delta[0]
            # In quotes, as it is free text: it may read like the end of this sentence and another one.
            to = json.dumps(purpose.destination)
            lines = [f"{c.hub} may pay {quantity[1:]} {name} out of account {c.account} to {to}."]
        case _:
            after = ""
            if statement.delta:
                after = f", also if it {_legs(statement)} ({_cost(statement, snapshot)})"
            lines = [
                f"Shows {c.venue} that account {c.account} of {c.hub} is solvent{after}.",
                "Nothing may be booked on it.",
            ]
    if parse_decimal(statement.amount, field="statement.amount") > 0:
        lines.append(
            f"{c.venue} learns that the account is good for {statement.amount} {unit} more than its margin "
            f"({statement.terms.level}, multiplier {statement.tree['multiplier']})."
        )
    return [*lines, f"Good until {_time(min(c.expiry, snapshot.time + statement.terms.horizon))}."]
