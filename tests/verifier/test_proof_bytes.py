"""Every byte of a proof, and every way to encode an element that is none: refused with a typed error."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.toy import DOMAIN, NOW, sample_account, sample_proof
from zkmargin.circuits.errors import MalformedInput, MalformedProof, ProofRejected, ZkMarginError
from zkmargin.circuits.layout import DOMAINS, MAX_COLUMNS, Layout, proof_size
from zkmargin.circuits.system import FIELD_ORDER
from zkmargin.verifier.argument.v1.encoding import HEADER_BYTES, VERSION, decode, encode, point_names, scalar_names
from zkmargin.verifier.curve import G1_BYTES, G1_INFINITY, decode_g1
from zkmargin.verifier.field import SCALAR_BYTES, integer
from zkmargin.verifier.verify import verify

#: Order of the base field of BLS12-381.
P = 0x1A0111EA397FE69A4B1BA7B6434BACD764774B84F38512BF6730D2A0F6B0F6241EABFFFEB153FFFFB9FEFFFFFFFFAAAB
LAYOUTS = (1, 2, 3)
#: A proof for K = 1: header, 8 points, 2 scalars.
SIZE = proof_size(1)
COMPRESSED, INFINITE, LARGER = 0x80, 0x40, 0x20


def check(proof: bytes, size: int = 1) -> None:
    """Verify bytes against the statement of the sample of this size."""
    verify(sample_proof(size)[0], sample_account(size).snapshot, proof, now=NOW)


def elements(layout: Layout) -> Iterator[tuple[str, int, int]]:
    """(name, offset, length) of every element in wire order."""
    at = HEADER_BYTES
    for name in point_names(layout):
        yield name, at, G1_BYTES
        at += G1_BYTES
    for name in scalar_names(layout):
        yield name, at, SCALAR_BYTES
        at += SCALAR_BYTES


def splice(proof: bytes, at: int, new: bytes) -> bytes:
    """The proof with ``new`` at offset ``at``."""
    return proof[:at] + new + proof[at + len(new) :]


def points(size: int) -> list[tuple[str, int]]:
    return [(name, at) for name, at, length in elements(Layout(DOMAIN, size)) if length == G1_BYTES]


def scalars(size: int) -> list[tuple[str, int]]:
    return [(name, at) for name, at, length in elements(Layout(DOMAIN, size)) if length == SCALAR_BYTES]


EVERY_POINT = pytest.mark.parametrize(("name", "at"), points(2), ids=str)
EVERY_SCALAR = pytest.mark.parametrize(("name", "at"), scalars(2), ids=str)


@pytest.mark.parametrize("size", LAYOUTS)
def test_control_the_untouched_proof_verifies_and_round_trips(size: int) -> None:
    proof = sample_proof(size)[1]
    check(proof, size)
    assert len(proof) == proof_size(size)
    assert encode(decode(proof)) == proof
    name, at, length = list(elements(Layout(DOMAIN, size)))[-1]
    assert (name, at + length) == ("proof.accumulator_next", len(proof))


@pytest.mark.parametrize("at", range(SIZE))
def test_every_flipped_byte_is_refused(at: int) -> None:
    """One random bit of each byte; the choice is fixed so that a failure repeats."""
    proof = bytearray(sample_proof(1)[1])
    proof[at] ^= 1 << random.Random(at).randrange(8)
    with pytest.raises((MalformedProof, ProofRejected)):
        check(bytes(proof))


@pytest.mark.parametrize("bit", range(8))
@EVERY_POINT
def test_every_bit_of_a_leading_point_byte_is_refused(name: str, at: int, bit: int) -> None:
    """The three flag bits live here."""
    proof = bytearray(sample_proof(2)[1])
    proof[at] ^= 1 << bit
    with pytest.raises((MalformedProof, ProofRejected)):
        check(bytes(proof), 2)


@pytest.mark.parametrize("length", [*range(0, 60), SIZE // 2, SIZE - 48, SIZE - 32, SIZE - 1])
def test_truncation_is_refused(length: int) -> None:
    with pytest.raises(MalformedProof) as caught:
        check(sample_proof(1)[1][:length])
    assert caught.value.field == "proof"


@pytest.mark.parametrize("tail", [b"\x00", b"\xff", bytes(32), bytes(48), G1_INFINITY])
def test_trailing_bytes_are_refused(tail: bytes) -> None:
    with pytest.raises(MalformedProof) as caught:
        check(sample_proof(1)[1] + tail)
    assert caught.value.field == "proof"


@pytest.mark.parametrize("version", [v for v in range(256) if v != VERSION])
def test_other_wire_version_is_refused(version: int) -> None:
    with pytest.raises(MalformedProof) as caught:
        check(splice(sample_proof(1)[1], 0, bytes([version])))
    assert caught.value.field == "proof.version"


@pytest.mark.parametrize("w", [w for w in range(256) if w != 8])
def test_other_domain_in_the_header_is_refused(w: int) -> None:
    """Supported or not, and however large: 2**255 is never computed with."""
    with pytest.raises(MalformedProof) as caught:
        check(splice(sample_proof(1)[1], 1, bytes([w])))
    assert caught.value.field == "proof.n"


@pytest.mark.parametrize("columns", [k for k in range(256) if k != 1])
def test_other_number_of_columns_in_the_header_is_refused(columns: int) -> None:
    with pytest.raises(MalformedProof) as caught:
        check(splice(sample_proof(1)[1], 2, bytes([columns])))
    assert caught.value.field == ("proof" if 1 <= columns <= MAX_COLUMNS else "proof.K")


@pytest.mark.parametrize("columns", [k for k in range(1, MAX_COLUMNS + 1) if k != 2])
def test_extra_or_missing_columns_of_the_right_length_are_refused(columns: int) -> None:
    """The statement fixes K: a proof of another K is refused by shape, before any curve work."""
    point = sample_proof(2)[1][HEADER_BYTES : HEADER_BYTES + G1_BYTES]
    body = point * (2 * columns + 6) + bytes(SCALAR_BYTES) * (columns + 1)
    with pytest.raises(MalformedProof) as caught:
        check(bytes([VERSION, 8, columns]) + body, 2)
    assert caught.value.field == "proof.K"


@pytest.mark.parametrize("n", [n for n in DOMAINS if n != DOMAIN])
def test_a_proof_for_a_larger_domain_is_refused(n: int) -> None:
    with pytest.raises(MalformedProof) as caught:
        check(splice(sample_proof(1)[1], 1, bytes([n.bit_length() - 1])))
    assert caught.value.field == "proof.n"


def sqrt_p(value: int) -> int | None:
    """A square root modulo p = 3 mod 4, or None."""
    root = pow(value, (P + 1) // 4, P)
    return root if root * root % P == value % P else None


def compress(x: int, y: int) -> bytes:
    """The ZCash encoding of an affine point, by integers alone."""
    flags = COMPRESSED | (LARGER if y > (P - 1) // 2 else 0)
    data = bytearray(x.to_bytes(48, "big"))
    data[0] |= flags
    return bytes(data)


def points_outside_the_subgroup() -> list[bytes]:
    """Points with small x on y^2 = x^3 + 4. The cofactor is near 2^125; that none has order r is checked."""
    out: list[bytes] = []
    for x in range(40):
        y = sqrt_p(x**3 + 4)
        if y is not None:
            out += [compress(x, y), compress(x, P - y)]
    return out


def multiply(k: int, point: tuple[int, int]) -> tuple[int, int] | None:
    """k times an affine point of the curve, by integers alone; None is the neutral element."""

    def add(a: tuple[int, int] | None, b: tuple[int, int] | None) -> tuple[int, int] | None:
        if a is None or b is None:
            return b if a is None else a
        if a[0] == b[0] and (a[1] + b[1]) % P == 0:
            return None
        slope = (3 * a[0] ** 2 * pow(2 * a[1], -1, P) if a == b else (b[1] - a[1]) * pow(b[0] - a[0], -1, P)) % P
        x = (slope**2 - a[0] - b[0]) % P
        return x, (slope * (a[0] - x) - a[1]) % P

    out: tuple[int, int] | None = None
    doubled: tuple[int, int] | None = point
    while k:
        if k & 1:
            out = add(out, doubled)
        doubled, k = add(doubled, doubled), k >> 1
    return out


def test_the_points_outside_the_subgroup_are_what_they_are_called() -> None:
    on_curve = [(x, y) for x in range(40) if (y := sqrt_p(x**3 + 4)) is not None]
    assert len(on_curve) > 10
    assert all(multiply(FIELD_ORDER, point) is not None for point in on_curve)


def x_off_the_curve() -> int:
    """The smallest x with no point."""
    return next(x for x in range(100) if sqrt_p(x**3 + 4) is None)


def _x(data: bytes) -> int:
    return int.from_bytes(data, "big") & ((1 << 381) - 1)


BAD_POINTS: dict[str, Callable[[bytes], bytes]] = {
    "infinity": lambda _: G1_INFINITY,
    "infinity with a sign": lambda _: b"\xe0" + bytes(47),
    "infinity with a coordinate": lambda _: b"\xc0" + bytes(46) + b"\x01",
    "all zero": lambda _: bytes(48),
    "all ones": lambda _: b"\xff" * 48,
    "uncompressed flag": lambda p: bytes([p[0] & 0x7F]) + p[1:],
    "infinity flag on a point": lambda p: bytes([p[0] | INFINITE]) + p[1:],
    "uncompressed infinity": lambda _: b"\x40" + bytes(47),
    "off the curve": lambda _: bytes([COMPRESSED]) + x_off_the_curve().to_bytes(47, "big"),
    "x is p": lambda _: (P | COMPRESSED << 376).to_bytes(48, "big"),
    "x not reduced": lambda _: (P + 3 | COMPRESSED << 376).to_bytes(48, "big"),
    "x is 2^381 - 1": lambda _: b"\x9f" + b"\xff" * 47,
    "of order 3": lambda _: compress(0, 2),
    "outside the subgroup": lambda _: points_outside_the_subgroup()[-1],
}


@pytest.mark.parametrize("bad", BAD_POINTS.values(), ids=BAD_POINTS)
@EVERY_POINT
def test_what_is_no_proper_point_is_refused_by_name(name: str, at: int, bad: Callable[[bytes], bytes]) -> None:
    proof = sample_proof(2)[1]
    with pytest.raises(MalformedProof) as caught:
        check(splice(proof, at, bad(proof[at : at + G1_BYTES])), 2)
    assert caught.value.field == name


@pytest.mark.parametrize("data", points_outside_the_subgroup())
def test_no_point_outside_the_subgroup_decodes(data: bytes) -> None:
    with pytest.raises(MalformedInput):
        decode_g1(data, field="point")


@EVERY_POINT
def test_the_negative_of_a_point_is_refused(name: str, at: int) -> None:
    proof = sample_proof(2)[1]
    with pytest.raises(ProofRejected):
        check(splice(proof, at, bytes([proof[at] ^ LARGER])), 2)


@pytest.mark.parametrize("offset", [0, 1, (1 << 256) - FIELD_ORDER - 1])
@EVERY_SCALAR
def test_a_scalar_not_below_r_is_refused_by_name(name: str, at: int, offset: int) -> None:
    with pytest.raises(MalformedProof) as caught:
        check(splice(sample_proof(2)[1], at, (FIELD_ORDER + offset).to_bytes(32, "big")), 2)
    assert caught.value.field == name


@EVERY_SCALAR
def test_a_scalar_raised_by_r_is_refused(name: str, at: int) -> None:
    """Congruent to the honest value: another encoding of the same proof must not exist."""
    proof = sample_proof(2)[1]
    value = int.from_bytes(proof[at : at + SCALAR_BYTES], "big")
    raised = value + FIELD_ORDER
    encoded = (raised if raised < 1 << 256 else (1 << 256) - 1).to_bytes(32, "big")
    with pytest.raises(MalformedProof) as caught:
        check(splice(proof, at, encoded), 2)
    assert caught.value.field == name


@pytest.mark.parametrize("value", [0, 1, FIELD_ORDER - 1])
@EVERY_SCALAR
def test_another_scalar_is_refused(name: str, at: int, value: int) -> None:
    with pytest.raises(ProofRejected):
        check(splice(sample_proof(2)[1], at, value.to_bytes(32, "big")), 2)


PAIRS = [(a, b) for i, a in enumerate(points(2)) for b in points(2)[i + 1 :]]
PAIRS += [(a, b) for i, a in enumerate(scalars(2)) for b in scalars(2)[i + 1 :]]


@pytest.mark.parametrize(("a", "b"), PAIRS, ids=lambda v: str(v[0]))
def test_two_swapped_elements_are_refused(a: tuple[str, int], b: tuple[str, int]) -> None:
    """Columns, helpers, openings, evaluations: any two elements of one kind."""
    proof = sample_proof(2)[1]
    length = G1_BYTES if a in points(2) else SCALAR_BYTES
    first, second = proof[a[1] : a[1] + length], proof[b[1] : b[1] + length]
    assert first != second
    with pytest.raises(ProofRejected):
        check(splice(splice(proof, a[1], second), b[1], first), 2)


def test_elements_decode_to_the_values_at_their_offsets() -> None:
    proof = sample_proof(3)[1]
    decoded = decode(proof)
    values = [integer(value) for value in (*decoded.evaluations.limbs, decoded.evaluations.accumulator_next)]
    assert [int.from_bytes(proof[at : at + 32], "big") for _, at in scalars(3)] == values
    first = bytes(decoded.columns.limbs[0].to_xy_bytes_be())[:48]
    assert _x(proof[HEADER_BYTES : HEADER_BYTES + 48]) == int.from_bytes(first, "big")


@given(st.binary(max_size=2 * SIZE))
def test_arbitrary_bytes_give_a_typed_error(data: bytes) -> None:
    with pytest.raises(ZkMarginError):
        check(data)


@given(st.binary(min_size=SIZE - HEADER_BYTES, max_size=SIZE - HEADER_BYTES))
def test_arbitrary_bytes_of_the_right_shape_give_a_typed_error(body: bytes) -> None:
    with pytest.raises(ZkMarginError):
        check(bytes([VERSION, 8, 1]) + body)
