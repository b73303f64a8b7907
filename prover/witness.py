"""The witness: the best assignment of a compiled rule, as words and limbs. Everything here is secret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from zkmargin.circuits.errors import InternalError, MalformedInput, NotSolvent, StatementMismatch
from zkmargin.circuits.layout import LIMBS, Layout
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import BoundStatement
from zkmargin.circuits.units import MAX_LOTS, ceil_div, format_quanta


@dataclass(frozen=True)
class Witness:
    """Limb columns and multiplicities as integers, and the committed positions."""

    layout: Layout
    columns: tuple[tuple[int, ...], ...] = field(repr=False)
    multiplicities: tuple[int, ...] = field(repr=False)


def limb_columns(values: Sequence[int], limits: Sequence[int], layout: Layout) -> list[list[int]]:
    """Variables to K columns of n limbs; a variable longer than a word takes several words, least significant first."""
    bits, w, capacity = layout.word_bits, layout.limb_bits, layout.words_per_column
    words = [
        (value >> (bits * t)) & ((1 << bits) - 1)
        for value, limit in zip(values, limits, strict=True)
        for t in range(layout.words_of(limit))
    ]
    words += [0] * (capacity * layout.columns - len(words))
    return [
        [(word >> (w * k)) & (layout.n - 1) for k in range(LIMBS) for word in words[c * capacity : (c + 1) * capacity]]
        for c in range(layout.columns)
    ]


def count_multiplicities(columns: Sequence[Sequence[int]], n: int) -> list[int]:
    """How often each table entry 0 .. n-1 occurs in all columns."""
    counts = [0] * n
    for column in columns:
        for limb in column:
            counts[limb] += 1
    return counts


def check_positions(lots: Sequence[int], snapshot: Snapshot, *, field: str) -> None:
    """Refuse positions outside what the snapshot promises to prove, naming the instrument (holder's eyes only)."""
    if len(lots) != len(snapshot.instruments):
        raise StatementMismatch("the opening belongs to another registry", field=field)
    for value, inst in zip(lots, snapshot.instruments, strict=True):
        if abs(value) > MAX_LOTS:
            raise MalformedInput("position of 2^63 lots or more", field=f"{field}.{inst.id}")
        if abs(value) > inst.position_limit:
            raise MalformedInput("position beyond the instrument's limit in the snapshot", field=f"{field}.{inst.id}")
        if inst.kind == "credit" and value < 0:
            raise MalformedInput("a credit cannot be negative", field=f"{field}.{inst.id}")


def build_witness(bound: BoundStatement, snapshot: Snapshot, lots: Sequence[int]) -> Witness:
    """The best witness for a statement, or ``NotSolvent`` saying by how much and in which scenario (to the holder
    only).
    """
    check_positions(lots, snapshot, field="opening")
    z = [x + bound.delta.get(j, 0) for j, x in enumerate(lots)]
    check_positions(z, snapshot, field="opening after delta")
    program, layout = bound.program, bound.layout
    rule = program.rule
    slacks = rule.slacks(z, bound.amount)
    worst = min(slacks[: len(rule.scenarios)], key=lambda row: row[1])
    if worst[1] < 0:
        text = format_quanta(ceil_div(-worst[1], rule.amount_factor), snapshot.decimals)
        raise NotSolvent(
            f"short by {text} {snapshot.currency} in scenario {worst[0]}", scenario=worst[0], shortfall=text
        )
    for name, slack in slacks[len(rule.scenarios) :]:
        if slack < 0:
            raise NotSolvent(f"the overlay {name} is not met", scenario=name, shortfall=str(-slack))
    values = program.assign(z, bound.amount)
    system = program.system
    if any(system.residuals(z, values, bound.amount)):
        raise InternalError("the assignment does not satisfy the system")
    for value, variable in zip(values, system.variables, strict=True):
        if value < 0 or value >> (layout.word_bits * layout.words_of(variable.limit)):
            raise InternalError(f"{variable.name} is out of its range")
    columns = limb_columns(values, system.limits, layout)
    counts = count_multiplicities(columns, layout.n)
    return Witness(layout, tuple(map(tuple, columns)), tuple(counts))
