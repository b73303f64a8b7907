"""The public price snapshot: registry, marks, value per lot in every scenario, rule and parameters, time.

As with SPAN arrays the matrix is data: nobody reprices anything when proving or verifying.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from zkmargin.circuits import canonical
from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.units import MAX_LOTS, format_fraction, parse_decimal, to_quanta

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zkmargin.circuits.schema import InstrumentModel, SnapshotModel

#: |value per lot| has at most 96 bits: with 2**63 lots and 512 scenarios far below the field's 2**254.
MAX_VALUE_BITS = 96
#: Rows of one overlay set. There are six kinds, three Greeks, and buffers by group: a jurisdiction's set has a dozen.
MAX_OVERLAY_ENTRIES = 64


@dataclass(frozen=True)
class Instrument:
    """One line of the registry.

    ``lot`` is the smallest quantity, ``position_limit`` the largest absolute position in lots that the snapshot
    promises to be able to prove, ``values[s]`` the value of one lot in scenario s, in fine quanta of
    ``10**-value_decimals`` quote. ``risk`` holds the rule's own per-instrument parameters.
    """

    id: str
    kind: str
    lot: Fraction
    position_limit: int
    mark: Fraction
    values: tuple[int, ...]
    risk: Mapping[str, Any] = field(hash=False)
    greeks: Mapping[str, Fraction] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """An immutable snapshot; ``digest`` is its name, and two snapshots are equal when their digests are.

    ``axes`` says where each scenario lies (spot shock in percent, volatility state), or is empty.
    """

    time: int
    currency: str
    decimals: int
    value_decimals: int
    rule_id: str
    parameters: Mapping[str, Any] = field(hash=False)
    overlays: Mapping[str, Any] = field(hash=False)
    scenarios: tuple[str, ...]
    instruments: tuple[Instrument, ...]
    axes: tuple[tuple[Fraction, str], ...]
    source: str
    digest: bytes
    tree: Mapping[str, Any] = field(repr=False, compare=False, hash=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Snapshot) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def fine(self) -> int:
        """Fine quanta per quote quantum: ``10**(value_decimals - decimals)``."""
        return int(10 ** (self.value_decimals - self.decimals))

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Instrument id to its row in the position vector."""
        return MappingProxyType({inst.id: row for row, inst in enumerate(self.instruments)})

    @cached_property
    def registry_digest(self) -> bytes:
        """Digest of the ordered ids, kinds and lots: what a committed position vector means, whatever the prices."""
        lines = [[inst.id, inst.kind, format_fraction(inst.lot)] for inst in self.instruments]
        return canonical.digest(lines, domain="zkmargin/registry/1")

    def row_of(self, instrument: str, *, field: str) -> int:
        """Row of an instrument, or ``MalformedInput`` naming ``field``."""
        row = self.index.get(instrument)
        if row is None:
            raise MalformedInput("unknown instrument", field=field)
        return row

    def to_bytes(self) -> bytes:
        """RFC 8785 bytes of the document."""
        return canonical.canonical_bytes(dict(self.tree))


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


def from_model(model: SnapshotModel) -> Snapshot:
    """Build a snapshot from a validated document; raises ``MalformedInput`` naming the field."""
    from zkmargin.circuits.schema import dump

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


def from_bytes(data: bytes) -> Snapshot:
    """Parse and validate a snapshot document (any JSON layout; the digest is over the canonical form)."""
    from zkmargin.circuits.schema import SnapshotModel, load

    return from_model(load(SnapshotModel, data, name="snapshot"))
