"""The matrix: the mark and the value of one lot in every scenario. Each number is rounded once, to a fine quantum.

Rounding is to nearest, ties to even: the oracle does not know who is long. Linear instruments are exact until then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from zkmargin.service.oracle import black76
from zkmargin.service.oracle.config import Config, Line, Scenario, VolatilityShock
from zkmargin.service.oracle.errors import OracleRefused
from zkmargin.service.oracle.feeds import Figure

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SECONDS_PER_DAY = 86_400
#: Time to expiry in years is ACT/365.
SECONDS_PER_YEAR = 365 * SECONDS_PER_DAY
Figures = Mapping[Figure, Fraction]
#: Mark and values per lot of one instrument, in fine quanta.
Column = tuple[int, tuple[int, ...]]


def volatility_factor(shock: VolatilityShock, state: str, seconds: int) -> float:
    """What a volatility is multiplied by, at ``seconds`` to expiry; formula at ``models.VolatilityShockModel``."""
    if state == "none":
        return 1.0
    days = seconds / SECONDS_PER_DAY
    power = shock.short_power if days <= shock.reference_days else shock.long_power
    term: float = (shock.reference_days / max(days, shock.floor_days)) ** power
    return 1 + shock.up * term if state == "up" else max(0.0, 1 - shock.down * term)


def linear_column(line: Line, price: Fraction, config: Config) -> Column:
    """Price times lot times (1 + damping * shock), exactly, in every scenario; rounded once."""
    scale = 10**config.value_decimals
    per_lot = price * line.lot * scale
    values = (round(per_lot * (1 + s.damping * s.shocks[line.group])) for s in config.scenarios)
    return round(price * scale), tuple(values)


def cash_column(line: Line, config: Config) -> Column:
    """Cash is worth itself, a credit costs its face amount, in every scenario."""
    scale = 10**config.value_decimals
    value = round(line.lot * scale) * (-1 if line.kind == "credit" else 1)
    return scale, (value,) * len(config.scenarios)


def option_columns(lines: Sequence[Line], figures: Figures, config: Config, *, now: int) -> list[Column]:
    """Black-76 over instruments by scenarios in one sweep, damped, rounded once."""
    black76.require_numpy()
    import numpy as np

    scale = float(10**config.value_decimals)
    damping = np.array([float(s.damping) for s in config.scenarios])
    lots = np.array([float(line.lot) for line in lines])
    with np.errstate(over="ignore", invalid="ignore"):
        base, shocked = _prices(lines, figures, config, now=now)
        # Damping 1 must not touch the value: base + 1 * (shocked - base) would lose digits.
        damped = np.where(damping == 1.0, shocked, base[:, None] + damping * (shocked - base[:, None]))
        marks, values = base * scale, damped * (lots * scale)[:, None]
    unfit = np.flatnonzero(~(np.isfinite(values).all(axis=1) & np.isfinite(marks)))
    if unfit.size:  # a strongly negative rate over centuries
        raise OracleRefused(f"instrument {lines[int(unfit[0])].id} has no finite value", field="config.instruments")
    rows: list[list[float]] = values.tolist()
    return [(round(mark), tuple(map(round, row))) for mark, row in zip(marks.tolist(), rows, strict=True)]


def greek_columns(config: Config, figures: Figures, *, now: int) -> dict[str, dict[str, Fraction]]:
    """Cash Greeks of one lot by instrument, in quote units, rounded to a fine quantum; cash and credits have none.

    Delta for a relative move of 1 of the price or forward, gamma its change for such a move, vega for 1.00 of
    volatility.
    """
    out: dict[str, dict[str, Fraction]] = {}
    scale = 10**config.value_decimals
    options = [line for line in config.lines if line.kind == "option"]
    for line in config.lines:
        if line.price is not None and line.kind != "option":
            out[line.id] = {"delta": Fraction(round(figures[line.price] * line.lot * scale), scale)}
    if not options:
        return out
    black76.require_numpy()
    import numpy as np

    rows = [[float(figures[figure]) for figure in line.figures] for line in options]
    forward, sigma, rate = (np.array(column) for column in zip(*rows, strict=True))
    years = np.array([(line.expiry or 0) - now for line in options]) / SECONDS_PER_YEAR
    strike, call = np.array([float(line.strike) for line in options]), np.array([line.call for line in options])
    found = black76.greeks(forward, strike, sigma * np.sqrt(years), np.exp(-rate * years), call)
    for k, line in enumerate(options):
        lot = float(line.lot)
        cash = (found[0][k] * lot, found[1][k] * lot, found[2][k] * math.sqrt(years[k]) * lot)
        names = ("delta", "gamma", "vega")
        out[line.id] = {n: Fraction(round(float(v) * scale), scale) for n, v in zip(names, cash, strict=True)}
    return out


def _prices(
    lines: Sequence[Line], figures: Figures, config: Config, *, now: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Prices per unit now (one per line) and shocked (lines by scenarios)."""
    import numpy as np

    forwards, sigmas, rates = [], [], []
    for line in lines:
        of_line = [float(figures[figure]) for figure in line.figures]
        forwards.append(of_line[0])
        sigmas.append(of_line[1])
        rates.append(of_line[2])
    seconds = [(line.expiry or 0) - now for line in lines]
    years = np.array(seconds) / SECONDS_PER_YEAR
    forward, strike = np.array(forwards), np.array([float(line.strike) for line in lines])
    deviation = np.array(sigmas) * np.sqrt(years)
    discount, call = np.exp(-np.array(rates) * years), np.array([line.call for line in lines])
    factors = _factors(config.scenarios, config.volatility_shock, seconds)
    moves = np.array([[1 + float(s.shocks[line.group]) for s in config.scenarios] for line in lines])
    base = black76.price(forward, strike, deviation, discount, call)
    shocked = black76.price(
        forward[:, None] * moves, strike[:, None], deviation[:, None] * factors, discount[:, None], call[:, None]
    )
    return base, shocked


def _factors(scenarios: Sequence[Scenario], shock: VolatilityShock, seconds: Sequence[int]) -> NDArray[np.float64]:
    import numpy as np

    of = {t: {state: volatility_factor(shock, state, t) for state in ("up", "none", "down")} for t in set(seconds)}
    return np.array([[of[t][s.volatility] for s in scenarios] for t in seconds])


def columns(config: Config, figures: Figures, *, now: int) -> list[Column]:
    """Every instrument's column, in the order of the configuration; ``OracleRefused`` names an expired one."""
    for i, line in enumerate(config.lines):
        if line.expiry is not None and line.expiry <= now:
            raise OracleRefused(f"instrument {line.id} has expired", field=f"config.instruments.{i}.expiry")
    options = [line for line in config.lines if line.kind == "option"]
    priced = dict(
        zip((o.id for o in options), option_columns(options, figures, config, now=now) if options else (), strict=True)
    )
    out: list[Column] = []
    for line in config.lines:
        if line.kind == "option":
            out.append(priced[line.id])
        elif line.price is None:
            out.append(cash_column(line, config))
        else:
            out.append(linear_column(line, figures[line.price], config))
    return out
