"""What the prover sends in each round, by the letters of docs/SPEC.md, and the proof that they make together.

[p] is the KZG commitment [p(tau)]_1 to a polynomial p. Prover, transcript and proof encoding all speak of these types.
"""

from __future__ import annotations

from dataclasses import dataclass

from py_arkworks_bls12381 import G1Point, Scalar

from zkmargin.circuits.layout import Layout


@dataclass(frozen=True)
class Columns:
    """Round 1. ``limbs``: [l_c], the limb columns, c < K. ``multiplicities``: [m], how often each limb occurs."""

    limbs: tuple[G1Point, ...]
    multiplicities: G1Point


@dataclass(frozen=True)
class Sums:
    """Round 2. ``table_helper``: [h_T]. ``helpers``: [h_c], c < K. ``accumulator``: [acc], the running sum."""

    table_helper: G1Point
    helpers: tuple[G1Point, ...]
    accumulator: G1Point


@dataclass(frozen=True)
class Quotient:
    """Round 3. ``quotient``: [q], of all constraints by Z."""

    quotient: G1Point


@dataclass(frozen=True)
class Evaluations:
    """Round 4. ``limbs``: l_c(zeta), c < K. ``accumulator_next``: acc(omega zeta)."""

    limbs: tuple[Scalar, ...]
    accumulator_next: Scalar


@dataclass(frozen=True)
class Openings:
    """Round 5. ``opening``: W, the opening proof at zeta. ``opening_next``: W', the one at omega zeta."""

    opening: G1Point
    opening_next: G1Point


@dataclass(frozen=True)
class Proof:
    """The five messages of one run on ``layout``."""

    layout: Layout
    columns: Columns
    sums: Sums
    quotient: Quotient
    evaluations: Evaluations
    openings: Openings
