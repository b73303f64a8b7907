"""Insiders: what a hub's own code could be made to do, and the audit finds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Connection

from tests.support.attacked import (
    ALICE,
    sided,
    sides,
)
from tests.support.ledgers import World
from zkmargin.prover.commitment import Opening
from zkmargin.service.ledger import accounts, audit, credits, epochs, trades
from zkmargin.service.ledger.context import Ledger

pytestmark = pytest.mark.slow


def findings(world: World) -> list[str]:
    """Of a book that remembers nothing."""
    return audit.run(Ledger.open(world.hub.database, world.hub.ring, clock=world.clock)).findings


def test_a_false_commitment_of_a_middle_epoch_is_found(tampered: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """For one epoch the account holds more than it does, gets a credit on it, and is then committed truly again."""
    real, made = epochs.commit, []

    def generous(lots: list[int], domain: int) -> tuple[bytes, Opening]:
        commitment, opening = real([lots[0] + 10**6, *lots[1:]], domain)
        made.append(opening.blinding)
        return commitment, replace(opening, lots=tuple(lots))

    with monkeypatch.context() as patched:
        patched.setattr(epochs, "commit", generous)
        tampered.session.ok(ALICE, "POST", "/v1/accounts/alice/epochs")
    assert len(made) == 1
    tampered.session.ok(ALICE, "POST", "/v1/accounts/alice/epochs")
    assert findings(tampered) == ["event alice/3: the attested commitment is not of what the account then held"]


def test_an_attestation_that_no_event_made_is_found(tampered: World) -> None:
    """Signed by the hub's own key and logged, for an epoch that the account has not reached."""

    def unit(tx: Connection) -> None:
        account = epochs.read_account(tampered.ledger, tx, "alice", lock=True)
        named = epochs.attested(tx, "alice", account.epoch)
        epochs.attest(tampered.ledger, tx, replace(account, epoch=99), named.commitment, tampered.clock())

    tampered.ledger.database.write(unit)
    assert findings(tampered) == ["attestations that no event made, or none of an event"]


def test_a_credit_on_a_looser_statement_is_found(tampered: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A true proof of a statement that no hub takes: at maintenance level."""
    s = tampered.session
    body = s.credit_body("alice", tampered.snapshot, venue="honest", amount="100", level="maintenance")
    monkeypatch.setattr(credits, "_expect_eligible", lambda *a: tampered.snapshot)
    tampered.ledger.database.write(
        lambda tx: credits.reserve(tampered.ledger, tx, "honest", sided(body), 10_000, tampered.clock() + 100)
    )
    assert findings(tampered) == ["event alice/3: the statement is a looser one"]


def test_a_trade_that_an_insider_books_unconserved_is_found(tampered: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both proofs are true, of legs that do not match."""
    body = sides(tampered, (("QUOTE-0", "5"),), (("QUOTE-0", "-1"),))
    maker, taker = (sided(body[role]) for role in trades.SIDES)
    real, seen = accounts.legs, []

    class Opposite(dict[str, int]):
        def __eq__(self, other: object) -> bool:
            seen.append(other)
            return True

        __hash__ = None  # type: ignore[assignment]

        def __ne__(self, other: object) -> bool:
            return not self == other

    monkeypatch.setattr(accounts, "legs", lambda *a: Opposite(real(*a)))
    tampered.ledger.database.write(lambda tx: trades.book_trade(tampered.ledger, tx, "evil", (maker, taker)))
    assert seen
    found = findings(tampered)
    assert len(found) == 1
    assert found[0].endswith("is not conserved")
