"""Shipped margin rules: each a function from a snapshot and the statement's knobs to a :class:`MarginRule`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from ..compiler import MarginRule
from ..errors import StatementMismatch
from ..snapshot import Snapshot
from . import collateral_loan, cross_margin, overlays, span_scan, tiered_margin


@dataclass(frozen=True)
class Terms:
    """The statement's knobs that shape a rule.

    ``level`` is "initial" or "maintenance"; ``multiplier`` scales the add-ons (exact); ``horizon`` in seconds scales
    the latency buffer by its square root; ``elections`` are the public choices of a class B rule, sorted by name;
    ``overlays`` the sets of overlay rows that the snapshot defines (a jurisdiction's, say) and this statement is under.
    """

    level: str
    multiplier: Fraction
    horizon: int
    elections: tuple[tuple[str, str], ...] = ()
    overlays: tuple[str, ...] = ()


#: What a rule is: snapshot, level, multiplier, horizon in seconds to the inequalities.
Builder = Callable[[Snapshot, str, Fraction, int], MarginRule]
RULES: dict[str, Builder] = {
    cross_margin.RULE_ID: cross_margin.build,
    tiered_margin.RULE_ID: tiered_margin.build,
    collateral_loan.RULE_ID: collateral_loan.build,
    span_scan.RULE_ID: span_scan.build,
}


def build(snapshot: Snapshot, terms: Terms) -> MarginRule:
    """The snapshot's rule under the statement's terms; ``StatementMismatch`` for a rule this version lacks."""
    builder = RULES.get(snapshot.rule_id) or _third_party(snapshot.rule_id)
    if builder is None:
        raise StatementMismatch(f"unknown rule; this version has {', '.join(sorted(RULES))}", field="snapshot.rule.id")
    rule = builder(snapshot, terms.level, terms.multiplier, terms.horizon)
    return overlays.join(rule, snapshot, terms.overlays)


def _third_party(rule_id: str) -> Builder | None:
    """A rule that an installed distribution registers under its id in the entry point group ``zkmargin.rules``."""
    from importlib.metadata import entry_points

    for entry in entry_points(group="zkmargin.rules", name=rule_id):
        builder: Builder = entry.load()
        return builder
    return None
