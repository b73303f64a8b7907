"""Conformance functions of public specifications on the native engine's primitives (py-arkworks-bls12381).

EIP-4844 ``verify_kzg_proof`` and the EIP-2537 precompiles accept the neutral element, which this project's own
decoder refuses, so they stand here and not in the trusted base. Written from the specifications' text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from py_arkworks_bls12381 import G1Point, G2Point, Scalar

from zkmargin.circuits.errors import MalformedInput, ProofRejected
from zkmargin.service.vectors.eip2537 import (
    BASE_FIELD,
    G1_BYTES,
    G2_BYTES,
    ONE_WORD,
    SCALAR_BYTES,
    coordinates,
    split,
)
from zkmargin.service.vectors.engine import Input, Operation, require
from zkmargin.verifier.curve import G1_INFINITY, decode_g1, msm, pairing_product_is_one
from zkmargin.verifier.field import decode_scalar
from zkmargin.verifier.srs import ethereum

Values = Mapping[str, Any]


def point_or_infinity(data: bytes, field: str) -> G1Point:
    """A compressed G1 point as EIP-4844 takes it: this project's rules, plus the neutral element."""
    return G1Point.identity() if data == G1_INFINITY else decode_g1(data, field=field)


def op_verify_kzg_proof(given: Input) -> Values:
    """EIP-4844 ``verify_kzg_proof``: p(z) = y for the polynomial behind the commitment.

    e(C - [y]_1, [1]_2) = e(proof, [tau]_2 - [z]_2).
    """
    key = ethereum().key
    commitment = point_or_infinity(given.hex("commitment"), "commitment")
    z, y = decode_scalar(given.hex("z"), field="z"), decode_scalar(given.hex("y"), field="y")
    proof = point_or_infinity(given.hex("proof"), "proof")
    left = commitment - key.g1 * y
    if not pairing_product_is_one([left, -proof], [key.g2, key.tau_g2 - key.g2 * z]):
        raise ProofRejected("the opening does not hold", field="proof")
    return {}


def g1(data: bytes, *, subgroup: bool) -> G1Point:
    """A G1 point of EIP-2537: two padded coordinates, zeros for the neutral element."""
    numbers = coordinates(data, 2)
    if not any(numbers):
        return G1Point.identity()
    x, y = numbers
    require(on_curve_g1(x, y), "not on the curve", "input")
    point = G1Point.from_xy_bytes_unchecked_be(x.to_bytes(48, "big") + y.to_bytes(48, "big"))
    require(not subgroup or point.is_in_subgroup(), "not in the subgroup", "input")
    return point


def g2(data: bytes) -> G2Point:
    """A G2 point of EIP-2537, in the subgroup: (x_0, x_1, y_0, y_1), zeros for the neutral element."""
    numbers = coordinates(data, 4)
    if not any(numbers):
        return G2Point.identity()
    x0, x1, y0, y1 = (v.to_bytes(48, "big") for v in numbers)
    try:
        # This decoder checks curve and subgroup.
        return G2Point.from_xy_bytes_be(x0 + x1 + y0 + y1)
    except ValueError:
        raise MalformedInput("not a point of the subgroup", field="input") from None


def on_curve_g1(x: int, y: int) -> bool:
    """y**2 = x**3 + 4 modulo p."""
    return (y * y - x**3 - 4) % BASE_FIELD == 0


def encode(point: G1Point) -> Values:
    """The padded coordinates of a point."""
    if point == G1Point.identity():
        return {"bytes": bytes(G1_BYTES).hex()}
    xy = bytes(point.to_xy_bytes_be())
    return {"bytes": (bytes(16) + xy[:48] + bytes(16) + xy[48:]).hex()}


def op_g1_add(given: Input) -> Values:
    """BLS12_G1ADD: no subgroup check."""
    parts = split(given.hex("bytes"), (G1_BYTES, G1_BYTES))
    require(len(parts) == 1, "invalid input length", "input")
    a, b = parts[0]
    return encode(g1(a, subgroup=False) + g1(b, subgroup=False))


def op_g1_msm(given: Input) -> Values:
    """BLS12_G1MSM: scalars of 256 bits, reduced modulo r; subgroup check."""
    parts = split(given.hex("bytes"), (G1_BYTES, SCALAR_BYTES))
    points = [g1(point, subgroup=True) for point, _ in parts]
    return encode(msm(points, [Scalar.from_be_bytes_mod_order(s) for _, s in parts]))


def op_g1_mul(given: Input) -> Values:
    """The G1 multiplication of earlier drafts of EIP-2537: one term of the MSM."""
    require(len(given.hex("bytes")) == G1_BYTES + SCALAR_BYTES, "invalid input length", "input")
    return op_g1_msm(given)


def op_pairing_check(given: Input) -> Values:
    """BLS12_PAIRING_CHECK: 1 when the product of all pairings is one, else 0."""
    parts = split(given.hex("bytes"), (G1_BYTES, G2_BYTES))
    left, right = [g1(a, subgroup=True) for a, _ in parts], [g2(b) for _, b in parts]
    return {"bytes": (ONE_WORD if pairing_product_is_one(left, right) else bytes(32)).hex()}


OPERATIONS: dict[str, Operation] = {
    "eip4844-verify-kzg-proof": op_verify_kzg_proof,
    "eip2537-g1-add": op_g1_add,
    "eip2537-g1-mul": op_g1_mul,
    "eip2537-g1-msm": op_g1_msm,
    "eip2537-pairing-check": op_pairing_check,
}
