"""SPEC.md, "Proof encoding": from bytes to points and scalars, or ``MalformedProof``."""

from __future__ import annotations

from dataclasses import dataclass

from zkmargin.circuits.errors import MalformedProof
from zkmargin.verifier.reference.curve import G1_BYTES, SCALAR_BYTES, Element, G1Point, decode_g1, decode_scalar
from zkmargin.verifier.reference.systems import MAX_COLUMNS, Geometry

VERSION = 1
HEADER_BYTES = 3
LIMB_BITS = (8, 9, 10, 11)


@dataclass(frozen=True)
class Proof:
    """Elements under the names of the section's table. ``raw`` holds each element's bytes, for the transcript."""

    columns: list[G1Point]
    multiplicities: G1Point
    table_helper: G1Point
    helpers: list[G1Point]
    accumulator: G1Point
    quotient: G1Point
    opening: G1Point
    opening_next: G1Point
    evaluations: list[Element]
    accumulator_next: Element
    raw: dict[str, list[bytes]]


def proof_size(columns: int) -> int:
    """3 + 48 (2 K + 6) + 32 (K + 1) bytes."""
    return HEADER_BYTES + G1_BYTES * (2 * columns + 6) + SCALAR_BYTES * (columns + 1)


def check_header(data: bytes) -> None:
    """Version, w, K and the length that follows from K."""
    if len(data) < HEADER_BYTES:
        raise MalformedProof("shorter than its header", field="proof")
    version, limb_bits, columns = data[:HEADER_BYTES]
    if version != VERSION:
        raise MalformedProof("another version", field="proof.version")
    if limb_bits not in LIMB_BITS:
        raise MalformedProof("no supported domain", field="proof.n")
    if not 1 <= columns <= MAX_COLUMNS:
        raise MalformedProof(f"K is not from 1 to {MAX_COLUMNS}", field="proof.K")
    if len(data) != proof_size(columns):
        raise MalformedProof(f"a proof of {columns} columns has {proof_size(columns)} bytes", field="proof")


#: Elements in wire order: the transcript's label, bytes of one, and whether there is one for each column.
ELEMENTS = (
    ("columns", G1_BYTES, True),
    ("multiplicities", G1_BYTES, False),
    ("table-helper", G1_BYTES, False),
    ("helpers", G1_BYTES, True),
    ("accumulator", G1_BYTES, False),
    ("quotient", G1_BYTES, False),
    ("opening", G1_BYTES, False),
    ("opening-next", G1_BYTES, False),
    ("evaluations", SCALAR_BYTES, True),
    ("accumulator-next", SCALAR_BYTES, False),
)


def _field(label: str, i: int, per_column: bool) -> str:
    return f"proof.{label.replace('-', '_')}" + (f".{i}" if per_column else "")


def decode(data: bytes, geometry: Geometry) -> Proof:
    """The proof for the statement's (n, K), every element strictly decoded."""
    check_header(data)
    if data[1] != geometry.w:
        raise MalformedProof("another n than the statement's", field="proof.n")
    if data[2] != geometry.columns:
        raise MalformedProof("another K than the statement's", field="proof.K")
    raw: dict[str, list[bytes]] = {}
    at = HEADER_BYTES
    for name, size, per_column in ELEMENTS:
        count = geometry.columns if per_column else 1
        raw[name] = [data[at + i * size : at + (i + 1) * size] for i in range(count)]
        at += size * count
    point = {
        name: [decode_g1(part, MalformedProof, _field(name, i, per_column)) for i, part in enumerate(raw[name])]
        for name, size, per_column in ELEMENTS
        if size == G1_BYTES
    }
    scalar = {
        name: [decode_scalar(part, MalformedProof, _field(name, i, per_column)) for i, part in enumerate(raw[name])]
        for name, size, per_column in ELEMENTS
        if size == SCALAR_BYTES
    }
    return Proof(
        columns=point["columns"],
        multiplicities=point["multiplicities"][0],
        table_helper=point["table-helper"][0],
        helpers=point["helpers"],
        accumulator=point["accumulator"][0],
        quotient=point["quotient"][0],
        opening=point["opening"][0],
        opening_next=point["opening-next"][0],
        evaluations=scalar["evaluations"],
        accumulator_next=scalar["accumulator-next"][0],
        raw=raw,
    )
