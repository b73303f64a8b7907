"""Polynomials over the scalar field: inverse transforms on arkworks scalars, everything else on FLINT.

Transforms run in list form on arkworks scalars, products and divisions in FLINT; ``zkmargin bench --primitives``
times one beside the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import add, mul, sub
from typing import Any

from flint import fmpz_mod_ctx, fmpz_mod_poly_ctx
from py_arkworks_bls12381 import Scalar

from zkmargin.circuits.system import FIELD_ORDER
from zkmargin.verifier.field import domain, integer, scalar

#: FLINT ships no type hints; a polynomial is an ``fmpz_mod_poly`` of :func:`ring`.
Polynomial = Any


@lru_cache(maxsize=1)
def ring() -> Any:
    """The FLINT context of F[X]."""
    return fmpz_mod_poly_ctx(fmpz_mod_ctx(FIELD_ORDER))


@lru_cache(maxsize=8)
def _stage_twiddles(n: int) -> tuple[tuple[Scalar, ...], ...]:
    """For stage s = 0, 1, ...: omega**(-2**s floor(i / 2**s)) for i < n/2, repeated as the Stockham order wants."""
    h = domain(n)
    inverse_omegas = [h[0], *reversed(h[1:])]
    half, stages, m = n // 2, [], 1
    while m < n:
        stages.append(tuple(inverse_omegas[m * (i // m)] for i in range(half)))
        m *= 2
    return tuple(stages)


def interpolate(values: Sequence[Scalar]) -> list[Scalar]:
    """Coefficients of the polynomial of degree < n with these values on H (Stockham radix-2 inverse transform)."""
    n = len(values)
    half, m = n // 2, 1
    current = list(values)
    for twiddles in _stage_twiddles(n):
        low, high = current[:half], current[half:]
        sums = list(map(add, low, high))
        differences = list(map(mul, map(sub, low, high), twiddles))
        if m == 1:
            current[0::2], current[1::2] = sums, differences
        else:
            current = []
            for j in range(0, half, m):
                current += sums[j : j + m]
                current += differences[j : j + m]
        m *= 2
    return list(map(mul, current, [scalar(n).inverse()] * n))


def from_coefficients(coefficients: Iterable[Scalar]) -> Polynomial:
    """A FLINT polynomial from scalars, constant term first."""
    return ring()(list(map(integer, coefficients)))


def from_values(values: Sequence[Scalar]) -> Polynomial:
    """The polynomial of degree < n with these values on H."""
    return from_coefficients(interpolate(values))


def to_scalars(polynomial: Polynomial) -> list[Scalar]:
    """Coefficients as scalars, constant term first, without trailing zeros."""
    return [Scalar.from_le_bytes(int(c).to_bytes(32, "little")) for c in polynomial.coeffs()]


def constant(value: Scalar) -> Polynomial:
    """A constant polynomial."""
    return ring()([integer(value)])


def blind(polynomial: Polynomial, n: int, blinding: Sequence[Scalar]) -> Polynomial:
    """polynomial + Z(X) * (blinding_0 + blinding_1 X + ...): same values on H."""
    b = from_coefficients(blinding)
    return polynomial + b.left_shift(n) - b


def evaluate(polynomial: Polynomial, point: Scalar) -> Scalar:
    """polynomial(point) by Horner's rule in FLINT."""
    return scalar(int(polynomial(integer(point))))


def divide_by_vanishing(polynomial: Polynomial, n: int) -> Polynomial:
    """Quotient by Z = X**n - 1: the sum of all right shifts by multiples of n. The remainder is dropped."""
    shifted = polynomial.right_shift(n)
    quotient = shifted
    while shifted.degree() >= n:
        shifted = shifted.right_shift(n)
        quotient = quotient + shifted
    return quotient


def divide_by_root(polynomial: Polynomial, root: Scalar) -> Polynomial:
    """Quotient by (X - root). The remainder, polynomial(root), is dropped."""
    return divmod(polynomial, ring()([-integer(root), 1]))[0]


def rotated(coefficients: Sequence[Scalar], n: int, blinding: Sequence[Scalar]) -> Polynomial:
    """p(omega X) + Z(X) b(omega X) for p by its n coefficients: the blinded polynomial one row on (Z(omega X) =
    Z(X)).
    """
    h = domain(n)
    turned = from_coefficients(map(mul, coefficients, h))
    return blind(turned, n, [b * h[k] for k, b in enumerate(blinding)])
