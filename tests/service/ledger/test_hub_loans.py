"""A credit under an eMode category, through the whole hub: what is lent is there when it is paid out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from tests.circuits.test_paying import eth_loans
from tests.support.ledgers import DATABASES, World, fresh_url, started
from tests.support.toy import load_snapshot
from zkmargin.circuits.rules import Terms, build
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.prover import solvency
from zkmargin.prover.errors import NotSolvent
from zkmargin.service.ledger import audit

OPS, VENUE = "operator/ops", "venue/v"
CREDITS = "/v1/credits"


@pytest.fixture(params=DATABASES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with fresh_url(request.param, tmp_path) as url, started(url) as made:
        made.session.venue("v")
        yield made
        assert audit.run(made.hub.ledger).findings == []


def market(world: World) -> Snapshot:
    """The market of 100 ETH, published here."""
    tree = json.loads(eth_loans().to_bytes())
    tree["instruments"][0]["id"] = "QUOTE-0"
    newer = load_snapshot(tree | {"time": world.clock()})
    world.session.publish(newer)
    return newer


def test_insolvent_by_category_is_refused_and_cash_in_hand_is_not(world: World) -> None:
    """9,000 on 100 ETH alone proves under no election; what cash carries is used and paid, and nothing is short."""
    s, snap = world.session, market(world)
    s.account("alice", cash="0")
    ether = {"instrument": "ETH", "quantity": "100", "reference": "r-1"}
    s.ok(OPS, "POST", "/v1/accounts/alice/deposits", ether)
    for election in ("eth", "none"):
        with pytest.raises(NotSolvent):
            s.credit_body("alice", snap, venue="v", amount="9000", elections={"emode": election})
    cash = {"instrument": "QUOTE-0", "quantity": "20000", "reference": "r-2"}
    s.ok(OPS, "POST", "/v1/accounts/alice/deposits", cash)
    body = s.credit_body("alice", snap, venue="v", amount="20000", elections={"emode": "eth"})
    path = f"{CREDITS}/{s.ok(VENUE, 'POST', CREDITS, body)['credit']}"
    s.ok(VENUE, "POST", f"{path}/consume", {"sequence": 1, "amount": "20000"})
    rule = build(snap, Terms("initial", Fraction(1), 3600)).elect({"emode": "eth"})
    nets = [min(solvency.net_margin(rule, s.opening("alice", snap)[0].lots))]
    for sequence, paid in ((2, "12000.01"), (3, "7999.99")):
        s.ok(VENUE, "POST", f"{path}/release", {"sequence": sequence, "used": paid, "paid": paid})
        nets.append(min(solvency.net_margin(rule, s.opening("alice", snap)[0].lots)))
    assert nets == sorted(nets)
    assert nets[0] >= 0
    s.proof("alice", snap, venue="v", amount="0", elections={"emode": "eth"})
