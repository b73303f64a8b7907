"""Keys that retire each other or are stolen, and nonces on a host whose clock is ahead."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection

from tests.support.attacked import (
    ALICE,
    EVIL,
    HONEST,
    OPS,
)
from tests.support.hubs import Signer
from tests.support.ledgers import DATABASES, World, fresh_url, started
from tests.support.toy import Tree
from zkmargin.service.client.signing import RequestSigner
from zkmargin.service.ledger import callers
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.refusals import Conflict

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", DATABASES)
def test_two_keys_that_retire_each_other_leave_one(kind: str, tmp_path: Any) -> None:
    """At the same time, in two transactions that both saw two valid keys."""
    with fresh_url(kind, tmp_path) as url, started(url) as world:
        pair, now = (Signer(), Signer()), world.clock()
        world.hub.signers["venue/evil"] = pair[0]
        world.session.venue("evil")
        pair = (world.hub.signers[EVIL], pair[1])
        world.ledger.database.write(
            lambda tx: callers.admit(tx, "venue", "evil", pair[1].public, now=now, not_before=now)
        )
        kids = [RequestSigner(signer.key, "hub-1").keyid for signer in pair]
        both = threading.Barrier(2)

        def retire(kid: str) -> str:
            met = False

            def unit(tx: Connection) -> Tree:
                nonlocal met
                if not world.hub.database.sqlite:
                    # SQLite has one writer at a time: there the second waits before it looks.
                    assert len(callers.keys_of(tx, "venue", "evil")) == 2
                    if not met:
                        met = True
                        both.wait(30)
                return callers.retire(tx, "venue", "evil", kid, now)

            try:
                world.ledger.database.write(unit)
            except Conflict:
                return "refused"
            return "retired"

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(retire, kids)) == ["refused", "retired"]
        left = [
            r for r in world.ledger.database.read(lambda tx: callers.keys_of(tx, "venue", "evil")) if r.not_after > now
        ]
        assert len(left) == 1


def test_a_nonce_survives_a_host_whose_clock_is_ahead(world: World) -> None:
    """Another host of the hub, some way ahead, forgets nonces: a request that is still valid here stays used."""
    signer, http = RequestSigner(world.hub.operator.key, "hub-1"), world.session.http
    headers = signer.sign("GET", "/v1/venues", "", {}, b"", now=world.clock() - 55)
    assert http.get("/v1/venues", headers=headers).status_code == 200
    ahead = world.clock() + callers.NONCE_MARGIN - 10
    callers.forget_nonces(Ledger.open(world.hub.database, world.hub.ring, clock=lambda: ahead))
    world.is_problem(http.get("/v1/venues", headers=headers).json(), "request-replayed", 409)


@pytest.mark.parametrize("caller", [ALICE, EVIL, "oracle/feed"])
def test_an_operator_revokes_a_stolen_key(world: World, caller: str) -> None:
    """Even the last one of its owner, who then holds none; nobody's second revocation finds it."""
    s = world.session
    kid = RequestSigner(world.hub.signers[caller].key, "hub-1").keyid
    for other in (ALICE, HONEST):
        world.refused("forbidden", 403, other, "POST", f"/v1/keys/{kid}/revoke")
    assert s.ok(OPS, "POST", f"/v1/keys/{kid}/revoke")["not_after"] == world.clock()
    with world.later(1):
        world.refused("key-not-valid", 401, caller, "GET", "/v1/venues")
        world.refused("not-found", 404, OPS, "POST", f"/v1/keys/{kid}/revoke")
