"""What a client holds against a hub: one pinned key, the chain of keys that followed, the newest tree head and epochs.

Kept in a file between runs, this is what catches a hub that shows two histories: every head must extend the one held
and be of a later time, no account goes back to an earlier epoch, and no epoch has two commitments. It is also what
makes the hub's retired keys worthless: by the client's own clock, heads and credit entries are the newest key's, and an
attestation counts under such a head alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.errors import MalformedInput, SignatureRejected, StaleStatement, StatementMismatch
from zkmargin.circuits.schema import Hex32, Hex48, Name, Strict, load
from zkmargin.circuits.strict_json import MAX_SAFE_INTEGER, parse_json
from zkmargin.service.client.exchange import Flow, get
from zkmargin.verifier.facts.attestation import Attestation, verify_attestation
from zkmargin.verifier.facts.credit_entry import CreditEntry, verify_credit_entry
from zkmargin.verifier.facts.hub_keys import MAX_KEYS, KeyChain, public_key
from zkmargin.verifier.facts.transparency import (
    TreeHead,
    attestation_leaf,
    check_extends,
    check_order,
    check_recent,
    verify_inclusion,
    verify_tree_head,
)

T = TypeVar("T")
F = TypeVar("F", Attestation, CreditEntry, TreeHead)
#: Gives the client's own time, in Unix seconds.
Clock = Callable[[], int]
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


def machine_clock() -> int:
    """The machine's time, in Unix seconds."""
    return int(time.time())


@dataclass
class Trust:
    """One hub as this client knows it. Changed by the flows, in place; flows of one thread may share it.

    ``pinned`` is the first key of the hub's chain. ``clock`` is what every check of a time is made with.
    """

    hub: str
    pinned: bytes
    keys: list[bytes] = field(default_factory=list)
    chain: KeyChain | None = None
    head: TreeHead | None = None
    epochs: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    clock: Clock = field(default=machine_clock, repr=False, compare=False)

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

    def learn(self, keys: list[bytes]) -> None:
        """Take over a chain of key documents as the hub shows it: it must begin with the one held, and no key that has
        ended may have appointed what is new in it.
        """
        chain = self._followed(keys)
        chain.check_learnt(0 if self.chain is None else len(self.chain.keys) - 1, self.clock())
        self.keys, self.chain = keys, chain

    def restore(self, keys: list[bytes]) -> None:
        """Take over a chain that was learnt earlier and kept since."""
        self.keys, self.chain = keys, self._followed(keys)

    def _followed(self, keys: list[bytes]) -> KeyChain:
        chain = KeyChain.follow(keys, public_key(self.pinned))
        if chain.hub != self.hub:
            raise StatementMismatch("the keys are another hub's", field="hub-keys")
        if self.chain is not None:
            chain.check_extends(self.chain)
        return chain

    def _chain(self) -> KeyChain:
        if self.chain is None:
            raise SignatureRejected("the hub's keys were not fetched yet", field="hub-keys")
        return self.chain

    def _current(self, verify: Callable[[bytes, Any], F], document: bytes) -> F:
        """A fact signed with the hub's newest key by this client's clock."""
        return self._chain().verify_current(verify, document, now=self.clock())

    def attestation(self, document: bytes) -> Attestation:
        """An attestation signed by this hub. It counts when :func:`accept_inclusion` has found it in the log: whoever
        has a retired key can sign another.
        """
        return self._chain().verify(verify_attestation, document, now=self.clock())

    def entry(self, document: bytes) -> CreditEntry:
        """A credit entry of this hub as it shows it now. The log has no entries, so an entry of a superseded key is
        ``StaleStatement``: the hub signs each anew when it is asked for the credit.
        """
        return self._current(verify_credit_entry, document)

    def held_entry(self, document: bytes) -> CreditEntry:
        """A credit entry that this client has kept since it was shown, whatever became of the key."""
        return self._chain().verify(verify_credit_entry, document, now=self.clock())

    def tree_head(self, document: bytes) -> TreeHead:
        """A tree head that may cover facts: recent, and signed with the hub's newest key."""
        head = self._current(verify_tree_head, document)
        check_recent(head, self.clock())
        return head

    def other_head(self, document: bytes) -> TreeHead:
        """A tree head that somebody was shown at some time: to be compared with, and to cover nothing."""
        return self._chain().verify(verify_tree_head, document, now=self.clock())

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


def from_bytes(data: bytes, *, clock: Clock = machine_clock) -> Trust:
    """Read a kept document; everything in it is verified again, as what was learnt in its time."""
    model = load(_TrustModel, data, name="trust")
    trust = Trust(model.hub, bytes.fromhex(model.pinned), clock=clock)
    if model.keys:
        trust.restore([canonical_bytes({"schema": key.schema_, "jws": key.jws}) for key in model.keys])
    if model.head is not None:
        # Not by the clock: a head held cannot have come from the future that it is compared with.
        head = canonical_bytes({"schema": model.head.schema_, "jws": model.head.jws})
        trust.head = trust._chain().verify(verify_tree_head, head)
    trust.epochs = {seen.account: (seen.epoch, bytes.fromhex(seen.commitment)) for seen in model.epochs}
    return trust


def load_trust(path: Path) -> Trust | None:
    """The trust kept in a file; None where there is none yet."""
    from zkmargin.service.files import read_file

    return from_bytes(read_file(path)) if path.exists() else None


def save_trust(path: Path, trust: Trust) -> None:
    """Keep it for the next run, in one atomic step. One process at a time: the last one to write wins."""
    from zkmargin.service.files import write_file

    write_file(path, trust.to_bytes())


def meet(pinned: bytes, *, hub: str | None = None, clock: Clock = machine_clock) -> Flow[Trust]:
    """Trust in the hub whose first key is pinned: its chain of keys followed, its name the one that the key signed.

    ``pinned`` is the raw public key, got from the hub's operator and not from the network. Raises
    ``SignatureRejected`` or ``StatementMismatch`` for a hub that does not have it, or has not the name ``hub``;
    ``StaleStatement`` for a pin that has ended: then the operator gives a document of :func:`pin`.
    """
    documents = yield from _fetch_keys()
    trust = Trust(KeyChain.follow(documents, public_key(pinned)).hub if hub is None else hub, pinned, clock=clock)
    trust.learn(documents)
    return trust


def pin(trust: Trust) -> Flow[Trust]:
    """What a new reader begins with: the chain of keys and the newest head, and nothing of any account. For an operator
    to publish where it cannot be changed, so that no reader has to rest on a key that ended long ago.
    """
    yield from follow_keys(trust)
    head = yield from fetch_head(trust)
    return replace(trust, head=head, epochs={})


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
    trust.learn((yield from _fetch_keys()))
    return trust._chain()


def checked(trust: Trust, check: str, document: bytes) -> Flow[Any]:
    """Verify a signed fact by the method of :class:`Trust` named ``check``, under the chain held, or after fetching the
    chain anew: the hub may have a new key.
    """
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
    """Verify a tree head that may cover facts, and that it and the one held are of one history; keeps the newer.

    ``StaleStatement`` for one that is not recent, or not signed with the hub's newest key; ``LogForked``, with both
    heads as evidence, for another history.
    """
    head: TreeHead = yield from checked(trust, "tree_head", document)
    while True:
        held = trust.head
        newer = head if held is None else (yield from _compare(held, head))
        # Another flow may have kept a head meanwhile: then this one must be of its history too.
        if trust.head is held:
            trust.head = newer
            return head


def compare_head(trust: Trust, document: bytes) -> Flow[TreeHead]:
    """Verify a tree head that somebody else was shown, of any age, and that it and the one held are of one history.
    Nothing is kept of it: it says nothing about the present.
    """
    head: TreeHead = yield from checked(trust, "other_head", document)
    if trust.head is not None:
        yield from _compare(trust.head, head)
    return head


def _compare(held: TreeHead, head: TreeHead) -> Flow[TreeHead]:
    """The newer of two heads of one history; ``LogForked`` for two of different ones."""
    old, new = sorted((held, head), key=lambda h: (h.size, h.time))
    check_order(old, new)  # the two alone may tell enough, whatever the hub says of the way between them
    path: list[bytes] = []
    if 0 < old.size < new.size:
        answer = (yield get("/v1/log/consistency", first=old.size, second=new.size)).json()
        path = hashes(answer, "path")
    check_extends(old, new, path)
    return new


def accept_inclusion(trust: Trust, attestation: bytes, inclusion: Any) -> Flow[TreeHead]:
    """Check that an attestation is a leaf under a recent tree head of the one history, signed with the newest key."""
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
