"""Shipped margin rules: each a function from a snapshot and the statement's knobs to a :class:`MarginRule`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from ..compiler import MarginRule
from ..errors import StatementMismatch
from ..snapshot import Snapshot
from . import cross_margin, portfolio_margin


@dataclass(frozen=True)
class Terms:
    """The statement's knobs that shape a rule.

    ``level`` is "initial" or "maintenance"; ``multiplier`` scales the add-ons (exact); ``horizon`` in seconds scales
    the latency buffer by its square root; ``elections`` are the public choices of a class B rule, sorted by name.
    """

    level: str
    multiplier: Fraction
    horizon: int
    elections: tuple[tuple[str, str], ...] = ()


RULES: dict[str, Callable[[Snapshot, str, Fraction, int], MarginRule]] = {
    cross_margin.RULE_ID: cross_margin.build,
    portfolio_margin.RULE_ID: portfolio_margin.build,
}


def build(snapshot: Snapshot, terms: Terms) -> MarginRule:
    """The snapshot's rule under the statement's terms; ``StatementMismatch`` for a rule this version lacks."""
    builder = RULES.get(snapshot.rule_id)
    if builder is None:
        raise StatementMismatch(f"unknown rule; this version has {', '.join(sorted(RULES))}", field="snapshot.rule.id")
    return builder(snapshot, terms.level, terms.multiplier, terms.horizon)
