"""Instruments listed anew in other lots or as another kind, or not at all: nobody gains, nobody is held up."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from sqlalchemy import Connection

from tests.support.attacked import (
    ALICE,
    CREDITS,
    EVIL,
    HONEST,
    OPS,
    can_prove,
    credit,
    held,
)
from tests.support.ledgers import World, snapshot_at
from tests.support.toy import Tree, load_snapshot
from zkmargin.service.ledger import credits
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.refusals import PositionLimit

pytestmark = pytest.mark.slow


def relisted(world: World, change: Callable[[dict[str, Tree]], None]) -> Any:
    """Publish a snapshot of another registry."""
    world.clock.now += 10
    tree = json.loads(snapshot_at(world.clock()).to_bytes())
    lines = {line["id"]: line for line in tree["instruments"]}
    change(lines)
    newer = load_snapshot(tree | {"instruments": list(lines.values())})
    assert newer.registry_digest != world.snapshot.registry_digest
    world.session.publish(newer)
    return newer


def other_lot(line_id: str, lot: str) -> Callable[[dict[str, Tree]], None]:
    """The line in other lots."""

    def change(lines: dict[str, Tree]) -> None:
        line = lines[line_id]
        sign = "-" if line["kind"] == "credit" else ""
        line |= {"lot": lot, "values": [f"{sign}{lot}" for _ in line["values"]]}

    return change


def test_finer_credit_lots_keep_the_credit_whole(world: World) -> None:
    """Two credits in lots of a fifth of a quantum: what is used and paid takes the same from cash and from credit."""
    s = world.session
    paths = [credit(world, "alice", "evil", "0.5", used=True) for _ in range(2)]
    newer = relisted(world, other_lot("CREDIT-1", "0.002"))
    s.ok(ALICE, "POST", "/v1/accounts/alice/epochs")
    assert held(world, "alice", newer) == {"QUOTE-0": 1000, "CREDIT-1": 1}
    s.ok(EVIL, "POST", f"{paths[0]}/release", {"sequence": 2, "used": "0.25", "paid": "0.25"})
    assert held(world, "alice", newer) == {"QUOTE-0": Fraction("999.75"), "CREDIT-1": Fraction("0.75")}
    assert can_prove(world, "alice", "999", newer)
    assert not can_prove(world, "alice", "999.01", newer)


def test_a_delisted_instrument_keeps_nobodys_exposure_up(world: World) -> None:
    """Its holder's deposits, releases and expiry go on under the registry that it is committed under."""
    s = world.session
    s.ok(OPS, "POST", "/v1/accounts/alice/deposits", {"instrument": "SPOT-3", "quantity": "1", "reference": "r-1"})
    path = credit(world, "alice", "honest", "10", used=True)
    credit(world, "alice", "honest", "20")
    credit(world, "bob", "honest", "30")
    relisted(world, lambda lines: lines.pop("SPOT-3") and None)
    world.refused("position-limit", 409, ALICE, "POST", "/v1/accounts/alice/epochs")
    s.ok(OPS, "POST", "/v1/accounts/alice/deposits", {"instrument": "QUOTE-0", "quantity": "5", "reference": "r-2"})
    s.ok(HONEST, "POST", f"{path}/release", {"sequence": 2, "used": "10", "paid": "4"})
    with world.later(3600 + 61):
        assert credits.sweep(world.ledger) == 2
    assert s.ok(OPS, "GET", "/v1/venues/honest")["exposure"] == "0"
    assert held(world, "alice") == {"QUOTE-0": 1001, "SPOT-3": 1}


def test_a_credit_that_cannot_expire_stops_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, free = (credit(world, name, "honest", "10").rpartition("/")[2] for name in ("alice", "bob"))
    real = credits.expire

    def expire(ledger: Ledger, tx: Connection, name: str) -> Tree:
        if name == stuck:
            raise PositionLimit("stuck", field="account")
        return real(ledger, tx, name)

    monkeypatch.setattr(credits, "expire", expire)
    with world.later(3600 + 61):
        assert credits.sweep(world.ledger) == 1
    states = [world.session.ok(OPS, "GET", f"{CREDITS}/{name}")["state"] for name in (stuck, free)]
    assert states == ["live", "closed"]


def test_an_asset_listed_again_as_another_kind_moves_nobody(world: World) -> None:
    s = world.session
    s.ok(OPS, "POST", "/v1/accounts/alice/deposits", {"instrument": "SPOT-3", "quantity": "1", "reference": "r-1"})

    def exchanged(lines: dict[str, Tree]) -> None:
        lines["SPOT-3"] |= {"kind": "perpetual"}

    relisted(world, exchanged)
    world.refused("position-limit", 409, ALICE, "POST", "/v1/accounts/alice/epochs")
