"""A second compiler, written from SPEC.md and RULES.md alone: documents to the encoding of a system.

It reads the JSON trees and imports nothing of the project, so that what it gives is what the two texts say. Terms are
small objects with an interval and a lowering; a rule is a function from a tree to rows' expressions. For a test it may
assume well-formed documents: refusals are tested elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import ceil, floor, lcm

from tests.support.spec_rules import MILLION, RULES, Market, Tree
from tests.support.spec_terms import Lin, Machine, Own, Side, Sum, Term, abs_


def overlay_rows(k: Market, overlay: Tree) -> Iterator[tuple[Term, int]]:
    """Constraints of one overlay that is no latency buffer."""
    everything = range(len(k.instruments))
    assets = [j for j in everything if k.instruments[j]["kind"] not in ("quote", "credit")]
    place = {inst["id"]: j for j, inst in enumerate(k.instruments)}
    corrections = [(-1, Side("short", j)) for j in everything if k.e(j).denominator != 1]
    E = Sum([(1, Lin({j: floor(k.e(j)) for j in everything})), *corrections])
    match overlay["type"]:
        case "leverage-cap":
            L = int(Fraction(overlay["max"]) * MILLION)
            yield Sum([(L, E), *((-MILLION * ceil(k.v(j)), abs_(j)) for j in assets)]), L * k.fine
        case "concentration":
            for j in assets:
                most = overlay["max_ppm"]
                yield Sum([(most, E), (-MILLION * ceil(k.v(j)), abs_(j))]), most * k.fine
        case "banned":
            for name in overlay["instruments"]:
                yield Sum([(-1, abs_(place[name]))]), 0
        case "minimum-equity":
            yield Sum([(1, E)], -int(Fraction(overlay["amount"]) * k.unit)), k.fine
        case "greek-limit":
            most = Fraction(overlay["max"])
            g = {
                j: Fraction(inst["greeks"][overlay["greek"]])
                for j, inst in enumerate(k.instruments)
                if overlay["greek"] in (inst.get("greeks") or {})
            }
            d = lcm(most.denominator, *(value.denominator for value in g.values()))
            for sign in (-1, 1):
                yield Lin({j: int(sign * value * d) for j, value in g.items()}, int(most * d)), 0


def system_digest(snapshot: Tree, statement: Tree) -> str:
    """The digest of the system of a statement on a snapshot, both as JSON trees."""
    build = RULES[snapshot["rule"]["id"]]
    k = Market(snapshot, statement, "maintenance")
    if statement["level"] == "liquidation-end":
        outer, factor = build(Market(snapshot, statement, "initial"))
        inner, _ = build(k)
        factor *= 100
        scenarios: list[Term] = [Sum([(50, a), (50, b)]) for a, b in zip(outer, inner, strict=True)]
    else:
        scenarios, factor = build(Market(snapshot, statement, statement["level"]))
    constraints: list[tuple[Term, int]] = []
    for name in statement.get("overlays", []):
        for overlay in snapshot["rule"]["overlays"][name]:
            if overlay["type"] != "latency-buffer":
                constraints += overlay_rows(k, overlay)
                continue
            place = {inst["id"]: j for j, inst in enumerate(k.instruments)}
            all_assets = [j for j, inst in enumerate(k.instruments) if inst["kind"] not in ("quote", "credit")]
            named = (
                [place[n] for n in dict.fromkeys(overlay["instruments"])] if "instruments" in overlay else all_assets
            )
            charges = [(ceil(k.v(j) * k.latency(overlay["daily_ppm"])), abs_(j)) for j in named]
            buffer = Own("shared", [Sum([(f, t) for f, t in charges if f])])
            times = Fraction(factor, k.fine)
            taken: tuple[int, Term] = (-int(times), buffer)
            if times.denominator != 1:
                taken = (-1, Own("ceil", [Sum([(times.numerator, buffer)])], times.denominator))
            scenarios = [Sum([(1, net), taken]) for net in scenarios]
    limits = [int(Fraction(inst["position_limit"]) / Fraction(inst["lot"])) for inst in k.instruments]
    machine = Machine(limits, [inst["kind"] == "credit" for inst in k.instruments])
    for term in scenarios:
        machine.demand(term, factor)
    for term, own in constraints:
        machine.demand(term, own)
    return machine.digest()
