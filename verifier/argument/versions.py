"""The versions of the argument that this verifier reads, by byte 0 of a proof.

A new version is a folder beside ``v1`` and a line in :data:`VERSIONS`. What all share stays outside the folders: the
instance and its claim, the transcript, field, curve, polynomial commitment and pairing equation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from zkmargin.circuits.errors import MalformedProof
from zkmargin.circuits.layout import Layout
from zkmargin.verifier.argument.instance import Instance
from zkmargin.verifier.argument.v1 import encoding, equation
from zkmargin.verifier.kzg import Equation
from zkmargin.verifier.srs import VerifierKey

HEADER_BYTES = 3


@dataclass(frozen=True)
class Version:
    """One version, as verification uses it.

    ``check_header`` refuses a proof by its header and length, before any curve work. ``read`` decodes a proof for the
    statement's layout; given the instance, the answer is the pairing equation that must hold.
    """

    check_header: Callable[[bytes], Layout]
    read: Callable[[bytes, Layout], Callable[[Instance, VerifierKey], Equation]]


VERSIONS: Mapping[int, Version] = {encoding.VERSION: Version(encoding.decode_header, equation.read)}


def version_of(proof: bytes) -> Version:
    """The version that a proof is written in, its header checked. Raises ``MalformedProof``."""
    if len(proof) < HEADER_BYTES:
        raise MalformedProof(f"{len(proof)} bytes, shorter than the header", field="proof")
    version = VERSIONS.get(proof[0])
    if version is None:
        known = ", ".join(map(str, VERSIONS))
        raise MalformedProof(f"wire version {proof[0]}, this verifier reads {known}", field="proof.version")
    version.check_header(proof)
    return version
