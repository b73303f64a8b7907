"""How an application lets snapshots name a rule of somebody else's. Nothing that reads documents calls this."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import entry_points

from zkmargin.circuits.errors import MalformedInput, RuleRefused
from zkmargin.circuits.rules import REGISTERED, find
from zkmargin.circuits.rules.rule import Builder, Rule

GROUP = "zkmargin.rules"


def register(rule_id: str, builder: Builder) -> None:
    """Let snapshots name a rule of somebody else's. From then on its code is trusted like this package.

    Only an application calls this, with a rule that its owner chose: no document does. ``RuleRefused`` for the id of a
    shipped rule, or of one that was registered with another builder.
    """
    known = find(rule_id)
    if known is not None and known.build is not builder:
        raise RuleRefused("another rule has this id", field=rule_id)
    if known is None:
        REGISTERED[rule_id] = Rule(rule_id, builder)


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
