"""No rule charges for paying: a used credit leaves in cash, an amount becomes a credit, and neither lowers anything.

A credit that was proved is paid out of the quote line later, and nobody asks the account again. So a step that takes
the same money from the quote line and from a credit line must lower no scenario's net margin and no constraint, nor may
one that makes a credit of the amount, or gives a free one back. That is decided from the expressions by interval
arithmetic on one step, which the shipped rules and overlays pass with zeros; a charge on cash by itself (the short part
of the quote line, a latency buffer on it, a ban) does not pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import product
from math import lcm

from zkmargin.circuits.compiler import MarginRule
from zkmargin.circuits.election import children
from zkmargin.circuits.errors import RuleRefused
from zkmargin.circuits.expression import Abs, Amount, CeilDiv, Expression, FloorDiv, Linear, Part, Sum
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.units import ceil_div

Interval = tuple[int, int]
#: Pairs of a quote and a credit line that are looked at, each with a walk over the rule; a hub's snapshot has one. Of
#: credits without a quote line there may be as many.
MAX_PAIRS = 16


class _Moving:
    """The parts of expressions that cash, credits or the amount can move: most of a rule is none of them."""

    def __init__(self, rows: Sequence[int]) -> None:
        self.rows = rows
        self.moved: dict[int, bool] = {}
        self.parts: dict[int, tuple[tuple[int, Expression], ...]] = {}

    def moves(self, expr: Expression) -> bool:
        match expr:
            case Linear(coefficients=coefs):
                return any(j in coefs for j in self.rows)
            case Amount():
                return True
            case Abs(position=j) | Part(position=j):
                return j in self.rows
            case Sum(parts=parts) if id(expr) not in self.moved:
                kept = tuple((factor, term) for factor, term in parts if factor and self.moves(term))
                self.parts[id(expr)], self.moved[id(expr)] = kept, bool(kept)
        if id(expr) not in self.moved:
            self.moved[id(expr)] = any(self.moves(child) for _, child in children(expr))
        return self.moved[id(expr)]


class _Step:
    """How far expressions can move when positions move by ``lots`` and the amount by ``amount``."""

    def __init__(self, moving: _Moving, lots: Mapping[int, int], amount: int, non_negative: frozenset[int]) -> None:
        self.moving, self.lots, self.amount, self.non_negative = moving, lots, amount, non_negative
        self.memo: dict[int, Interval] = {}

    def part(self, position: int, sign: int) -> Interval:
        moved = sign * self.lots.get(position, 0)
        if position in self.non_negative:
            moved = moved if sign > 0 else 0
            return moved, moved
        return min(moved, 0), max(moved, 0)

    def change(self, expr: Expression) -> Interval:
        """The smallest and the largest change of an expression, whatever the positions and elections are."""
        match expr:
            case Linear(coefficients=coefs):
                moved = sum(coefs.get(j, 0) * lots for j, lots in self.lots.items())
                return moved, moved
            case Amount():
                return self.amount, self.amount
            case Abs(position=j):
                moved = self.lots.get(j, 0)
                return (moved, moved) if j in self.non_negative else (-abs(moved), abs(moved))
            case Part(position=j, sign=sign):
                return self.part(j, sign)
        if not self.moving.moves(expr):
            return 0, 0
        if id(expr) not in self.memo:  # shared terms, and the sums that hold them, are looked at once
            self.memo[id(expr)] = self.nested(expr)
        return self.memo[id(expr)]

    def nested(self, expr: Expression) -> Interval:
        match expr:
            case Sum():
                parts = self.moving.parts[id(expr)]
                ends = [sorted(factor * end for end in self.change(term)) for factor, term in parts]
                return sum(low for low, _ in ends), sum(high for _, high in ends)
            case CeilDiv(argument=arg, divisor=d) | FloorDiv(argument=arg, divisor=d):
                low, high = self.change(arg)
                return low // d, ceil_div(high, d)
        # Of a maximum, a minimum or an election any piece may count, before the step and after it.
        lows, highs = zip(*(self.change(child) for _, child in children(expr)), strict=True)
        return min(lows), max(highs)


def _unit(*sizes: Fraction) -> Fraction:
    """The least sum of money that is a whole number of each size."""
    scale = lcm(*(size.denominator for size in sizes))
    return Fraction(lcm(*(int(size * scale) for size in sizes)), scale)


def expect_payable(rule: MarginRule, snapshot: Snapshot) -> MarginRule:
    """The rule itself, if booking an amount, releasing a credit and paying one in cash lower nothing.

    ``RuleRefused`` names the scenario or constraint that they could lower.

    Looks at every pair of a quote and a credit line, of which there may be :data:`MAX_PAIRS`; a snapshot without
    credits has nothing to look at.
    """
    quotes = [j for j, inst in enumerate(snapshot.instruments) if inst.kind == "quote"]
    credits = [j for j, inst in enumerate(snapshot.instruments) if inst.kind == "credit"]
    if max(len(quotes), 1) * len(credits) > MAX_PAIRS:
        raise RuleRefused(f"more than {MAX_PAIRS} pairs of a quote and a credit line", field="snapshot.instruments")
    lot = [inst.lot for inst in snapshot.instruments]
    quantum = Fraction(1, 10**snapshot.decimals)
    rows = [
        *((f"scenario({name})", expr, rule.amount_factor) for name, expr in rule.scenarios),
        *((f"constraint({c.name})", c.expression, c.amount_factor) for c in rule.constraints),
    ]
    steps: list[tuple[str, Mapping[int, int], int]] = []
    for c in credits:
        unit = _unit(lot[c], quantum)
        steps.append(("booking an amount as a credit", {c: int(unit / lot[c])}, -int(unit / quantum)))
        steps.append(("releasing a credit", {c: -1}, 0))
    for q, c in product(quotes, credits):
        unit = _unit(lot[c], lot[q])
        steps.append(("paying a credit in cash", {q: -int(unit / lot[q]), c: -int(unit / lot[c])}, 0))
    moving = _Moving((*quotes, *credits))
    for what, lots, amount in steps:
        step = _Step(moving, lots, amount, rule.non_negative)
        for name, expr, factor in rows:
            if step.change(expr)[0] - factor * amount < 0:
                raise RuleRefused(f"{what} could lower it: something charges for cash or for credits", field=name)
    return rule
