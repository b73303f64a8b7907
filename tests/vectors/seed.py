"""The public seed of the vectors. **Everything drawn from it is known to everybody.**

A proof blinded from a known seed hides nothing. So the only way from this seed to a proof is :func:`guard`, which
refuses any statement that does not name the vectors' own hub; neither is installed (a test looks into the wheel), and
the prover's own randomness stays ``secrets``.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from py_arkworks_bls12381 import Scalar

from zkmargin.circuits.errors import InternalError
from zkmargin.verifier.field import scalar

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from zkmargin.circuits.statement import Statement

#: Public, and frozen with wire version 1. Later versions draw from it too, under labels of their own.
SEED = b"zkmargin test vectors, wire version 1: public, never for anything else"
#: The only hub that a statement of a vector may name. No DNS name ends like this (RFC 2606).
HUB = "vectors.invalid"


class Stream:
    """Scalars, numbers and bytes that depend on the seed, a label and how many were drawn before."""

    def __init__(self, label: str) -> None:
        self._label = label.encode()
        self._drawn = 0

    def bytes(self) -> bytes:
        """The next 64 bytes."""
        head = len(self._label).to_bytes(2, "big") + self._label + self._drawn.to_bytes(8, "big")
        self._drawn += 1
        return hashlib.sha512(SEED + b"\x00" + head).digest()

    def scalars(self, count: int) -> list[Scalar]:
        """``count`` scalars: 512 bits reduced modulo r each. Has the type of the prover's randomness."""
        return [scalar(int.from_bytes(self.bytes(), "big")) for _ in range(count)]

    def number(self, low: int, high: int) -> int:
        """An integer from ``low`` to ``high``, both included."""
        return low + int.from_bytes(self.bytes(), "big") % (high - low + 1)


def guard(statement: Statement) -> None:
    """Refuse to prove, with public randomness, a statement that could be somebody's."""
    if statement.context.hub != HUB:
        raise InternalError("the vectors' seed is for statements of the vectors' hub only")


def signing_key(label: str) -> Ed25519PrivateKey:
    """An Ed25519 key that everybody knows."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(Stream(f"ed25519/{label}").bytes()[:32])
