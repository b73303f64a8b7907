"""The linear system as one inner-product claim of a challenge beta, and its public vectors at a point in closed form.

The claim is  sum_c <l_c, v_c> + <x, u> = c  for public vectors v (per column) and u and a public scalar c. Prover and
verifier share this module, so the two cannot drift. The lookup's table t, the third public vector, is evaluated here
too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from operator import mul, sub

from flint import fmpz_mat, fmpz_mod_ctx, fmpz_mod_poly, fmpz_mod_poly_ctx
from py_arkworks_bls12381 import Scalar

from zkmargin.circuits.layout import LIMBS, Layout
from zkmargin.circuits.system import FIELD_ORDER
from zkmargin.verifier.field import (
    ONE,
    batch_inverse,
    domain,
    inner,
    integer,
    power,
    powers,
    scalar,
    scalars,
    vanishing,
)


@dataclass(frozen=True)
class Claim:
    """Weights of one challenge beta.

    ``words[q]`` is the weight of word q (length N, in layout order), ``positions[j]`` of row j < d of the position
    column, ``target`` the scalar c. Rows of x that hold no position must be zero; row i of them has the weight
    ``hidden / (beta - omega**i)``: partial fractions are independent, so a random beta forces every such row to zero,
    and the whole family is evaluated at zeta in closed form where powers of beta would cost n operations.
    """

    beta: Scalar
    words: list[Scalar]
    positions: list[Scalar]
    hidden: Scalar
    target: Scalar

    def position_vector(self, n: int) -> list[Scalar]:
        """u on all n rows (what the prover needs)."""
        h, d = domain(n), len(self.positions)
        return self.positions + batch_inverse([self.beta - x for x in h[d:]], self.hidden)

    def evaluate_positions(self, n: int, zeta: Scalar) -> Scalar:
        """u(zeta): sum_(j<d) (u_j - hidden/(beta - omega**j)) L_j(zeta) + hidden p(zeta).

        p interpolates 1/(beta - omega**i) on all of H: p(X) = (beta**n - X**n) / ((beta**n - 1)(beta - X)).
        """
        h, d = domain(n), len(self.positions)
        beta_n = power(self.beta, n)
        whole = (beta_n - power(zeta, n)) * ((beta_n - ONE) * (self.beta - zeta)).inverse()
        own = batch_inverse(list(map(sub, repeat(self.beta, d), h)), self.hidden)
        return inner(map(sub, self.positions, own), lagrange_prefix(n, d, zeta)) + self.hidden * whole


@lru_cache(maxsize=16)
def limb_scales(layout: Layout) -> tuple[Scalar, ...]:
    """2**(wk) for limb k = 0 .. 7."""
    return tuple(scalar(1 << (layout.limb_bits * k)) for k in range(LIMBS))


@lru_cache(maxsize=16)
def _word_tables(layout: Layout) -> tuple[tuple[Scalar, ...], fmpz_mat, tuple[Scalar, ...]]:
    """c_t = sum_k 2**(wk) rho**(kt) for t = 1 .. 8; the matrix omega**(jt), j < S; and omega**(8j)."""
    h, stride = domain(layout.n), layout.words_per_column
    rho_powers = [h[(k * stride) % layout.n] for k in range(LIMBS)]
    transform = tuple(
        inner(limb_scales(layout), [rho_powers[(k * t) % LIMBS] for k in range(LIMBS)]) for t in range(1, LIMBS + 1)
    )
    grid = [integer(h[(j * t) % layout.n]) for j in range(stride) for t in range(1, LIMBS + 1)]
    return transform, fmpz_mat(stride, LIMBS, grid), tuple(h[(LIMBS * j) % layout.n] for j in range(stride))


def word_weights(layout: Layout, zeta: Scalar) -> list[Scalar]:
    """lambda_j = sum_k 2**(wk) L_(j+kS)(zeta) for j < S: what word j of any column contributes, for unit weight.

    With z = omega**j / zeta and rho = omega**S, L_(j+kS)(zeta) = (Z(zeta)/n) q/(1 - q) for q = z rho**k, and q**8 =
    z**8, so

        lambda_j = (Z(zeta)/n) (1 - z**8)**-1 sum_(t=1..8) c_t z**t,   c_t = sum_k 2**(wk) rho**(kt).

    Raises ``ZeroDivisionError`` for zeta in H.
    """
    transform, grid, eighths = _word_tables(layout)
    zeta_powers = powers(zeta.inverse(), LIMBS, zeta.inverse())
    scaled = fmpz_mat(LIMBS, 1, [integer(c * z) for c, z in zip(transform, zeta_powers, strict=True)])
    numerators = scalars(map(int, (grid * scaled).entries()))
    denominators = [ONE - e * zeta_powers[-1] for e in eighths]
    scale = vanishing(layout.n, zeta) * scalar(layout.n).inverse()
    return list(map(mul, numerators, batch_inverse(denominators, scale)))


def lagrange_prefix(n: int, count: int, zeta: Scalar) -> list[Scalar]:
    """L_i(zeta) = omega**i Z(zeta) / (n (zeta - omega**i)) for i < count. ``ZeroDivisionError`` for zeta among them."""
    h = domain(n)
    inverses = batch_inverse(list(map(sub, repeat(zeta, count), h)), vanishing(n, zeta) * scalar(n).inverse())
    return list(map(mul, inverses, h))


@lru_cache(maxsize=8)
def table_polynomial(n: int) -> fmpz_mod_poly:
    """t(X) with t(omega**i) = i: constant term (n-1)/2, and 1/(omega**-k - 1) on X**k."""
    h = domain(n)
    tail = batch_inverse([h[n - k] - ONE for k in range(1, n)])
    first = scalar(n - 1) * scalar(2).inverse()
    return fmpz_mod_poly_ctx(fmpz_mod_ctx(FIELD_ORDER))([integer(c) for c in (first, *tail)])


def table_at(n: int, zeta: Scalar) -> Scalar:
    """t(zeta), by Horner's rule in FLINT on precomputed coefficients."""
    return scalar(int(table_polynomial(n)(integer(zeta))))


@dataclass(frozen=True)
class PublicEvaluations:
    """The public vectors, interpolated on H, at zeta: v_c for each column, u for the positions, t for the table."""

    columns: tuple[Scalar, ...]
    positions: Scalar
    table: Scalar


def evaluate_public(layout: Layout, claim: Claim, zeta: Scalar) -> PublicEvaluations:
    """v_c(zeta), u(zeta) and t(zeta). Raises ``ZeroDivisionError`` on a degenerate challenge."""
    per_word = word_weights(layout, zeta)
    capacity = layout.words_per_column
    columns = tuple(inner(claim.words[c * capacity : (c + 1) * capacity], per_word) for c in range(layout.columns))
    return PublicEvaluations(columns, claim.evaluate_positions(layout.n, zeta), table_at(layout.n, zeta))
