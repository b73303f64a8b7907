"""The audit knows what each kind of event may move: value that leaves by an event that needs no consent is found.

The insider here has the hub's own code and keys: every row, digest, commitment, signature and transfer is in order, and
only the consent is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Connection, update

from tests.support.hubs import Signer
from tests.support.ledgers import DATABASES, World, fresh_url, snapshot_at, started
from tests.support.toy import Tree
from zkmargin.circuits.documents.statement import StatementModel, statement_from_model
from zkmargin.circuits.schema import validate
from zkmargin.service.client.signing import RequestSigner
from zkmargin.service.http.proving import proved_of
from zkmargin.service.http.routes.accounts import WithdrawalBody
from zkmargin.service.ledger import accounts, audit, callers, credits, epochs, events, portfolio, venues
from zkmargin.service.ledger.answers import Parts
from zkmargin.service.ledger.changes import Expired, Recommitted, Released
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.store import tables
from zkmargin.service.store.rows import AccountRow, CreditRow, every, find, one

ALICE, VENUE = "account/alice", "venue/spoke-a"
Forge = Callable[[Ledger, Connection], None]


@pytest.fixture(scope="module", params=DATABASES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with fresh_url(request.param, tmp_path_factory.mktemp("hub")) as url, started(url) as made:
        s = made.session
        s.venue("spoke-a")
        for name in ("alice", "bob"):
            s.account(name)
        credit = s.ok(VENUE, "POST", "/v1/credits", s.credit_body("alice", made.snapshot, venue="spoke-a", amount="90"))
        s.ok(VENUE, "POST", f"/v1/credits/{credit['credit']}/consume", {"sequence": 1, "amount": "40"})
        yield made


class Undo(Exception):
    """Ends a forged transaction."""


def forged(world: World, forge: Forge) -> list[str]:
    """The audit's findings after a forgery that is rolled back."""
    found: list[str] = []

    def unit(tx: Connection) -> None:
        forge(world.ledger, tx)
        ledger = Ledger(world.hub.database, world.hub.ring, "hub-1", "USD", 2)
        found.extend(audit._Auditor(ledger, tx, audit.Audit(), None).run(True, lambda step: None).findings)
        raise Undo

    with pytest.raises(Undo):
        world.hub.database.write(unit)
    return found


@dataclass(frozen=True)
class Forged:
    """A change of a kind that says more than its type can."""

    kind: str
    tree: Tree

    def to_json(self) -> Tree:
        return self.tree


def moved(ledger: Ledger, tx: Connection, name: str, kind: str, delta: Tree, *, now: int = 0, **more: Any) -> str:
    """An event of a kind with a delta, in whole lots of the snapshot's registry, made by the hub's own code."""
    account = epochs.read_account(ledger, tx, name, lock=True)
    snapshot, held = accounts.workable(ledger, tx, account)
    lots = {
        instrument: int(int(quantity) / snapshot.instruments[snapshot.index[instrument]].lot)
        for instrument, quantity in delta.items()
    }
    content = ({"delta": delta} if delta else {}) | more
    after, state = epochs.advance(
        ledger, tx, account, snapshot, portfolio.changed(held, lots), Forged(kind, content), live=account.live,
        now=now or ledger.clock(),
    )  # fmt: skip
    assert state.epoch == account.epoch + 1
    return after.head


def by_kind(kind: str, delta: Tree) -> Forge:
    def forge(ledger: Ledger, tx: Connection) -> None:
        moved(ledger, tx, "bob", kind, delta)

    return forge


def by_deposit(delta: Tree) -> Forge:
    """With its receipt, as every deposit has."""

    def forge(ledger: Ledger, tx: Connection) -> None:
        head = moved(ledger, tx, "bob", "deposited", delta, reference="forged")
        tx.execute(tables.receipts.insert().values(reference="forged", account="bob", event=head))

    return forge


def by_note(ledger: Ledger, tx: Connection) -> None:
    """A delta in an event that leaves the commitment alone, and is committed by the next one."""
    account = epochs.read_account(ledger, tx, "bob", lock=True)
    epochs.note(ledger, tx, account, Forged("unfrozen", {"delta": {"QUOTE-0": "-5"}}), ledger.clock())
    account = epochs.read_account(ledger, tx, "bob")
    snapshot, held = accounts.workable(ledger, tx, account)
    cash = int(5 / snapshot.instruments[snapshot.index["QUOTE-0"]].lot)
    after = portfolio.changed(held, {"QUOTE-0": -cash})
    epochs.advance(ledger, tx, account, snapshot, after, Recommitted(), live=account.live, now=ledger.clock())


def reduced(
    *, free: int = 0, used: int = 0, paid: int = 0, kind: type[Released | Expired] = Released, payer: str = "alice"
) -> Forge:
    """A credit's change by the ledger's own code, past the checks of its callers."""

    def forge(ledger: Ledger, tx: Connection) -> None:
        row = one(tx, CreditRow, every(CreditRow))
        account = epochs.read_account(ledger, tx, payer, lock=True)
        credits._reduce(ledger, tx, account, row, free, used, paid, kind, ledger.clock())

    return forge


THEFTS: dict[str, Forge] = {
    "a recommitment that pays": by_kind("recommitted", {"QUOTE-0": "-500"}),
    "a recommitment that receives": by_kind("recommitted", {"QUOTE-0": "500"}),
    "a deposit of less than nothing": by_deposit({"QUOTE-0": "-500"}),
    "a deposit of what custody cannot hold": by_deposit({"PERPETUAL-2": "5"}),
    "a deposit of two things": by_deposit({"QUOTE-0": "5", "SPOT-3": "5"}),
    "a thaw that pays": by_note,
    "an expiry that pays": reduced(used=10_00, paid=10_00, kind=Expired),
    "an expiry of what is used": reduced(used=10_00, kind=Expired),
    "an expiry before its time": reduced(free=10_00, kind=Expired),
}


def test_the_ledger_is_clean_before(world: World) -> None:
    assert forged(world, lambda ledger, tx: None) == []
    # The control: what the same helpers make in the hub's own way is clean too.
    assert forged(world, by_kind("recommitted", {})) == []
    assert forged(world, by_deposit({"QUOTE-0": "500"})) == []
    assert forged(world, reduced(free=10_00, used=10_00, paid=5_00)) == []


@pytest.mark.parametrize("theft", THEFTS)
def test_value_that_moves_without_consent_is_found(world: World, theft: str) -> None:
    assert forged(world, THEFTS[theft])


def test_a_credit_that_another_account_pays_is_found(world: World) -> None:
    """Alice's credit, paid out of bob's cash: he never authorised one."""

    def forge(ledger: Ledger, tx: Connection) -> None:
        row = one(tx, CreditRow, every(CreditRow))
        owed, payer = (epochs.read_account(ledger, tx, name, lock=True) for name in ("alice", "bob"))
        snapshot, held = accounts.workable(ledger, tx, payer)
        cash = int(10 / snapshot.instruments[snapshot.index["QUOTE-0"]].lot)
        change = Released(row.id, 0, 10_00, 10_00, {"QUOTE-0": "-10"})
        after = portfolio.changed(held, {"QUOTE-0": -cash})
        paid, _ = epochs.advance(
            ledger, tx, payer, snapshot, after, change, live=payer.live, now=ledger.clock(),
            guard=lambda: venues.relieve(tx, row.venue, 10_00),
        )  # fmt: skip
        events.transfer(tx, paid.head, credits.side(row.id, "used"), credits.payable(row.venue), 10_00)
        parts = Parts(row.amount, row.free, row.used - 10_00, row.released + 10_00)
        credits._settle(ledger, tx, row, parts, ledger.clock())
        snapshot, held = accounts.workable(ledger, tx, owed)
        epochs.advance(ledger, tx, owed, snapshot, held, Recommitted(), live=owed.live - 10_00, now=ledger.clock())

    found = forged(world, forge)
    assert any("another account's" in finding for finding in found), found


def test_what_leaves_a_frozen_account_is_found(world: World) -> None:
    """With the holder's consent and a proof, and the freeze passed over."""
    body = world.session.withdrawal_body("bob", world.snapshot, instrument="QUOTE-0", quantity="10")

    def forge(ledger: Ledger, tx: Connection, *, frozen: bool = True) -> None:
        if frozen:
            accounts.set_state(ledger, tx, "bob", "frozen")
        tx.execute(update(tables.accounts).where(tables.accounts.c.id == "bob").values(state="open"))
        accounts.withdraw(ledger, tx, "bob", "QUOTE-0", "10", proved_of(WithdrawalBody.model_validate(body)))
        if frozen:
            tx.execute(update(tables.accounts).where(tables.accounts.c.id == "bob").values(state="frozen"))

    assert forged(world, lambda ledger, tx: forge(ledger, tx, frozen=False)) == []
    assert any("frozen" in finding for finding in forged(world, forge))


def test_an_event_backdated_into_the_time_of_a_retired_key_is_found(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thief holds a key that the holder retired, and the hub dates the booking back to when it was valid."""
    s, spare = world.session, Signer()
    s.ok(ALICE, "POST", "/v1/keys", {"key": spare.public})
    world.hub.signers["account/spare"] = spare
    kids = [row.kid for row in world.ledger.database.read(lambda tx: callers.keys_of(tx, "account", "alice"))]
    kid = next(k for k in kids if k == _kid(spare))
    begin = world.clock()
    s.ok(ALICE, "POST", f"/v1/keys/{kid}/retire")
    world.clock.now += 1000
    s.publish(snapshot_at(world.clock()))
    snapshot = snapshot_at(world.clock())
    s.ok(ALICE, "POST", "/v1/accounts/alice/epochs")
    body = s.withdrawal_body("alice", snapshot, instrument="QUOTE-0", quantity="10")
    stated = statement_from_model(validate(StatementModel, body["statement"], name="statement"))
    stolen = body | s.authorised(stated, body["proof"], by="account/spare")

    def forge(at: int, request: Tree) -> Forge:
        def unit(ledger: Ledger, tx: Connection) -> None:
            proved = proved_of(WithdrawalBody.model_validate(request))
            content = {"destination": "vault-1", **proved.to_json()}
            moved(ledger, tx, "alice", "withdrawn", {"QUOTE-0": "-10"}, now=at, **content)

        return unit

    assert forged(world, forge(world.clock(), body)) == []
    now = [f for f in forged(world, forge(world.clock(), stolen)) if "authorises" in f]
    assert now, "the control: in its own time the key is refused"
    assert any("before the head" in finding for finding in forged(world, forge(begin, stolen)))
    # The event alone dated back, and attested in its own time.
    attest = epochs.attest
    monkeypatch.setattr(
        epochs, "attest", lambda ledger, tx, account, c, now: attest(ledger, tx, account, c, ledger.clock())
    )
    assert any("at another time" in finding for finding in forged(world, forge(begin, stolen)))


def _kid(signer: Signer) -> str:
    return RequestSigner(signer.key, "hub-1").keyid


def test_a_withdrawal_written_otherwise_than_proved_is_no_finding(world: World) -> None:
    """``10.00`` asked for and ``-10`` proved are one quantity: no holder can make the audit cry for ever."""
    s = world.session
    snapshot = world.ledger.database.read(lambda tx: accounts.workable(world.ledger, tx, _read(world, tx, "bob"))[0])
    body = s.withdrawal_body("bob", snapshot, instrument="QUOTE-0", quantity="10")
    s.ok("account/bob", "POST", "/v1/accounts/bob/withdrawals", body | {"quantity": "10.00"})
    assert audit.run(Ledger.open(world.hub.database, world.hub.ring, clock=world.clock)).findings == []


def _read(world: World, tx: Connection, name: str) -> epochs.Account:
    assert find(tx, AccountRow, id=name) is not None
    return epochs.read_account(world.ledger, tx, name)
