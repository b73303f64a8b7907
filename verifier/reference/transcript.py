"""SPEC.md, "Transcript": labelled messages into one running SHA-256, challenges by RFC 9380."""

from __future__ import annotations

import hashlib

from zkmargin.verifier.reference.bls import expand_message_xmd
from zkmargin.verifier.reference.curve import Element, F, R

DST = b"ZKMARGIN-V01-CS01-with-expander-SHA256-128"


class Transcript:
    """The state: all bytes so far, inside a SHA-256."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def absorb(self, label: str, data: bytes) -> None:
        """A message: BE(len(label), 1) || label || BE(len(data), 8) || data."""
        name = label.encode("ascii")
        self._hash.update(len(name).to_bytes(1, "big") + name + len(data).to_bytes(8, "big") + data)

    def digest(self) -> bytes:
        """SHA-256 of all bytes so far; the state continues."""
        return self._hash.digest()

    def challenge(self, label: str) -> Element:
        """The empty message under ``label``, then 48 expanded bytes of the hash so far, modulo r."""
        self.absorb(label, b"")
        # py_ecc's annotation asks for a hash object where it calls a constructor.
        uniform = expand_message_xmd(self.digest(), DST, 48, hashlib.sha256)  # type: ignore[arg-type]
        return F(int.from_bytes(uniform, "big") % R)
