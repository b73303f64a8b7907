"""From a rule to a linear system: class A compilation. The best assignment is :func:`zkmargin.prover.witness.assign`.

Class A: a cost becomes an auxiliary variable bounded below by each of its pieces, a benefit one bounded above, "worst
of the scenarios" one row per scenario. A position z = p - n is split without complementarity; that is sound because
inflating p and n together can only raise costs, which :meth:`_Compiler.lower` guarantees by refusing an absolute
value in any place where it would help.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from zkmargin.circuits.election import Choice, elections, resolver
from zkmargin.circuits.errors import InternalError, RuleRefused, StatementMismatch, SystemTooLarge
from zkmargin.circuits.expression import (
    Abs,
    Amount,
    CeilDiv,
    Curvature,
    Election,
    Expression,
    FloorDiv,
    Linear,
    Max,
    Min,
    Part,
    Shared,
    Sum,
    bounds,
    curvature,
    describe,
)
from zkmargin.circuits.layout import DOMAINS, MAX_COLUMNS, Layout
from zkmargin.circuits.system import LinearSystem, Row, Variable

#: No layout holds more words than this one, so compiling stops there. A variable takes a word, and what is no tie or
#: equality has a variable, so rows are bounded too.
LARGEST = Layout(max(DOMAINS), MAX_COLUMNS)
MAX_WORDS = LARGEST.columns * LARGEST.words_per_column
#: Coefficients in all rows. 2,500 scenarios of 200 instruments have a million at most in any shipped rule; so many
#: cost every verifier seconds for the first proof and a good tenth of one for each.
MAX_ENTRIES = 2**22


@dataclass(frozen=True)
class Constraint:
    """A row beside the scenarios: expression - amount_factor * amount >= 0 (overlays; amount in quote quanta)."""

    name: str
    expression: Expression
    amount_factor: int = 0


@dataclass(frozen=True)
class MarginRule:
    """A rule applied to a snapshot: what the compiler takes.

    ``scenarios`` are (name, net margin) in fine quanta, all of which must be at least ``amount_factor * amount``;
    ``limits`` the (low, high) range of each position in lots that must be provable; ``non_negative`` positions
    that may not be short; ``components`` named parts that :mod:`zkmargin.prover.explain` shows.
    """

    limits: tuple[tuple[int, int], ...]
    scenarios: tuple[tuple[str, Expression], ...]
    amount_factor: int
    non_negative: frozenset[int] = frozenset()
    components: tuple[tuple[str, Expression], ...] = ()
    constraints: tuple[Constraint, ...] = ()
    component_scale: int = 1
    overcharge: Fraction = Fraction(0)

    def elections(self) -> dict[str, tuple[Election, ...]]:
        """What a statement under this rule must choose in public (class B), by name; ``RuleRefused`` if misplaced."""
        return elections(self._expressions())

    def elect(self, choice: Choice) -> MarginRule:
        """The class A rule that a choice leaves. ``StatementMismatch`` for a missing, unknown or superfluous choice."""
        wanted = self.elections()
        if superfluous := set(choice) - set(wanted):
            raise StatementMismatch("the rule has no such election", field=f"statement.elections.{min(superfluous)}")
        if not wanted:
            return self
        resolve = resolver(choice)
        return replace(
            self,
            scenarios=tuple((name, resolve(expr)) for name, expr in self.scenarios),
            components=tuple((name, resolve(expr)) for name, expr in self.components),
            constraints=tuple(replace(c, expression=resolve(c.expression)) for c in self.constraints),
        )

    def _expressions(self) -> list[Expression]:
        return [expr for _, expr in self.scenarios] + [c.expression for c in self.constraints]


@dataclass(frozen=True)
class Positive:
    """p_j = max(z_j, 0)."""

    position: int


@dataclass(frozen=True)
class Negative:
    """n_j = max(-z_j, 0)."""

    position: int


@dataclass(frozen=True)
class Auxiliary:
    """The tight value of an expression, shifted by ``offset`` to be non-negative."""

    expression: Expression
    offset: int


@dataclass(frozen=True)
class Slack:
    """What makes row ``row`` an equality."""

    row: int


Definition = Positive | Negative | Auxiliary | Slack


@dataclass(frozen=True)
class Program:
    """A compiled rule: the system, and what each variable stands for, by which a holder assigns it."""

    rule: MarginRule
    system: LinearSystem
    definitions: tuple[Definition, ...]
    scenario_rows: tuple[int, ...]
    constraint_rows: tuple[int, ...] = ()


@dataclass
class _Form:
    """A linear form over positions, variables and the statement's amount."""

    positions: dict[int, int] = field(default_factory=dict)
    variables: dict[int, int] = field(default_factory=dict)
    constant: int = 0
    amount: int = 0

    def add(self, other: _Form, factor: int = 1) -> None:
        for j, f in other.positions.items():
            self.positions[j] = self.positions.get(j, 0) + factor * f
        for k, a in other.variables.items():
            self.variables[k] = self.variables.get(k, 0) + factor * a
        self.constant += factor * other.constant
        self.amount += factor * other.amount


class _Compiler:
    def __init__(self, rule: MarginRule) -> None:
        self.rule = rule
        self.variables: list[Variable] = []
        self.definitions: list[Definition] = []
        self.rows: list[Row] = []
        self.split: list[tuple[int, int | None]] = []
        self.words = self.entries = 0
        self.memo: dict[tuple[int, bool], _Form] = {}
        self.ranges: dict[int, tuple[int, int]] = {}

    def bounds(self, expr: Expression) -> tuple[int, int]:
        """Interval of an expression; that of a shared one is computed once, since every scenario uses it."""
        return bounds(expr, self.rule.limits, self.ranges)

    def variable(self, name: str, limit: int, definition: Definition) -> int:
        self.words += LARGEST.words_of(max(limit, 0))
        if self.words > MAX_WORDS:
            raise SystemTooLarge(f"more than {MAX_WORDS} words, which no layout holds", field="system")
        self.variables.append(Variable(name, max(limit, 0)))
        self.definitions.append(definition)
        return len(self.variables) - 1

    def row(self, name: str, form: _Form, amount_factor: int = 0) -> None:
        positions = {j: f for j, f in form.positions.items() if f}
        variables = {k: a for k, a in form.variables.items() if a}
        self.entries += len(positions) + len(variables)
        if self.entries > MAX_ENTRIES:
            raise SystemTooLarge(f"more than {MAX_ENTRIES} coefficients", field="system")
        self.rows.append(Row(name, positions, variables, form.constant, amount_factor - form.amount))

    def slack_row(self, name: str, form: _Form, limit: int, amount_factor: int = 0) -> None:
        """form - amount_factor * amount >= 0, by a slack variable."""
        slack = self.variable(f"slack({name})", limit, Slack(len(self.rows)))
        form.variables[slack] = -1
        self.row(name, form, amount_factor)

    def ties(self) -> None:
        """z_j = p_j - n_j for every position; this is also what bounds x."""
        for j, (low, high) in enumerate(self.rule.limits):
            p = self.variable(f"p{j}", high, Positive(j))
            n = None if j in self.rule.non_negative else self.variable(f"n{j}", -low, Negative(j))
            self.split.append((p, n))
            self.row(f"tie({j})", _Form({j: 1}, {p: -1} if n is None else {p: -1, n: 1}))

    def auxiliary(self, name: str, expr: Expression) -> _Form:
        low, high = self.bounds(expr)
        offset = max(0, -low)
        k = self.variable(name, high + offset, Auxiliary(expr, offset))
        return _Form({}, {k: 1}, -offset)

    def lower(self, expr: Expression, *, upper: bool) -> _Form:
        """A form that bounds ``expr`` from above (costs) or below (benefits), tight for the best witness."""
        match expr:
            case Linear(coefficients=coefs, constant=c):
                return _Form(dict(coefs), {}, c)
            case Amount():
                return _Form(amount=1)
            case Abs(position=j):
                if not upper:
                    raise RuleRefused(
                        "an absolute value as a benefit: inflating the split would pay", field=describe(expr)
                    )
                p, n = self.split[j]
                return _Form({}, {p: 1} if n is None else {p: 1, n: 1})
            case Part(position=j, sign=sign):
                if not upper:
                    raise RuleRefused("a part as a benefit: inflating the split would pay", field=describe(expr))
                p, n = self.split[j]
                k = p if sign > 0 else n
                return _Form() if k is None else _Form({}, {k: 1})
            case Sum(parts=parts, constant=c):
                out = _Form(constant=c)
                for factor, term in parts:
                    if factor:
                        out.add(self.lower(term, upper=upper == (factor > 0)), factor)
                return out
        key = (id(expr), upper)
        if key not in self.memo:
            self.memo[key] = self.lower_named(expr, upper=upper)
        return self.memo[key]

    def lower_named(self, expr: Expression, *, upper: bool) -> _Form:
        name = describe(expr)
        affine = curvature(expr) is Curvature.AFFINE
        if not affine and upper != (curvature(expr) is Curvature.CONVEX):
            raise RuleRefused("used on the wrong side of an inequality", field=name)
        match expr:
            case Shared(argument=arg):
                inner = self.lower(arg, upper=upper)
                out = self.auxiliary(name, expr)
                equality = _Form()
                equality.add(out)
                equality.add(inner, -1)
                self.row(name, equality)
                return out
            case CeilDiv(argument=arg, divisor=d) | FloorDiv(argument=arg, divisor=d):
                sign = 1 if isinstance(expr, CeilDiv) else -1
                inner = self.lower(arg, upper=upper)
                out = self.auxiliary(name, expr)
                gap = _Form()
                gap.add(out, sign * d)
                gap.add(inner, -sign)
                self.slack_row(name, gap, d - 1)
                return out
            case Max(pieces=pieces) | Min(pieces=pieces):
                sign = 1 if isinstance(expr, Max) else -1
                forms = [self.lower(p, upper=upper) for p in pieces]
                out = self.auxiliary(name, expr)
                low, high = self.bounds(expr)
                for index, (piece, inner) in enumerate(zip(pieces, forms, strict=True)):
                    p_low, p_high = self.bounds(piece)
                    gap = _Form()
                    gap.add(out, sign)
                    gap.add(inner, -sign)
                    self.slack_row(f"{name}[{index}]", gap, high - p_low if sign > 0 else p_high - low)
                return out
        raise InternalError(f"no lowering for {name}")

    def run(self) -> Program:
        if not self.rule.scenarios:
            raise RuleRefused("a rule needs at least one scenario", field="scenarios")
        self.ties()
        scenario_rows: list[int] = []
        constraint_rows: list[int] = []
        for name, expr in self.rule.scenarios:
            if curvature(expr) is Curvature.CONVEX:
                raise RuleRefused("net margin is convex, so it is no polyhedron", field=f"scenario({name})")
            form = self.lower(expr, upper=False)
            fresh = _Form()
            fresh.add(form)
            limit = self.bounds(expr)[1]
            self.slack_row(f"scenario({name})", fresh, limit, self.rule.amount_factor)
            scenario_rows.append(len(self.rows) - 1)
        for constraint in self.rule.constraints:
            if curvature(constraint.expression) is Curvature.CONVEX:
                raise RuleRefused("is convex, so it is no polyhedron", field=f"constraint({constraint.name})")
            bounded = _Form()
            bounded.add(self.lower(constraint.expression, upper=False))
            limit = self.bounds(constraint.expression)[1]
            self.slack_row(f"constraint({constraint.name})", bounded, limit, constraint.amount_factor)
            constraint_rows.append(len(self.rows) - 1)
        system = LinearSystem(len(self.rule.limits), tuple(self.variables), tuple(self.rows))
        return Program(self.rule, system, tuple(self.definitions), tuple(scenario_rows), tuple(constraint_rows))


def compile_rule(rule: MarginRule) -> Program:
    """Compile a rule, or refuse it with ``RuleRefused`` naming the offending term."""
    program = _Compiler(rule).run()
    for name, penalty in split_penalty(program).items():
        if penalty > 0:  # what curvature promises, looked at once more where it counts
            raise RuleRefused("inflating a split would pay: coef(p) + coef(n) > 0", field=name)
    return program


def split_penalty(program: Program) -> Mapping[str, int]:
    """coef(p) + coef(n) of every row, by row name: what inflating a split by one lot adds to the row.

    The discipline wants this to be <= 0 in every scenario and constraint row. :func:`compile_rule` refuses what is not.
    """
    out: dict[str, int] = {}
    pairs: dict[int, list[int]] = {}
    for k, definition in enumerate(program.definitions):
        if isinstance(definition, Positive | Negative):
            pairs.setdefault(definition.position, []).append(k)
    for i in program.scenario_rows + program.constraint_rows:
        row = program.system.rows[i]
        out[row.name] = max(
            (sum(row.variables.get(k, 0) for k in ks) for ks in pairs.values() if len(ks) == 2), default=0
        )
    return out
