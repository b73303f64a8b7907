"""Terms that rules share: notional of a lot, limits of positions, the value in a scenario, debts in quote."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from zkmargin.circuits.compiler import MarginRule
from zkmargin.circuits.expression import Amount, Expression, Linear, Max, Sum
from zkmargin.circuits.snapshot import Instrument, Snapshot
from zkmargin.circuits.units import ceil_div


def ceil(value: Fraction) -> int:
    """Smallest integer that is not below ``value``."""
    return ceil_div(value.numerator, value.denominator)


def floor(value: Fraction) -> int:
    """Largest integer that is not above ``value``."""
    return value.numerator // value.denominator


def lot_notional(inst: Instrument, snapshot: Snapshot) -> Fraction:
    """Notional of one lot at the mark, in fine quanta (exact)."""
    return inst.mark * inst.lot * int(10**snapshot.value_decimals)


def credits_of(snapshot: Snapshot) -> frozenset[int]:
    """Rows of credits, which are never negative."""
    return frozenset(j for j, inst in enumerate(snapshot.instruments) if inst.kind == "credit")


def position_limits(snapshot: Snapshot) -> tuple[tuple[int, int], ...]:
    """(low, high) of every position in lots; a credit's low is 0."""
    return tuple(
        (0 if inst.kind == "credit" else -inst.position_limit, inst.position_limit) for inst in snapshot.instruments
    )


def scenario_value(snapshot: Snapshot, s: int) -> Linear:
    """sum_j z_j V_j(s), in fine quanta."""
    return Linear({j: inst.values[s] for j, inst in enumerate(snapshot.instruments) if inst.values[s]})


def net_of_requirement(
    snapshot: Snapshot, requirement: Expression, components: Sequence[tuple[str, Expression]]
) -> MarginRule:
    """The rule "value in every scenario, less one requirement": what the linear rules share."""
    scenarios: list[tuple[str, Expression]] = []
    for s, name in enumerate(snapshot.scenarios):
        scenarios.append((name, Sum(((1, scenario_value(snapshot, s)), (-1, requirement)))))
    return MarginRule(
        limits=tuple(
            (0 if inst.kind == "credit" else -inst.position_limit, inst.position_limit) for inst in snapshot.instruments
        ),
        scenarios=tuple(scenarios),
        amount_factor=snapshot.fine,
        non_negative=credits_of(snapshot),
        components=(("requirement", requirement), *components),
    )


def quote_debts(snapshot: Snapshot) -> dict[int, Expression]:
    """The debt in quote that credits and the amount become, in fine quanta: what they exceed each line's balance by.

    A used credit is paid out of a quote line, and an amount becomes a credit: a charge on a debt in quote has to be on
    this, since neither step changes it, and not on the short part of the line alone, which a payment makes.
    """
    quotes = [j for j, inst in enumerate(snapshot.instruments) if inst.kind == "quote"]
    most = sum(inst.position_limit * max(map(abs, inst.values)) for inst in snapshot.instruments)
    amount = Amount(most // snapshot.fine)
    owed = {c: -snapshot.instruments[c].values[0] for c in sorted(credits_of(snapshot))}
    out: dict[int, Expression] = {}
    for row in quotes:
        inst = snapshot.instruments[row]
        exceeding = Sum(((1, Linear({row: -inst.values[0], **owed})), (snapshot.fine, amount)))
        out[row] = Max(f"{inst.id}.debt", (exceeding, Linear({})))
    return out
