"""Class B: elections. A max of concave pieces is exact once the statement names, in public, the piece that counts.

Which pieces an account names is visible to every venue; :func:`elections` lists what a rule asks for, so a document
can say which bits become public.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from zkmargin.circuits.errors import RuleRefused, StatementMismatch
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
    describe,
)

Choice = Mapping[str, str]


def children(expr: Expression) -> Iterator[tuple[int, Expression]]:
    """(sign, subexpression): how a growing part moves the whole."""
    match expr:
        case Linear() | Amount() | Abs() | Part():
            return
        case Sum(parts=parts):
            yield from ((1 if factor > 0 else -1, term) for factor, term in parts if factor)
        case Max(pieces=pieces) | Min(pieces=pieces):
            yield from ((1, piece) for piece in pieces)
        case CeilDiv(argument=arg) | FloorDiv(argument=arg) | Shared(argument=arg):
            yield 1, arg
        case Election(pieces=choices):
            yield from ((1, piece) for _, piece in choices)


def elections(exprs: Sequence[Expression]) -> dict[str, tuple[Election, ...]]:
    """Every election below some expressions, by name, in order of first use.

    Elections of one name are one *joint* choice (an eMode category counts in every scenario alike) and must have the
    same labels. Raises ``RuleRefused`` for one that stands where less is better for the account (naming a smaller
    piece would pay), or for labels that differ.
    """
    found: dict[str, list[Election]] = {}
    seen: set[tuple[int, int]] = set()

    def walk(expr: Expression, sign: int) -> None:
        if (id(expr), sign) in seen:
            return
        seen.add((id(expr), sign))
        if isinstance(expr, Election):
            if sign < 0:
                raise RuleRefused("an election where less is better for the account", field=describe(expr))
            labels = [label for label, _ in expr.pieces]
            if not labels or len(set(labels)) != len(labels):
                raise RuleRefused("an election needs differently named pieces", field=describe(expr))
            same = found.setdefault(expr.name, [])
            if same and [label for label, _ in same[0].pieces] != labels:
                raise RuleRefused("elections of one name with different pieces", field=describe(expr))
            if not any(known is expr for known in same):
                same.append(expr)
        for inner_sign, child in children(expr):
            walk(child, sign * inner_sign)

    for expr in exprs:
        walk(expr, 1)
    return {name: tuple(same) for name, same in found.items()}


def resolver(choice: Choice) -> Callable[[Expression], Expression]:
    """A function that replaces every election by the chosen piece, keeping shared terms shared.

    It raises ``StatementMismatch`` for an election without a choice or an unknown piece.
    """
    done: dict[int, tuple[Expression, Expression]] = {}

    def build(expr: Expression) -> Expression:
        match expr:
            case Linear() | Amount() | Abs() | Part():
                return expr
            case Sum(parts=parts, constant=constant):
                return Sum(tuple((factor, resolve(term)) for factor, term in parts), constant)
            case Max(name=name, pieces=pieces):
                return Max(name, tuple(map(resolve, pieces)))
            case Min(name=name, pieces=pieces):
                return Min(name, tuple(map(resolve, pieces)))
            case CeilDiv(name=name, argument=arg, divisor=divisor):
                return CeilDiv(name, resolve(arg), divisor)
            case FloorDiv(name=name, argument=arg, divisor=divisor):
                return FloorDiv(name, resolve(arg), divisor)
            case Shared(name=name, argument=arg):
                return Shared(name, resolve(arg))
            case Election(name=name, pieces=choices):
                label = choice.get(name)
                piece = dict(choices).get(label) if label is not None else None
                if piece is None:
                    raise StatementMismatch(
                        f"must name one of {[n for n, _ in choices]}", field=f"statement.elections.{name}"
                    )
                return resolve(piece)

    def resolve(expr: Expression) -> Expression:
        # The original is kept beside the result, so that its id cannot be used again.
        if id(expr) not in done:
            done[id(expr)] = (expr, build(expr))
        return done[id(expr)][1]

    return resolve
