"""Venues that report and are paid: what fills and payments can do to an account."""

from __future__ import annotations

import pytest

from tests.support.attacked import (
    ALICE,
    EVIL,
    HONEST,
    OPS,
    can_prove,
    credit,
    held,
)
from tests.support.ledgers import World
from tests.support.toy import Tree

pytestmark = pytest.mark.slow

#: At prices from anywhere, of any size, of what is not listed, and of credit itself.
HOSTILE_FILLS: tuple[tuple[tuple[str, str], ...], ...] = (
    (("PERPETUAL-2", "10000"), ("QUOTE-0", "-668200")), (("QUOTE-0", "-1000"),), (("CREDIT-1", "-500"),),
    (("SPOT-3", "999999999"), ("SPOT-3", "-999999999")), (("NOPE", "0.0000001"),),
)  # fmt: skip


def test_a_credit_of_a_cent_drains_nobody(world: World) -> None:
    """Reports of any fills move no position and no epoch; what the venue can be paid is the cent."""
    s = world.session
    credit(world, "alice", "honest", "500")
    path = credit(world, "alice", "evil", "0.01")
    before = held(world, "alice")
    epoch = s.ok(ALICE, "GET", "/v1/accounts/alice")["epoch"]
    fills = [{"instrument": name, "quantity": quantity} for legs in HOSTILE_FILLS for name, quantity in legs]
    assert s.ok(EVIL, "POST", f"{path}/consume", {"sequence": 1, "amount": "0.01", "fills": fills})["attested"] is None
    assert held(world, "alice") == before == {"QUOTE-0": 1000, "CREDIT-1": before["CREDIT-1"]}
    assert s.ok(ALICE, "GET", "/v1/accounts/alice")["epoch"] == epoch
    for amount in ("0.02", "1000"):
        body = {"sequence": 2, "used": amount, "paid": amount}
        world.refused("amount-unavailable", 409, EVIL, "POST", f"{path}/release", body)
    s.ok(EVIL, "POST", f"{path}/release", {"sequence": 2, "used": "0.01", "paid": "0.01"})
    body = {"sequence": 3, "used": "0.01", "paid": "0.01"}
    world.refused("amount-unavailable", 409, EVIL, "POST", f"{path}/release", body)
    assert float(held(world, "alice")["QUOTE-0"]) == 999.99
    assert can_prove(world, "alice", "499.99")
    assert not can_prove(world, "alice", "500")


def test_reports_tell_nothing_of_what_is_held(world: World) -> None:
    """The same reports on accounts that hold quite different things get the same answers."""
    s = world.session
    s.ok(OPS, "POST", "/v1/accounts/bob/deposits", {"instrument": "SPOT-3", "quantity": "999", "reference": "r"})
    answers: dict[str, list[Tree]] = {"alice": [], "bob": []}
    for name, told in answers.items():
        path = credit(world, name, "evil", "0.10")
        for sequence, legs in enumerate(HOSTILE_FILLS, 1):
            fills = [{"instrument": i, "quantity": q} for i, q in legs]
            body = {"sequence": sequence, "amount": "0.01", "fills": fills}
            told.append(s.ok(EVIL, "POST", f"{path}/consume", body))
    same = ("amount", "free", "used", "released", "state", "sequence", "attested")
    first, second = ([{part: a[part] for part in same} for a in told] for told in answers.values())
    assert first == second


def test_a_payment_leaves_equity_less_credit_as_it_was(world: World) -> None:
    """Cash and live credit fall by the same: what can be proved besides is the same to the cent, before and after."""
    s = world.session
    path = credit(world, "alice", "honest", "600", used=True)

    def exactly(amount: str, more: str) -> None:
        assert can_prove(world, "alice", amount)
        assert not can_prove(world, "alice", more)

    exactly("400", "400.01")
    s.ok(HONEST, "POST", f"{path}/release", {"sequence": 2, "used": "250.37", "paid": "250.37"})
    assert {k: str(float(v)) for k, v in held(world, "alice").items()} == {"QUOTE-0": "749.63", "CREDIT-1": "349.63"}
    assert s.ok(OPS, "GET", "/v1/venues/honest")["exposure"] == "349.63"
    exactly("400", "400.01")
    # What is released unpaid is the account's again; what is paid of it is not.
    s.ok(HONEST, "POST", f"{path}/release", {"sequence": 3, "used": "100", "paid": "40"})
    exactly("460", "460.01")
    s.ok(OPS, "POST", f"{path}/release", {"sequence": 4, "used": "249.63"})
    exactly("709.63", "709.64")


def test_a_payment_is_booked_once(world: World) -> None:
    """The same signed request again, and the same report under another key."""
    s = world.session
    path = credit(world, "alice", "honest", "100", used=True)
    body = {"sequence": 2, "used": "60", "paid": "60"}
    first = s.ok(HONEST, "POST", f"{path}/release", body, key="pay")
    assert s.ok(HONEST, "POST", f"{path}/release", body, key="pay") == first
    world.refused("sequence-conflict", 409, HONEST, "POST", f"{path}/release", body)
    assert held(world, "alice")["QUOTE-0"] == 940
