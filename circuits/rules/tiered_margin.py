"""Tiered margin: the requirement's rate grows with the notional, marginally (Binance, Hyperliquid).

Net value in scenario s is sum_j z_j V_j(s); every perpetual or future costs the largest over its tiers of n * rate_k
- deduction_k (see :func:`tiered_requirement`), spot collateral |q| * price * haircut. A
tier table is named by the instruments that use it. Initial rates and maintenance rates are two columns of one table, so
the order initial >= maintenance is checked bracket by bracket.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import Annotated

from pydantic import Field

from zkmargin.circuits.compiler import MarginRule
from zkmargin.circuits.errors import MalformedInput, RuleRefused
from zkmargin.circuits.expression import Abs, CeilDiv, Expression, Max, Shared, Sum
from zkmargin.circuits.rules.rule import PIECE, Rule, Sizes, length
from zkmargin.circuits.rules.terms import ceil, lot_notional, net_of_requirement
from zkmargin.circuits.schema import Decimal, Name, Strict, validate
from zkmargin.circuits.snapshot import Instrument, Snapshot
from zkmargin.circuits.units import PPM, parse_decimal

RULE_ID = "tiered-margin/1"
Rate = Annotated[int, Field(ge=0, le=PPM)]


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


class BracketModel(Strict):
    """One bracket of a table; ``lower`` in quote units of notional."""

    lower: Decimal
    initial_ppm: Rate
    maintenance_ppm: Rate


class ParametersModel(Strict):
    """Parameters of the rule in a snapshot: tables by name."""

    tables: Annotated[
        dict[Name, Annotated[list[BracketModel], Field(min_length=1, max_length=64)]], Field(max_length=512)
    ]


class PerpetualRiskModel(Strict):
    """A perpetual or future names its table."""

    table: Name


class SpotRiskModel(Strict):
    """Spot collateral has a haircut."""

    haircut_ppm: Rate


class CashRiskModel(Strict):
    """Quote currency and credits carry no risk parameters."""


def _tiers(table: Sequence[BracketModel], level: str, at: str) -> list[Tier]:
    out: list[Tier] = []
    for k, bracket in enumerate(table):
        if bracket.maintenance_ppm > bracket.initial_ppm:
            raise MalformedInput("the maintenance rate exceeds the initial rate", field=f"{at}.{k}")
        lower = parse_decimal(bracket.lower, field=f"{at}.{k}.lower")
        out.append(Tier(lower, bracket.initial_ppm if level == "initial" else bracket.maintenance_ppm))
    return out


def build(snapshot: Snapshot, level: str, multiplier: Fraction, horizon: int) -> MarginRule:
    """Tiered margin on a snapshot. ``horizon`` has no part in it. Raises ``MalformedInput`` or ``RuleRefused`` by
    name.
    """
    parameters = validate(ParametersModel, dict(snapshot.parameters), name="snapshot.rule.parameters")
    tables = {
        name: _tiers(table, level, f"snapshot.rule.parameters.tables.{name}")
        for name, table in parameters.tables.items()
    }

    def requirement(row: int, inst: Instrument) -> Expression | None:
        at = f"snapshot.instruments.{row}.risk"
        if inst.kind in ("perpetual", "future"):
            table = validate(PerpetualRiskModel, dict(inst.risk), name=at).table
            if table not in tables:
                raise MalformedInput("unknown table", field=f"{at}.table")
            return tiered_requirement(f"{inst.id}.tiers", row, inst, snapshot, tables[table], multiplier)
        if inst.kind == "spot":
            haircut = Fraction(validate(SpotRiskModel, dict(inst.risk), name=at).haircut_ppm, PPM)
            return Sum(((ceil(lot_notional(inst, snapshot) * haircut * multiplier), Abs(row)),))
        if inst.kind in ("quote", "credit"):
            validate(CashRiskModel, dict(inst.risk), name=at)
            return None
        raise MalformedInput(f"tiered margin has no {inst.kind}", field=f"snapshot.instruments.{row}.kind")

    parts = [(inst.id, requirement(row, inst)) for row, inst in enumerate(snapshot.instruments)]
    total = Shared("requirement", Sum(tuple((1, expr) for _, expr in parts if expr is not None)))
    return net_of_requirement(snapshot, total, [(name, expr) for name, expr in parts if expr is not None])


def steps(sizes: Sizes) -> int:
    """A piece for every bracket of an instrument's table, and every table read once."""
    tables = {name: length(table) for name, table in sizes.members("tables").items()}
    used = (risk.get("table") for risk in sizes.risks)
    pieces = sum(tables.get(name, 0) for name in used if isinstance(name, str))
    return 3 * PIECE * pieces + PIECE * sum(tables.values())


RULE = Rule(RULE_ID, build, steps)
