"""SPAN-style scan: worst weighted loss per combined commodity, calendar charges, a short-option minimum.

Source of the method: CME Group, "CME SPAN: Standard Portfolio Analysis of Risk" and "CME SPAN Methodology Overview"
(risk arrays, intra-commodity spread charge, short option minimum, net option value). In fine quanta:

- Scan risk of a group g (combined commodity; instruments j whose risk names it), with V_j the value of one lot at the
  mark and V_j(s) in scenario s:  scan_g = max(0, max_s w_s * sum_j z_j * (V_j - V_j(s))). CME: the largest loss over
  the risk array, 0 if every scenario gains; w_s is the covered fraction of a scenario (:data:`STANDARD`). The array
  itself is snapshot data. A group's maximum is its own, so groups do not offset each other.
- Calendar (intra-commodity, inter-month) charge of a spread, over months m with net delta D_m = sum_j delta_j z_j:
  L = sum max(D_m, 0), S = sum max(-D_m, 0), N = L - S, G = L + S. min(L, S) spreads form at ``charge`` b each, and
  |N| deltas remain outright at ``outright`` a each (CME: charge per delta consumed by spreads, and per delta
  remaining in outrights). Form "lemma": a|N| + b*min(L, S) = (a - b/2)|N| + (b/2)G, convex exactly when a >= b/2, so
  class A; refused otherwise. Form "election": for any a and b, min(L, S) is whichever of L and S the statement names
  (class B; it shows on which side the account's smaller leg is). A month stands in one spread only, so that the order
  of spreading, which SPAN needs for overlapping spreads, does not matter.
- Short option minimum: ``short_option_minimum`` for every short lot of an option in the group (CME: per contract).
- base_g = max(scan_g + charges_g, minimum_g); requirement_g = ceil(factor * multiplier * base_g), where factor is
  1 for maintenance and initial_factor_ppm / 10^6 >= 1 for initial (CME: initial to maintenance ratio).
- Net margin = sum_j z_j V_j - sum_g requirement_g - haircuts of spot collateral; one solvency row. Options count at
  their mark, which is SPAN's net option value added; futures are marked against the cash that the account owes.

Rounding is against the account: per lot, mark values go down for a long and up for a short position and weighted
losses up; each charge rounds up once, each requirement once more. A base never depends on level or multiplier, so
rounding never puts maintenance above initial.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import lcm
from typing import Annotated, Literal

from pydantic import Field

from zkmargin.circuits.compiler import MarginRule
from zkmargin.circuits.errors import MalformedInput, RuleRefused
from zkmargin.circuits.expression import Abs, CeilDiv, Election, Expression, Linear, Max, Part, Sum
from zkmargin.circuits.rules.rule import PIECE, ROW, Rule, Sizes, length
from zkmargin.circuits.rules.terms import ceil, lot_notional
from zkmargin.circuits.schema import Decimal, Name, Strict, validate
from zkmargin.circuits.snapshot import Instrument, Snapshot
from zkmargin.circuits.units import PPM, parse_decimal

RULE_ID = "span-scan/1"
Rate = Annotated[int, Field(ge=0, le=PPM)]
#: CME's array: (price move in thirds of the price scan range, volatility move, covered fraction in ppm). The two
#: extremes are three scan ranges at 33 % of the loss (CME's customary 3 x and 33 %; data of the snapshot here).
STANDARD: tuple[tuple[int, int, int], ...] = (
    *((thirds, volatility, PPM) for thirds in (0, 1, -1, 2, -2, 3, -3) for volatility in (1, -1)),
    (9, 0, 330_000),
    (-9, 0, 330_000),
)
#: One joint label per combination of sides: 2 ** 4 pieces at most.
MAX_ELECTED_SPREADS = 4
#: A group's name and ".spreads" make the name of an election, which a statement can hold up to 64 characters of.
MAX_GROUP_NAME = 56


class SpreadModel(Strict):
    """A calendar spread over months of one group; ``charge`` and ``outright`` in quote units per delta."""

    months: Annotated[list[Name], Field(min_length=2, max_length=64)]
    charge: Decimal
    outright: Decimal = "0"
    form: Literal["lemma", "election"]


class GroupModel(Strict):
    """A combined commodity; ``short_option_minimum`` in quote units per lot."""

    short_option_minimum: Decimal = "0"
    spreads: Annotated[list[SpreadModel], Field(max_length=32)] = Field(default_factory=list)


class ParametersModel(Strict):
    """Parameters of the rule in a snapshot: a weight for each scenario, in order; the initial factor; groups."""

    weights_ppm: Annotated[list[Rate], Field(min_length=1, max_length=512)]
    initial_factor_ppm: Annotated[int, Field(ge=PPM, le=100 * PPM)]
    groups: Annotated[dict[Name, GroupModel], Field(max_length=512)]


class ContractRiskModel(Strict):
    """A future, perpetual or option: its group and, where spreads want it, its month and its delta per lot."""

    group: Name
    month: Name | None = None
    delta: Decimal = "0"


class SpotRiskModel(Strict):
    """Spot collateral has a haircut."""

    haircut_ppm: Rate


class CashRiskModel(Strict):
    """Quote currency and credits carry no risk parameters."""


def per_lot(coefficients: Mapping[int, Fraction]) -> Expression:
    """A cost sum_j c_j z_j, rounded against the account: ceil(c_j) a lot held, and floor(c_j) back a lot owed."""
    linear = Linear({j: ceil(c) for j, c in coefficients.items() if ceil(c)})
    corrections = tuple((1, Part(j, -1)) for j, c in coefficients.items() if c.denominator != 1)
    return Sum(((1, linear), *corrections)) if corrections else linear


def scaled(name: str, terms: Iterable[tuple[Fraction, Expression]]) -> Expression:
    """ceil(sum of factor * term) for non-negative factors; no ceiling, and no words, where they are integers."""
    kept = [(factor, term) for factor, term in terms if factor]
    scale = lcm(*(factor.denominator for factor, _ in kept))
    total = Sum(tuple((int(factor * scale), term) for factor, term in kept))
    return total if scale == 1 else CeilDiv(name, total, scale)


def _side(name: str, coefficients: Mapping[int, int], sign: int) -> Expression:
    """max(sign * D, 0) of a month's net delta D; a month of one instrument needs no word."""
    if len(coefficients) == 1:
        ((j, c),) = coefficients.items()
        return Sum(((abs(c), Part(j, sign if c > 0 else -sign)),))
    return Max(name, (Linear({j: sign * c for j, c in coefficients.items()}), Linear({})))


@dataclass(frozen=True)
class _Spread:
    """A validated spread: net delta of each month in units of 1 / scale, rates in fine quanta per delta."""

    name: str
    months: tuple[Mapping[int, int], ...]
    scale: int
    charge: Fraction
    outright: Fraction
    form: str

    def cost(self, side: str | None) -> Expression:
        """The charge by the lemma (``side`` None), or with min(L, S) replaced by the named side's total."""
        sides = [
            (_side(f"{self.name}.{m}.long", month, 1), _side(f"{self.name}.{m}.short", month, -1))
            for m, month in enumerate(self.months)
            if month
        ]
        total: dict[int, int] = {}
        for month in self.months:
            for j, c in month.items():
                total[j] = total.get(j, 0) + c
        net = Max(f"{self.name}.net", (Linear(total), Linear({j: -c for j, c in total.items()})))
        unit = Fraction(1, self.scale)
        if side is None:
            gross = Sum(tuple((1, leg) for both in sides for leg in both))
            return scaled(self.name, [((self.outright - self.charge / 2) * unit, net), (self.charge / 2 * unit, gross)])
        chosen = Sum(tuple((1, both[side == "short"]) for both in sides))
        return scaled(f"{self.name}.{side}", [(self.outright * unit, net), (self.charge * unit, chosen)])


def _money(text: str, snapshot: Snapshot, at: str) -> Fraction:
    """A rate that must not be negative, in fine quanta."""
    value = parse_decimal(text, field=at)
    if value < 0:
        raise MalformedInput("must not be negative", field=at)
    return value * int(10**snapshot.value_decimals)


def _spreads(
    name: str, model: GroupModel, snapshot: Snapshot, members: Mapping[int, ContractRiskModel]
) -> list[_Spread]:
    at = f"snapshot.rule.parameters.groups.{name}"
    deltas = {
        row: parse_decimal(risk.delta, field=f"snapshot.instruments.{row}.risk.delta") for row, risk in members.items()
    }
    scale = lcm(*(delta.denominator for delta in deltas.values()))
    used: set[str] = set()
    out: list[_Spread] = []
    for i, spread in enumerate(model.spreads):
        where = f"{at}.spreads.{i}"
        for month in spread.months:
            if month in used:
                raise MalformedInput("a month may stand in one spread only, once", field=f"{where}.months")
            used.add(month)
        charge = _money(spread.charge, snapshot, f"{where}.charge")
        outright = _money(spread.outright, snapshot, f"{where}.outright")
        if spread.form == "lemma" and 2 * outright < charge:
            raise RuleRefused("the charge is convex only if outright >= charge / 2; use an election", field=where)
        months = tuple(
            {row: int(deltas[row] * scale) for row, risk in members.items() if risk.month == month and deltas[row]}
            for month in spread.months
        )
        out.append(_Spread(f"{name}.spread.{i}", months, scale, charge, outright, spread.form))
    for row, risk in members.items():
        if risk.month is not None and risk.month not in used:
            raise MalformedInput(
                "no spread of the group has this month", field=f"snapshot.instruments.{row}.risk.month"
            )
    if sum(spread.form == "election" for spread in out) > MAX_ELECTED_SPREADS:
        raise MalformedInput(f"at most {MAX_ELECTED_SPREADS} spreads by election", field=f"{at}.spreads")
    if len(name) > MAX_GROUP_NAME:
        raise MalformedInput(f"its name has more than {MAX_GROUP_NAME} characters", field=at)
    return out


def _group(
    name: str,
    model: GroupModel,
    snapshot: Snapshot,
    members: Mapping[int, ContractRiskModel],
    weights: Sequence[int],
    factor: Fraction,
) -> Expression:
    """What a group adds to net margin: minus its requirement, or the election among its spreads' sides."""
    losses: list[Expression] = []
    for s, weight in enumerate(weights):
        loss = {
            row: (lot_notional(snapshot.instruments[row], snapshot) - snapshot.instruments[row].values[s])
            * Fraction(weight, PPM)
            for row in members
        }
        losses.append(per_lot({row: value for row, value in loss.items() if value}))
    scan = Max(f"{name}.scan", (Linear({}), *(loss for loss in losses if loss != Linear({}))))
    least = ceil(_money(model.short_option_minimum, snapshot, f"snapshot.rule.parameters.groups.{name}"
                        ".short_option_minimum"))  # fmt: skip
    minimum = tuple((least, Part(row, -1)) for row in members if snapshot.instruments[row].kind == "option" and least)
    spreads = _spreads(name, model, snapshot, members)

    def requirement(sides: Mapping[str, str]) -> Expression:
        label = ".".join([name, *sides.values()])
        charges = tuple((1, spread.cost(sides.get(spread.name))) for spread in spreads)
        base: Expression = Sum(((1, scan), *charges)) if charges else scan
        if minimum:
            base = Max(f"{label}.base", (base, Sum(minimum)))
        return Sum(((-1, scaled(f"{label}.requirement", [(factor, base)])),))

    elected = [spread.name for spread in spreads if spread.form == "election"]
    if not elected:
        return requirement({})
    choices = product(("long", "short"), repeat=len(elected))
    return Election(
        f"{name}.spreads",
        tuple((".".join(c), requirement(dict(zip(elected, c, strict=True)))) for c in choices),
    )


def _mark_value(snapshot: Snapshot) -> list[tuple[int, Expression]]:
    """Value of the account at the marks, rounded down: as a cost of the opposite sign."""
    notional = {
        row: -lot_notional(inst, snapshot) * (-1 if inst.kind == "credit" else 1)
        for row, inst in enumerate(snapshot.instruments)
    }
    return [(-1, per_lot({row: value for row, value in notional.items() if value}))]


def build(snapshot: Snapshot, level: str, multiplier: Fraction, horizon: int) -> MarginRule:
    """The scan on a snapshot; ``level`` "initial" or "maintenance"; ``horizon`` has no part in it.

    Raises ``MalformedInput`` naming the parameter, or ``RuleRefused`` naming the group whose charge is not convex.
    """
    where = "snapshot.rule.parameters"
    parameters = validate(ParametersModel, dict(snapshot.parameters), name=where)
    if len(parameters.weights_ppm) != len(snapshot.scenarios):
        raise MalformedInput(
            f"one weight for each of {len(snapshot.scenarios)} scenarios", field=f"{where}.weights_ppm"
        )
    factor = multiplier * (Fraction(parameters.initial_factor_ppm, PPM) if level == "initial" else 1)
    members: dict[str, dict[int, ContractRiskModel]] = {name: {} for name in parameters.groups}
    parts: list[tuple[str, Expression]] = []
    for row, inst in enumerate(snapshot.instruments):
        at = f"snapshot.instruments.{row}.risk"
        if inst.kind in ("future", "perpetual", "option"):
            risk = validate(ContractRiskModel, dict(inst.risk), name=at)
            if risk.group not in members:
                raise MalformedInput("unknown group", field=f"{at}.group")
            members[risk.group][row] = risk
        elif inst.kind == "spot":
            haircut = Fraction(validate(SpotRiskModel, dict(inst.risk), name=at).haircut_ppm, PPM)
            parts.append((inst.id, Sum(((-ceil(lot_notional(inst, snapshot) * haircut * factor), Abs(row)),))))
        else:
            validate(CashRiskModel, dict(inst.risk), name=at)
    # By name: the order of keys in a document is no part of its digest, so no row may depend on it.
    for name, model in sorted(parameters.groups.items()):
        parts.append((name, _group(name, model, snapshot, members[name], parameters.weights_ppm, factor)))
    net = Sum((*_mark_value(snapshot), *((1, part) for _, part in parts)))
    # Elections evaluate to their best piece, so the shown requirement is the one that the best statement has.
    shown = tuple((name, Sum(((-1, part),))) for name, part in parts)
    return MarginRule(
        limits=tuple(_limits(inst) for inst in snapshot.instruments),
        scenarios=(("requirement", net),),
        amount_factor=snapshot.fine,
        non_negative=frozenset(j for j, inst in enumerate(snapshot.instruments) if inst.kind == "credit"),
        components=(("requirement", Sum(tuple((1, part) for _, part in shown))), *shown),
    )


def _limits(inst: Instrument) -> tuple[int, int]:
    return (0 if inst.kind == "credit" else -inst.position_limit, inst.position_limit)


def steps(sizes: Sizes) -> int:
    """Every scenario is a piece of its group's scan; every combination of elected sides charges every spread."""
    out = ROW * sizes.cells + 2 * PIECE * sizes.scenarios * len(sizes.members("groups"))
    members: dict[str, int] = {}
    for risk in sizes.risks:
        group = risk.get("group")
        if isinstance(group, str):
            members[group] = members.get(group, 0) + 1
    for name, group in sizes.members("groups").items():
        spreads = group.get("spreads") if isinstance(group, Mapping) else None
        if not isinstance(spreads, list):
            continue
        months = sum(length(spread.get("months")) for spread in spreads if isinstance(spread, Mapping))
        elected = sum(isinstance(spread, Mapping) and spread.get("form") == "election" for spread in spreads)
        # Beyond a few elections the rule refuses the group before it makes the combinations.
        combinations = 2 ** min(elected, MAX_ELECTED_SPREADS)
        each = members.get(name, 0)
        out += each * (months + PIECE * len(spreads)) + combinations * PIECE * 2 * (each + months + len(spreads))
    return out


RULE = Rule(RULE_ID, build, steps)
