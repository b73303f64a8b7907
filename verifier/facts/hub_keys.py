"""The hub's keys over time: a chain in which each key appoints the next, from one key that the reader pins.

A fact is checked under the keys whose window covers the fact's own time. That alone proves nothing about a key that has
ended: whoever has it still writes any time into what it signs. So what is of the present, tree heads before all, is
taken from the newest key by the *reader's* clock (:meth:`KeyChain.verify_current`), and what an older key signed only
where such a head includes it. Windows may overlap: readers need not learn of a new key at once. Signing lives with the
hub, in ``service``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, TypeVar

from pydantic import Field, StringConstraints

from zkmargin.circuits import canonical
from zkmargin.circuits.errors import MalformedInput, SignatureRejected, StaleStatement, StatementMismatch
from zkmargin.circuits.schema import Hex32, Name, Strict, Time, dump, validate
from zkmargin.circuits.statement import CLOCK_SKEW
from zkmargin.verifier.facts.jws import open_document

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SCHEMA = "zkmargin/hub-key/1"
TOKEN_TYPE = "zkmargin-hub-key+jws"  # noqa: S105 - a media type, no secret
#: A key a month for twenty years; bounds what a reader does for a hostile list.
MAX_KEYS = 256
#: Seconds for which a key is still taken as the present one after its successor began or its own end: the hub's clock
#: may be ``CLOCK_SKEW`` behind the reader's, and the hub takes up to as long again to sign its head anew.
KEY_GRACE = 2 * CLOCK_SKEW


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

    @property
    def time(self) -> int: ...


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

    def check_learnt(self, known: int, now: int) -> None:
        """Check that a reader whose clock says ``now`` may learn the keys after number ``known`` from this chain.

        An appointment bears no time of its own: whoever has a key that has ended could still appoint another successor
        with it. So each key from ``known`` on must be valid yet; ``StaleStatement`` names the first that is not. Its
        reader has been away for too long, or pins a key too old, and must be given the chain by the hub's operator.
        """
        for i, key in enumerate(self.keys[known:], start=known):
            if now > key.not_after:
                raise StaleStatement(
                    "ended before this reader learnt its successor: take the keys that its operator publishes",
                    field=f"hub-key.{i}.not_after",
                )

    def present(self, now: int) -> int:
        """The place of the oldest key that may sign for the present at ``now``: the newest that had begun
        :data:`KEY_GRACE` seconds before.
        """
        begun = [i for i, key in enumerate(self.keys) if key.not_before <= now - KEY_GRACE]
        return max(begun, default=0)

    def keys_at(self, time: int) -> tuple[Ed25519PublicKey, ...]:
        """The keys whose window covers ``time``, newest first."""
        return tuple(key.public_key() for key in reversed(self.keys) if key.covers(time))

    def verify(
        self,
        verify: Callable[[bytes, Ed25519PublicKey], F],
        data: bytes,
        *,
        now: int | None = None,
        time_of: Callable[[F], int] = lambda fact: fact.time,
    ) -> F:
        """Verify a fact of the hub (attestation, credit entry, tree head) under whichever key signed it.

        ``verify`` is the fact's own function, ``time_of`` the time that the signing key's window must cover. A key that
        has ended could have signed it since: see :meth:`verify_current`.

        Raises what ``verify`` raises; ``SignatureRejected`` if no key of the chain signed it, ``StaleStatement`` if
        the key that did was not valid at the fact's time or, with ``now``, for a fact from the future,
        ``StatementMismatch`` for a fact in another hub's name.
        """
        return self._signed(verify, data, now, time_of)[0]

    def verify_current(self, verify: Callable[[bytes, Ed25519PublicKey], F], data: bytes, *, now: int) -> F:
        """Verify a fact that speaks for the present: as :meth:`verify`, and signed with the newest key by the reader's
        clock. What the fact says of its own time decides nothing here: whoever has a retired key chooses it.

        Raises ``StaleStatement`` also for a key that was superseded, or whose validity has ended.
        """
        fact, signer = self._signed(verify, data, now, lambda fact: fact.time)
        if signer < self.present(now):
            raise StaleStatement("signed with a key that has been superseded", field="time")
        if now - KEY_GRACE > self.keys[signer].not_after:
            raise StaleStatement("signed with a key whose validity has ended", field="time")
        return fact

    def _signed(
        self, verify: Callable[[bytes, Ed25519PublicKey], F], data: bytes, now: int | None, time_of: Callable[[F], int]
    ) -> tuple[F, int]:
        """A fact of this hub, of its signer's time, and the place of the key that signed it."""
        for i, key in reversed(list(enumerate(self.keys))):
            try:
                fact = verify(data, key.public_key())
            except SignatureRejected as err:
                rejected = err
                continue
            if fact.hub != self.hub:
                raise StatementMismatch("the fact is in another hub's name", field="hub")
            if not key.covers(time_of(fact)):
                raise StaleStatement("signed with a key that was not valid at the fact's time", field="time")
            if now is not None and time_of(fact) > now + CLOCK_SKEW:
                raise StaleStatement("the fact is from the future", field="time")
            return fact, i
        raise SignatureRejected("no key of the hub signed this", field=rejected.field)
