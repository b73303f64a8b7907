"""The Fiat-Shamir transcript: SHA-256, RFC 9380 hashing to the field, every message labelled and length-prefixed.

absorb(label, data) feeds  len(label) || label || len(data) || data  (one and eight bytes of length, big-endian) to a
running SHA-256. challenge(label) absorbs the empty message under its label and hashes the running digest to the
field, so a challenge depends on everything before it and on its own name (docs/SPEC.md, "Transcript").
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from py_arkworks_bls12381 import G1Point, Scalar

from zkmargin.circuits.system import FIELD_ORDER
from zkmargin.verifier.curve import encode_g1
from zkmargin.verifier.field import encode_scalar, scalar

#: One domain-separation tag for the whole protocol; the version in it is the wire version.
DST = b"ZKMARGIN-V01-CS01-with-expander-SHA256-128"
#: RFC 9380 section 5.2: L = ceil((ceil(log2 r) + k) / 8) with k = 128.
HASH_TO_FIELD_BYTES = 48
_SHA256_BLOCK = 64
_SHA256_OUTPUT = 32


def expand_message_xmd(message: bytes, dst: bytes, length: int) -> bytes:
    """RFC 9380 section 5.3.1 with SHA-256; ``length`` at most 255 * 32, ``dst`` at most 255 bytes."""
    blocks = -(-length // _SHA256_OUTPUT)
    if not (length > 0 and blocks <= 255 and 0 < len(dst) <= 255):  # so length is below 65536 too
        raise ValueError("length or DST out of range for expand_message_xmd")
    dst_prime = dst + bytes([len(dst)])
    b_0 = hashlib.sha256(bytes(_SHA256_BLOCK) + message + length.to_bytes(2, "big") + b"\x00" + dst_prime).digest()
    block = hashlib.sha256(b_0 + b"\x01" + dst_prime).digest()
    out = [block]
    for i in range(2, blocks + 1):
        mixed = bytes(a ^ b for a, b in zip(b_0, block, strict=True))
        block = hashlib.sha256(mixed + bytes([i]) + dst_prime).digest()
        out.append(block)
    return b"".join(out)[:length]


def hash_to_field(message: bytes) -> Scalar:
    """RFC 9380 section 5.2 for one element of the scalar field (m = 1, L = 48)."""
    return scalar(int.from_bytes(expand_message_xmd(message, DST, HASH_TO_FIELD_BYTES), "big") % FIELD_ORDER)


class Transcript:
    """The running transcript. Prover and verifier call the same methods in the same order."""

    def __init__(self) -> None:
        self._state = hashlib.sha256()

    def absorb(self, label: bytes, data: bytes) -> None:
        """Append one labelled message."""
        self._state.update(bytes([len(label)]) + label + len(data).to_bytes(8, "big") + data)

    def absorb_point(self, label: bytes, point: G1Point) -> None:
        """Append a G1 point in its canonical encoding."""
        self.absorb(label, encode_g1(point))

    def absorb_points(self, label: bytes, points: Iterable[G1Point]) -> None:
        """Append points in order, each under the same label."""
        for point in points:
            self.absorb_point(label, point)

    def absorb_scalars(self, label: bytes, values: Iterable[Scalar]) -> None:
        """Append scalars in order, each under the same label."""
        for value in values:
            self.absorb(label, encode_scalar(value))

    def challenge(self, label: bytes) -> Scalar:
        """The challenge named ``label``; it also becomes part of the transcript."""
        self.absorb(label, b"")
        return hash_to_field(self._state.digest())
