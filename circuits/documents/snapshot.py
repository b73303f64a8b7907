"""The snapshot document (``zkmargin/snapshot/1``): its models, and how it becomes a :class:`Snapshot`."""

from __future__ import annotations

from fractions import Fraction
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import FailFast, Field

from zkmargin.circuits import canonical
from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.schema import Decimal, Name, Strict, Text, Time, dump, load
from zkmargin.circuits.snapshot import Instrument, Snapshot
from zkmargin.circuits.units import MAX_LOTS, format_fraction, parse_decimal, to_quanta

#: |value per lot| has at most 96 bits: with 2**63 lots and 512 scenarios far below the field's 2**254.
MAX_VALUE_BITS = 96
#: Rows of one overlay set. There are six kinds, three Greeks, and buffers by group: a jurisdiction's set has a dozen.
MAX_OVERLAY_ENTRIES = 64


class QuoteModel(Strict):
    """Quote currency: amounts have ``decimals``, values per lot have ``value_decimals`` (>= decimals)."""

    currency: Name
    decimals: Annotated[int, Field(ge=0, le=24)]
    value_decimals: Annotated[int, Field(ge=0, le=24)]


class AxisModel(Strict):
    """Where a scenario lies, for charts: spot shock in percent and state of volatility."""

    spot: Decimal
    vol: Literal["up", "none", "down"]


class RuleModel(Strict):
    """Rule id and its parameters; the rule itself validates the parameters."""

    id: Name
    parameters: dict[str, Any]
    overlays: Annotated[dict[Name, list[dict[str, Any]]], Field(min_length=1, max_length=64)] | None = None


class InstrumentModel(Strict):
    """One line of the registry; ``values`` holds the value per lot in each scenario, in registry order."""

    id: Name
    kind: Literal["quote", "spot", "perpetual", "future", "option", "credit"]
    lot: Decimal
    position_limit: Decimal
    mark: Decimal
    values: Annotated[list[Decimal], Field(min_length=1, max_length=512), FailFast()]
    risk: dict[str, Any] = Field(default_factory=dict)
    greeks: Annotated[dict[Literal["delta", "gamma", "vega"], Decimal], Field(min_length=1)] | None = None


class SnapshotModel(Strict):
    """``zkmargin/snapshot/1``."""

    schema_: Literal["zkmargin/snapshot/1"] = Field(alias="schema")
    time: Time
    quote: QuoteModel
    rule: RuleModel
    scenarios: Annotated[list[Name], Field(min_length=1, max_length=512), FailFast()]
    instruments: Annotated[list[InstrumentModel], Field(min_length=1, max_length=2048), FailFast()]
    axes: Annotated[list[AxisModel], Field(min_length=1, max_length=512)] | None = None
    source: Text = ""


def _instrument(model: InstrumentModel, at: str, value_decimals: int, scenarios: int) -> Instrument:
    lot = parse_decimal(model.lot, field=f"{at}.lot")
    if lot <= 0:
        raise MalformedInput("must be positive", field=f"{at}.lot")
    limit = parse_decimal(model.position_limit, field=f"{at}.position_limit") / lot
    if limit.denominator != 1 or not 0 < limit <= MAX_LOTS:
        raise MalformedInput("must be a positive whole number of lots below 2^63", field=f"{at}.position_limit")
    mark = parse_decimal(model.mark, field=f"{at}.mark")
    if mark < 0:
        raise MalformedInput("must not be negative", field=f"{at}.mark")
    if len(model.values) != scenarios:
        raise MalformedInput(f"{len(model.values)} values for {scenarios} scenarios", field=f"{at}.values")
    values = tuple(to_quanta(v, value_decimals, field=f"{at}.values.{s}") for s, v in enumerate(model.values))
    if any(abs(v).bit_length() > MAX_VALUE_BITS for v in values):
        raise MalformedInput(f"a value per lot of more than {MAX_VALUE_BITS} bits", field=f"{at}.values")
    if model.kind in ("spot", "perpetual", "future") and mark == 0 and any(values):
        raise MalformedInput("is 0 while a scenario's value is not: nothing would be required", field=f"{at}.mark")
    unit = (
        to_quanta(format_fraction(lot), value_decimals, field=f"{at}.lot") if model.kind in ("quote", "credit") else 0
    )
    if model.kind == "quote" and (mark != 1 or any(v != unit for v in values)):
        raise MalformedInput("the quote currency is worth itself in every scenario", field=f"{at}.values")
    if model.kind == "credit" and (mark != 1 or any(v != -unit for v in values)):
        raise MalformedInput("a credit costs its face amount in every scenario", field=f"{at}.values")
    greeks: dict[str, Fraction] = {
        name: parse_decimal(text, field=f"{at}.greeks.{name}") for name, text in (model.greeks or {}).items()
    }
    return Instrument(
        model.id,
        model.kind,
        lot,
        int(limit),
        mark,
        values,
        MappingProxyType(dict(model.risk)),
        MappingProxyType(greeks),
    )


def snapshot_from_model(model: SnapshotModel) -> Snapshot:
    """Build a snapshot from a validated document; raises ``MalformedInput`` naming the field."""
    if model.quote.value_decimals < model.quote.decimals:
        raise MalformedInput("fewer value decimals than amount decimals", field="snapshot.quote.value_decimals")
    if len(set(model.scenarios)) != len(model.scenarios):
        raise MalformedInput("duplicate scenario", field="snapshot.scenarios")
    seen: set[str] = set()
    for i, inst in enumerate(model.instruments):
        if inst.id in seen:
            raise MalformedInput("duplicate instrument", field=f"snapshot.instruments.{i}.id")
        seen.add(inst.id)
    if model.axes is not None and len(model.axes) != len(model.scenarios):
        raise MalformedInput(f"{len(model.axes)} entries for {len(model.scenarios)} scenarios", field="snapshot.axes")
    for name, entries in (model.rule.overlays or {}).items():
        if len(entries) > MAX_OVERLAY_ENTRIES:
            raise MalformedInput(f"more than {MAX_OVERLAY_ENTRIES} entries", field=f"snapshot.rule.overlays.{name}")
    axes = tuple(
        (parse_decimal(axis.spot, field=f"snapshot.axes.{s}.spot"), axis.vol) for s, axis in enumerate(model.axes or [])
    )
    tree = dump(model)
    instruments = tuple(
        _instrument(inst, f"snapshot.instruments.{i}", model.quote.value_decimals, len(model.scenarios))
        for i, inst in enumerate(model.instruments)
    )
    return Snapshot(
        time=model.time,
        currency=model.quote.currency,
        decimals=model.quote.decimals,
        value_decimals=model.quote.value_decimals,
        rule_id=model.rule.id,
        parameters=MappingProxyType(dict(model.rule.parameters)),
        overlays=MappingProxyType(dict(model.rule.overlays or {})),
        scenarios=tuple(model.scenarios),
        instruments=instruments,
        axes=axes,
        source=model.source,
        digest=canonical.digest(tree, domain="zkmargin/snapshot/1"),
        tree=MappingProxyType(tree),
    )


def snapshot_from_bytes(data: bytes) -> Snapshot:
    """Parse and validate a snapshot document (any JSON layout; the digest is over the canonical form)."""
    return snapshot_from_model(load(SnapshotModel, data, name="snapshot"))
