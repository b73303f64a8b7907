"""What is proved, without its meaning: the same for every version of the argument."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from py_arkworks_bls12381 import G1Point, Scalar

from zkmargin.circuits.layout import Layout
from zkmargin.circuits.system import LinearSystem
from zkmargin.verifier.curve import encode_g1
from zkmargin.verifier.field import encode_scalar
from zkmargin.verifier.transcript import Transcript


@dataclass(frozen=True)
class Instance:
    """A bound linear system about one committed position vector.

    ``statement`` is the 32-byte digest of the canonical statement, ``constants`` the right-hand sides c_i,
    ``commitment`` the account's C.
    """

    layout: Layout
    system: LinearSystem
    constants: Sequence[Scalar]
    commitment: G1Point
    statement: bytes

    def transcript(self, protocol: bytes, srs_digest: bytes) -> Transcript:
        """A transcript that has absorbed everything public; ``protocol`` names the version of the argument."""
        t = Transcript()
        t.absorb(b"protocol", protocol)
        t.absorb(b"srs", srs_digest)
        t.absorb(b"parameters", self.layout.n.to_bytes(4, "big") + self.layout.columns.to_bytes(4, "big"))
        t.absorb(b"statement", self.statement)
        t.absorb(b"system", self.system.digest)
        t.absorb(b"constants", b"".join(map(encode_scalar, self.constants)))
        t.absorb(b"commitment", encode_g1(self.commitment))
        return t
