"""SPEC.md, "Words and columns", "Linear systems", "The bound check" and "Encoding of a system"."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from zkmargin.circuits.errors import InternalError, SystemTooLarge
from zkmargin.circuits.system import LinearSystem
from zkmargin.verifier.reference.curve import R

DOMAINS = (256, 512, 1024, 2048)
#: D: limbs of a word.
LIMBS = 8
MAX_COLUMNS = 32
MAX_AMOUNT_BITS = 128


@dataclass(frozen=True)
class Geometry:
    """Notation: n, K, and for each variable the number of its first word and how many it takes."""

    n: int
    columns: int
    words: tuple[range, ...]

    @property
    def w(self) -> int:
        """Bits of a limb, log2 n."""
        return self.n.bit_length() - 1

    @property
    def word_bits(self) -> int:
        """B = 8 w."""
        return LIMBS * self.w

    @property
    def words_per_column(self) -> int:
        """S = n / 8."""
        return self.n // LIMBS


def fit(system: LinearSystem, n: int) -> Geometry:
    """Words and columns: numbers the words of all variables, and K = max(1, ceil(N / S))."""
    if n not in DOMAINS or system.positions > n:
        raise SystemTooLarge("no supported domain holds the positions", field="domain")
    word_bits = LIMBS * (n.bit_length() - 1)
    words, used = [], 0
    for variable in system.variables:
        count = max(1, -(-variable.limit.bit_length() // word_bits))
        words.append(range(used, used + count))
        used += count
    columns = max(1, -(-used // (n // LIMBS)))
    if columns > MAX_COLUMNS:
        raise SystemTooLarge(f"more than {MAX_COLUMNS} columns", field="system")
    return Geometry(n, columns, tuple(words))


def check_bounds(system: LinearSystem, geometry: Geometry) -> None:
    """The bound check: no row may reach r/2 in absolute value, so that zero modulo r means zero."""
    cap = [2 ** (geometry.word_bits * len(words)) - 1 for words in geometry.words]
    reach = [sum(cap[k] for k, a in row.variables.items() if a) for row in system.rows[: system.positions]]
    for row in system.rows:
        bound = sum(abs(f) * reach[j] for j, f in row.positions.items())
        bound += sum(abs(a) * cap[k] for k, a in row.variables.items())
        bound += abs(row.constant) + abs(row.amount_factor) * 2**MAX_AMOUNT_BITS
        if 2 * bound >= R:
            raise SystemTooLarge("the row's integers could wrap modulo r", field=row.name)


def check_ties(system: LinearSystem) -> None:
    """Linear systems: row j < d has exactly the position coefficient {j: 1}, and words bound it."""
    for j in range(system.positions):
        tie = system.rows[j] if j < len(system.rows) else None
        if tie is None or {k: f for k, f in tie.positions.items() if f} != {j: 1} or not any(tie.variables.values()):
            raise InternalError("a compiled system without a tie for each position", field="system")


def constants(system: LinearSystem, delta: Mapping[int, int], amount: int) -> list[int]:
    """Linear systems: c_i, the right-hand side of row i for a public trade and an amount in quote quanta."""
    return [
        row.amount_factor * amount - row.constant - sum(f * delta.get(j, 0) for j, f in row.positions.items())
        for row in system.rows
    ]


def _int(value: int) -> bytes:
    magnitude = abs(value).to_bytes((abs(value).bit_length() + 7) // 8, "big")
    return (b"\x01" if value < 0 else b"\x00") + len(magnitude).to_bytes(2, "big") + magnitude


def _entries(entries: Mapping[int, int]) -> bytes:
    kept = [(index, entries[index]) for index in sorted(entries) if entries[index] != 0]
    return len(kept).to_bytes(4, "big") + b"".join(index.to_bytes(4, "big") + _int(value) for index, value in kept)


def system_digest(system: LinearSystem) -> bytes:
    """Encoding of a system: SHA-256 of the canonical string, 32 bytes."""
    parts = [b"zkmargin/system/1\x00", system.positions.to_bytes(4, "big"), len(system.variables).to_bytes(4, "big")]
    parts += [_int(variable.limit) for variable in system.variables]
    parts += [len(system.rows).to_bytes(4, "big")]
    for row in system.rows:
        parts += [_entries(row.positions), _entries(row.variables), _int(row.constant), _int(row.amount_factor)]
    return hashlib.sha256(b"".join(parts)).digest()
