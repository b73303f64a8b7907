"""Snapshots that a hub refuses, and what it refuses once prices moved on or a breaker opened by itself."""

from __future__ import annotations

import json
import secrets
from itertools import product
from typing import Any

import pytest

from tests.support.hubs import Signer
from tests.support.ledgers import DATABASES, fresh_url, publish_body, snapshot_at, started
from tests.support.refusing import ACCOUNTS, CREDITS, OPS, VENUE_A, Refusing
from tests.support.toy import Tree
from zkmargin.service.ledger import setup


def test_a_snapshot_that_is_not_for_this_hub(world: Refusing) -> None:
    now = world.clock()
    listed = json.loads(snapshot_at(now).to_bytes())["instruments"]
    lines = [line for line in listed if line["kind"] != "credit"]
    changes: list[Tree] = [
        {"quote": {"currency": "EUR", "decimals": 2, "value_decimals": 6}},
        {"quote": {"currency": "USD", "decimals": 3, "value_decimals": 6}},
        {"instruments": lines},
        {"instruments": [line for line in listed if line["kind"] != "quote"]},
        {"instruments": [*listed, listed[0] | {"id": "QUOTE-9"}]},
        {"instruments": [*listed, listed[1] | {"id": "CREDIT-9"}]},
    ]
    # Of a credit in lots of 1, a payment of 0.3 would take 0.3 in cash and no lot: less would be left than was proved.
    for k, lot in product((0, 1), ("1", "0.02", "0.008")):
        value = f"-{lot}" if listed[k]["kind"] == "credit" else lot
        coarse = listed[k] | {"lot": lot, "values": [value] * len(listed[k]["values"])}
        changes.append({"instruments": [*listed[:k], coarse, *listed[k + 1 :]]})
    for change in changes:
        body = publish_body(snapshot_at(now, **change), world.hub.oracle.key)
        world.refused("snapshot-refused", 422, "oracle/feed", "POST", "/v1/snapshots", body)


def test_a_snapshot_that_is_not_newer(world: Refusing) -> None:
    body = publish_body(snapshot_at(world.snapshot.time - 1), world.hub.oracle.key)
    world.refused("conflict", 409, "oracle/feed", "POST", "/v1/snapshots", body)


def test_a_snapshot_that_its_oracle_did_not_sign(world: Refusing) -> None:
    fresh = snapshot_at(world.clock())
    body = publish_body(fresh, Signer().key)
    world.refused("signature-rejected", 401, "oracle/feed", "POST", "/v1/snapshots", body)
    body = publish_body(fresh, world.hub.oracle.key, oracle="other")
    world.refused("signature-rejected", 401, "oracle/feed", "POST", "/v1/snapshots", body)
    other = Signer()
    setup.admit(world.hub.ledger, "oracle", f"other-{secrets.token_hex(4)}", other.public)
    body = publish_body(fresh, other.key)
    world.refused("signature-rejected", 401, "oracle/feed", "POST", "/v1/snapshots", body)
    body = publish_body(fresh, world.hub.oracle.key, valid=1)
    with world.later(100):
        world.refused("stale-statement", 409, "oracle/feed", "POST", "/v1/snapshots", body)


@pytest.mark.slow
@pytest.mark.parametrize("kind", DATABASES)
def test_snapshots_move_on_and_breakers_open_by_themselves(kind: str, tmp_path: Any) -> None:
    """Superseded beyond the grace; a price that jumps; false proofs in a row. Then an account before any snapshot."""
    with fresh_url(kind, tmp_path) as url, started(url, max_failed_proofs=3) as plain:
        world = Refusing(plain.session, plain.snapshot, plain.clock)
        s = world.session
        s.venue("spoke-a")
        s.account("alice")
        good = s.credit_body("alice", world.snapshot, venue="spoke-a", amount="10", expiry=world.clock() + 3000)
        world.bodies = {"spoke-a": good}
        false = world.body()
        false["proof"]["proof"] = false["proof"]["proof"][:-2] + "ff"
        for _ in range(2):
            s.call(VENUE_A, "POST", CREDITS, false)
        # The third opens the venue's breaker, and nothing else.
        assert s.call(VENUE_A, "POST", CREDITS, false).status_code == 422
        tree = world.refused("breaker-open", 409, VENUE_A, "POST", CREDITS, world.body())
        assert (tree["scope"], tree["reason"]) == ("venue/spoke-a", "failed-proofs")
        s.ok(OPS, "POST", "/v1/breakers/close", {"scope": "venue/spoke-a"})
        newer = snapshot_at(world.clock())
        s.publish(newer)
        with world.later(61):
            tree = world.refused("stale-snapshot", 409, VENUE_A, "POST", CREDITS, world.body())
            assert tree["newest"] == newer.digest.hex()
        with world.later(60):
            s.ok(VENUE_A, "POST", CREDITS, world.body())
        with world.later(70):
            s.publish(snapshot_at(world.clock(), marks={"SPOT-3": "500"}))
            body = s.credit_body("alice", newer, venue="spoke-a", amount="10")
            tree = world.refused("breaker-open", 409, VENUE_A, "POST", CREDITS, body)
            assert (tree["scope"], tree["reason"]) == ("hub", "price-jump")
        with world.later(100_000):
            account = {"account": "carol", "key": Signer().public, "encryption_key": Signer().encryption_public}
            world.refused("stale-snapshot", 409, OPS, "POST", ACCOUNTS, account)
