"""The over-charging chords of class C: a convex cost that no exact rule can have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from zkmargin.circuits.errors import RuleRefused
from zkmargin.circuits.expression import Abs, Expression, Max, Sum
from zkmargin.circuits.rules.terms import ceil


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
