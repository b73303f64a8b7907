"""The audit finds whatever is changed behind the hub's back, and the database refuses rows that cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, Table, delete, event, insert, select, text, update
from sqlalchemy.exc import IntegrityError, PendingRollbackError

from tests.support.hubs import Hub
from tests.support.ledgers import DATABASES, World, fresh_url, snapshot_at, started
from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.service.ledger import audit, events, setup
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.refusals import Conflict, Unavailable
from zkmargin.service.store import tables
from zkmargin.service.store.database import Database
from zkmargin.service.store.tables import metadata

OPS, ALICE, VENUE_A, VENUE_B = "operator/ops", "account/alice", "venue/spoke-a", "venue/spoke-b"
#: What nothing else in the database repeats, and why that is no ledger: the audit cannot and does not look at it.
UNCHECKED = {
    "idempotency": "answers already given, which events repeat",
    "nonces": "forgotten within minutes",
    "grants": "the holder's choice",
    "breakers": "the operators' choice",
    "keys.kind": "callers' registration",
    "keys.owner": "callers' registration",
    "keys.not_before": "callers' registration",
    "keys.not_after": "callers' registration",
    "zones.cap": "the operators' choice, held above exposure by the database",
    "venues.cap": "the operators' choice, held above exposure by the database",
    "venues.state": "the operators' choice",
    "venues.failed_proofs": "a counter that starts anew",
    "venues.registered": "told to operators only",
    "snapshots.received": "the hub's own clock, which nothing else recorded",
    "snapshots.number": "order of rows",
    "credits.number": "order of pages",
    "events.number": "order between accounts; within one account the sequence tells",
    "transfers.number": "order of rows; within one event the content tells",
}


def populate(world: World) -> None:
    """A ledger with at least two rows wherever rows could be exchanged, and every kind of event."""
    s = world.session
    for name in ("spoke-a", "spoke-b"):
        s.venue(name, zone=f"zone-of-{name}")
    for name in ("alice", "bob"):
        s.account(name)
    s.account("eve", jurisdiction="retail", cash="0")
    s.ok(ALICE, "PUT", "/v1/accounts/alice/grants/spoke-a")
    first = s.ok(VENUE_A, "POST", "/v1/credits", s.credit_body("alice", world.snapshot, venue="spoke-a", amount="300"))
    s.ok(VENUE_B, "POST", "/v1/credits", s.credit_body("bob", world.snapshot, venue="spoke-b", amount="70.5"))
    path = f"/v1/credits/{first['credit']}"
    fills = [{"instrument": "PERPETUAL-2", "quantity": "1"}, {"instrument": "QUOTE-0", "quantity": "-64"}]
    s.ok(VENUE_A, "POST", f"{path}/consume", {"sequence": 1, "amount": "100", "fills": fills})
    s.ok(VENUE_A, "POST", f"{path}/consume", {"sequence": 2, "amount": "7"})
    s.ok(VENUE_A, "POST", f"{path}/release", {"sequence": 3, "free": "20", "used": "30", "paid": "12.5"})
    legs = (("PERPETUAL-2", "1"), ("QUOTE-0", "-64"))
    s.ok(VENUE_A, "POST", "/v1/trades", s.trade_body("alice", "bob", world.snapshot, venue="spoke-a", legs=legs))
    paid = s.withdrawal_body("bob", world.snapshot, instrument="QUOTE-0", quantity="10")
    s.ok("account/bob", "POST", "/v1/accounts/bob/withdrawals", paid)
    s.ok(OPS, "POST", "/v1/accounts/bob/freeze")
    s.ok(OPS, "POST", "/v1/accounts/eve/freeze")
    s.ok(OPS, "POST", "/v1/accounts/eve/unfreeze")
    s.ok(OPS, "POST", "/v1/breakers/open", {"scope": "venue/spoke-b"})
    world.clock.now += 5
    setup.rotate_signing_key(world.hub.ledger)
    s.publish(snapshot_at(world.clock()))
    s.ok(ALICE, "POST", "/v1/accounts/alice/epochs")
    with world.later(3600 + 61):
        s.ok(OPS, "POST", f"{path}/expire")


@pytest.fixture(scope="module", params=DATABASES)
def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with fresh_url(request.param, tmp_path_factory.mktemp("hub")) as url:
        with started(url) as world:
            populate(world)
        yield world.hub
        world.hub.database.close()


#: How the database itself refuses a change: a constraint, or a uniqueness.
REFUSED = (IntegrityError, Conflict)


class Undo(Exception):
    """Ends a tampered transaction."""


def tampered(hub: Hub, change: Callable[[Connection], None]) -> list[str]:
    """The audit's findings after a change that is rolled back. Constraints are the database's own business."""
    found: list[str] = []

    def unit(tx: Connection) -> None:
        if hub.database.sqlite:
            tx.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
        change(tx)
        # A book of its own: nothing remembered from before. Proofs are tampered with in a test of their own.
        ledger = Ledger(hub.database, hub.ring, "hub-1", "USD", 2)
        found.extend(audit._Auditor(ledger, tx, audit.Audit(), None).run(False, lambda step: None).findings)
        raise Undo

    with pytest.raises(Undo):
        hub.database.write(unit)
    return found


def rows(tx: Connection, table: Table) -> list[Any]:
    return list(tx.execute(select(table).order_by(*table.primary_key.columns)))


def chosen(table: Table, row: Any) -> Any:
    """The row by its primary key."""
    return [column == getattr(row, column.name) for column in table.primary_key.columns]


def other_value(value: Any, others: list[Any]) -> Any:
    """Another value of the same form: a neighbour's, or one bit away."""
    for other in others:
        if other != value:
            return other
    if isinstance(value, int):
        return value + 1
    if isinstance(value, bytes):
        return value[:-1] + bytes([value[-1] ^ 1]) if value else b"\x01"
    return value[:-1] + ("a" if value[-1:] != "a" else "b")


def flipped(value: Any) -> Any:
    return other_value(value, [])


def is_checked(table: Table, column: str) -> bool:
    return table.name not in UNCHECKED and f"{table.name}.{column}" not in UNCHECKED


def columns() -> list[tuple[Table, str]]:
    return [(t, c.name) for t in metadata.sorted_tables for c in t.columns if is_checked(t, c.name)]


def test_a_clean_ledger_has_no_findings(hub: Hub) -> None:
    steps: list[str] = []
    pinned = bytes.fromhex(hub.made["key"])
    done = audit.run(hub.ledger, pinned=pinned, progress=steps.append)
    assert done.findings == []
    assert steps == list(audit.STEPS)
    # Two credits, two sides of a trade, a withdrawal.
    assert (done.counts["proofs"], done.counts["credits"], done.counts["trades"]) == (5, 2, 1)
    assert (done.counts["accounts"], done.counts["live credits"], done.counts["signing keys"]) == (3, 2, 2)
    # Another hub's history would be clean in itself.
    assert audit.run(hub.ledger, pinned=bytes.fromhex(hub.operator.public)).findings


def test_every_unchecked_column_exists() -> None:
    found = {t.name for t in metadata.sorted_tables}
    found |= {f"{t.name}.{c.name}" for t in metadata.sorted_tables for c in t.columns}
    assert set(UNCHECKED) <= found


@pytest.mark.slow
@pytest.mark.parametrize(("table", "column"), columns(), ids=lambda value: getattr(value, "name", value))
def test_a_changed_column_is_found(hub: Hub, table: Table, column: str) -> None:
    """One value of one row, by a neighbour's and by the next one: a finding, or the database's own refusal."""
    present = hub.database.read(lambda tx: rows(tx, table))
    assert present, "the ledger of this test has such rows"
    values = [getattr(row, column) for row in present]
    tried = 0
    for row in (present[0], present[-1]):
        value = getattr(row, column)
        for new in {other_value(value, values), flipped(value)}:

            def change(tx: Connection, row: Any = row, new: Any = new) -> None:
                tx.execute(update(table).where(*chosen(table, row)).values({column: new}))

            tried += 1
            try:
                found = tampered(hub, change)
            except REFUSED:
                continue
            assert found, f"{table.name}.{column}: {value!r} to {new!r}"
    assert tried >= 2


@pytest.mark.parametrize("pair", [("amount", "free"), ("used", "free"), ("released", "used"), ("released", "free")])
def test_parts_of_a_credit_moved_are_found(hub: Hub, pair: tuple[str, str]) -> None:
    """One quantum from one part to another, which the row's own constraint allows."""
    t = tables.credits
    more, less = pair

    def change(tx: Connection) -> None:
        credit = next(row for row in rows(tx, t) if row.account == "alice")
        sign = 1 if more == "amount" else -1
        moved = {more: t.c[more] + 1, less: t.c[less] + sign}
        if getattr(credit, less) == 0 and sign < 0:
            moved = {more: t.c[more] - 1, less: t.c[less] + 1}
        tx.execute(update(t).where(t.c.id == credit.id).values(moved))

    assert tampered(hub, change)


@pytest.mark.parametrize("table", [t for t in metadata.sorted_tables if t.name not in UNCHECKED], ids=lambda t: t.name)
def test_a_deleted_row_is_found(hub: Hub, table: Table) -> None:
    present = hub.database.read(lambda tx: rows(tx, table))
    for row in (present[0], present[-1]):

        def change(tx: Connection, row: Any = row) -> None:
            tx.execute(delete(table).where(*chosen(table, row)))

        try:
            found = tampered(hub, change)
        except IntegrityError:
            continue
        # A caller's key may go, and a snapshot that no statement names: nothing rests on them.
        assert found or table.name == "keys" or (table.name == "snapshots" and row is present[-1]), table.name


SEALED = [t for t in metadata.sorted_tables if "sealed" in t.c and t.name != "idempotency"]


@pytest.mark.parametrize("table", SEALED, ids=lambda t: t.name)
def test_sealed_values_exchanged_between_rows_are_found(hub: Hub, table: Table) -> None:
    def change(tx: Connection) -> None:
        first, second = rows(tx, table)[:2]
        tx.execute(update(table).where(*chosen(table, first)).values(sealed=second.sealed))
        tx.execute(update(table).where(*chosen(table, second)).values(sealed=first.sealed))

    assert tampered(hub, change)


def test_two_events_in_another_order_are_found(hub: Hub) -> None:
    def change(tx: Connection) -> None:
        t = tables.events
        first, second = [row for row in rows(tx, t) if row.account == "alice"][3:5]
        for row, number in ((first, -1), (second, first.number), (first, second.number)):
            tx.execute(update(t).where(t.c.account == "alice", t.c.sequence == row.sequence).values(number=number))

    assert tampered(hub, change)


def test_money_from_nowhere_is_found(hub: Hub) -> None:
    """Another transfer, another credit, another event's copy, another node, head or receipt."""

    def copy(table: Table, **changes: Any) -> Callable[[Connection], None]:
        def change(tx: Connection) -> None:
            row = rows(tx, table)[-1]._asdict()
            if table.c.get("number") is not None and table.name != "credits":
                row.pop("number", None)
            tx.execute(insert(table).values(row | changes))

        return change

    for change in (
        copy(tables.transfers),
        copy(tables.transfers, event="00" * 32),
        copy(tables.credits, id="0" * 32, number=99, epoch=99, statement="00" * 32),
        copy(tables.events, sequence=99, digest="00" * 32),
        copy(tables.receipts, reference="never"),
        copy(tables.log_nodes, level=60),
        copy(tables.tree_heads, size=99),
        copy(tables.attestations, epoch=99, leaf=99),
        copy(tables.accounts, id="nobody"),
        copy(tables.signing_keys, number=9, public="00" * 32),
        copy(tables.snapshots, digest="00" * 32, time=5),
    ):
        assert tampered(hub, change)


def test_an_attack_that_balances_is_found(hub: Hub) -> None:
    """More free credit with parts, account, venue and zone adjusted alike: the events and signatures tell."""

    def change(tx: Connection) -> None:
        credit = next(row for row in rows(tx, tables.credits) if row.free)
        for table, where, columns_ in (
            (tables.credits, tables.credits.c.id == credit.id, ("amount", "free")),
            (tables.accounts, tables.accounts.c.id == credit.account, ("live",)),
            (tables.venues, tables.venues.c.id == credit.venue, ("exposure",)),
            (tables.zones, tables.zones.c.id == f"zone-of-{credit.venue}", ("exposure",)),
        ):
            tx.execute(update(table).where(where).values({name: table.c[name] + 100 for name in columns_}))

    found = tampered(hub, change)
    assert any("differs from its events" in finding for finding in found)
    assert any("signed entry" in finding for finding in found)


@pytest.mark.parametrize(("kind", "number"), [("credit-issued", 3), ("traded", 4), ("withdrawn", 5)])
def test_a_proof_that_is_not_the_statements_is_found(hub: Hub, kind: str, number: int) -> None:
    """With the storage key in hand and the chain repaired, one still has no proof."""
    t = tables.events

    def unit(tx: Connection) -> None:
        mine = [row for row in rows(tx, t) if row.account == "bob"]
        previous = events.GENESIS
        for row in mine:
            event = events.read(hub.ledger, row)
            content = json.loads(event.content)
            if event.kind == kind:
                content["proof"] = content["proof"][:-2] + ("00" if content["proof"][-2:] != "00" else "01")
            made = replace(event, previous=previous, content=canonical_bytes(content))
            sealed = hub.ring.seal(made.content, purpose=events.purpose("bob", row.sequence))
            where = (t.c.account == "bob", t.c.sequence == row.sequence)
            tx.execute(update(t).where(*where).values(sealed=sealed, previous=previous, digest=made.digest))
            tx.execute(update(tables.transfers).where(tables.transfers.c.event == row.digest).values(event=made.digest))
            tx.execute(update(tables.receipts).where(tables.receipts.c.event == row.digest).values(event=made.digest))
            previous = made.digest
        tx.execute(update(tables.accounts).where(tables.accounts.c.id == "bob").values(head=previous))
        found = audit._Auditor(hub.ledger, tx, audit.Audit(), None).run(True, lambda step: None).findings
        assert found == [f"event bob/{number}: the proof does not hold"]
        raise Undo

    with pytest.raises(Undo):
        hub.database.write(unit)


CHECKS: list[tuple[Table, dict[str, Any]]] = [
    (tables.hub, {"id": 2}),
    (tables.log_state, {"id": 2}),
    (tables.signing_keys, {"not_before": 10, "not_after": 10}),
    (tables.keys, {"kind": "root"}),
    (tables.snapshots, {"time": 10, "valid_until": 10}),
    (tables.zones, {"exposure": -1}),
    (tables.zones, {"cap": 0, "exposure": 1}),
    (tables.venues, {"exposure": -1}),
    (tables.venues, {"cap": 0, "exposure": 1}),
    (tables.venues, {"state": "maybe"}),
    (tables.venues, {"zone": "nowhere"}),
    (tables.accounts, {"live": -1}),
    (tables.accounts, {"epoch": 0}),
    (tables.accounts, {"epoch": 10, "events": 9}),
    (tables.accounts, {"state": "closed"}),
    (tables.credits, {"amount": 0, "free": 0, "used": 0, "released": 0}),
    (tables.credits, {"free": -1, "used": 1, "released": 0, "amount": 5}),
    (tables.credits, {"amount": 10, "free": 5, "used": 5, "released": 1}),
    (tables.credits, {"amount": 10, "free": 11, "used": -1, "released": 0}),
    (tables.credits, {"account": "nobody"}),
    (tables.credits, {"venue": "nobody"}),
    (tables.transfers, {"amount": 0}),
    (tables.transfers, {"amount": -5}),
    (tables.transfers, {"debit": "same", "credit": "same"}),
    (tables.events, {"account": "nobody"}),
]


@pytest.mark.parametrize(("table", "values"), CHECKS, ids=[f"{t.name}-{'-'.join(v)}" for t, v in CHECKS])
def test_the_database_refuses_a_row_that_cannot_be(hub: Hub, table: Table, values: dict[str, Any]) -> None:
    def unit(tx: Connection) -> None:
        row = rows(tx, table)[0]
        tx.execute(update(table).where(*chosen(table, row)).values(**values))
        raise Undo

    with pytest.raises(IntegrityError):
        hub.database.write(unit)


@pytest.mark.parametrize(
    ("table", "same"),
    [
        (tables.credits, ("account", "epoch")),
        (tables.credits, ("statement",)),
        (tables.events, ("account", "sequence")),
    ],
    ids=["one credit an epoch", "one credit a statement", "one event a sequence"],
)
def test_the_database_refuses_a_second(hub: Hub, table: Table, same: tuple[str, ...]) -> None:
    """Even if the hub's own code had a race, one epoch and one proof issue one credit."""
    fresh = {"id": "0" * 32, "number": 99, "epoch": 99, "statement": "00" * 32, "digest": "00" * 32, "sequence": 99}

    def unit(tx: Connection) -> None:
        row = rows(tx, table)[0]._asdict()
        changes = {k: v for k, v in fresh.items() if k in row and k not in same}
        tx.execute(insert(table).values(row | changes))
        raise Undo

    with pytest.raises(Conflict):
        hub.database.write(unit)


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with fresh_url("postgresql", tmp_path_factory.mktemp("cut")) as url, started(url) as made:
        yield made


def cut(world: World, at: int, *, always: bool = False) -> audit.Audit:
    """An audit whose connection is ended by an administrator before one statement, or before every one from there."""
    database, seen = world.ledger.database, 0
    killer = Database(world.hub.url)

    def kill(connection: Connection, *_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == at or (always and seen > at):
            process = connection.connection.dbapi_connection.info.backend_pid  # type: ignore[union-attr]
            end = text("SELECT pg_terminate_backend(:process, 2000)")
            killer.read(lambda tx: tx.execute(end, {"process": process}))

    event.listen(database.engine, "before_cursor_execute", kill)
    try:
        return audit.run(world.ledger, proofs=False)
    finally:
        event.remove(database.engine, "before_cursor_execute", kill)
        killer.close()


@pytest.mark.parametrize("at", range(1, 21, 3))
def test_an_audit_that_is_cut_off_begins_again_and_accuses_nobody(postgresql: World, at: int) -> None:
    assert cut(postgresql, at).findings == []


def slow(auditor: audit._Auditor) -> None:
    """A step that is ended for its time, as by an administrator."""
    auditor.tx.execute(text("SET LOCAL statement_timeout = 20"))
    auditor.tx.execute(text("SELECT pg_sleep(5)"))


def test_a_database_that_does_not_answer_is_no_finding(postgresql: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable):
        cut(postgresql, 5, always=True)
    monkeypatch.setattr(audit._Auditor, "_log", slow)
    with pytest.raises(Unavailable):
        audit.run(postgresql.ledger, proofs=False)


def test_control_what_the_database_says_of_itself_was_a_finding(
    postgresql: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "away", lambda err: False)
    with pytest.raises(PendingRollbackError):
        cut(postgresql, 7)
    monkeypatch.setattr(audit._Auditor, "_log", slow)
    assert "log: cannot be audited (OperationalError)" in audit.run(postgresql.ledger, proofs=False).findings
