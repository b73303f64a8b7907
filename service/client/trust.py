"""What a client holds against a hub: one pinned key, the chain of keys that followed, the newest tree head and epochs.

Kept in a file between runs, this is what catches a hub that shows two histories: every head must extend the one held,
no account goes back to an earlier epoch, and no epoch has two commitments.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from circuits.canonical import MAX_SAFE_INTEGER, canonical_bytes, parse_json
from circuits.errors import MalformedInput, SignatureRejected, StaleStatement, StatementMismatch
from circuits.schema import Hex32, Hex48, Name, Strict, load
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
#: Accounts whose newest epoch is remembered, the least recently seen dropped first: some 2 MB of a file.
MAX_ACCOUNTS = 10_000


class _Signed(Strict):
    """A signed document."""

    schema_: str = Field(alias="schema")
    jws: str


class _EpochModel(Strict):
    """The newest attestation seen of an account."""

    account: Name
    epoch: Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER)]
    commitment: Hex48


class _TrustModel(Strict):
    """``zkmargin/trust/1``: the pinned key, the chain followed, the newest head and epochs. Write-protect it."""

    schema_: Literal["zkmargin/trust/1"] = Field(alias="schema")
    hub: Name
    pinned: Hex32
    keys: Annotated[list[_Signed], Field(max_length=MAX_KEYS)]
    head: _Signed | None = None
    epochs: Annotated[list[_EpochModel], Field(max_length=MAX_ACCOUNTS)]


@dataclass
class Trust:
    """One hub as this client knows it. Changed by the flows, in place; flows of one thread may share it."""

    hub: str
    pinned: bytes
    keys: list[bytes] = field(default_factory=list)
    chain: KeyChain | None = None
    head: TreeHead | None = None
    epochs: dict[str, tuple[int, bytes]] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The document to keep."""
        tree = {
            "schema": SCHEMA,
            "hub": self.hub,
            "pinned": self.pinned.hex(),
            "keys": [_tree(document) for document in self.keys],
            "epochs": [
                {"account": account, "epoch": epoch, "commitment": commitment.hex()}
                for account, (epoch, commitment) in self.epochs.items()
            ],
        }
        return canonical_bytes(tree | ({} if self.head is None else {"head": _tree(self.head.document)}))

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

    def newest(self, account: str) -> int:
        """The newest epoch seen of an account; -1 for none."""
        return self.epochs.get(account, (-1, b""))[0]

    def see(self, fact: Attestation, *, floor: int = -1) -> None:
        """Compare an attestation with what was seen of its account, and remember it if newer.

        ``floor`` is an epoch that was seen before the hub was asked for the newest. Raises ``StaleStatement`` below
        it, ``StatementMismatch`` for a second commitment of one epoch.
        """
        held = self.epochs.pop(fact.account, (-1, b""))
        self.epochs[fact.account] = max(held, (fact.epoch, fact.commitment), key=lambda pair: pair[0])
        if len(self.epochs) > MAX_ACCOUNTS:
            del self.epochs[next(iter(self.epochs))]
        if fact.epoch == held[0] and fact.commitment != held[1]:
            raise StatementMismatch("the hub signed two commitments of one epoch", field="attestation.commitment")
        if fact.epoch < floor:
            raise StaleStatement(f"older than epoch {floor}, which was seen before", field="attestation.epoch")


def _tree(document: bytes) -> Any:
    return parse_json(document, name="document")


def from_bytes(data: bytes) -> Trust:
    """Read a kept document; everything in it is verified again."""
    model = load(_TrustModel, data, name="trust")
    trust = Trust(model.hub, bytes.fromhex(model.pinned))
    if model.keys:
        trust.keep([canonical_bytes({"schema": key.schema_, "jws": key.jws}) for key in model.keys])
    if model.head is not None:
        trust.head = trust.tree_head(canonical_bytes({"schema": model.head.schema_, "jws": model.head.jws}))
    trust.epochs = {seen.account: (seen.epoch, bytes.fromhex(seen.commitment)) for seen in model.epochs}
    return trust


def load_trust(path: Path) -> Trust | None:
    """The trust kept in a file; None where there is none yet."""
    from prover.files import read_file

    return from_bytes(read_file(path)) if path.exists() else None


def save_trust(path: Path, trust: Trust) -> None:
    """Keep it for the next run, in one atomic step. One process at a time: the last one to write wins."""
    from prover.files import write_file

    write_file(path, trust.to_bytes())


def meet(pinned: bytes, *, hub: str | None = None) -> Flow[Trust]:
    """Trust in the hub whose key is pinned: its chain of keys followed, its name the one that the key signed.

    ``pinned`` is the raw public key, got from the hub's operator and not from the network. Raises
    ``SignatureRejected`` or ``StatementMismatch`` for a hub that does not have it, or has not the name ``hub``.
    """
    documents = yield from _fetch_keys()
    trust = Trust(KeyChain.follow(documents, public_key(pinned)).hub if hub is None else hub, pinned)
    trust.keep(documents)
    return trust


def _fetch_keys() -> Flow[list[bytes]]:
    answer = (yield get("/v1/keys")).json()
    return [document_of(key) for key in member(answer, "keys", list)]


def document_of(tree: Any) -> bytes:
    """Canonical bytes of a signed document inside an answer; ``MalformedInput`` for another form."""
    if not isinstance(tree, dict) or set(tree) != {"schema", "jws"}:
        raise MalformedInput("not a signed document", field="response")
    return canonical_bytes(tree)


def follow_keys(trust: Trust) -> Flow[KeyChain]:
    """Fetch the hub's chain of keys and follow it from the pinned one."""
    trust.keep((yield from _fetch_keys()))
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


def fetch_head(trust: Trust) -> Flow[TreeHead]:
    """The hub's newest tree head, checked to be of the one history held."""
    answer = (yield get("/v1/log/head")).json()
    return (yield from accept_head(trust, document_of(member(answer, "head", dict))))


def accept_head(trust: Trust, document: bytes) -> Flow[TreeHead]:
    """Verify a tree head and that it and the one held are of one history; keeps the larger. ``LogForked`` otherwise,
    with both heads as evidence.
    """
    head: TreeHead = yield from checked(trust, "tree_head", document)
    while True:
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
        # Another flow may have kept a head meanwhile: then this one must be of its history too.
        if trust.head is held:
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


def octets(texts: list[Any], name: str) -> list[bytes]:
    """Hexadecimal strings of an answer."""
    try:
        return [bytes.fromhex(text) for text in texts]
    except (TypeError, ValueError):
        raise MalformedInput("the hub's answer is not of its form", field=f"response.{name}") from None


def hashes(tree: Any, name: str) -> list[bytes]:
    """A list of hashes in an answer."""
    return octets(member(tree, name, list), name)
