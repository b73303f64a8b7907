"""Shipped margin rules: each a function from a snapshot and the statement's knobs to a :class:`MarginRule`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

from zkmargin.circuits.compiler import MarginRule
from zkmargin.circuits.errors import RuleRefused, StatementMismatch
from zkmargin.circuits.expression import Expression, Sum
from zkmargin.circuits.rules import (
    collateral_loan,
    cross_margin,
    overlays,
    paying,
    portfolio_margin,
    span_scan,
    tiered_margin,
)
from zkmargin.circuits.snapshot import Snapshot


@dataclass(frozen=True)
class Terms:
    """The statement's knobs that shape a rule.

    ``level`` is "initial", "liquidation-end" or "maintenance"; ``multiplier`` scales the add-ons (exact); ``horizon``
    in seconds scales the latency buffer by its square root; ``elections`` are the public choices of a class B rule,
    sorted by name; ``overlays`` the sets of overlay rows that the snapshot defines (a jurisdiction's, say) and this
    statement is under.
    """

    level: str
    multiplier: Fraction
    horizon: int
    elections: tuple[tuple[str, str], ...] = ()
    overlays: tuple[str, ...] = ()


LEVELS = ("initial", "liquidation-end", "maintenance")
LIQUIDATION_END = "liquidation-end"
#: Liquidation runs until the account has this much of the way from maintenance to initial margin, not to zero.
LIQUIDATION_BUFFER_PERCENT = 50

#: What a rule is: snapshot, level, multiplier, horizon in seconds to the inequalities.
Builder = Callable[[Snapshot, str, Fraction, int], MarginRule]
RULES: dict[str, Builder] = {
    cross_margin.RULE_ID: cross_margin.build,
    tiered_margin.RULE_ID: tiered_margin.build,
    collateral_loan.RULE_ID: collateral_loan.build,
    portfolio_margin.RULE_ID: portfolio_margin.build,
    span_scan.RULE_ID: span_scan.build,
}


def build(snapshot: Snapshot, terms: Terms) -> MarginRule:
    """The snapshot's rule under the statement's terms; ``StatementMismatch`` for a rule this version lacks,
    ``RuleRefused`` for one under which paying a credit could lower the net margin
    (:mod:`zkmargin.circuits.rules.paying`).
    """
    builder = RULES.get(snapshot.rule_id) or _third_party(snapshot.rule_id)
    if builder is None:
        raise StatementMismatch(f"unknown rule; this version has {', '.join(sorted(RULES))}", field="snapshot.rule.id")
    if terms.level == LIQUIDATION_END:
        outer = builder(snapshot, "initial", terms.multiplier, terms.horizon)
        inner = builder(snapshot, "maintenance", terms.multiplier, terms.horizon)
        rule = between(outer, inner, LIQUIDATION_BUFFER_PERCENT)
    else:
        rule = builder(snapshot, terms.level, terms.multiplier, terms.horizon)
    return paying.expect_payable(overlays.join(rule, snapshot, terms.overlays, terms.horizon), snapshot)


def between(initial: MarginRule, maintenance: MarginRule, percent: int) -> MarginRule:
    """The rule whose net margin is ``percent`` initial and the rest maintenance, scenario by scenario, in 1/100 fine
    quanta.

    A convex mixture of concave functions, so of the same class as both, and between them wherever they are ordered:
    this is what makes initial <= liquidation end <= maintenance hold for every rule.
    """

    def mix(a: Expression, b: Expression) -> Expression:
        return Sum(((percent, a), (100 - percent, b)))

    if [name for name, _ in initial.scenarios] != [name for name, _ in maintenance.scenarios]:
        raise RuleRefused("its levels have different scenarios", field="level")
    if initial.amount_factor != maintenance.amount_factor:
        raise RuleRefused("its levels count in different units", field="level")
    outer, inner = dict(initial.components), dict(maintenance.components)
    return replace(
        maintenance,
        scenarios=tuple(
            (name, mix(a, b)) for (name, a), (_, b) in zip(initial.scenarios, maintenance.scenarios, strict=True)
        ),
        amount_factor=100 * maintenance.amount_factor,
        components=tuple((name, mix(outer[name], inner[name])) for name in inner if name in outer),
        component_scale=100 * maintenance.component_scale,
        constraints=(*maintenance.constraints, *initial.constraints),
    )


def _third_party(rule_id: str) -> Builder | None:
    """A rule that an installed distribution registers under its id in the entry point group ``zkmargin.rules``."""
    from importlib.metadata import entry_points

    for entry in entry_points(group="zkmargin.rules", name=rule_id):
        builder: Builder = entry.load()
        return builder
    return None
