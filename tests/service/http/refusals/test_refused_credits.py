"""Credits that a hub refuses: venues, caps, breakers, statements, amounts and proofs."""

from __future__ import annotations

import pytest

from tests.support.refusing import ACCOUNTS, ALICE, CREDITS, OPS, VENUE_A, Refusing
from tests.support.toy import Tree


def test_a_suspended_venue(world: Refusing) -> None:
    world.refused("venue-suspended", 403, "venue/spoke-out", "POST", CREDITS, world.body("spoke-out"))


@pytest.mark.parametrize(("venue", "scope"), [("spoke-small", "venue"), ("spoke-zone", "zone")])
def test_a_cap_that_would_be_exceeded(world: Refusing, venue: str, scope: str) -> None:
    tree = world.refused("cap-exceeded", 409, f"venue/{venue}", "POST", CREDITS, world.body(venue))
    assert tree["scope"] == scope


def test_a_cap_below_what_is_out(world: Refusing) -> None:
    for path in ("/v1/venues/spoke-a/cap", "/v1/zones/zone-1"):
        tree = world.refused("cap-below-exposure", 409, OPS, "PUT", path, {"cap": "199.99"})
        assert tree["exposure"] == "200"


@pytest.mark.parametrize("scope", ["hub", "venue/spoke-a"])
def test_an_open_breaker(world: Refusing, scope: str) -> None:
    world.session.ok(OPS, "POST", "/v1/breakers/open", {"scope": scope})
    try:
        tree = world.refused("breaker-open", 409, VENUE_A, "POST", CREDITS, world.body())
        assert (tree["scope"], tree["reason"]) == (scope, "operator")
    finally:
        world.session.ok(OPS, "POST", "/v1/breakers/close", {"scope": scope})


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("statement.context.hub", {"context": {"hub": "hub-2"}}),
        (
            "statement.context.spoke",
            {
                "context": {"spoke": "spoke-b"},
                "purpose": {"for": "credit", "venue": "spoke-b", "amount": "1", "expires": 9},
            },
        ),
        ("statement.level", {"level": "maintenance"}),
        ("statement.multiplier", {"multiplier": "0.999999"}),
        ("statement.horizon", {"horizon": 3601}),
        ("statement.horizon", {"horizon": 59}),
        ("statement.rule", {"rule": "portfolio-margin/1"}),
    ],
)
def test_a_statement_of_another_kind(world: Refusing, field: str, change: Tree) -> None:
    tree = world.refused("statement-refused", 422, VENUE_A, "POST", CREDITS, world.body(**change))
    assert tree["field"] == field


def test_a_statement_without_the_jurisdictions_rules(world: Refusing) -> None:
    tree = world.refused("statement-refused", 422, VENUE_A, "POST", CREDITS, world.body("eve"))
    assert tree["field"] == "statement.overlays"


@pytest.mark.parametrize(
    "context", [{"account": "bob", "epoch": 2}, {"account": "nobody"}, {"epoch": 1}, {"epoch": 4711}]
)
def test_a_statement_of_what_the_hub_never_attested(world: Refusing, context: Tree) -> None:
    """The name or epoch of one commitment with another: whoever lacks the right one learns nothing of accounts."""
    tree = world.refused("statement-mismatch", 422, VENUE_A, "POST", CREDITS, world.body(context=context))
    assert tree["field"] == "statement.commitment"


def test_a_stale_epoch(world: Refusing) -> None:
    """The proof that issued the first credit, once more: its epoch is over."""
    tree = world.refused("stale-epoch", 409, VENUE_A, "POST", CREDITS, world.body("first"))
    assert tree["field"] == "statement.context.epoch"
    # Which epoch is the latest is for whoever has a grant: it would tell how often the account acts.
    assert "epoch" not in tree
    latest = world.session.ok(ALICE, "GET", f"{ACCOUNTS}/alice")["epoch"]
    assert str(latest) not in tree["detail"]


def test_a_credit_on_an_order(world: Refusing) -> None:
    """A public trade in the statement may never happen, so no credit rests on it: no such statement exists."""
    body = world.body()
    body["statement"]["delta"] = [{"instrument": "QUOTE-0", "quantity": "1000"}]
    tree = world.refused("malformed-input", 422, VENUE_A, "POST", CREDITS, body)
    assert tree["field"] == "statement.delta"


def test_a_stale_snapshot(world: Refusing) -> None:
    """One that the hub never published, and one that is no longer in force."""
    tree = world.refused("stale-snapshot", 409, VENUE_A, "POST", CREDITS, world.body(snapshot="ab" * 32))
    assert tree["newest"] == world.snapshot.digest.hex()
    with world.later(100_000):
        tree = world.refused("stale-snapshot", 409, VENUE_A, "POST", CREDITS, world.body())
    assert tree["newest"] == world.snapshot.digest.hex()


def test_a_statement_outside_its_time(world: Refusing) -> None:
    with world.later(3001):
        tree = world.refused("stale-statement", 409, VENUE_A, "POST", CREDITS, world.body())
    assert tree["field"] == "statement.context.expiry"


def test_more_than_was_proved(world: Refusing) -> None:
    tree = world.refused("amount-above-proof", 422, VENUE_A, "POST", CREDITS, world.body() | {"amount": "100.01"})
    assert tree["proved"] == "100"


@pytest.mark.parametrize("amount", ["0", "-1", "0.001", "1e3", "92233720368547758.08", "9" * 79])
def test_an_amount_that_is_none(world: Refusing, amount: str) -> None:
    tree = world.refused("malformed-input", 422, VENUE_A, "POST", CREDITS, world.body() | {"amount": amount})
    assert tree["field"] == "amount"


@pytest.mark.parametrize("seconds", [-1, 0, 7 * 86400 + 1])
def test_an_end_that_is_none(world: Refusing, seconds: int) -> None:
    until = world.clock() + seconds
    purpose = {"for": "credit", "venue": "spoke-a", "amount": "100", "expires": max(until, 0)}
    body = world.body(purpose=purpose) | {"expires": until}
    assert world.refused("malformed-input", 422, VENUE_A, "POST", CREDITS, body)["field"] == "expires"


def test_a_proof_that_does_not_hold(world: Refusing) -> None:
    body = world.body()
    proof = body["proof"]["proof"]
    body["proof"]["proof"] = proof[:-2] + ("00" if proof[-2:] != "00" else "01")
    world.refused("proof-rejected", 422, VENUE_A, "POST", CREDITS, body)
    body["proof"]["proof"] = "00"
    world.refused("malformed-proof", 422, VENUE_A, "POST", CREDITS, body)


def test_a_proof_of_another_statement(world: Refusing) -> None:
    body = world.body()
    body["statement"]["amount"] = "150"
    world.refused("statement-mismatch", 422, VENUE_A, "POST", CREDITS, body)


def test_a_frozen_account(world: Refusing) -> None:
    world.refused("account-frozen", 409, VENUE_A, "POST", CREDITS, world.body("frank"))
