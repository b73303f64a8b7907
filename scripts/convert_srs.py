"""Make the SRS data files from the Ethereum KZG ceremony's ``kzg_trusted_setup.txt``.

    python scripts/convert_srs.py kzg_trusted_setup.txt [--out verifier/data]

The text file (SHA-256 d39b9f2d...26b7, inside the PyPI package eth-account) holds 4096 G1 points in Lagrange form, 65
G2 powers and 4096 G1 powers of tau, compressed, in hexadecimal. We keep the powers, uncompressed (loading them then
needs no square roots), and derive Lagrange bases for n = 256 .. 2048 by a fast Fourier transform in the group. Every
output is deterministic; its SHA-256 is pinned in ``verifier/srs.py``. ``zkmargin srs verify`` checks the structure
with pairings.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

from py_arkworks_bls12381 import G1Point, G2Point

from zkmargin.circuits.layout import DOMAINS
from zkmargin.verifier.field import domain, scalar

SOURCE_SHA256 = "d39b9f2d047cc9dca2de58f264b6a09448ccd34db967881a6713eacacf0f26b7"
G1_POWERS = 4096
G2_POWERS = 65


def lagrange_basis(powers: list[G1Point], n: int) -> list[G1Point]:
    """[L_i(tau)]_1 = (1/n) sum_k omega**(-ik) [tau**k]_1: an inverse DFT in the exponent, radix 2."""
    omegas = domain(n)

    def transform(values: list[G1Point], step: int) -> list[G1Point]:
        if len(values) == 1:
            return values
        even, odd = transform(values[0::2], step * 2), transform(values[1::2], step * 2)
        twisted = [point * omegas[(-i * step) % n] for i, point in enumerate(odd)]
        return [a + b for a, b in zip(even, twisted, strict=True)] + [a - b for a, b in zip(even, twisted, strict=True)]

    inverse = scalar(n).inverse()
    return [point * inverse for point in transform(powers[:n], 1)]


def write(path: Path, data: bytes) -> None:
    """Write one output and print its name, size and digest."""
    path.write_bytes(data)
    print(f"{path.name:24s} {len(data):8d} bytes  sha256 {hashlib.sha256(data).hexdigest()}")


def main() -> int:
    """Convert, refusing a source file with another digest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source", type=Path)
    parser.add_argument("--out", type=Path, default=Path("verifier/data"))
    args = parser.parse_args()
    raw = args.source.read_bytes()
    if hashlib.sha256(raw).hexdigest() != SOURCE_SHA256:
        print("the source file is not the ceremony's file: its SHA-256 differs", file=sys.stderr)
        return 1
    words = raw.decode("ascii").split()
    if (int(words[0]), int(words[1])) != (G1_POWERS, G2_POWERS):
        print("unexpected header", file=sys.stderr)
        return 1
    g2 = [G2Point.from_compressed_bytes(bytes.fromhex(w)) for w in words[2 + G1_POWERS : 2 + G1_POWERS + G2_POWERS]]
    g1 = [G1Point.from_compressed_bytes(bytes.fromhex(w)) for w in words[2 + G1_POWERS + G2_POWERS :]]
    if len(g1) != G1_POWERS:
        print("unexpected number of points", file=sys.stderr)
        return 1
    args.out.mkdir(parents=True, exist_ok=True)
    write(args.out / "powers_g1.bin", b"".join(bytes(p.to_xy_bytes_be()) for p in g1))
    write(args.out / "powers_g2.bin", b"".join(bytes(p.to_xy_bytes_be()) for p in g2))
    for n in DOMAINS:
        basis = lagrange_basis(g1, n)
        write(args.out / f"lagrange_{n}.bin", b"".join(bytes(p.to_xy_bytes_be()) for p in basis))
    return 0


if __name__ == "__main__":
    sys.exit(main())
