"""Black-76: reference values, parity, monotonicity, limits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zkmargin.service.oracle import black76
from zkmargin.service.oracle.black76 import normal_cdf, price
from zkmargin.service.oracle.config import VolatilityShock
from zkmargin.service.oracle.values import volatility_factor

POSITIVE = st.floats(min_value=1, max_value=1e5)
DEVIATION = st.floats(min_value=1e-3, max_value=3)


def value(forward: float, strike: float, deviation: float, *, discount: float = 1.0, call: bool = True) -> float:
    arrays: list[Any] = [np.array(x) for x in (forward, strike, deviation, discount, call)]
    return float(price(*arrays))


@pytest.mark.parametrize(
    ("x", "expected"),
    [  # tabulated values, to the digits shown; the tails are what 1 - N(x) would lose
        (0.0, 0.5),
        (1.0, 0.841344746068543),
        (-1.0, 0.158655253931457),
        (2.0, 0.977249868051821),
        (-3.0, 0.001349898031630095),
        (-6.0, 9.865876450376981e-10),
        (-10.0, 7.619853024160527e-24),
    ],
)
def test_the_normal_distribution_keeps_its_digits(x: float, expected: float) -> None:
    assert float(normal_cdf(np.array([x]))[0]) == pytest.approx(expected, rel=2e-15 if abs(x) > 2.5 else 1e-14)


def test_reference_values() -> None:
    # Hull, Options, Futures and Other Derivatives, "Valuing futures options with Black's model": a four-month put
    # with F = K = 20, r = 9 %, sigma = 25 % is worth 1.12.
    hull = value(20, 20, 0.25 * math.sqrt(4 / 12), discount=math.exp(-0.09 * 4 / 12), call=False)
    assert hull == pytest.approx(1.12, abs=0.005)
    # At the money the value is F (2 N(s/2) - 1) = F erf(s / (2 sqrt 2)), in closed form.
    assert value(100, 100, 0.2) == pytest.approx(100 * math.erf(0.1 / math.sqrt(2)), rel=1e-14)


def integral(forward: float, strike: float, deviation: float) -> float:
    """The call as the expectation of max(F e^(s z - s^2/2) - K, 0) by Simpson's rule: an independent way."""
    low = (math.log(strike / forward) + deviation**2 / 2) / deviation
    low = max(low, -14.0)  # below, the density is under 1e-43
    z = np.linspace(low, max(low, 0) + 14 + deviation, 20_001)
    f = (forward * np.exp(deviation * z - deviation**2 / 2) - strike) * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    h = z[1] - z[0]
    return float(h / 3 * (f[0] + f[-1] + 4 * f[1:-1:2].sum() + 2 * f[2:-1:2].sum()))


@pytest.mark.parametrize("strike", [60.0, 90.0, 100.0, 120.0, 180.0])
@pytest.mark.parametrize("deviation", [0.05, 0.3, 1.1])
def test_against_the_integral(strike: float, deviation: float) -> None:
    assert value(100, strike, deviation) == pytest.approx(integral(100, strike, deviation), rel=1e-9, abs=1e-10)


@given(POSITIVE, POSITIVE, DEVIATION, st.floats(min_value=0.5, max_value=1.1))
def test_put_call_parity_and_bounds(forward: float, strike: float, deviation: float, discount: float) -> None:
    call = value(forward, strike, deviation, discount=discount)
    put = value(forward, strike, deviation, discount=discount, call=False)
    assert call - put == pytest.approx(discount * (forward - strike), abs=1e-11 * (forward + strike))
    assert discount * max(forward - strike, 0) <= call <= discount * forward
    assert discount * max(strike - forward, 0) <= put <= discount * strike


@given(POSITIVE, POSITIVE, DEVIATION, st.floats(min_value=1.001, max_value=2))
def test_monotone_in_forward_strike_and_volatility(forward: float, strike: float, deviation: float, k: float) -> None:
    slack = 1e-11 * (forward + strike) * k
    call, put = value(forward, strike, deviation), value(forward, strike, deviation, call=False)
    assert value(forward * k, strike, deviation) >= call - slack
    assert value(forward * k, strike, deviation, call=False) <= put + slack
    assert value(forward, strike * k, deviation) <= call + slack
    assert value(forward, strike, deviation * k) >= call - slack
    assert value(forward, strike, deviation * k, call=False) >= put - slack


@pytest.mark.parametrize("call", [True, False])
@pytest.mark.parametrize(("forward", "strike"), [(100, 90), (100, 100), (100, 110)])
def test_without_volatility_or_time_only_intrinsic_value_is_left(forward: float, strike: float, call: bool) -> None:
    intrinsic = 0.9 * max((forward - strike) if call else (strike - forward), 0)
    assert value(forward, strike, 0.0, discount=0.9, call=call) == pytest.approx(intrinsic, abs=1e-13)
    assert value(forward, strike, 1e-9, discount=0.9, call=call) == pytest.approx(intrinsic, abs=1e-6)
    assert value(forward, strike, 1e-300, discount=0.9, call=call) == pytest.approx(intrinsic, abs=1e-13)


def test_volatility_shocks_follow_the_term_structure() -> None:
    shock = VolatilityShock(0.5, 0.3, 0.3, 0.13, 30, 1)
    days = 86_400
    assert volatility_factor(shock, "none", days) == 1
    assert volatility_factor(shock, "up", 30 * days) == pytest.approx(1.5)
    assert volatility_factor(shock, "down", 30 * days) == pytest.approx(0.7)
    assert volatility_factor(shock, "up", 60 * days) == pytest.approx(1 + 0.5 * 0.5**0.13)
    assert volatility_factor(shock, "up", 10) == volatility_factor(shock, "up", days)  # the floor of a day
    assert volatility_factor(VolatilityShock(0.5, 1.0, 1.0, 0.13, 30, 1), "down", days) == 0  # never negative


@settings(max_examples=60, deadline=None)
@given(
    st.floats(50, 200), st.floats(50, 200), st.floats(0.05, 1.0), st.floats(0.8, 1.0), st.booleans()
)  # fmt: skip
def test_cash_greeks_are_the_slopes_of_the_price(
    forward: float, strike: float, deviation: float, discount: float, call: bool
) -> None:
    def value(f: float, s: float) -> float:
        arrays = (np.array([f]), np.array([strike]), np.array([s]), np.array([discount]), np.array([call]))
        return float(black76.price(*arrays)[0])

    one = (np.array([forward]), np.array([strike]), np.array([deviation]), np.array([discount]), np.array([call]))
    delta, gamma, vega = (float(g[0]) for g in black76.greeks(*one))
    h = 1e-4 * forward
    up, mid, down = value(forward + h, deviation), value(forward, deviation), value(forward - h, deviation)
    assert delta == pytest.approx(forward * (up - down) / (2 * h), abs=1e-5 * forward)
    assert gamma == pytest.approx(forward**2 * (up - 2 * mid + down) / h**2, abs=2e-3 * forward)
    slope = (value(forward, deviation + 1e-5) - value(forward, deviation - 1e-5)) / 2e-5
    assert vega == pytest.approx(slope, abs=1e-4 * forward)
