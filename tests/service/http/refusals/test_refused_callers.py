"""Who asks: signatures, keys, roles and names that a hub refuses, each with its own problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.hubs import Signer
from tests.support.ledgers import publish_body, snapshot_at
from tests.support.refusing import ACCOUNTS, ALICE, BOB, CREDITS, OPS, VENUE_A, VENUE_B, Refusing
from zkmargin.service.client.signing import RequestSigner


def test_a_request_without_a_signature(world: Refusing) -> None:
    world.refused("signature-rejected", 401, None, "POST", CREDITS, world.body())


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("body", lambda h: b'{"x":1}'),
        ("idempotency key", lambda h: h.update({"idempotency-key": "another"})),
        ("digest", lambda h: h.update({"content-digest": "sha-256=:" + "A" * 43 + "=:"})),
        ("signature", lambda h: h.update({"signature": h["signature"].replace(":", ":AAAA", 1)})),
        ("nonce", lambda h: h.update({"signature-input": h["signature-input"].replace('nonce="', 'nonce="A')})),
        ("no digest", lambda h: h.pop("content-digest") and None),
    ],
)
def test_a_wrong_signature(world: Refusing, name: str, spoil: Callable[[dict[str, str]], bytes | None]) -> None:
    world.is_problem(world.send(VENUE_A, world.body(), spoil), "signature-rejected", 401)


def test_a_replayed_request(world: Refusing) -> None:
    seen: dict[str, str] = {}
    # The first use is refused for its body alone, and still uses up the nonce.
    world.is_problem(world.send(VENUE_A, {}, seen.update), "malformed-input", 422)
    before = world.digest()
    answer = world.session.http.post(CREDITS, content=b"{}", headers=seen)
    world.is_problem(answer.json(), "request-replayed", 409)
    assert world.digest() == before


@pytest.mark.parametrize("at", [-3600, -120, 45, 3600])
def test_an_expired_request_and_one_from_the_future(world: Refusing, at: int) -> None:
    world.is_problem(world.send(VENUE_A, world.body(), lambda h: None, at=at), "request-expired", 401)


def test_an_unknown_key(world: Refusing) -> None:
    world.hub.signers["venue/nobody"] = Signer()
    world.refused("unknown-key", 401, "venue/nobody", "POST", CREDITS, world.body())


def test_another_hubs_request(world: Refusing) -> None:
    tree = world.send(VENUE_A, world.body(), lambda h: None, hub="hub-2")
    world.is_problem(tree, "signature-rejected", 401)


@pytest.mark.parametrize(
    ("caller", "method", "path", "body"),
    [
        (ALICE, "POST", CREDITS, "credit"),
        (OPS, "POST", CREDITS, "credit"),
        (VENUE_A, "GET", "/v1/venues", None),
        (VENUE_A, "GET", "/v1/venues/spoke-b", None),
        (VENUE_A, "POST", "/v1/venues/spoke-a/resume", None),
        (VENUE_A, "PUT", "/v1/venues/spoke-a/cap", {"cap": "9"}),
        (VENUE_A, "PUT", "/v1/zones/zone-1", {"cap": "9999999"}),
        (ALICE, "POST", f"{ACCOUNTS}/alice/deposits", {"instrument": "QUOTE-0", "quantity": "1", "reference": "x"}),
        (ALICE, "POST", f"{ACCOUNTS}/alice/freeze", None),
        (ALICE, "POST", f"{ACCOUNTS}/frank/unfreeze", None),
        (VENUE_A, "POST", f"/v1/keys/{'0' * 32}/revoke", None),
        (ALICE, "POST", f"/v1/keys/{'0' * 32}/revoke", None),
        (VENUE_A, "POST", "/v1/breakers/open", {"scope": "hub"}),
        (VENUE_A, "POST", "/v1/breakers/close", {"scope": "hub"}),
        (ALICE, "GET", "/v1/breakers", None),
        ("oracle/feed", "GET", CREDITS, None),
        (OPS, "POST", "/v1/snapshots", "snapshot"),
    ],
)
def test_a_caller_without_the_role(world: Refusing, caller: str, method: str, path: str, body: Any) -> None:
    if body == "credit":
        body = world.body()
    elif body == "snapshot":
        body = publish_body(snapshot_at(world.clock() - 1), world.hub.oracle.key)
    world.refused("forbidden", 403, caller, method, path, body)


@pytest.mark.parametrize(
    ("caller", "method", "path", "body"),
    [
        (BOB, "GET", f"{ACCOUNTS}/alice", None),
        (VENUE_A, "GET", f"{ACCOUNTS}/alice", None),
        (BOB, "GET", f"{ACCOUNTS}/alice/opening", None),
        (OPS, "GET", f"{ACCOUNTS}/alice/opening", None),
        (VENUE_A, "GET", f"{ACCOUNTS}/alice/opening", None),
        ("oracle/feed", "GET", f"{ACCOUNTS}/alice/opening", None),
        (BOB, "GET", f"{ACCOUNTS}/alice/attestation", None),
        (VENUE_B, "GET", f"{ACCOUNTS}/alice/attestation", None),
        (BOB, "PUT", f"{ACCOUNTS}/alice/grants/spoke-b", None),
        (VENUE_B, "PUT", f"{ACCOUNTS}/alice/grants/spoke-b", None),
        (ALICE, "DELETE", f"{ACCOUNTS}/alice/grants/spoke-b", None),
        (BOB, "POST", f"{ACCOUNTS}/alice/epochs", None),
        (OPS, "GET", f"{ACCOUNTS}/nobody", None),
        (OPS, "POST", f"{ACCOUNTS}/nobody/freeze", None),
        (OPS, "POST", f"{ACCOUNTS}/nobody/deposits", {"instrument": "QUOTE-0", "quantity": "1", "reference": "x"}),
        (VENUE_A, "GET", f"{CREDITS}/{'0' * 32}", None),
        (VENUE_B, "GET", f"{CREDITS}/CREDIT", None),
        (BOB, "GET", f"{CREDITS}/CREDIT", None),
        (VENUE_B, "POST", f"{CREDITS}/CREDIT/consume", {"sequence": 2, "amount": "1"}),
        (VENUE_B, "POST", f"{CREDITS}/CREDIT/release", {"sequence": 2, "free": "1"}),
        (VENUE_B, "POST", f"{CREDITS}/CREDIT/expire", None),
        (BOB, "POST", f"{CREDITS}/CREDIT/expire", None),
        (OPS, "POST", "/v1/breakers/close", {"scope": "hub"}),
        (OPS, "POST", f"/v1/keys/{'0' * 32}/retire", None),
        (OPS, "POST", f"/v1/keys/{'0' * 32}/revoke", None),
        (None, "GET", "/v1/log/head?size=4000", None),
        (None, "GET", "/v1/log/inclusion?leaf=4000", None),
        (None, "GET", "/v1/log/consistency?first=1&second=4000", None),
        (None, "GET", "/v1/log/consistency?first=3&second=2", None),
        (None, "GET", f"/v1/snapshots/{'0' * 64}", None),
    ],
)
def test_what_is_not_there_or_not_the_callers(
    world: Refusing, caller: str | None, method: str, path: str, body: Any
) -> None:
    world.refused("not-found", 404, caller, method, path.replace("CREDIT", world.credit), body)


def test_the_last_key_stays(world: Refusing) -> None:
    kid = RequestSigner(world.hub.signers[VENUE_B].key, "hub-1").keyid
    tree = world.refused("conflict", 409, VENUE_B, "POST", f"/v1/keys/{kid}/retire")
    assert tree["field"] == "kid"
    # Nor is the last operator locked out by himself.
    kid = RequestSigner(world.hub.operator.key, "hub-1").keyid
    assert world.refused("conflict", 409, OPS, "POST", f"/v1/keys/{kid}/revoke")["field"] == "kid"


def test_a_key_is_somebodys_already(world: Refusing) -> None:
    taken = world.hub.signers[VENUE_B].public
    tree = world.refused("conflict", 409, VENUE_A, "POST", "/v1/keys", {"key": taken})
    assert tree["field"] == "key"
    venue = {"venue": "spoke-x", "caip2": "eip155:1", "zone": "zone-1", "cap": "1", "key": taken}
    world.refused("conflict", 409, OPS, "POST", "/v1/venues", venue)
    account = {"account": "carol", "key": taken, "encryption_key": Signer().encryption_public}
    world.refused("conflict", 409, OPS, "POST", ACCOUNTS, account)


def test_a_name_is_taken(world: Refusing) -> None:
    venue = {"venue": "spoke-a", "caip2": "eip155:1", "zone": "zone-1", "cap": "1", "key": Signer().public}
    world.refused("conflict", 409, OPS, "POST", "/v1/venues", venue)
    account = {"account": "alice", "key": Signer().public, "encryption_key": Signer().encryption_public}
    world.refused("conflict", 409, OPS, "POST", ACCOUNTS, account)


def test_an_encryption_key_that_gives_no_secret(world: Refusing) -> None:
    account = {"account": "carol", "key": Signer().public, "encryption_key": "00" * 32}
    tree = world.refused("malformed-input", 422, OPS, "POST", ACCOUNTS, account)
    assert tree["field"] == "encryption_key"


def test_a_key_window_that_ends_before_it_begins(world: Refusing) -> None:
    body = {"key": Signer().public, "not_before": 2000, "not_after": 1000}
    tree = world.refused("malformed-input", 422, OPS, "POST", "/v1/keys", body)
    assert tree["field"] == "not_after"


def test_an_unknown_venue_or_zone(world: Refusing) -> None:
    venue = {"venue": "spoke-x", "caip2": "eip155:1", "zone": "nowhere", "cap": "1", "key": Signer().public}
    assert world.refused("unknown-venue", 404, OPS, "POST", "/v1/venues", venue)["field"] == "zone"
    for method, path, body in [
        ("GET", "/v1/venues/nobody", None),
        ("POST", "/v1/venues/nobody/suspend", None),
        ("PUT", "/v1/venues/nobody/cap", {"cap": "1"}),
        ("POST", "/v1/breakers/open", {"scope": "venue/nobody"}),
    ]:
        world.refused("unknown-venue", 404, OPS, method, path, body)
    world.refused("unknown-venue", 404, ALICE, "PUT", f"{ACCOUNTS}/alice/grants/nobody")
