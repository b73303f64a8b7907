"""Credit entries: only a possible state of a credit can be signed or read, and only for the statement that asked."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.prover.test_documents import SNAPSHOT
from zkmargin.circuits import canonical
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.errors import (
    MalformedInput,
    SignatureRejected,
    StaleStatement,
    StatementMismatch,
    ZkMarginError,
)
from zkmargin.circuits.units import format_quanta
from zkmargin.prover.documents import make_statement
from zkmargin.service.keys.signing import sign_credit_entry
from zkmargin.service.keys.signing_keys import generate_key
from zkmargin.verifier.facts.attestation import Attestation
from zkmargin.verifier.facts.credit_entry import (
    FIXED,
    TOKEN_TYPE,
    CreditEntry,
    check_credit,
    check_follows,
    verify_credit_entry,
)

KEY = generate_key()
NOW = SNAPSHOT.time + 10
FACT = Attestation("hub-1", "acct-1", 7, bytes(range(48)), 256, SNAPSHOT.registry_digest, SNAPSHOT.time)
STATEMENT = make_statement(SNAPSHOT, FACT, venue="venue-a", amount="50000.50", expiry=SNAPSHOT.time + 600)
ENTRY = CreditEntry(
    hub="hub-1", credit="0123456789abcdef", account="acct-1", venue="venue-a", caip2="eip155:1", amount="50000.5",
    currency=SNAPSHOT.currency, statement=STATEMENT.digest, epoch=7, snapshot=SNAPSHOT.digest, state="live", used="0",
    released="0", sequence=0, issued=NOW, expires=NOW + 86400, time=NOW,
)  # fmt: skip


def signed(payload: bytes, **headers: str) -> bytes:
    token = jwt.PyJWS().encode(payload, KEY, algorithm="EdDSA", headers={"typ": TOKEN_TYPE} | headers)
    return json.dumps({"schema": "zkmargin/credit/1", "jws": token}).encode()


def test_round_trip_in_every_state() -> None:
    used = replace(ENTRY, used="50000.49", released="0.01", sequence=1, time=NOW + 1)
    closed = replace(ENTRY, state="closed", released="50000.5", sequence=2, time=NOW + 2)
    for entry, left in ((ENTRY, Fraction("50000.5")), (used, 0), (closed, 0)):
        assert verify_credit_entry(sign_credit_entry(entry, KEY), KEY.public_key()) == entry
        assert entry.open == left


@given(st.integers(1, 10**30), st.data())
def test_every_state_between_issue_and_close_is_possible(amount: int, data: st.DataObject) -> None:
    used = data.draw(st.integers(0, amount))
    released = data.draw(st.integers(0, amount - used))
    texts = [format_quanta(x, 6) for x in (amount, used, released)]
    state = "closed" if released == amount else "live"
    entry = replace(ENTRY, amount=texts[0], used=texts[1], released=texts[2], state=state, sequence=5)
    assert verify_credit_entry(sign_credit_entry(entry, KEY), KEY.public_key()) == entry
    assert entry.open * 10**6 == amount - used - released
    with pytest.raises(MalformedInput):
        replace(entry, state="live" if state == "closed" else "closed").payload()
    with pytest.raises(MalformedInput):
        replace(entry, used=format_quanta(amount - released + 1, 6)).payload()


IMPOSSIBLE: list[tuple[dict[str, object], str]] = [
    ({"amount": "0"}, "amount"),
    ({"amount": "-1"}, "amount"),
    ({"amount": "50000.50"}, "amount"),
    ({"amount": "5e4"}, "amount"),
    ({"amount": 50000}, "amount"),
    ({"used": "-0.5", "sequence": 1}, "used"),
    ({"used": "0.0", "sequence": 1}, "used"),
    ({"used": "50000.51", "sequence": 1}, "used"),
    ({"used": "50000.5", "released": "0.01", "sequence": 1}, "used"),
    ({"released": "-1", "sequence": 1}, "released"),
    ({"used": "1"}, "sequence"),
    ({"released": "1"}, "sequence"),
    ({"sequence": -1}, "sequence"),
    ({"sequence": "0"}, "sequence"),
    ({"state": "closed", "sequence": 1}, "state"),
    ({"state": "closed", "used": "1", "released": "49999.5", "sequence": 1}, "state"),
    ({"state": "live", "released": "50000.5", "sequence": 1}, "state"),
    ({"state": "frozen"}, "state"),
    ({"expires": NOW}, "expires"),
    ({"time": NOW - 1}, "time"),
    ({"issued": -1}, "issued"),
    ({"caip2": "eip155"}, "caip2"),
    ({"caip2": "eip155:1:2"}, "caip2"),
    ({"caip2": "EIP155:1"}, "caip2"),
    ({"venue": ""}, "venue"),
    ({"credit": "a b"}, "credit"),
    ({"account": "x" * 65}, "account"),
    ({"statement": bytes(31)}, "statement"),
    ({"snapshot": bytes(33)}, "snapshot"),
    ({"epoch": -1}, "epoch"),
    ({"currency": "$"}, "currency"),
    ({"hub": "\n"}, "hub"),
]


@pytest.mark.parametrize(("change", "field"), IMPOSSIBLE)
def test_a_state_that_no_credit_has_is_neither_signed_nor_read(change: dict[str, object], field: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        sign_credit_entry(replace(ENTRY, **change), KEY)  # type: ignore[arg-type]
    assert caught.value.field == f"credit.payload.{field}"
    wire = {k: v.hex() if isinstance(v, bytes) else v for k, v in change.items()}
    tree = {**json.loads(ENTRY.payload()), **wire}
    document = signed(json.dumps(tree, sort_keys=True, separators=(",", ":")).encode())
    with pytest.raises(MalformedInput) as caught:
        verify_credit_entry(document, KEY.public_key())
    assert caught.value.field == f"credit.payload.{field}"


def test_documents_of_another_form_are_malformed() -> None:
    good = ENTRY.payload()
    tree = json.loads(good)
    documents = [
        signed(good + b" "), signed(json.dumps(tree, indent=1).encode()), signed(b"{}"), signed(b"\xff"),
        signed(canonical.canonical_bytes({**tree, "extra": "1"})),
        signed(canonical.canonical_bytes({k: v for k, v in tree.items() if k != "used"})),
        signed(good, typ="zkmargin-attestation+jws"), signed(good, kid="x"),
        sign_credit_entry(ENTRY, KEY).replace(b"credit/1", b"credit/2"), b"", b"{}",
    ]  # fmt: skip
    for document in documents:
        with pytest.raises(MalformedInput):
            verify_credit_entry(document, KEY.public_key())


def test_another_key_or_a_changed_payload_is_rejected() -> None:
    document = sign_credit_entry(ENTRY, KEY)
    with pytest.raises(SignatureRejected):
        verify_credit_entry(document, generate_key().public_key())
    other = json.loads(sign_credit_entry(replace(ENTRY, amount="60000"), KEY))["jws"].split(".")
    mine = json.loads(document)["jws"].split(".")
    spliced = json.dumps({"schema": "zkmargin/credit/1", "jws": ".".join([mine[0], other[1], mine[2]])}).encode()
    with pytest.raises(SignatureRejected):
        verify_credit_entry(spliced, KEY.public_key())


@given(st.binary(max_size=200))
def test_hostile_bytes_get_typed_errors(data: bytes) -> None:
    with pytest.raises(ZkMarginError):
        verify_credit_entry(data, KEY.public_key())
    with pytest.raises(ZkMarginError):
        verify_credit_entry(signed(data), KEY.public_key())


def check(entry: CreditEntry, **options: object) -> None:
    check_credit(entry, STATEMENT, FACT, SNAPSHOT, **options)  # type: ignore[arg-type]


def test_the_credit_that_was_asked_for_is_accepted() -> None:
    check(ENTRY)
    check(ENTRY, caip2="eip155:1", now=NOW)
    check(replace(ENTRY, used="1", sequence=1), now=NOW + 86400)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"hub": "hub-2"}, "hub"),
        ({"account": "acct-2"}, "account"),
        ({"venue": "venue-b"}, "venue"),
        ({"caip2": "eip155:10"}, "caip2"),
        ({"amount": "50000.51"}, "amount"),
        ({"currency": "EUR"}, "currency"),
        ({"statement": bytes(32)}, "statement"),
        ({"epoch": 8}, "epoch"),
        ({"snapshot": bytes(32)}, "snapshot"),
    ],
)
def test_a_credit_for_something_else_is_refused(change: dict[str, object], field: str) -> None:
    with pytest.raises(StatementMismatch) as caught:
        check(replace(ENTRY, **change), caip2="eip155:1")  # type: ignore[arg-type]
    assert caught.value.field == f"credit.{field}"


def test_the_account_must_be_attested() -> None:
    with pytest.raises(StatementMismatch):
        check_credit(ENTRY, STATEMENT, replace(FACT, epoch=8), SNAPSHOT)
    with pytest.raises(StaleStatement):
        check(ENTRY, now=FACT.time - 3600)


def test_a_credit_issued_outside_the_statements_time_is_refused() -> None:
    late = STATEMENT.context.expiry + 1
    for issued in (late, SNAPSHOT.time - 3600):
        with pytest.raises(StaleStatement):
            check(replace(ENTRY, issued=issued, time=late))


def test_a_credit_that_may_not_be_drawn_on_is_refused_now() -> None:
    closed = replace(ENTRY, state="closed", released=ENTRY.amount, sequence=1)
    cases = [
        (closed, NOW, "credit.state"),
        (ENTRY, ENTRY.expires + 1, "credit.expires"),
        (replace(ENTRY, time=NOW + 31), NOW, "credit.time"),
    ]
    for entry, now, field in cases:
        check(entry)
        with pytest.raises(StaleStatement) as caught:
            check(entry, now=now)
        assert caught.value.field == field


def test_entries_of_one_credit_follow_each_other() -> None:
    used = replace(ENTRY, used="100", sequence=1, time=NOW + 1)
    back = replace(ENTRY, used="0", released="100", sequence=2, time=NOW + 1)
    for old, new in ((ENTRY, ENTRY), (ENTRY, used), (used, back), (ENTRY, back)):
        check_follows(old, new)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"credit": "other"}, "credit"),
        ({"amount": "50000"}, "amount"),
        ({"statement": bytes(32)}, "statement"),
        ({"issued": NOW - 1}, "issued"),
        ({"sequence": 1}, "sequence"),
        ({"sequence": 2, "used": "2"}, "sequence"),
        ({"time": NOW}, "time"),
        ({"released": "9.99"}, "released"),
    ],
)
def test_an_entry_that_does_not_follow_is_refused(change: dict[str, object], field: str) -> None:
    held = replace(ENTRY, used="1", released="10", sequence=2, time=NOW + 5)
    new = replace(held, **({"sequence": 3} | change))  # type: ignore[arg-type]
    with pytest.raises(StatementMismatch) as caught:
        check_follows(held, new)
    assert caught.value.field == f"credit.{field}"


def test_one_state_may_be_signed_again_at_another_time_and_no_other_state() -> None:
    """The hub signs what it shows with its newest key; several hosts of it need not agree on the second."""
    held = replace(ENTRY, used="1", sequence=1, time=NOW + 60)
    for time in (NOW, NOW + 59, NOW + 60, NOW + 86400):
        check_follows(held, replace(held, time=time))
    for change in ({"used": "2"}, {"released": "1"}, {"expires": NOW + 86401}):
        with pytest.raises(StatementMismatch, match="two entries of one sequence"):
            check_follows(held, replace(held, time=NOW + 90, **change))  # type: ignore[arg-type]
    with pytest.raises(StatementMismatch) as earlier:
        check_follows(held, replace(held, sequence=2, time=NOW + 59))
    assert earlier.value.field == "credit.time"


#: Another value of each member that stays the same over a credit's life.
OTHER = {
    "hub": "hub-2", "credit": "other", "account": "acct-2", "venue": "venue-b", "caip2": "eip155:10", "amount": "60000",
    "currency": "EUR", "statement": bytes(32), "epoch": 8, "snapshot": bytes(32), "issued": NOW - 1,
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER)
def test_what_is_fixed_at_issue_never_changes(name: str) -> None:
    assert set(FIXED) == set(OTHER)
    later = replace(ENTRY, sequence=1, used="1")
    check_follows(ENTRY, later)
    with pytest.raises(StatementMismatch) as caught:
        check_follows(ENTRY, replace(later, **{name: OTHER[name]}))  # type: ignore[arg-type]
    assert caught.value.field == f"credit.{name}"


def test_clocks_may_differ_by_the_skew_and_no_more() -> None:
    check(replace(ENTRY, time=NOW + 30), now=NOW)
    with pytest.raises(StaleStatement):
        check(replace(ENTRY, time=NOW + 31), now=NOW)
    early = replace(FACT, time=NOW + 31)
    with pytest.raises(StaleStatement) as caught:
        check_credit(ENTRY, STATEMENT, early, SNAPSHOT, now=NOW)
    assert caught.value.field == "attestation.time"


def test_a_count_is_a_safe_integer() -> None:
    replace(ENTRY, epoch=2**53 - 1).payload()
    with pytest.raises(MalformedInput) as caught:
        replace(ENTRY, epoch=2**53).payload()
    assert caught.value.field == "credit.payload.epoch"


def test_statement_entry_and_snapshot_are_of_one_snapshot() -> None:
    tree = json.loads(SNAPSHOT.to_bytes())
    later = snapshot_from_bytes(json.dumps(tree | {"time": SNAPSHOT.time + 1}).encode())
    for entry, snapshot in ((ENTRY, later), (replace(ENTRY, snapshot=later.digest), later)):
        with pytest.raises(StatementMismatch) as caught:
            check_credit(entry, STATEMENT, FACT, snapshot)
        assert caught.value.field == "credit.snapshot"
