"""How much work a statement's system is going to be, told before it is built.

A step is about one coefficient of one row that is built, bounded, lowered and checked. :func:`steps` counts from above
what the shipped rules and overlays do with a snapshot, from its sizes alone: a service can put large work aside, and
:func:`check` refuses what nobody needs before anything is built. tests/circuits/test_work.py holds it against the work
that is really done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zkmargin.circuits.errors import SystemTooLarge
from zkmargin.circuits.snapshot import Snapshot

#: The dearest of what somebody needs: loans in four categories on 200 assets in 2,500 scenarios, 18 million steps and
#: some ten seconds. What is far above is an attack or a mistake.
MAX_STEPS = 2**25
#: What the smallest rule costs.
BASE = 512
#: A row is split into parts, bounded, lowered and its signs are looked at, instrument by instrument.
ROW = 2
#: What an instrument costs beside the rows, in exact fractions: its tie, its requirement with two ceilings, its buffer.
INSTRUMENT = 128
#: A named inequality (one side of a maximum, a ceiling) with its variables.
PIECE = 16
#: As many names are compared in the time of a step.
NAMES_PER_STEP = 16

_PARAMETERS, _VALUES = "snapshot.rule.parameters", "snapshot.scenarios"


@dataclass(frozen=True)
class Sizes:
    """What a rule's work depends on, of any shape that a document can have: nothing is validated yet."""

    instruments: int
    scenarios: int
    parameters: Mapping[str, Any]
    risks: Sequence[Mapping[str, Any]]

    @property
    def cells(self) -> int:
        """Values in the snapshot."""
        return self.instruments * self.scenarios

    def members(self, name: str) -> Mapping[str, Any]:
        """A parameter that is a mapping; empty where it is none, which the rule will refuse."""
        found = self.parameters.get(name)
        return found if isinstance(found, Mapping) else {}


def _linear(sizes: Sizes) -> int:
    """Values and one shared requirement."""
    return ROW * sizes.cells


def _tiered(sizes: Sizes) -> int:
    """Besides, a piece for every bracket of an instrument's table, and every table read once."""
    tables = {name: _length(table) for name, table in sizes.members("tables").items()}
    used = (risk.get("table") for risk in sizes.risks)
    pieces = sum(tables.get(name, 0) for name in used if isinstance(name, str))
    return _linear(sizes) + 3 * PIECE * pieces + PIECE * sum(tables.values())


def _loan(sizes: Sizes) -> int:
    """Every scenario charges every asset under every category, held and owed."""
    return ROW * sizes.cells * (2 + 4 * len(sizes.members("categories")))


def _portfolio(sizes: Sizes) -> int:
    """Every loss scenario takes every expiry's value by itself, twice for a skew; scenarios are looked up by name."""
    expiries = len(sizes.members("expiries"))
    pairs = sizes.scenarios * expiries
    return 4 * ROW * sizes.cells + 4 * PIECE * pairs + 2 * pairs * sizes.scenarios // NAMES_PER_STEP


def _span(sizes: Sizes) -> int:
    """Every scenario is a piece of its group's scan; every combination of elected sides charges every spread."""
    out = 2 * ROW * sizes.cells + 2 * PIECE * sizes.scenarios * len(sizes.members("groups"))
    members: dict[str, int] = {}
    for risk in sizes.risks:
        group = risk.get("group")
        if isinstance(group, str):
            members[group] = members.get(group, 0) + 1
    for name, group in sizes.members("groups").items():
        spreads = group.get("spreads") if isinstance(group, Mapping) else None
        if not isinstance(spreads, list):
            continue
        months = sum(_length(spread.get("months")) for spread in spreads if isinstance(spread, Mapping))
        elected = sum(isinstance(spread, Mapping) and spread.get("form") == "election" for spread in spreads)
        # Beyond a few elections the rule refuses the group before it makes the combinations.
        combinations = 2 ** min(elected, 4)
        each = members.get(name, 0)
        out += each * (months + PIECE * len(spreads)) + combinations * PIECE * 2 * (each + months + len(spreads))
    return out


def _length(value: object) -> int:
    return len(value) if isinstance(value, list) else 0


RULES: dict[str, Callable[[Sizes], int]] = {
    "cross-margin/1": _linear,
    "tiered-margin/1": _tiered,
    "collateral-loan/1": _loan,
    "portfolio-margin/1": _portfolio,
    "span-scan/1": _span,
}


def _overlay(entry: object, sizes: Sizes) -> int:
    """An entry's rows, each with something of every instrument; a latency buffer stands in every scenario."""
    kind = entry.get("type") if isinstance(entry, Mapping) else None
    row = ROW * sizes.instruments + PIECE
    if kind == "concentration":
        return row + 2 * row * sizes.instruments
    if kind == "banned" and isinstance(entry, Mapping):
        return row + row * _length(entry.get("instruments"))
    if kind == "latency-buffer":
        return 2 * row + ROW * sizes.cells
    return 4 * row


def parts(snapshot: Snapshot, level: str, overlays: Sequence[str]) -> dict[str, int] | None:
    """Steps by the member of the snapshot that asks for them, or None for a rule of somebody else's."""
    rule = RULES.get(snapshot.rule_id)
    if rule is None:
        return None
    sizes = Sizes(
        len(snapshot.instruments), len(snapshot.scenarios), snapshot.parameters, [i.risk for i in snapshot.instruments]
    )
    # Between two levels both are built.
    levels = 2 if level == "liquidation-end" else 1
    values = BASE + INSTRUMENT * sizes.instruments + _linear(sizes)
    out = {_VALUES: levels * values, _PARAMETERS: levels * (rule(sizes) - _linear(sizes))}
    for name in overlays:
        entries = snapshot.overlays.get(name, ())
        out[f"snapshot.rule.overlays.{name}"] = sum(_overlay(entry, sizes) for entry in entries)
    return out


def steps(snapshot: Snapshot, level: str, overlays: Sequence[str]) -> int | None:
    """Steps that building and compiling the snapshot's rule takes at most; None for a rule of somebody else's.

    ``overlays`` are the sets that the statement names.
    """
    found = parts(snapshot, level, overlays)
    return None if found is None else sum(found.values())


def check(snapshot: Snapshot, level: str, overlays: Sequence[str]) -> None:
    """``SystemTooLarge`` naming what asks for the most, where all of it is more than :data:`MAX_STEPS`."""
    found = parts(snapshot, level, overlays)
    if found is not None and sum(found.values()) > MAX_STEPS:
        raise SystemTooLarge(
            f"takes more than {MAX_STEPS} steps to compile", field=max(found, key=lambda name: found[name])
        )
