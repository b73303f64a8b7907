"""The scalar field of BLS12-381 on arkworks scalars, and the evaluation domains H.

Vector helpers are built from ``map`` and ``accumulate`` so that the loops run in C; the scalars themselves are
arkworks', whose arithmetic is not claimed to be constant-time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate, repeat
from operator import mul

from py_arkworks_bls12381 import Scalar

from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.system import FIELD_ORDER

#: A generator of F*, whose odd-order cofactor power generates the 2**32 roots of unity.
MULTIPLICATIVE_GENERATOR = 7
SCALAR_BYTES = 32
ZERO = Scalar.from_le_bytes(bytes(32))
ONE = Scalar.from_le_bytes(b"\x01" + bytes(31))


def scalar(value: int) -> Scalar:
    """An integer of any sign, reduced modulo r (through bytes: the int constructor is much slower)."""
    return Scalar.from_le_bytes((value % FIELD_ORDER).to_bytes(SCALAR_BYTES, "little"))


def scalars(values: Iterable[int]) -> list[Scalar]:
    """Element-wise :func:`scalar`."""
    return [scalar(v) for v in values]


def integer(value: Scalar) -> int:
    """The representative in [0, r)."""
    return int.from_bytes(value.to_le_bytes(), "little")


def decode_scalar(data: bytes, *, field: str) -> Scalar:
    """32 big-endian bytes below r, or ``MalformedInput`` naming ``field``."""
    if len(data) != SCALAR_BYTES:
        raise MalformedInput(f"{len(data)} bytes where a scalar has {SCALAR_BYTES}", field=field)
    if int.from_bytes(data, "big") >= FIELD_ORDER:
        raise MalformedInput("scalar not below the field order", field=field)
    return Scalar.from_be_bytes(data)


def encode_scalar(value: Scalar) -> bytes:
    """32 big-endian bytes."""
    return bytes(value.to_be_bytes())


def power(base: Scalar, exponent: int) -> Scalar:
    """base ** exponent for a non-negative exponent."""
    return base.pow(scalar(exponent))


def powers(base: Scalar, count: int, first: Scalar = ONE) -> list[Scalar]:
    """[first, first * base, ..., first * base ** (count - 1)]."""
    if count <= 0:
        return []
    return list(accumulate(repeat(base, count - 1), mul, initial=first))


def inner(left: Iterable[Scalar], right: Iterable[Scalar]) -> Scalar:
    """sum_i left_i * right_i over the shorter of the two."""
    return sum(map(mul, left, right), ZERO)


def batch_inverse(values: Sequence[Scalar], scale: Scalar = ONE) -> list[Scalar]:
    """scale / value for every value: Montgomery's trick, one inversion and 3n products.

    Raises ``ZeroDivisionError`` on a zero.
    """
    prefix = list(accumulate(values, mul))
    if not prefix:
        return []
    if prefix[-1].is_zero():
        raise ZeroDivisionError("inverse of zero")
    suffix = list(accumulate(reversed(values[1:]), mul, initial=prefix[-1].inverse() * scale))
    suffix.reverse()
    return [suffix[0], *map(mul, prefix, suffix[1:])]


@lru_cache(maxsize=16)
def domain(n: int) -> tuple[Scalar, ...]:
    """H = (1, omega, ..., omega**(n-1)) with omega = 7 ** ((r-1)/n); n a power of two."""
    omega = power(scalar(MULTIPLICATIVE_GENERATOR), (FIELD_ORDER - 1) // n)
    return tuple(powers(omega, n))


def vanishing(n: int, point: Scalar) -> Scalar:
    """Z(point) = point**n - 1."""
    return power(point, n) - ONE
