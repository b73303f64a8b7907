"""What a client holds against a hub: one pinned key, the chain of keys that followed, the newest tree head seen.

Kept in a file between runs, this is what catches a hub that shows two histories: every head must extend the one held.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from circuits.canonical import canonical_bytes
from circuits.errors import MalformedInput, SignatureRejected, StatementMismatch
from circuits.schema import Hex32, Name, Strict, load
from verifier.attestation import Attestation, verify_attestation
from verifier.credit_entry import CreditEntry, verify_credit_entry
from verifier.hub_keys import MAX_KEYS, KeyChain, public_key
from verifier.transparency import (
    TreeHead,
    attestation_leaf,
    check_extends,
    verify_inclusion,
    verify_tree_head,
)

from .exchange import Flow, get

T = TypeVar("T")
SCHEMA = "zkmargin/trust/1"


class _Signed(Strict):
    """A signed document."""

    schema_: str = Field(alias="schema")
    jws: str


class _TrustModel(Strict):
    """``zkmargin/trust/1``: the pinned key, the chain followed, the newest head. Public; write-protect it."""

    schema_: Literal["zkmargin/trust/1"] = Field(alias="schema")
    hub: Name
    pinned: Hex32
    keys: Annotated[list[_Signed], Field(max_length=MAX_KEYS)]
    head: _Signed | None


@dataclass
class Trust:
    """One hub as this client knows it. Changed by the flows, in place."""

    hub: str
    pinned: bytes
    keys: list[bytes] = field(default_factory=list)
    chain: KeyChain | None = None
    head: TreeHead | None = None

    def to_bytes(self) -> bytes:
        """The document to keep."""
        return canonical_bytes(
            {
                "schema": SCHEMA,
                "hub": self.hub,
                "pinned": self.pinned.hex(),
                "keys": [_tree(document) for document in self.keys],
                "head": None if self.head is None else _tree(self.head.document),
            }
        )

    def keep(self, keys: list[bytes]) -> None:
        """Take over a chain of key documents, which must begin with the one held."""
        chain = KeyChain.follow(keys, public_key(self.pinned))
        if chain.hub != self.hub:
            raise StatementMismatch("the keys are another hub's", field="hub-keys")
        if self.chain is not None:
            chain.check_extends(self.chain)
        self.keys, self.chain = keys, chain

    def _chain(self) -> KeyChain:
        if self.chain is None:
            raise SignatureRejected("the hub's keys were not fetched yet", field="hub-keys")
        return self.chain

    def attestation(self, document: bytes) -> Attestation:
        """A verified attestation of this hub."""
        return self._chain().verify(verify_attestation, document)

    def entry(self, document: bytes) -> CreditEntry:
        """A verified credit entry of this hub."""
        return self._chain().verify(verify_credit_entry, document)

    def tree_head(self, document: bytes) -> TreeHead:
        """A verified tree head of this hub."""
        return self._chain().verify(verify_tree_head, document)


def _tree(document: bytes) -> Any:
    from circuits.canonical import parse_json

    return parse_json(document, name="document")


def from_bytes(data: bytes) -> Trust:
    """Read a kept document; everything in it is verified again."""
    model = load(_TrustModel, data, name="trust")
    trust = Trust(model.hub, bytes.fromhex(model.pinned))
    if model.keys:
        trust.keep([canonical_bytes({"schema": key.schema_, "jws": key.jws}) for key in model.keys])
    if model.head is not None:
        trust.head = trust.tree_head(canonical_bytes({"schema": model.head.schema_, "jws": model.head.jws}))
    return trust


def open_trust(path: Path | None, hub: str, pinned: bytes) -> Trust:
    """The kept trust of a file, which must be about this hub and key; a fresh one where there is none."""
    from prover.files import read_file

    if path is None or not path.exists():
        return Trust(hub, pinned)
    held = from_bytes(read_file(path))
    if (held.hub, held.pinned) != (hub, pinned):
        raise StatementMismatch("is about another hub or key", field=str(path))
    return held


def document_of(tree: Any) -> bytes:
    """Canonical bytes of a signed document inside an answer; ``MalformedInput`` for another form."""
    if not isinstance(tree, dict) or set(tree) != {"schema", "jws"}:
        raise MalformedInput("not a signed document", field="response")
    return canonical_bytes(tree)


def follow_keys(trust: Trust) -> Flow[KeyChain]:
    """Fetch the hub's chain of keys and follow it from the pinned one."""
    answer = (yield get("/v1/keys")).json()
    trust.keep([document_of(key) for key in member(answer, "keys", list)])
    return trust._chain()


def checked(trust: Trust, check: str, document: bytes) -> Flow[Any]:
    """Verify a signed fact under the chain held, or after fetching the chain anew: the hub may have a new key."""
    if trust.chain is not None:
        try:
            return getattr(trust, check)(document)
        except SignatureRejected:
            pass
    yield from follow_keys(trust)
    return getattr(trust, check)(document)


def accept_head(trust: Trust, document: bytes) -> Flow[TreeHead]:
    """Verify a tree head and that it and the one held are of one history; keeps the larger. ``LogForked`` otherwise,
    with both heads as evidence.
    """
    head: TreeHead = yield from checked(trust, "tree_head", document)
    held = trust.head
    if held is None:
        trust.head = head
        return head
    old, new = sorted((held, head), key=lambda h: h.size)
    path: list[bytes] = []
    if 0 < old.size < new.size:
        answer = (yield get("/v1/log/consistency", first=old.size, second=new.size)).json()
        path = hashes(answer, "path")
    check_extends(old, new, path)
    trust.head = new
    return head


def accept_inclusion(trust: Trust, attestation: bytes, inclusion: Any) -> Flow[TreeHead]:
    """Check that an attestation is a leaf under a tree head of the one history."""
    head = yield from accept_head(trust, document_of(member(inclusion, "head", dict)))
    leaf, size = member(inclusion, "leaf", int), member(inclusion, "size", int)
    if size != head.size:
        raise StatementMismatch("not the size of the tree head", field="inclusion.size")
    verify_inclusion(attestation_leaf(attestation), leaf, size, hashes(inclusion, "path"), head.root)
    return head


def member(tree: Any, name: str, kind: type[T]) -> T:
    """A member of an answer; ``MalformedInput`` where the hub's answer is not of its form."""
    value = tree.get(name) if isinstance(tree, dict) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise MalformedInput("the hub's answer is not of its form", field=f"response.{name}")
    return value


def hashes(tree: Any, name: str) -> list[bytes]:
    """A list of hashes in an answer."""
    out = []
    for text in member(tree, name, list):
        try:
            out.append(bytes.fromhex(text))
        except (TypeError, ValueError):
            raise MalformedInput("the hub's answer is not of its form", field=f"response.{name}") from None
    return out
