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
from dataclasses import dataclass

from py_arkworks_bls12381 import G1Point, Scalar

from zkmargin.circuits.errors import MalformedInput, MalformedProof
from zkmargin.circuits.layout import DOMAINS, MAX_COLUMNS, Layout, proof_size
from zkmargin.verifier.curve import G1_BYTES, decode_g1, encode_g1
from zkmargin.verifier.field import SCALAR_BYTES, decode_scalar, encode_scalar

VERSION = 1
HEADER_BYTES = 3


@dataclass(frozen=True)
class Proof:
    """A decoded proof: every point is in the subgroup and not neutral, every scalar below r.

    Names are those of the rounds in docs/SPEC.md.
    """

    layout: Layout
    columns: tuple[G1Point, ...]
    multiplicities: G1Point
    table_helper: G1Point
    helpers: tuple[G1Point, ...]
    accumulator: G1Point
    quotient: G1Point
    opening: G1Point
    opening_next: G1Point
    evaluations: tuple[Scalar, ...]
    accumulator_next: Scalar

    def to_bytes(self) -> bytes:
        """The canonical encoding."""
        points = [*self.columns, self.multiplicities, self.table_helper, *self.helpers, self.accumulator]
        points += [self.quotient, self.opening, self.opening_next]
        scalars = [*self.evaluations, self.accumulator_next]
        header = bytes([VERSION, self.layout.limb_bits, self.layout.columns])
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
    """Bytes to a proof. ``expected`` is the statement's layout: a proof for another is refused before any curve work.

    Raises ``MalformedProof`` naming the element.
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
    columns, multiplicities, table_helper = points[:k], points[k], points[k + 1]
    helpers = points[k + 2 : 2 * k + 2]
    accumulator, quotient, opening, opening_next = points[2 * k + 2 :]
    return Proof(
        layout=layout,
        columns=tuple(columns),
        multiplicities=multiplicities,
        table_helper=table_helper,
        helpers=tuple(helpers),
        accumulator=accumulator,
        quotient=quotient,
        opening=opening,
        opening_next=opening_next,
        evaluations=tuple(scalars[:k]),
        accumulator_next=scalars[k],
    )
