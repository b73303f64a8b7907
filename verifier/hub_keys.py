"""The hub's keys over time: a chain in which each key appoints the next, from one key that the reader pins.

A fact is checked under the keys whose window covers the fact's own time, so that a retired key signs nothing new and
what it signed stays good. Windows may overlap: readers need not learn of a new key at once. Signing lives with the
hub, in ``service``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, TypeVar

from pydantic import Field, StringConstraints

from circuits import canonical
from circuits.errors import MalformedInput, SignatureRejected, StaleStatement, StatementMismatch
from circuits.schema import Hex32, Name, Strict, Time, dump, validate

from .jws import open_document

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SCHEMA = "zkmargin/hub-key/1"
TOKEN_TYPE = "zkmargin-hub-key+jws"  # noqa: S105 - a media type, no secret
#: A key a month for twenty years; bounds what a reader does for a hostile list.
MAX_KEYS = 256


class HubKeyPayloadModel(Strict):
    """``zkmargin/hub-key/1``: what the previous key signs of the next; the first signs itself."""

    schema_: Literal["zkmargin/hub-key/1"] = Field(alias="schema")
    hub: Name
    key: Hex32
    not_before: Time
    not_after: Time
    previous: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")]


@dataclass(frozen=True)
class HubKey:
    """A verified key of a hub: raw Ed25519 public keys, ``previous`` empty for the first; window inclusive, Unix
    seconds.
    """

    hub: str
    key: bytes
    not_before: int
    not_after: int
    previous: bytes

    def payload(self) -> bytes:
        """RFC 8785 bytes that are signed; ``MalformedInput`` for a window without time."""
        tree = {
            "schema": SCHEMA, "hub": self.hub, "key": self.key.hex(), "not_before": self.not_before,
            "not_after": self.not_after, "previous": self.previous.hex(),
        }  # fmt: skip
        model = validate(HubKeyPayloadModel, tree, name="hub-key.payload")
        if self.not_after <= self.not_before:
            raise MalformedInput("must be after not_before", field="hub-key.payload.not_after")
        return canonical.canonical_bytes(dump(model))

    def covers(self, time: int) -> bool:
        """Whether the key may sign a fact of ``time``."""
        return self.not_before <= time <= self.not_after

    def public_key(self) -> Ed25519PublicKey:
        """The key as an object that verifies."""
        return public_key(self.key)


def public_key(raw: bytes) -> Ed25519PublicKey:
    """An Ed25519 public key from its 32 raw bytes."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    return Ed25519PublicKey.from_public_bytes(raw)


def verify_hub_key(data: bytes, key: Ed25519PublicKey) -> HubKey:
    """Parse a hub key document and check its signature under the key that appoints it.

    Raises ``MalformedInput`` for bytes of another form, ``SignatureRejected`` for a wrong signature.
    """
    model, payload = open_document(
        data, key, HubKeyPayloadModel, schema=SCHEMA, token_type=TOKEN_TYPE, name="hub-key"
    )  # fmt: skip
    fact = HubKey(
        model.hub, bytes.fromhex(model.key), model.not_before, model.not_after, bytes.fromhex(model.previous)
    )  # fmt: skip
    if fact.payload() != payload:
        raise MalformedInput("payload is not in canonical form", field="hub-key.payload")
    return fact


def _refuse_fork(document: bytes, earlier: Sequence[HubKey], field: str) -> None:
    """Say so if an earlier key of the chain signed a document that its successor did not sign."""
    for key in earlier:
        try:
            verify_hub_key(document, key.public_key())
        except SignatureRejected:
            continue
        raise StatementMismatch("the key that signed this has another successor already", field=field)


class _Fact(Protocol):
    @property
    def hub(self) -> str: ...


F = TypeVar("F", bound=_Fact)


@dataclass(frozen=True)
class KeyChain:
    """The keys of one hub, oldest first; made by :meth:`follow` alone."""

    keys: tuple[HubKey, ...]

    @property
    def hub(self) -> str:
        """Name of the hub."""
        return self.keys[0].hub

    @classmethod
    def follow(cls, documents: Sequence[bytes], pinned: Ed25519PublicKey) -> KeyChain:
        """Check the documents of a chain, oldest first, beginning with the one that the pinned key signed of itself.

        The rules, each of which a later document breaks at its place: signed by the key before it, which it names; of
        the same hub; a key that the chain does not hold yet (no loop); a window that begins within the one before, so
        that a key appoints nobody after its end and no time is without a key. Two keys that name one predecessor are
        refused: a fork of keys is two hubs. A reader keeps the chain it has seen and calls :meth:`check_extends`, so
        that it cannot be led onto another branch later.

        Raises ``MalformedInput``, ``SignatureRejected``, or ``StatementMismatch`` with field ``hub-key.INDEX.NAME``.
        """
        if not 1 <= len(documents) <= MAX_KEYS:
            raise MalformedInput(f"must be 1 to {MAX_KEYS} documents", field="hub-keys")
        first = verify_hub_key(documents[0], pinned)
        if first.previous or first.key != pinned.public_bytes_raw():
            raise StatementMismatch("the chain does not begin with the pinned key", field="hub-key.0.key")
        keys = [first]
        for i, document in enumerate(documents[1:], start=1):
            last = keys[-1]
            try:
                key = verify_hub_key(document, last.public_key())
            except SignatureRejected:
                _refuse_fork(document, keys[:-1], f"hub-key.{i}.previous")
                raise
            faults = [
                ("previous", key.previous != last.key, "does not name the key that signed it"),
                ("hub", key.hub != first.hub, "differs from the first key's"),
                ("key", key.key in {k.key for k in keys}, "is in the chain already"),
                ("not_before", not last.covers(key.not_before), "begins outside the window of the key that signed it"),
            ]
            for name, broken, message in faults:
                if broken:
                    raise StatementMismatch(message, field=f"hub-key.{i}.{name}")
            keys.append(key)
        return cls(tuple(keys))

    def check_extends(self, held: KeyChain) -> None:
        """Check that this chain begins with all of one held earlier; ``StatementMismatch`` if keys were replaced."""
        if self.keys[: len(held.keys)] != held.keys:
            raise StatementMismatch("the keys are on another branch than those held", field="hub-keys")

    def keys_at(self, time: int) -> tuple[Ed25519PublicKey, ...]:
        """The keys whose window covers ``time``, newest first."""
        return tuple(key.public_key() for key in reversed(self.keys) if key.covers(time))

    def verify(
        self,
        verify: Callable[[bytes, Ed25519PublicKey], F],
        data: bytes,
        *,
        time_of: Callable[[F], int] = lambda fact: fact.time,  # type: ignore[attr-defined] # the usual member
    ) -> F:
        """Verify a fact of the hub (attestation, credit entry, tree head) under whichever key signed it.

        ``verify`` is the fact's own function, ``time_of`` the time that the signing key's window must cover.

        Raises what ``verify`` raises; ``SignatureRejected`` if no key of the chain signed it, ``StaleStatement`` if
        the key that did was not valid at the fact's time, ``StatementMismatch`` for a fact in another hub's name.
        """
        for key in reversed(self.keys):
            try:
                fact = verify(data, key.public_key())
            except SignatureRejected as err:
                rejected = err
                continue
            if fact.hub != self.hub:
                raise StatementMismatch("the fact is in another hub's name", field="hub")
            if not key.covers(time_of(fact)):
                raise StaleStatement("signed with a key that was not valid at the fact's time", field="time")
            return fact
        raise SignatureRejected("no key of the hub signed this", field=rejected.field)
