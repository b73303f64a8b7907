"""Deposits and withdrawals that a hub refuses, and idempotency keys that name another request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.refusing import ACCOUNTS, ALICE, BOB, OPS, VENUE_A, Refusing
from tests.support.toy import Tree
from zkmargin.service.client.signing import RequestSigner


def test_a_receipt_books_once(world: Refusing) -> None:
    body = {"instrument": "QUOTE-0", "quantity": "5", "reference": "custody-1"}
    world.session.ok(OPS, "POST", f"{ACCOUNTS}/bob/deposits", body)
    for account in ("bob", "eve"):
        tree = world.refused("conflict", 409, OPS, "POST", f"{ACCOUNTS}/{account}/deposits", body)
        assert tree["field"] == "reference"


def test_a_deposit_beyond_the_position_limit(world: Refusing) -> None:
    body = {"instrument": "QUOTE-0", "quantity": "1000000", "reference": "custody-2"}
    world.refused("position-limit", 409, OPS, "POST", f"{ACCOUNTS}/alice/deposits", body)


@pytest.mark.parametrize(
    ("instrument", "quantity", "field"),
    [
        ("NOPE", "1", "instrument"), ("PERPETUAL-2", "1", "instrument"), ("CREDIT-1", "1", "instrument"),
        ("QUOTE-0", "0", "quantity"), ("QUOTE-0", "-1", "quantity"), ("QUOTE-0", "0.001", "quantity"),
    ],
)  # fmt: skip
def test_a_deposit_of_what_custody_cannot_hold(world: Refusing, instrument: str, quantity: str, field: str) -> None:
    body = {"instrument": instrument, "quantity": quantity, "reference": "custody-3"}
    tree = world.refused("malformed-input", 422, OPS, "POST", f"{ACCOUNTS}/alice/deposits", body)
    assert tree["field"] == field


def withdrawal(world: Refusing, account: str, proved: str, asked: str, instrument: str = "QUOTE-0", **o: Any) -> Tree:
    body = world.session.withdrawal_body(
        account, world.snapshot, instrument=instrument, quantity=proved.removeprefix("-"), **o
    )
    return body | {"quantity": asked}


def test_a_withdrawal_of_more_than_was_proved(world: Refusing) -> None:
    path = f"{ACCOUNTS}/bob/withdrawals"
    for proved, asked in [("-10", "10.01"), ("-10", "9")]:
        tree = world.refused("statement-refused", 422, BOB, "POST", path, withdrawal(world, "bob", proved, asked))
        assert tree["field"] == "statement.delta"
    body = withdrawal(world, "bob", "-10", "10")
    body["instrument"] = "SPOT-3"
    world.refused("statement-refused", 422, BOB, "POST", path, body)


def test_a_withdrawal_of_what_is_not_held(world: Refusing) -> None:
    """Short of coins an account can be by trading alone."""
    body = withdrawal(world, "bob", "-1", "1", "SPOT-3")
    world.refused("position-limit", 409, BOB, "POST", f"{ACCOUNTS}/bob/withdrawals", body)


def test_a_withdrawal_that_is_somebody_elses(world: Refusing) -> None:
    body = withdrawal(world, "bob", "-1", "1")
    world.refused("malformed-input", 422, ALICE, "POST", f"{ACCOUNTS}/alice/withdrawals", body)
    for caller in (ALICE, OPS, VENUE_A):
        world.refused("not-found", 404, caller, "POST", f"{ACCOUNTS}/bob/withdrawals", body)


def test_a_withdrawal_on_a_credits_proof(world: Refusing) -> None:
    body = world.body() | {"instrument": "QUOTE-0", "quantity": "1"}
    del body["amount"], body["expires"]
    tree = world.refused("statement-refused", 422, ALICE, "POST", f"{ACCOUNTS}/alice/withdrawals", body)
    assert tree["field"] == "statement.context.spoke"


def test_nothing_leaves_a_frozen_account_or_a_hub_with_an_open_breaker(world: Refusing) -> None:
    body = withdrawal(world, "frank", "-1", "1")
    world.refused("account-frozen", 409, "account/frank", "POST", f"{ACCOUNTS}/frank/withdrawals", body)
    world.session.ok(OPS, "POST", "/v1/breakers/open", {"scope": "hub"})
    try:
        body = withdrawal(world, "bob", "-1", "1")
        world.refused("breaker-open", 409, BOB, "POST", f"{ACCOUNTS}/bob/withdrawals", body)
    finally:
        world.session.ok(OPS, "POST", "/v1/breakers/close", {"scope": "hub"})


def test_a_withdrawal_of_a_stale_epoch(world: Refusing) -> None:
    body = withdrawal(world, "bob", "-1", "1")
    world.session.ok(BOB, "POST", f"{ACCOUNTS}/bob/epochs")
    world.refused("stale-epoch", 409, BOB, "POST", f"{ACCOUNTS}/bob/withdrawals", body)


def test_an_idempotency_key_with_another_body(world: Refusing) -> None:
    first = {"instrument": "QUOTE-0", "quantity": "5", "reference": "custody-4"}
    path = f"{ACCOUNTS}/bob/deposits"
    answer = world.session.ok(OPS, "POST", path, first, key="same")
    before = world.digest()
    assert world.session.ok(OPS, "POST", path, first, key="same") == answer
    assert world.digest() == before
    for other in (path, f"{ACCOUNTS}/eve/deposits"):
        body = first | {"quantity": "6"} if other == path else first
        world.refused("idempotency-mismatch", 422, OPS, "POST", other, body, key="same")
    # A key is its caller's own: another caller's is another key.
    world.session.ok(BOB, "POST", f"{ACCOUNTS}/bob/epochs", key="same")


@pytest.mark.parametrize("key", ["", "a b", "x" * 65])
def test_an_idempotency_key_that_is_none(world: Refusing, key: str) -> None:
    body = {"instrument": "QUOTE-0", "quantity": "5", "reference": "custody-5"}
    before = world.digest()
    data = json.dumps(body).encode()
    path = f"{ACCOUNTS}/bob/deposits"
    headers = {"content-type": "application/json", "idempotency-key": key}
    signer = RequestSigner(world.hub.signers[OPS].key, "hub-1")
    signed = signer.sign("POST", path, "", headers, data, now=world.clock())
    answer = world.session.http.post(path, content=data, headers=signed)
    world.is_problem(answer.json(), "malformed-input", 422)
    assert world.digest() == before
