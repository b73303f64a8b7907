"""The prepared matrix of a linear system: public, the same for every proof of it, built once and kept.

:meth:`Matrix.claim` weights its rows by powers of a challenge. The dense block of scenario values is a FLINT integer
matrix; all else is sparse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from operator import add, mul, sub

from flint import fmpz_mat
from py_arkworks_bls12381 import Scalar

from zkmargin.circuits.layout import Layout
from zkmargin.circuits.system import LinearSystem
from zkmargin.verifier.argument.claim import Claim
from zkmargin.verifier.field import ZERO, inner, integer, powers, scalar, scalars


@dataclass(frozen=True)
class Matrix:
    """A system prepared for weighting on one layout. Built once per (system, layout)."""

    layout: Layout
    position_count: int
    row_count: int
    block_rows: tuple[int, ...]
    block: fmpz_mat | None
    entry_rows: tuple[int, ...]
    entry_values: tuple[Scalar, ...]
    variable_ends: tuple[int, ...]
    word_variable: tuple[int, ...]
    word_shift: tuple[Scalar, ...]

    def claim(self, beta: Scalar, constants: Sequence[Scalar]) -> Claim:
        """Weight row i of the system by beta**i, and the zero rows of x by beta**R / (beta - omega**i)."""
        weights = powers(beta, self.row_count + 1)
        products = map(mul, self.entry_values, map(weights.__getitem__, self.entry_rows))
        sums = list(accumulate(products, initial=ZERO))
        ends = [sums[e] for e in self.variable_ends]
        variables = list(map(sub, ends[1:], ends))
        words = list(map(mul, map(variables.__getitem__, self.word_variable), self.word_shift))
        positions = weights[: self.position_count]
        if self.block is not None:
            row = fmpz_mat(1, len(self.block_rows), [integer(weights[i]) for i in self.block_rows])
            positions = list(map(add, positions, scalars(map(int, (row * self.block).entries()))))
        return Claim(beta, words, positions, weights[self.row_count], inner(constants, weights))


def _build(system: LinearSystem, layout: Layout) -> Matrix:
    d = system.positions
    block_rows = tuple(i for i, row in enumerate(system.rows) if i >= d and row.positions)
    for j in range(d):
        if dict(system.rows[j].positions) != {j: 1}:
            raise ValueError(f"row {j} is not the tie of position {j}")
    block = None
    if block_rows:
        flat = [system.rows[i].positions.get(j, 0) for i in block_rows for j in range(d)]
        block = fmpz_mat(len(block_rows), d, flat)
    columns: list[list[tuple[int, int]]] = [[] for _ in system.variables]
    for i, row in enumerate(system.rows):
        for k, a in row.variables.items():
            columns[k].append((i, a))
    word_variable: list[int] = []
    word_shift: list[Scalar] = []
    for k, variable in enumerate(system.variables):
        for t in range(layout.words_of(variable.limit)):
            word_variable.append(k)
            word_shift.append(scalar(1 << (layout.word_bits * t)))
    return Matrix(
        layout=layout,
        position_count=d,
        row_count=len(system.rows),
        block_rows=block_rows,
        block=block,
        entry_rows=tuple(i for column in columns for i, _ in column),
        entry_values=tuple(scalar(a) for column in columns for _, a in column),
        variable_ends=tuple(accumulate((len(column) for column in columns), initial=0)),
        word_variable=tuple(word_variable),
        word_shift=tuple(word_shift),
    )


class _Key:
    """Cache key: the system by its digest, so that equal systems share one matrix."""

    def __init__(self, system: LinearSystem) -> None:
        self.system = system

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.system.digest == other.system.digest

    def __hash__(self) -> int:
        return hash(self.system.digest)


@lru_cache(maxsize=32)
def _cached(key: _Key, layout: Layout) -> Matrix:
    return _build(key.system, layout)


def matrix(system: LinearSystem, layout: Layout) -> Matrix:
    """The prepared matrix of a system on a layout, cached by the system's digest."""
    return _cached(_Key(system), layout)


def forget_matrices() -> None:
    """Drop all prepared matrices: for a process that others fill."""
    _cached.cache_clear()
