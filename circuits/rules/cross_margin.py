"""Cross margin as dYdX v4 does it, with collateral haircuts and a latency buffer.

Net value in scenario s is sum_j z_j V_j(s). Perpetuals require  |q| * price * rate  with liquidity tiers: the initial
rate is  min(1, base + max(0, scale * (1 - base))),  scale = (open interest - lower) / (upper - lower), floored to
parts per million; maintenance is the base-rate requirement times the maintenance fraction. Source: dYdX v4
``protocol/x/perpetuals/lib`` and ``types/liquidity_tier.go``. Spot collateral costs |q| * price * haircut.

Rounding. ``per-position`` is dYdX's: every requirement is rounded up to a quote quantum, and the maintenance
requirement is rounded up twice (initial first). ``per-lot`` rounds the add-on of one lot up to a fine quantum, which
needs no auxiliary words; it over-charges by less than one fine quantum per lot. Net value rounds down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field

from zkmargin.circuits.compiler import MarginRule
from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.expression import Abs, CeilDiv, Expression, Shared, Sum
from zkmargin.circuits.rules.rule import Rule
from zkmargin.circuits.rules.terms import net_of_requirement
from zkmargin.circuits.schema import Decimal, Name, Ppm, Strict, validate
from zkmargin.circuits.snapshot import Instrument, Snapshot
from zkmargin.circuits.units import PPM, ceil_div, isqrt_ceil, parse_decimal

RULE_ID = "cross-margin/1"
#: Latency rates are quoted per day.
SECONDS_PER_DAY = 86_400


class TierModel(Strict):
    """A liquidity tier: base initial rate, maintenance fraction, open-interest caps in quote units."""

    initial_ppm: Annotated[int, Field(ge=0, le=PPM)]
    maintenance_fraction_ppm: Annotated[int, Field(ge=0, le=PPM)]
    open_interest_lower: Decimal | None = None
    open_interest_upper: Decimal | None = None


class ParametersModel(Strict):
    """Parameters of the rule in a snapshot."""

    rounding: Literal["per-position", "per-lot"]
    tiers: Annotated[dict[Name, TierModel], Field(max_length=256)]


class PerpetualRiskModel(Strict):
    """Per-instrument parameters of a perpetual; open interest in units of the instrument."""

    tier: Name
    open_interest: Decimal = "0"
    latency_ppm: Ppm = 0


class SpotRiskModel(Strict):
    """Per-instrument parameters of spot collateral."""

    haircut_ppm: Annotated[int, Field(ge=0, le=PPM)]
    latency_ppm: Ppm = 0


class CashRiskModel(Strict):
    """Quote currency and credits carry no risk parameters."""


@dataclass(frozen=True)
class Tier:
    """A validated tier, open-interest caps in quote units."""

    initial_ppm: int
    maintenance_fraction_ppm: int
    lower: Fraction | None
    upper: Fraction | None

    def initial_rate_ppm(self, open_interest_notional: Fraction) -> int:
        """Initial rate in parts per million at an open interest (quote units), floored; at most 1,000,000."""
        if self.lower is None or self.upper is None or open_interest_notional <= self.lower:
            return self.initial_ppm
        if open_interest_notional >= self.upper:
            return PPM
        scale = (open_interest_notional - self.lower) / (self.upper - self.lower)
        return min(PPM, self.initial_ppm + int(scale * (PPM - self.initial_ppm)))


def parse_tier(model: TierModel, at: str) -> Tier:
    """Validate the caps of one tier; ``at`` is the path for messages."""
    if (model.open_interest_lower is None) != (model.open_interest_upper is None):
        raise MalformedInput("needs both open-interest caps or none", field=at)
    if model.open_interest_lower is None or model.open_interest_upper is None:
        return Tier(model.initial_ppm, model.maintenance_fraction_ppm, None, None)
    lower = parse_decimal(model.open_interest_lower, field=f"{at}.open_interest_lower")
    upper = parse_decimal(model.open_interest_upper, field=f"{at}.open_interest_upper")
    if not 0 <= lower < upper:
        raise MalformedInput("caps must satisfy 0 <= lower < upper", field=at)
    return Tier(model.initial_ppm, model.maintenance_fraction_ppm, lower, upper)


def rounded_up(name: str, factor: Fraction, term: Expression) -> Expression:
    """ceil(factor * term) for a factor that is no integer."""
    return CeilDiv(name, Sum(((factor.numerator, term),)), factor.denominator)


@dataclass(frozen=True)
class _Context:
    snapshot: Snapshot
    tiers: Mapping[str, Tier]
    per_position: bool
    level: str
    multiplier: Fraction
    horizon: int

    def lot_quanta(self, inst: Instrument) -> Fraction:
        """Notional of one lot at the mark, in quote quanta."""
        return inst.mark * inst.lot * int(10**self.snapshot.decimals)

    def perpetual(self, row: int, inst: Instrument, at: str) -> list[tuple[int, Expression]]:
        risk = validate(PerpetualRiskModel, dict(inst.risk), name=at)
        tier = self.tiers.get(risk.tier)
        if tier is None:
            raise MalformedInput("unknown tier", field=f"{at}.tier")
        open_interest = parse_decimal(risk.open_interest, field=f"{at}.open_interest")
        if open_interest < 0:
            raise MalformedInput("must not be negative", field=f"{at}.open_interest")
        base = Fraction(tier.initial_ppm, PPM)
        if self.level == "initial":
            rates = [Fraction(tier.initial_rate_ppm(open_interest * inst.mark), PPM) * self.multiplier]
        else:
            # The multiplier goes into the first rate, so that maintenance never exceeds initial by a ceiling's doing.
            rates = [base * self.multiplier, Fraction(tier.maintenance_fraction_ppm, PPM)]
        return [self.requirement(row, inst, rates), *self.latency(row, inst, risk.latency_ppm)]

    def spot(self, row: int, inst: Instrument, at: str) -> list[tuple[int, Expression]]:
        risk = validate(SpotRiskModel, dict(inst.risk), name=at)
        rate = Fraction(risk.haircut_ppm, PPM) * self.multiplier
        return [self.requirement(row, inst, [rate]), *self.latency(row, inst, risk.latency_ppm)]

    def cash(self, row: int, inst: Instrument, at: str) -> list[tuple[int, Expression]]:
        validate(CashRiskModel, dict(inst.risk), name=at)
        return []

    def requirement(self, row: int, inst: Instrument, rates: list[Fraction]) -> tuple[int, Expression]:
        """(factor to fine quanta, expression): successive rates, rounded up after each when per position."""
        if not self.per_position:
            total = self.lot_quanta(inst) * self.snapshot.fine
            for rate in rates:
                total *= rate
            return ceil_div(total.numerator, total.denominator), Abs(row)
        term: Expression = Abs(row)
        factor = self.lot_quanta(inst)
        for step, rate in enumerate(rates):
            factor *= rate
            if factor.denominator != 1:  # otherwise the ceiling does nothing, and needs no words
                term, factor = rounded_up(f"{inst.id}.requirement.{step}", factor, term), Fraction(1)
        return self.snapshot.fine * factor.numerator, term

    def latency(self, row: int, inst: Instrument, latency_ppm: int) -> list[tuple[int, Expression]]:
        """latency_ppm * sqrt(horizon in days) * |q| * price, rounded up per lot; not scaled by the multiplier."""
        if latency_ppm == 0:
            return []
        rate_ppm = isqrt_ceil(ceil_div(latency_ppm**2 * self.horizon, SECONDS_PER_DAY))
        per_lot = self.lot_quanta(inst) * self.snapshot.fine * rate_ppm / PPM
        return [(ceil_div(per_lot.numerator, per_lot.denominator), Abs(row))]


def build(snapshot: Snapshot, level: str, multiplier: Fraction, horizon: int) -> MarginRule:
    """Cross margin on a snapshot: one row per scenario, one shared requirement.

    ``level`` "initial" or "maintenance"; ``multiplier`` scales requirements and haircuts; ``horizon`` in seconds.
    Raises ``MalformedInput`` naming the parameter that is wrong.
    """
    parameters = validate(ParametersModel, dict(snapshot.parameters), name="snapshot.rule.parameters")
    tiers = {
        name: parse_tier(model, f"snapshot.rule.parameters.tiers.{name}") for name, model in parameters.tiers.items()
    }
    context = _Context(snapshot, tiers, parameters.rounding == "per-position", level, multiplier, horizon)
    kinds: dict[str, Callable[[int, Instrument, str], list[tuple[int, Expression]]]] = {
        "perpetual": context.perpetual,
        "spot": context.spot,
        "quote": context.cash,
        "credit": context.cash,
    }
    parts: list[tuple[int, Expression]] = []
    components: list[tuple[str, Expression]] = []
    for row, inst in enumerate(snapshot.instruments):
        if inst.kind not in kinds:
            raise MalformedInput(f"cross margin has no {inst.kind}", field=f"snapshot.instruments.{row}.kind")
        own = kinds[inst.kind](row, inst, f"snapshot.instruments.{row}.risk")
        components.append((inst.id, Sum(tuple(own))))
        parts += own
    requirement = Shared("requirement", Sum(tuple((f, e) for f, e in parts if f)))
    return net_of_requirement(snapshot, requirement, components)


RULE = Rule(RULE_ID, build, lambda _: 0)  # nothing beside the values and one shared requirement
