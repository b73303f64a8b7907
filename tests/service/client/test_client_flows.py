"""The client's flows against a real server: the whole life of a credit, sync and async, and a hub that lies."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import pytest
from sqlalchemy import update

from tests.support.hubs import Hub, Signer, hub_snapshot, sign_snapshot, sqlite_url
from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.errors import (
    LogForked,
    MalformedInput,
    NotSolvent,
    ProofRejected,
    SignatureRejected,
    StaleStatement,
    StatementMismatch,
    ZkMarginError,
)
from zkmargin.circuits.purpose import ForTrade
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.prover.commitment import commit
from zkmargin.prover.documents import opening_bytes
from zkmargin.service import client as hubs
from zkmargin.service.client import (
    AsyncHubClient,
    Demand,
    Flow,
    HubClient,
    HubProblem,
    Offer,
    RequestSigner,
    Retry,
    Trust,
)
from zkmargin.service.client.exchange import Response, post
from zkmargin.service.client.trust import from_bytes
from zkmargin.service.keys.sealing import seal_to
from zkmargin.service.keys.signing import sign_attestation, sign_credit_entry, sign_hub_key, sign_tree_head
from zkmargin.service.ledger import setup
from zkmargin.service.store import tables
from zkmargin.verifier.facts.attestation import Attestation, verify_attestation
from zkmargin.verifier.facts.credit_entry import verify_credit_entry
from zkmargin.verifier.facts.hub_keys import HubKey
from zkmargin.verifier.facts.transparency import TreeHead

T = TypeVar("T")
Tree = dict[str, Any]
Tamper = Callable[[str, Any], Any]
ONCE = Retry(tries=1)


class Liar(httpx2.BaseTransport):
    """The network of a hub that changes its answers: ``tamper`` gets path and JSON and gives other JSON."""

    honest = httpx2.HTTPTransport(verify=False)

    def __init__(self, tamper: Tamper) -> None:
        self.tamper = tamper

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = self.honest.handle_request(request)
        if answer.status_code >= 300:
            return answer
        tree = self.tamper(request.url.path, json.loads(answer.read()))
        return httpx2.Response(answer.status_code, json=tree)


def play(flow: Flow[T], answers: dict[str, Any]) -> T:
    """Run a flow on recorded answers by path."""
    try:
        request = next(flow)
        while True:
            if request.path not in answers:
                request = flow.throw(HubProblem("not-found", status=404, detail="nothing recorded"))
            else:
                request = flow.send(Response(200, {}, json.dumps(answers[request.path]).encode()))
    except StopIteration as stop:
        return stop.value


@dataclass
class World:
    """A running hub with prices, one venue, and an account for each use."""

    hub: Hub
    url: str
    snapshot: Snapshot
    trust: Trust = field(init=False)

    def __post_init__(self) -> None:
        self.trust = self.run(None, hubs.meet(bytes.fromhex(self.hub.made["key"]), hub="hub-1"))

    def run(self, caller: str | None, flow: Flow[T], tamper: Tamper | None = None) -> T:
        signer = None if caller is None else RequestSigner(self.hub.signers[caller].key, "hub-1")
        transport = Liar(tamper or (lambda _, tree: tree))
        return HubClient(self.url, signer=signer, retry=ONCE, transport=transport).run(flow)

    def run_async(self, caller: str | None, flow: Flow[T]) -> T:
        async def main() -> T:
            signer = None if caller is None else RequestSigner(self.hub.signers[caller].key, "hub-1")
            async with AsyncHubClient(self.url, signer=signer) as client:
                return await client.run(flow)

        return asyncio.run(main())

    @property
    def key(self) -> Any:
        """The hub's signing key: a lying hub has it."""
        return self.hub.ledger.database.read(lambda tx: self.hub.ledger.signing_key(tx, int(time.time()))).private

    def fresh(self) -> Trust:
        """A trust of its own for a test, as a file would keep it."""
        return from_bytes(self.trust.to_bytes())

    def prices(self) -> hubs.Prices:
        return self.run(None, hubs.fetch_prices([self.hub.oracle.key.public_key()]))

    def open(self, name: str, cash: str = "1000") -> Signer:
        self.hub.signers[f"account/{name}"] = signer = Signer()
        public, encryption = signer.public, signer.encryption_public
        self.run("operator/ops", hubs.open_account(self.trust, name, public=public, encryption_public=encryption))
        flow = hubs.deposit(self.trust, name, instrument="QUOTE-0", quantity=cash, reference=f"receipt-{name}")
        assert self.run("operator/ops", flow).attestation.epoch == 2
        return signer

    def holding(self, name: str, trust: Trust | None = None, tamper: Tamper | None = None) -> hubs.Holding:
        key = self.hub.signers[f"account/{name}"].encryption
        flow = hubs.fetch_holding(trust or self.trust, name, key, self.snapshot)
        return self.run(f"account/{name}", flow, tamper)

    def offer(self, name: str, amount: str = "10", **changes: Any) -> tuple[Demand, Offer]:
        demand = Demand.credit("spoke-a", amount, expires=int(time.time()) + 600, **changes)
        return demand, self.answer(name, demand)

    def answer(self, name: str, demand: Demand) -> Offer:
        """As a holder whose policy covers all that these tests demand."""
        key = self.hub.signers[f"account/{name}"].key
        return hubs.answer(demand, self.prices(), self.holding(name), policy=GENEROUS, key=key)

    def end(self, credit: hubs.Credit) -> None:
        """Make a credit end a second after its issue, which no client may ask for."""
        c = tables.credits.c
        change = update(tables.credits).where(c.id == credit.entry.credit).values(expires=credit.entry.issued + 1)
        self.hub.database.write(lambda tx: tx.execute(change))

    def credit(self, name: str, trust: Trust, amount: str = "10", tamper: Tamper | None = None) -> hubs.Credit:
        demand, offer = self.offer(name, amount)
        flow = hubs.request_credit(trust, demand, offer, self.prices())
        return self.run("venue/spoke-a", flow, tamper)


GENEROUS = hubs.Policy(
    shows=tuple(hubs.ShowRule(venue, "1000000", "1000") for venue in ("spoke-a", "spoke-b")),
    credits=(hubs.CreditRule("spoke-a", "5000", 3600),),
    trades=tuple(
        hubs.TradeRule(venue, ("PERPETUAL-2", "QUOTE-0", "SPOT-3", "CREDIT-1"), "1000000", ("any", "alice", "bob"))
        for venue in ("spoke-a", "spoke-b")
    ),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("hub")
    hub = Hub(sqlite_url(directory))
    with hub.running(directory / "log", report_grace=0, sweep_seconds=3600) as url:
        made = World(hub, url, hub_snapshot(hub.now - 5))
        signed = sign_snapshot(hub.oracle.key, made.snapshot)
        made.run("oracle/feed", hubs.publish_snapshot(made.snapshot.to_bytes(), signed))
        hub.signers["venue/spoke-a"] = venue = Signer()
        made.run("operator/ops", hubs.set_zone("zone-1", "5000"))
        flow = hubs.register_venue("spoke-a", caip2="eip155:1", zone="zone-1", cap="4000", public=venue.public)
        made.run("operator/ops", flow)
        made.open("alice")
        made.open("bob")
        yield made


@pytest.mark.parametrize("way", ["run", "run_async"])
def test_the_whole_life_of_a_credit(world: World, way: str) -> None:
    run = getattr(world, way)
    name, venue = f"life-{way.replace('_', '-')}", world.fresh()
    me = f"account/{name}"
    secret = world.open(name)
    prices = run(None, hubs.fetch_prices([Signer().key.public_key(), world.hub.oracle.key.public_key()]))
    assert prices == run(
        None, hubs.fetch_prices([world.hub.oracle.key.public_key()], digest=prices.snapshot.digest.hex())
    )

    def holding() -> hubs.Holding:
        return run(me, hubs.fetch_holding(world.trust, name, secret.encryption, prices.snapshot))

    end = int(time.time()) + 600

    def answer(demand: Demand) -> Offer:
        return hubs.answer(demand, prices, holding(), policy=GENEROUS, key=secret.key)

    def withdrawn(quantity: str) -> Any:
        own = holding()
        stated = hubs.withdrawal_statement(prices, own, instrument="QUOTE-0", quantity=quantity, destination="vault-1")
        signed = hubs.authorise(stated, secret.key, now=int(time.time()))
        return run(me, hubs.withdraw(world.trust, prices, own, statement=stated, authorisation=signed))

    wanted = Demand.credit("spoke-a", "300", expires=end, caip2="eip155:1", overlays=(), delta=())
    demand = Demand.from_bytes(wanted.to_bytes())
    assert demand == wanted
    offer = Offer.from_bytes(answer(demand).to_bytes())
    assert run(None, hubs.check_offer(venue, demand, offer, prices)).attestation.epoch == 2
    first = run("venue/spoke-a", hubs.request_credit(venue, demand, offer, prices, expires=end, key=f"once-{way}"))
    again = run("venue/spoke-a", hubs.request_credit(venue, demand, offer, prices, expires=end, key=f"once-{way}"))
    assert first == again
    assert first.attested is not None
    with pytest.raises(StaleStatement):
        run(None, hubs.check_offer(venue, demand, offer, prices))
    with pytest.raises(HubProblem) as stale:
        run("venue/spoke-a", hubs.request_credit(venue, demand, offer, prices, expires=end))
    assert (stale.value.code, set(stale.value.extensions)) == ("stale-epoch", {"instance"})  # not which epoch it is
    with pytest.raises(NotSolvent):
        answer(Demand.credit("spoke-a", "701", expires=end))

    legs = [("PERPETUAL-2", "1"), ("QUOTE-0", "-64.25")]
    before = holding().opening.lots
    used = run("venue/spoke-a", hubs.consume(venue, first.entry, amount="100", fills=legs))
    assert (used.entry.used, used.entry.sequence, used.attested) == ("100", 1, None)
    assert holding().opening.lots == before  # a report moves nothing
    more = run("venue/spoke-a", hubs.consume(venue, used.entry, amount="0.5"))
    back = run("venue/spoke-a", hubs.release(venue, more.entry, free="199.5", used="50", paid="20"))
    assert (back.entry.used, back.entry.released, back.entry.state) == ("50.5", "249.5", "live")
    cash = prices.snapshot.index["QUOTE-0"]
    assert (before[cash] - holding().opening.lots[cash]) * prices.snapshot.instruments[cash].lot == 20
    with pytest.raises(MalformedInput):
        run("venue/spoke-a", hubs.release(venue, back.entry, used="1", paid="1.5"))
    assert run("venue/spoke-a", hubs.fetch_credit(venue, first.entry.credit, held=more.entry)).entry == back.entry
    assert [c.entry for c in run(me, hubs.fetch_credits(world.trust, live=True))] == [back.entry]
    with pytest.raises(StatementMismatch):  # the one held is newer
        run("venue/spoke-a", hubs.fetch_credit(venue, first.entry.credit, held=replace(back.entry, sequence=9)))

    demand = Demand.credit("spoke-a", "1", expires=end)
    offer = answer(demand)
    soon = run("venue/spoke-a", hubs.request_credit(venue, demand, offer, prices, expires=end))
    world.end(soon)
    while True:
        try:
            gone = run("venue/spoke-a", hubs.expire(venue, soon.entry))
            break
        except HubProblem as early:
            assert early.code == "not-expired"  # noqa: PT017 - it is raised until it is not
            time.sleep(0.3)
    assert (gone.entry.state, gone.entry.released) == ("closed", "1")

    out = withdrawn("10")
    assert run(me, hubs.recommit(world.trust, name)).attestation.epoch == out.attestation.epoch + 1
    with pytest.raises(NotSolvent):
        withdrawn("990")
    with pytest.raises(HubProblem, match="no such account"):
        run("venue/spoke-a", hubs.fetch_attestation(venue, name))
    run(me, hubs.set_grant(name, "spoke-a", granted=True))
    assert run("venue/spoke-a", hubs.fetch_attestation(venue, name, epoch=2)).attestation.epoch == 2
    run(me, hubs.set_grant(name, "spoke-a", granted=False))
    assert run(me, hubs.fetch_account(name))["live_credit"] == "50.5"
    assert run(None, hubs.fetch_head(venue)).size == venue.head.size
    assert from_bytes(venue.to_bytes()) == venue


def trade_of(world: World, quantity: str = "2") -> tuple[tuple[Demand, Offer], tuple[Demand, Offer]]:
    """Alice buys perpetuals of bob: both offers, proved."""
    legs = (("PERPETUAL-2", quantity), ("QUOTE-0", "-64.25"))
    demands = [Demand.from_bytes(d.to_bytes()) for d in hubs.trade_demands("spoke-a", legs, limit="100")]
    offers = [world.answer(name, demand) for demand, name in zip(demands, ("alice", "bob"), strict=True)]
    return (demands[0], offers[0]), (demands[1], offers[1])


def held(world: World) -> dict[str, tuple[int, ...]]:
    return {name: tuple(world.holding(name).opening.lots) for name in ("alice", "bob")}


def test_a_trade_moves_the_legs_from_one_account_to_the_other_and_makes_nothing(world: World) -> None:
    trust, before = world.fresh(), held(world)
    maker, taker = trade_of(world)
    flow = hubs.book_trade(trust, maker, taker, world.prices(), key="trade-1")
    done = world.run("venue/spoke-a", flow)
    again = world.run("venue/spoke-a", hubs.book_trade(trust, maker, taker, world.prices(), key="trade-1"))
    assert again == done
    for attested, (_, offer) in ((done.maker, maker), (done.taker, taker)):
        context = offer.statement.context
        assert (attested.attestation.account, attested.attestation.epoch) == (context.account, context.epoch + 1)
        assert trust.newest(context.account) == context.epoch + 1
    after = held(world)
    moved = [[b - a for a, b in zip(before[name], after[name], strict=True)] for name in ("alice", "bob")]
    assert [a + b for a, b in zip(*moved, strict=True)] == [0] * 6
    row = world.snapshot.index["PERPETUAL-2"]
    assert moved[0][row] * world.snapshot.instruments[row].lot == 2
    with pytest.raises(HubProblem) as stale:
        world.run("venue/spoke-a", hubs.book_trade(trust, maker, taker, world.prices()))
    assert stale.value.code == "stale-epoch"


def test_two_offers_that_are_no_trade_are_not_sent(world: World) -> None:
    (demand, offer), (counter, other) = trade_of(world)
    asked = demand.nonce
    wrong = replace(other.statement, delta=(("PERPETUAL-2", "-2"), ("QUOTE-0", "64.26")))
    cases: list[tuple[tuple[Demand, Offer], str]] = [
        ((demand, offer), "taker.statement.context.account"),
        ((counter, replace(other, statement=wrong)), "taker.statement.delta"),
        ((replace(counter, nonce=asked), other), "statement.context.nonce"),
    ]
    for taker, place in cases:
        flow = hubs.book_trade(world.fresh(), (demand, offer), taker, world.prices())
        with pytest.raises(StatementMismatch) as refused:
            world.run("venue/spoke-a", flow)
        assert refused.value.field == place
    flipped = replace(other, proof=bytes([*other.proof[:-1], other.proof[-1] ^ 1]))
    flow = hubs.book_trade(world.fresh(), (demand, offer), (counter, flipped), world.prices())
    with pytest.raises(ProofRejected):
        world.run("venue/spoke-a", flow)


def send_trade(*sides: Offer) -> Flow[Tree]:
    """As a venue that checks nothing."""
    body = {"maker": sides[0].evidence(), "taker": sides[1].evidence()}
    return (yield post("/v1/trades", body, idempotency_key=hubs.new_idempotency_key())).json()


def test_the_hub_books_no_trade_that_makes_value_or_is_another_venues(world: World) -> None:
    """Whatever a venue colludes in: both proofs hold, and the legs do not match."""
    world.credit("alice", world.fresh(), "5")
    (_, maker), (_, taker) = trade_of(world)
    credit = next(i.id for i in world.snapshot.instruments if i.kind == "credit")
    before = held(world)

    def offer(name: str, *legs: tuple[str, str], venue: str = "spoke-a") -> Offer:
        return world.answer(name, Demand(venue, "0", delta=legs, purpose=ForTrade("1000000", "any")))

    cases = [
        (maker, offer("bob", ("PERPETUAL-2", "-1"), ("QUOTE-0", "64.25"))),
        (maker, offer("bob", ("PERPETUAL-2", "-2"))),
        (maker, offer("alice", ("PERPETUAL-2", "-2"), ("QUOTE-0", "64.25"))),
        (maker, offer("bob", ("PERPETUAL-2", "-2"), ("QUOTE-0", "64.25"), venue="spoke-b")),
    ]
    # What is no trade at all is not even proved: no legs, and credit as a leg.
    with pytest.raises(MalformedInput):
        offer("alice")
    with pytest.raises(StatementMismatch):
        offer("alice", (credit, "-1"))
    for sides in cases:
        with pytest.raises(HubProblem) as refused:
            world.run("venue/spoke-a", send_trade(*sides))
        assert refused.value.code in ("statement-refused", "malformed-input")
    with pytest.raises(HubProblem, match="only for"):
        world.run("account/alice", send_trade(maker, taker))
    with pytest.raises(NotSolvent):  # more than the account can pay
        offer("bob", ("QUOTE-0", "-100000"))
    assert held(world) == before


def test_an_operator_releases_for_a_venue_that_is_gone_without_payment(world: World) -> None:
    trust = world.fresh()
    credit = world.credit("bob", trust, "5")
    used = world.run("venue/spoke-a", hubs.consume(trust, credit.entry, amount="3"))
    cash = held(world)["bob"]
    for caller, code in (("operator/ops", "malformed-input"), ("account/bob", "forbidden")):
        with pytest.raises(HubProblem) as refused:
            world.run(caller, hubs.release(trust, used.entry, used="3", paid="1"))
        assert refused.value.code == code
    back = world.run("operator/ops", hubs.release(trust, used.entry, free="2", used="3"))
    row = world.snapshot.index["QUOTE-0"]
    assert (back.entry.state, held(world)["bob"][row]) == ("closed", cash[row])


def test_the_answer_on_a_trade_is_both_accounts_next_epochs(world: World) -> None:
    maker, taker = trade_of(world, "1")
    honest: Tree = {}
    flow = hubs.book_trade(world.fresh(), maker, taker, world.prices(), key="trade-2")
    world.run("venue/spoke-a", flow, lambda path, tree: honest.update({path: tree}) or tree)
    answer = honest["/v1/trades"]
    first = world.run("account/bob", hubs.fetch_attestation(world.fresh(), "bob", epoch=1))
    old = {"account": "bob", "epoch": 1, "leaf": first.leaf, "attestation": json.loads(first.document)}
    fact = verify_attestation(canonical_bytes(answer["taker"]["attestation"]), world.key.public_key())
    ahead = json.loads(sign_attestation(replace(fact, epoch=fact.epoch + 1), world.key))
    strange = json.loads(sign_attestation(fact, Signer().key))
    cases: list[tuple[Tree, type[ZkMarginError]]] = [
        (answer | {"taker": answer["maker"]}, StatementMismatch),
        (answer | {"taker": old}, StatementMismatch),
        (answer | {"taker": answer["taker"] | {"attestation": ahead}}, ProofRejected),  # not in the log
        (answer | {"taker": answer["taker"] | {"attestation": strange}}, SignatureRejected),
        ({name: answer[name] for name in ("trade", "maker")}, MalformedInput),
    ]
    for bad, error in cases:
        flow = hubs.book_trade(world.fresh(), maker, taker, world.prices(), key="trade-2")
        with pytest.raises(error):
            world.run("venue/spoke-a", flow, lambda p, t, bad=bad: bad if p == "/v1/trades" else t)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"venue": "spoke-b"}, "context.spoke"), ({"nonce": "0" * 32}, "context.nonce"),
        ({"amount": "10.01"}, "amount"), ({"multiplier": "1.5"}, "multiplier"), ({"max_horizon": 3599}, "horizon"),
        ({"overlays": ("eu",)}, "overlays"),
        ({"delta": (("QUOTE-0", "1"),)}, "delta"),
    ],
)  # fmt: skip
def test_an_offer_must_be_what_was_demanded(world: World, change: Tree, field: str) -> None:
    demand, offer = world.offer("alice")
    other = replace(demand, **change)
    with pytest.raises(StatementMismatch) as refused:
        world.run(None, hubs.check_offer(world.fresh(), other, offer, world.prices()))
    assert refused.value.field == f"statement.{field}"


def test_a_venue_makes_every_check_of_an_offer(world: World) -> None:
    prices = world.prices()
    demand, offer = world.offer("alice")
    flipped = bytes([*offer.proof[:-1], offer.proof[-1] ^ 1])
    forged = sign_attestation(verify_attestation(offer.attestation, world.key.public_key()), Signer().key)
    old = replace(prices, signature=replace(prices.signature, valid_until=int(time.time()) - 1))
    cases: list[tuple[Offer, hubs.Prices, int | None, type[ZkMarginError]]] = [
        (replace(offer, proof=flipped), prices, None, ProofRejected),
        (replace(offer, attestation=forged), prices, None, SignatureRejected),
        (replace(offer, attestation=world.offer("bob")[1].attestation), prices, None, StatementMismatch),
        (replace(offer, leaf=0), prices, None, ProofRejected),
        (offer, old, None, StaleStatement),
        (offer, prices, int(time.time()) + 601, StaleStatement),
    ]
    for bad, at, now, error in cases:
        trust = world.fresh()
        if now is not None:
            trust.clock = lambda now=now: now
        with pytest.raises(error):
            world.run(None, hubs.check_offer(trust, demand, bad, at))
    with pytest.raises(HubProblem):  # a leaf that the log does not have
        world.run(None, hubs.check_offer(world.fresh(), demand, replace(offer, leaf=10**6), prices))


def test_a_new_signing_key_is_followed(tmp_path: Path) -> None:
    hub = Hub(sqlite_url(tmp_path))
    with hub.running(tmp_path / "log") as url:
        world = World(hub, url, hub_snapshot(hub.now - 5))
        signed = sign_snapshot(hub.oracle.key, world.snapshot)
        world.run("oracle/feed", hubs.publish_snapshot(world.snapshot.to_bytes(), signed))
        world.open("alice")
        before, kept = len(world.trust.keys), world.fresh()
        made = setup.rotate_signing_key(hub.ledger)
        size = 2
        while len(world.trust.keys) == before:  # the server looks for a new key every few seconds
            document = world.run("account/alice", hubs.recommit(world.trust, "alice")).document
            size += 1
            time.sleep(0.2)
        assert (before, len(world.trust.keys)) == (1, 2)
        verify_attestation(document, world.trust.chain.keys[1].public_key())
        assert world.trust.chain.keys[1].key.hex() == made["key"]
        assert world.run(None, hubs.fetch_head(kept)).size == size
        # A hub that takes the new key back, or puts another in its place, is on another branch.
        with pytest.raises(StatementMismatch):
            world.run(None, hubs.follow_keys(world.trust), lambda _, tree: tree | {"keys": tree["keys"][:1]})
        first = world.trust.chain.keys[0]
        other = HubKey("hub-1", b"\7" * 32, made["not_before"], made["not_after"], first.key)
        row = hub.ledger.database.read(lambda tx: hub.ledger.signing_key(tx, hub.now - 30))
        fork = json.loads(sign_hub_key(other, row.private))
        with pytest.raises(StatementMismatch):
            world.run(None, hubs.follow_keys(world.trust), lambda _, tree: tree | {"keys": [tree["keys"][0], fork]})


def test_another_hub_than_the_pinned_one_is_refused(world: World) -> None:
    with pytest.raises(SignatureRejected):
        world.run(None, hubs.meet(bytes.fromhex(Signer().public)))
    with pytest.raises(StatementMismatch):
        world.run(None, hubs.meet(bytes.fromhex(world.hub.made["key"]), hub="hub-2"))
    assert world.run(None, hubs.meet(bytes.fromhex(world.hub.made["key"]))).hub == "hub-1"


def signed_head(world: World, size: int, root: bytes) -> Tree:
    return json.loads(sign_tree_head(TreeHead("hub-1", size, root, int(time.time())), world.key))


def test_two_histories_of_one_size_convict_the_hub(world: World) -> None:
    trust = world.fresh()
    held = world.run(None, hubs.fetch_head(trust))
    with pytest.raises(LogForked) as caught:
        world.run(
            None, hubs.fetch_head(trust), lambda _, tree: {"size": 1, "head": signed_head(world, held.size, b"\1" * 32)}
        )
    assert (caught.value.proven, caught.value.held, trust.head) == (True, held, held)


def test_a_head_that_does_not_extend_the_one_held_is_a_fork(world: World) -> None:
    trust = world.fresh()
    held = world.run(None, hubs.fetch_head(trust))
    world.run("account/bob", hubs.recommit(world.trust, "bob"))

    def tamper(path: str, tree: Any) -> Any:
        return {"size": 1, "head": signed_head(world, held.size + 1, b"\1" * 32)} if path.endswith("head") else tree

    with pytest.raises(LogForked) as caught:
        world.run(None, hubs.fetch_head(trust), tamper)
    assert not caught.value.proven
    assert trust.head == held
    older = world.fresh()
    world.run(None, hubs.fetch_head(older))
    late = {"size": 1, "head": json.loads(held.document)}  # an earlier head of the same history is none
    assert world.run(None, hubs.fetch_head(older), lambda p, t: late if p.endswith("head") else t) == held
    assert older.head.size > held.size


def test_another_accounts_attestation_is_caught(world: World) -> None:
    other = json.loads(world.holding("bob").attested.document)
    flow = hubs.fetch_attestation(world.fresh(), "alice")
    with pytest.raises(StatementMismatch, match="another account"):
        world.run("account/alice", flow, lambda _, tree: tree | {"attestation": other})
    flow = hubs.fetch_attestation(world.fresh(), "alice", epoch=1)
    newest = world.run("account/alice", hubs.fetch_attestation(world.fresh(), "alice"))

    def swap(path: str, tree: Any) -> Any:
        if not path.endswith("attestation"):
            return tree
        return {"leaf": newest.leaf, "attestation": json.loads(newest.document)}

    with pytest.raises(StatementMismatch, match="another epoch"):
        world.run("account/alice", flow, swap)


def test_an_attestation_outside_the_log_is_caught(world: World) -> None:
    held = world.holding("alice").attested.attestation
    secret = json.loads(sign_attestation(replace(held, commitment=commit([0] * 6, 256)[0]), world.key))
    for tamper in (
        lambda _, tree: tree | {"attestation": secret},
        lambda _, tree: tree | {"inclusion": tree["inclusion"] | {"path": tree["inclusion"]["path"][::-1][1:]}},
    ):
        with pytest.raises(ProofRejected):
            world.run("account/alice", hubs.fetch_attestation(world.fresh(), "alice"), tamper)
    for change in ({"leaf": 0}, {"size": 1}):
        with pytest.raises(StatementMismatch):
            world.run(
                "account/alice", hubs.fetch_attestation(world.fresh(), "alice"),
                lambda _, tree, change=change: tree | {"inclusion": tree["inclusion"] | change},
            )  # fmt: skip


def test_an_older_epoch_or_a_second_commitment_is_caught(world: World) -> None:
    trust = world.fresh()
    newest = world.run("account/alice", hubs.fetch_attestation(trust, "alice"))
    first = world.run("account/alice", hubs.fetch_attestation(trust, "alice", epoch=1))

    def replay(path: str, tree: Any) -> Any:
        if not path.endswith("attestation"):
            return tree
        return {"leaf": first.leaf, "attestation": json.loads(first.document)}

    with pytest.raises(StaleStatement):
        world.run("account/alice", hubs.fetch_attestation(trust, "alice"), replay)
    assert trust.newest("alice") == newest.attestation.epoch
    with pytest.raises(StatementMismatch, match="two commitments"):
        trust.see(replace(newest.attestation, commitment=bytes(48)))
    assert trust.epochs["alice"] == (newest.attestation.epoch, newest.attestation.commitment)


def test_the_memory_of_epochs_is_bounded(world: World) -> None:
    trust = Trust("hub-1", bytes(32))
    for i in range(10_001):
        trust.see(Attestation("hub-1", f"a-{i}", 1, bytes(48), 256, bytes(32), 1))
    assert (len(trust.epochs), trust.newest("a-0"), trust.newest("a-1")) == (10_000, -1, 1)


def changed_entry(world: World, **changes: Any) -> Tamper:
    def tamper(path: str, tree: Any) -> Any:
        if "entry" not in tree:
            return tree
        entry = replace(verify_credit_entry(canonical_bytes(tree["entry"]), world.key.public_key()), **changes)
        return tree | {"entry": json.loads(sign_credit_entry(entry, world.key))}

    return tamper


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"amount": "9"}, "amount"), ({"expires": 2_000_000_000}, "expires"), ({"venue": "spoke-b"}, "venue"),
        ({"statement": bytes(32)}, "statement"), ({"account": "bob"}, "account"),
        ({"sequence": 1, "used": "1"}, "used"), ({"caip2": "eip155:2"}, None),
    ],
)  # fmt: skip
def test_an_entry_of_another_credit_is_caught(world: World, changes: Tree, field: str | None) -> None:
    demand, offer = world.offer("alice", "10", caip2=None if field else "eip155:1")
    flow = hubs.request_credit(world.fresh(), demand, offer, world.prices())
    with pytest.raises(StatementMismatch) as caught:
        world.run("venue/spoke-a", flow, changed_entry(world, **changes))
    assert caught.value.field == f"credit.{field or 'caip2'}"


def test_reports_must_be_booked_as_reported(world: World) -> None:
    trust = world.fresh()
    credit = world.credit("bob", trust)
    replayed = json.loads(credit.document)
    flow = hubs.consume(trust, credit.entry, amount="4")
    with pytest.raises(StatementMismatch) as caught:
        world.run("venue/spoke-a", flow, lambda _, tree: tree | {"entry": replayed})
    assert caught.value.field == "credit.sequence"
    held = world.run("venue/spoke-a", hubs.fetch_credit(trust, credit.entry.credit, held=credit.entry)).entry
    cases = [
        (hubs.consume(trust, held, amount="1"), {"used": "6"}),
        (hubs.release(trust, replace(held, sequence=2, used="5"), used="1", paid="1"), {"released": "0"}),
        (hubs.release(trust, replace(held, sequence=3, used="5", released="1"), used="1"), {"amount": "11"}),
    ]
    for flow, changes in cases:
        with pytest.raises(StatementMismatch):
            world.run("venue/spoke-a", flow, changed_entry(world, **changes))
    with pytest.raises(HubProblem) as early:
        world.run("venue/spoke-a", hubs.consume(trust, held, amount="1"))
    assert (early.value.code, early.value.extensions["expected"]) == ("sequence-conflict", 5)


def test_prices_that_no_trusted_oracle_signed_are_refused(world: World) -> None:
    other = hub_snapshot(world.hub.now - 6)
    forged, unsigned = sign_snapshot(Signer().key, other), sign_snapshot(world.hub.oracle.key, world.snapshot)
    tree = json.loads(other.to_bytes())
    digest = world.snapshot.digest.hex()
    cases: list[tuple[Tree, str | None, int | None, type[ZkMarginError]]] = [
        ({"snapshot": tree, "signed": json.loads(forged)}, None, None, SignatureRejected),
        ({"snapshot": tree, "signed": json.loads(unsigned)}, None, None, StatementMismatch),
        ({"snapshot": tree}, digest, None, StatementMismatch),
        ({}, None, world.hub.now + 2 * 86400, StaleStatement),
        ({}, None, world.hub.now - 3600, StaleStatement),
    ]
    for change, name, now, error in cases:
        flow = hubs.fetch_prices([world.hub.oracle.key.public_key()], digest=name, now=now)
        with pytest.raises(error):
            world.run(None, flow, lambda _, tree, change=change: tree | change)


def test_an_opening_that_does_not_open_the_attested_commitment_is_caught(world: World) -> None:
    public = bytes.fromhex(world.hub.signers["account/alice"].encryption_public)
    commitment = world.holding("alice").attested.attestation.commitment
    wrong = opening_bytes(commit([0] * 6, 256)[1], world.snapshot.registry_digest)
    cases = [
        (seal_to(public, wrong, commitment).hex(), StatementMismatch),
        (seal_to(public, b"{}", commitment).hex(), MalformedInput),
        (seal_to(public, wrong, bytes(48)).hex(), SignatureRejected),
        (seal_to(bytes.fromhex(Signer().encryption_public), wrong, commitment).hex(), SignatureRejected),
        ("00", SignatureRejected),
        ("xyz", MalformedInput),
    ]
    for sealed, error in cases:
        with pytest.raises(error):
            world.holding("alice", world.fresh(), lambda _, tree, sealed=sealed: tree | {"sealed_opening": sealed})


def mutations(tree: Any) -> Iterator[Any]:
    """The tree with each of its members, at any depth, taken away or of another type."""
    yield from (None, [], {}, 7, "x")
    if isinstance(tree, dict):
        for name in tree:
            yield {k: v for k, v in tree.items() if k != name}
            for inner in mutations(tree[name]) if name not in ("snapshot", "head", "attestation", "entry") else (3, {}):
                yield tree | {name: inner}


def test_answers_of_another_form_are_typed_errors(world: World) -> None:
    me = world.hub.signers["account/bob"].encryption
    flows: list[tuple[str | None, Callable[[Trust], Flow[Any]], str]] = [
        (None, hubs.follow_keys, "/v1/keys"),
        (None, hubs.fetch_head, "/v1/log/head"),
        (None, lambda _: hubs.fetch_prices([world.hub.oracle.key.public_key()]), "/v1/snapshots/latest"),
        ("account/bob", lambda t: hubs.fetch_attestation(t, "bob"), "/v1/accounts/bob/attestation"),
        ("account/bob", lambda t: hubs.fetch_holding(t, "bob", me, world.snapshot), "/v1/accounts/bob/opening"),
        ("venue/spoke-a", hubs.fetch_credits, "/v1/credits"),
        ("operator/ops", lambda _: hubs.fetch_venues(), "/v1/venues"),
        ("operator/ops", lambda _: hubs.fetch_breakers(), "/v1/breakers"),
    ]
    for caller, flow, path in flows:
        seen: dict[str, Any] = {}
        world.run(caller, flow(world.fresh()), lambda p, t, seen=seen: seen.setdefault(p, t))
        refused = 0
        for bad in mutations(seen[path]):
            try:
                play(flow(world.fresh()), seen | {path: bad})
            except ZkMarginError:
                refused += 1
        assert refused >= 5, path


def test_a_list_without_an_end_is_refused(world: World) -> None:
    seen: dict[str, Any] = {}
    trust = world.fresh()
    world.credit("bob", trust)
    world.run("venue/spoke-a", hubs.fetch_credits(trust), seen.setdefault)
    for endless in (seen["/v1/credits"] | {"next": 7}, {"credits": [], "next": 7}):
        with pytest.raises(MalformedInput, match="without an end"):
            play(hubs.fetch_credits(trust), {"/v1/credits": endless})
