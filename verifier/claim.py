"""The linear system as one inner-product claim: weights beta**i on row i.

The claim is  sum_c <l_c, v_c> + <x, u> = c  for public vectors v (per column) and u and a public scalar c. Prover and
verifier share this module, so the two cannot drift. The dense block of scenario values is a FLINT integer matrix; all else
is sparse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from operator import mul, sub

from flint import fmpz_mat
from py_arkworks_bls12381 import Scalar

from circuits.layout import Layout
from circuits.system import LinearSystem

from .field import ONE, ZERO, inner, integer, powers, scalar, scalars


@dataclass(frozen=True)
class Claim:
    """Weights of one challenge beta.

    ``words[q]`` is the weight of word q (length N, in layout order), ``positions[i]`` of row i of the position column
    (length n: rules, ties and the zero rows), ``target`` the scalar c.
    """

    words: list[Scalar]
    positions: list[Scalar]
    target: Scalar


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

    def claim(self, beta: Scalar, constants: Sequence[int]) -> Claim:
        """Weight row i of the system by beta**i; rows of x that hold no position get the powers that follow."""
        n, d = self.layout.n, self.position_count
        weights = powers(beta, self.row_count + n - d)
        products = map(mul, self.entry_values, map(weights.__getitem__, self.entry_rows))
        sums = list(accumulate(products, initial=ZERO))
        ends = [sums[e] for e in self.variable_ends]
        variables = list(map(sub, ends[1:], ends[:-1]))
        words = list(map(mul, map(variables.__getitem__, self.word_variable), self.word_shift))
        positions = weights[:d]
        if self.block is not None:
            row = fmpz_mat(1, len(self.block_rows), [integer(weights[i]) for i in self.block_rows])
            dense = scalars(int(v) for v in (row * self.block).entries())
            positions = [a + b for a, b in zip(positions, dense, strict=True)]
        # Hidden rows must be zero: each is an equation x_i = 0 of its own.
        positions += weights[self.row_count :]
        return Claim(words, positions, inner(scalars(constants), weights))


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
            word_shift.append(scalar(1 << (layout.word_bits * t)) if t else ONE)
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


@lru_cache(maxsize=16)
def limb_scales(layout: Layout) -> tuple[Scalar, ...]:
    """2**(wk) for limb k = 0 .. D-1."""
    return tuple(scalar(1 << (layout.limb_bits * k)) for k in range(layout.limbs))


def word_weights(layout: Layout, kappa: Sequence[Scalar]) -> list[Scalar]:
    """lambda_j = sum_k 2**(wk) kappa_(jD+k): what word j of any column contributes at zeta, for unit weight."""
    limbs, used = layout.limbs, layout.words_per_column * layout.limbs
    out = list(kappa[0:used:limbs])
    for k, scale in enumerate(limb_scales(layout)[1:], start=1):
        out = [a + b * scale for a, b in zip(out, kappa[k:used:limbs], strict=True)]
    return out
