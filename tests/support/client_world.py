"""A real hub for the client's flows: honest, or one that changes its answers on the way."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx2
from sqlalchemy import update

from tests.support.hubs import Hub, Signer, hub_snapshot, sign_snapshot, sqlite_url
from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.snapshot import Snapshot
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
from zkmargin.service.client.exchange import Response
from zkmargin.service.client.trust import from_bytes
from zkmargin.service.keys.signing import sign_credit_entry
from zkmargin.service.store import tables
from zkmargin.verifier.facts.credit_entry import verify_credit_entry

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


@contextmanager
def running(directory: Path) -> Iterator[World]:
    """A hub with prices, a venue and two accounts, over a real socket."""
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


def trade_of(world: World, quantity: str = "2") -> tuple[tuple[Demand, Offer], tuple[Demand, Offer]]:
    """Alice buys perpetuals of bob: both offers, proved."""
    legs = (("PERPETUAL-2", quantity), ("QUOTE-0", "-64.25"))
    demands = [Demand.from_bytes(d.to_bytes()) for d in hubs.trade_demands("spoke-a", legs, limit="100")]
    offers = [world.answer(name, demand) for demand, name in zip(demands, ("alice", "bob"), strict=True)]
    return (demands[0], offers[0]), (demands[1], offers[1])


def held(world: World) -> dict[str, tuple[int, ...]]:
    return {name: tuple(world.holding(name).opening.lots) for name in ("alice", "bob")}


def changed_entry(world: World, **changes: Any) -> Tamper:
    def tamper(path: str, tree: Any) -> Any:
        if "entry" not in tree:
            return tree
        entry = replace(verify_credit_entry(canonical_bytes(tree["entry"]), world.key.public_key()), **changes)
        return tree | {"entry": json.loads(sign_credit_entry(entry, world.key))}

    return tamper
