"""Many sources, one figure: the median of a quorum, with limits on age, disagreement and jumps. Exact fractions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from zkmargin.circuits.errors import ZkMarginError
from zkmargin.circuits.statement import CLOCK_SKEW
from zkmargin.circuits.units import PPM
from zkmargin.service.oracle.config import Config, Limits
from zkmargin.service.oracle.errors import OracleRefused
from zkmargin.service.oracle.feeds import Feed, Figure, open_feed, source_of


@dataclass(frozen=True)
class Seen:
    """The newest feed that was used of one source and kind."""

    sequence: int
    payload_digest: bytes


#: By (source, kind).
SeenFeeds = Mapping[tuple[str, str], Seen]


@dataclass(frozen=True)
class Rejection:
    """A document that does not count, and why."""

    name: str
    error: ZkMarginError

    def __str__(self) -> str:
        return f"{self.name}: {self.error}"


def median(values: Sequence[Fraction]) -> Fraction:
    """The middle value; of an even number the exact mean of the two middle ones."""
    if not values:
        raise ValueError("the median of nothing")
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def too_far(value: Fraction, reference: Fraction, ppm: int, *, absolute: bool = False) -> bool:
    """Whether |value - reference| exceeds ``ppm`` of |reference| (of 1 if ``absolute``); equality is allowed."""
    return abs(value - reference) * PPM > ppm * (1 if absolute else abs(reference))


def check_feed(feed: Feed, limits: Limits, seen: Seen | None, *, now: int) -> None:
    """Hold a feed against the clock and against the last one used; ``OracleRefused`` names source and field."""
    at = f"feeds.{feed.source}.{feed.kind}"
    if feed.time > now + CLOCK_SKEW:
        raise OracleRefused("from the future", field=f"{at}.time")
    if now - feed.time > limits.staleness:
        raise OracleRefused(f"stale: older than {limits.staleness} s", field=f"{at}.time")
    if seen is not None and feed.sequence < seen.sequence:
        raise OracleRefused(f"the sequence went back from {seen.sequence}", field=f"{at}.sequence")
    if seen is not None and feed.sequence == seen.sequence and feed.payload_digest != seen.payload_digest:
        raise OracleRefused("two feeds under one sequence", field=f"{at}.sequence")


def collect(
    documents: Mapping[str, bytes], config: Config, seen: SeenFeeds, *, now: int, strict: bool = False
) -> tuple[dict[tuple[str, str], Feed], tuple[Rejection, ...]]:
    """Open every document; of each source and kind the highest sequence counts.

    A bad document does not count and is reported; with ``strict`` its error is raised. Two good ones of the same
    source, kind and sequence with different contents do not count either.
    """
    feeds: dict[tuple[str, str], Feed] = {}
    split: dict[tuple[str, str], int] = {}
    rejected: list[Rejection] = []
    for name, data in sorted(documents.items()):
        try:
            source = config.sources.get(source_of(data, name=name))
            if source is None:
                raise OracleRefused("unknown source", field=f"{name}.source")
            feed = open_feed(data, source.key, name=name)
            if feed.kind not in source.kinds or feed.kind not in config.limits:
                raise OracleRefused(f"{feed.kind} is not expected from this source", field=f"feeds.{source.name}.kind")
            place: tuple[str, str] = (feed.source, feed.kind)
            check_feed(feed, config.limits[feed.kind], seen.get(place), now=now)
            other = feeds.get(place)
            if other is not None and other.sequence == feed.sequence and other.payload_digest != feed.payload_digest:
                split[place] = feed.sequence
                raise OracleRefused("two feeds under one sequence", field=f"feeds.{feed.source}.{feed.kind}.sequence")
        except ZkMarginError as err:
            if strict:
                raise
            rejected.append(Rejection(name, err))
            continue
        if other is None or feed.sequence > other.sequence:
            feeds[place] = feed
    for doubtful, sequence in split.items():
        if feeds[doubtful].sequence == sequence:
            del feeds[doubtful]
    return feeds, tuple(rejected)


def aggregate(figure: Figure, feeds: Sequence[Feed], config: Config, rejected: Sequence[Rejection] = ()) -> Fraction:
    """The median of all sources that know a figure; ``OracleRefused`` below the quorum or beyond the deviation.

    ``feeds`` hold at most one of each source and kind.
    """
    values = {feed.source: value for feed in feeds if (value := feed.value(figure)) is not None}
    at = f"figures.{figure}"
    if len(values) < config.quorum:
        why = "; ".join(map(str, rejected)) or "no document was rejected"
        raise OracleRefused(f"too few sources: {len(values)} of {config.quorum} ({why})", field=at)
    middle = median(list(values.values()))
    limit = config.limits[figure.kind].deviation_ppm
    worst = max(sorted(values), key=lambda source: abs(values[source] - middle))
    if too_far(values[worst], middle, limit, absolute=figure.kind == "rate"):
        raise OracleRefused(f"source {worst} deviates from the median by more than {limit} ppm", field=at)
    return middle


def check_jump(figure: Figure, value: Fraction, last: Fraction, config: Config) -> None:
    """The circuit breaker: ``OracleRefused`` when a figure moved too far since the last snapshot."""
    limit = config.limits[figure.kind].jump_ppm
    if too_far(value, last, limit, absolute=figure.kind == "rate"):
        raise OracleRefused(f"jumped by more than {limit} ppm since the last snapshot", field=f"figures.{figure}")
