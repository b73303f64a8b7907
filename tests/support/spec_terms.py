"""Terms and the system in the making, written from SPEC.md alone: intervals, lowering, the encoding of a system."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor, lcm


@dataclass
class Form:
    """Coefficients of positions, variables and the amount, and a constant."""

    positions: dict[int, int] = field(default_factory=dict)
    variables: dict[int, int] = field(default_factory=dict)
    constant: int = 0
    amount: int = 0

    def plus(self, other: Form, times: int) -> Form:
        for mine, theirs in ((self.positions, other.positions), (self.variables, other.variables)):
            for key, value in theirs.items():
                mine[key] = mine.get(key, 0) + times * value
        self.constant += times * other.constant
        self.amount += times * other.amount
        return self


class Machine:
    """The system in the making."""

    def __init__(self, limits: list[int], credit: list[bool]) -> None:
        self.limits, self.credit = limits, credit
        self.variables: list[int] = []
        self.rows: list[tuple[Form, int]] = []
        self.split: list[tuple[int, int | None]] = []
        for j, limit in enumerate(limits):
            p = self.variable(limit)
            n = None if credit[j] else self.variable(limit)
            self.split.append((p, n))
            self.rows.append((Form({j: 1}, {p: -1} if n is None else {p: -1, n: 1}), 0))

    def variable(self, limit: int) -> int:
        self.variables.append(max(0, limit))
        return len(self.variables) - 1

    def slack_row(self, form: Form, limit: int, factor: int = 0) -> None:
        slack = self.variable(limit)
        form.variables[slack] = -1
        self.rows.append((form, factor - form.amount))

    def demand(self, term: Term, factor: int) -> None:
        """A scenario or a constraint."""
        form = Form().plus(term.lower(self), 1)
        self.slack_row(form, max(0, term.interval(self)[1]), factor)

    def digest(self) -> str:
        def integer(v: int) -> bytes:
            size = (abs(v).bit_length() + 7) // 8
            return bytes([v < 0]) + size.to_bytes(2, "big") + abs(v).to_bytes(size, "big")

        def entries(e: dict[int, int]) -> bytes:
            kept = sorted((i, v) for i, v in e.items() if v)
            return len(kept).to_bytes(4, "big") + b"".join(i.to_bytes(4, "big") + integer(v) for i, v in kept)

        h = hashlib.sha256(b"zkmargin/system/1\x00" + len(self.limits).to_bytes(4, "big"))
        h.update(len(self.variables).to_bytes(4, "big") + b"".join(map(integer, self.variables)))
        h.update(len(self.rows).to_bytes(4, "big"))
        for form, factor in self.rows:
            h.update(entries(form.positions) + entries(form.variables) + integer(form.constant) + integer(factor))
        return h.hexdigest()


class Term:
    def interval(self, m: Machine) -> tuple[int, int]:
        raise NotImplementedError

    def lower(self, m: Machine) -> Form:
        raise NotImplementedError


@dataclass(eq=False)
class Lin(Term):
    coefficients: dict[int, int]
    constant: int = 0

    def interval(self, m: Machine) -> tuple[int, int]:
        low = high = self.constant
        for j, a in self.coefficients.items():
            ends = sorted((0 if m.credit[j] else -a * m.limits[j], a * m.limits[j]))
            low, high = low + ends[0], high + ends[1]
        return low, high

    def lower(self, m: Machine) -> Form:
        return Form(dict(self.coefficients), {}, self.constant)


@dataclass(eq=False)
class Amount(Term):
    bound: int

    def interval(self, m: Machine) -> tuple[int, int]:
        return 0, self.bound

    def lower(self, m: Machine) -> Form:
        return Form(amount=1)


@dataclass(eq=False)
class Sum(Term):
    parts: list[tuple[int, Term]]
    constant: int = 0

    def interval(self, m: Machine) -> tuple[int, int]:
        low = high = self.constant
        for f, t in self.parts:
            ends = sorted(f * end for end in t.interval(m))
            low, high = low + ends[0], high + ends[1]
        return low, high

    def lower(self, m: Machine) -> Form:
        out = Form(constant=self.constant)
        for f, t in self.parts:
            if f:
                out.plus(t.lower(m), f)
        return out


@dataclass(eq=False)
class Side(Term):
    """abs(j), long(j) or short(j)."""

    kind: str
    j: int

    def interval(self, m: Machine) -> tuple[int, int]:
        return 0, 0 if self.kind == "short" and m.credit[self.j] else m.limits[self.j]

    def lower(self, m: Machine) -> Form:
        p, n = m.split[self.j]
        out = Form({}, {} if self.kind == "short" else {p: 1})
        if n is not None and self.kind != "long":
            out.variables[n] = 1
        return out


@dataclass(eq=False)
class Own(Term):
    """max, min, ceil, floor, shared: terms with a variable of their own."""

    kind: str
    arguments: list[Term]
    divisor: int = 1
    done: Form | None = None

    def interval(self, m: Machine) -> tuple[int, int]:
        lows, highs = zip(*(t.interval(m) for t in self.arguments), strict=True)
        if self.kind in ("max", "min"):
            pick = max if self.kind == "max" else min
            return pick(lows), pick(highs)
        if self.kind == "shared":
            return lows[0], highs[0]
        round_ = ceil if self.kind == "ceil" else floor
        return round_(Fraction(lows[0], self.divisor)), round_(Fraction(highs[0], self.divisor))

    def lower(self, m: Machine) -> Form:
        if self.done is not None:
            return self.done
        forms = [t.lower(m) for t in self.arguments]
        low, high = self.interval(m)
        offset = max(0, -low)
        v = m.variable(high + offset)
        self.done = Form({}, {v: 1}, -offset)
        sign = 1 if self.kind in ("max", "ceil", "shared") else -1
        for t, form in zip(self.arguments, forms, strict=True):
            gap = Form().plus(self.done, sign * self.divisor).plus(form, -sign)
            its_low, its_high = t.interval(m)
            if self.kind == "shared":
                m.rows.append((gap, -gap.amount))
            elif self.kind in ("ceil", "floor"):
                m.slack_row(gap, self.divisor - 1)
            else:
                m.slack_row(gap, high - its_low if self.kind == "max" else its_high - low)
        return self.done


def abs_(j: int) -> Term:
    return Side("abs", j)


def up(terms: list[tuple[Fraction, Term]]) -> Term:
    """The rounding of the scan: one ceiling over a sum with fractions, none where it would do nothing."""
    kept = [(f, t) for f, t in terms if f]
    e = lcm(*(f.denominator for f, _ in kept))
    total = Sum([(int(f * e), t) for f, t in kept])
    return total if e == 1 else Own("ceil", [total], e)
