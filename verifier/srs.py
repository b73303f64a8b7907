"""The structured reference string: powers of tau of the Ethereum KZG ceremony, digests pinned.

Files hold uncompressed points, so loading skips square roots; what makes that safe is that every file's SHA-256 is
compared with the pinned one before a point is read. :mod:`zkmargin.verifier.srs_structure` checks the points.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources

from py_arkworks_bls12381 import G1Point, G2Point

from zkmargin.circuits.errors import CorruptData

#: Number of G1 powers in the ceremony's file.
SRS_SIZE = 4096
G2_SIZE = 65
XY_G1_BYTES = 96
XY_G2_BYTES = 192

PINNED = {
    "powers_g1.bin": "2ab2ea576293ede14f62cc315d49d2f98a54df399546a0e52ca546c2d2f9601f",
    "powers_g2.bin": "9c146a46ab465624a879f54d5070db1ef01660f5a1bdaac60f4d93c418cff711",
    "lagrange_256.bin": "8063980e9df9faf9044184d4c7300faa4f76828e1777207a465b9ecea749db7e",
    "lagrange_512.bin": "07e94a3ccc32e51e2b27e9205e95d26d5f2682e2b98c1951d433a892d9cd8a27",
    "lagrange_1024.bin": "dad8aa1de67e48b0142ce5ce173bd68d8cae1468ad392f0750e3813042887915",
    "lagrange_2048.bin": "aea576222f45c6a2780f45b3ef213c04f576a26e9006b7962618d0371ea4b138",
}
#: What the transcript absorbs: the digest of both files of powers.
SRS_DIGEST = hashlib.sha256(bytes.fromhex(PINNED["powers_g1.bin"] + PINNED["powers_g2.bin"])).digest()


@dataclass(frozen=True)
class VerifierKey:
    """All that verification needs of the SRS: [1]_1, [1]_2, [tau]_2 and its digest."""

    g1: G1Point
    g2: G2Point
    tau_g2: G2Point
    digest: bytes


def read_pinned(name: str) -> bytes:
    """The bytes of a data file, or ``CorruptData`` naming it when missing or changed."""
    try:
        data = resources.files("zkmargin.verifier.data").joinpath(name).read_bytes()
    except OSError as err:
        raise CorruptData(f"cannot be read ({type(err).__name__})", field=name) from None
    if hashlib.sha256(data).hexdigest() != PINNED[name]:
        raise CorruptData(
            "SHA-256 is not the pinned one: reinstall, or rebuild it with scripts/convert_srs.py", field=name
        )
    return data


def _g1_points(data: bytes) -> list[G1Point]:
    return [G1Point.from_xy_bytes_unchecked_be(data[i : i + XY_G1_BYTES]) for i in range(0, len(data), XY_G1_BYTES)]


class Srs:
    """The installed SRS; every part is loaded and checked against its digest on first use."""

    digest = SRS_DIGEST

    @cached_property
    def powers_g1(self) -> list[G1Point]:
        """[tau**k]_1 for k = 0 .. 4095."""
        return _g1_points(read_pinned("powers_g1.bin"))

    @cached_property
    def powers_g2(self) -> list[G2Point]:
        """[tau**k]_2 for k = 0 .. 64."""
        data = read_pinned("powers_g2.bin")
        return [G2Point.from_xy_bytes_unchecked_be(data[i : i + XY_G2_BYTES]) for i in range(0, len(data), XY_G2_BYTES)]

    @lru_cache(maxsize=8)  # noqa: B019 - one instance for the life of the process
    def lagrange(self, n: int) -> list[G1Point]:
        """[L_i(tau)]_1 on the domain of n rows."""
        return _g1_points(read_pinned(f"lagrange_{n}.bin"))

    @cached_property
    def key(self) -> VerifierKey:
        """The verifier's part. Reads two points of each file, after the digest of the whole file."""
        g1 = read_pinned("powers_g1.bin")[:XY_G1_BYTES]
        g2 = read_pinned("powers_g2.bin")[: 2 * XY_G2_BYTES]
        return VerifierKey(
            g1=G1Point.from_xy_bytes_unchecked_be(g1),
            g2=G2Point.from_xy_bytes_unchecked_be(g2[:XY_G2_BYTES]),
            tau_g2=G2Point.from_xy_bytes_unchecked_be(g2[XY_G2_BYTES:]),
            digest=self.digest,
        )


@lru_cache(maxsize=1)
def ethereum() -> Srs:
    """The SRS that ships with the project."""
    return Srs()
