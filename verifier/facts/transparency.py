"""The hub's transparency log, as a reader checks it: an append-only Merkle tree of RFC 9162 section 2.1.

Every attestation is a leaf. The hub signs heads (size and root); a path of hashes shows that a leaf is under a head,
or that a head extends an earlier one. A hub that shows two histories cannot give both kinds of path to everybody.
Signing and building the tree live in ``service``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from zkmargin.circuits import canonical
from zkmargin.circuits.errors import MalformedInput, ProofRejected, StaleStatement, StatementMismatch, ZkMarginError
from zkmargin.circuits.schema import Hex32, Name, Strict, Time, dump, validate
from zkmargin.circuits.statement import CLOCK_SKEW
from zkmargin.circuits.strict_json import MAX_SAFE_INTEGER
from zkmargin.verifier.facts.jws import open_document, read_token

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SCHEMA = "zkmargin/tree-head/1"
TOKEN_TYPE = "zkmargin-tree-head+jws"  # noqa: S105 - a media type, no secret
HASH_BYTES = 32
#: Sizes are JSON integers.
MAX_SIZE = MAX_SAFE_INTEGER
#: Levels below the root of the largest tree, and one node more, with which a consistency path may begin.
MAX_PATH = MAX_SIZE.bit_length() + 1
#: Root of the tree without leaves: SHA-256 of nothing (RFC 9162 section 2.1.1).
EMPTY_ROOT = hashlib.sha256(b"").digest()
#: Seconds. The oldest head under which a reader takes a fact: the hub signs its head anew every five minutes, whether
#: the log has grown or not (RFC 9162 section 4.10 asks the same within the maximum merge delay), so a reader that is
#: shown none for three times as long is being kept from the log.
MAX_HEAD_AGE = 900


class LogForked(ZkMarginError):
    """A hub showed two histories of its log, or did not show that one extends the other. The hub's fault.

    ``held`` and ``shown`` are the two signed heads. ``proven`` is true where they convict the hub by themselves: one
    size, two roots. Otherwise the path between them failed, which anyone on the way could have broken: ask again.
    """

    code = "log-forked"
    exit_code = 11

    def __init__(self, message: str, *, held: object, shown: object, proven: bool) -> None:
        super().__init__(message, field="tree-head")
        self.held = held
        self.shown = shown
        self.proven = proven


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 || entry): a leaf can never be taken for an inner node."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def attestation_leaf(document: bytes) -> bytes:
    """Leaf hash of an attestation document: of its token's bytes, whatever white space surrounds them."""
    return leaf_hash(read_token(document, schema="zkmargin/attestation/1", name="attestation").encode("ascii"))


def _check_shape(sizes: Sequence[tuple[str, int]], hashes: Sequence[bytes], path: Sequence[bytes]) -> None:
    for name, value in sizes:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_SIZE:
            raise MalformedInput("must be an integer from 0 to 2^53 - 1", field=name)
    if len(path) > MAX_PATH:
        raise MalformedInput(f"more than {MAX_PATH} hashes", field="path")
    if any(not isinstance(h, bytes) or len(h) != HASH_BYTES for h in (*hashes, *path)):
        raise MalformedInput(f"a hash that is not {HASH_BYTES} bytes", field="path")


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf with hash ``leaf`` is number ``index`` (from 0) of the tree of ``size`` leaves under
    ``root``: RFC 9162 section 2.1.3.2.

    Raises ``MalformedInput`` for sizes out of range and hashes of another length, ``ProofRejected`` if it is not shown.
    """
    _check_shape([("index", index), ("size", size)], [leaf, root], path)
    if index >= size:
        raise ProofRejected("the tree has no such leaf", field="index")
    fn, sn, r = index, size - 1, leaf
    for p in path:
        if sn == 0:
            raise ProofRejected("the path is longer than the tree is high", field="path")
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    if sn or r != root:
        raise ProofRejected("the path does not lead to the root", field="path")


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, path: Sequence[bytes]) -> None:
    """Check that the tree of ``new_size`` leaves begins with the one of ``old_size``: RFC 9162 section 2.1.4.2.

    The RFC speaks of 0 < old < new. Here a tree without leaves is the beginning of every tree and equal sizes need
    equal roots, both with an empty path. Raises ``MalformedInput`` for sizes out of range or in the wrong order and
    hashes of another length, ``ProofRejected`` if it is not shown.
    """
    _check_shape([("old-size", old_size), ("new-size", new_size)], [old_root, new_root], path)
    if old_size > new_size:
        raise MalformedInput("must not be above the new size", field="old-size")
    if not old_size and old_root != EMPTY_ROOT:
        raise ProofRejected("the root of no leaves is another", field="old-root")
    if old_size == new_size or not old_size:
        if path:
            raise ProofRejected("the path must be empty between these sizes", field="path")
        if old_size == new_size and old_root != new_root:
            raise ProofRejected("one size, two roots", field="new-root")
        return
    if not path:
        raise ProofRejected("the path is empty", field="path")
    # The root of a perfect old tree is itself a node of the new one, so the path leaves it out.
    first, *rest = path if old_size & (old_size - 1) else [old_root, *path]
    fn, sn = old_size - 1, new_size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = first
    for c in rest:
        if sn == 0:
            raise ProofRejected("the path is longer than the tree is high", field="path")
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    if sn or fr != old_root or sr != new_root:
        raise ProofRejected("the path does not join the roots", field="path")


class TreeHeadPayloadModel(Strict):
    """``zkmargin/tree-head/1``: what the hub signs."""

    schema_: Literal["zkmargin/tree-head/1"] = Field(alias="schema")
    hub: Name
    size: Annotated[int, Field(ge=0, le=MAX_SIZE)]
    root: Hex32
    time: Time


@dataclass(frozen=True)
class TreeHead:
    """A verified tree head. ``document`` is the signed evidence it was read from, kept to show to others."""

    hub: str
    size: int
    root: bytes
    time: int
    document: bytes = field(default=b"", repr=False, compare=False)

    def payload(self) -> bytes:
        """RFC 8785 bytes that the hub signs; ``MalformedInput`` for a head that no tree has."""
        tree = {"schema": SCHEMA, "hub": self.hub, "size": self.size, "root": self.root.hex(), "time": self.time}
        model = validate(TreeHeadPayloadModel, tree, name="tree-head.payload")
        if not self.size and self.root != EMPTY_ROOT:
            raise MalformedInput("the root of no leaves is another", field="tree-head.payload.root")
        return canonical.canonical_bytes(dump(model))


def verify_tree_head(data: bytes, key: Ed25519PublicKey, *, now: int | None = None) -> TreeHead:
    """Parse a tree head document and check its signature under the hub's key.

    Raises ``MalformedInput`` for bytes of another form, ``SignatureRejected`` for a wrong signature and, with ``now``,
    ``StaleStatement`` for a head from the future. How old a head may be is for the reader to say.
    """
    model, payload = open_document(
        data, key, TreeHeadPayloadModel, schema=SCHEMA, token_type=TOKEN_TYPE, name="tree-head"
    )
    head = TreeHead(model.hub, model.size, bytes.fromhex(model.root), model.time, document=data)
    if head.payload() != payload:
        raise MalformedInput("payload is not in canonical form", field="tree-head.payload")
    if now is not None and head.time > now + CLOCK_SKEW:
        raise StaleStatement("the head is from the future", field="tree-head.payload.time")
    return head


def check_recent(head: TreeHead, now: int) -> None:
    """Check that a head is not older than :data:`MAX_HEAD_AGE` by the reader's clock, nor from the future;
    ``StaleStatement``.
    """
    if head.time > now + CLOCK_SKEW:
        raise StaleStatement("the head is from the future", field="tree-head.payload.time")
    if head.time < now - MAX_HEAD_AGE:
        raise StaleStatement(f"the head is older than {MAX_HEAD_AGE} s", field="tree-head.payload.time")


def check_order(old: TreeHead, new: TreeHead) -> None:
    """Check what two heads of a hub show without a path between them; raises as :func:`check_extends`.

    A larger head of an earlier time is none that a hub signs: somebody writes history with an old key. Of one size the
    hub may sign one root, at any number of times.
    """
    if old.hub != new.hub:
        raise StatementMismatch("the heads are of two hubs", field="tree-head.hub")
    if new.size < old.size:
        raise StatementMismatch("smaller than the head held: check it the other way round", field="tree-head.size")
    if old.size == new.size and old.root != new.root:
        raise LogForked("the hub signed two histories of one size", held=old, shown=new, proven=True)
    if old.size < new.size and new.time < old.time:
        raise LogForked("a larger tree at an earlier time", held=old, shown=new, proven=True)


def check_extends(old: TreeHead, new: TreeHead, path: Sequence[bytes]) -> None:
    """Check that one head of a hub's log extends another, and raise ``LogForked`` with both if it does not.

    A head smaller than the one already held is no fork by itself, it may just have come late: ``StatementMismatch``
    asks to call again with the two exchanged and the path between them. ``MalformedInput`` is a path of another form.
    """
    check_order(old, new)
    try:
        verify_consistency(old.size, old.root, new.size, new.root, path)
    except ProofRejected as err:
        raise LogForked(
            f"not shown to extend the head held: {err.message}", held=old, shown=new, proven=False
        ) from None
