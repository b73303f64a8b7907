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
from zkmargin.circuits.units import format_fraction

if TYPE_CHECKING:
    from collections.abc import Mapping


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
