"""What a rule is to those who use it: how it is built on a snapshot, and how much work that is going to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from zkmargin.circuits.compiler import MarginRule
from zkmargin.circuits.snapshot import Snapshot

#: Snapshot, level, multiplier, horizon in seconds to the inequalities.
Builder = Callable[[Snapshot, str, Fraction, int], MarginRule]
#: Steps: a row is split into parts, bounded, lowered and its signs are looked at, instrument by instrument.
ROW = 2
#: Steps: a named inequality (one side of a maximum, a ceiling) with its variables.
PIECE = 16


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


@dataclass(frozen=True)
class Rule:
    """A rule by its id. ``steps`` counts from above the work beside the values of the snapshot; None: nobody knows."""

    id: str
    build: Builder
    steps: Callable[[Sizes], int] | None = None


def length(value: object) -> int:
    """Entries of what should be a list; 0 where it is none."""
    return len(value) if isinstance(value, list) else 0
