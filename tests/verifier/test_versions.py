"""The registry of wire versions: one line lets a second version in, and an unknown one is refused by its first byte."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.toy import NOW, sample_account, sample_proof
from zkmargin.circuits.errors import MalformedProof, ProofRejected
from zkmargin.circuits.layout import Layout
from zkmargin.verifier.argument import versions
from zkmargin.verifier.argument.instance import Instance
from zkmargin.verifier.argument.v1 import encoding, equation
from zkmargin.verifier.argument.versions import VERSIONS, Version, version_of
from zkmargin.verifier.batch import verify_batch
from zkmargin.verifier.kzg import Equation
from zkmargin.verifier.srs import VerifierKey
from zkmargin.verifier.verify import Item, verify


def as_first(proof: bytes) -> bytes:
    """A proof of the second version, which only counts its bytes from the other end, as one of the first."""
    return bytes([1]) + proof[:0:-1]


def as_second(proof: bytes) -> bytes:
    """And back."""
    return bytes([2]) + proof[:0:-1]


def check_header(proof: bytes) -> Layout:
    return encoding.decode_header(as_first(proof))


def read(proof: bytes, layout: Layout) -> Callable[[Instance, VerifierKey], Equation]:
    return equation.read(as_first(proof), layout)


def test_there_is_one_version() -> None:
    assert list(VERSIONS) == [1]
    assert version_of(sample_proof(1)[1]) is VERSIONS[1]


@pytest.mark.parametrize("length", range(3))
def test_less_than_a_header_is_no_version(length: int) -> None:
    with pytest.raises(MalformedProof) as caught:
        version_of(bytes([2, 8, 1])[:length])
    assert (caught.value.field, caught.value.message) == ("proof", f"{length} bytes, shorter than the header")


def test_a_header_of_three_bytes_is_read_by_its_version() -> None:
    with pytest.raises(MalformedProof) as caught:
        version_of(bytes([1, 8, 1]))
    assert (caught.value.field, caught.value.message) == ("proof", "3 bytes, expected 451")


@pytest.mark.parametrize("number", [0, 2, 255])
def test_an_unknown_version_is_refused_by_name(number: int) -> None:
    with pytest.raises(MalformedProof) as caught:
        version_of(bytes([number]) + sample_proof(1)[1][1:])
    assert caught.value.field == "proof.version"
    assert caught.value.message == f"wire version {number}, this verifier reads 1"


def test_a_second_version_is_one_line_of_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    account, (statement, first) = sample_account(2), sample_proof(2)
    second = as_second(first)
    with pytest.raises(MalformedProof):
        verify(statement, account.snapshot, second, now=NOW)
    monkeypatch.setattr(versions, "VERSIONS", {**VERSIONS, 2: Version(check_header, read)})
    for proof in (first, second):
        verify(statement, account.snapshot, proof, now=NOW)
    assert verify_batch([Item(statement, account.snapshot, p, NOW) for p in (first, second)]) == [None, None]
    with pytest.raises((MalformedProof, ProofRejected)):
        verify(statement, account.snapshot, bytes([2]) + first[1:], now=NOW)
    with pytest.raises(MalformedProof) as caught:
        version_of(bytes([3]) + first[1:])
    assert caught.value.message == "wire version 3, this verifier reads 1, 2"
