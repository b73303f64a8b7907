"""Overlays: rows that join any rule. A snapshot defines named sets of them; a statement says which sets it is under.

Leverage cap, concentration limit, banned instruments, minimum equity, limits on the account's Greeks, latency buffer.
Equity is the value at the marks after the amount asked for; each row is against the account to a fine quantum per
lot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from math import lcm
from typing import Annotated, Any, Literal

from pydantic import Field

from zkmargin.circuits.compiler import Constraint, MarginRule
from zkmargin.circuits.errors import MalformedInput, StatementMismatch
from zkmargin.circuits.expression import Abs, CeilDiv, Expression, Linear, Part, Shared, Sum
from zkmargin.circuits.rules.terms import ceil, floor, lot_notional
from zkmargin.circuits.schema import Decimal, Name, Strict, validate
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.units import PPM, ceil_div, isqrt_ceil, parse_decimal, to_quanta

#: Leverage and concentration are stated to six decimals.
MAX_LEVERAGE = 1000
CASH = ("quote", "credit")
SECONDS_PER_DAY = 86_400


class LeverageCapModel(Strict):
    """Gross notional at most ``max`` times equity."""

    type: Literal["leverage-cap"]
    max: Decimal


class ConcentrationModel(Strict):
    """No instrument's notional above this share of equity."""

    type: Literal["concentration"]
    max_ppm: Annotated[int, Field(ge=0, le=100 * PPM)]


class BannedModel(Strict):
    """Instruments that must not be held."""

    type: Literal["banned"]
    instruments: Annotated[list[Name], Field(min_length=1, max_length=2048)]


class MinimumEquityModel(Strict):
    """Equity at least this, in quote units."""

    type: Literal["minimum-equity"]
    amount: Decimal


class GreekLimitModel(Strict):
    """|sum of a Greek over the account| at most ``max``; instruments without the Greek count nothing."""

    type: Literal["greek-limit"]
    greek: Literal["delta", "gamma", "vega"]
    max: Decimal


class LatencyModel(Strict):
    """A buffer for the time that a proof is good for: daily_ppm * sqrt(horizon in days) of every notional."""

    type: Literal["latency-buffer"]
    daily_ppm: Annotated[int, Field(ge=0, le=PPM)]
    instruments: Annotated[list[Name], Field(min_length=1, max_length=2048)] | None = None


def _latency(tree: Any, snapshot: Snapshot, at: str, horizon: int) -> Expression:
    """The buffer in fine quanta, rounded up per lot; on the named instruments, or on all but cash."""
    model = validate(LatencyModel, tree, name=at)
    if model.instruments is None:
        rows = [row for row, inst in enumerate(snapshot.instruments) if inst.kind not in CASH]
    else:
        rows = [snapshot.row_of(name, field=f"{at}.instruments.{i}") for i, name in enumerate(model.instruments)]
    rate = Fraction(isqrt_ceil(ceil_div(model.daily_ppm**2 * horizon, SECONDS_PER_DAY)), PPM)
    parts = tuple(
        (ceil(lot_notional(snapshot.instruments[row], snapshot) * rate), Abs(row)) for row in dict.fromkeys(rows)
    )
    return Shared("latency-buffer", Sum(tuple((f, e) for f, e in parts if f)))


def _equity(snapshot: Snapshot) -> Expression:
    """Value at the marks, rounded down: floor(v) per lot held and ceil(v) per lot owed, in fine quanta."""
    coefficients: dict[int, int] = {}
    corrections: list[tuple[int, Expression]] = []
    for row, inst in enumerate(snapshot.instruments):
        value = lot_notional(inst, snapshot) * (-1 if inst.kind == "credit" else 1)
        coefficients[row] = floor(value)
        if ceil(value) != floor(value):
            corrections.append((-1, Part(row, -1)))
    return Sum(((1, Linear(coefficients)), *corrections))


def _leverage(tree: Any, snapshot: Snapshot, at: str) -> Iterator[Constraint]:
    model = validate(LeverageCapModel, tree, name=at)
    scaled = parse_decimal(model.max, field=f"{at}.max") * PPM
    if not 0 < scaled <= MAX_LEVERAGE * PPM or scaled.denominator != 1:
        raise MalformedInput(f"must be above 0, at most {MAX_LEVERAGE}, to 6 decimals", field=f"{at}.max")
    gross = tuple(
        (-PPM * ceil(lot_notional(inst, snapshot)), Abs(row))
        for row, inst in enumerate(snapshot.instruments)
        if inst.kind not in CASH
    )
    factor = scaled.numerator
    yield Constraint("leverage-cap", Sum(((factor, _equity(snapshot)), *gross)), factor * snapshot.fine)


def _concentration(tree: Any, snapshot: Snapshot, at: str) -> Iterator[Constraint]:
    factor = validate(ConcentrationModel, tree, name=at).max_ppm
    equity = _equity(snapshot)
    for row, inst in enumerate(snapshot.instruments):
        if inst.kind not in CASH:
            held = (-PPM * ceil(lot_notional(inst, snapshot)), Abs(row))
            yield Constraint(f"concentration.{inst.id}", Sum(((factor, equity), held)), factor * snapshot.fine)


def _banned(tree: Any, snapshot: Snapshot, at: str) -> Iterator[Constraint]:
    for i, name in enumerate(validate(BannedModel, tree, name=at).instruments):
        row = snapshot.row_of(name, field=f"{at}.instruments.{i}")
        yield Constraint(f"banned.{name}", Sum(((-1, Abs(row)),)))


def _minimum(tree: Any, snapshot: Snapshot, at: str) -> Iterator[Constraint]:
    least = to_quanta(validate(MinimumEquityModel, tree, name=at).amount, snapshot.decimals, field=f"{at}.amount")
    if least < 0:
        raise MalformedInput("must not be negative", field=f"{at}.amount")
    yield Constraint("minimum-equity", Sum(((1, _equity(snapshot)),), -least * snapshot.fine), snapshot.fine)


def _greek(tree: Any, snapshot: Snapshot, at: str) -> Iterator[Constraint]:
    model = validate(GreekLimitModel, tree, name=at)
    most = parse_decimal(model.max, field=f"{at}.max")
    if most < 0:
        raise MalformedInput("must not be negative", field=f"{at}.max")
    per_lot = {
        row: inst.greeks[model.greek] for row, inst in enumerate(snapshot.instruments) if model.greek in inst.greeks
    }
    scale = lcm(most.denominator, *(g.denominator for g in per_lot.values()))
    for sign, side in ((-1, "above"), (1, "below")):
        total = Linear({row: int(sign * g * scale) for row, g in per_lot.items()}, int(most * scale))
        yield Constraint(f"{model.greek}-limit.{side}", total)


_KINDS: dict[str, Callable[[Any, Snapshot, str], Iterator[Constraint]]] = {
    "leverage-cap": _leverage,
    "concentration": _concentration,
    "banned": _banned,
    "minimum-equity": _minimum,
    "greek-limit": _greek,
}


def _in_units(buffer: Expression, unit: Fraction) -> tuple[int, Expression]:
    """What a buffer in fine quanta takes off a rule that counts ``unit`` of its own to a fine quantum, rounded up.

    A unit may be larger than a fine quantum: then so many of them are one.
    """
    if unit.denominator == 1:
        return -unit.numerator, buffer
    return -1, CeilDiv("latency-buffer.rounded", Sum(((unit.numerator, buffer),)), unit.denominator)


def join(rule: MarginRule, snapshot: Snapshot, names: Sequence[str], horizon: int) -> MarginRule:
    """The rule with the rows of the named overlay sets; a latency buffer is taken off every scenario's net margin.

    ``horizon`` in seconds. ``StatementMismatch`` for a set that the snapshot does not define.
    """
    rows = list(rule.constraints)
    buffers: list[Expression] = []
    for name in names:
        if name not in snapshot.overlays:
            raise StatementMismatch("the snapshot defines no such overlay set", field=f"statement.overlays.{name}")
        for i, tree in enumerate(snapshot.overlays[name]):
            at = f"snapshot.rule.overlays.{name}.{i}"
            if tree.get("type") == "latency-buffer":
                buffers.append(_latency(tree, snapshot, at, horizon))
                continue
            kind = _KINDS.get(str(tree.get("type")))
            if kind is None:
                raise MalformedInput(f"must be latency-buffer, {', '.join(_KINDS)}", field=f"{at}.type")
            rows += [replace(row, name=f"{name}.{row.name}") for row in kind(tree, snapshot, at)]
    taken = tuple(_in_units(buffer, Fraction(rule.amount_factor, snapshot.fine)) for buffer in buffers)
    scenarios = tuple((name, Sum(((1, net), *taken))) for name, net in rule.scenarios) if taken else rule.scenarios
    return replace(rule, constraints=tuple(rows), scenarios=scenarios)
