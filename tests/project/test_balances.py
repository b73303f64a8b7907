"""docs/ARCHITECTURE.md, "Worked balances": its tables come from this run of a hub."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest
from sqlalchemy import Connection, select

from tests.support.ledgers import World, fresh_url, started
from tests.support.places import ROOT
from zkmargin.circuits.rules import Terms
from zkmargin.circuits.units import format_fraction
from zkmargin.prover.explain import explain
from zkmargin.service.ledger import epochs, portfolio
from zkmargin.service.store import tables

PAGE = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
ALICE, VENUE, OPS = "account/alice", "venue/venue-a", "operator/ops"
CASH, COIN, CREDIT = "QUOTE-0", "SPOT-3", "CREDIT-1"


class Run:
    """A credit's life, with a line of each table after each step."""

    def __init__(self, world: World) -> None:
        self.world, self.credit, self.told = world, "", 0
        self.states = [
            "| after | epoch | cash | coins | live credits | equity | provable |",
            "|---|---|---|---|---|---|---|",
        ]
        self.moves = [
            "| step | moves | pledged | free | used | owed to the venue | exposure |",
            "|---|---|---|---|---|---|---|",
        ]

    def note(self, step: str) -> None:
        """The account as committed and as the rule sees it; the transfers since, and all balances after them."""
        self.states.append("| " + " | ".join([step, *self.world.ledger.database.read(self._state)]) + " |")
        self.moves.append("| " + " | ".join([step, *self.world.ledger.database.read(self._balances)]) + " |")

    def _state(self, tx: Connection) -> list[str]:
        account = epochs.read_account(self.world.ledger, tx, "alice")
        snapshot = self.world.snapshot
        lots = portfolio.vector(account.portfolio.lots, snapshot)
        held = {i.id: count * i.lot for i, count in zip(snapshot.instruments, lots, strict=True)}
        at_marks = sum((count * i.values[0] for i, count in zip(snapshot.instruments, lots, strict=True)), start=0)
        equity = Fraction(at_marks, snapshot.fine * 10**snapshot.decimals)
        provable = explain(snapshot, Terms("initial", Fraction(1), 600), lots).net_margin
        assert held[CREDIT] == Fraction(account.live, 100)  # what the ledger says is what is committed
        figures = (held[CASH], held[COIN], held[CREDIT], equity, provable)
        return [str(account.epoch), *map(format_fraction, figures)]

    def _balances(self, tx: Connection) -> list[str]:
        rows = list(tx.execute(select(tables.transfers).order_by(tables.transfers.c.number)))
        fresh, self.told = rows[self.told :], len(rows)
        moves = [f"{self._short(r.debit)} to {self._short(r.credit)}: {self._money(r.amount)}" for r in fresh]
        balance: Counter[str] = Counter()
        for row in rows:
            balance[self._short(row.debit)] -= row.amount
            balance[self._short(row.credit)] += row.amount
        assert sum(balance.values()) == 0
        exposure = tx.execute(select(tables.venues.c.exposure)).scalar_one()
        names = ("pledged", "free", "used", "owed")
        return ["; ".join(moves) or "-", *(self._money(balance[name]) for name in names), self._money(exposure)]

    def _short(self, name: str) -> str:
        return {
            "account/alice": "pledged", f"credit/{self.credit}/free": "free", f"credit/{self.credit}/used": "used",
            "venue/venue-a/payable": "owed",
        }[name]  # fmt: skip

    def _money(self, quanta: int) -> str:
        return self.world.ledger.money(quanta)

    def report(self, call: str, **body: object) -> None:
        """As the venue."""
        self.world.session.ok(VENUE, "POST", f"/v1/credits/{self.credit}/{call}", dict(body))

    def live(self) -> None:
        """From the first deposit to the end of the credit."""
        session, snapshot = self.world.session, self.world.snapshot
        session.venue("venue-a")
        session.account("alice")
        self.note("deposit of 1,000 in cash")
        coins = {"instrument": COIN, "quantity": "4", "reference": "receipt-2"}
        session.ok(OPS, "POST", "/v1/accounts/alice/deposits", coins)
        self.note("deposit of 4 coins")
        body = session.credit_body("alice", snapshot, venue="venue-a", amount="500", seconds=600)
        self.credit = session.ok(VENUE, "POST", "/v1/credits", body)["credit"]
        self.note("credit of 500 reserved")
        self.report("consume", sequence=1, amount="300", fills=[])
        self.note("300 used")
        self.report("release", sequence=2, free="150", used="300", paid="200")
        self.note("150 unused and 300 used released, 200 of it paid")
        out = session.withdrawal_body("alice", snapshot, instrument=CASH, quantity="400")
        session.ok(ALICE, "POST", "/v1/accounts/alice/withdrawals", out)
        self.note("400 withdrawn")
        with self.world.later(600 + self.world.ledger.policy.report_grace + 1):
            session.ok(OPS, "POST", f"/v1/credits/{self.credit}/expire")
        self.note("credit expired")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with fresh_url("sqlite", tmp_path_factory.mktemp("hub")) as url, started(url) as world:
        done = Run(world)
        done.live()
        return done


def test_the_balances_are_those_of_a_run(run: Run) -> None:
    for table in (run.states, run.moves):
        assert "\n".join(table) in PAGE, "\n" + "\n".join(table)


def test_what_comes_with_a_payment_is_no_gain(run: Run) -> None:
    """Of the row of the payment: cash falls by what is paid, and equity rises by what is released without payment."""
    before, after = ([Fraction(x) for x in row.split(" | ")[1:6]] for row in (run.states[5], run.states[6]))
    assert before[1] - after[1] == 200
    assert (before[3] - after[3], after[4] - before[4]) == (450, 250)
