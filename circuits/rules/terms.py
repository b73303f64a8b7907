"""Typed terms that rules share: notional of a lot, tiers, and the over-charging chord of class C."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import lcm

from zkmargin.circuits.compiler import MarginRule
from zkmargin.circuits.errors import RuleRefused
from zkmargin.circuits.expression import Abs, Amount, CeilDiv, Expression, Linear, Max, Sum
from zkmargin.circuits.snapshot import Instrument, Snapshot
from zkmargin.circuits.units import PPM, ceil_div


def ceil(value: Fraction) -> int:
    """Smallest integer that is not below ``value``."""
    return ceil_div(value.numerator, value.denominator)


def floor(value: Fraction) -> int:
    """Largest integer that is not above ``value``."""
    return value.numerator // value.denominator


def lot_notional(inst: Instrument, snapshot: Snapshot) -> Fraction:
    """Notional of one lot at the mark, in fine quanta (exact)."""
    return inst.mark * inst.lot * int(10**snapshot.value_decimals)


def credits_of(snapshot: Snapshot) -> frozenset[int]:
    """Rows of credits, which are never negative."""
    return frozenset(j for j, inst in enumerate(snapshot.instruments) if inst.kind == "credit")


def position_limits(snapshot: Snapshot) -> tuple[tuple[int, int], ...]:
    """(low, high) of every position in lots; a credit's low is 0."""
    return tuple(
        (0 if inst.kind == "credit" else -inst.position_limit, inst.position_limit) for inst in snapshot.instruments
    )


def scenario_value(snapshot: Snapshot, s: int) -> Linear:
    """sum_j z_j V_j(s), in fine quanta."""
    return Linear({j: inst.values[s] for j, inst in enumerate(snapshot.instruments) if inst.values[s]})


def net_of_requirement(
    snapshot: Snapshot, requirement: Expression, components: Sequence[tuple[str, Expression]]
) -> MarginRule:
    """The rule "value in every scenario, less one requirement": what the linear rules share."""
    scenarios: list[tuple[str, Expression]] = []
    for s, name in enumerate(snapshot.scenarios):
        scenarios.append((name, Sum(((1, scenario_value(snapshot, s)), (-1, requirement)))))
    return MarginRule(
        limits=tuple(
            (0 if inst.kind == "credit" else -inst.position_limit, inst.position_limit) for inst in snapshot.instruments
        ),
        scenarios=tuple(scenarios),
        amount_factor=snapshot.fine,
        non_negative=credits_of(snapshot),
        components=(("requirement", requirement), *components),
    )


def quote_debts(snapshot: Snapshot) -> dict[int, Expression]:
    """The debt in quote that credits and the amount become, in fine quanta: what they exceed each line's balance by.

    A used credit is paid out of a quote line, and an amount becomes a credit: a charge on a debt in quote has to be on
    this, since neither step changes it, and not on the short part of the line alone, which a payment makes.
    """
    quotes = [j for j, inst in enumerate(snapshot.instruments) if inst.kind == "quote"]
    most = sum(inst.position_limit * max(map(abs, inst.values)) for inst in snapshot.instruments)
    amount = Amount(most // snapshot.fine)
    owed = {c: -snapshot.instruments[c].values[0] for c in sorted(credits_of(snapshot))}
    out: dict[int, Expression] = {}
    for row in quotes:
        inst = snapshot.instruments[row]
        exceeding = Sum(((1, Linear({row: -inst.values[0], **owed})), (snapshot.fine, amount)))
        out[row] = Max(f"{inst.id}.debt", (exceeding, Linear({})))
    return out


@dataclass(frozen=True)
class Tier:
    """A bracket of notional (quote units) and its marginal rate in parts per million."""

    lower: Fraction
    rate_ppm: int


def tiered_requirement(
    name: str, position: int, inst: Instrument, snapshot: Snapshot, tiers: Sequence[Tier], multiplier: Fraction
) -> Expression:
    """Requirement of a notional n: the largest over tiers of n * rate_k - deduction_k, in fine quanta.

    deduction_k = deduction_(k-1) + lower_k * (rate_k - rate_(k-1)): the marginal scheme of Binance and Hyperliquid.
    The exact largest is rounded up once, to a fine quantum, so a table with higher rates never asks for less. Raises
    ``RuleRefused`` naming ``name`` for an unsorted table or falling rates (the requirement would not be convex).
    """
    if not tiers or tiers[0].lower != 0:
        raise RuleRefused("the first tier must begin at 0", field=name)
    notional = lot_notional(inst, snapshot)
    deduction, previous = Fraction(0), tiers[0]
    lines: list[tuple[Fraction, Fraction]] = []
    for k, tier in enumerate(tiers):
        if k and tier.lower <= previous.lower:
            raise RuleRefused("the tiers are not sorted by their lower bound", field=name)
        if tier.rate_ppm < previous.rate_ppm:
            raise RuleRefused("a rate falls with size, so the requirement is not convex", field=name)
        deduction += tier.lower * Fraction(tier.rate_ppm - previous.rate_ppm, PPM)
        per_lot = notional * Fraction(tier.rate_ppm, PPM) * multiplier
        lines.append((per_lot, deduction * multiplier * int(10**snapshot.value_decimals)))
        previous = tier
    divisor = lcm(*(value.denominator for line in lines for value in line))
    pieces = tuple(Sum(((int(a * divisor), Abs(position)),), -int(b * divisor)) for a, b in lines)
    largest: Expression = pieces[0] if len(pieces) == 1 else Max(name, pieces)
    return largest if divisor == 1 else CeilDiv(f"{name}.rounded", largest, divisor)


@dataclass(frozen=True)
class Chords:
    """A class C cost: the chords of a convex function between breakpoints, and the worst over-charge."""

    expression: Expression
    overcharge: Fraction


def chords(name: str, position: int, breakpoints: Sequence[int], cost: Callable[[Fraction], Fraction]) -> Chords:
    """Over-charge a convex even cost of one position by its chords on |z| (never by tangents, which under-charge).

    ``breakpoints`` in lots, from 0 to the position limit; ``cost`` takes |z| in lots and gives fine quanta. The worst
    over-charge is computed on the lots beside the point where a chord's slope is passed, the only places it can be,
    plus one quantum for rounding. Raises ``RuleRefused`` when the chords' slopes fall (the cost is not convex).
    """
    if list(breakpoints) != sorted(set(breakpoints)) or not breakpoints or breakpoints[0] != 0 or len(breakpoints) < 2:
        raise RuleRefused("breakpoints must rise from 0", field=name)
    lines: list[tuple[int, int]] = []
    last_slope: Fraction | None = None
    for left, right in pairwise(breakpoints):
        low, high = cost(Fraction(left)), cost(Fraction(right))
        slope = (high - low) / (right - left)
        if last_slope is not None and slope < last_slope:
            raise RuleRefused("the cost is not convex between its breakpoints", field=name)
        last_slope = slope
        # From (left, low) upwards with a rate rounded up: never below the chord on its own stretch.
        rate = ceil(slope)
        lines.append((rate, ceil(low - rate * left)))
    worst = max(
        _largest(rate, constant, cost, left, right) for rate, constant in lines for left, right in pairwise(breakpoints)
    )
    pieces = tuple(Sum(((rate, Abs(position)),), constant) for rate, constant in lines)
    return Chords(Max(name, pieces), worst)


def _largest(rate: int, constant: int, cost: Callable[[Fraction], Fraction], left: int, right: int) -> Fraction:
    """Largest rate * z + constant - cost(z), concave in z, on the lots left .. right: ternary search."""

    def excess(z: int) -> Fraction:
        return rate * z + constant - cost(Fraction(z))

    while right - left > 2:
        third = (right - left) // 3
        if excess(left + third) < excess(right - third):
            left += third
        else:
            right -= third
    return max(map(excess, range(left, right + 1)))
