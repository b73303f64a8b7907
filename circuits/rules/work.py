"""How much work a statement's system is going to be, told before it is built.

A step is about one coefficient of one row that is built, bounded, lowered and checked. :func:`steps` counts from above
what the shipped rules (each tells its own) and overlays do with a snapshot, from its sizes alone: a service can put
large work aside, and :func:`check` refuses what nobody needs before anything is built. tests/circuits/test_work.py
holds it against the work that is really done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zkmargin.circuits.errors import SystemTooLarge
from zkmargin.circuits.rules import find
from zkmargin.circuits.rules.rule import PIECE, ROW, Sizes, length
from zkmargin.circuits.snapshot import Snapshot

#: The dearest of what somebody needs: loans in four categories on 200 assets in 2,500 scenarios, 18 million steps and
#: some ten seconds. What is far above is an attack or a mistake.
MAX_STEPS = 2**25
#: What the smallest rule costs.
BASE = 512
#: What an instrument costs beside the rows, in exact fractions: its tie, its requirement with two ceilings, its buffer.
INSTRUMENT = 128

_PARAMETERS, _VALUES = "snapshot.rule.parameters", "snapshot.scenarios"


def _overlay(entry: object, sizes: Sizes) -> int:
    """An entry's rows, each with something of every instrument; a latency buffer stands in every scenario."""
    kind = entry.get("type") if isinstance(entry, Mapping) else None
    row = ROW * sizes.instruments + PIECE
    if kind == "concentration":
        return row + 2 * row * sizes.instruments
    if kind == "banned" and isinstance(entry, Mapping):
        return row + row * length(entry.get("instruments"))
    if kind == "latency-buffer":
        return 2 * row + ROW * sizes.cells
    return 4 * row


def parts(snapshot: Snapshot, level: str, overlays: Sequence[str]) -> dict[str, int] | None:
    """Steps by the member of the snapshot that asks for them, or None for a rule of somebody else's."""
    rule = find(snapshot.rule_id)
    if rule is None or rule.steps is None:
        return None
    sizes = Sizes(
        len(snapshot.instruments), len(snapshot.scenarios), snapshot.parameters, [i.risk for i in snapshot.instruments]
    )
    # Between two levels both are built.
    levels = 2 if level == "liquidation-end" else 1
    values = BASE + INSTRUMENT * sizes.instruments + ROW * sizes.cells
    out = {_VALUES: levels * values, _PARAMETERS: levels * rule.steps(sizes)}
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
