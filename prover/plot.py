"""Charts for a holder who would rather look than read, as secret as the explanation: ``zkmargin explain --plot FILE``.

Needs matplotlib (the distribution's extra ``plot``), which is imported only here.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circuits.errors import MalformedInput

from .explain import Explanation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from circuits.snapshot import Snapshot

#: More bars than this do not read; the rest is summed up.
MAX_BARS = 12
_COLOURS = {"up": "#c0392b", "none": "#2c3e50", "down": "#2980b9"}


def _figure() -> tuple[Any, Any]:
    try:
        import matplotlib as mpl
    except ImportError:
        raise MalformedInput("needs matplotlib: install zkmargin[plot]", field="plot") from None
    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "zkmargin"
    from matplotlib import pyplot as plt

    return plt.subplots(1, 3, figsize=(15, 4.6))


def _margin_panel(axis: Any, answer: Explanation, snapshot: Snapshot) -> None:
    """Net margin over spot shocks, one line for each volatility state; bars by name where the snapshot has no axes."""
    values = [float(v) for _, v in answer.scenarios]
    if len(snapshot.axes) == len(values):
        for vol, colour in _COLOURS.items():
            points = sorted(
                (float(spot), v) for (spot, state), v in zip(snapshot.axes, values, strict=True) if state == vol
            )
            if points:
                axis.plot(*zip(*points, strict=True), "o-", color=colour, label=f"volatility {vol}")
        axis.set_xlabel("spot shock, %")
        axis.legend()
    else:
        names = [name for name, _ in answer.scenarios]
        axis.barh(names, values, color=["#c0392b" if n == answer.worst_scenario else "#2c3e50" for n in names])
        axis.tick_params(axis="y", labelsize=7)
    axis.axhline(0, color="black", lw=0.8) if len(snapshot.axes) == len(values) else axis.axvline(
        0, color="black", lw=0.8
    )
    axis.set_title(f"net margin, {answer.level} ({answer.currency})")


def _bars(axis: Any, rows: Sequence[tuple[str, Fraction]], title: str) -> None:
    """The largest entries by size, the rest summed."""
    ranked = sorted(rows, key=lambda row: -abs(row[1]))
    shown = ranked[:MAX_BARS]
    if rest := ranked[MAX_BARS:]:
        shown.append((f"{len(rest)} others", sum((v for _, v in rest), Fraction(0))))
    axis.barh([n for n, _ in shown][::-1], [float(v) for _, v in shown][::-1], color="#2c3e50")
    axis.tick_params(axis="y", labelsize=7)
    axis.axvline(0, color="black", lw=0.8)
    axis.set_title(title)


def _payoff_panel(axis: Any, snapshot: Snapshot, lots: Sequence[int], currency: str) -> None:
    """Value of the positions in each scenario, less their value in the first: the payoff."""
    unit = 10**snapshot.value_decimals
    values = [
        Fraction(sum(x * inst.values[s] for x, inst in zip(lots, snapshot.instruments, strict=True)), unit)
        for s in range(len(snapshot.scenarios))
    ]
    changes = [float(v - values[0]) for v in values]
    if len(snapshot.axes) == len(values):
        for vol, colour in _COLOURS.items():
            points = sorted((float(a[0]), v) for a, v in zip(snapshot.axes, changes, strict=True) if a[1] == vol)
            if points:
                axis.plot(*zip(*points, strict=True), "o-", color=colour, label=f"volatility {vol}")
        axis.axhline(0, color="black", lw=0.8)
        axis.set_xlabel("spot shock, %")
    else:
        axis.barh(list(snapshot.scenarios), changes, color="#2c3e50")
        axis.tick_params(axis="y", labelsize=7)
        axis.axvline(0, color="black", lw=0.8)
    axis.set_title(f"payoff against {snapshot.scenarios[0]} ({currency})")


def draw(answer: Explanation, snapshot: Snapshot, lots: Sequence[int], out: Path) -> bytes:
    """The chart as PNG or SVG bytes, by the ending of ``out``. Raises ``MalformedInput`` for another ending."""
    import io

    kind = out.suffix.lower().lstrip(".")
    if kind not in ("png", "svg"):
        raise MalformedInput("must end in .png or .svg", field="plot")
    figure, axes = _figure()
    _margin_panel(axes[0], answer, snapshot)
    _bars(axes[1], [(i, r) for i, _, _, r in answer.positions if r], f"requirement by component ({answer.currency})")
    _payoff_panel(axes[2], snapshot, lots, answer.currency)
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None)
    from matplotlib import pyplot as plt

    plt.close(figure)
    return buffer.getvalue()
