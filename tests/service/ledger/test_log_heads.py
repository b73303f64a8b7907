"""The heads that a hub signs are ones that its readers take: recent, of the newest key, never back in time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection

from tests.support.ledgers import DATABASES, World, fresh_url, started
from tests.support.toy import Tree
from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.errors import CorruptData, MalformedInput, SignatureRejected
from zkmargin.service.ledger import accounts, audit, credits, setup, transparency
from zkmargin.service.ledger.context import Ledger
from zkmargin.verifier.facts.credit_entry import CreditEntry, check_follows, verify_credit_entry
from zkmargin.verifier.facts.hub_keys import KEY_GRACE, KeyChain, public_key
from zkmargin.verifier.facts.transparency import (
    MAX_HEAD_AGE,
    TreeHead,
    check_extends,
    check_recent,
    verify_tree_head,
)

ALICE, VENUE, CREDITS = "account/alice", "venue/spoke-a", "/v1/credits"


@pytest.fixture(params=DATABASES)
def world(request: pytest.FixtureRequest, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A hub whose server does not look at its head by itself, so that a test does."""
    monkeypatch.setattr("zkmargin.service.http.roles.hub.HEAD_SECONDS", 3600)
    with fresh_url(request.param, tmp_path) as url, started(url) as made:
        made.session.venue("spoke-a")
        made.session.account("alice")
        yield made
        assert audit.run(made.hub.ledger).findings == []


def chain(world: World) -> KeyChain:
    """The hub's keys."""
    documents = [canonical_bytes(key) for key in world.session.ok(None, "GET", "/v1/keys")["keys"]]
    return KeyChain.follow(documents, public_key(bytes.fromhex(world.hub.made["key"])))


def head(world: World) -> TreeHead:
    """The head that the hub shows, as a reader takes it who has the hub's clock."""
    document = canonical_bytes(world.session.ok(None, "GET", "/v1/log/head")["head"])
    found = chain(world).verify_current(verify_tree_head, document, now=world.clock())
    check_recent(found, world.clock())
    return found


def change(world: World) -> None:
    """One more leaf."""
    world.session.ok(ALICE, "POST", "/v1/accounts/alice/epochs")


def path(world: World, first: int, second: int) -> list[bytes]:
    """The consistency path between two sizes."""
    tree = world.session.ok(None, "GET", f"/v1/log/consistency?first={first}&second={second}")
    return [bytes.fromhex(h) for h in tree["path"]]


@pytest.mark.parametrize("back", [1, 120])
def test_heads_do_not_go_back_when_a_clock_does(world: World, back: int) -> None:
    """Another host of the hub is behind, or a booking waited for the log's row longer than the one after it."""
    world.clock.now += 600
    change(world)
    before = head(world)
    world.clock.now -= back
    change(world)
    document = canonical_bytes(world.session.ok(None, "GET", "/v1/log/head")["head"])
    after = chain(world).verify(verify_tree_head, document)
    assert (after.size, after.time) == (before.size + 1, before.time)
    check_extends(before, after, path(world, before.size, after.size))
    transparency.refresh(world.ledger)
    assert transparency.refresh(world.ledger) is False
    world.clock.now += back
    assert head(world) == after


def test_hosts_whose_clocks_disagree_sign_heads_in_order(world: World) -> None:
    """Two hosts book while a third signs the head anew, each by a clock of its own: the audit finds no head before the
    one it follows.
    """
    now = world.clock()
    books = [
        Ledger.open(world.hub.database, world.hub.ring, clock=lambda shift=shift: now + shift) for shift in (0, 45, -45)
    ]
    world.session.account("bob")
    first = head(world).size

    def work(host: int) -> None:
        ledger = books[host]
        for _ in range(8):
            if host == 2:
                ledger.database.write(lambda tx: transparency.resign(ledger, tx))
            else:
                name = ("alice", "bob")[host]
                ledger.database.write(lambda tx, name=name: accounts.recommit(ledger, tx, name))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    world.clock.now += 60
    heads = [
        chain(world).verify(
            verify_tree_head, canonical_bytes(world.session.ok(None, "GET", f"/v1/log/head?size={size}")["head"])
        )
        for size in range(first, first + 17)
    ]
    assert [h.time for h in heads] == sorted(h.time for h in heads)
    assert {h.time for h in heads[-8:]} != {now}


def test_the_head_of_an_idle_log_is_signed_anew(world: World) -> None:
    first = head(world)
    assert transparency.refresh(world.ledger) is False
    with world.later(transparency.REFRESH_SECONDS - 1):
        assert transparency.refresh(world.ledger) is False
    world.clock.now += transparency.REFRESH_SECONDS
    assert transparency.refresh(world.ledger) is True
    again = head(world)
    assert (again.size, again.root, again.time) == (first.size, first.root, world.clock())
    check_extends(first, again, [])
    assert 2 * transparency.REFRESH_SECONDS < MAX_HEAD_AGE


def test_without_it_readers_would_take_no_head_of_an_idle_hub(world: World) -> None:
    world.clock.now += MAX_HEAD_AGE + 60
    with pytest.raises(Exception, match="older"):
        head(world)
    transparency.refresh(world.ledger)
    assert head(world).time == world.clock()


def test_a_new_key_signs_the_head_in_the_moment_it_begins(world: World) -> None:
    before = head(world)
    setup.rotate_signing_key(world.ledger)
    world.clock.now += KEY_GRACE
    after = head(world)
    assert (after.size, after.root) == (before.size, before.root)
    assert transparency.refresh(world.ledger) is False


def test_a_key_that_begins_later_signs_the_head_soon_after(world: World) -> None:
    begins = world.clock() + 100
    setup.rotate_signing_key(world.ledger, begins=begins)
    assert (head(world).time < begins, transparency.refresh(world.ledger)) == (True, False)
    world.clock.now = begins
    assert transparency.refresh(world.ledger) is True
    world.clock.now += KEY_GRACE
    assert head(world).time == begins


def test_a_hub_without_a_leaf_has_no_head_to_sign(tmp_path: Any) -> None:
    with fresh_url("sqlite", tmp_path) as url, started(url) as made:
        ledger: Ledger = made.ledger
        assert transparency.refresh(ledger) is False
        setup.rotate_signing_key(ledger)
        assert transparency.refresh(ledger) is False
        assert made.session.call(None, "GET", "/v1/log/head").json()["code"] == "not-found"


def test_a_new_key_ends_no_earlier_than_the_one_before(world: World) -> None:
    """Else the superseded key would be the hub's newest again, and readers take nothing of it."""
    with pytest.raises(MalformedInput) as refused:
        setup.rotate_signing_key(world.ledger, seconds=setup.KEY_SECONDS - 3600)
    assert refused.value.field == "days"
    assert len(chain(world).keys) == 1
    setup.rotate_signing_key(world.ledger)


def entry_of(world: World, tree: Tree) -> CreditEntry:
    """The entry of an answer, as a reader takes it."""
    return chain(world).verify_current(verify_credit_entry, canonical_bytes(tree["entry"]), now=world.clock())


def shown(world: World, credit: str) -> list[Callable[[], Tree]]:
    """Every call that shows a credit as it is."""
    s = world.session
    return [
        lambda: s.ok(VENUE, "GET", f"{CREDITS}/{credit}"),
        lambda: s.ok(ALICE, "GET", CREDITS)["credits"][0],
        lambda: s.ok("operator/ops", "GET", f"{CREDITS}?live=true")["credits"][0],
    ]


def test_entries_are_shown_under_the_newest_key_and_stay_the_same_credit(world: World) -> None:
    s = world.session
    body = s.credit_body("alice", world.snapshot, venue="spoke-a", amount="10")
    issued = s.ok(VENUE, "POST", CREDITS, body)
    held = entry_of(world, issued)
    stored = world.digest()
    for show in shown(world, held.credit):
        assert entry_of(world, show()) == held
    setup.rotate_signing_key(world.ledger)
    first = world.digest()
    world.clock.now += KEY_GRACE
    with pytest.raises(Exception, match="superseded"):  # control: what is stored is the old key's
        entry_of(world, issued)
    for show in shown(world, held.credit):
        entry = entry_of(world, show())
        assert (entry.sequence, entry.time) == (held.sequence, world.clock())
        check_follows(held, entry)
    assert (world.digest() == first, first == stored) == (True, False)  # the rotation alone changed the ledger
    used = s.ok(VENUE, "POST", f"{CREDITS}/{held.credit}/consume", {"sequence": 1, "amount": "3"})
    check_follows(held, entry_of(world, used))
    after = entry_of(world, used)
    for show in shown(world, held.credit):  # of the newest key already: as it was signed
        assert entry_of(world, show()) == after
    world.clock.now += 10 * KEY_GRACE
    assert entry_of(world, shown(world, held.credit)[0]()) == after


def test_a_stored_entry_of_nobodys_key_is_not_signed_anew(world: World) -> None:
    from tests.support.hubs import Signer
    from zkmargin.service.keys.signing import sign_credit_entry
    from zkmargin.service.ledger import renewal

    s = world.session
    issued = s.ok(VENUE, "POST", CREDITS, s.credit_body("alice", world.snapshot, venue="spoke-a", amount="10"))
    false = sign_credit_entry(entry_of(world, issued), Signer().key)
    setup.rotate_signing_key(world.ledger)

    def unit(tx: Connection) -> None:
        held = credits.state_of(credits.read(tx, issued["credit"]))
        renewal.shown(world.ledger, tx, replace(held, entry=false.decode()))

    with pytest.raises(CorruptData, match="no key of the hub"):
        world.ledger.database.read(unit)
    with pytest.raises(SignatureRejected):
        entry_of(world, issued | {"entry": json.loads(false)})
