"""Linear systems over committed positions and range-checked words, with the integer-bound check.

Row i says  sum_j f_ij * z_j + sum_k a_ik * w_k + constant_i = amount_factor_i * amount  over the integers, where
z_j = x_j + delta_j is the position after the public trade and w_k are non-negative variables. Bound to an amount
and a delta it becomes  sum_j f_ij x_j + sum_k a_ik w_k = c_i, which is what the argument proves modulo r.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from zkmargin.circuits.errors import SystemTooLarge
from zkmargin.circuits.layout import Layout, fit

#: Order of the scalar field of BLS12-381: equations are checked modulo this prime.
FIELD_ORDER = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
#: Amounts and their scale factor stay below this, which leaves the bound check of every row meaningful.
MAX_AMOUNT_BITS = 128


@dataclass(frozen=True)
class Variable:
    """A non-negative integer; ``limit`` is the largest value an honest witness may need."""

    name: str
    limit: int


@dataclass(frozen=True)
class Row:
    """One equation: sparse integer coefficients of positions and of variables."""

    name: str
    positions: Mapping[int, int]
    variables: Mapping[int, int]
    constant: int = 0
    amount_factor: int = 0


def _encode_int(value: int) -> bytes:
    magnitude = abs(value).to_bytes((abs(value).bit_length() + 7) // 8, "big")
    return bytes([(1 if value < 0 else 0)]) + len(magnitude).to_bytes(2, "big") + magnitude


def _encode_entries(entries: Mapping[int, int]) -> bytes:
    items = sorted((k, v) for k, v in entries.items() if v)
    return len(items).to_bytes(4, "big") + b"".join(k.to_bytes(4, "big") + _encode_int(v) for k, v in items)


@dataclass(frozen=True)
class LinearSystem:
    """The public polyhedron: the first ``positions`` rows tie z_j to words, the others are rules."""

    positions: int
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the canonical encoding (docs/SPEC.md, "Encoding of a system"): 32 bytes."""
        h = hashlib.sha256(b"zkmargin/system/1\x00")
        h.update(self.positions.to_bytes(4, "big"))
        h.update(len(self.variables).to_bytes(4, "big"))
        for variable in self.variables:
            h.update(_encode_int(variable.limit))
        h.update(len(self.rows).to_bytes(4, "big"))
        for row in self.rows:
            h.update(_encode_entries(row.positions) + _encode_entries(row.variables))
            h.update(_encode_int(row.constant) + _encode_int(row.amount_factor))
        return h.digest()

    @cached_property
    def limits(self) -> tuple[int, ...]:
        """Largest honest value of each variable, in order."""
        return tuple(v.limit for v in self.variables)

    def layout(self, n: int) -> Layout:
        """The layout on domain ``n``; the bound check is part of it."""
        chosen = fit(self.limits, self.positions, n)
        self.check_bounds(chosen)
        return chosen

    def check_bounds(self, layout: Layout) -> None:
        """Refuse any row whose integer value could reach r/2, so that equality mod r is equality over Z.

        Uses what the range check really enforces (2**(B * words) - 1), not the honest limits
        """
        capacity = [(1 << (layout.word_bits * layout.words_of(v.limit))) - 1 for v in self.variables]
        # |z_j| is at most what the words of its tie can hold: z_j is a difference of non-negative variables.
        reach = [sum(capacity[k] for k in row.variables) for row in self.rows[: self.positions]]
        for row in self.rows:
            bound = sum(abs(f) * reach[j] for j, f in row.positions.items())
            bound += sum(abs(a) * capacity[k] for k, a in row.variables.items())
            bound += abs(row.constant) + (abs(row.amount_factor) << MAX_AMOUNT_BITS)
            if 2 * bound >= FIELD_ORDER:
                raise SystemTooLarge("the row's integers could wrap modulo the field order", field=row.name)

    def constants(self, delta: Mapping[int, int], amount: int) -> tuple[int, ...]:
        """c_i for a public trade ``delta`` (row to lots) and an ``amount`` in quote quanta."""
        if amount < 0 or amount.bit_length() > MAX_AMOUNT_BITS:
            raise SystemTooLarge(f"amount outside 0 .. 2^{MAX_AMOUNT_BITS} - 1", field="statement.amount")
        return tuple(
            row.amount_factor * amount
            - row.constant
            - sum(f * delta[j] for j, f in row.positions.items() if j in delta)
            if delta
            else row.amount_factor * amount - row.constant
            for row in self.rows
        )
