"""Explain an account's margin to its holder: net margin, the scenario that binds, requirements, health factor.

Everything here is derived from the secret portfolio and must be shown to nobody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from circuits.expression import evaluate
from circuits.rules import Terms, build
from circuits.snapshot import Snapshot
from circuits.statement import MAX_MULTIPLIER
from circuits.units import PPM, format_fraction

from .documents import position_text


@dataclass(frozen=True)
class Explanation:
    """Money in quote units (exact fractions); ``health_factor`` is None when nothing is required."""

    currency: str
    level: str
    net_margin: Fraction = field(repr=False)
    worst_scenario: str = field(repr=False)
    requirement: Fraction = field(repr=False)
    health_factor: Fraction | None = field(repr=False)
    scenarios: tuple[tuple[str, Fraction], ...] = field(repr=False)
    positions: tuple[tuple[str, str, Fraction, Fraction], ...] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """A JSON tree with decimal strings."""
        return {
            "currency": self.currency,
            "level": self.level,
            "net_margin": format_fraction(self.net_margin),
            "worst_scenario": self.worst_scenario,
            "requirement": format_fraction(self.requirement),
            "health_factor": None if self.health_factor is None else format_fraction(self.health_factor),
            "scenarios": [{"name": n, "net_margin": format_fraction(v)} for n, v in self.scenarios],
            "positions": [
                {
                    "instrument": i,
                    "quantity": q,
                    "value": format_fraction(v),
                    "requirement": format_fraction(r),
                }
                for i, q, v, r in self.positions
            ],
        }


def health_factor(snapshot: Snapshot, terms: Terms, z: Sequence[int]) -> Fraction | None:
    """The largest multiplier (to 6 decimals) at which every scenario's net margin is still non-negative.

    0 when not even the smallest multiplier proves; None when the largest one still does, so nothing is required. By
    bisection, since net margin falls with the multiplier.
    """

    def solvent(ppm: int) -> bool:
        rule = build(snapshot, Terms(terms.level, Fraction(ppm, PPM), terms.horizon))
        return min(rule.net_margin(z)) >= 0

    low, high = 0, MAX_MULTIPLIER * PPM
    if solvent(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if solvent(middle) else (low, middle)
    return Fraction(low, PPM)


def explain(snapshot: Snapshot, terms: Terms, lots: Sequence[int]) -> Explanation:
    """Explain positions in lots (registry order) under the snapshot's rule and the given terms."""
    rule = build(snapshot, terms)
    unit = 10**snapshot.value_decimals
    margin_unit = rule.amount_factor * 10**snapshot.decimals
    margins = rule.net_margin(lots)
    worst = min(range(len(margins)), key=margins.__getitem__)
    worst_name = rule.scenarios[worst][0]
    # A row that is no scenario of the snapshot (a basis contingency) shows values in its first.
    column = snapshot.scenarios.index(worst_name) if worst_name in snapshot.scenarios else 0
    components = {name: Fraction(evaluate(expr, lots), unit) for name, expr in rule.components}
    positions = tuple(
        (
            inst.id,
            position_text(lots[row], snapshot, row),
            Fraction(lots[row] * inst.values[column], unit),
            components.get(inst.id, Fraction(0)),
        )
        for row, inst in enumerate(snapshot.instruments)
        if lots[row]
    )
    return Explanation(
        currency=snapshot.currency,
        level=terms.level,
        net_margin=Fraction(margins[worst], margin_unit),
        worst_scenario=worst_name,
        requirement=components["requirement"],
        health_factor=health_factor(snapshot, terms, lots),
        scenarios=tuple((name, Fraction(m, margin_unit)) for (name, _), m in zip(rule.scenarios, margins, strict=True)),
        positions=positions,
    )
