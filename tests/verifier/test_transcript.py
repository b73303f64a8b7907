"""The transcript: RFC 9380 to the letter, injective framing, challenges that depend on all before them."""

from __future__ import annotations

import hashlib
import json
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from py_arkworks_bls12381 import G1Point

from tests.support.places import SHARED
from tests.support.toy import bind_all, sample_account, sample_proof
from zkmargin.circuits.system import FIELD_ORDER
from zkmargin.verifier.argument import instance as instances
from zkmargin.verifier.argument.v1.challenges import replay
from zkmargin.verifier.argument.v1.encoding import decode
from zkmargin.verifier.field import ONE, encode_scalar, integer, scalar
from zkmargin.verifier.srs import ethereum
from zkmargin.verifier.transcript import DST, HASH_TO_FIELD_BYTES, Transcript, expand_message_xmd, hash_to_field

VECTORS = SHARED / "vectors" / "rfc9380"
FILES = sorted(VECTORS.glob("expand_message_xmd_SHA256_*.json"))
needs_vectors = pytest.mark.skipif(not FILES, reason=f"no RFC 9380 vectors in {VECTORS}")


def rfc_cases() -> list[Any]:
    """(DST, test) of every vector file."""
    out = []
    for path in FILES:
        document = json.loads(path.read_text())
        for i, test in enumerate(document["tests"]):
            out.append(pytest.param(document["DST"].encode(), test, id=f"{path.stem}-{i}"))
    return out


def short_dst(dst: bytes) -> bytes:
    """RFC 9380 section 5.3.3: a DST of more than 255 bytes is hashed first, by the caller of our function."""
    return dst if len(dst) <= 255 else hashlib.sha256(b"H2C-OVERSIZE-DST-" + dst).digest()


@needs_vectors
@pytest.mark.parametrize(("dst", "test"), rfc_cases())
def test_rfc9380_vector(dst: bytes, test: dict[str, str]) -> None:
    expanded = expand_message_xmd(test["msg"].encode(), short_dst(dst), int(test["len_in_bytes"], 16))
    assert expanded.hex() == test["uniform_bytes"]


@needs_vectors
def test_rfc9380_vectors_are_all_there() -> None:
    assert len(rfc_cases()) == 20


@pytest.mark.parametrize(
    ("dst", "length"), [(b"", 32), (b"x" * 256, 32), (b"x", 0), (b"x", 255 * 32 + 1), (b"x", 65536)]
)
def test_what_rfc9380_does_not_define_is_an_error(dst: bytes, length: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        expand_message_xmd(b"message", dst, length)


def test_the_longest_output_is_the_longest_that_rfc9380_allows() -> None:
    assert len(expand_message_xmd(b"message", DST, 255 * 32)) == 255 * 32
    assert len(expand_message_xmd(b"message", b"x" * 255, 1)) == len(expand_message_xmd(b"", b"x", 1)) == 1


@given(st.binary(max_size=100))
def test_hash_to_field_reduces_48_bytes(message: bytes) -> None:
    assert HASH_TO_FIELD_BYTES == 48
    wide = int.from_bytes(expand_message_xmd(message, DST, 48), "big")
    assert integer(hash_to_field(message)) == wide % FIELD_ORDER


MESSAGES = st.lists(st.tuples(st.binary(min_size=1, max_size=5), st.binary(max_size=5)), max_size=5)


def challenge_after(messages: list[tuple[bytes, bytes]], label: bytes = b"end") -> int:
    """The challenge that follows these messages."""
    t = Transcript()
    for name, data in messages:
        t.absorb(name, data)
    return integer(t.challenge(label))


@given(MESSAGES, MESSAGES)
def test_different_sequences_of_messages_give_different_challenges(
    a: list[tuple[bytes, bytes]], b: list[tuple[bytes, bytes]]
) -> None:
    assert (challenge_after(a) == challenge_after(b)) == (a == b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([(b"ab", b"c")], [(b"a", b"bc")]),
        ([(b"a", b"bc")], [(b"a", b"b"), (b"c", b"")]),
        ([(b"a", b"")], []),
        ([(b"a", b"\x00")], [(b"a", b"")]),
        ([(b"a", b"b"), (b"c", b"d")], [(b"c", b"d"), (b"a", b"b")]),
        ([(b"a", b"x"), (b"a", b"y")], [(b"a", b"xy")]),
        ([(b"a", b"\x01b" + bytes(8))], [(b"a", b""), (b"b", b"")]),
    ],
)
def test_framing_is_injective_where_concatenation_is_not(
    a: list[tuple[bytes, bytes]], b: list[tuple[bytes, bytes]]
) -> None:
    assert challenge_after(a) != challenge_after(b)


def test_framing_is_the_documented_one() -> None:
    """len(label), label, eight bytes of length, data; a challenge absorbs the empty message."""
    framed = b"\x05label" + (3).to_bytes(8, "big") + b"abc" + b"\x03end" + bytes(8)
    assert challenge_after([(b"label", b"abc")]) == integer(hash_to_field(hashlib.sha256(framed).digest()))


def test_labels_that_do_not_fit_one_byte_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"range\(0, 256\)"):
        Transcript().absorb(b"x" * 256, b"")


def test_challenges_differ_by_name_and_by_repetition() -> None:
    assert challenge_after([], b"gamma") != challenge_after([], b"beta")
    t = Transcript()
    assert len({integer(t.challenge(b"gamma")) for _ in range(5)}) == 5


def test_points_and_scalars_are_absorbed_in_canonical_form_one_by_one() -> None:
    point, value = G1Point() * scalar(7), scalar(-1)
    a, b = Transcript(), Transcript()
    a.absorb_points(b"p", [point, -point])
    a.absorb_scalars(b"s", [value, ONE])
    for label, data in [
        (b"p", bytes(point.to_compressed_bytes())),
        (b"p", bytes((-point).to_compressed_bytes())),
        (b"s", encode_scalar(value)),
        (b"s", encode_scalar(ONE)),
    ]:
        b.absorb(label, data)
    assert integer(a.challenge(b"end")) == integer(b.challenge(b"end"))


#: Every message of the argument in order, each before the challenge that first depends on it.
ORDER = ["protocol", "srs", "parameters", "statement", "system", "constants", "commitment"]
ROUNDS = {
    "gamma": ["columns", "multiplicities"],
    "beta": [],
    "eta": [],
    "alpha": ["table-helper", "helpers", "accumulator"],
    "zeta": ["quotient"],
    "nu": ["evaluations", "accumulator-next"],
    "mu": ["opening", "opening-next"],
}
NAMES = list(ROUNDS)
LABELS = [*ORDER, *(message for messages in ROUNDS.values() for message in messages)]


class Recorder(Transcript):
    """Records the labels, and bends the first message under one of them."""

    bent: str | None = None
    labels: ClassVar[list[str]] = []

    def absorb(self, label: bytes, data: bytes) -> None:
        name = label.decode()
        if name == Recorder.bent and name not in Recorder.labels:
            data = bytes([data[0] ^ 1]) + data[1:]
        Recorder.labels.append(name)
        super().absorb(label, data)


def replayed(monkeypatch: pytest.MonkeyPatch, bent: str | None) -> tuple[dict[str, int], list[str]]:
    """All challenges of the sample proof with one message bent on its way in, and the labels."""
    account, (statement, proof) = sample_account(2), sample_proof(2)
    instance = bind_all(account, statement).instance
    Recorder.bent, Recorder.labels = bent, []
    with monkeypatch.context() as patch:
        patch.setattr(instances, "Transcript", Recorder)
        found = replay(instance, decode(proof), ethereum().key.digest)
    return {name: integer(getattr(found, name)) for name in NAMES}, Recorder.labels


def test_everything_is_absorbed_in_the_documented_order(monkeypatch: pytest.MonkeyPatch) -> None:
    _, labels = replayed(monkeypatch, None)
    expected = list(ORDER)
    for challenge, messages in ROUNDS.items():
        for message in messages:
            expected += [message] * (2 if message in ("columns", "helpers", "evaluations") else 1)
        expected.append(challenge)
    assert labels == expected


@pytest.mark.parametrize("label", LABELS)
def test_every_later_challenge_depends_on_every_message(label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no earlier one does: prover and verifier could not take turns otherwise."""
    plain, _ = replayed(monkeypatch, None)
    bent, _ = replayed(monkeypatch, label)
    first = next((i for i, name in enumerate(NAMES) if label in ROUNDS[name]), 0)
    assert [plain[name] == bent[name] for name in NAMES] == [i < first for i in range(len(NAMES))]


def test_all_challenges_of_a_proof_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _ = replayed(monkeypatch, None)
    assert len(set(plain.values())) == len(NAMES)
