"""Collateral and loans as Aave does: sum collateral * LT - sum debt >= 0, with LTV for initial and LT for maintenance.

A positive position is collateral, a negative one debt in scaled units: the lot's value carries the public borrow
index. The discount of collateral, (1 - LT) * V per lot of the long part, is scaled by the multiplier up to the whole
value. An eMode category raises LTV and LT of its own assets and lets the account borrow only them; being in one is an
election, so which one becomes public. Under a category a debt in another asset costs ``PROHIBITIVE`` times its value:
it proves for nobody who could not repay it many times over. Credits and the amount count as the debt in quote that
they become: what they exceed the quote balance by pays that charge where the quote currency is not in the category.
Source: Aave v3 ``GenericLogic.calculateUserAccountData`` and ``EModeLogic``.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated

from pydantic import Field

from zkmargin.circuits.compiler import MarginRule
from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.expression import Election, Expression, Linear, Part, Sum
from zkmargin.circuits.rules.rule import ROW, Rule, Sizes
from zkmargin.circuits.rules.terms import ceil, credits_of, position_limits, quote_debts, scenario_value
from zkmargin.circuits.schema import Name, Strict, validate
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.units import PPM

RULE_ID = "collateral-loan/1"
#: Charge of a debt that the elected category forbids, as a multiple of its value.
PROHIBITIVE = 1000
NO_CATEGORY = "none"
Rate = Annotated[int, Field(ge=0, le=PPM)]


class CategoryModel(Strict):
    """An eMode category: better rates for its assets."""

    ltv_ppm: Rate
    threshold_ppm: Rate


class ParametersModel(Strict):
    """Parameters of the rule in a snapshot."""

    categories: Annotated[dict[Name, CategoryModel], Field(max_length=16)]


class AssetRiskModel(Strict):
    """An asset's loan-to-value, liquidation threshold, and its eMode category if it has one."""

    ltv_ppm: Rate
    threshold_ppm: Rate
    category: Name | None = None


class CreditRiskModel(Strict):
    """Credits carry no risk parameters."""


def _rate(model: CategoryModel | AssetRiskModel, level: str, at: str) -> Fraction:
    if model.ltv_ppm > model.threshold_ppm:
        raise MalformedInput("the loan-to-value exceeds the liquidation threshold", field=at)
    return Fraction(model.ltv_ppm if level == "initial" else model.threshold_ppm, PPM)


def build(snapshot: Snapshot, level: str, multiplier: Fraction, horizon: int) -> MarginRule:
    """Collateral and loans on a snapshot. ``horizon`` has no part in it. Values per lot must not be negative."""
    parameters = validate(ParametersModel, dict(snapshot.parameters), name="snapshot.rule.parameters")
    where = "snapshot.rule.parameters.categories"
    categories = {name: _rate(model, level, f"{where}.{name}") for name, model in parameters.categories.items()}
    if NO_CATEGORY in categories:
        raise MalformedInput("this name means no category", field=f"{where}.{NO_CATEGORY}")
    risks: dict[int, tuple[Fraction, str | None]] = {}
    for row, inst in enumerate(snapshot.instruments):
        at = f"snapshot.instruments.{row}"
        if inst.kind == "credit":
            validate(CreditRiskModel, dict(inst.risk), name=f"{at}.risk")
        elif inst.kind in ("quote", "spot"):
            model = validate(AssetRiskModel, dict(inst.risk), name=f"{at}.risk")
            if model.category is not None and model.category not in categories:
                raise MalformedInput("unknown category", field=f"{at}.risk.category")
            if min(inst.values) < 0:
                raise MalformedInput("an asset's value must not be negative", field=f"{at}.values")
            risks[row] = (_rate(model, level, f"{at}.risk"), model.category)
        else:
            raise MalformedInput(f"collateral and loans have no {inst.kind}", field=f"{at}.kind")

    debts = quote_debts(snapshot) if categories else {}
    if categories and not debts:
        raise MalformedInput("categories need a quote line, in which amounts are owed", field="snapshot.instruments")

    def charges(s: int, category: str) -> Expression:
        """Discounts of the long parts, and what a category forbids, in scenario s; fine quanta, negative."""
        parts: list[tuple[int, Expression]] = []
        for row, (own, belongs) in risks.items():
            inside = belongs == category
            rate = max(own, categories[category]) if inside else own
            discount = min(Fraction(1), (1 - rate) * multiplier)
            parts.append((-ceil(discount * snapshot.instruments[row].values[s]), Part(row, 1)))
            if category != NO_CATEGORY and not inside:
                if row in debts:  # already money, the same in every scenario
                    parts.append((-PROHIBITIVE, debts[row]))
                else:
                    parts.append((-PROHIBITIVE * snapshot.instruments[row].values[s], Part(row, -1)))
        return Sum(tuple((f, e) for f, e in parts if f))

    names = (NO_CATEGORY, *sorted(categories))
    scenarios: list[tuple[str, Expression]] = []
    first: Expression | None = None
    for s, name in enumerate(snapshot.scenarios):
        value = scenario_value(snapshot, s)
        if categories:
            charge: Expression = Election("emode", tuple((c, charges(s, c)) for c in names))
        else:
            charge = charges(s, NO_CATEGORY)
        first = first or charge
        scenarios.append((name, Sum(((1, value), (1, charge)))))
    return MarginRule(
        limits=position_limits(snapshot),
        scenarios=tuple(scenarios),
        amount_factor=snapshot.fine,
        non_negative=credits_of(snapshot),
        # What the first scenario takes off, under the category that suits it best.
        components=(("requirement", Sum(((-1, first or Linear({})),))),),
    )


def steps(sizes: Sizes) -> int:
    """Every scenario charges every asset under every category, held and owed."""
    return ROW * sizes.cells * (1 + 4 * len(sizes.members("categories")))


RULE = Rule(RULE_ID, build, steps)
