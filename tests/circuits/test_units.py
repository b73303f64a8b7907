"""Decimal strings: the fast conversions against exact fractions, and nothing but the canonical form accepted."""

from __future__ import annotations

import contextlib
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.units import (
    MAX_LOTS,
    ceil_div,
    format_fraction,
    format_quanta,
    isqrt_ceil,
    to_lots,
    to_quanta,
)

DECIMALS = st.integers(0, 24)
TEXT = st.from_regex(r"-?(0|[1-9][0-9]{0,12})(\.[0-9]{1,8})?", fullmatch=True)


@given(st.integers(-(10**30), 10**30), DECIMALS)
def test_quanta_survive_the_way_through_text(quanta: int, decimals: int) -> None:
    assert to_quanta(format_quanta(quanta, decimals), decimals, field="x") == quanta


@given(TEXT, DECIMALS)
def test_quanta_are_exact_or_refused(text: str, decimals: int) -> None:
    value = Fraction(Decimal(text)) * 10**decimals
    negative_zero = text.startswith("-") and value == 0
    if value.denominator == 1 and not negative_zero:
        assert to_quanta(text, decimals, field="x") == value
    else:
        with pytest.raises(MalformedInput):
            to_quanta(text, decimals, field="x")


@given(TEXT, st.sampled_from(["1", "0.01", "0.25", "5", "0.0000001"]))
def test_lots_are_exact_or_refused(text: str, lot: str) -> None:
    value = Fraction(Decimal(text)) / Fraction(lot)
    negative_zero = text.startswith("-") and value == 0
    if value.denominator == 1 and abs(value) <= MAX_LOTS and not negative_zero:
        assert to_lots(text, Fraction(lot), field="x") == value
        assert format_fraction(value * Fraction(lot)).lstrip("-") == format_fraction(abs(value * Fraction(lot)))
    else:
        with pytest.raises(MalformedInput):
            to_lots(text, Fraction(lot), field="x")


BAD = [
    "",
    "-",
    "+1",
    "1.",
    ".5",
    "01",
    "1e3",
    "-0",
    "-0.00",
    " 1",
    "1 ",
    "1\n",
    "1_000",
    "0x1",
    "NaN",
    "1,5",
    "--1",
]
BAD += ["\u0661", "\uff11", "1.\u0660", "9" * 42, "0." + "1" * 31]


@pytest.mark.parametrize("text", BAD, ids=repr)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(MalformedInput):
        to_quanta(text, 24, field="x")
    with pytest.raises(MalformedInput):
        to_lots(text, Fraction(1), field="x")


@given(st.text(alphabet="0123456789.-+eE_ \n", max_size=12), DECIMALS)
def test_arbitrary_text_gives_a_number_or_a_typed_error(text: str, decimals: int) -> None:
    with contextlib.suppress(MalformedInput):
        assert to_quanta(text, decimals, field="x") == Fraction(text) * 10**decimals


@given(st.integers(), st.integers(1, 10**9))
def test_ceil_div(numerator: int, denominator: int) -> None:
    quotient = ceil_div(numerator, denominator)
    assert (quotient - 1) * denominator < numerator <= quotient * denominator


@given(st.integers(1, 10**40))
def test_isqrt_ceil(value: int) -> None:
    root = isqrt_ceil(value)
    assert (root - 1) ** 2 < value <= root**2
