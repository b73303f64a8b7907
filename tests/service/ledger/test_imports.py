"""Imports: contracts of accounts that come with a book, signed, conserved, once, into fresh accounts, and audited."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update
from typer.testing import CliRunner

from tests.support.hubs import Signer
from tests.support.ledgers import DATABASES, World, fresh_url, started
from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.errors import MalformedInput, SignatureRejected, ZkMarginError
from zkmargin.service.cli.root import app
from zkmargin.service.keys.signing import sign_token
from zkmargin.service.keys.signing_keys import private_pem
from zkmargin.service.ledger import audit, events
from zkmargin.service.ledger.imports import MAX_ACCOUNTS, book_import, sign_import
from zkmargin.service.store import tables

PERP, CASH = "PERPETUAL-2", "QUOTE-0"


@pytest.fixture(params=DATABASES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with fresh_url(request.param, tmp_path) as url, started(url) as made:
        made.session.venue("spoke-a")
        for name in ("alice", "clearing"):
            made.session.account(name, cash="0")
        yield made


def payload(world: World, **changes: Any) -> dict[str, Any]:
    """5 contracts that alice bought at 64.25, and who sold them."""
    holdings = {"alice": {PERP: "5", CASH: "-321.25"}, "clearing": {PERP: "-5", CASH: "321.25"}}
    return {
        "schema": "zkmargin/import/1", "hub": "hub-1", "signer": "operator/ops", "time": world.clock(),
        "accounts": ledger(holdings),
    } | changes  # fmt: skip


def ledger(holdings: dict[str, dict[str, str]]) -> list[dict[str, Any]]:
    return [
        {"account": name, "positions": [{"instrument": i, "quantity": q} for i, q in lines.items()]}
        for name, lines in holdings.items()
    ]


def take(world: World, tree: dict[str, Any], by: str = "operator/ops") -> dict[str, Any]:
    return booked(world, sign_import(tree, world.hub.signers[by].key))


def booked(world: World, document: bytes) -> dict[str, Any]:
    return dict(world.hub.database.write(lambda tx: book_import(world.hub.ledger, tx, document)).to_json(str))


def refused(world: World, kind: type[ZkMarginError] | str, work: Callable[[], object]) -> ZkMarginError:
    """A refusal that changes nothing."""
    before = world.digest()
    with pytest.raises(ZkMarginError) as caught:
        work()
    assert caught.value.code == kind if isinstance(kind, str) else isinstance(caught.value, kind), caught.value
    assert world.digest() == before
    return caught.value


def found(world: World) -> list[str]:
    return audit.run(world.hub.ledger, proofs=False, pinned=None, progress=lambda step: None).findings


def held(world: World, account: str) -> dict[str, str]:
    opening, _ = world.session.opening(account, world.snapshot)
    pairs = zip(world.snapshot.instruments, opening.lots, strict=True)
    return {inst.id: str(lots * inst.lot) for inst, lots in pairs if lots}


def test_a_book_is_taken_over_and_then_lives_as_any_other(world: World) -> None:
    made = take(world, payload(world))
    assert [row["account"] for row in made["accounts"]] == ["alice", "clearing"]
    assert held(world, "alice") == {PERP: "5", CASH: "-1285/4"}
    assert held(world, "clearing") == {PERP: "-5", CASH: "1285/4"}
    assert found(world) == []
    s = world.session
    s.ok(
        "operator/ops",
        "POST",
        "/v1/accounts/alice/deposits",
        {"instrument": CASH, "quantity": "1000", "reference": "r"},
    )
    assert s.ok(
        "venue/spoke-a", "POST", "/v1/credits", s.credit_body("alice", world.snapshot, venue="spoke-a", amount="10")
    )
    assert found(world) == []


@pytest.mark.parametrize("by", ["operator/ops", "venue/spoke-a"])
def test_an_operator_or_a_venue_signs(world: World, by: str) -> None:
    assert take(world, payload(world, signer=by), by)["signer"] == by
    assert found(world) == []


def test_nobody_else_signs_and_nobody_for_another(world: World) -> None:
    world.hub.signers["stranger"] = Signer()
    for by, signer in (
        ("stranger", "operator/ops"), ("account/alice", "operator/ops"), ("oracle/feed", "operator/ops"),
        ("venue/spoke-a", "operator/ops"), ("operator/ops", "venue/spoke-a"),
    ):  # fmt: skip
        refused(world, SignatureRejected, lambda by=by, signer=signer: take(world, payload(world, signer=signer), by))
    world.session.ok("operator/ops", "POST", "/v1/venues/spoke-a/suspend")
    refused(world, "venue-suspended", lambda: take(world, payload(world, signer="venue/spoke-a"), "venue/spoke-a"))


def unchecked(world: World, tree: dict[str, Any]) -> bytes:
    """Signed without the check of whoever signs: what a dishonest operator's own tool would do."""
    token = sign_token(canonical_bytes(tree), world.hub.operator.key, "zkmargin-import+jws")
    return canonical_bytes({"schema": "zkmargin/import/1", "jws": token})


#: One leg is missing, or short by a quantum.
OPEN: list[dict[str, dict[str, str]]] = [
    {"alice": {PERP: "5", CASH: "-321.25"}, "clearing": {PERP: "-4", CASH: "321.25"}},
    {"alice": {PERP: "5", CASH: "-321.25"}, "clearing": {PERP: "-5", CASH: "321.24"}},
    {"alice": {PERP: "5"}, "clearing": {CASH: "1"}},
    {"alice": {CASH: "1000"}, "clearing": {PERP: "0"}},
]


def test_a_book_that_is_not_conserved_is_refused_by_signer_and_hub(world: World) -> None:
    for holdings in OPEN:
        tree = payload(world, accounts=ledger(holdings))
        with pytest.raises(MalformedInput, match="not conserved"):
            sign_import(tree, world.hub.operator.key)
        document = unchecked(world, tree)
        error = refused(world, MalformedInput, lambda document=document: booked(world, document))
        assert "not conserved" in error.message
    assert booked(world, unchecked(world, payload(world)))  # control


@given(st.lists(st.integers(-(10**6), 10**6), min_size=2, max_size=5), st.integers(-3, 3))
def test_conserved_is_exactly_a_sum_of_zero(parts: list[int], off: int) -> None:
    last = -sum(parts) + off
    lines = {f"a{i}": {PERP: str(Fraction(0) + part)} for i, part in enumerate([*parts, last])}
    tree = {"schema": "zkmargin/import/1", "hub": "h", "signer": "operator/o", "time": 1, "accounts": ledger(lines)}
    if off:
        with pytest.raises(MalformedInput, match="not conserved"):
            sign_import(tree, Signer().key)
    else:
        assert sign_import(tree, Signer().key)


def test_only_fresh_accounts_take_over_a_book_and_only_once(world: World) -> None:
    document = sign_import(payload(world), world.hub.operator.key)
    assert booked(world, document)
    refused(world, "conflict", lambda: booked(world, document))
    s = world.session
    s.account("rich", cash="1000")
    s.account("other", cash="0")
    robbery = {"rich": {CASH: "-900"}, "other": {CASH: "900"}}
    refused(world, "conflict", lambda: take(world, payload(world, accounts=ledger(robbery))))
    s.ok("operator/ops", "POST", "/v1/accounts/other/freeze")
    s.account("third", cash="0")
    frozen = {"other": {PERP: "1"}, "third": {PERP: "-1"}}
    refused(world, "conflict", lambda: take(world, payload(world, accounts=ledger(frozen))))


#: What is wrong, and the code of the refusal.
BAD: list[tuple[dict[str, Any], str]] = [
    ({"hub": "hub-2"}, "statement-mismatch"),
    ({"time": "late"}, "stale-statement"),
    ({"time": "early"}, "stale-statement"),
    ({"accounts": {"alice": {PERP: "1"}, "nobody": {PERP: "-1"}}}, "not-found"),
    ({"accounts": {"alice": {"NOPE": "1"}, "clearing": {"NOPE": "-1"}}}, "malformed-input"),
    ({"accounts": {"alice": {"SPOT-1": "1"}, "clearing": {"SPOT-1": "-1"}}}, "forbidden"),
    ({"accounts": {"alice": {"CREDIT-5": "1"}, "clearing": {"CREDIT-5": "-1"}}}, "forbidden"),
    ({"accounts": {"alice": {PERP: "0.0000001"}, "clearing": {PERP: "-0.0000001"}}}, "malformed-input"),
    ({"accounts": {"alice": {PERP: "9" * 15}, "clearing": {PERP: "-" + "9" * 15}}}, "position-limit"),
    ({"accounts": {f"a{i}": {PERP: "0"} for i in range(MAX_ACCOUNTS + 1)}}, "malformed-input"),
    ({"accounts": {"alice": {PERP: "0"}}}, "malformed-input"),
    ({"signer": "account/alice"}, "malformed-input"),
]


def test_a_bad_import_changes_nothing(world: World) -> None:
    kinds = {inst.kind: inst.id for inst in world.snapshot.instruments}
    names = {"SPOT-1": kinds["spot"], "CREDIT-5": kinds["credit"]}
    for changes, code in BAD:
        tree = payload(world) | changes
        if "accounts" in changes:
            lines = {a: {names.get(i, i): q for i, q in held.items()} for a, held in changes["accounts"].items()}
            tree["accounts"] = ledger(lines)
        tree["time"] = {"late": world.clock() - 86_401, "early": world.clock() + 120}.get(tree["time"], tree["time"])
        refused(world, code, lambda tree=tree: take(world, tree))
    assert take(world, payload(world))  # control


def test_the_audit_finds_an_import_that_was_changed_behind_the_hubs_back(world: World) -> None:
    take(world, payload(world))
    vault, database = world.hub.ledger.vault, world.hub.database

    def edit(account: str, change: Callable[[dict[str, Any]], None]) -> list[str]:
        with database.engine.connect() as tx:
            where = (tables.events.c.account == account, tables.events.c.kind == "imported")
            row = tx.execute(select(tables.events).where(*where)).one()
            name = events.purpose(row.account, row.sequence)
            content = json.loads(vault.open(bytes(row.sealed), purpose=name))
            change(content)
            sealed = vault.seal(canonical_bytes(content), purpose=name)
            tx.execute(update(tables.events).where(*where).values(sealed=sealed))
            tx.commit()
            told = found(world)
            tx.execute(update(tables.events).where(*where).values(sealed=bytes(row.sealed)))
            tx.commit()
        assert found(world) == []
        return told

    assert any("other than was signed" in f for f in edit("clearing", lambda c: c["delta"].update({CASH: "900"})))
    assert any("0 times" in f for f in edit("alice", lambda c: c.pop("document")))
    other = json.loads(sign_import(payload(world), Signer().key))
    assert any("signature" in f for f in edit("alice", lambda c: c.update(document=other)))


def test_the_commands(tmp_path: Path) -> None:
    with fresh_url("sqlite", tmp_path) as url, started(url) as world:
        for name in ("alice", "clearing"):
            world.session.account(name, cash="0")
        (tmp_path / "ops.key").write_bytes(private_pem(world.hub.operator.key))
        (tmp_path / "payload.json").write_text(json.dumps(payload(world)))
        keys = world.hub.settings.storage_keys
        assert keys is not None
        env = {"ZKMARGIN_DATABASE_URL": url, "ZKMARGIN_STORAGE_KEYS": keys.get_secret_value()}
        sign = ["hub", "sign-import", "--payload", str(tmp_path / "payload.json"), "--key", str(tmp_path / "ops.key")]
        signed = CliRunner().invoke(app, [*sign, "--out", str(tmp_path / "import.json"), "--json"], env=env)
        assert signed.exit_code == 0, signed.output
        assert (tmp_path / "import.json").stat().st_mode & 0o777 == 0o600
        done = CliRunner().invoke(app, ["hub", "import", str(tmp_path / "import.json"), "--json"], env=env)
        assert done.exit_code == 0, done.output
        assert len(json.loads(done.stdout)["accounts"]) == 2
        again = CliRunner().invoke(app, ["hub", "import", str(tmp_path / "import.json"), "--json"], env=env)
        assert (again.exit_code, json.loads(again.stdout)["error"]["code"]) == (12, "conflict")
        assert held(world, "alice") == {PERP: "5", CASH: "-1285/4"}
