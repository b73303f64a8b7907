"""Proof encoding, wire version 1: fixed length for each (n, K), canonical elements, nothing after the end.

    byte 0        version, 1
    byte 1        w = log2 n
    byte 2        K, number of limb columns
    then points   columns (K), multiplicities, table-helper, helpers (K), accumulator, quotient, opening,
                  opening-next
    then scalars  evaluations (K), accumulator-next

Points are 48-byte compressed G1, scalars 32 bytes big-endian below r.
"""

from __future__ import annotations

from collections.abc import Iterator

from py_arkworks_bls12381 import G1Point, Scalar

from zkmargin.circuits.errors import MalformedInput, MalformedProof
from zkmargin.circuits.layout import DOMAINS, MAX_COLUMNS, Layout, proof_size
from zkmargin.verifier.argument.v1.messages import Columns, Evaluations, Openings, Proof, Quotient, Sums
from zkmargin.verifier.curve import G1_BYTES, decode_g1, encode_g1
from zkmargin.verifier.field import SCALAR_BYTES, decode_scalar, encode_scalar

VERSION = 1
HEADER_BYTES = 3


def encode(proof: Proof) -> bytes:
    """The canonical encoding."""
    columns, sums, opened = proof.columns, proof.sums, proof.openings
    points = [*columns.limbs, columns.multiplicities, sums.table_helper, *sums.helpers, sums.accumulator]
    points += [proof.quotient.quotient, opened.opening, opened.opening_next]
    scalars = [*proof.evaluations.limbs, proof.evaluations.accumulator_next]
    header = bytes([VERSION, proof.layout.limb_bits, proof.layout.columns])
    return header + b"".join(map(encode_g1, points)) + b"".join(map(encode_scalar, scalars))


def point_names(layout: Layout) -> Iterator[str]:
    """Names of the points in wire order."""
    yield from (f"proof.columns.{c}" for c in range(layout.columns))
    yield from ("proof.multiplicities", "proof.table_helper")
    yield from (f"proof.helpers.{c}" for c in range(layout.columns))
    yield from ("proof.accumulator", "proof.quotient", "proof.opening", "proof.opening_next")


def scalar_names(layout: Layout) -> Iterator[str]:
    """Names of the scalars in wire order."""
    yield from (f"proof.evaluations.{c}" for c in range(layout.columns))
    yield "proof.accumulator_next"


def decode_header(data: bytes) -> Layout:
    """Version and (n, K) from the first three bytes, and the length they imply: shape before content."""
    if len(data) < HEADER_BYTES:
        raise MalformedProof(f"{len(data)} bytes, shorter than the header", field="proof")
    version, w, columns = data[:HEADER_BYTES]
    if version != VERSION:
        raise MalformedProof(f"wire version {version}, this verifier reads {VERSION}", field="proof.version")
    if (1 << w) not in DOMAINS:
        raise MalformedProof(f"log2 n = {w} is not a supported domain", field="proof.n")
    if not 1 <= columns <= MAX_COLUMNS:
        raise MalformedProof(f"K = {columns} is not from 1 to {MAX_COLUMNS}", field="proof.K")
    expected = proof_size(columns)
    if len(data) != expected:
        raise MalformedProof(f"{len(data)} bytes, expected {expected}", field="proof")
    return Layout(1 << w, columns)


def decode(data: bytes, expected: Layout | None = None) -> Proof:
    """Bytes to a proof whose every point is in the subgroup and not neutral, and every scalar below r.

    ``expected`` is the statement's layout: a proof for another is refused before any curve work. Raises
    ``MalformedProof`` naming the element.
    """
    layout = decode_header(data)
    if expected is not None and layout != expected:
        raise MalformedProof(
            f"(n, K) = ({layout.n}, {layout.columns}), the statement has ({expected.n}, {expected.columns})",
            field="proof.K" if layout.n == expected.n else "proof.n",
        )
    at = HEADER_BYTES
    points: list[G1Point] = []
    scalars: list[Scalar] = []
    try:
        for name in point_names(layout):
            points.append(decode_g1(data[at : at + G1_BYTES], field=name))
            at += G1_BYTES
        for name in scalar_names(layout):
            scalars.append(decode_scalar(data[at : at + SCALAR_BYTES], field=name))
            at += SCALAR_BYTES
    except MalformedInput as err:
        raise MalformedProof(err.message, field=err.field) from None
    k = layout.columns
    accumulator, quotient, opening, opening_next = points[2 * k + 2 :]
    return Proof(
        layout,
        Columns(tuple(points[:k]), points[k]),
        Sums(points[k + 1], tuple(points[k + 2 : 2 * k + 2]), accumulator),
        Quotient(quotient),
        Evaluations(tuple(scalars[:k]), scalars[k]),
        Openings(opening, opening_next),
    )
