"""SPEC.md, "Curve, points and scalars": py_ecc's BLS12-381, imported without its side effect.

Importing py_ecc raises the interpreter's recursion limit to 100,000, for the whole process. A deeply nested JSON
document would then overflow the C stack and kill it, where it raises an error now. So the limit is put back, and the
multiplication below does without py_ecc's recursive one. Every module of this package imports py_ecc through here.
"""

# ruff: noqa: E402
from __future__ import annotations

import sys
from typing import Any

_LIMIT = sys.getrecursionlimit()

from py_ecc.bls.hash import expand_message_xmd
from py_ecc.optimized_bls12_381 import (
    FQ,
    FQ2,
    FQ12,
    G1,
    G2,
    Z1,
    Z2,
    add,
    b2,
    double,
    final_exponentiate,
    is_inf,
    is_on_curve,
    neg,
    normalize,
    pairing,
)

sys.setrecursionlimit(_LIMIT)

__all__ = [
    "FQ", "FQ2", "FQ12", "G1", "G2", "Z1", "Z2", "add", "b2", "double", "expand_message_xmd", "final_exponentiate",
    "is_inf", "is_on_curve", "multiply", "neg", "normalize", "pairing",
]  # fmt: skip


def multiply(point: Any, scalar: int) -> Any:
    """``scalar`` >= 0 times a point of G1 or G2, by doubling and adding."""
    total = Z1 if isinstance(point[0], FQ) else Z2
    while scalar:
        if scalar & 1:
            total = add(total, point)
        point, scalar = double(point), scalar >> 1
    return total
