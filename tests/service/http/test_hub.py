"""Every call of a hub as it should go, checked with what readers have: the verifier. On both databases."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import select

from tests.support.hubs import Signer
from tests.support.ledgers import DATABASES, World, fresh_url, publish_body, snapshot_at, started
from tests.support.toy import Tree, load_snapshot
from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.errors import CorruptData, StaleStatement
from zkmargin.prover.commitment import Opening
from zkmargin.service.client.signing import RequestSigner
from zkmargin.service.keys.vault import new_key, vault
from zkmargin.service.ledger import audit, callers, credits, setup
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.store import tables
from zkmargin.verifier.facts.attestation import verify_attestation
from zkmargin.verifier.facts.credit_entry import CreditEntry, check_follows, verify_credit_entry
from zkmargin.verifier.facts.hub_keys import KeyChain, public_key
from zkmargin.verifier.facts.transparency import (
    TreeHead,
    attestation_leaf,
    check_extends,
    verify_inclusion,
    verify_tree_head,
)

pytestmark = pytest.mark.slow

OPS, ALICE, BOB = "operator/ops", "account/alice", "account/bob"
VENUE_A, VENUE_B = "venue/spoke-a", "venue/spoke-b"


@pytest.fixture(params=DATABASES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A hub with two venues and two accounts; its ledger must be clean at the end."""
    with fresh_url(request.param, tmp_path_factory.mktemp("hub")) as url, started(url) as made:
        for name in ("spoke-a", "spoke-b"):
            made.session.venue(name)
        for name in ("alice", "bob"):
            made.session.account(name)
        yield made
        assert audit.run(made.hub.ledger).findings == []


def pinned(world: World) -> Ed25519PublicKey:
    return public_key(bytes.fromhex(world.hub.made["key"]))


def chain(world: World) -> KeyChain:
    """The hub's keys as a reader follows them from the pinned one."""
    documents = world.session.ok(None, "GET", "/v1/keys")["keys"]
    return KeyChain.follow([canonical_bytes(document) for document in documents], pinned(world))


def entry_of(world: World, answer: Tree) -> CreditEntry:
    return chain(world).verify(verify_credit_entry, canonical_bytes(answer["entry"]))


def head_of(world: World, document: Tree) -> TreeHead:
    return chain(world).verify(verify_tree_head, canonical_bytes(document))


def quantities(opening: Opening, world: World, snapshot: Any = None) -> dict[str, Any]:
    """What the holder reads of its own opening, in units."""
    snapshot = snapshot or world.snapshot
    return {inst.id: lots * inst.lot for inst, lots in zip(snapshot.instruments, opening.lots, strict=True) if lots}


def test_a_credits_life(world: World) -> None:
    """Request, consume with and without fills, pay, release, expire; each entry follows the one before."""
    s = world.session
    body = s.credit_body("alice", world.snapshot, venue="spoke-a", amount="300")
    issued = s.ok(VENUE_A, "POST", "/v1/credits", body, key="once")
    assert s.ok(VENUE_A, "POST", "/v1/credits", body, key="once") == issued
    assert (issued["amount"], issued["free"], issued["state"], issued["sequence"]) == ("300", "300", "live", 0)
    path = f"/v1/credits/{issued['credit']}"
    entry = entry_of(world, issued)
    assert (entry.account, entry.venue, entry.amount, entry.state) == ("alice", "spoke-a", "300", "live")
    assert entry.statement.hex() == body["proof"]["statement"]

    fills = [{"instrument": "PERPETUAL-2", "quantity": "1.5"}, {"instrument": "QUOTE-0", "quantity": "-96.4"}]
    used = s.ok(VENUE_A, "POST", f"{path}/consume", {"sequence": 1, "amount": "100", "fills": fills})
    assert used["attested"] is None
    idle = s.ok(VENUE_A, "POST", f"{path}/consume", {"sequence": 2, "amount": "20"})
    assert idle["attested"] is None
    freed = s.ok(VENUE_A, "POST", f"{path}/release", {"sequence": 3, "free": "30.5", "used": "0.5", "paid": "0.3"})
    assert freed["attested"]["epoch"] == issued["attested"]["epoch"] + 1
    assert (freed["free"], freed["used"], freed["released"]) == ("149.5", "119.5", "31")
    with world.later(3600 + 61):
        expired = s.ok(ALICE, "POST", f"{path}/expire")
        assert (expired["free"], expired["used"], expired["state"]) == ("0", "119.5", "live")
        # Once more frees nothing more.
        again = s.ok(OPS, "POST", f"{path}/expire")
        assert (again["sequence"], again["attested"]) == (expired["sequence"], None)
        closed = s.ok(VENUE_A, "POST", f"{path}/release", {"sequence": 5, "used": "119.5", "paid": "96.1"})
    assert (closed["state"], closed["released"]) == ("closed", "300")
    entries = [entry_of(world, answer) for answer in (issued, used, idle, freed, expired, closed)]
    for old, new in itertools.pairwise(entries):
        check_follows(old, new)

    opening, _ = s.opening("alice", world.snapshot)
    assert {k: str(float(v)) for k, v in quantities(opening, world).items()} == {"QUOTE-0": "903.6"}
    assert s.ok(ALICE, "GET", "/v1/accounts/alice")["live_credit"] == "0"
    assert s.ok(OPS, "GET", "/v1/venues/spoke-a")["exposure"] == "0"
    assert s.ok(VENUE_A, "GET", path)["entry"] == closed["entry"]


def test_a_credit_counts_against_the_next_proof(world: World) -> None:
    """Two venues on one equity: what the first got the second cannot, and after a release it can."""
    from zkmargin.prover.errors import NotSolvent

    s = world.session
    first = s.ok(VENUE_A, "POST", "/v1/credits", s.credit_body("alice", world.snapshot, venue="spoke-a", amount="600"))
    with pytest.raises(NotSolvent):
        s.credit_body("alice", world.snapshot, venue="spoke-b", amount="400.01")
    second = s.ok(VENUE_B, "POST", "/v1/credits", s.credit_body("alice", world.snapshot, venue="spoke-b", amount="400"))
    s.ok(VENUE_A, "POST", f"/v1/credits/{first['credit']}/release", {"sequence": 1, "free": "1"})
    third = s.ok(VENUE_B, "POST", "/v1/credits", s.credit_body("alice", world.snapshot, venue="spoke-b", amount="1"))
    # Lists: by venue, by account, all, live ones, page by page.
    ids = [first["credit"], second["credit"], third["credit"]]
    assert [c["credit"] for c in s.ok(VENUE_A, "GET", "/v1/credits")["credits"]] == ids[:1]
    assert [c["credit"] for c in s.ok(VENUE_B, "GET", "/v1/credits")["credits"]] == ids[1:]
    assert [c["credit"] for c in s.ok(ALICE, "GET", "/v1/credits")["credits"]] == ids
    assert s.ok(BOB, "GET", "/v1/credits") == {"credits": [], "next": None}
    seen, after = [], 0
    while True:
        page = s.ok(OPS, "GET", f"/v1/credits?limit=2&after={after}")
        seen += [c["credit"] for c in page["credits"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert seen == ids
    s.ok(VENUE_B, "POST", f"/v1/credits/{third['credit']}/release", {"sequence": 1, "free": "1"})
    assert [c["credit"] for c in s.ok(OPS, "GET", "/v1/credits?live=true")["credits"]] == ids[:2]
    assert s.ok(ALICE, "GET", "/v1/accounts/alice")["live_credit"] == "999"


def test_the_sweep_expires_what_is_due(world: World) -> None:
    s = world.session
    ids = [
        s.ok(VENUE_A, "POST", "/v1/credits", s.credit_body(name, world.snapshot, venue="spoke-a", amount="5"))["credit"]
        for name in ("alice", "bob")
    ]
    assert credits.sweep(world.ledger) == 0
    with world.later(3600 + 61):
        assert credits.sweep(world.ledger) == 2
        assert credits.sweep(world.ledger) == 0
    for credit in ids:
        assert s.ok(OPS, "GET", f"/v1/credits/{credit}")["state"] == "closed"
    assert callers.forget_nonces(world.ledger) == 0
    with world.later(10_000):
        assert callers.forget_nonces(world.ledger) > 10


def test_a_withdrawal_of_what_stays_proved(world: World) -> None:
    s = world.session
    credit = s.credit_body("alice", world.snapshot, venue="spoke-a", amount="300")
    s.ok(VENUE_A, "POST", "/v1/credits", credit)
    body = s.withdrawal_body("alice", world.snapshot, instrument="QUOTE-0", quantity="700")
    path = "/v1/accounts/alice/withdrawals"
    answer = s.ok(ALICE, "POST", path, body, key="pay")
    assert s.ok(ALICE, "POST", path, body, key="pay") == answer
    opening, _ = s.opening("alice", world.snapshot)
    assert quantities(opening, world) == {"QUOTE-0": 300, "CREDIT-1": 300}


def test_a_new_registry_keeps_quantities(world: World) -> None:
    """Other instruments, other lots, another order: recommitted on request and by the next change."""
    s = world.session
    s.ok(OPS, "POST", "/v1/accounts/alice/deposits", {"instrument": "SPOT-3", "quantity": "2.5", "reference": "r-1"})
    s.ok(VENUE_A, "POST", "/v1/credits", s.credit_body("alice", world.snapshot, venue="spoke-a", amount="100"))
    world.clock.now += 10
    tree = json.loads(snapshot_at(world.clock()).to_bytes())
    lines = {line["id"]: line for line in tree["instruments"]}
    spot = lines["SPOT-3"]
    spot["lot"] = "0.0005"
    spot["values"] = [f"{float(v) / 2:.6f}" for v in spot["values"]]
    extra = lines["SPOT-5"] | {"id": "SPOT-9"}
    newer = load_snapshot(tree | {"instruments": [extra, *reversed([v for k, v in lines.items() if k != "SPOT-5"])]})
    assert newer.registry_digest != world.snapshot.registry_digest
    s.publish(newer)
    held = {"QUOTE-0": 1000, "SPOT-3": 2.5, "CREDIT-1": 100}
    before = s.ok(ALICE, "GET", "/v1/accounts/alice")["epoch"]
    # The opening is of the old registry until somebody recommits.
    assert quantities(s.opening("alice", world.snapshot)[0], world) == held
    assert s.ok(ALICE, "POST", "/v1/accounts/alice/epochs")["epoch"] == before + 1
    opening, document = s.opening("alice", newer)
    assert quantities(opening, world, newer) == held
    assert verify_attestation(document, pinned(world)).registry == newer.registry_digest
    second = s.ok(VENUE_B, "POST", "/v1/credits", s.credit_body("alice", newer, venue="spoke-b", amount="50"))
    s.ok(VENUE_B, "POST", f"/v1/credits/{second['credit']}/release", {"sequence": 1, "free": "50"})
    # Bob's deposit moves him without being asked; an account opened now begins there.
    s.ok(OPS, "POST", "/v1/accounts/bob/deposits", {"instrument": "SPOT-9", "quantity": "1", "reference": "r-2"})
    assert quantities(s.opening("bob", newer)[0], world, newer) == {"QUOTE-0": 1000, "SPOT-9": 1}
    s.account("carol", cash="7")
    assert quantities(s.opening("carol", newer)[0], world, newer) == {"QUOTE-0": 7}


def test_a_registry_without_what_is_held_moves_nobody(world: World) -> None:
    s = world.session
    s.ok(OPS, "POST", "/v1/accounts/alice/deposits", {"instrument": "SPOT-3", "quantity": "2.5", "reference": "r-1"})
    world.clock.now += 10
    tree = json.loads(snapshot_at(world.clock()).to_bytes())
    lines = [line for line in tree["instruments"] if line["id"] != "SPOT-3"]
    s.publish(load_snapshot(tree | {"instruments": lines}))
    world.refused("position-limit", 409, ALICE, "POST", "/v1/accounts/alice/epochs")
    assert s.ok(BOB, "POST", "/v1/accounts/bob/epochs")["epoch"] == 3


def test_snapshots_are_read_by_anybody(world: World) -> None:
    s = world.session
    latest = s.ok(None, "GET", "/v1/snapshots/latest")
    assert latest == s.ok(None, "GET", f"/v1/snapshots/{world.snapshot.digest.hex()}")
    assert canonical_bytes(latest["snapshot"]) == world.snapshot.to_bytes()
    world.clock.now += 1
    body = publish_body(snapshot_at(world.clock()), world.hub.oracle.key)
    published = s.ok("oracle/feed", "POST", "/v1/snapshots", body, key="p")
    assert s.ok("oracle/feed", "POST", "/v1/snapshots", body, key="p") == published
    # The newest again under another key is no change either.
    assert s.ok("oracle/feed", "POST", "/v1/snapshots", body) == published
    assert s.ok(None, "GET", "/v1/snapshots/latest")["digest"] == published["digest"]


def test_the_log_shows_one_history(world: World) -> None:
    """Every attestation is a leaf; every size extends every earlier one."""
    s = world.session
    for _ in range(5):
        s.ok(ALICE, "POST", "/v1/accounts/alice/epochs")
    size = s.ok(None, "GET", "/v1/log/head")["size"]
    heads = {n: head_of(world, s.ok(None, "GET", f"/v1/log/head?size={n}")["head"]) for n in range(1, size + 1)}
    for first in range(1, size + 1):
        for second in (first, (first + size) // 2 + 1, size):
            if first <= second <= size:
                path = s.ok(None, "GET", f"/v1/log/consistency?first={first}&second={second}")["path"]
                check_extends(heads[first], heads[second], [bytes.fromhex(node) for node in path])
    for epoch in (1, 3, 7):
        got = s.ok(ALICE, "GET", f"/v1/accounts/alice/attestation?epoch={epoch}")
        inclusion = got["inclusion"]
        leaf = attestation_leaf(canonical_bytes(got["attestation"]))
        head = head_of(world, inclusion["head"])
        assert (head.size, inclusion["leaf"]) == (size, got["leaf"])
        path = [bytes.fromhex(node) for node in inclusion["path"]]
        verify_inclusion(leaf, got["leaf"], size, path, head.root)
        assert s.ok(None, "GET", f"/v1/log/inclusion?leaf={got['leaf']}") == inclusion


def test_a_venue_with_a_grant_sees_attestations(world: World) -> None:
    s = world.session
    path = "/v1/accounts/alice/attestation"
    s.refused("not-found", VENUE_A, "GET", path)
    assert s.ok(ALICE, "PUT", "/v1/accounts/alice/grants/spoke-a")["granted"]
    assert s.ok(ALICE, "PUT", "/v1/accounts/alice/grants/spoke-a")["granted"]
    assert s.ok(VENUE_A, "GET", path) == s.ok(ALICE, "GET", path) == s.ok(OPS, "GET", path)
    s.refused("not-found", VENUE_B, "GET", path)
    assert not s.ok(ALICE, "DELETE", "/v1/accounts/alice/grants/spoke-a")["granted"]
    s.refused("not-found", VENUE_A, "GET", path)


@pytest.mark.parametrize("caller", [OPS, "oracle/feed", VENUE_A, ALICE])
def test_callers_change_their_keys(world: World, caller: str) -> None:
    """Both keys hold in between; a key that begins later does not hold before; an ended one no more."""
    s, old, new = world.session, world.hub.signers[caller], Signer()
    probe = {"operator": "/v1/venues", "venue": "/v1/venues/spoke-a", "account": "/v1/accounts/alice"}
    kind = caller.split("/", maxsplit=1)[0]

    def allowed() -> bool:
        if kind == "oracle":  # forbidden is known
            return bool(s.call(caller, "GET", "/v1/venues").json()["code"] == "forbidden")
        return s.call(caller, "GET", probe[kind]).status_code == 200

    begins = world.clock() + 50
    view = s.ok(caller, "POST", "/v1/keys", {"key": new.public, "not_before": begins, "not_after": begins + 1000})
    assert view == {
        "kid": RequestSigner(new.key, "hub-1").keyid, "not_before": begins, "not_after": begins + 1000,
    }  # fmt: skip
    old_kid = RequestSigner(old.key, "hub-1").keyid
    s.refused("conflict", caller, "POST", f"/v1/keys/{old_kid}/retire")  # the new one does not hold yet
    world.hub.signers[caller] = new
    assert s.call(caller, "GET", "/v1/venues").json()["code"] == "key-not-valid"
    with world.later(60):
        assert allowed()
        world.hub.signers[caller] = old
        assert allowed()
        world.hub.signers[caller] = new
        s.ok(caller, "POST", f"/v1/keys/{old_kid}/retire")
    with world.later(61):
        world.hub.signers[caller] = old
        assert s.call(caller, "GET", "/v1/venues").json()["code"] == "key-not-valid"
        world.hub.signers[caller] = new
        assert allowed()
    with world.later(1100):
        assert s.call(caller, "GET", "/v1/venues").json()["code"] == "key-not-valid"


def test_the_hub_changes_its_signing_key(world: World) -> None:
    """Facts of before and after verify under one chain; a fact after a key's end would not."""
    s = world.session
    body = s.credit_body("alice", world.snapshot, venue="spoke-a", amount="10")
    before = s.ok(VENUE_A, "POST", "/v1/credits", body)
    start = world.clock() + 100
    made = setup.rotate_signing_key(world.hub.ledger, begins=start)
    path = f"/v1/credits/{before['credit']}/release"
    still = s.ok(VENUE_A, "POST", path, {"sequence": 1, "free": "1"})
    with world.later(100):
        after = s.ok(VENUE_A, "POST", path, {"sequence": 2, "free": "1"})
    keys = chain(world)
    assert [key.key.hex() for key in keys.keys] == [world.hub.made["key"], made.key]
    for answer, index in ((before, 0), (still, 0), (after, 1)):
        document = canonical_bytes(answer["entry"])
        assert verify_credit_entry(document, keys.keys[index].public_key()) == keys.verify(
            verify_credit_entry, document
        )
        attested = canonical_bytes(answer["attested"]["attestation"])
        verify_attestation(attested, keys.keys[index].public_key())
        keys.verify(verify_attestation, attested)
    # A third key, from the second's time on; then the second hand again after both have begun.
    with world.later(200):
        setup.rotate_signing_key(world.hub.ledger)
        assert len(chain(world).keys) == 3
        s.ok(VENUE_A, "POST", path, {"sequence": 3, "free": "1"})
        newest = chain(world)
        head = s.ok(None, "GET", "/v1/log/head")["head"]
        assert verify_tree_head(canonical_bytes(head), newest.keys[2].public_key()) == head_of(world, head)
    newest.check_extends(keys)
    short = KeyChain((newest.keys[0], newest.keys[1], *newest.keys[2:]))
    with pytest.raises(StaleStatement):
        short.verify(verify_credit_entry, canonical_bytes(after["entry"]), time_of=lambda _: start - 1)


def test_the_hub_changes_its_storage_key(world: World) -> None:
    """Everything is sealed anew under the new key while the hub runs; afterwards the old key opens nothing more."""
    s = world.session
    s.ok(VENUE_A, "POST", "/v1/credits", s.credit_body("alice", world.snapshot, venue="spoke-a", amount="10"), key="k")
    old = world.hub.ring.keys[0].secret.hex()
    ring = vault([new_key(), old])
    ledger = Ledger.open(world.hub.database, ring, clock=world.clock)
    world.ledger.vault = ring
    done = setup.reseal(ledger)
    assert done["signing_keys"] == 1
    assert done["accounts"] == 2
    assert done["events"] == 5
    assert done["idempotency"] >= 9
    assert sum(setup.reseal(ledger).values()) == 0
    alone = Ledger.open(world.hub.database, vault([ring.keys[0].secret.hex()]), clock=world.clock)
    assert audit.run(alone).findings == []
    world.ledger.vault = alone.vault
    s.opening("alice", world.snapshot)
    s.ok(ALICE, "POST", "/v1/accounts/alice/epochs")
    sealed = world.hub.database.read(lambda tx: tx.execute(select(tables.accounts.c.sealed)).scalars().first())
    assert sealed is not None
    with pytest.raises(CorruptData):
        vault([old]).open(bytes(sealed), purpose="account/alice/4")
    world.hub.ledger.vault = alone.vault


def test_operators_rule_over_venues_accounts_and_breakers(world: World) -> None:
    s = world.session
    assert s.ok(OPS, "PUT", "/v1/zones/zone-1", {"cap": "500"}) == {"zone": "zone-1", "cap": "500", "exposure": "0"}
    assert s.ok(OPS, "PUT", "/v1/venues/spoke-a/cap", {"cap": "12.5"})["cap"] == "12.5"
    assert [v["venue"] for v in s.ok(OPS, "GET", "/v1/venues")["venues"]] == ["spoke-a", "spoke-b"]
    assert s.ok(VENUE_A, "GET", "/v1/venues/spoke-a")["zone"] == "zone-1"
    body = s.credit_body("alice", world.snapshot, venue="spoke-a", amount="12.5")
    s.ok(OPS, "POST", "/v1/venues/spoke-a/suspend")
    s.refused("venue-suspended", VENUE_A, "POST", "/v1/credits", body)
    assert s.ok(OPS, "POST", "/v1/venues/spoke-a/resume")["state"] == "active"
    assert s.ok(OPS, "POST", "/v1/accounts/alice/freeze")["state"] == "frozen"
    s.refused("account-frozen", VENUE_A, "POST", "/v1/credits", body)
    assert s.ok(OPS, "POST", "/v1/accounts/alice/unfreeze")["state"] == "open"
    assert s.ok(OPS, "GET", "/v1/breakers") == {"breakers": []}
    opened = s.ok(OPS, "POST", "/v1/breakers/open", {"scope": "venue/spoke-a"})["breakers"]
    assert opened == [{"scope": "venue/spoke-a", "reason": "operator", "opened": world.clock()}]
    assert s.ok(VENUE_A, "GET", "/v1/breakers")["breakers"] == opened
    s.refused("breaker-open", VENUE_A, "POST", "/v1/credits", body)
    assert s.ok(OPS, "POST", "/v1/breakers/close", {"scope": "venue/spoke-a"}) == {"breakers": []}
    credit = s.ok(VENUE_A, "POST", "/v1/credits", body)
    # With everything shut, exposure still falls.
    s.ok(OPS, "POST", "/v1/venues/spoke-a/suspend")
    s.ok(OPS, "POST", "/v1/accounts/alice/freeze")
    s.ok(OPS, "POST", "/v1/breakers/open", {"scope": "hub"})
    path = f"/v1/credits/{credit['credit']}"
    s.ok(VENUE_A, "POST", f"{path}/consume", {"sequence": 1, "amount": "2.5"})
    s.ok(VENUE_A, "POST", f"{path}/release", {"sequence": 2, "free": "5", "used": "2.5"})
    with world.later(3600 + 61):
        assert s.ok(VENUE_A, "POST", f"{path}/expire")["state"] == "closed"


def test_a_jurisdictions_account_proves_its_rules(world: World) -> None:
    s = world.session
    s.account("eve", jurisdiction="retail")
    assert s.ok("account/eve", "GET", "/v1/accounts/eve")["jurisdiction"] == "retail"
    body = s.credit_body("eve", world.snapshot, venue="spoke-a", amount="10", overlays=["retail"])
    assert s.ok(VENUE_A, "POST", "/v1/credits", body)["state"] == "live"
    refused = {"account": "dave", "key": Signer().public, "encryption_key": Signer().encryption_public}
    world.refused("malformed-input", 422, OPS, "POST", "/v1/accounts", refused | {"jurisdiction": "mars"})


def test_proofs_are_verified_for_anybody(world: World) -> None:
    """The hub answers the verifier's calls too, and knows its own snapshots by digest."""
    s = world.session
    statement, proof = s.proof("alice", world.snapshot, venue="spoke-a", amount="10", expiry=int(time.time()) + 600)
    attestation = s.ok(ALICE, "GET", "/v1/accounts/alice/attestation")["attestation"]
    item = {"statement": json.loads(statement.to_bytes()), "proof": proof, "attestation": attestation}
    verdict = s.ok(None, "POST", "/v1/proofs/verify", item | {"hub_key": world.hub.made["key"]})
    assert (verdict["verdict"], verdict["account"]) == ("valid", "alice")
    both = s.ok(None, "POST", "/v1/proofs/verify-batch", {"items": [item, item], "hub_key": world.hub.made["key"]})
    assert (both["proofs"], both["valid"]) == (2, 2)
    assert world.session.http.get("/health/ready").json()["checks"] == {"database": "ok", "verification": "ok"}
    assert "zkmargin_http_requests_total" in world.session.http.get("/metrics").text
