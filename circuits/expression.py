"""The language of margin rules: expressions over positions, with the curvature that decides provability.

A rule is written once with these types and gives bounds (:func:`bounds`) and, through
:mod:`zkmargin.circuits.compiler`, the linear system; a holder evaluates it (:mod:`zkmargin.prover.evaluation`).
Curvature is decided as in disciplined convex programming (Grant, Boyd, Ye 2006): costs are convex, benefits concave,
and a rule's net margin must be concave.

Position variables z_j are the committed position plus the statement's public delta, in lots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Union

from zkmargin.circuits.errors import RuleRefused
from zkmargin.circuits.units import ceil_div


class Curvature(Enum):
    """What an expression is, as a function of the positions."""

    AFFINE = "affine"
    CONVEX = "convex"
    CONCAVE = "concave"


@dataclass(frozen=True)
class Linear:
    """constant + sum_j coefficients[j] * z_j."""

    coefficients: Mapping[int, int]
    constant: int = 0


@dataclass(frozen=True)
class Amount:
    """The statement's amount in quote quanta: affine. ``limit`` is the largest that any account could prove.

    Only a charge that depends on the amount needs it: what a row's amount factor says is no term.
    """

    limit: int


@dataclass(frozen=True)
class Sum:
    """constant + sum_k factor_k * term_k, with integer factors."""

    parts: tuple[tuple[int, Expression], ...]
    constant: int = 0


@dataclass(frozen=True)
class Abs:
    """|z_j|: convex. Costs no auxiliary, it is p_j + n_j of the split."""

    position: int


@dataclass(frozen=True)
class Part:
    """max(sign * z_j, 0), the long (sign 1) or short (sign -1) part: convex. No auxiliary, it is p_j or n_j."""

    position: int
    sign: int


@dataclass(frozen=True)
class Max:
    """The largest of its pieces: a cost, convex."""

    name: str
    pieces: tuple[Expression, ...]


@dataclass(frozen=True)
class Min:
    """The smallest of its pieces: a benefit, concave."""

    name: str
    pieces: tuple[Expression, ...]


@dataclass(frozen=True)
class CeilDiv:
    """ceil(argument / divisor): a requirement rounded against the account; a cost."""

    name: str
    argument: Expression
    divisor: int


@dataclass(frozen=True)
class FloorDiv:
    """floor(argument / divisor): an asset rounded against the account; a benefit."""

    name: str
    argument: Expression
    divisor: int


@dataclass(frozen=True)
class Shared:
    """A named subexpression that many rows use: compiled to one auxiliary word."""

    name: str
    argument: Expression


@dataclass(frozen=True)
class Election:
    """The largest of concave pieces, which is no polyhedron: the statement names one piece in public (class B).

    Whatever it names is sound, since no piece exceeds the largest; naming the best is complete. It may stand only
    where more is better for the account.
    """

    name: str
    pieces: tuple[tuple[str, Expression], ...]


# A union by name, because the alias is recursive.
Expression = Union[Linear, Amount, Sum, Abs, Part, Max, Min, CeilDiv, FloorDiv, Shared, Election]  # noqa: UP007


def describe(expr: Expression) -> str:
    """The name under which messages speak of an expression."""
    match expr:
        case Max(name=n) | Min(name=n) | CeilDiv(name=n) | FloorDiv(name=n) | Shared(name=n) | Election(name=n):
            return f"{type(expr).__name__.lower()}({n})"
        case Abs(position=j):
            return f"abs(position {j})"
        case Part(position=j, sign=sign):
            return f"{'long' if sign > 0 else 'short'}(position {j})"
        case _:
            return type(expr).__name__.lower()


def curvature(expr: Expression) -> Curvature:
    """Curvature by the composition rules, or ``RuleRefused`` naming the term that breaks them."""
    match expr:
        case Linear() | Amount():
            return Curvature.AFFINE
        case Abs() | Part():
            return Curvature.CONVEX
        case Shared(argument=arg):
            return curvature(arg)
        case CeilDiv(argument=arg, divisor=d):
            _require_positive(expr, d)
            return _nested(expr, [arg], Curvature.CONVEX)
        case FloorDiv(argument=arg, divisor=d):
            _require_positive(expr, d)
            return _nested(expr, [arg], Curvature.CONCAVE)
        case Max(pieces=pieces):
            return _nested(expr, pieces, Curvature.CONVEX)
        case Min(pieces=pieces):
            return _nested(expr, pieces, Curvature.CONCAVE)
        case Sum(parts=parts):
            return _sum_curvature(parts)
        case Election():
            raise RuleRefused("is an election: the statement must name one of its pieces", field=describe(expr))


def _require_positive(expr: Expression, divisor: int) -> None:
    if divisor <= 0:
        raise RuleRefused("the divisor must be positive", field=describe(expr))


def _nested(expr: Expression, pieces: Sequence[Expression], result: Curvature) -> Curvature:
    if not pieces:
        raise RuleRefused("has no piece", field=describe(expr))
    for piece in pieces:
        found = curvature(piece)
        if found not in (Curvature.AFFINE, result):
            raise RuleRefused(
                f"{describe(piece)} inside it is {found.value}; only affine or {result.value} pieces are provable",
                field=describe(expr),
            )
    return result


def _sum_curvature(parts: tuple[tuple[int, Expression], ...]) -> Curvature:
    result, culprit = Curvature.AFFINE, "sum"
    flip = {Curvature.CONVEX: Curvature.CONCAVE, Curvature.CONCAVE: Curvature.CONVEX}
    for factor, term in parts:
        found = curvature(term)
        if factor == 0 or found is Curvature.AFFINE:
            continue
        if factor < 0:
            found = flip[found]
        if result is Curvature.AFFINE:
            result, culprit = found, describe(term)
        elif found is not result:
            raise RuleRefused(
                f"with factor {factor} it is {found.value}, and {culprit} made the sum {result.value}",
                field=describe(term),
            )
    return result


def bounds(
    expr: Expression, limits: Sequence[tuple[int, int]], memo: dict[int, tuple[int, int]] | None = None
) -> tuple[int, int]:
    """Interval (low, high) that contains the value for all positions within ``limits``; ``memo`` keeps shared terms."""
    match expr:
        case Linear(coefficients=coefs, constant=c):
            low = high = c
            for j, a in coefs.items():
                ends = (a * limits[j][0], a * limits[j][1])
                low, high = low + min(ends), high + max(ends)
            return low, high
        case Amount(limit=limit):
            return 0, limit
        case Sum(parts=parts, constant=c):
            low = high = c
            for f, term in parts:
                inner = bounds(term, limits, memo)
                ends = (f * inner[0], f * inner[1])
                low, high = low + min(ends), high + max(ends)
            return low, high
        case Abs(position=j):
            low, high = limits[j]
            return (0 if low <= 0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))
        case Part(position=j, sign=sign):
            ends = (sign * limits[j][0], sign * limits[j][1])
            return max(min(ends), 0), max(*ends, 0)
        case Shared(argument=arg):
            if memo is None:
                return bounds(arg, limits)
            if id(expr) not in memo:
                memo[id(expr)] = bounds(arg, limits, memo)
            return memo[id(expr)]
        case Max(pieces=pieces):
            ranges = [bounds(p, limits, memo) for p in pieces]
            return max(r[0] for r in ranges), max(r[1] for r in ranges)
        case Election(pieces=choices):
            ranges = [bounds(p, limits, memo) for _, p in choices]
            return max(r[0] for r in ranges), max(r[1] for r in ranges)
        case Min(pieces=pieces):
            ranges = [bounds(p, limits, memo) for p in pieces]
            return min(r[0] for r in ranges), min(r[1] for r in ranges)
        case CeilDiv(argument=arg, divisor=d):
            low, high = bounds(arg, limits, memo)
            return ceil_div(low, d), ceil_div(high, d)
        case FloorDiv(argument=arg, divisor=d):
            low, high = bounds(arg, limits, memo)
            return low // d, high // d
