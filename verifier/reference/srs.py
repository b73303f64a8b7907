"""SPEC.md, "Structured reference string": the digest that the transcript absorbs, and [tau]_2."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from zkmargin.circuits.errors import CorruptData
from zkmargin.verifier.reference import bls
from zkmargin.verifier.reference.curve import P, R

#: SHA-256 of the files of powers, from the table of the section.
DIGESTS = {
    "powers_g1.bin": "2ab2ea576293ede14f62cc315d49d2f98a54df399546a0e52ca546c2d2f9601f",
    "powers_g2.bin": "9c146a46ab465624a879f54d5070db1ef01660f5a1bdaac60f4d93c418cff711",
}
#: x_0 || x_1 || y_0 || y_1, 48 bytes each.
G2_FILE_BYTES = 192


@dataclass(frozen=True)
class Key:
    """What a verifier needs of the SRS: its digest, 32 bytes, and [tau]_2. [1]_1 and [1]_2 are the generators."""

    digest: bytes
    tau_g2: Any


def _read(name: str) -> bytes:
    try:
        data = resources.files("zkmargin.verifier.data").joinpath(name).read_bytes()
    except OSError:
        raise CorruptData("missing or unreadable", field=name) from None
    if hashlib.sha256(data).hexdigest() != DIGESTS[name]:
        raise CorruptData("not the pinned reference string", field=name)
    return data


def _g2(data: bytes, name: str) -> Any:
    x_0, x_1, y_0, y_1 = (int.from_bytes(data[48 * i : 48 * i + 48], "big") for i in range(4))
    point = (bls.FQ2([x_0, x_1]), bls.FQ2([y_0, y_1]), bls.FQ2.one())
    reduced = max(x_0, x_1, y_0, y_1) < P
    if not reduced or not bls.is_on_curve(point, bls.b2) or not bls.is_inf(bls.multiply(point, R)):
        raise CorruptData("a point outside G2", field=name)
    return point


@cache
def key() -> Key:
    """Read the powers, checked against the pinned digests; raises ``CorruptData``."""
    powers = {name: _read(name) for name in DIGESTS}
    digest = hashlib.sha256(b"".join(hashlib.sha256(powers[name]).digest() for name in DIGESTS)).digest()
    g2 = powers["powers_g2.bin"]
    return Key(digest, _g2(g2[G2_FILE_BYTES : 2 * G2_FILE_BYTES], "powers_g2.bin"))
