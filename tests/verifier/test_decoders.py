"""Decoders of field elements, points and headers, alone: what each refuses, and the name it gives."""

from __future__ import annotations

import pytest
from py_arkworks_bls12381 import G1Point

from tests.support.toy import sample_proof
from zkmargin.circuits.errors import MalformedInput, MalformedProof
from zkmargin.circuits.layout import DOMAINS, MAX_COLUMNS, Layout, proof_size
from zkmargin.circuits.system import FIELD_ORDER
from zkmargin.verifier.argument.v1 import encoding
from zkmargin.verifier.curve import G1_INFINITY, decode_g1, encode_g1, msm, pairing_product_is_one
from zkmargin.verifier.field import ONE, ZERO, batch_inverse, decode_scalar, encode_scalar, integer, powers, scalar
from zkmargin.verifier.srs import ethereum

GENERATOR = encode_g1(G1Point())


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_a_scalar_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(MalformedInput) as caught:
        decode_scalar(bytes(length), field="here")
    assert caught.value.field == "here"
    assert caught.value.message == f"{length} bytes where a scalar has 32"


@pytest.mark.parametrize("value", [FIELD_ORDER, FIELD_ORDER + 1, 2**256 - 1])
def test_a_scalar_not_below_the_order_is_refused(value: int) -> None:
    with pytest.raises(MalformedInput) as caught:
        decode_scalar(value.to_bytes(32, "big"), field="here")
    assert caught.value.field == "here"


@pytest.mark.parametrize("value", [0, 1, 2**255 - 2**254, FIELD_ORDER - 1])
def test_scalars_are_big_endian_and_round_trip(value: int) -> None:
    decoded = decode_scalar(value.to_bytes(32, "big"), field="here")
    assert integer(decoded) == value
    assert encode_scalar(decoded) == value.to_bytes(32, "big")


@pytest.mark.parametrize("length", [0, 1, 47, 49, 96])
def test_a_point_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(MalformedInput) as caught:
        decode_g1((GENERATOR * 2)[:length], field="here")
    assert caught.value.field == "here"
    assert caught.value.message == f"{length} bytes where a point has 48"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (G1_INFINITY, "the point at infinity is not allowed"),
        (b"\xe0" + bytes(47), "the point at infinity is not allowed"),
        (b"\x40" + bytes(47), "the point at infinity is not allowed"),
        (bytes([GENERATOR[0] ^ 0x80]) + GENERATOR[1:], "not a compressed point"),
        (bytes(48), "not a compressed point"),
        (b"\x80" + bytes(47), "not a point of the prime-order subgroup"),
        (b"\x9a" + b"\xff" * 47, "not a point of the prime-order subgroup"),
    ],
    ids=range(7),
)
def test_what_is_no_point_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        decode_g1(data, field="here")
    assert (caught.value.field, caught.value.message) == ("here", message)


def test_a_decoder_that_accepts_two_encodings_would_be_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is strict; should it ever not be, the comparison with the re-encoding still is."""
    from zkmargin.verifier import curve

    class Lax:
        @staticmethod
        def from_compressed_bytes(_: bytes) -> G1Point:
            return G1Point()

    monkeypatch.setattr(curve, "G1Point", Lax)
    other = encode_g1(-G1Point())
    with pytest.raises(MalformedInput) as caught:
        decode_g1(other, field="here")
    assert (caught.value.field, caught.value.message) == ("here", "non-canonical point encoding")
    assert decode_g1(GENERATOR, field="here") == G1Point()


def test_sums_of_nothing_and_of_unequal_lists() -> None:
    assert msm([], []) == G1Point.identity()
    for points, factors in (([G1Point()], []), ([], [ONE]), ([G1Point()] * 2, [ONE])):
        with pytest.raises(ValueError, match="one coefficient for each point"):
            msm(points, factors)


def test_infinity_is_what_it_is_called() -> None:
    assert encode_g1(G1Point.identity()) == G1_INFINITY


def test_the_pairing_check_is_the_product() -> None:
    key = ethereum().key
    two = scalar(2)
    assert pairing_product_is_one([key.g1 * two, -key.g1], [key.g2, key.g2 * two])
    assert not pairing_product_is_one([key.g1 * two, key.g1], [key.g2, key.g2 * two])
    assert not pairing_product_is_one([key.g1], [key.tau_g2])


def test_powers_of_no_or_negative_count_are_none() -> None:
    assert powers(scalar(3), 0) == powers(scalar(3), -1) == powers(scalar(3), -5, scalar(2)) == []
    assert powers(scalar(3), 1, scalar(5)) == [scalar(5)]
    assert powers(scalar(3), 3, scalar(5)) == [scalar(5), scalar(15), scalar(45)]


def test_inverses_of_nothing_of_one_and_of_zero() -> None:
    assert batch_inverse([]) == []
    assert batch_inverse([scalar(4)], scalar(8)) == [scalar(2)]
    for values in ([ZERO], [ONE, ZERO], [ZERO, ONE], [ONE, ZERO, ONE]):
        with pytest.raises(ZeroDivisionError, match="inverse of zero"):
            batch_inverse(values)


# The header of a proof.


@pytest.mark.parametrize("length", [0, 1, 2])
def test_less_than_a_header_is_refused(length: int) -> None:
    with pytest.raises(MalformedProof) as caught:
        encoding.decode_header(bytes([1, 8, 1])[:length])
    assert (caught.value.field, caught.value.message) == ("proof", f"{length} bytes, shorter than the header")


@pytest.mark.parametrize(
    ("header", "field"),
    [
        ((0, 8, 1), "proof.version"),
        ((2, 8, 1), "proof.version"),
        ((1, 7, 1), "proof.n"),
        ((1, 12, 1), "proof.n"),
        ((1, 255, 1), "proof.n"),
        ((1, 8, 0), "proof.K"),
        ((1, 8, MAX_COLUMNS + 1), "proof.K"),
        ((2, 7, 0), "proof.version"),
        ((1, 7, 0), "proof.n"),
    ],
)
def test_a_header_is_refused_by_name_and_in_order(header: tuple[int, ...], field: str) -> None:
    with pytest.raises(MalformedProof) as caught:
        encoding.decode_header(bytes(header) + bytes(proof_size(1) - 3))
    assert caught.value.field == field


@pytest.mark.parametrize("columns", [1, 2, MAX_COLUMNS])
@pytest.mark.parametrize("n", DOMAINS)
def test_every_supported_header_and_its_length(n: int, columns: int) -> None:
    header = bytes([1, n.bit_length() - 1, columns])
    size = 3 + 48 * (2 * columns + 6) + 32 * (columns + 1)
    assert encoding.decode_header(header.ljust(size, b"\0")) == Layout(n, columns)
    for other in (3, size - 1, size + 1):
        with pytest.raises(MalformedProof) as caught:
            encoding.decode_header(header.ljust(other, b"\0"))
        assert (caught.value.field, caught.value.message) == ("proof", f"{other} bytes, expected {size}")


def test_a_proof_without_an_expected_layout_is_decoded_as_it_says() -> None:
    data = sample_proof(2)[1]
    assert encoding.decode(data).layout == Layout(256, 2)
    assert encoding.encode(encoding.decode(data, Layout(256, 2))) == data


@pytest.mark.parametrize(
    ("expected", "field"),
    [(Layout(256, 1), "proof.K"), (Layout(512, 2), "proof.n"), (Layout(512, 1), "proof.n")],
)
def test_another_layout_than_the_statements_is_refused_before_any_point(expected: Layout, field: str) -> None:
    data = sample_proof(2)[1]
    spoiled = data[:3] + bytes(len(data) - 3)
    with pytest.raises(MalformedProof) as caught:
        encoding.decode(spoiled, expected)
    assert caught.value.field == field
    assert "the statement has" in caught.value.message


def test_the_first_bad_element_is_named() -> None:
    data = sample_proof(1)[1]
    for at, field in ((3, "proof.columns.0"), (3 + 48 * 7, "proof.opening_next"), (3 + 48 * 8, "proof.evaluations.0")):
        with pytest.raises(MalformedProof) as caught:
            encoding.decode(data[:at] + b"\xff" * (len(data) - at))
        assert caught.value.field == field


def test_names_are_those_of_the_specification() -> None:
    assert list(encoding.point_names(Layout(256, 2))) == [
        "proof.columns.0", "proof.columns.1", "proof.multiplicities", "proof.table_helper", "proof.helpers.0",
        "proof.helpers.1", "proof.accumulator", "proof.quotient", "proof.opening", "proof.opening_next",
    ]  # fmt: skip
    assert list(encoding.scalar_names(Layout(256, 2))) == [
        "proof.evaluations.0", "proof.evaluations.1", "proof.accumulator_next",
    ]  # fmt: skip
