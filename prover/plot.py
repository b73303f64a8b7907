"""Charts for a holder who would rather look than read, as secret as the explanation: ``zkmargin explain --plot FILE``.

What is shown is decided in :func:`panels`, in exact figures and by the names of scenarios: a rule may leave a scenario
of the snapshot out, or add a row of its own. Drawing needs matplotlib (the distribution's extra ``plot``), which is
imported only here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zkmargin.circuits.errors import MalformedInput, MissingExtra
from zkmargin.prover.explain import Explanation, health_text

if TYPE_CHECKING:
    from zkmargin.circuits.snapshot import Snapshot

#: More bars than this do not read: the largest stay, in their order, and the title says so.
MAX_BARS = 40
#: Bars of a panel of few rows are thinner than others, so that they stay bars.
THINNEST, THICKEST, PER_ROW = 0.1, 0.8, 0.1
#: Longer names are cut, so that a panel keeps its width.
MAX_NAME = 32
_COLOURS = {"up": "#c0392b", "none": "#2c3e50", "down": "#2980b9"}
_PLAIN, _BINDING = "#2c3e50", "#c0392b"


@dataclass(frozen=True)
class Point:
    """One scenario of a curve: spot shock in percent, value in quote units."""

    scenario: str
    spot: Fraction
    value: Fraction = field(repr=False)


@dataclass(frozen=True)
class Panel:
    """One idea: either curves over the spot shock, by state of volatility, or named bars from top to bottom.

    ``levels`` are values of what lies at no spot shock; ``binding`` is the scenario that decides, if one does.
    """

    title: str
    curves: Mapping[str, tuple[Point, ...]] = field(default_factory=dict)
    bars: tuple[tuple[str, Fraction], ...] = ()
    levels: tuple[tuple[str, Fraction], ...] = ()
    binding: str | None = None


def panels(answer: Explanation, snapshot: Snapshot, lots: Sequence[int]) -> tuple[Panel, ...]:
    """What the chart shows: net margin and value by scenario, and what is required for what.

    A panel that would hold one figure, which the heading says already, is left out.
    """
    found = [
        _by_scenario("net margin in each scenario", answer.scenarios, snapshot, answer.worst_scenario),
        _bars("requirement by part", answer.components),
        _by_scenario("value in each scenario, less value at the mark", _changes(snapshot, lots), snapshot),
    ]
    return tuple(panel for panel in found if len(panel.bars) > 1 or panel.curves)


def _changes(snapshot: Snapshot, lots: Sequence[int]) -> list[tuple[str, Fraction]]:
    """What the positions gain in each scenario of the snapshot against their marks, in quote units."""
    held = list(zip(lots, snapshot.instruments, strict=True))
    marked = sum((x * inst.lot * inst.mark for x, inst in held), Fraction(0))
    unit = 10**snapshot.value_decimals
    return [
        (name, Fraction(sum(x * inst.values[s] for x, inst in held), unit) - marked)
        for s, name in enumerate(snapshot.scenarios)
    ]


def _by_scenario(
    title: str, rows: Sequence[tuple[str, Fraction]], snapshot: Snapshot, binding: str | None = None
) -> Panel:
    """Curves where one has two spot shocks at least, else bars. Axes are found by the scenario's name."""
    axes = dict(zip(snapshot.scenarios, snapshot.axes, strict=False))
    placed = [(Point(name, axes[name][0], value), axes[name][1]) for name, value in rows if name in axes]
    curves = {
        state: tuple(sorted((p for p, s in placed if s == state), key=lambda p: (p.spot, p.value)))
        for state in _COLOURS
    }
    if all(len({point.spot for point in points}) < 2 for points in curves.values()):
        return _bars(title, rows, binding)
    levels = tuple((name, value) for name, value in rows if name not in axes)
    return Panel(title, {state: points for state, points in curves.items() if points}, (), levels, binding)


def _bars(title: str, rows: Sequence[tuple[str, Fraction]], binding: str | None = None) -> Panel:
    if len(rows) <= MAX_BARS:
        return Panel(title, bars=tuple(rows), binding=binding)
    # Of scenarios those with the smallest margin are of interest, of parts the largest.
    ranked = sorted(rows, key=lambda row: row[1] if binding else -abs(row[1]))[:MAX_BARS]
    kept = {name for name, _ in ranked}
    which = "smallest" if binding else "largest"
    return Panel(
        f"{title} ({which} {MAX_BARS} of {len(rows)})", bars=tuple(r for r in rows if r[0] in kept), binding=binding
    )


def heading(answer: Explanation, account: str) -> str:
    """Account, level, net margin and health in two lines."""
    health = health_text(answer.health_factor)
    worst = f"{amount(answer.net_margin, abs(answer.net_margin))} {answer.currency}"
    if len(answer.scenarios) > 1:
        worst += f" (binding: {answer.worst_scenario})"
    return f"{account}, {answer.level} margin\nnet margin {worst}, health factor {health}"


def amount(value: Fraction | float, span: Fraction | float) -> str:
    """A figure with thousands separators, and as many decimals as a range of this size needs."""
    size = float(span)
    decimals = min(8, max(0, 2 - math.floor(math.log10(size)))) if size > 0 else 0
    return f"{float(value):,.{decimals}f}"


def figure(answer: Explanation, snapshot: Snapshot, lots: Sequence[int], account: str) -> Any:
    """The chart as a matplotlib figure. ``MissingExtra`` without matplotlib."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("needs matplotlib: pip install 'zkmargin[plot]'", field="plot") from None
    mpl.rcParams["svg.hashsalt"] = "zkmargin"
    shown = panels(answer, snapshot, lots)
    tallest = max((len(panel.bars) for panel in shown), default=0)
    made = Figure(figsize=(6.4 * max(1, len(shown)), max(4.8, 1.8 + 0.22 * tallest)), layout="constrained")
    made.suptitle(heading(answer, account), fontsize=12).set_parse_math(False)
    for axis, panel in zip(made.subplots(1, max(1, len(shown)), squeeze=False)[0], shown, strict=False):
        axis.set_title(panel.title, fontsize=10)
        if panel.curves:
            _draw_curves(axis, panel, answer.currency)
        else:
            _draw_bars(axis, panel, answer.currency)
    if not shown:
        made.axes[0].set_axis_off()
    return made


def _plain_numbers(axis: Any, values: Sequence[Fraction]) -> None:
    """Thousands separators and no offset text; the zero belongs to the range."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    span = max(*values, Fraction(0)) - min(*values, Fraction(0))
    axis.set_major_locator(MaxNLocator(6))
    axis.set_major_formatter(FuncFormatter(lambda x, _: amount(x, span)))


def _draw_curves(axis: Any, panel: Panel, currency: str) -> None:
    points = [point for curve in panel.curves.values() for point in curve]
    values = [point.value for point in points] + [value for _, value in panel.levels]
    for state, curve in panel.curves.items():
        lowest: dict[Fraction, Point] = {}
        for point in curve:  # sorted: the first at a shock is the worst
            lowest.setdefault(point.spot, point)
        line = [(float(point.spot), float(point.value)) for point in lowest.values()]
        label = {"up": "volatility up", "none": "volatility unchanged", "down": "volatility down"}[state]
        axis.plot(*zip(*line, strict=True), "-", color=_COLOURS[state], lw=1.4)
        spots, heights = [float(p.spot) for p in curve], [float(p.value) for p in curve]
        axis.plot(spots, heights, "o", color=_COLOURS[state], ms=4.5, label=label)
    for i, (name, value) in enumerate(panel.levels):
        axis.axhline(float(value), color=f"C{i + 1}", ls="--", lw=1.2, label=_short(name))
    for point in points:
        if point.scenario == panel.binding:
            axis.plot(
                [float(point.spot)], [float(point.value)], "o", ms=11, mfc="none", mec=_BINDING, mew=1.6,
                label=f"binding: {_short(point.scenario)}",
            )  # fmt: skip
    axis.axhline(0, color="black", lw=0.8)
    axis.set_xlabel("spot shock, %")
    axis.set_ylabel(currency)
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8)
    _plain_numbers(axis.yaxis, values)


def _draw_bars(axis: Any, panel: Panel, currency: str) -> None:
    values = [value for _, value in panel.bars]
    span = max(*values, Fraction(0)) - min(*values, Fraction(0))
    colours = [_BINDING if name == panel.binding else _PLAIN for name, _ in panel.bars]
    thick = min(THICKEST, THINNEST + PER_ROW * len(values))
    drawn = axis.barh(range(len(values)), [float(v) for v in values], height=thick, color=colours)
    axis.set_yticks(range(len(values)), [_short(name) for name, _ in panel.bars], fontsize=8, parse_math=False)
    axis.set_ylim(len(values) - 0.5, -0.5)  # from top to bottom
    axis.bar_label(drawn, [f" {amount(v, span)} " for v in values], fontsize=7)
    low, high = min(*values, Fraction(0)), max(*values, Fraction(0))
    room = 0.2 * float(span or 1)  # for the figures beside the bars
    axis.set_xlim(float(low) - room * (low < 0), float(high) + room)
    axis.axvline(0, color="black", lw=0.8)
    axis.set_xlabel(currency)
    axis.grid(axis="x", alpha=0.25)
    axis.set_axisbelow(True)
    _plain_numbers(axis.xaxis, values)


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"


def draw(answer: Explanation, snapshot: Snapshot, lots: Sequence[int], out: Path, *, account: str) -> bytes:
    """The chart as PNG or SVG bytes, by the ending of ``out``. Raises ``MalformedInput`` for another ending."""
    import io

    kind = out.suffix.lower().lstrip(".")
    if kind not in ("png", "svg"):
        raise MalformedInput("must end in .png or .svg", field="plot")
    buffer = io.BytesIO()
    made = figure(answer, snapshot, lots, account)
    made.savefig(buffer, format=kind, dpi=110, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()
