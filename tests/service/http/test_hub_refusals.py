"""Whatever a hub must refuse: its own problem type, status and remedy, and not one row changed. On both databases."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest

from tests.support.hubs import Signer
from tests.support.ledgers import DATABASES, World, fresh_url, publish_body, snapshot_at, started
from tests.support.toy import Tree
from zkmargin.service.client.signing import RequestSigner
from zkmargin.service.ledger import setup

Change = Callable[[Tree], None]
OPS, ALICE, BOB = "operator/ops", "account/alice", "account/bob"
SPOKE_A, SPOKE_B = "venue/spoke-a", "venue/spoke-b"
CREDITS, ACCOUNTS = "/v1/credits", "/v1/accounts"


class Refusing(World):
    """A hub with venues in every state, accounts, and proofs that would pass if nothing were wrong."""

    credit: str
    bodies: dict[str, Tree]

    def fill(self) -> None:
        s = self.session
        s.venue("spoke-a")
        s.venue("spoke-b")
        s.venue("spoke-small", cap="10")
        s.venue("spoke-zone", zone="zone-2", zone_cap="10")
        s.venue("spoke-out")
        for name in ("alice", "bob", "frank"):
            s.account(name)
        s.account("eve", jurisdiction="retail")
        first = s.credit_body("alice", self.snapshot, spoke="spoke-a", amount="200")
        self.credit = s.ok(SPOKE_A, "POST", CREDITS, first)["credit"]
        report = {"sequence": 1, "amount": "50", "fills": []}
        s.ok(SPOKE_A, "POST", f"{CREDITS}/{self.credit}/consume", report)
        names = ("spoke-a", "spoke-small", "spoke-zone", "spoke-out")
        self.bodies = {
            name: s.credit_body("alice", self.snapshot, spoke=name, amount="100", expiry=self.clock() + 3000)
            for name in names
        }
        self.bodies["first"] = first
        self.bodies["eve"] = s.credit_body("eve", self.snapshot, spoke="spoke-a", amount="100")
        self.bodies["frank"] = s.credit_body("frank", self.snapshot, spoke="spoke-a", amount="100")
        s.ok(OPS, "POST", "/v1/venues/spoke-out/suspend")
        s.ok(OPS, "POST", f"{ACCOUNTS}/frank/freeze")

    def body(self, name: str = "spoke-a", **statement: Any) -> Tree:
        """A credit request that would pass, with members of its statement replaced and signed again."""
        tree: Tree = json.loads(json.dumps(self.bodies[name]))
        return self.session.restated(tree, **statement) if statement else tree

    def send(
        self,
        caller: str,
        body: Tree,
        spoil: Callable[[dict[str, str]], bytes | None],
        *,
        at: int = 0,
        hub: str = "hub-1",
    ) -> Tree:
        """A credit request whose signed headers or body are spoiled on the way; gives the problem."""
        data = json.dumps(body).encode()
        headers = {"content-type": "application/json", "Idempotency-Key": secrets.token_hex(8)}
        signer = RequestSigner(self.hub.signers[caller].key, hub)
        lines = signer.sign("POST", CREDITS, "", headers, data, now=self.clock() + at)
        signed = {name.lower(): value for name, value in lines.items()}
        before = self.digest()
        answer = self.session.http.post(CREDITS, content=spoil(signed) or data, headers=signed)
        assert answer.headers["content-type"] == "application/problem+json"
        assert self.digest() == before
        tree: Tree = answer.json()
        assert tree["status"] == answer.status_code
        return tree


@pytest.fixture(scope="module", params=DATABASES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Refusing]:
    with fresh_url(request.param, tmp_path_factory.mktemp("hub")) as url, started(url) as plain:
        made = Refusing(plain.session, plain.snapshot, plain.clock)
        made.fill()
        yield made
        # The clean control: what was refused with one thing wrong passes with nothing wrong.
        made.session.ok(SPOKE_A, "POST", CREDITS, made.body())


# Who asks.


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
    world.is_problem(world.send(SPOKE_A, world.body(), spoil), "signature-rejected", 401)


def test_a_replayed_request(world: Refusing) -> None:
    seen: dict[str, str] = {}
    # The first use is refused for its body alone, and still uses up the nonce.
    world.is_problem(world.send(SPOKE_A, {}, seen.update), "malformed-input", 422)
    before = world.digest()
    answer = world.session.http.post(CREDITS, content=b"{}", headers=seen)
    world.is_problem(answer.json(), "request-replayed", 409)
    assert world.digest() == before


@pytest.mark.parametrize("at", [-3600, -120, 45, 3600])
def test_an_expired_request_and_one_from_the_future(world: Refusing, at: int) -> None:
    world.is_problem(world.send(SPOKE_A, world.body(), lambda h: None, at=at), "request-expired", 401)


def test_an_unknown_key(world: Refusing) -> None:
    world.hub.signers["venue/nobody"] = Signer()
    world.refused("unknown-key", 401, "venue/nobody", "POST", CREDITS, world.body())


def test_another_hubs_request(world: Refusing) -> None:
    tree = world.send(SPOKE_A, world.body(), lambda h: None, hub="hub-2")
    world.is_problem(tree, "signature-rejected", 401)


@pytest.mark.parametrize(
    ("caller", "method", "path", "body"),
    [
        (ALICE, "POST", CREDITS, "credit"),
        (OPS, "POST", CREDITS, "credit"),
        (SPOKE_A, "GET", "/v1/venues", None),
        (SPOKE_A, "GET", "/v1/venues/spoke-b", None),
        (SPOKE_A, "POST", "/v1/venues/spoke-a/resume", None),
        (SPOKE_A, "PUT", "/v1/venues/spoke-a/cap", {"cap": "9"}),
        (SPOKE_A, "PUT", "/v1/zones/zone-1", {"cap": "9999999"}),
        (ALICE, "POST", f"{ACCOUNTS}/alice/deposits", {"instrument": "QUOTE-0", "quantity": "1", "reference": "x"}),
        (ALICE, "POST", f"{ACCOUNTS}/alice/freeze", None),
        (ALICE, "POST", f"{ACCOUNTS}/frank/unfreeze", None),
        (SPOKE_A, "POST", f"/v1/keys/{'0' * 32}/revoke", None),
        (ALICE, "POST", f"/v1/keys/{'0' * 32}/revoke", None),
        (SPOKE_A, "POST", "/v1/breakers/open", {"scope": "hub"}),
        (SPOKE_A, "POST", "/v1/breakers/close", {"scope": "hub"}),
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
        (SPOKE_A, "GET", f"{ACCOUNTS}/alice", None),
        (BOB, "GET", f"{ACCOUNTS}/alice/opening", None),
        (OPS, "GET", f"{ACCOUNTS}/alice/opening", None),
        (SPOKE_A, "GET", f"{ACCOUNTS}/alice/opening", None),
        ("oracle/feed", "GET", f"{ACCOUNTS}/alice/opening", None),
        (BOB, "GET", f"{ACCOUNTS}/alice/attestation", None),
        (SPOKE_B, "GET", f"{ACCOUNTS}/alice/attestation", None),
        (BOB, "PUT", f"{ACCOUNTS}/alice/grants/spoke-b", None),
        (SPOKE_B, "PUT", f"{ACCOUNTS}/alice/grants/spoke-b", None),
        (ALICE, "DELETE", f"{ACCOUNTS}/alice/grants/spoke-b", None),
        (BOB, "POST", f"{ACCOUNTS}/alice/epochs", None),
        (OPS, "GET", f"{ACCOUNTS}/nobody", None),
        (OPS, "POST", f"{ACCOUNTS}/nobody/freeze", None),
        (OPS, "POST", f"{ACCOUNTS}/nobody/deposits", {"instrument": "QUOTE-0", "quantity": "1", "reference": "x"}),
        (SPOKE_A, "GET", f"{CREDITS}/{'0' * 32}", None),
        (SPOKE_B, "GET", f"{CREDITS}/CREDIT", None),
        (BOB, "GET", f"{CREDITS}/CREDIT", None),
        (SPOKE_B, "POST", f"{CREDITS}/CREDIT/consume", {"sequence": 2, "amount": "1"}),
        (SPOKE_B, "POST", f"{CREDITS}/CREDIT/release", {"sequence": 2, "free": "1"}),
        (SPOKE_B, "POST", f"{CREDITS}/CREDIT/expire", None),
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


# Keys and names.


def test_the_last_key_stays(world: Refusing) -> None:
    kid = RequestSigner(world.hub.signers[SPOKE_B].key, "hub-1").keyid
    tree = world.refused("conflict", 409, SPOKE_B, "POST", f"/v1/keys/{kid}/retire")
    assert tree["field"] == "kid"
    # Nor is the last operator locked out by himself.
    kid = RequestSigner(world.hub.operator.key, "hub-1").keyid
    assert world.refused("conflict", 409, OPS, "POST", f"/v1/keys/{kid}/revoke")["field"] == "kid"


def test_a_key_is_somebodys_already(world: Refusing) -> None:
    taken = world.hub.signers[SPOKE_B].public
    tree = world.refused("conflict", 409, SPOKE_A, "POST", "/v1/keys", {"key": taken})
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


# Credits.


def test_a_suspended_venue(world: Refusing) -> None:
    world.refused("venue-suspended", 403, "venue/spoke-out", "POST", CREDITS, world.body("spoke-out"))


@pytest.mark.parametrize(("spoke", "scope"), [("spoke-small", "venue"), ("spoke-zone", "zone")])
def test_a_cap_that_would_be_exceeded(world: Refusing, spoke: str, scope: str) -> None:
    tree = world.refused("cap-exceeded", 409, f"venue/{spoke}", "POST", CREDITS, world.body(spoke))
    assert tree["scope"] == scope


def test_a_cap_below_what_is_out(world: Refusing) -> None:
    for path in ("/v1/venues/spoke-a/cap", "/v1/zones/zone-1"):
        tree = world.refused("cap-below-exposure", 409, OPS, "PUT", path, {"cap": "199.99"})
        assert tree["exposure"] == "200"


@pytest.mark.parametrize("scope", ["hub", "venue/spoke-a"])
def test_an_open_breaker(world: Refusing, scope: str) -> None:
    world.session.ok(OPS, "POST", "/v1/breakers/open", {"scope": scope})
    try:
        tree = world.refused("breaker-open", 409, SPOKE_A, "POST", CREDITS, world.body())
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
    tree = world.refused("statement-refused", 422, SPOKE_A, "POST", CREDITS, world.body(**change))
    assert tree["field"] == field


def test_a_statement_without_the_jurisdictions_rules(world: Refusing) -> None:
    tree = world.refused("statement-refused", 422, SPOKE_A, "POST", CREDITS, world.body("eve"))
    assert tree["field"] == "statement.overlays"


@pytest.mark.parametrize(
    "context", [{"account": "bob", "epoch": 2}, {"account": "nobody"}, {"epoch": 1}, {"epoch": 4711}]
)
def test_a_statement_of_what_the_hub_never_attested(world: Refusing, context: Tree) -> None:
    """The name or epoch of one commitment with another: whoever lacks the right one learns nothing of accounts."""
    tree = world.refused("statement-mismatch", 422, SPOKE_A, "POST", CREDITS, world.body(context=context))
    assert tree["field"] == "statement.commitment"


def test_a_stale_epoch(world: Refusing) -> None:
    """The proof that issued the first credit, once more: its epoch is over."""
    tree = world.refused("stale-epoch", 409, SPOKE_A, "POST", CREDITS, world.body("first"))
    assert tree["field"] == "statement.context.epoch"
    # Which epoch is the latest is for whoever has a grant: it would tell how often the account acts.
    assert "epoch" not in tree
    latest = world.session.ok(ALICE, "GET", f"{ACCOUNTS}/alice")["epoch"]
    assert str(latest) not in tree["detail"]


def test_a_credit_on_an_order(world: Refusing) -> None:
    """A public trade in the statement may never happen, so no credit rests on it: no such statement exists."""
    body = world.body()
    body["statement"]["delta"] = [{"instrument": "QUOTE-0", "quantity": "1000"}]
    tree = world.refused("malformed-input", 422, SPOKE_A, "POST", CREDITS, body)
    assert tree["field"] == "statement.delta"


def test_a_stale_snapshot(world: Refusing) -> None:
    """One that the hub never published, and one that is no longer in force."""
    tree = world.refused("stale-snapshot", 409, SPOKE_A, "POST", CREDITS, world.body(snapshot="ab" * 32))
    assert tree["newest"] == world.snapshot.digest.hex()
    with world.later(100_000):
        tree = world.refused("stale-snapshot", 409, SPOKE_A, "POST", CREDITS, world.body())
    assert tree["newest"] == world.snapshot.digest.hex()


def test_a_statement_outside_its_time(world: Refusing) -> None:
    with world.later(3001):
        tree = world.refused("stale-statement", 409, SPOKE_A, "POST", CREDITS, world.body())
    assert tree["field"] == "statement.context.expiry"


def test_more_than_was_proved(world: Refusing) -> None:
    tree = world.refused("amount-above-proof", 422, SPOKE_A, "POST", CREDITS, world.body() | {"amount": "100.01"})
    assert tree["proved"] == "100"


@pytest.mark.parametrize("amount", ["0", "-1", "0.001", "1e3", "92233720368547758.08", "9" * 79])
def test_an_amount_that_is_none(world: Refusing, amount: str) -> None:
    tree = world.refused("malformed-input", 422, SPOKE_A, "POST", CREDITS, world.body() | {"amount": amount})
    assert tree["field"] == "amount"


@pytest.mark.parametrize("seconds", [-1, 0, 7 * 86400 + 1])
def test_an_end_that_is_none(world: Refusing, seconds: int) -> None:
    until = world.clock() + seconds
    purpose = {"for": "credit", "venue": "spoke-a", "amount": "100", "expires": max(until, 0)}
    body = world.body(purpose=purpose) | {"expires": until}
    assert world.refused("malformed-input", 422, SPOKE_A, "POST", CREDITS, body)["field"] == "expires"


def test_a_proof_that_does_not_hold(world: Refusing) -> None:
    body = world.body()
    proof = body["proof"]["proof"]
    body["proof"]["proof"] = proof[:-2] + ("00" if proof[-2:] != "00" else "01")
    world.refused("proof-rejected", 422, SPOKE_A, "POST", CREDITS, body)
    body["proof"]["proof"] = "00"
    world.refused("malformed-proof", 422, SPOKE_A, "POST", CREDITS, body)


def test_a_proof_of_another_statement(world: Refusing) -> None:
    body = world.body()
    body["statement"]["amount"] = "150"
    world.refused("statement-mismatch", 422, SPOKE_A, "POST", CREDITS, body)


def test_a_frozen_account(world: Refusing) -> None:
    world.refused("account-frozen", 409, SPOKE_A, "POST", CREDITS, world.body("frank"))


# Reports.


@pytest.mark.parametrize("sequence", [1, 3, 2**53 - 1])
@pytest.mark.parametrize("call", ["consume", "release"])
def test_a_report_out_of_order(world: Refusing, call: str, sequence: int) -> None:
    body = {"sequence": sequence} | ({"amount": "1"} if call == "consume" else {"free": "1"})
    tree = world.refused("sequence-conflict", 409, SPOKE_A, "POST", f"{CREDITS}/{world.credit}/{call}", body)
    assert tree["expected"] == 2


@pytest.mark.parametrize(
    ("call", "body", "field"),
    [
        ("consume", {"amount": "150.01"}, "amount"),
        ("consume", {"amount": "92233720368547758.07"}, "amount"),
        ("release", {"free": "150.01"}, "free"),
        ("release", {"free": "1", "used": "50.01"}, "used"),
    ],
)
def test_more_than_there_is(world: Refusing, call: str, body: Tree, field: str) -> None:
    path = f"{CREDITS}/{world.credit}/{call}"
    tree = world.refused("amount-unavailable", 409, SPOKE_A, "POST", path, {"sequence": 2} | body)
    assert tree["field"] == field


def test_a_release_of_nothing(world: Refusing) -> None:
    path = f"{CREDITS}/{world.credit}/release"
    world.refused("malformed-input", 422, SPOKE_A, "POST", path, {"sequence": 2, "free": "0", "used": "0"})


def test_an_expiry_too_early(world: Refusing) -> None:
    for caller in (SPOKE_A, ALICE, OPS):
        world.refused("not-expired", 409, caller, "POST", f"{CREDITS}/{world.credit}/expire")
    with world.later(3600 + 60):  # the last second of the venue's grace
        world.refused("not-expired", 409, SPOKE_A, "POST", f"{CREDITS}/{world.credit}/expire")


def test_a_report_too_late(world: Refusing) -> None:
    body = {"sequence": 2, "amount": "1"}
    with world.later(3600 + 62):
        world.refused("credit-expired", 409, SPOKE_A, "POST", f"{CREDITS}/{world.credit}/consume", body)


@pytest.mark.parametrize("amount", ["0", "0.00"])
def test_a_report_of_nothing(world: Refusing, amount: str) -> None:
    """With no amount a venue could write to an account's journal for ever."""
    fills = [{"instrument": "QUOTE-0", "quantity": "-1"}]
    body = {"sequence": 2, "amount": amount, "fills": fills}
    tree = world.refused("malformed-input", 422, SPOKE_A, "POST", f"{CREDITS}/{world.credit}/consume", body)
    assert tree["field"] == "amount"


@pytest.mark.parametrize(
    ("instrument", "quantity"), [("", "1"), ("PERPETUAL-2", "x"), ("PERPETUAL-2", "1e3"), ("PERPETUAL-2", "9" * 82)]
)
def test_a_fill_of_no_form(world: Refusing, instrument: str, quantity: str) -> None:
    fills = [{"instrument": instrument, "quantity": quantity}]
    body = {"sequence": 2, "amount": "10", "fills": fills}
    tree = world.refused("malformed-input", 422, SPOKE_A, "POST", f"{CREDITS}/{world.credit}/consume", body)
    assert tree["field"].startswith("fills.0.")


@pytest.mark.parametrize(
    ("caller", "body", "code"),
    [
        (SPOKE_A, {"used": "10", "paid": "10.01"}, "malformed-input"),
        (SPOKE_A, {"free": "10", "paid": "10"}, "malformed-input"),
        (SPOKE_A, {"free": "10", "used": "1", "paid": "2"}, "malformed-input"),
        (SPOKE_A, {"used": "50.01", "paid": "50.01"}, "amount-unavailable"),
        (OPS, {"used": "10", "paid": "0.01"}, "malformed-input"),
        (SPOKE_A, {"used": "10", "paid": "-1"}, "malformed-input"),
        (SPOKE_A, {"used": "10", "paid": "0.001"}, "malformed-input"),
    ],
    ids=["more than is released", "out of what is free", "out of both", "more than is used", "by an operator",
         "backwards", "part of a quantum"],
)  # fmt: skip
def test_a_payment_beyond_used_credit(world: Refusing, caller: str, body: Tree, code: str) -> None:
    path = f"{CREDITS}/{world.credit}/release"
    status = 422 if code == "malformed-input" else 409
    world.refused(code, status, caller, "POST", path, {"sequence": 2} | body)


# Deposits and withdrawals.


def test_a_receipt_books_once(world: Refusing) -> None:
    body = {"instrument": "QUOTE-0", "quantity": "5", "reference": "custody-1"}
    world.session.ok(OPS, "POST", f"{ACCOUNTS}/bob/deposits", body)
    for account in ("bob", "eve"):
        tree = world.refused("conflict", 409, OPS, "POST", f"{ACCOUNTS}/{account}/deposits", body)
        assert tree["field"] == "reference"


def test_a_deposit_beyond_the_position_limit(world: Refusing) -> None:
    body = {"instrument": "QUOTE-0", "quantity": "1000000", "reference": "custody-2"}
    world.refused("position-limit", 409, OPS, "POST", f"{ACCOUNTS}/alice/deposits", body)


@pytest.mark.parametrize(
    ("instrument", "quantity", "field"),
    [
        ("NOPE", "1", "instrument"), ("PERPETUAL-2", "1", "instrument"), ("CREDIT-1", "1", "instrument"),
        ("QUOTE-0", "0", "quantity"), ("QUOTE-0", "-1", "quantity"), ("QUOTE-0", "0.001", "quantity"),
    ],
)  # fmt: skip
def test_a_deposit_of_what_custody_cannot_hold(world: Refusing, instrument: str, quantity: str, field: str) -> None:
    body = {"instrument": instrument, "quantity": quantity, "reference": "custody-3"}
    tree = world.refused("malformed-input", 422, OPS, "POST", f"{ACCOUNTS}/alice/deposits", body)
    assert tree["field"] == field


def withdrawal(world: Refusing, account: str, proved: str, asked: str, instrument: str = "QUOTE-0", **o: Any) -> Tree:
    body = world.session.withdrawal_body(
        account, world.snapshot, instrument=instrument, quantity=proved.removeprefix("-"), **o
    )
    return body | {"quantity": asked}


def test_a_withdrawal_of_more_than_was_proved(world: Refusing) -> None:
    path = f"{ACCOUNTS}/bob/withdrawals"
    for proved, asked in [("-10", "10.01"), ("-10", "9")]:
        tree = world.refused("statement-refused", 422, BOB, "POST", path, withdrawal(world, "bob", proved, asked))
        assert tree["field"] == "statement.delta"
    body = withdrawal(world, "bob", "-10", "10")
    body["instrument"] = "SPOT-3"
    world.refused("statement-refused", 422, BOB, "POST", path, body)


def test_a_withdrawal_of_what_is_not_held(world: Refusing) -> None:
    """Short of coins an account can be by trading alone."""
    body = withdrawal(world, "bob", "-1", "1", "SPOT-3")
    world.refused("position-limit", 409, BOB, "POST", f"{ACCOUNTS}/bob/withdrawals", body)


def test_a_withdrawal_that_is_somebody_elses(world: Refusing) -> None:
    body = withdrawal(world, "bob", "-1", "1")
    world.refused("malformed-input", 422, ALICE, "POST", f"{ACCOUNTS}/alice/withdrawals", body)
    for caller in (ALICE, OPS, SPOKE_A):
        world.refused("not-found", 404, caller, "POST", f"{ACCOUNTS}/bob/withdrawals", body)


def test_a_withdrawal_on_a_credits_proof(world: Refusing) -> None:
    body = world.body() | {"instrument": "QUOTE-0", "quantity": "1"}
    del body["amount"], body["expires"]
    tree = world.refused("statement-refused", 422, ALICE, "POST", f"{ACCOUNTS}/alice/withdrawals", body)
    assert tree["field"] == "statement.context.spoke"


def test_nothing_leaves_a_frozen_account_or_a_hub_with_an_open_breaker(world: Refusing) -> None:
    body = withdrawal(world, "frank", "-1", "1")
    world.refused("account-frozen", 409, "account/frank", "POST", f"{ACCOUNTS}/frank/withdrawals", body)
    world.session.ok(OPS, "POST", "/v1/breakers/open", {"scope": "hub"})
    try:
        body = withdrawal(world, "bob", "-1", "1")
        world.refused("breaker-open", 409, BOB, "POST", f"{ACCOUNTS}/bob/withdrawals", body)
    finally:
        world.session.ok(OPS, "POST", "/v1/breakers/close", {"scope": "hub"})


def test_a_withdrawal_of_a_stale_epoch(world: Refusing) -> None:
    body = withdrawal(world, "bob", "-1", "1")
    world.session.ok(BOB, "POST", f"{ACCOUNTS}/bob/epochs")
    world.refused("stale-epoch", 409, BOB, "POST", f"{ACCOUNTS}/bob/withdrawals", body)


# Idempotency.


def test_an_idempotency_key_with_another_body(world: Refusing) -> None:
    first = {"instrument": "QUOTE-0", "quantity": "5", "reference": "custody-4"}
    path = f"{ACCOUNTS}/bob/deposits"
    answer = world.session.ok(OPS, "POST", path, first, key="same")
    before = world.digest()
    assert world.session.ok(OPS, "POST", path, first, key="same") == answer
    assert world.digest() == before
    for other in (path, f"{ACCOUNTS}/eve/deposits"):
        body = first | {"quantity": "6"} if other == path else first
        world.refused("idempotency-mismatch", 422, OPS, "POST", other, body, key="same")
    # A key is its caller's own: another caller's is another key.
    world.session.ok(BOB, "POST", f"{ACCOUNTS}/bob/epochs", key="same")


@pytest.mark.parametrize("key", ["", "a b", "x" * 65])
def test_an_idempotency_key_that_is_none(world: Refusing, key: str) -> None:
    body = {"instrument": "QUOTE-0", "quantity": "5", "reference": "custody-5"}
    before = world.digest()
    data = json.dumps(body).encode()
    path = f"{ACCOUNTS}/bob/deposits"
    headers = {"content-type": "application/json", "idempotency-key": key}
    signer = RequestSigner(world.hub.signers[OPS].key, "hub-1")
    signed = signer.sign("POST", path, "", headers, data, now=world.clock())
    answer = world.session.http.post(path, content=data, headers=signed)
    world.is_problem(answer.json(), "malformed-input", 422)
    assert world.digest() == before


# Snapshots.


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


@pytest.mark.parametrize("kind", DATABASES)
def test_snapshots_move_on_and_breakers_open_by_themselves(kind: str, tmp_path: Any) -> None:
    """Superseded beyond the grace; a price that jumps; false proofs in a row. Then an account before any snapshot."""
    with fresh_url(kind, tmp_path) as url, started(url, max_failed_proofs=3) as plain:
        world = Refusing(plain.session, plain.snapshot, plain.clock)
        s = world.session
        s.venue("spoke-a")
        s.account("alice")
        good = s.credit_body("alice", world.snapshot, spoke="spoke-a", amount="10", expiry=world.clock() + 3000)
        world.bodies = {"spoke-a": good}
        false = world.body()
        false["proof"]["proof"] = false["proof"]["proof"][:-2] + "ff"
        for _ in range(2):
            s.call(SPOKE_A, "POST", CREDITS, false)
        # The third opens the venue's breaker, and nothing else.
        assert s.call(SPOKE_A, "POST", CREDITS, false).status_code == 422
        tree = world.refused("breaker-open", 409, SPOKE_A, "POST", CREDITS, world.body())
        assert (tree["scope"], tree["reason"]) == ("venue/spoke-a", "failed-proofs")
        s.ok(OPS, "POST", "/v1/breakers/close", {"scope": "venue/spoke-a"})
        newer = snapshot_at(world.clock())
        s.publish(newer)
        with world.later(61):
            tree = world.refused("stale-snapshot", 409, SPOKE_A, "POST", CREDITS, world.body())
            assert tree["newest"] == newer.digest.hex()
        with world.later(60):
            s.ok(SPOKE_A, "POST", CREDITS, world.body())
        with world.later(70):
            s.publish(snapshot_at(world.clock(), marks={"SPOT-3": "500"}))
            body = s.credit_body("alice", newer, spoke="spoke-a", amount="10")
            tree = world.refused("breaker-open", 409, SPOKE_A, "POST", CREDITS, body)
            assert (tree["scope"], tree["reason"]) == ("hub", "price-jump")
        with world.later(100_000):
            account = {"account": "carol", "key": Signer().public, "encryption_key": Signer().encryption_public}
            world.refused("stale-snapshot", 409, OPS, "POST", ACCOUNTS, account)
