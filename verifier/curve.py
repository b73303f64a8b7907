"""Groups of BLS12-381 on arkworks: canonical decoding, multi-scalar multiplication, the pairing check."""

from __future__ import annotations

from collections.abc import Sequence

from py_arkworks_bls12381 import GT, G1Point, G2Point, Scalar

from zkmargin.circuits.errors import MalformedInput

G1_BYTES = 48
#: Compressed encoding of the neutral element (ZCash format: compression and infinity flags, zero coordinate).
G1_INFINITY = b"\xc0" + bytes(47)


def decode_g1(data: bytes, *, field: str) -> G1Point:
    """A compressed G1 point: canonical, on the curve, in the subgroup and not the neutral element.

    The neutral element is refused everywhere: no honest element of this protocol is it, and letting it in has cost
    other systems forgeries ("0 bug"). Raises ``MalformedInput`` naming ``field``.
    """
    if len(data) != G1_BYTES:
        raise MalformedInput(f"{len(data)} bytes where a point has {G1_BYTES}", field=field)
    if data[0] & 0xC0 != 0x80:
        raise MalformedInput(
            "the point at infinity is not allowed" if data[0] & 0x40 else "not a compressed point",
            field=field,
        )
    try:
        point = G1Point.from_compressed_bytes(data)
    except ValueError:
        raise MalformedInput("not a point of the prime-order subgroup", field=field) from None
    if bytes(point.to_compressed_bytes()) != data:
        raise MalformedInput("non-canonical point encoding", field=field)
    return point


def encode_g1(point: G1Point) -> bytes:
    """48 compressed bytes."""
    return bytes(point.to_compressed_bytes())


def msm(points: Sequence[G1Point], coefficients: Sequence[Scalar]) -> G1Point:
    """sum_i coefficients_i * points_i. Releases the interpreter lock. Not constant-time."""
    if len(points) != len(coefficients):
        raise ValueError("one coefficient for each point")
    return G1Point.multiexp_unchecked(list(points), list(coefficients))


def pairing_product_is_one(g1: Sequence[G1Point], g2: Sequence[G2Point]) -> bool:
    """Whether the product of the pairings e(g1_i, g2_i) is one."""
    return GT.pairing_check(list(g1), list(g2))
