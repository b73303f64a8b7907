"""What an expression of a rule is worth at given positions: plain integers, exact."""

from __future__ import annotations

from collections.abc import Sequence

from zkmargin.circuits.expression import (
    Abs,
    Amount,
    CeilDiv,
    Election,
    Expression,
    FloorDiv,
    Linear,
    Max,
    Min,
    Part,
    Shared,
    Sum,
)
from zkmargin.circuits.units import ceil_div


def evaluate(expr: Expression, z: Sequence[int], memo: dict[int, int] | None = None, amount: int = 0) -> int:
    """Exact integer value at positions ``z`` (lots) and an amount (quote quanta). ``memo`` keeps shared terms between
    calls for the same ``z`` and amount.
    """
    match expr:
        case Linear(coefficients=coefs, constant=c):
            return c + sum(a * z[j] for j, a in coefs.items())
        case Amount():
            return amount
        case Sum(parts=parts, constant=c):
            return c + sum(f * evaluate(term, z, memo, amount) for f, term in parts if f)
        case Abs(position=j):
            return abs(z[j])
        case Part(position=j, sign=sign):
            return max(sign * z[j], 0)
        case Shared(argument=arg):
            if memo is None:
                return evaluate(arg, z, None, amount)
            if id(expr) not in memo:
                memo[id(expr)] = evaluate(arg, z, memo, amount)
            return memo[id(expr)]
        case Max(pieces=pieces):
            return max(evaluate(p, z, memo, amount) for p in pieces)
        case Election(pieces=choices):
            return max(evaluate(p, z, memo, amount) for _, p in choices)
        case Min(pieces=pieces):
            return min(evaluate(p, z, memo, amount) for p in pieces)
        case CeilDiv(argument=arg, divisor=d):
            return ceil_div(evaluate(arg, z, memo, amount), d)
        case FloorDiv(argument=arg, divisor=d):
            return evaluate(arg, z, memo, amount) // d
