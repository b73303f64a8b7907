"""The median and its limits, as properties over exact fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.markets import NOW, config
from zkmargin.service.oracle.aggregate import aggregate, check_jump, median, too_far
from zkmargin.service.oracle.errors import OracleRefused
from zkmargin.service.oracle.feeds import Feed, Figure

PRICES = st.lists(st.fractions(min_value=Fraction(1, 1000), max_value=10**6), min_size=1, max_size=9)
SPOT = Figure("spot", "BTC")


def feeds(values: list[Fraction]) -> list[Feed]:
    return [Feed(f"s{i}", "spot", NOW, 1, b"", prices={("BTC", 0): v}) for i, v in enumerate(values)]


@given(PRICES, st.randoms(use_true_random=False))
def test_the_median_ignores_order_and_splits_the_sources_in_halves(values: list[Fraction], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    middle = median(values)
    assert middle == median(shuffled)
    assert 2 * sum(v <= middle for v in values) >= len(values)
    assert 2 * sum(v >= middle for v in values) >= len(values)
    assert isinstance(middle, Fraction)


@given(PRICES, PRICES)
def test_a_minority_cannot_move_the_median_outside_the_honest_range(
    honest: list[Fraction], bad: list[Fraction]
) -> None:
    bad = bad[: len(honest) - 1]
    assert min(honest) <= median(honest + [v * 1000 for v in bad]) <= max(honest)
    assert min(honest) <= median(honest + [v / 10**9 for v in bad]) <= max(honest)


def test_an_even_number_gives_the_exact_mean_of_the_middle_two() -> None:
    assert median([Fraction(4), Fraction(1), Fraction(2), Fraction(100)]) == 3
    assert median([Fraction(1), Fraction(2)]) == Fraction(3, 2)
    with pytest.raises(ValueError, match="nothing"):
        median([])


@given(PRICES, st.integers(0, 10**6))
def test_aggregation_refuses_exactly_when_a_source_is_too_far(values: list[Fraction], ppm: int) -> None:
    limits = {"spot": {"staleness": 60, "deviation_ppm": ppm, "jump_ppm": 0}}
    settings = config(
        quorum=1, limits=limits, instruments=[{
            "id": "BTC", "kind": "spot", "lot": "1", "position_limit": "1", "underlying": "BTC", "feed": "spot"}]
    )  # fmt: skip
    middle = median(values)
    far = any(abs(v - middle) * 10**6 > ppm * middle for v in values)
    if not far:
        assert aggregate(SPOT, feeds(values), settings) == middle
        return
    with pytest.raises(OracleRefused, match="deviates") as caught:
        aggregate(SPOT, feeds(values), settings)
    assert caught.value.field == "figures.spot:BTC"
    worst = max(values, key=lambda v: abs(v - middle))
    named = int(str(caught.value).split("source s")[1].split()[0])
    assert abs(values[named] - middle) == abs(worst - middle)


@given(st.fractions(min_value=1, max_value=10**6), st.integers(0, 10**6))
def test_the_limit_itself_is_allowed(value: Fraction, ppm: int) -> None:
    edge = value * (1 + Fraction(ppm, 10**6))
    assert not too_far(edge, value, ppm)
    assert too_far(edge + Fraction(1, 10**30), value, ppm)


def test_rates_are_measured_in_absolute_terms() -> None:
    rate, settings = Figure("rate", expiry=NOW), config()
    check_jump(rate, Fraction(0), Fraction("0.2"), settings)  # 200,000 ppm of 1
    with pytest.raises(OracleRefused, match="jumped"):
        check_jump(rate, Fraction("-0.0001"), Fraction("0.2"), settings)


def test_fewer_sources_than_the_quorum_are_refused() -> None:
    with pytest.raises(OracleRefused, match="too few sources: 1 of 2") as caught:
        aggregate(SPOT, feeds([Fraction(1)]), config())
    assert caught.value.field == "figures.spot:BTC"
    assert (caught.value.code, caught.value.exit_code) == ("oracle-refused", 10)
