"""The witness: the best assignment of a compiled rule, as words and limbs. Everything here is secret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from zkmargin.circuits.compiler import Auxiliary, Negative, Positive, Program, Slack
from zkmargin.circuits.errors import InternalError, MalformedInput, StatementMismatch
from zkmargin.circuits.layout import LIMBS, Layout
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import BoundStatement
from zkmargin.circuits.system import LinearSystem
from zkmargin.circuits.units import MAX_LOTS, ceil_div, format_quanta
from zkmargin.prover import solvency
from zkmargin.prover.errors import NotSolvent
from zkmargin.prover.evaluation import evaluate


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


def assign(program: Program, z: Sequence[int], amount: int) -> list[int]:
    """The best assignment for positions ``z``: tight auxiliaries, best split; slacks may come out negative.

    A negative value means that no witness exists (class A); the caller must refuse it.
    """
    values = [0] * len(program.definitions)
    slacks: list[tuple[int, int]] = []
    for k, definition in enumerate(program.definitions):
        match definition:
            case Positive(j):
                values[k] = max(z[j], 0)
            case Negative(j):
                values[k] = max(-z[j], 0)
            case Auxiliary(expression, offset):
                values[k] = evaluate(expression, z, None, amount) + offset
            case Slack(i):
                slacks.append((k, i))
    rows = program.system.rows
    for k, i in slacks:
        row = rows[i]
        values[k] = (
            sum(f * z[j] for j, f in row.positions.items())
            + sum(a * values[v] for v, a in row.variables.items() if v != k)
            + row.constant
            - row.amount_factor * amount
        )
    return values


def residuals(system: LinearSystem, z: Sequence[int], values: Sequence[int], amount: int) -> list[int]:
    """Left minus right of every row; all zero for a satisfying assignment."""
    return [
        sum(f * z[j] for j, f in row.positions.items())
        + sum(a * values[k] for k, a in row.variables.items())
        + row.constant
        - row.amount_factor * amount
        for row in system.rows
    ]


def build_witness(bound: BoundStatement, snapshot: Snapshot, lots: Sequence[int]) -> Witness:
    """The best witness for a statement, or ``NotSolvent`` saying by how much and in which scenario (to the holder
    only).
    """
    check_positions(lots, snapshot, field="opening")
    z = [x + bound.delta.get(j, 0) for j, x in enumerate(lots)]
    check_positions(z, snapshot, field="opening after delta")
    program, layout = bound.program, bound.layout
    rule = program.rule
    slacks = solvency.slacks(rule, z, bound.amount)
    worst = min(slacks[: len(rule.scenarios)], key=lambda row: row[1])
    if worst[1] < 0:
        text = format_quanta(ceil_div(-worst[1], rule.amount_factor), snapshot.decimals)
        raise NotSolvent(
            f"short by {text} {snapshot.currency} in scenario {worst[0]}", scenario=worst[0], shortfall=text
        )
    for name, slack in slacks[len(rule.scenarios) :]:
        if slack < 0:
            raise NotSolvent(f"the overlay {name} is not met", scenario=name, shortfall=str(-slack))
    values = assign(program, z, bound.amount)
    system = program.system
    if any(residuals(system, z, values, bound.amount)):
        raise InternalError("the assignment does not satisfy the system")
    for value, variable in zip(values, system.variables, strict=True):
        if value < 0 or value >> (layout.word_bits * layout.words_of(variable.limit)):
            raise InternalError(f"{variable.name} is out of its range")
    columns = limb_columns(values, system.limits, layout)
    counts = count_multiplicities(columns, layout.n)
    return Witness(layout, tuple(map(tuple, columns)), tuple(counts))
