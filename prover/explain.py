"""Explain an account's margin to its holder: net margin, the scenario that binds, requirements, health factor.

Everything here is derived from the secret portfolio and must be shown to nobody else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from zkmargin.circuits.compiler import MarginRule
from zkmargin.circuits.documents.statement import MAX_MULTIPLIER
from zkmargin.circuits.rules import LEVELS, Terms, build
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.units import PPM, format_fraction
from zkmargin.prover import solvency
from zkmargin.prover.documents import position_text
from zkmargin.prover.evaluation import evaluate


@dataclass(frozen=True)
class Explanation:
    """Money in quote units (exact fractions); ``health_factor`` is None above the largest multiplier of a statement."""

    currency: str
    level: str
    net_margin: Fraction = field(repr=False)
    worst_scenario: str = field(repr=False)
    requirement: Fraction = field(repr=False)
    health_factor: Fraction | None = field(repr=False)
    scenarios: tuple[tuple[str, Fraction], ...] = field(repr=False)
    positions: tuple[tuple[str, str, Fraction, Fraction], ...] = field(repr=False)
    greeks: tuple[tuple[str, Fraction], ...] = field(repr=False, default=())
    elections: tuple[tuple[str, str], ...] = field(repr=False, default=())
    overlays: tuple[tuple[str, bool], ...] = field(repr=False, default=())
    thresholds: tuple[tuple[str, Fraction], ...] = field(repr=False, default=())
    components: tuple[tuple[str, Fraction], ...] = field(repr=False, default=())
    provability_class: str = "A"

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
            "greeks": {name: format_fraction(value) for name, value in self.greeks},
            "elections": dict(self.elections),
            "overlays": dict(self.overlays),
            "class": self.provability_class,
            "components": [{"name": n, "requirement": format_fraction(v)} for n, v in self.components],
            "thresholds": {level: format_fraction(value) for level, value in self.thresholds},
        }


def _unit(rule: MarginRule, snapshot: Snapshot) -> int:
    """The rule's own money units in one quote unit, which its amount factor tells."""
    return rule.amount_factor * int(10**snapshot.decimals)


def _net(snapshot: Snapshot, terms: Terms, lots: Sequence[int]) -> Fraction:
    """Smallest net margin of the scenarios at a level."""
    rule = build(snapshot, terms)
    return Fraction(min(solvency.net_margin(rule, lots)), _unit(rule, snapshot))


def health_factor(snapshot: Snapshot, terms: Terms, z: Sequence[int]) -> Fraction | None:
    """The largest multiplier (to 6 decimals) at which every scenario's net margin is still non-negative.

    0 when not even the smallest multiplier proves; None when the largest one still does. By bisection, since net margin
    falls with the multiplier.
    """

    def solvent(ppm: int) -> bool:
        rule = build(snapshot, replace(terms, multiplier=Fraction(ppm, PPM)))
        return min(slack for _, slack in solvency.slacks(rule, z, 0)) >= 0

    low, high = 0, MAX_MULTIPLIER * PPM
    if solvent(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if solvent(middle) else (low, middle)
    return Fraction(low, PPM)


def _parts(total: Fraction, components: Mapping[str, Fraction]) -> tuple[tuple[str, Fraction], ...]:
    """The parts of a requirement that are not zero, largest first, and what no part names."""
    named = sorted(((name, value) for name, value in components.items() if value), key=lambda part: -abs(part[1]))
    rest = total - sum((value for _, value in named), Fraction(0))
    return (*named, ("other", rest)) if rest else tuple(named)


def health_text(factor: Fraction | None) -> str:
    """A health factor for people."""
    if factor is None:
        return f"above {MAX_MULTIPLIER:,}, the largest multiplier"
    return format_fraction(factor)


def account_greeks(snapshot: Snapshot, z: Sequence[int]) -> dict[str, Fraction]:
    """Delta, gamma and vega of positions in lots: sums over the instruments that carry them."""
    out: dict[str, Fraction] = {}
    for lots, inst in zip(z, snapshot.instruments, strict=True):
        for name, value in inst.greeks.items():
            out[name] = out.get(name, Fraction(0)) + lots * value
    return out


def explain(snapshot: Snapshot, terms: Terms, lots: Sequence[int]) -> Explanation:
    """Explain positions in lots (registry order) under the snapshot's rule and the given terms.

    Elections are the best ones, whatever ``terms`` names: if no choice meets every overlay, ``overlays`` says which
    one is not met by the choice with the best net margin. ``thresholds`` is the net margin at each level (initial, end
    of liquidation, maintenance). Money in quote units.
    """
    free = build(snapshot, terms)
    elections = solvency.best_choice(free, lots)
    rule = free.elect(elections)
    margin_unit = _unit(rule, snapshot)
    unit = rule.component_scale * 10**snapshot.value_decimals
    margins = solvency.net_margin(rule, lots)
    worst = min(range(len(margins)), key=margins.__getitem__)
    worst_name = rule.scenarios[worst][0]
    # A row that is no scenario of the snapshot (a basis contingency) shows values in its first.
    column = snapshot.scenarios.index(worst_name) if worst_name in snapshot.scenarios else 0
    # The first component is the total; the others are named by instrument, and one may be called like the total.
    total = Fraction(evaluate(rule.components[0][1], lots), unit)
    components = {name: Fraction(evaluate(expr, lots), unit) for name, expr in rule.components[1:]}
    positions = tuple(
        (
            inst.id,
            position_text(lots[row], snapshot, row),
            Fraction(lots[row] * inst.values[column], 10**snapshot.value_decimals),
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
        requirement=total,
        health_factor=health_factor(snapshot, terms, lots),
        scenarios=tuple((name, Fraction(m, margin_unit)) for (name, _), m in zip(rule.scenarios, margins, strict=True)),
        positions=positions,
        greeks=tuple(account_greeks(snapshot, lots).items()),
        elections=tuple(sorted(elections.items())),
        overlays=tuple((name, slack >= 0) for name, slack in solvency.slacks(rule, lots, 0)[len(rule.scenarios) :]),
        provability_class=solvency.provability_class(free),
        components=_parts(total, components),
        thresholds=tuple((level, _net(snapshot, replace(terms, level=level), lots)) for level in LEVELS),
    )
