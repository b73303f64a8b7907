"""Keys of a hub: a reader follows one chain from the key it pinned, and each key speaks for its own time alone."""

from __future__ import annotations

import json
from dataclasses import replace

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from tests.verifier.facts.test_attestation import FACT
from tests.verifier.facts.test_credit_entry import ENTRY
from zkmargin.circuits import canonical
from zkmargin.circuits.errors import (
    MalformedInput,
    SignatureRejected,
    StaleStatement,
    StatementMismatch,
    ZkMarginError,
)
from zkmargin.circuits.statement import CLOCK_SKEW
from zkmargin.service.keys.signing import (
    raw_public,
    sign_attestation,
    sign_credit_entry,
    sign_hub_key,
    sign_tree_head,
)
from zkmargin.service.keys.signing_keys import generate_key
from zkmargin.verifier.facts.attestation import verify_attestation
from zkmargin.verifier.facts.credit_entry import verify_credit_entry
from zkmargin.verifier.facts.hub_keys import (
    KEY_GRACE,
    MAX_KEYS,
    TOKEN_TYPE,
    HubKey,
    KeyChain,
    public_key,
    verify_hub_key,
)
from zkmargin.verifier.facts.transparency import EMPTY_ROOT, TreeHead, verify_tree_head

DAY = 86400
KEYS = [generate_key() for _ in range(4)]
PINNED = KEYS[0].public_key()


def fact(i: int, **change: object) -> HubKey:
    """Key i: valid for 30 days from day 20 i, so that neighbours overlap by 10 days."""
    previous = raw_public(KEYS[i - 1]) if i else b""
    key = HubKey("hub-1", raw_public(KEYS[i]), 20 * i * DAY, (20 * i + 30) * DAY, previous)
    return replace(key, **change)  # type: ignore[arg-type]


def appoint(i: int, by: Ed25519PrivateKey | None = None, **change: object) -> bytes:
    return sign_hub_key(fact(i, **change), by or KEYS[max(i - 1, 0)])


DOCUMENTS = [appoint(i) for i in range(4)]


def signed(payload: bytes, **headers: str) -> bytes:
    token = jwt.PyJWS().encode(payload, KEYS[0], algorithm="EdDSA", headers={"typ": TOKEN_TYPE} | headers)
    return json.dumps({"schema": "zkmargin/hub-key/1", "jws": token}).encode()


def test_a_chain_is_followed_and_knows_its_windows() -> None:
    for n in range(1, 5):
        chain = KeyChain.follow(DOCUMENTS[:n], PINNED)
        assert chain.keys == tuple(fact(i) for i in range(n))
        assert chain.hub == "hub-1"

    def valid(day: int) -> list[bytes]:
        return [key.public_bytes_raw() for key in chain.keys_at(day * DAY)]

    raw = [raw_public(key) for key in KEYS]
    assert valid(0) == [raw[0]]
    assert valid(20) == [raw[1], raw[0]]
    assert valid(30) == [raw[1], raw[0]]
    assert valid(31) == [raw[1]]
    assert valid(90) == [raw[3]]
    assert valid(91) == []


def test_the_pin_is_the_first_key() -> None:
    with pytest.raises(SignatureRejected):
        KeyChain.follow(DOCUMENTS, generate_key().public_key())
    with pytest.raises(SignatureRejected):
        KeyChain.follow(DOCUMENTS[1:], KEYS[1].public_key())
    stranger = sign_hub_key(fact(1, previous=b""), KEYS[0])  # signed by the pinned key, about another
    with pytest.raises(StatementMismatch) as caught:
        KeyChain.follow([stranger], PINNED)
    assert caught.value.field == "hub-key.0.key"
    with pytest.raises(StatementMismatch):
        KeyChain.follow([sign_hub_key(fact(0, previous=raw_public(KEYS[3])), KEYS[0])], PINNED)


CHEATS: list[tuple[list[bytes], str]] = [
    ([DOCUMENTS[0], appoint(1, previous=raw_public(KEYS[3]))], "hub-key.1.previous"),
    ([DOCUMENTS[0], appoint(1, previous=b"")], "hub-key.1.previous"),
    ([DOCUMENTS[0], appoint(1, hub="hub-2")], "hub-key.1.hub"),
    ([DOCUMENTS[0], appoint(0, previous=raw_public(KEYS[0]))], "hub-key.1.key"),
    ([*DOCUMENTS[:3], sign_hub_key(fact(0, previous=raw_public(KEYS[2]), not_before=50 * DAY, not_after=51 * DAY),
      KEYS[2])], "hub-key.3.key"),
    ([DOCUMENTS[0], appoint(1, not_before=30 * DAY + 1)], "hub-key.1.not_before"),
    ([*DOCUMENTS[:2], appoint(2, not_before=19 * DAY)], "hub-key.2.not_before"),
    ([*DOCUMENTS[:2], appoint(2, by=KEYS[0], previous=raw_public(KEYS[0]))], "hub-key.2.previous"),
    ([*DOCUMENTS[:3], appoint(2, by=KEYS[0], previous=raw_public(KEYS[0]))], "hub-key.3.previous"),
    ([*DOCUMENTS[:3], DOCUMENTS[2]], "hub-key.3.previous"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("documents", "field"), CHEATS,
    ids=["names-another", "names-none", "other-hub", "itself", "loop", "gap-in-time", "back-in-time", "fork",
         "late-fork", "twice"],
)  # fmt: skip
def test_a_broken_chain_is_refused(documents: list[bytes], field: str) -> None:
    with pytest.raises(StatementMismatch) as caught:
        KeyChain.follow(documents, PINNED)
    assert caught.value.field == field


def test_a_missing_key_or_a_strangers_signature_breaks_the_chain() -> None:
    for documents in ([DOCUMENTS[0], *DOCUMENTS[2:]], [DOCUMENTS[0], appoint(1, by=KEYS[3])], DOCUMENTS[::-1]):
        with pytest.raises(SignatureRejected):
            KeyChain.follow(documents, PINNED)


def test_empty_and_endless_lists_are_malformed() -> None:
    for documents in ([], [DOCUMENTS[0]] * (MAX_KEYS + 1)):
        with pytest.raises(MalformedInput):
            KeyChain.follow(documents, PINNED)


def test_a_reader_is_not_led_onto_another_branch() -> None:
    held, longer = KeyChain.follow(DOCUMENTS[:2], PINNED), KeyChain.follow(DOCUMENTS, PINNED)
    longer.check_extends(held)
    held.check_extends(held)
    branch = KeyChain.follow(
        [DOCUMENTS[0], appoint(2, by=KEYS[0], previous=raw_public(KEYS[0]), not_before=DAY)], PINNED
    )
    for other in (branch, KeyChain.follow(DOCUMENTS[:1], PINNED)):
        with pytest.raises(StatementMismatch):
            other.check_extends(held)


def test_documents_of_another_form_are_malformed() -> None:
    good = fact(0).payload()
    tree = json.loads(good)
    changes = [
        {"not_after": 0}, {"not_before": -1}, {"key": "00"}, {"key": tree["key"].upper()}, {"previous": "00"},
        {"previous": None}, {"hub": " "}, {"extra": 1}, {"schema": "zkmargin/hub-key/2"},
    ]  # fmt: skip
    documents = [signed(canonical.canonical_bytes({**tree, **change})) for change in changes]
    documents += [signed(good + b" "), signed(b"{}"), signed(good, typ="JWT"), signed(good, kid="x"), b"", b"{}"]
    for document in documents:
        with pytest.raises(MalformedInput):
            verify_hub_key(document, PINNED)
        with pytest.raises(MalformedInput):
            KeyChain.follow([DOCUMENTS[0], document], PINNED)
    for wrong in (fact(0, not_after=0), fact(0, key=bytes(31)), fact(0, previous=bytes(3))):
        with pytest.raises(MalformedInput):
            sign_hub_key(wrong, KEYS[0])


@given(st.binary(max_size=200))
def test_hostile_bytes_get_typed_errors(data: bytes) -> None:
    with pytest.raises(ZkMarginError):
        KeyChain.follow([data], PINNED)
    with pytest.raises(ZkMarginError):
        KeyChain.follow([DOCUMENTS[0], signed(data)], PINNED)


# Facts under the key of their own time.

CHAIN = KeyChain.follow(DOCUMENTS[:3], PINNED)


def head(day: int, hub: str = "hub-1") -> TreeHead:
    return TreeHead(hub, 0, EMPTY_ROOT, day * DAY)


@pytest.mark.parametrize(("i", "day"), [(0, 0), (0, 30), (1, 20), (1, 50), (2, 70)])
def test_a_fact_is_good_under_the_key_of_its_time(i: int, day: int) -> None:
    document = sign_tree_head(head(day), KEYS[i])
    assert CHAIN.verify(verify_tree_head, document) == head(day)


@pytest.mark.parametrize(("i", "day"), [(0, 31), (1, 19), (1, 51), (2, 71)])
def test_a_key_does_not_speak_outside_its_window(i: int, day: int) -> None:
    with pytest.raises(StaleStatement):
        CHAIN.verify(verify_tree_head, sign_tree_head(head(day), KEYS[i]))


def test_every_kind_of_fact_is_verified_and_only_of_this_hub() -> None:
    chain = KeyChain((fact(0, hub=FACT.hub, not_after=FACT.time),))
    assert chain.verify(verify_attestation, sign_attestation(FACT, KEYS[0])) == FACT
    chain = KeyChain((fact(0, not_before=ENTRY.issued, not_after=ENTRY.time + 1),))
    assert chain.verify(verify_credit_entry, sign_credit_entry(ENTRY, KEYS[0]), time_of=lambda e: e.issued) == ENTRY
    with pytest.raises(StaleStatement):
        chain.verify(verify_credit_entry, sign_credit_entry(ENTRY, KEYS[0]), time_of=lambda e: e.expires)
    with pytest.raises(StatementMismatch):
        CHAIN.verify(verify_tree_head, sign_tree_head(head(1, hub="hub-2"), KEYS[0]))


def test_facts_of_strangers_and_hostile_bytes_are_refused() -> None:
    with pytest.raises(SignatureRejected) as caught:
        CHAIN.verify(verify_tree_head, sign_tree_head(head(1), KEYS[3]))
    assert caught.value.field == "tree-head.jws"
    with pytest.raises(MalformedInput):
        CHAIN.verify(verify_tree_head, sign_attestation(FACT, KEYS[0]))
    with pytest.raises(MalformedInput):
        CHAIN.verify(verify_tree_head, b"")


def long_chain(count: int) -> list[bytes]:
    """So many keys that appoint each other, all for one day."""
    keys = [generate_key() for _ in range(count)]
    documents = []
    for i, key in enumerate(keys):
        previous = b"" if i == 0 else raw_public(keys[i - 1])
        link = HubKey("hub-1", raw_public(key), 0, DAY, previous)
        documents.append(sign_hub_key(link, keys[max(0, i - 1)]))
    return [raw_public(keys[0]), *documents]


def test_a_chain_has_at_most_so_many_keys() -> None:
    pinned, *documents = long_chain(MAX_KEYS + 1)
    assert MAX_KEYS == 256
    assert len(KeyChain.follow(documents[:-1], public_key(pinned)).keys) == MAX_KEYS
    with pytest.raises(MalformedInput) as caught:
        KeyChain.follow(documents, public_key(pinned))
    assert caught.value.field == "hub-keys"


def test_every_refusal_names_its_place() -> None:
    other = KeyChain.follow([appoint(0), appoint(1, not_after=fact(1).not_after - 1)], PINNED)
    with pytest.raises(StatementMismatch) as branch:
        CHAIN.check_extends(other)
    assert branch.value.field == "hub-keys"
    with pytest.raises(StatementMismatch) as named:
        CHAIN.verify(verify_tree_head, sign_tree_head(head(1, "hub-2"), KEYS[0]))
    assert named.value.field == "hub"
    with pytest.raises(StaleStatement) as late:
        CHAIN.verify(verify_tree_head, sign_tree_head(head(100_000), KEYS[0]))
    assert late.value.field == "time"
    with pytest.raises(SignatureRejected) as stranger:
        KeyChain.follow([*DOCUMENTS[:2], appoint(2, by=generate_key())], PINNED)
    assert stranger.value.field == "hub-key.jws"
    with pytest.raises(MalformedInput) as loose:
        verify_hub_key(signed(json.dumps(json.loads(fact(0).payload())).encode()), PINNED)
    assert loose.value.field == "hub-key.payload"
    with pytest.raises(MalformedInput) as empty:
        fact(0, hub="").payload()
    assert empty.value.field == "hub-key.payload.hub"


# What is of the present, by the reader's clock.


def present(now: int, i: int, time: int | None = None) -> TreeHead:
    document = sign_tree_head(TreeHead("hub-1", 0, EMPTY_ROOT, now if time is None else time), KEYS[i])
    return CHAIN.verify_current(verify_tree_head, document, now=now)


def test_a_retired_key_backdates_nothing_into_the_present() -> None:
    """Key 0 ended on day 30. Whatever time it writes, and however long ago that was, nothing is of the present."""
    for time in (0, 20 * DAY, 30 * DAY):
        with pytest.raises(StaleStatement) as refused:
            present(60 * DAY, 0, time)
        assert refused.value.field == "time"
        # Control: by the fact's own time alone it is good.
        document = sign_tree_head(TreeHead("hub-1", 0, EMPTY_ROOT, time), KEYS[0])
        assert CHAIN.verify(verify_tree_head, document, now=60 * DAY).time == time


def test_a_superseded_key_is_no_longer_the_present_one_though_its_window_is_open() -> None:
    begins = 20 * DAY
    assert KEY_GRACE == 60
    for now, i in ((begins - 1, 0), (begins, 0), (begins, 1), (begins + KEY_GRACE - 1, 0), (begins + KEY_GRACE, 1)):
        assert present(now, i, min(now, begins) if i == 0 else begins).size == 0
    with pytest.raises(StaleStatement, match="superseded"):
        present(begins + KEY_GRACE, 0)
    assert CHAIN.keys[0].covers(begins + KEY_GRACE)  # control: its own window would let it sign


def test_the_last_key_ends_by_the_readers_clock() -> None:
    ends = CHAIN.keys[2].not_after
    assert present(ends + KEY_GRACE, 2, ends).time == ends
    with pytest.raises(StaleStatement, match="has ended"):
        present(ends + KEY_GRACE + 1, 2, ends)


def test_before_the_first_key_has_begun_for_long_it_is_the_present_one() -> None:
    assert [CHAIN.present(now) for now in (0, KEY_GRACE - 1, 20 * DAY + KEY_GRACE, 90 * DAY)] == [0, 0, 1, 2]
    assert present(1, 0).size == 0


def test_a_fact_from_the_future_is_refused() -> None:
    document = sign_tree_head(head(1), KEYS[0])
    assert CHAIN.verify(verify_tree_head, document, now=DAY - CLOCK_SKEW).time == DAY
    for verify in (CHAIN.verify, CHAIN.verify_current):
        with pytest.raises(StaleStatement, match="future") as refused:
            verify(verify_tree_head, document, now=DAY - CLOCK_SKEW - 1)
        assert refused.value.field == "time"


def test_a_key_that_has_ended_appoints_nobody_to_a_reader() -> None:
    """An appointment has no time: key 0 could appoint another successor on day 31, with a window that began before."""
    follows = KeyChain.follow(DOCUMENTS[:2], PINNED)
    follows.check_learnt(0, 30 * DAY)
    with pytest.raises(StaleStatement) as late:
        follows.check_learnt(0, 30 * DAY + 1)
    assert late.value.field == "hub-key.0.not_after"
    follows.check_learnt(1, 30 * DAY + 1)  # who knew key 1 in time goes on with it
    CHAIN.check_learnt(1, 50 * DAY)
    with pytest.raises(StaleStatement) as between:
        CHAIN.check_learnt(0, 30 * DAY + 1)
    assert between.value.field == "hub-key.0.not_after"
    with pytest.raises(StaleStatement) as last:
        CHAIN.check_learnt(2, 70 * DAY + 1)
    assert last.value.field == "hub-key.2.not_after"
