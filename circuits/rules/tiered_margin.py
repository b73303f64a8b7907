"""Tiered margin: the requirement's rate grows with the notional, marginally (Binance, Hyperliquid).

Net value in scenario s is sum_j z_j V_j(s); every perpetual or future costs the largest over its tiers of n * rate_k
- deduction_k (see :func:`zkmargin.circuits.rules.terms.tiered_requirement`), spot collateral |q| * price * haircut. A
tier table is named by the instruments that use it. Initial rates and maintenance rates are two columns of one table, so
the order initial >= maintenance is checked bracket by bracket.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated

from pydantic import Field

from zkmargin.circuits.compiler import MarginRule
from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.expression import Abs, Expression, Shared, Sum
from zkmargin.circuits.rules.terms import Tier, ceil, lot_notional, net_of_requirement, tiered_requirement
from zkmargin.circuits.schema import Decimal, Name, Strict, validate
from zkmargin.circuits.snapshot import Instrument, Snapshot
from zkmargin.circuits.units import PPM, parse_decimal

RULE_ID = "tiered-margin/1"
Rate = Annotated[int, Field(ge=0, le=PPM)]


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
