"""The transparency log: signed heads, inclusion, consistency, forks; and the chain of the hub's keys."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.vectors.accounts import NOW
from tests.vectors.cases import Cases
from tests.vectors.seed import HUB, signing_key
from tests.vectors.tokens import MALFORMED, bad_tokens, document, token
from tests.vectors.topics.signed import fact_of
from zkmargin.circuits import canonical
from zkmargin.service.keys import signing, signing_keys
from zkmargin.service.ledger import merkle_tree as building
from zkmargin.service.vectors.case import Tree
from zkmargin.verifier.facts import hub_keys
from zkmargin.verifier.facts.hub_keys import HubKey
from zkmargin.verifier.facts.transparency import EMPTY_ROOT, SCHEMA, TOKEN_TYPE, TreeHead, leaf_hash, node_hash

NAME, TITLE = "log", "Transparency log and the chain of a hub's keys"
REJECTED, MISMATCH, STALE, FORKED = "proof-rejected", "statement-mismatch", "stale-statement", "log-forked"
DAY = 86_400


class Log:
    """A tree of invented leaves, and its stored nodes."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.leaves = list(map(leaf_hash, leaves))
        self.roots = [EMPTY_ROOT]
        self._nodes: dict[tuple[int, int], bytes] = {}
        frontier = building.EMPTY
        for leaf in self.leaves:
            frontier, complete = building.append(frontier, leaf)
            self._nodes |= {(level, index): value for level, index, value in complete}
            self.roots.append(building.root(frontier))

    def _get(self, level: int, index: int) -> bytes:
        return self._nodes[level, index]

    def inclusion(self, index: int, size: int) -> Tree:
        """The input of ``log-inclusion``."""
        path = building.inclusion_path(self._get, index, size)
        return {
            "leaf": self.leaves[index].hex(), "index": index, "size": size, "root": self.roots[size].hex(),
            "path": [h.hex() for h in path],
        }  # fmt: skip

    def consistency(self, old: int, new: int) -> Tree:
        """The input of ``log-consistency``."""
        path = building.consistency_path(self._get, old, new)
        return {
            "old_size": old, "old_root": self.roots[old].hex(), "new_size": new, "new_root": self.roots[new].hex(),
            "path": [h.hex() for h in path],
        }  # fmt: skip


LOG = Log([b"leaf %d" % i for i in range(13)])
FORK = Log([b"leaf %d" % i for i in range(5)] + [b"fork %d" % i for i in range(8)])


def write(cases: Cases) -> None:
    """All cases."""
    key = signing_key("hub")
    pem = cases.library.put("key-hub", signing_keys.public_pem(key).decode())
    attested = signing.sign_attestation(fact_of("cross"), key).decode()
    cases.valid("log-leaf", {"attestation": attested}, "the leaf of an attestation: of its token's bytes")
    spaced = json.dumps(json.loads(attested), indent=1)
    cases.valid("log-leaf", {"attestation": spaced}, "white space around the token changes nothing")
    for index, size in ((0, 1), (0, 2), (1, 2), (2, 3), (0, 13), (6, 13), (7, 8), (12, 13), (8, 12)):
        cases.valid("log-inclusion", LOG.inclusion(index, size), f"leaf {index} of {size}")
    _no_inclusion(cases)
    for old, new in ((0, 0), (0, 5), (1, 2), (4, 8), (3, 7), (6, 13), (12, 13), (13, 13), (8, 13)):
        cases.valid("log-consistency", LOG.consistency(old, new), f"{old} leaves, then {new}")
    _no_consistency(cases)
    _heads(cases, pem)
    _keys(cases)


def _no_inclusion(cases: Cases) -> None:
    right = LOG.inclusion(6, 13)
    path, root = right["path"], right["root"]
    inner = node_hash(LOG.leaves[6], LOG.leaves[7]).hex()
    for flag, comment, change in (
        ("WrongPath", "another leaf", {"leaf": LOG.leaves[5].hex()}),
        ("WrongPath", "another index", {"index": 7}),
        ("WrongPath", "another size", {"size": 7}),
        ("WrongPath", "the root of another size", {"root": LOG.roots[12].hex()}),
        ("WrongPath", "a hash missing at the end", {"path": path[:-1]}),
        ("WrongPath", "a hash missing at the start", {"path": path[1:]}),
        ("WrongPath", "a hash too many", {"path": [*path, root]}),
        ("WrongPath", "two hashes swapped", {"path": [path[1], path[0], *path[2:]]}),
        ("WrongPath", "no path", {"path": []}),
        ("NodeAsLeaf", "an inner node as a leaf", {"leaf": inner, "path": path[1:]}),
        ("OutOfRange", "an index beyond the tree", {"index": 13}),
        ("OutOfRange", "a tree without leaves", {"index": 0, "size": 0, "root": EMPTY_ROOT.hex(), "path": []}),
    ):
        cases.invalid("log-inclusion", right | change, flag, REJECTED, comment)
    for flag, comment, change in (
        ("OutOfRange", "a negative index", {"index": -1}),
        ("WrongLength", "a hash of 31 bytes", {"path": [path[0][:-2], *path[1:]]}),
        ("WrongLength", "a root of 33 bytes", {"root": root + "00"}),
        ("WrongLength", "a path of 60 hashes", {"path": [root] * 60}),
    ):
        cases.invalid("log-inclusion", right | change, flag, MALFORMED, comment)


def _no_consistency(cases: Cases) -> None:
    right = LOG.consistency(6, 13)
    path = right["path"]
    cases.valid(
        "log-consistency", right | {"new_size": 12}, "a root does not fix its size: the signed head does", "EdgeCase"
    )
    for flag, comment, change in (
        ("TwoHistories", "the old root of another history", {"old_root": FORK.roots[6].hex()}),
        ("TwoHistories", "the new root of another history", {"new_root": FORK.roots[13].hex()}),
        ("WrongPath", "the roots swapped", {"old_root": right["new_root"], "new_root": right["old_root"]}),
        ("WrongPath", "another old size", {"old_size": 5}),
        ("WrongPath", "another new size", {"new_size": 17}),
        ("WrongPath", "a hash missing", {"path": path[:-1]}),
        ("WrongPath", "a hash too many", {"path": [*path, path[0]]}),
        ("WrongPath", "no path", {"path": []}),
        ("WrongPath", "two hashes swapped", {"path": [path[1], path[0], *path[2:]]}),
    ):
        cases.invalid("log-consistency", right | change, flag, REJECTED, comment)
    for old, new, change, comment in (
        (13, 13, {"new_root": FORK.roots[13].hex()}, "one size, two roots"),
        (13, 13, {"path": [right["new_root"]]}, "a path between equal sizes"),
        (0, 5, {"path": [right["new_root"]]}, "a path from no leaves"),
        (0, 5, {"old_root": "00" * 32}, "a false root of no leaves"),
        (4, 8, {"old_root": LOG.roots[5].hex()}, "another root of a perfect tree"),
    ):
        cases.invalid("log-consistency", LOG.consistency(old, new) | change, "TwoHistories", REJECTED, comment)
    shorter: Tree = right | {"old_size": 13, "new_size": 6}
    cases.invalid("log-consistency", shorter, "WrongOrder", MALFORMED, "the larger tree first")


def _heads(cases: Cases, pem: str) -> None:
    key = signing_key("hub")
    head = TreeHead(HUB, 6, LOG.roots[6], NOW)
    later = TreeHead(HUB, 13, LOG.roots[13], NOW + 60)

    def signed(one: TreeHead) -> str:
        return signing.sign_tree_head(one, key).decode()

    def given(one: TreeHead, **more: Any) -> Tree:
        return {"head": signed(one), "key": pem} | more

    cases.valid("tree-head", given(head), "a head of six leaves")
    cases.valid("tree-head", given(TreeHead(HUB, 0, EMPTY_ROOT, NOW)), "a head of no leaves", "EdgeCase")
    cases.valid("tree-head", given(head, now=NOW - 30), "30 seconds of skew", "EdgeCase")
    cases.invalid("tree-head", given(head, now=NOW - 31), "FromTheFuture", STALE, "31 seconds ahead")
    payload = head.payload()
    for flag, code, comment, jws in bad_tokens(payload, TOKEN_TYPE, key):
        cases.invalid("tree-head", {"head": document(SCHEMA, jws), "key": pem}, flag, code, comment)
    header = {"alg": "EdDSA", "typ": TOKEN_TYPE}
    for flag, comment, change in (
        ("OutOfRange", "a negative size", {"size": -1}),
        ("OutOfRange", "a size of 2^53", {"size": 2**53}),
        ("BadHex", "a root of 31 bytes", {"root": "00" * 31}),
        ("WrongSchema", "version 2", {"schema": "zkmargin/tree-head/2"}),
        ("ImpossibleState", "no leaves under another root", {"size": 0}),
    ):
        # Not through the canonical writer, which refuses the largest integers itself.
        tree: Tree = json.loads(payload) | change
        data = json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()
        given_tree = {"head": document(SCHEMA, token(data, header, key)), "key": pem}
        cases.invalid("tree-head", given_tree, flag, MALFORMED, comment)
    path = LOG.consistency(6, 13)["path"]

    def pair(old: TreeHead, new: TreeHead, hashes: list[str]) -> Tree:
        return {"old": signed(old), "new": signed(new), "key": pem, "path": hashes}

    cases.valid("head-extends", pair(head, later, path), "thirteen leaves extend six")
    cases.valid("head-extends", pair(head, head, []), "the same head again")
    fork = replace(later, root=FORK.roots[13])
    same = replace(head, root=FORK.roots[6])
    for flag, code, comment, tree in (
        ("TwoHistories", FORKED, "one size, two roots", pair(head, same, [])),
        ("TwoHistories", FORKED, "another history, this one's path", pair(head, fork, path)),
        ("TwoHistories", FORKED, "another history, its own path", pair(head, fork, FORK.consistency(6, 13)["path"])),
        ("WrongPath", FORKED, "no path", pair(head, later, [])),
        ("WrongOrder", MISMATCH, "the older head second", pair(later, head, path)),
        ("OtherContext", MISMATCH, "another hub's head", pair(head, replace(later, hub="hub-2"), path)),
        ("WrongLength", MALFORMED, "a hash of 31 bytes", pair(head, later, [path[0][:-2], *path[1:]])),
    ):
        cases.invalid("head-extends", tree, flag, code, comment)


def _keys(cases: Cases) -> None:
    names = [f"hub/{i}" for i in range(4)]
    keys = [signing_key(name) for name in names]
    raws = [signing.raw_public(key) for key in keys]
    pem = signing_keys.public_pem(keys[0]).decode()

    def fact(i: int, **change: Any) -> HubKey:
        previous = raws[i - 1] if i else b""
        return replace(HubKey(HUB, raws[i], 20 * i * DAY, (20 * i + 30) * DAY, previous), **change)

    def appoint(i: int, by: int | None = None, **change: Any) -> str:
        return signing.sign_hub_key(fact(i, **change), keys[max(i - 1, 0) if by is None else by]).decode()

    chain = [appoint(i) for i in range(4)]

    def given(*documents: str) -> Tree:
        return {"documents": list(documents), "key": pem}

    for n in range(1, 5):
        cases.valid("hub-keys", given(*chain[:n]), f"a chain of {n}")
    touching = appoint(1, not_before=30 * DAY)
    cases.valid(
        "hub-keys", given(chain[0], touching), "a key that begins in the last second of the one before", "EdgeCase"
    )
    bad = "signature-rejected"
    for flag, code, comment, documents in (
        ("WrongKey", MISMATCH, "does not begin with the pinned key", chain[1:]),
        ("WrongKey", bad, "a link missing", [chain[0], chain[2]]),
        ("WrongOrder", bad, "out of order", [chain[0], chain[2], chain[1]]),
        ("WrongKey", bad, "the second key signed by a stranger", [chain[0], appoint(1, 3)]),
        ("WrongKey", MISMATCH, "the first document is about another key", [appoint(1, 0, previous=b"")]),
        ("TwoHistories", MISMATCH, "two successors of one key", [*chain[:2], appoint(2, 0)]),
        ("WrongOrder", MISMATCH, "names another key than its signer", [chain[0], appoint(1, previous=raws[2])]),
        ("OtherContext", MISMATCH, "another hub", [chain[0], appoint(1, hub="hub-2")]),
        ("ReusedKey", MISMATCH, "the first key again", [*chain[:2], appoint(2, key=raws[0])]),
        ("Expired", MISMATCH, "appointed after the end of the key before", [chain[0], appoint(1, not_before=31 * DAY)]),
        ("OutOfRange", MALFORMED, "no key", []),
        ("OutOfRange", MALFORMED, "257 keys", [chain[0]] * 257),
    ):
        cases.invalid("hub-keys", given(*documents), flag, code, comment)
    header = {"alg": "EdDSA", "typ": hub_keys.TOKEN_TYPE}
    tree = json.loads(fact(0).payload())
    for flag, comment, change in (
        ("OutOfRange", "a window without time", {"not_after": 0}),
        ("BadHex", "a key of 31 bytes", {"key": "00" * 31}),
        ("BadHex", "a previous key of 31 bytes", {"previous": "00" * 31}),
        ("UnknownKey", "a member more", {"purpose": "all"}),
    ):
        data = canonical.canonical_bytes(tree | change)
        one = document(hub_keys.SCHEMA, token(data, header, keys[0]))
        cases.invalid("hub-keys", given(one), flag, MALFORMED, comment)
