"""Byte layout of the EIP-2537 precompiles: padded coordinates, without any curve arithmetic.

A coordinate takes 64 bytes, the upper 16 zero, below p. A G1 point is x || y, a G2 point x_0 || x_1 || y_0 || y_1,
the neutral element all zeros, a scalar 32 bytes of any value.
"""

from __future__ import annotations

from zkmargin.service.vectors.engine import require

#: p, the order of the base field of BLS12-381.
BASE_FIELD = 0x1A0111EA397FE69A4B1BA7B6434BACD764774B84F38512BF6730D2A0F6B0F6241EABFFFEB153FFFFB9FEFFFFFFFFAAAB
COORDINATE_BYTES = 64
PADDING = bytes(16)
G1_BYTES, G2_BYTES, SCALAR_BYTES = 128, 256, 32
ONE_WORD = bytes(31) + b"\x01"


def split(data: bytes, sizes: tuple[int, ...]) -> list[tuple[bytes, ...]]:
    """The input as records of parts of these sizes; an empty input or another length is refused."""
    record = sum(sizes)
    require(len(data) > 0 and len(data) % record == 0, "invalid input length", "input")
    out: list[tuple[bytes, ...]] = []
    for start in range(0, len(data), record):
        parts: list[bytes] = []
        at = start
        for size in sizes:
            parts.append(data[at : at + size])
            at += size
        out.append(tuple(parts))
    return out


def coordinates(data: bytes, count: int) -> list[int]:
    """``count`` padded base field elements."""
    out: list[int] = []
    for at in range(0, count * COORDINATE_BYTES, COORDINATE_BYTES):
        part = data[at : at + COORDINATE_BYTES]
        require(part[:16] == PADDING, "invalid field element top bytes", "input")
        value = int.from_bytes(part, "big")
        require(value < BASE_FIELD, "invalid field element encoding", "input")
        out.append(value)
    return out
