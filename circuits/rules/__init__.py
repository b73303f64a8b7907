"""Margin rules by id: each a function from a snapshot and the statement's knobs to a :class:`MarginRule`.

Shipped rules are modules of this package. One of somebody else's is found only where the application registered it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib import import_module

from zkmargin.circuits.compiler import MarginRule
from zkmargin.circuits.errors import RuleRefused, StatementMismatch
from zkmargin.circuits.expression import Expression, Sum
from zkmargin.circuits.rules.rule import Rule
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

#: The shipped rules and the module of each, which is loaded when a snapshot names it.
SHIPPED: Mapping[str, str] = {
    "cross-margin/1": "zkmargin.circuits.rules.cross_margin",
    "tiered-margin/1": "zkmargin.circuits.rules.tiered_margin",
    "collateral-loan/1": "zkmargin.circuits.rules.collateral_loan",
    "portfolio-margin/1": "zkmargin.circuits.rules.portfolio_margin",
    "span-scan/1": "zkmargin.circuits.rules.span_scan",
}
#: What the application registered besides (:mod:`zkmargin.circuits.rules.registration`).
REGISTERED: dict[str, Rule] = {}


def find(rule_id: str) -> Rule | None:
    """The rule of an id, shipped or registered; nothing else is looked for or loaded."""
    if (module := SHIPPED.get(rule_id)) is not None:
        rule: Rule = import_module(module).RULE
        return rule
    return REGISTERED.get(rule_id)


def rule_of(snapshot: Snapshot) -> Rule:
    """The rule that a snapshot names; ``StatementMismatch`` for one that is neither shipped nor registered."""
    rule = find(snapshot.rule_id)
    if rule is None:
        known = ", ".join(sorted({*SHIPPED, *REGISTERED}))
        raise StatementMismatch(f"unknown rule; this version has {known}", field="snapshot.rule.id")
    return rule


def build(snapshot: Snapshot, terms: Terms) -> MarginRule:
    """The snapshot's rule under the statement's terms; ``StatementMismatch`` for a rule this version lacks,
    ``RuleRefused`` for one under which paying a credit could lower the net margin
    (:mod:`zkmargin.circuits.rules.paying`).
    """
    builder = rule_of(snapshot).build
    if terms.level == LIQUIDATION_END:
        outer = builder(snapshot, "initial", terms.multiplier, terms.horizon)
        inner = builder(snapshot, "maintenance", terms.multiplier, terms.horizon)
        rule = between(outer, inner, LIQUIDATION_BUFFER_PERCENT)
    else:
        rule = builder(snapshot, terms.level, terms.multiplier, terms.horizon)
    if terms.overlays:
        from zkmargin.circuits.rules import overlays

        rule = overlays.join(rule, snapshot, terms.overlays, terms.horizon)
    if any(inst.kind == "credit" for inst in snapshot.instruments):
        from zkmargin.circuits.rules import paying

        paying.expect_payable(rule, snapshot)
    return rule


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
