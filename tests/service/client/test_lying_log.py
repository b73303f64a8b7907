"""A hub that lies in its keys, its log's heads or its attestations is caught by the client's trust."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.client_world import (
    Tree,
    World,
)
from tests.support.hubs import Hub, Signer, hub_snapshot, sign_snapshot, sqlite_url
from zkmargin.circuits.errors import ProofRejected, SignatureRejected, StaleStatement, StatementMismatch
from zkmargin.prover.commitment import commit
from zkmargin.service import client as hubs
from zkmargin.service.client import (
    Trust,
)
from zkmargin.service.keys.signing import sign_attestation, sign_hub_key, sign_tree_head
from zkmargin.service.ledger import setup
from zkmargin.verifier.facts.attestation import Attestation, verify_attestation
from zkmargin.verifier.facts.hub_keys import HubKey
from zkmargin.verifier.facts.transparency import LogForked, TreeHead


@pytest.mark.slow
def test_a_new_signing_key_is_followed(tmp_path: Path) -> None:
    hub = Hub(sqlite_url(tmp_path))
    with hub.running(tmp_path / "log") as url:
        world = World(hub, url, hub_snapshot(hub.now - 5))
        signed = sign_snapshot(hub.oracle.key, world.snapshot)
        world.run("oracle/feed", hubs.publish_snapshot(world.snapshot.to_bytes(), signed))
        world.open("alice")
        before, kept = len(world.trust.keys), world.fresh()
        made = setup.rotate_signing_key(hub.ledger).to_json(str)
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
