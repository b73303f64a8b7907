"""Reports and payments on a credit that a hub refuses."""

from __future__ import annotations

import pytest

from tests.support.refusing import ALICE, CREDITS, OPS, VENUE_A, Refusing
from tests.support.toy import Tree


@pytest.mark.parametrize("sequence", [1, 3, 2**53 - 1])
@pytest.mark.parametrize("call", ["consume", "release"])
def test_a_report_out_of_order(world: Refusing, call: str, sequence: int) -> None:
    body = {"sequence": sequence} | ({"amount": "1"} if call == "consume" else {"free": "1"})
    tree = world.refused("sequence-conflict", 409, VENUE_A, "POST", f"{CREDITS}/{world.credit}/{call}", body)
    assert tree["expected"] == 2


@pytest.mark.parametrize(
    ("call", "body", "field"),
    [
        ("consume", {"amount": "150.01"}, "amount"),
        ("consume", {"amount": "92233720368547758.07"}, "amount"),
        ("release", {"free": "150.01"}, "free"),
        ("release", {"free": "1", "used": "50.01"}, "used"),
    ],
)
def test_more_than_there_is(world: Refusing, call: str, body: Tree, field: str) -> None:
    path = f"{CREDITS}/{world.credit}/{call}"
    tree = world.refused("amount-unavailable", 409, VENUE_A, "POST", path, {"sequence": 2} | body)
    assert tree["field"] == field


def test_a_release_of_nothing(world: Refusing) -> None:
    path = f"{CREDITS}/{world.credit}/release"
    world.refused("malformed-input", 422, VENUE_A, "POST", path, {"sequence": 2, "free": "0", "used": "0"})


def test_an_expiry_too_early(world: Refusing) -> None:
    for caller in (VENUE_A, ALICE, OPS):
        world.refused("not-expired", 409, caller, "POST", f"{CREDITS}/{world.credit}/expire")
    with world.later(3600 + 60):  # the last second of the venue's grace
        world.refused("not-expired", 409, VENUE_A, "POST", f"{CREDITS}/{world.credit}/expire")


def test_a_report_too_late(world: Refusing) -> None:
    body = {"sequence": 2, "amount": "1"}
    with world.later(3600 + 62):
        world.refused("credit-expired", 409, VENUE_A, "POST", f"{CREDITS}/{world.credit}/consume", body)


@pytest.mark.parametrize("amount", ["0", "0.00"])
def test_a_report_of_nothing(world: Refusing, amount: str) -> None:
    """With no amount a venue could write to an account's journal for ever."""
    fills = [{"instrument": "QUOTE-0", "quantity": "-1"}]
    body = {"sequence": 2, "amount": amount, "fills": fills}
    tree = world.refused("malformed-input", 422, VENUE_A, "POST", f"{CREDITS}/{world.credit}/consume", body)
    assert tree["field"] == "amount"


@pytest.mark.parametrize(
    ("instrument", "quantity"), [("", "1"), ("PERPETUAL-2", "x"), ("PERPETUAL-2", "1e3"), ("PERPETUAL-2", "9" * 82)]
)
def test_a_fill_of_no_form(world: Refusing, instrument: str, quantity: str) -> None:
    fills = [{"instrument": instrument, "quantity": quantity}]
    body = {"sequence": 2, "amount": "10", "fills": fills}
    tree = world.refused("malformed-input", 422, VENUE_A, "POST", f"{CREDITS}/{world.credit}/consume", body)
    assert tree["field"].startswith("fills.0.")


@pytest.mark.parametrize(
    ("caller", "body", "code"),
    [
        (VENUE_A, {"used": "10", "paid": "10.01"}, "malformed-input"),
        (VENUE_A, {"free": "10", "paid": "10"}, "malformed-input"),
        (VENUE_A, {"free": "10", "used": "1", "paid": "2"}, "malformed-input"),
        (VENUE_A, {"used": "50.01", "paid": "50.01"}, "amount-unavailable"),
        (OPS, {"used": "10", "paid": "0.01"}, "malformed-input"),
        (VENUE_A, {"used": "10", "paid": "-1"}, "malformed-input"),
        (VENUE_A, {"used": "10", "paid": "0.001"}, "malformed-input"),
    ],
    ids=["more than is released", "out of what is free", "out of both", "more than is used", "by an operator",
         "backwards", "part of a quantum"],
)  # fmt: skip
def test_a_payment_beyond_used_credit(world: Refusing, caller: str, body: Tree, code: str) -> None:
    path = f"{CREDITS}/{world.credit}/release"
    status = 422 if code == "malformed-input" else 409
    world.refused(code, status, caller, "POST", path, {"sequence": 2} | body)
