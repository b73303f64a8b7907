"""Portfolio margin as Derive's PMRM v2 does it: worst scenario, basis contingency, add-ons, election per skew.

Facts from derivexyz/v2-core ``src/risk-managers/PMRMLib_2.sol`` (named below by function) and ``PMRM_2.sol``:

    margin = factor * min(basis, worst scenario) - contingencies + mark-to-market + cash     getMarginAndMarkToMarket
    scenario = dampening * (sum_j z_j (V_js - V_j) + sum_e y_e)                               getScenarioPnL
    y_e = x (gain if x >= 0 else loss) - m,  m and x the expiry's value now and in the scenario   _addStaticDiscount
    basis = sum_e b_e min(up_e - m_e, down_e - m_e, 0)                                        _addBasisContingency
    contingencies = naked shorts per strike, |perpetuals|, collateral, confidences            addPrecomputes

Class A where gain <= loss, for then  y_e = min(gain x, loss x) - m;  the other order is refused. A skew scenario counts
``-|y_e| = min(y_e, -y_e)``, which is not concave; the statement names the sign of x in public (class B), since
``-y_e = max(m - gain x, m - loss x)``. Elections are called "scenario/expiry"; their pieces are "long" and "short". The
best choice is "long" but where x < 0 and y_e > 0, so a "short" tells that of an expiry and a "long" little.

Values. As with SPAN arrays every price comes from the snapshot: one of its scenarios is the mark, two are the basis
shocks, the others (these too, if listed) are losses. Collateral that cancels no risk has its mark in every
scenario. An initial loss factor includes the peg loss; initial rates include what maintenance charges, and the
confidence contingencies. What Derive derives from an account's holdings (the confidences of what it holds) is a
public rate here. Short spot, which Derive does not have, pays its haircut too.

Rounding. Values and rates are integers of the snapshot; products of rates are rounded up to parts per billion and
the add-on of one lot to a fine quantum, so always against the account; nothing else is rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field

from zkmargin.circuits.compiler import MarginRule
from zkmargin.circuits.errors import MalformedInput, RuleRefused
from zkmargin.circuits.expression import Abs, Election, Expression, Linear, Max, Min, Shared, Sum
from zkmargin.circuits.rules.rule import PIECE, ROW, Rule, Sizes
from zkmargin.circuits.schema import Decimal, Name, Ppm, Strict, validate
from zkmargin.circuits.snapshot import Instrument, Snapshot
from zkmargin.circuits.units import PPM, ceil_div, isqrt_ceil, parse_decimal

RULE_ID = "portfolio-margin/1"
#: Rates of this rule are parts per billion: values of a hundred thousand times a margin still leave 1e-6 of it exact.
PPB = 10**9
SECONDS_PER_DAY = 86_400
#: As many names are compared in the time of a step.
NAMES_PER_STEP = 16
BASIS = "basis"
PARAMETERS = "snapshot.rule.parameters"

Ppb = Annotated[int, Field(ge=0, le=1000 * PPB, strict=True)]
Parts = list[tuple[int, Expression]]


class ScenarioModel(Strict):
    """A loss scenario: "skew" counts the loss of either direction, per expiry; dampening scales the difference."""

    kind: Literal["regular", "skew"]
    dampening_ppb: Ppb = PPB


class ExpiryModel(Strict):
    """Public rates of an expiry.

    ``gain_ppb`` and ``loss_ppb`` are the static discounts of a positive and a negative shocked value, ``basis_ppb`` the
    factor of the basis contingency, ``short_*`` the rates of naked shorts, ``gross_initial_ppb`` that of all options
    (confidence contingency), the last three times the index price.
    """

    gain_ppb: Ppb
    loss_ppb: Ppb
    basis_ppb: Ppb
    short_maintenance_ppb: Ppb
    short_initial_ppb: Ppb
    gross_initial_ppb: Ppb = 0


class ParametersModel(Strict):
    """Parameters of the rule in a snapshot; ``mark``, ``basis_up`` and ``basis_down`` name snapshot scenarios."""

    mark: Name
    basis_up: Name
    basis_down: Name
    index: Decimal
    maintenance_loss_ppb: Ppb
    initial_loss_ppb: Ppb
    scenarios: Annotated[dict[Name, ScenarioModel], Field(min_length=1, max_length=512)]
    expiries: Annotated[dict[Name, ExpiryModel], Field(max_length=64)]


class OptionRiskModel(Strict):
    """Per-instrument parameters of an option; call and put of one strike offset their shorts."""

    expiry: Name
    strike: Decimal
    type: Literal["call", "put"]
    latency_ppm: Ppm = 0


class PlainRiskModel(Strict):
    """Per-instrument parameters of a perpetual (rates of the index price) or of spot (rates of the mark)."""

    maintenance_ppb: Ppb
    initial_ppb: Ppb
    latency_ppm: Ppm = 0


class CashRiskModel(Strict):
    """Quote currency and credits carry no risk parameters."""


@dataclass(frozen=True)
class Holdings:
    """What the rule knows of the registry: options by expiry, the add-ons of each instrument and of each strike."""

    plain: tuple[int, ...]
    expiries: Mapping[str, tuple[int, ...]]
    own: tuple[tuple[str, Parts], ...]
    shorts: Parts


@dataclass(frozen=True)
class _Context:
    snapshot: Snapshot
    parameters: ParametersModel
    index: Fraction
    initial: bool
    multiplier: Fraction
    horizon: int

    def column(self, name: str, at: str) -> int:
        """The place of a snapshot scenario in every instrument's values."""
        if name not in self.snapshot.scenarios:
            raise MalformedInput("no scenario of the snapshot", field=f"{PARAMETERS}.{at}")
        return self.snapshot.scenarios.index(name)

    def loss_factor(self, dampening_ppb: int) -> int:
        """Factor of a scenario in parts per billion, rounded up: the worst of all rows is never a gain."""
        loss = self.parameters.initial_loss_ppb if self.initial else self.parameters.maintenance_loss_ppb
        exact = Fraction(loss * dampening_ppb, PPB) * self.multiplier
        return ceil_div(exact.numerator, exact.denominator)

    def index_value(self, inst: Instrument) -> Fraction:
        """One lot at the index price, in fine quanta."""
        return self.index * inst.lot * int(10**self.snapshot.value_decimals)

    def per_lot(self, value: Fraction, rate_ppb: int, *, scaled: bool = True) -> int:
        """A rate of the value of one lot, rounded up to a fine quantum; scaled by the multiplier."""
        exact = value * rate_ppb / PPB * (self.multiplier if scaled else 1)
        return ceil_div(exact.numerator, exact.denominator)

    def latency(self, value: Fraction, latency_ppm: int) -> int:
        """latency_ppm * sqrt(horizon in days) of the value of one lot; not scaled by the multiplier."""
        rate_ppm = isqrt_ceil(ceil_div(latency_ppm**2 * self.horizon, SECONDS_PER_DAY))
        return self.per_lot(value, rate_ppm * (PPB // PPM), scaled=False)

    def rate(self, maintenance_ppb: int, initial_ppb: int, at: str) -> int:
        """The rate of the level; an initial rate below the maintenance rate is refused."""
        if initial_ppb < maintenance_ppb:
            raise MalformedInput("the initial rate is below the maintenance rate", field=at)
        return initial_ppb if self.initial else maintenance_ppb

    def plain(self, row: int, inst: Instrument, at: str) -> Parts:
        """Perpetual: |q| * index * rate. Spot: |q| * mark * haircut. Both with the latency buffer."""
        risk = validate(PlainRiskModel, dict(inst.risk), name=at)
        if inst.kind == "spot":
            value = Fraction(inst.values[self.column(self.parameters.mark, "mark")])
            if value < 0:
                raise MalformedInput("spot of negative value", field=at)
        else:
            value = self.index_value(inst)
        cost = self.per_lot(value, self.rate(risk.maintenance_ppb, risk.initial_ppb, at))
        return [(cost + self.latency(value, risk.latency_ppm), Abs(row))]

    def cash(self, row: int, inst: Instrument, at: str) -> Parts:
        """Nothing: cash has no risk."""
        validate(CashRiskModel, dict(inst.risk), name=at)
        return []

    def expiry(self, name: str) -> ExpiryModel:
        """An expiry's rates, or the refusal of discounts in the wrong order."""
        model = self.parameters.expiries[name]
        if model.gain_ppb > model.loss_ppb:
            raise RuleRefused(
                "a gain is discounted less than a loss, so the discounted value is convex",
                field=f"{PARAMETERS}.expiries.{name}",
            )
        return model

    def naked_shorts(self, expiry: str, strike: Fraction, rows: Sequence[int]) -> Parts:
        """max(0, -(calls + puts)) * index * rate at one strike (_addOptionContingency)."""
        model, at = self.expiry(expiry), f"{PARAMETERS}.expiries.{expiry}"
        rate = self.rate(model.short_maintenance_ppb, model.short_initial_ppb, at)
        instruments = [self.snapshot.instruments[row] for row in rows]
        value = self.index_value(instruments[0])
        if len(rows) == 1:  # max(0, -z) = (|z| - z) / 2 needs no auxiliary word
            half = self.per_lot(value / 2, rate)
            return [(half, Abs(rows[0])), (-half, Linear({rows[0]: 1}))]
        if len({inst.lot for inst in instruments}) != 1:
            raise MalformedInput("call and put of one strike need one lot", field=f"snapshot.instruments.{rows[1]}.lot")
        short = Max(f"short.{expiry}.{strike}", (Linear(dict.fromkeys(rows, -1)), Linear({})))
        return [(self.per_lot(value, rate), short)]

    def holdings(self) -> Holdings:
        """Read every instrument's risk parameters."""
        kinds: dict[str, Callable[[int, Instrument, str], Parts]] = {
            "perpetual": self.plain, "spot": self.plain, "quote": self.cash, "credit": self.cash,
        }  # fmt: skip
        plain: list[int] = []
        own: list[tuple[str, Parts]] = []
        expiries: dict[str, list[int]] = {}
        strikes: dict[tuple[str, Fraction], dict[str, int]] = {}
        for row, inst in enumerate(self.snapshot.instruments):
            at = f"snapshot.instruments.{row}.risk"
            if inst.kind == "option":
                risk = validate(OptionRiskModel, dict(inst.risk), name=at)
                if risk.expiry not in self.parameters.expiries:
                    raise MalformedInput("unknown expiry", field=f"{at}.expiry")
                expiries.setdefault(risk.expiry, []).append(row)
                strike = parse_decimal(risk.strike, field=f"{at}.strike")
                if strikes.setdefault((risk.expiry, strike), {}).setdefault(risk.type, row) != row:
                    raise MalformedInput("two options of one expiry, strike and type", field=at)
                gross = self.expiry(risk.expiry).gross_initial_ppb if self.initial else 0
                value = self.index_value(inst)
                own.append((inst.id, [(self.per_lot(value, gross) + self.latency(value, risk.latency_ppm), Abs(row))]))
                continue
            if inst.kind not in kinds:
                raise MalformedInput(f"portfolio margin has no {inst.kind}", field=f"snapshot.instruments.{row}.kind")
            plain.append(row)
            own.append((inst.id, kinds[inst.kind](row, inst, at)))
        shorts = [
            part for (name, strike), rows in strikes.items()
            for part in self.naked_shorts(name, strike, sorted(rows.values()))
        ]  # fmt: skip
        return Holdings(
            tuple(plain), {name: tuple(rows) for name, rows in sorted(expiries.items())}, tuple(own), shorts
        )

    def discounted(self, columns: tuple[int, int], rows: Sequence[int], rate_ppb: int, sign: int = 1) -> Linear:
        """sign * (rate * x - m) of an expiry, in parts per billion of fine quanta; columns of x and m."""
        values = {row: self.snapshot.instruments[row].values for row in rows}
        return Linear({row: sign * (rate_ppb * v[columns[0]] - PPB * v[columns[1]]) for row, v in values.items()})

    def expiry_difference(self, scenario: str, kind: str, expiry: str, rows: Sequence[int]) -> Expression:
        """y_e of a regular scenario, -|y_e| of a skew scenario, in parts per billion of fine quanta.

        min(gain x, loss x) = gain x - (loss - gain) max(0, -x), whose only word is in fine quanta.
        """
        model = self.expiry(expiry)
        columns = self.column(scenario, "scenarios"), self.column(self.parameters.mark, "mark")
        values = {row: self.snapshot.instruments[row].values[columns[0]] for row in rows}
        short_value = Max(f"{scenario}.{expiry}", (Linear({row: -v for row, v in values.items()}), Linear({})))
        gap = model.loss_ppb - model.gain_ppb
        difference: Expression = self.discounted(columns, rows, model.gain_ppb)
        if gap:
            difference = Sum(((1, difference), (-gap, short_value)))
        if kind == "regular":
            return difference
        name = f"{scenario}/{expiry}"
        long = Min(name, (difference, self.discounted(columns, rows, model.gain_ppb, -1)))
        short = Min(name, (difference, self.discounted(columns, rows, model.loss_ppb, -1)))
        if not gap:
            return long
        if len(name) > 64:
            raise MalformedInput("scenario and expiry make a name of more than 64 characters", field=name[:64])
        return Election(name, (("long", long), ("short", short)))

    def basis_difference(self, expiry: str, rows: Sequence[int]) -> Expression:
        """min(up - m, down - m, 0) of one expiry, in fine quanta."""
        p, values = self.parameters, {row: self.snapshot.instruments[row].values for row in rows}
        mark = self.column(p.mark, "mark")
        up, down = self.column(p.basis_up, "basis_up"), self.column(p.basis_down, "basis_down")
        shocked = [Linear({row: v[column] - v[mark] for row, v in values.items()}) for column in (up, down)]
        return Min(f"{BASIS}.{expiry}", (*shocked, Linear({})))

    def net_value(self, column: int, factor: int, plain: Sequence[int]) -> Linear:
        """Mark-to-market of everything and the scenario's difference of all but options, times PPB squared."""
        mark = self.column(self.parameters.mark, "mark")
        coefs = {j: PPB**2 * inst.values[mark] for j, inst in enumerate(self.snapshot.instruments)}
        for j in plain:
            values = self.snapshot.instruments[j].values
            coefs[j] += PPB * factor * (values[column] - values[mark])
        return Linear({j: coef for j, coef in coefs.items() if coef})

    def check_columns(self) -> None:
        """Every scenario of the snapshot has a use and every name a scenario."""
        p = self.parameters
        used = {p.mark, p.basis_up, p.basis_down, *p.scenarios}
        for at, name in (("mark", p.mark), ("basis_up", p.basis_up), ("basis_down", p.basis_down)):
            self.column(name, at)
        for name in sorted(p.scenarios):
            self.column(name, f"scenarios.{name}")
        for i, name in enumerate(self.snapshot.scenarios):
            if name not in used:
                raise MalformedInput("neither mark nor basis nor a loss scenario", field=f"snapshot.scenarios.{i}")
        if BASIS in p.scenarios:
            raise MalformedInput(f"{BASIS} names the basis contingency", field=f"{PARAMETERS}.scenarios")
        if p.initial_loss_ppb < p.maintenance_loss_ppb:
            raise MalformedInput("below the maintenance factor", field=f"{PARAMETERS}.initial_loss_ppb")


def build(snapshot: Snapshot, level: str, multiplier: Fraction, horizon: int) -> MarginRule:
    """Portfolio margin on a snapshot: one row per loss scenario and one for the basis contingency.

    ``level`` "initial" or "maintenance"; ``multiplier`` scales losses and contingencies; ``horizon`` in seconds the
    latency buffer. Net margins count 10^-18 of a fine quantum. Raises ``MalformedInput`` or ``RuleRefused`` naming the
    parameter that is wrong.
    """
    parameters = validate(ParametersModel, dict(snapshot.parameters), name=PARAMETERS)
    index = parse_decimal(parameters.index, field=f"{PARAMETERS}.index")
    if index < 0:
        raise MalformedInput("must not be negative", field=f"{PARAMETERS}.index")
    for name in parameters.expiries:
        if "/" in name:  # elections are called "scenario/expiry", and one name must mean one of them
            raise MalformedInput("must not contain a slash", field=f"{PARAMETERS}.expiries.{name}")
    context = _Context(snapshot, parameters, index, level == "initial", multiplier, horizon)
    context.check_columns()
    holdings = context.holdings()
    parts = [part for _, own in holdings.own for part in own] + holdings.shorts
    requirement = Shared("requirement", Sum(tuple((f, e) for f, e in parts if f)))
    mark = context.column(parameters.mark, "mark")
    scenarios: list[tuple[str, Expression]] = []
    for column, name in enumerate(snapshot.scenarios):
        scenario = parameters.scenarios.get(name)
        if scenario is None:
            continue
        factor = context.loss_factor(scenario.dampening_ppb)
        net: Parts = [(1, context.net_value(column, factor, holdings.plain)), (-(PPB**2), requirement)]
        if factor:
            net += [
                (factor, context.expiry_difference(name, scenario.kind, expiry, rows))
                for expiry, rows in holdings.expiries.items()
            ]
        scenarios.append((name, Sum(tuple(net))))
    factor = context.loss_factor(PPB)
    contingency: Parts = [
        (factor * context.expiry(expiry).basis_ppb, context.basis_difference(expiry, rows))
        for expiry, rows in holdings.expiries.items()
    ]
    value = context.net_value(mark, 0, holdings.plain)
    scenarios.append((BASIS, Sum(((1, value), (-(PPB**2), requirement), *contingency))))
    return MarginRule(
        limits=tuple(
            (0 if inst.kind == "credit" else -inst.position_limit, inst.position_limit) for inst in snapshot.instruments
        ),
        scenarios=tuple(scenarios),
        amount_factor=snapshot.fine * PPB**2,
        non_negative=frozenset(j for j, inst in enumerate(snapshot.instruments) if inst.kind == "credit"),
        components=(("requirement", requirement), *((name, Sum(tuple(own))) for name, own in holdings.own)),
    )


def steps(sizes: Sizes) -> int:
    """Every loss scenario takes every expiry's value by itself, twice for a skew; scenarios are looked up by name."""
    expiries = len(sizes.members("expiries"))
    pairs = sizes.scenarios * expiries
    return 3 * ROW * sizes.cells + 4 * PIECE * pairs + 2 * pairs * sizes.scenarios // NAMES_PER_STEP


RULE = Rule(RULE_ID, build, steps)
