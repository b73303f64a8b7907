"""Decimal strings outside, integers inside; the one place where they meet.

Money is counted in quanta of ``10**-decimals`` of the quote currency, positions in lots. Conversions are exact
or refused, unless the caller names a rounding direction (always against the account).
"""

from __future__ import annotations

import re
from fractions import Fraction

from zkmargin.circuits.errors import MalformedInput

#: A decimal string: optional minus, no plus, no exponent, no leading zeros, no bare point, at most 60 digits.
DECIMAL_PATTERN = r"^-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,30})?$"
_DECIMAL = re.compile(DECIMAL_PATTERN)
#: What people are told of it.
DECIMAL_FORM = (
    "must be a plain decimal number such as 50000 or -0.25, without thousands separators, exponent, plus sign or "
    "leading zeros"
)
#: More fractional digits than any venue quotes; bounds every scale factor by 10**24 < 2**80.
MAX_DECIMALS = 24
#: Positions are kept below 2**63 lots, so that their parts fit the 64-bit words of the argument.
MAX_LOTS = 2**63 - 1
#: Parts per million: rates, haircuts and multipliers.
PPM = 1_000_000


def _check_decimal(text: str, field: str) -> None:
    if not isinstance(text, str) or not _DECIMAL.fullmatch(text):
        raise MalformedInput(DECIMAL_FORM, field=field)
    if text.startswith("-") and not text.strip("-0."):
        raise MalformedInput("negative zero", field=field)


def parse_decimal(text: str, *, field: str) -> Fraction:
    """Exact value of a canonical decimal string."""
    _check_decimal(text, field)
    return Fraction(text)


def to_quanta(text: str, decimals: int, *, field: str) -> int:
    """Money as an integer number of ``10**-decimals``; refused where it is not exact."""
    _check_decimal(text, field)
    whole, _, fraction = text.partition(".")
    if len(fraction) > decimals:
        if fraction[decimals:].strip("0"):
            raise MalformedInput(f"more than {decimals} decimals", field=field)
        fraction = fraction[:decimals]
    # Digits, not fractions: a snapshot holds tens of thousands of values.
    return int(whole + fraction) * int(10 ** (decimals - len(fraction)))


def to_lots(text: str, lot: Fraction, *, field: str) -> int:
    """A quantity as a whole number of lots; refused off the lot grid or at 2**63 lots and beyond."""
    value = parse_decimal(text, field=field) / lot
    if value.denominator != 1:
        raise MalformedInput(f"not a multiple of the lot {format_fraction(lot)}", field=field)
    if abs(value.numerator) > MAX_LOTS:
        raise MalformedInput("position of 2^63 lots or more", field=field)
    return value.numerator


def ceil_div(numerator: int, denominator: int) -> int:
    """ceil(numerator / denominator) for a positive denominator."""
    return -((-numerator) // denominator)


def format_quanta(quanta: int, decimals: int) -> str:
    """Inverse of :func:`to_quanta`, without trailing zeros."""
    # Digits, not fractions: a snapshot holds tens of thousands of values.
    sign, digits = ("-" if quanta < 0 else ""), str(abs(quanta)).rjust(decimals + 1, "0")
    if decimals == 0:
        return sign + digits
    return (sign + digits[:-decimals] + "." + digits[-decimals:]).rstrip("0").rstrip(".")


def format_fraction(value: Fraction) -> str:
    """A fraction whose denominator divides a power of ten, as a canonical decimal string."""
    scale = 0
    while value.denominator != 1 and scale <= 2 * MAX_DECIMALS:
        value *= 10
        scale += 1
    if value.denominator != 1:
        raise ValueError("not a decimal fraction")
    sign, digits = ("-" if value < 0 else ""), str(abs(value.numerator)).rjust(scale + 1, "0")
    if scale == 0:
        return sign + digits
    return (sign + digits[:-scale] + "." + digits[-scale:]).rstrip("0").rstrip(".")


def isqrt_ceil(value: int) -> int:
    """Smallest integer whose square is at least ``value`` (>= 0)."""
    from math import isqrt

    root = isqrt(value)
    return root if root * root == value else root + 1
