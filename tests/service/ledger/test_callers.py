"""Callers of a hub and their names, keys and clocks; what one venue sees of another; what may be recorded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import Connection, select

from tests.support.hubs import DAY, Hub, Signer, sqlite_url
from tests.support.ledgers import DATABASES, World, fresh_url, started
from tests.support.toy import Tree
from zkmargin.circuits.errors import CorruptData, InternalError
from zkmargin.service.client.signing import RequestSigner
from zkmargin.service.keys.vault import new_key, vault
from zkmargin.service.ledger import audit, breakers, callers, events, setup
from zkmargin.service.ledger.changes import KINDS
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.ledger.replay import Replay
from zkmargin.service.refusals import Conflict
from zkmargin.service.store import tables
from zkmargin.service.store.database import Database

OPS, ALICE, VENUE_A, VENUE_B = "operator/ops", "account/alice", "venue/spoke-a", "venue/spoke-b"


@pytest.fixture(params=DATABASES)
def world(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[World]:
    """Two venues and an account."""
    with fresh_url(request.param, tmp_path) as url, started(url) as made:
        made.session.venue("spoke-a")
        made.session.venue("spoke-b")
        made.session.account("alice")
        yield made
        assert audit.run(made.hub.ledger).findings == []


# What a venue sees.


def scopes(world: World, caller: str) -> list[str]:
    """The open breakers that a caller is shown."""
    return [row["scope"] for row in world.session.ok(caller, "GET", "/v1/breakers")["breakers"]]


def test_a_venue_is_not_shown_another_ones_breaker(world: World) -> None:
    for scope in ("hub", "venue/spoke-a", "venue/spoke-b"):
        world.session.ok(OPS, "POST", "/v1/breakers/open", {"scope": scope})
    assert scopes(world, OPS) == ["hub", "venue/spoke-a", "venue/spoke-b"]
    assert scopes(world, VENUE_A) == ["hub", "venue/spoke-a"]
    assert scopes(world, VENUE_B) == ["hub", "venue/spoke-b"]
    world.session.ok(OPS, "POST", "/v1/breakers/close", {"scope": "hub"})
    assert scopes(world, VENUE_B) == ["venue/spoke-b"]
    world.refused("forbidden", 403, ALICE, "GET", "/v1/breakers")
    # Control: without the filter it would be.
    assert len(world.ledger.database.read(breakers.listing).breakers) == 2


# Names.


def venue_body(name: str) -> Tree:
    """To register a venue."""
    return {"venue": name, "caip2": "eip155:1", "zone": "zone-1", "cap": "10", "key": Signer().public}


def account_body(name: str) -> Tree:
    """To open an account."""
    return {"account": name, "key": Signer().public, "encryption_key": Signer().encryption_public}


def test_nobody_bears_a_name_that_stands_for_somebody_else(world: World) -> None:
    """The hub's before all: a statement for it as venue takes value out of an account."""
    for name in ("hub-1", "HUB-1", "any", "Any", "alice", "ops", "feed"):
        assert world.refused("conflict", 409, OPS, "POST", "/v1/venues", venue_body(name))["field"] == "venue"
    for name in ("hub-1", "any", "spoke-a", "ops", "feed"):
        assert world.refused("conflict", 409, OPS, "POST", "/v1/accounts", account_body(name))["field"] == "account"
    for kind in ("operator", "oracle"):
        for name in ("hub-1", "any", "spoke-a", "alice"):
            with pytest.raises(Conflict) as refused:
                setup.admit(world.hub.ledger, kind, name, Signer().public)
            assert refused.value.field == kind
    # One's own name takes further keys, and one that is only like it is another.
    for kind, name in (("operator", "ops"), ("oracle", "feed"), ("operator", "hub-10"), ("oracle", "many")):
        assert setup.admit(world.hub.ledger, kind, name, Signer().public).kid
    world.session.ok(OPS, "POST", "/v1/venues", venue_body("hub-2"))


def test_the_first_operator_is_not_named_like_the_hub(tmp_path: Any) -> None:
    made = Hub(sqlite_url(tmp_path))
    with pytest.raises(Conflict):
        setup.initialise(
            made.database, made.ring, name="Ops", currency="USD", decimals=2, operator=("ops", Signer().public), now=1
        )


# Keys.


def add(world: World, caller: str, key: Signer | None = None, **window: int) -> Tree:
    """Register one more key of a caller."""
    return world.session.ok(caller, "POST", "/v1/keys", {"key": (key or Signer()).public, **window})


def test_keys_of_one_caller_are_bounded(world: World) -> None:
    first = [add(world, ALICE)["kid"] for _ in range(callers.MAX_VALID_KEYS - 2)]
    add(world, ALICE, not_before=world.clock() + 1000)  # one that begins later counts
    body = {"key": Signer().public}
    told = world.refused("conflict", 409, ALICE, "POST", "/v1/keys", body)
    assert (told["field"], "at most 8" in told["detail"]) == ("key", True)
    add(world, VENUE_A)  # nobody else's affair
    world.session.ok(ALICE, "POST", f"/v1/keys/{first[0]}/retire")
    world.clock.now += 1
    assert add(world, ALICE)["kid"]


def test_a_key_that_expires_makes_room(world: World) -> None:
    for _ in range(callers.MAX_VALID_KEYS - 1):
        add(world, ALICE, not_before=world.clock(), not_after=world.clock() + 100)
    world.refused("conflict", 409, ALICE, "POST", "/v1/keys", {"key": Signer().public})
    world.clock.now += 101
    add(world, ALICE)


def test_keys_added_at_once_are_counted_one_after_the_other(world: World) -> None:
    now = world.clock()

    def one(_: int) -> str:
        try:
            world.ledger.database.write(
                lambda tx: callers.admit(tx, "account", "alice", Signer().public, now=now, not_before=now)
            )
        except Conflict:
            return "refused"
        return "added"

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(one, range(12)))
    assert outcomes.count("added") == callers.MAX_VALID_KEYS - 1
    assert len(world.ledger.database.read(lambda tx: callers.keys_of(tx, "account", "alice"))) == callers.MAX_VALID_KEYS


def test_keys_become_many_only_slowly_and_none_is_refused_for_ever(world: World) -> None:
    for _ in range(callers.MAX_ENDED_A_DAY):
        key = Signer()
        add(world, VENUE_A, key)
        old = RequestSigner(world.hub.signers[VENUE_A].key, "hub-1").keyid
        world.session.ok(VENUE_A, "POST", f"/v1/keys/{old}/retire")
        world.hub.signers[VENUE_A] = key
        world.clock.now += 1
    told = world.refused("conflict", 409, VENUE_A, "POST", "/v1/keys", {"key": Signer().public})
    assert "within a day" in told["detail"]
    add(world, VENUE_B)  # nobody else's affair
    world.clock.now += DAY - callers.MAX_ENDED_A_DAY
    add(world, VENUE_A)
    held = world.ledger.database.read(lambda tx: callers.keys_of(tx, "venue", "spoke-a"))
    assert len(held) == callers.MAX_ENDED_A_DAY + 2


def test_a_key_that_a_stranger_registered_first_is_not_lost_for_ever(world: World) -> None:
    """Whoever sees a public key may register it. An operator revokes it, and its owner can have it."""
    mine = Signer()
    squatted = add(world, VENUE_B, mine)["kid"]
    body = {"key": mine.public}
    world.refused("conflict", 409, ALICE, "POST", "/v1/keys", body)
    world.session.ok(OPS, "POST", f"/v1/keys/{squatted}/revoke")
    world.clock.now += callers.RELEASE_SECONDS
    world.refused("conflict", 409, ALICE, "POST", "/v1/keys", body)  # what it signed before may be good yet
    world.clock.now += 1
    assert add(world, ALICE, mine)["kid"] == squatted
    world.hub.signers[ALICE] = mine
    assert world.session.ok(ALICE, "GET", "/v1/accounts/alice")["account"] == "alice"
    world.refused("forbidden", 403, ALICE, "GET", "/v1/venues")


def test_an_ended_key_that_signed_for_an_account_stays_the_accounts(world: World) -> None:
    """The audit verifies what it authorised, whenever: to take it over would be to unsay that."""
    first = world.hub.signers[ALICE]
    body = world.session.credit_body("alice", world.snapshot, venue="spoke-a", amount="1")
    world.session.ok(VENUE_A, "POST", "/v1/credits", body)
    second = Signer()
    add(world, ALICE, second)
    world.session.ok(ALICE, "POST", f"/v1/keys/{RequestSigner(first.key, 'hub-1').keyid}/retire")
    world.clock.now += 2 * callers.RELEASE_SECONDS
    world.refused("conflict", 409, VENUE_B, "POST", "/v1/keys", {"key": first.public})
    world.refused("conflict", 409, OPS, "POST", "/v1/accounts", account_body("carol") | {"key": first.public})


# Clocks.


def test_a_server_whose_clock_is_behind_says_so(world: World) -> None:
    """The key begins later than the server thinks it is; the caller's clock is right."""
    key = Signer()
    begins = world.clock() + 20
    add(world, VENUE_A, key, not_before=begins)
    headers = RequestSigner(key.key, "hub-1").sign("GET", "/v1/venues/spoke-a", "", {}, b"", now=begins + 5)
    told = world.session.http.get("/v1/venues/spoke-a", headers=headers).json()
    world.is_problem(told, "key-not-valid", 401)
    times = {"server_time": world.clock(), "created": begins + 5, "not_before": begins, "not_after": callers.FOREVER}
    assert {name: told[name] for name in times} == times
    assert "set the clocks" in told["detail"]
    # The refused request was not used up: with its clock set, the server takes it.
    world.clock.now += 25
    assert world.session.http.get("/v1/venues/spoke-a", headers=headers).status_code == 200


def test_both_clocks_are_told_where_a_request_is_out_of_time(world: World) -> None:
    signer = RequestSigner(world.hub.operator.key, "hub-1")
    now = world.clock()
    for shift, field in ((3600, "created"), (-3600, "expires")):
        headers = signer.sign("GET", "/v1/venues", "", {}, b"", now=now + shift)
        told = world.session.http.get("/v1/venues", headers=headers).json()
        world.is_problem(told, "request-expired", 401)
        assert told["field"] == field
        assert f"said {now + shift}, this server's says {now}" in told["detail"]


def test_a_keys_time_is_told_to_who_has_it_alone(world: World) -> None:
    """A stranger who knows the key's name alone learns that his signature is none."""
    key = Signer()
    begins = world.clock() + 1000
    kid = add(world, VENUE_A, key, not_before=begins)["kid"]
    headers = RequestSigner(Signer().key, "hub-1").sign("GET", "/v1/venues/spoke-a", "", {}, b"", now=world.clock())
    name = next(name for name in headers if name.lower() == "signature-input")
    headers[name] = re.sub('keyid="[0-9a-f]+"', f'keyid="{kid}"', headers[name])
    world.is_problem(world.session.http.get("/v1/venues/spoke-a", headers=headers).json(), "signature-rejected", 401)
    headers = RequestSigner(key.key, "hub-1").sign("GET", "/v1/venues/spoke-a", "", {}, b"", now=world.clock())
    told = world.session.http.get("/v1/venues/spoke-a", headers=headers).json()
    assert f"begins at {begins}" in told["detail"]


# The journal.


def test_an_event_of_no_known_kind_is_not_recorded(world: World) -> None:
    def unit(tx: Connection) -> str:
        row = tx.execute(select(tables.accounts).where(tables.accounts.c.id == "alice")).one()
        event = events.Event("alice", row.events + 1, row.epoch, "renamed", world.clock(), row.head, b"{}")
        return events.record(world.ledger, tx, event)

    before = world.digest()
    with pytest.raises(InternalError):
        world.ledger.database.write(unit)
    assert world.digest() == before


def test_the_audit_replays_every_kind_and_no_other(tmp_path: Any) -> None:
    """An event of each, however wrong its content, is known to the replay."""

    ledger = Ledger(Database(sqlite_url(tmp_path)), vault([new_key()]), "hub-1", "USD", 2)

    def known(kind: str) -> bool:
        found: list[str] = []
        replay = Replay(ledger, {}, {}, found, {}, {})
        event = events.Event("alice", 1, 1, kind, 1, events.GENESIS, b'{"salt":"00"}')
        with suppress(CorruptData):
            replay._event(event, "event")
        return not any("no known kind" in finding for finding in found)

    assert [kind for kind in KINDS if not known(kind)] == []
    assert not known("renamed")
