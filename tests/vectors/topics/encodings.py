"""Field and point encodings: scalars, G1 points, roots of unity."""

from __future__ import annotations

from collections.abc import Iterator

from py_arkworks_bls12381 import G1Point

from tests.vectors.cases import Cases
from tests.vectors.seed import Stream
from zkmargin.circuits.layout import DOMAINS
from zkmargin.circuits.system import FIELD_ORDER
from zkmargin.service.vectors.eip2537 import BASE_FIELD
from zkmargin.verifier.curve import G1_INFINITY, encode_g1
from zkmargin.verifier.field import scalar

NAME, TITLE = "encodings", "Scalars and points: canonical decoding"
COMPRESSED, INFINITE, LARGER = 0x80, 0x40, 0x20
HALF = (BASE_FIELD - 1) // 2


def root_of_curve(x: int) -> int | None:
    """y with y**2 = x**3 + 4, or None; p is 3 modulo 4."""
    square = (x**3 + 4) % BASE_FIELD
    y = pow(square, (BASE_FIELD + 1) // 4, BASE_FIELD)
    return y if y * y % BASE_FIELD == square else None


def compressed(x: int, *, larger: bool) -> bytes:
    """The compressed form of a point by its x, whatever it is."""
    data = bytearray(x.to_bytes(48, "big"))
    data[0] |= COMPRESSED | (LARGER if larger else 0)
    return bytes(data)


def off_curve(count: int) -> Iterator[bytes]:
    """Encodings of x of no point, the smallest first."""
    found = (x for x in range(1, 200) if root_of_curve(x) is None)
    yield from (compressed(next(found), larger=i % 2 == 1) for i in range(count))


def outside_subgroup(count: int) -> Iterator[bytes]:
    """Points of the curve outside the subgroup of order r, smallest x first. Those of order 3 have x = 0."""
    x = 0
    while count:
        y = root_of_curve(x)
        if y is not None:
            point = G1Point.from_xy_bytes_unchecked_be(x.to_bytes(48, "big") + y.to_bytes(48, "big"))
            if not point.is_in_subgroup():
                yield compressed(x, larger=y > HALF)
                count -= 1
        x += 1


def points(count: int) -> list[bytes]:
    """Proper points from the seed."""
    return [encode_g1(G1Point() * factor) for factor in Stream("points").scalars(count)]


def faulty_points() -> Iterator[tuple[str, str, bytes]]:
    """(flag, comment, bytes) of everything that a decoder of points must refuse."""
    good = encode_g1(G1Point())
    for bits, text in ((0, "no flag"), (INFINITE, "infinity only"), (LARGER, "sign only"),
                       (INFINITE | LARGER, "infinity and sign")):  # fmt: skip
        yield "FlagBits", f"uncompressed: {text}", bytes([good[0] & 0x1F | bits]) + good[1:]
    yield "FlagBits", "infinity with a coordinate", bytes([good[0] | INFINITE]) + good[1:]
    yield "FlagBits", "infinity with sign and a coordinate", bytes([good[0] | INFINITE | LARGER]) + good[1:]
    yield "FlagBits", "infinity with sign", bytes([G1_INFINITY[0] | LARGER]) + G1_INFINITY[1:]
    yield "FlagBits", "infinity with a last byte", G1_INFINITY[:-1] + b"\x01"
    yield "FlagBits", "uncompressed infinity", bytes([INFINITE]) + bytes(47)
    yield "Infinity", "the neutral element", G1_INFINITY
    for i, data in enumerate(off_curve(6)):
        yield "NotOnCurve", f"no point has this x ({i})", data
    for i, data in enumerate(outside_subgroup(8)):
        yield "NotInSubgroup", f"a point of the curve ({i})", data
    for x, text in ((BASE_FIELD, "p"), (BASE_FIELD + 1, "p + 1"), ((1 << 381) - 1, "2^381 - 1")):
        yield "CoordinateNotReduced", f"x = {text}", compressed(x, larger=False)
    generator_x = int.from_bytes(good[1:], "big") | ((good[0] & 0x1F) << 376)
    if generator_x + BASE_FIELD < 1 << 381:
        yield "CoordinateNotReduced", "x of the generator, plus p", compressed(generator_x + BASE_FIELD, larger=False)
    small = next(x for x in range(1, 100) if root_of_curve(x) is not None)
    yield "CoordinateNotReduced", "x of a point of the curve, plus p", compressed(small + BASE_FIELD, larger=False)
    yield "LittleEndian", "the generator's bytes reversed", good[::-1]


def sized_points() -> Iterator[tuple[str, str, bytes]]:
    """(flag, comment, bytes) of wrong lengths."""
    good = encode_g1(G1Point())
    raw = bytes(G1Point().to_xy_bytes_be())
    for length in (0, 1, 32, 47):
        yield "WrongLength", f"{length} bytes", good[:length]
    yield "TrailingBytes", "a zero byte after the end", good + b"\x00"
    yield "TrailingBytes", "two points", good + good
    yield "WrongLength", "uncompressed, 96 bytes", raw


def write(cases: Cases) -> None:
    """All cases."""
    drawn = [int.from_bytes(Stream("scalar").bytes()[:31], "big")]
    for value in (0, 1, 2, 255, 1 << 248, (1 << 254) - 1, FIELD_ORDER - 1, FIELD_ORDER // 2, *drawn):
        flags = ("EdgeCase",) if value in (0, FIELD_ORDER - 1) else ()
        cases.valid("decode-scalar", {"bytes": value.to_bytes(32, "big").hex()}, "below r", *flags)
    for value, text in (
        (FIELD_ORDER, "r"), (FIELD_ORDER + 1, "r + 1"), (2 * FIELD_ORDER - 1, "2 r - 1"), (2 * FIELD_ORDER, "2 r"),
        (1 << 255, "2^255"), ((1 << 256) - 1, "2^256 - 1"),
    ):  # fmt: skip
        given = {"bytes": value.to_bytes(32, "big").hex()}
        cases.invalid("decode-scalar", given, "ScalarNotReduced", "malformed-input", text)
    for length in (0, 1, 31, 33, 48, 64):
        flag = "TrailingBytes" if length > 32 else "WrongLength"
        data = ((1).to_bytes(32, "big") + bytes(32))[:length]
        cases.invalid("decode-scalar", {"bytes": data.hex()}, flag, "malformed-input", f"{length} bytes")
    reverse = {"bytes": (FIELD_ORDER - 1).to_bytes(32, "little").hex()}
    cases.valid("decode-scalar", reverse, "r - 1 in little-endian is another scalar, below r", "LittleEndian")
    cases.valid("decode-g1", {"bytes": encode_g1(G1Point()).hex()}, "the generator")
    cases.valid("decode-g1", {"bytes": encode_g1(-G1Point()).hex()}, "its negative: the sign bit matters", "WrongSign")
    cases.valid("decode-g1", {"bytes": encode_g1(G1Point() * scalar(2)).hex()}, "twice the generator")
    for i, data in enumerate(points(6)):
        cases.valid("decode-g1", {"bytes": data.hex()}, f"a point from the seed ({i})")
    for flag, comment, data in (*faulty_points(), *sized_points()):
        cases.invalid("decode-g1", {"bytes": data.hex()}, flag, "malformed-input", comment)
    for n in DOMAINS:
        cases.valid("root-of-unity", {"domain": n}, f"omega = 7^((r-1)/{n})")
