"""An account's committed state: positions in lots by instrument, blinding, domain. Secret, and sealed at rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Self

from py_arkworks_bls12381 import Scalar

from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.errors import CorruptData, MalformedInput
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.units import MAX_LOTS
from zkmargin.prover.commitment import Opening
from zkmargin.service.ledger.json_tree import Fields, Tree, parsed
from zkmargin.service.refusals import PositionLimit, SnapshotRefused
from zkmargin.verifier.field import decode_scalar, encode_scalar

#: Kinds of instruments that custody can hold: nothing else moves in and out.
ASSETS = ("quote", "spot")


@dataclass(frozen=True)
class Committed:
    """What an event keeps besides its change, so that the audit can make the epoch's commitment again. Secret."""

    registry: bytes
    domain: int
    blinding: tuple[Scalar, ...] = field(repr=False)

    def to_json(self) -> Tree:
        """As it is sealed."""
        blinding = [encode_scalar(b).hex() for b in self.blinding]
        return {"registry": self.registry.hex(), "domain": self.domain, "blinding": blinding}

    @classmethod
    def from_json(cls, fields: Fields) -> Self:
        """Inverse of :meth:`to_json`; ``CorruptData``, ``MalformedInput`` or ``ValueError``."""
        blinding = tuple(decode_scalar(bytes.fromhex(b), field="blinding") for b in fields.texts("blinding"))
        return cls(fields.raw("registry"), fields.number("domain"), blinding)


@dataclass(frozen=True)
class Portfolio:
    """Positions in lots of the registry that they are committed under; zero positions are absent. No repr shows any."""

    registry: bytes
    domain: int
    lots: Mapping[str, int] = field(repr=False)
    blinding: tuple[Scalar, ...] = field(repr=False)

    def opening(self, snapshot: Snapshot) -> Opening:
        """The opening on any snapshot of the registry."""
        return Opening(self.domain, tuple(vector(self.lots, snapshot)), self.blinding)

    @property
    def committed(self) -> Committed:
        """What the event of this epoch keeps."""
        return Committed(self.registry, self.domain, self.blinding)

    def to_bytes(self) -> bytes:
        """For the vault."""
        lots = {name: str(lots) for name, lots in self.lots.items()}
        return canonical_bytes({**self.committed.to_json(), "lots": lots})


def from_bytes(data: bytes) -> Portfolio:
    """Inverse of :meth:`Portfolio.to_bytes`; the bytes are the vault's, so a fault is ``CorruptData``."""
    try:
        fields = Fields(parsed(data, name="portfolio"), "portfolio")
        held = Committed.from_json(fields)
        lots = {name: int(count) for name, count in fields.quantities("lots").items()}
        return Portfolio(held.registry, held.domain, lots, held.blinding)
    except (MalformedInput, CorruptData, ValueError):
        raise CorruptData("a stored portfolio is not of its form", field="portfolio") from None


def vector(lots: Mapping[str, int], snapshot: Snapshot) -> list[int]:
    """Positions in registry order; ``PositionLimit`` for one whose instrument is not in the registry."""
    out = [0] * len(snapshot.instruments)
    for name, count in lots.items():
        if name not in snapshot.index:
            raise PositionLimit("the snapshot does not list what the account holds", field="account")
        out[snapshot.index[name]] = count
    return out


def credit_line(snapshot: Snapshot) -> str:
    """The id of the one instrument in which credits are booked."""
    return _only(snapshot, "credit")


def cash_line(snapshot: Snapshot) -> str:
    """The id of the one instrument that is the quote currency."""
    return _only(snapshot, "quote")


def _only(snapshot: Snapshot, kind: str) -> str:
    lines = [inst.id for inst in snapshot.instruments if inst.kind == kind]
    if len(lines) != 1:
        raise SnapshotRefused(f"a hub's snapshot has exactly one {kind} line", field="snapshot.instruments")
    return lines[0]


def credit_lots(quanta: int, snapshot: Snapshot) -> int:
    """Lots of the credit line for a live credit of so many quote quanta, rounded up: against the account."""
    lot = snapshot.instruments[snapshot.index[credit_line(snapshot)]].lot
    amount = Fraction(quanta, 10**snapshot.decimals) / lot
    return -((-amount.numerator) // amount.denominator)


def changed(lots: Mapping[str, int], delta: Mapping[str, int]) -> dict[str, int]:
    """Positions after a change, without zeros."""
    out = dict(lots)
    for name, count in delta.items():
        out[name] = out.get(name, 0) + count
        if out[name] == 0:
            del out[name]
    return out


def check(lots: Mapping[str, int], names: Iterable[str], snapshot: Snapshot, *, field: str) -> None:
    """That a snapshot can prove the positions that a change touched, ``names``: ``PositionLimit``.

    What the caller did not touch is not looked at: the answer would tell him about it.
    """
    for name in names:
        inst, count = snapshot.instruments[snapshot.row_of(name, field=field)], lots.get(name, 0)
        if abs(count) > min(inst.position_limit, MAX_LOTS):
            raise PositionLimit("beyond the position limit of the snapshot", field=field)
        if count < 0 and inst.kind == "credit":
            raise PositionLimit("would fall below zero", field=field)


def relisted(portfolio: Portfolio, old: Snapshot, new: Snapshot) -> dict[str, int]:
    """The same quantities in lots of another registry, without the credit line, which is booked anew.

    ``PositionLimit`` where the new registry does not list an instrument, lists it as another kind, or has lots that do
    not divide the quantity.
    """
    out: dict[str, int] = {}
    for name, count in portfolio.lots.items():
        before = old.instruments[old.index[name]]
        if before.kind == "credit":
            continue
        if name not in new.index or new.instruments[new.index[name]].kind != before.kind:
            raise PositionLimit("the new registry does not list what the account holds", field="account")
        quantity = count * before.lot / new.instruments[new.index[name]].lot
        if quantity.denominator != 1:
            raise PositionLimit("not a whole number of the new registry's lots", field="account")
        out[name] = quantity.numerator
    return out
