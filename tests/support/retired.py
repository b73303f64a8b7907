"""A hub without a server: its keys, log and facts, and what its public calls answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from zkmargin.service.client import Flow, HubProblem
from zkmargin.service.client.exchange import Request, Response
from zkmargin.service.keys.signing import raw_public, sign_attestation, sign_hub_key, sign_tree_head
from zkmargin.service.ledger import merkle_tree as tree
from zkmargin.verifier.facts.attestation import Attestation
from zkmargin.verifier.facts.hub_keys import HubKey
from zkmargin.verifier.facts.jws import read_token
from zkmargin.verifier.facts.transparency import TreeHead, leaf_hash

T = TypeVar("T")
DAY = 86400
#: Days for which a key is valid, and after which the hub appoints the next.
VALID, ROTATES = 30, 20


@dataclass
class History:
    """A hub as it is, or as somebody who has some of its keys would have it be."""

    keys: list[Ed25519PrivateKey] = field(default_factory=list)
    links: list[HubKey] = field(default_factory=list)
    chain: list[bytes] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    head: bytes = b""

    def appoint(self, begins: int, ends: int, *, by: int | None = None) -> None:
        """Add a key, appointed by the last one or by an earlier one."""
        key, before = Ed25519PrivateKey.generate(), self.keys[-1 if by is None else by] if self.keys else None
        link = HubKey("hub-1", raw_public(key), begins, ends, raw_public(before) if before else b"")
        self.keys.append(key)
        self.links.append(link)
        self.chain.append(sign_hub_key(link, before or key))

    def attest(self, account: str, epoch: int, time: int, *, key: int = -1, commitment: bytes = bytes(48)) -> Attested:
        """Sign an attestation and append it."""
        fact = Attestation("hub-1", account, epoch, commitment, 256, bytes(32), time)
        document = sign_attestation(fact, self.keys[key])
        token = read_token(document, schema="zkmargin/attestation/1", name="attestation")
        self.leaves.append(leaf_hash(token.encode()))
        return Attested(fact, document, len(self.leaves) - 1)

    def sign_head(self, time: int, *, key: int = -1) -> bytes:
        """Sign the head of all leaves."""
        frontier, _ = self._tree()
        head = TreeHead("hub-1", len(self.leaves), tree.root(frontier), time)
        self.head = sign_tree_head(head, self.keys[key])
        return self.head

    def _tree(self) -> tuple[tree.Frontier, tree.Get]:
        nodes: dict[tuple[int, int], bytes] = {}
        frontier = tree.EMPTY
        for leaf in self.leaves:
            frontier, complete = tree.append(frontier, leaf)
            nodes |= {(level, index): value for level, index, value in complete}
        return frontier, lambda level, index: nodes[level, index]

    def copy(self) -> History:
        """For somebody else to go on with."""
        return replace(self, keys=[*self.keys], links=[*self.links], chain=[*self.chain], leaves=[*self.leaves])

    def answer(self, request: Request) -> Any:
        """What the hub's public calls answer."""
        query = {name: int(value) for name, value in request.query}
        if request.path == "/v1/keys":
            return {"hub": "hub-1", "keys": [json.loads(document) for document in self.chain]}
        if request.path == "/v1/log/head":
            return {"size": len(self.leaves), "head": json.loads(self.head)}
        _, get = self._tree()
        size = len(self.leaves)
        if request.path == "/v1/log/inclusion":
            path = [h.hex() for h in tree.inclusion_path(get, query["leaf"], size)]
            return {"leaf": query["leaf"], "size": size, "path": path, "head": json.loads(self.head)}
        if request.path == "/v1/log/consistency" and 0 < query["first"] <= query["second"] <= size:
            path = [h.hex() for h in tree.consistency_path(get, query["first"], query["second"])]
            return {"first": query["first"], "second": query["second"], "path": path}
        raise HubProblem("not-found", status=404, detail="there is none")

    def play(self, flow: Flow[T]) -> T:
        """Run a client's flow against these answers."""
        return run(flow, self.answer)


@dataclass(frozen=True)
class Attested:
    """An attestation as the hub shows it."""

    fact: Attestation
    document: bytes
    leaf: int

    def to_json(self) -> Any:
        """The part of an answer."""
        tree = {"account": self.fact.account, "epoch": self.fact.epoch, "leaf": self.leaf}
        return tree | {"attestation": json.loads(self.document)}


def run(flow: Flow[T], answer: Callable[[Request], Any]) -> T:
    """A flow on answers made in this process."""
    try:
        request = next(flow)
        while True:
            try:
                tree = answer(request)
            except HubProblem as problem:
                request = flow.throw(problem)
            else:
                request = flow.send(Response(200, {}, json.dumps(tree).encode()))
    except StopIteration as stop:
        result: T = stop.value
        return result
