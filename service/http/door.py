"""The hub's door: who a request is from, before anything of its body is read.

A key is known here when it belongs to an operator, an oracle or a venue, or when a request of it was authenticated
before. A request that is rightly signed with a known key goes into its own lane (:mod:`zkmargin.service.http.lanes`)
whatever strangers do; all others are strangers until the ledger has found their key. Being known decides about room
and about nothing else: whether the key is valid now, and whether the request is new, the ledger says every time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from anyio import CapacityLimiter
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, select
from starlette.types import Scope

from zkmargin.circuits.errors import ZkMarginError
from zkmargin.service.http.lanes import CALLERS, OPERATORS, PUBLIC
from zkmargin.service.http.middleware import context_of
from zkmargin.service.keys.request_signatures import SignedHead, verify_head
from zkmargin.service.ledger import callers
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.store import tables
from zkmargin.verifier.facts.hub_keys import public_key

#: Where a request carries its verified head.
HEAD = "zkmargin.head"
#: Kinds that are few: known from the start.
FEW = ("operator", "oracle", "venue")
#: Keys of others that are remembered, some three hundred bytes each.
KNOWN = 65_536
KeyOf = Callable[[str], Ed25519PublicKey | None]
_LANES = {"operator": OPERATORS, "oracle": OPERATORS}


@dataclass(frozen=True)
class _Known:
    key: Ed25519PublicKey
    kind: str


class Door:
    """Knows callers by their keys. ``limiter`` is for the threads in which strangers' keys are looked up."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.limiter = CapacityLimiter(1)
        self._few: dict[str, _Known] = {}
        self._met: OrderedDict[str, _Known] = OrderedDict()

    def refresh(self) -> None:
        """Read the keys of operators, oracles and venues; in a thread."""
        table, now = tables.keys, self.ledger.clock()

        def unit(tx: Connection) -> dict[str, _Known]:
            valid = table.c.not_after >= now
            rows = tx.execute(select(table.c.kid, table.c.kind, table.c.public).where(table.c.kind.in_(FEW), valid))
            return {row.kid: _Known(public_key(bytes.fromhex(row.public)), row.kind) for row in rows}

        self._few = self.ledger.database.read(unit)

    def met(self, kid: str, key: Ed25519PublicKey, kind: str) -> None:
        """Remember whose request was authenticated."""
        if kid not in self._few:
            self._met[kid] = _Known(key, kind)
            self._met.move_to_end(kid)
            while len(self._met) > KNOWN:
                self._met.popitem(last=False)

    def forget(self, kid: str) -> None:
        """A key that is not valid any more."""
        self._few.pop(kid, None)
        self._met.pop(kid, None)

    def lane(self, scope: Scope) -> str:
        """The lane of a request; one of a known key carries its verified head from here on."""
        lines = header_lines(scope)
        if not any(name == "signature-input" for name, _ in lines):
            return PUBLIC
        kinds: list[str] = []

        def key_of(kid: str) -> Ed25519PublicKey | None:
            known = self._few.get(kid) or self._met.get(kid)
            if known is None:
                return None
            kinds.append(known.kind)
            return known.key

        try:
            scope[HEAD] = self._verify(scope, lines, key_of)
        except ZkMarginError:
            # What is wrong with it the call itself will say.
            return PUBLIC
        return _LANES.get(kinds[0], CALLERS)

    def _verify(self, scope: Scope, lines: list[tuple[str, str]], key_of: KeyOf) -> SignedHead:
        return verify_head(
            method=context_of(scope).method or scope["method"],
            path=scope.get("raw_path", b"").decode("latin-1").partition("?")[0],
            query=scope["query_string"].decode("latin-1"),
            headers=lines, key_of=key_of, now=self.ledger.clock(), hub=self.ledger.name,
        )  # fmt: skip

    def verify(self, scope: Scope) -> SignedHead:
        """The verified head of a stranger's request, its key looked up in the ledger; in a thread.

        Whoever sends his body slowly is known from here on, so that he takes the strangers' room once.

        Raises ``SignatureRejected``, ``RequestExpired``, ``UnknownKey``.
        """

        found: list[_Known] = []

        def key_of(kid: str) -> Ed25519PublicKey | None:
            row = self.ledger.database.read(lambda tx: callers.lookup(tx, kid))
            if row is None:
                return None
            found.append(_Known(public_key(bytes.fromhex(row.public)), row.kind))
            return found[0].key

        head = self._verify(scope, header_lines(scope), key_of)
        self.met(head.request.keyid, found[0].key, found[0].kind)
        return head


def header_lines(scope: Scope) -> list[tuple[str, str]]:
    """Every field line of a request, in order."""
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
