"""Signed documents: their limits, the names of their faults, and one token for one signature."""

from __future__ import annotations

import json

import pytest

from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.schema import Strict
from zkmargin.service.keys.signing import sign_document, sign_token
from zkmargin.service.keys.signing_keys import generate_key
from zkmargin.verifier.facts.jws import MAX_SIGNED_BYTES, open_document, open_token, read_token

KEY = generate_key()
SCHEMA, KIND = "zkmargin/thing/1", "zkmargin-thing+jws"


class Thing(Strict):
    """A payload."""

    n: int


def wrapped(jws: str, schema: str = SCHEMA, size: int = 0) -> bytes:
    """A document of at least ``size`` bytes, by white space."""
    return json.dumps({"schema": schema, "jws": jws}).encode().ljust(size)


def refused(field: str, data: bytes, says: str = "") -> None:
    with pytest.raises(MalformedInput) as caught:
        read_token(data, schema=SCHEMA, name="thing")
    assert caught.value.field == field
    assert says in caught.value.message


def test_a_document_has_at_most_16_kib_and_a_token_8192_characters() -> None:
    assert MAX_SIGNED_BYTES == 16384
    longest = "a." * 2 + "A" * (8192 - 4)
    assert read_token(wrapped(longest, size=16384), schema=SCHEMA, name="thing") == longest
    refused("thing", wrapped(longest, size=16385), "larger than 16384")
    refused("thing.jws", wrapped(longest + "A"))


@pytest.mark.parametrize("token", ["", "a.b", "a.b.c.d", "a.b.", "a.b.c\n", "a b.c.d", "a.b=.c", "ä.b.c"])
def test_a_token_of_another_form_is_malformed(token: str) -> None:
    refused("thing.jws", wrapped(token), "documented form")


def test_another_schema_is_told_by_its_name() -> None:
    refused("thing.schema", wrapped("a.b.A", schema="zkmargin/other/1"), "not a document of schema zkmargin/thing/1")
    refused("thing.schema", wrapped("a.b.A", schema="s" * 64), "not a document of schema")
    refused("thing.schema", wrapped("a.b.A", schema="s" * 65), "at most 64")


def test_what_is_wrong_in_the_payload_is_named_there() -> None:
    def opened(payload: bytes) -> object:
        data = sign_document(payload, KEY, schema=SCHEMA, token_type=KIND)
        return open_document(data, KEY.public_key(), Thing, schema=SCHEMA, token_type=KIND, name="thing")

    assert opened(b'{"n":1}') == (Thing(n=1), b'{"n":1}')
    for payload, field in ((b"{", "thing.payload"), (b'{"n":"1"}', "thing.payload.n"), (b'{"m":1}', "thing.payload.m")):
        with pytest.raises(MalformedInput) as caught:
            opened(payload)
        assert caught.value.field == field
    refused("thing", b"{")


def test_one_signature_has_one_token() -> None:
    """The last of 86 characters carries four bits that are not the signature's: sixteen spellings, one is taken."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    token = sign_token(b'{"n":1}', KEY, KIND)
    assert open_token(token, KEY.public_key(), KIND, field="jws") == b'{"n":1}'
    first = alphabet.index(token[-1])
    assert first % 16 == 0
    for other in range(first + 1, first + 16):
        with pytest.raises(MalformedInput) as caught:
            open_token(token[:-1] + alphabet[other], KEY.public_key(), KIND, field="jws")
        assert "canonical" in caught.value.message
