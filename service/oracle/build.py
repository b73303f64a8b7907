"""Feeds and configuration to a snapshot. Pure: no files, no clock of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from zkmargin.circuits.documents.snapshot import SnapshotModel, snapshot_from_model
from zkmargin.circuits.errors import StatementMismatch
from zkmargin.circuits.rules import SHIPPED, Terms
from zkmargin.circuits.rules import build as build_rule
from zkmargin.circuits.schema import validate
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.units import format_fraction, format_quanta
from zkmargin.service.oracle.aggregate import Rejection, Seen, aggregate, check_jump, collect
from zkmargin.service.oracle.config import Config
from zkmargin.service.oracle.errors import OracleRefused
from zkmargin.service.oracle.feeds import Figure
from zkmargin.service.oracle.models import SeenModel, StateModel
from zkmargin.service.oracle.values import columns, greek_columns

#: Figures are kept for the next build's circuit breaker with this many decimals.
STATE_DECIMALS = 18


@dataclass(frozen=True)
class Last:
    """What the next build is held against: the last snapshot and the figures and feeds it was made of."""

    snapshot: Snapshot
    figures: Mapping[str, Fraction] = field(hash=False)
    seen: Mapping[tuple[str, str], Seen] = field(hash=False)


@dataclass(frozen=True)
class Built:
    """A new snapshot, what it was made of, and the documents that did not count."""

    snapshot: Snapshot
    figures: Mapping[str, Fraction] = field(hash=False)
    seen: Mapping[tuple[str, str], Seen] = field(hash=False)
    rejected: tuple[Rejection, ...]

    def state(self) -> StateModel:
        """The state document that belongs to the snapshot."""
        seen: dict[str, dict[str, SeenModel]] = {}
        for (source, kind), item in sorted(self.seen.items()):
            model = SeenModel(sequence=item.sequence, payload=item.payload_digest.hex())
            seen.setdefault(source, {})[kind] = model
        figures = {
            name: format_quanta(round(v * 10**STATE_DECIMALS), STATE_DECIMALS) for name, v in self.figures.items()
        }
        return validate(
            StateModel,
            {
                "schema": "zkmargin/oracle-state/1",
                "snapshot": self.snapshot.digest.hex(),
                "figures": figures,
                "seen": seen,
            },
            name="state",
        )


def last_of(snapshot: Snapshot, state: StateModel) -> Last:
    """The last build, from its snapshot and its state; ``StatementMismatch`` when they are of different builds."""
    if state.snapshot != snapshot.digest.hex():
        raise StatementMismatch("belongs to another snapshot", field="state.snapshot")
    return Last(
        snapshot,
        {name: Fraction(value) for name, value in state.figures.items()},
        {
            (source, kind): Seen(item.sequence, bytes.fromhex(item.payload))
            for source, kinds in state.seen.items()
            for kind, item in kinds.items()
        },
    )


def build(
    config: Config,
    documents: Mapping[str, bytes],
    last: Last | None,
    *,
    now: int,
    strict: bool = False,
    accept_jump: bool = False,
) -> Built:
    """Make the snapshot of time ``now`` (the oracle's clock, Unix seconds) out of signed feeds by name.

    A bad document does not count (with ``strict``, is raised). Raises ``OracleRefused`` for a clock that did not
    advance, too few sources, deviation, a jump (unless ``accept_jump``), an expired instrument; ``MalformedInput``
    where the configuration makes no valid snapshot.
    """
    if last is not None and now <= last.snapshot.time:
        raise OracleRefused("not later than the last snapshot", field="clock")
    before = {} if last is None else last.seen
    feeds, rejected = collect(documents, config, before, now=now, strict=strict)
    by_kind = {kind: [f for (_, k), f in feeds.items() if k == kind] for kind in config.limits}
    figures = {figure: aggregate(figure, by_kind[figure.kind], config, rejected) for figure in config.figures}
    if last is not None and not accept_jump:
        for figure, value in figures.items():
            if str(figure) in last.figures:
                check_jump(figure, value, last.figures[str(figure)], config)
    snapshot = _snapshot(config, figures, now=now)
    used = {place: Seen(feed.sequence, feed.payload_digest) for place, feed in feeds.items()}
    return Built(snapshot, {str(k): v for k, v in figures.items()}, {**before, **used}, rejected)


def _greeks(found: Mapping[str, Fraction] | None) -> dict[str, dict[str, str]]:
    return {"greeks": {name: format_fraction(value) for name, value in found.items()}} if found else {}


def _snapshot(config: Config, figures: Mapping[Figure, Fraction], *, now: int) -> Snapshot:
    decimals = config.value_decimals
    priced = columns(config, figures, now=now)  # refuses what has no finite value
    greeks = greek_columns(config, figures, now=now)
    instruments: list[dict[str, Any]] = [
        {
            **line.document,
            "mark": format_quanta(mark, decimals),
            "values": [format_quanta(value, decimals) for value in values],
            **_greeks(greeks.get(line.id)),
        }
        for line, (mark, values) in zip(config.lines, priced, strict=True)
    ]
    scale = 10**decimals
    found = {name: format_quanta(round(figures[f] * scale), decimals) for name, f in config.parameters.items()}
    tree: dict[str, Any] = {
        "schema": "zkmargin/snapshot/1",
        "time": now,
        "quote": dict(config.quote),
        "rule": {**config.rule, "parameters": {**config.rule["parameters"], **found}},
        "scenarios": [scenario.name for scenario in config.scenarios],
        "instruments": instruments,
        "source": f"oracle {config.oracle}",
    }
    # Charts have one spot axis, which there is when every group moves alike.
    if all(len(set(scenario.shocks.values())) == 1 for scenario in config.scenarios):
        tree["axes"] = [
            {"spot": format_fraction(100 * next(iter(s.shocks.values()))), "vol": s.volatility}
            for s in config.scenarios
        ]
    made = snapshot_from_model(validate(SnapshotModel, tree, name="snapshot"))
    if made.rule_id in SHIPPED:  # parameters and overlays that no proof could use are refused before they are signed
        build_rule(made, Terms("initial", Fraction(1), 1, overlays=tuple(sorted(made.overlays))))
    return made
