"""The oracle's signature: exactly this snapshot, this time, this form; and the tokens that carry it."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.support.toy import NOW, sample_snapshot
from zkmargin.circuits.errors import MalformedInput, SignatureRejected, StaleStatement, StatementMismatch
from zkmargin.verifier.facts.jws import open_token
from zkmargin.verifier.facts.snapshot_signature import (
    SCHEMA,
    TOKEN_TYPE,
    SnapshotSignature,
    verify_snapshot_signature,
)

KEY = Ed25519PrivateKey.from_private_bytes(b"an oracle's key, for tests only.")
SNAPSHOT = sample_snapshot(1)
FACT = SnapshotSignature("oracle-1", SNAPSHOT.digest, SNAPSHOT.time, SNAPSHOT.time + 300)


def token(payload: bytes, key: Ed25519PrivateKey = KEY, **headers: Any) -> str:
    return jwt.PyJWS().encode(payload, key, algorithm="EdDSA", headers={"typ": TOKEN_TYPE} | headers)


def document(jws: str, schema: str = "zkmargin/signed-snapshot/1", **more: object) -> bytes:
    return json.dumps({"schema": schema, "jws": jws} | more).encode()


def check(data: bytes, *, now: int | None = None) -> SnapshotSignature:
    return verify_snapshot_signature(data, SNAPSHOT, KEY.public_key(), now=now)


def payload(**changes: object) -> bytes:
    """The canonical payload with other members; None leaves one out."""
    tree = json.loads(FACT.payload()) | changes
    members = {k: v for k, v in sorted(tree.items()) if v is not None}
    return json.dumps(members, separators=(",", ":")).encode()


def test_control_the_signed_fact_comes_back() -> None:
    assert payload() == FACT.payload()
    assert check(document(token(FACT.payload())), now=NOW) == FACT


def test_the_payload_is_the_documented_one() -> None:
    assert json.loads(FACT.payload()) == {
        "schema": "zkmargin/signed-snapshot/1",
        "oracle": "oracle-1",
        "snapshot": SNAPSHOT.digest.hex(),
        "time": NOW,
        "valid_until": NOW + 300,
    }
    assert (SCHEMA, TOKEN_TYPE) == ("zkmargin/signed-snapshot/1", "zkmargin-snapshot+jws")


@pytest.mark.parametrize(
    ("now", "field"),
    [
        (NOW - 31, "not in force yet"),
        (NOW - 30, None),
        (NOW, None),
        (NOW + 300, None),
        (NOW + 301, "no longer in force"),
    ],
)
def test_a_snapshot_is_in_force_from_its_time_to_its_end(now: int, field: str | None) -> None:
    data = document(token(FACT.payload()))
    assert FACT.in_force(now) is (field is None)
    if field is None:
        assert check(data, now=now) == FACT
        return
    with pytest.raises(StaleStatement) as caught:
        check(data, now=now)
    assert caught.value.message == f"the snapshot is {field}"
    assert caught.value.field == "signed-snapshot.payload.valid_until"


def test_a_signature_that_ended_before_it_began_is_never_in_force() -> None:
    """At its own second it is past its end, and the message says so."""
    backwards = replace(FACT, valid_until=FACT.time - 1)
    with pytest.raises(StaleStatement, match="no longer in force"):
        check(document(token(backwards.payload())), now=FACT.time)


def test_without_a_clock_times_are_the_callers() -> None:
    assert check(document(token(FACT.payload()))) == FACT


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"snapshot": "0" * 64}, "signed-snapshot.payload.snapshot"),
        ({"time": NOW + 1}, "signed-snapshot.payload.time"),
    ],
)
def test_a_signature_of_something_else_is_refused(changes: dict[str, object], field: str) -> None:
    with pytest.raises(StatementMismatch) as caught:
        check(document(token(payload(**changes))))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"schema": "zkmargin/attestation/1"}, "signed-snapshot.payload.schema"),
        ({"schema": None}, "signed-snapshot.payload.schema"),
        ({"oracle": "an oracle"}, "signed-snapshot.payload.oracle"),
        ({"snapshot": "0" * 63}, "signed-snapshot.payload.snapshot"),
        ({"time": -1}, "signed-snapshot.payload.time"),
        ({"time": str(NOW)}, "signed-snapshot.payload.time"),
        ({"valid_until": None}, "signed-snapshot.payload.valid_until"),
        ({"more": 1}, "signed-snapshot.payload.more"),
    ],
)
def test_a_payload_of_another_form_is_refused_by_name(changes: dict[str, object], field: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        check(document(token(payload(**changes))))
    assert caught.value.field == field


def test_a_payload_that_is_not_canonical_is_refused() -> None:
    with pytest.raises(MalformedInput) as caught:
        check(document(token(FACT.payload() + b" ")))
    assert caught.value.field == "signed-snapshot.payload"
    assert "canonical" in caught.value.message


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (document("a.b.c", schema="zkmargin/attestation/1"), "signed-snapshot.schema"),
        (document("a.b.c", more=1), "signed-snapshot.more"),
        (document("a.b"), "signed-snapshot.jws"),
        (document("a.b.c.d"), "signed-snapshot.jws"),
        (document("a.b.c\n"), "signed-snapshot.jws"),
        (document("a..c"), "signed-snapshot.jws"),
        (document("a.b." + "c" * 8189), "signed-snapshot.jws"),
        (b"[]", "signed-snapshot"),
        (b"", "signed-snapshot"),
    ],
    ids=range(9),
)
def test_a_document_of_another_form_is_refused_by_name(data: bytes, field: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        check(data)
    assert caught.value.field == field
    assert not caught.value.message.startswith("not a signed token"), "refused by form, before any key is used"


def test_the_longest_token_is_read() -> None:
    """8192 characters are of the form, and then no token of ours."""
    with pytest.raises(MalformedInput) as caught:
        check(document("a.b." + "c" * 8187 + "A"))
    assert caught.value.message.startswith("not a signed token")


# The token layer, which attestations, feeds and snapshots share.


def test_another_key_is_a_rejected_signature() -> None:
    other = Ed25519PrivateKey.generate()
    with pytest.raises(SignatureRejected) as caught:
        check(document(token(FACT.payload(), other)))
    assert caught.value.field == "signed-snapshot.jws"


@pytest.mark.parametrize(
    "headers",
    [{"typ": "JWT"}, {"kid": "1"}, {"typ": None}, {"crit": ["b64"], "b64": False}],
    ids=["another type", "one member more", "no type", "critical extension"],
)
def test_another_header_is_refused_however_well_signed(headers: dict[str, Any]) -> None:
    with pytest.raises(MalformedInput) as caught:
        check(document(token(FACT.payload(), **headers)))
    assert caught.value.field == "signed-snapshot.jws"


@pytest.mark.parametrize("algorithm", ["none", "HS256", "ES256"])
def test_a_token_does_not_choose_its_algorithm(algorithm: str) -> None:
    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    header = part(json.dumps({"alg": algorithm, "typ": TOKEN_TYPE}).encode())
    made = f"{header}.{part(FACT.payload())}.{part(bytes(64))}"
    with pytest.raises(MalformedInput) as caught:
        open_token(made, KEY.public_key(), TOKEN_TYPE, field="here")
    assert caught.value.field == "here"
    assert caught.value.message.startswith("not a signed token of this kind")


@pytest.mark.parametrize(
    "made", ["", "a", "a.b", "a.b.c", "é.é.é", "....", "e30.e30.AA", "bnVsbA.e30.AA", "\ud800.e30.AA"]
)
def test_what_is_no_token_is_malformed(made: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        open_token(made, KEY.public_key(), TOKEN_TYPE, field="here")
    assert caught.value.field == "here"


def test_the_payload_comes_back_byte_for_byte() -> None:
    raw = bytes(range(256))
    assert open_token(token(raw), KEY.public_key(), TOKEN_TYPE, field="here") == raw
