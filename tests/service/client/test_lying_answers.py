"""A hub whose answers are not what was asked for, or have another form, is caught by the client."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.support.client_world import (
    Tree,
    World,
    changed_entry,
    play,
    trade_of,
)
from tests.support.hubs import Signer, hub_snapshot, sign_snapshot
from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.errors import (
    MalformedInput,
    ProofRejected,
    SignatureRejected,
    StaleStatement,
    StatementMismatch,
    ZkMarginError,
)
from zkmargin.prover.commitment import commit
from zkmargin.prover.documents import opening_bytes
from zkmargin.service import client as hubs
from zkmargin.service.client import (
    Flow,
    HubProblem,
    Trust,
)
from zkmargin.service.keys.sealing import seal_to
from zkmargin.service.keys.signing import sign_attestation
from zkmargin.verifier.facts.attestation import verify_attestation


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
