"""Rules of installed distributions: found by their entry point when an application asks for one by its id."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import entry_points

from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.rules import find, register

GROUP = "zkmargin.rules"


def register_installed(rule_ids: Iterable[str]) -> None:
    """Load and register the rules that installed distributions have under these ids in the group ``zkmargin.rules``.

    A rule that is there already stays. ``MalformedInput`` for an id that no distribution has, or that two have.
    """
    for rule_id in rule_ids:
        if find(rule_id) is not None:
            continue
        found = list(entry_points(group=GROUP, name=rule_id))
        if len(found) != 1:
            raise MalformedInput(
                f"{len(found)} installed distributions have this rule, not one", field=f"rules.{rule_id}"
            )
        register(rule_id, found[0].load())
