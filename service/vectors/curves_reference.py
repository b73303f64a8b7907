"""The same conformance functions on py_ecc, in plain Python: nothing here is shared with the native engine but bytes.

A pairing of py_ecc takes a good part of a second, so a whole suite takes minutes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from zkmargin.circuits.errors import MalformedInput, ProofRejected
from zkmargin.service.vectors.eip2537 import G1_BYTES, G2_BYTES, ONE_WORD, SCALAR_BYTES, coordinates, split
from zkmargin.service.vectors.engine import Input, Operation, require
from zkmargin.verifier.reference.bls import (
    FQ,
    FQ2,
    FQ12,
    G1,
    G2,
    Z1,
    Z2,
    add,
    b2,
    expand_message_xmd,
    final_exponentiate,
    is_inf,
    is_on_curve,
    multiply,
    neg,
    normalize,
    pairing,
)
from zkmargin.verifier.reference.curve import R

Values = Mapping[str, Any]
Point = Any

#: [tau]_2 of the Ethereum KZG ceremony, compressed (docs/SPEC.md, "Structured reference string").
TAU_G2 = bytes.fromhex(
    "b5bfd7dd8cdeb128843bc287230af38926187075cbfbefa81009a2ce615ac53d2914e5870cb452d2afaaab24f3499f72"
    "185cbfee53492714734429b7b38608e23926c911cceceac9a36851477ba4c60b087041de621000edc98edada20c1def2"
)
INFINITY = b"\xc0" + bytes(47)


def scalar(data: bytes, field: str) -> int:
    """32 big-endian bytes below r."""
    require(len(data) == 32 and int.from_bytes(data, "big") < R, "no canonical scalar", field)
    return int.from_bytes(data, "big")


def in_subgroup(point: Point) -> bool:
    """Whether r times the point is the neutral element."""
    return bool(is_inf(multiply(point, R)))


def point_or_infinity(data: bytes, field: str) -> Point:
    """A compressed G1 point, or the neutral element in its one encoding."""
    # After zkmargin.verifier.reference.bls, which undoes what importing py_ecc does to the process.
    from py_ecc.bls.point_compression import decompress_G1
    from py_ecc.bls.typing import G1Compressed

    if data == INFINITY:
        return Z1
    require(len(data) == 48 and data[0] & 0xC0 == 0x80, "no compressed point", field)
    try:
        point = decompress_G1(G1Compressed(int.from_bytes(data, "big")))
    except ValueError:
        raise MalformedInput("no point of the curve", field=field) from None
    require(in_subgroup(point), "not in the subgroup", field)
    return point


def product_is_one(pairs: list[tuple[Point, Point]]) -> bool:
    """Whether the product of e(g1, g2) is one: one final exponentiation for all."""
    product = FQ12.one()
    for left, right in pairs:
        product = product * pairing(right, left, final_exponentiate=False)
    return bool(final_exponentiate(product) == FQ12.one())


def op_verify_kzg_proof(given: Input) -> Values:
    """EIP-4844 ``verify_kzg_proof``."""
    commitment = point_or_infinity(given.hex("commitment"), "commitment")
    z, y = scalar(given.hex("z"), "z"), scalar(given.hex("y"), "y")
    proof = point_or_infinity(given.hex("proof"), "proof")
    from py_ecc.bls.point_compression import decompress_G2
    from py_ecc.bls.typing import G2Compressed

    half = len(TAU_G2) // 2
    words = int.from_bytes(TAU_G2[:half], "big"), int.from_bytes(TAU_G2[half:], "big")
    tau = decompress_G2(G2Compressed(words))
    left = add(commitment, neg(multiply(G1, y)))
    if not product_is_one([(left, G2), (neg(proof), add(tau, neg(multiply(G2, z))))]):
        raise ProofRejected("the opening does not hold", field="proof")
    return {}


def g1(data: bytes, *, subgroup: bool) -> Point:
    """A G1 point of EIP-2537."""
    x, y = coordinates(data, 2)
    if x == y == 0:
        return Z1
    point = (FQ(x), FQ(y), FQ(1))
    require(is_on_curve(point, FQ(4)), "not on the curve", "input")
    require(not subgroup or in_subgroup(point), "not in the subgroup", "input")
    return point


def g2(data: bytes) -> Point:
    """A G2 point of EIP-2537, in the subgroup."""
    x0, x1, y0, y1 = coordinates(data, 4)
    if x0 == x1 == y0 == y1 == 0:
        return Z2
    point = (FQ2([x0, x1]), FQ2([y0, y1]), FQ2.one())
    require(is_on_curve(point, b2), "not on the curve", "input")
    require(in_subgroup(point), "not in the subgroup", "input")
    return point


def encode(point: Point) -> Values:
    """The padded coordinates of a point."""
    if is_inf(point):
        return {"bytes": bytes(G1_BYTES).hex()}
    x, y = normalize(point)
    return {"bytes": (int(x).to_bytes(64, "big") + int(y).to_bytes(64, "big")).hex()}


def op_g1_add(given: Input) -> Values:
    """BLS12_G1ADD."""
    parts = split(given.hex("bytes"), (G1_BYTES, G1_BYTES))
    require(len(parts) == 1, "invalid input length", "input")
    return encode(add(g1(parts[0][0], subgroup=False), g1(parts[0][1], subgroup=False)))


def op_g1_msm(given: Input) -> Values:
    """BLS12_G1MSM, term by term."""
    total = Z1
    for point, factor in split(given.hex("bytes"), (G1_BYTES, SCALAR_BYTES)):
        total = add(total, multiply(g1(point, subgroup=True), int.from_bytes(factor, "big") % R))
    return encode(total)


def op_g1_mul(given: Input) -> Values:
    """The G1 multiplication of earlier drafts."""
    require(len(given.hex("bytes")) == G1_BYTES + SCALAR_BYTES, "invalid input length", "input")
    return op_g1_msm(given)


def op_pairing_check(given: Input) -> Values:
    """BLS12_PAIRING_CHECK."""
    parts = split(given.hex("bytes"), (G1_BYTES, G2_BYTES))
    pairs = [(g1(left, subgroup=True), g2(right)) for left, right in parts]
    return {"bytes": (ONE_WORD if product_is_one(pairs) else bytes(32)).hex()}


def op_expand_message(given: Input) -> Values:
    """RFC 9380 ``expand_message_xmd`` of py_ecc; it refuses a long DST, which section 5.3.3 hashes first."""
    dst = given.hex("dst")
    short = dst if len(dst) <= 255 else hashlib.sha256(b"H2C-OVERSIZE-DST-" + dst).digest()
    length = given.number("length")
    require(0 < length <= 255 * 32, "more output than 255 blocks", "length")
    # py_ecc's annotation asks for a hash object where it calls a constructor.
    expanded = expand_message_xmd(given.hex("message"), short, length, hashlib.sha256)  # type: ignore[arg-type]
    return {"bytes": expanded.hex()}


OPERATIONS: dict[str, Operation] = {
    "eip4844-verify-kzg-proof": op_verify_kzg_proof,
    "eip2537-g1-add": op_g1_add,
    "eip2537-g1-mul": op_g1_mul,
    "eip2537-g1-msm": op_g1_msm,
    "eip2537-pairing-check": op_pairing_check,
    "expand-message-xmd": op_expand_message,
}
