"""Malformed files: every one is a typed error that names its field, and writes nothing."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.toy import sample_account, statement_tree
from zkmargin.circuits import canonical, statement
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.documents.statement import statement_from_bytes
from zkmargin.circuits.errors import MalformedInput, StatementMismatch, ZkMarginError
from zkmargin.circuits.units import format_fraction, format_quanta, isqrt_ceil, parse_decimal, to_lots, to_quanta
from zkmargin.prover.commitment import commit
from zkmargin.prover.documents import (
    make_statement,
    opening_bytes,
    parse_opening,
    parse_proof,
    portfolio_lots,
    proof_bytes,
)
from zkmargin.prover.domains import cheapest_domain
from zkmargin.service.files import seal, unseal, write_file
from zkmargin.verifier.facts.attestation import Attestation

Edit = Callable[[dict[str, Any]], None]


def read(name: str) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(resources.files("zkmargin.service.demo_data").joinpath(name).read_bytes())
    return tree


SNAPSHOT = snapshot_from_bytes(canonical.canonical_bytes(read("snapshot.json")))


def set_at(*path: str | int, value: object) -> Edit:
    """An edit that sets one place of a JSON tree (``...`` deletes it)."""

    def edit(tree: Any) -> None:
        for part in path[:-1]:
            tree = tree[part]
        if value is ...:
            del tree[path[-1]]
        else:
            tree[path[-1]] = value

    return edit


def refused(parse: Callable[[bytes], object], tree: dict[str, Any], edit: Edit) -> ZkMarginError:
    changed = copy.deepcopy(tree)
    edit(changed)
    with pytest.raises(ZkMarginError) as caught:
        parse(json.dumps(changed).encode())
    return caught.value


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (set_at("schema", value="zkmargin/snapshot/2"), "snapshot.schema"),
        (set_at("time", value=-1), "snapshot.time"),
        (set_at("time", value="1"), "snapshot.time"),
        (set_at("time", value=True), "snapshot.time"),
        (set_at("quote", "decimals", value=25), "snapshot.quote.decimals"),
        (set_at("quote", "value_decimals", value=5), "snapshot.quote.value_decimals"),
        (set_at("scenarios", value=[]), "snapshot.scenarios"),
        (set_at("scenarios", 1, value="mark"), "snapshot.scenarios"),
        (set_at("scenarios", value=["mark"]), "snapshot.instruments.0.values"),
        (set_at("instruments", 2, "id", value="USDC"), "snapshot.instruments.2.id"),
        (set_at("instruments", 2, "id", value="a b"), "snapshot.instruments.2.id"),
        (set_at("instruments", 2, "kind", value="swaption"), "snapshot.instruments.2.kind"),
        (set_at("instruments", 2, "lot", value="0"), "snapshot.instruments.2.lot"),
        (set_at("instruments", 2, "lot", value="-1"), "snapshot.instruments.2.lot"),
        (set_at("instruments", 2, "position_limit", value="0.001"), "snapshot.instruments.2.position_limit"),
        (
            set_at("instruments", 2, "position_limit", value="1" + "0" * 30),
            "snapshot.instruments.2.position_limit",
        ),
        (set_at("instruments", 2, "mark", value="-1"), "snapshot.instruments.2.mark"),
        (set_at("instruments", 2, "mark", value="NaN"), "snapshot.instruments.2.mark"),
        (set_at("instruments", 2, "mark", value="1e5"), "snapshot.instruments.2.mark"),
        (set_at("instruments", 2, "mark", value=41), "snapshot.instruments.2.mark"),
        (set_at("instruments", 2, "values", 3, value="0.0000000000001"), "snapshot.instruments.2.values.3"),
        (set_at("instruments", 2, "values", 3, value="1" + "0" * 40), "snapshot.instruments.2.values"),
        (set_at("instruments", 2, "values", 3, value=...), "snapshot.instruments.2.values"),
        (set_at("instruments", 0, "mark", value="2"), "snapshot.instruments.0.values"),
        (set_at("instruments", 27, "values", 0, value="0"), "snapshot.instruments.27.values"),
        (set_at("extra", value=1), "snapshot.extra"),
        (set_at("rule", value=...), "snapshot.rule"),
    ],
)
def test_a_malformed_snapshot_names_its_field(edit: Edit, field: str) -> None:
    assert refused(snapshot_from_bytes, read("snapshot.json"), edit).field == field


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (set_at("instruments", 2, "risk", value={}), "snapshot.instruments.2.risk.tier"),
        (set_at("instruments", 2, "risk", "tier", value="none"), "snapshot.instruments.2.risk.tier"),
        (
            set_at("instruments", 2, "risk", "open_interest", value="-1"),
            "snapshot.instruments.2.risk.open_interest",
        ),
        (
            set_at("instruments", 2, "risk", "latency_ppm", value=-1),
            "snapshot.instruments.2.risk.latency_ppm",
        ),
        (
            set_at("instruments", 1, "risk", "haircut_ppm", value=1_000_001),
            "snapshot.instruments.1.risk.haircut_ppm",
        ),
        (set_at("instruments", 0, "risk", "tier", value="x"), "snapshot.instruments.0.risk.tier"),
        (set_at("rule", "parameters", "rounding", value="up"), "snapshot.rule.parameters.rounding"),
        (
            set_at("rule", "parameters", "tiers", "leverage-10", "initial_ppm", value=1_000_001),
            "snapshot.rule.parameters.tiers.leverage-10.initial_ppm",
        ),
        (
            set_at("rule", "parameters", "tiers", "leverage-10", "open_interest_lower", value="1"),
            "snapshot.rule.parameters.tiers.leverage-10",
        ),
        (set_at("rule", "id", value="unknown/1"), "snapshot.rule.id"),
        (set_at("instruments", 2, "kind", value="option"), "snapshot.instruments.2.kind"),
    ],
)
def test_a_rule_parameter_out_of_range_is_named_when_the_rule_is_built(edit: Edit, field: str) -> None:
    def build(data: bytes) -> object:
        return cheapest_domain(snapshot_from_bytes(data))

    assert refused(build, read("snapshot.json"), edit).field == field


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (set_at("positions", 0, "instrument", value="NOPE"), "portfolio.positions.0.instrument"),
        (set_at("positions", 1, "instrument", value="USDC"), "portfolio.positions.1.instrument"),
        (set_at("positions", 0, "quantity", value="0.0000001"), "portfolio.positions.0.quantity"),
        (set_at("positions", 0, "quantity", value="9" * 20), "portfolio.positions.0.quantity"),
        (set_at("positions", 0, "quantity", value="200000000"), "portfolio.USDC"),
        (set_at("positions", 0, "quantity", value="NaN"), "portfolio.positions.0.quantity"),
        (set_at("positions", 0, "quantity", value="-0"), "portfolio.positions.0.quantity"),
        (set_at("positions", 0, "quantity", value="01"), "portfolio.positions.0.quantity"),
        (set_at("positions", 0, "quantity", value=1), "portfolio.positions.0.quantity"),
        (set_at("positions", value=None), "portfolio.positions"),
    ],
)
def test_a_malformed_portfolio_names_its_field_and_no_quantity(edit: Edit, field: str) -> None:
    error = refused(lambda data: portfolio_lots(data, SNAPSHOT), read("portfolio.json"), edit)
    assert error.field == field
    assert "999" not in str(error)


def test_a_credit_cannot_be_negative() -> None:
    tree = {"schema": "zkmargin/portfolio/1", "positions": [{"instrument": "CREDIT", "quantity": "-1"}]}
    with pytest.raises(MalformedInput, match="credit cannot be negative"):
        portfolio_lots(json.dumps(tree).encode(), SNAPSHOT)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[" * 100_000, b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":Infinity}', b'{"a":1.0}',
        b'{"a":1e3}', b"\xff",
        b'{"a":9007199254740993}', b'{"a":"\\ud800"}', b"null", b"[]", b'"x"', b"{}", b" " * (17 * 1024 * 1024),
        b'{"a":' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_bytes_that_are_no_document_are_refused_everywhere(data: bytes) -> None:
    parsers: list[Callable[[bytes], object]] = [
        snapshot_from_bytes,
        statement_from_bytes,
        lambda d: portfolio_lots(d, SNAPSHOT),
        lambda d: parse_opening(d, SNAPSHOT),
    ]
    for parse in parsers:
        with pytest.raises(MalformedInput):
            parse(data)


@given(st.binary(max_size=200))
def test_random_bytes_never_raise_anything_else(data: bytes) -> None:
    for parse in (snapshot_from_bytes, statement_from_bytes):
        with pytest.raises(MalformedInput):
            parse(data)


def account() -> tuple[statement.Statement, bytes, bytes]:
    lots = portfolio_lots(canonical.canonical_bytes(read("portfolio.json")), SNAPSHOT)
    commitment, opening = commit(lots, cheapest_domain(SNAPSHOT))
    fact = Attestation("hub", "a", 1, commitment, opening.domain, SNAPSHOT.registry_digest, SNAPSHOT.time)
    stated = make_statement(SNAPSHOT, fact, venue="s", amount="1", expiry=SNAPSHOT.time + 600)
    return stated, opening_bytes(opening, SNAPSHOT.registry_digest), commitment


@pytest.mark.parametrize(
    ("edit", "field", "kind"),
    [
        (set_at("lots", 0, value="1"), "opening.commitment", StatementMismatch),
        (set_at("blinding", 0, value="0" * 64), "opening.commitment", StatementMismatch),
        (set_at("blinding", 0, value="f" * 64), "opening.blinding.0", MalformedInput),
        (set_at("lots", 0, value="1.5"), "opening.lots.0", MalformedInput),
        (set_at("lots", 0, value=str(2**63)), "opening.lots", MalformedInput),
        (set_at("lots", 0, value=...), "opening.lots", MalformedInput),
        (set_at("registry", value="0" * 64), "opening.registry", StatementMismatch),
        (set_at("domain", value=128), "opening.domain", MalformedInput),
        (set_at("domain", value=2048), "opening.commitment", StatementMismatch),
        (set_at("commitment", value="00"), "opening.commitment", MalformedInput),
    ],
)
def test_an_opening_that_does_not_open_is_refused(edit: Edit, field: str, kind: type[ZkMarginError]) -> None:
    _, document, _ = account()
    error = refused(lambda data: parse_opening(data, SNAPSHOT), json.loads(document), edit)
    assert (type(error), error.field) == (kind, field)


def test_an_opening_survives_the_file() -> None:
    _, document, commitment = account()
    assert parse_opening(document, SNAPSHOT).commitment() == commitment


def test_a_proof_document_is_bound_to_its_statement() -> None:
    stated, _, _ = account()
    document = json.loads(proof_bytes(stated, b"\x01\x02"))
    assert parse_proof(json.dumps(document).encode(), stated) == b"\x01\x02"
    assert refused(lambda d: parse_proof(d, stated), document, set_at("proof", value="010")).field == "proof.proof"
    assert (
        refused(lambda d: parse_proof(d, stated), document, set_at("statement", value="0" * 64)).code
        == "statement-mismatch"
    )


def test_files_are_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "f"
    write_file(target, b"old")

    def broken(source: str, destination: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zkmargin.service.files.os.replace", broken)
    with pytest.raises(MalformedInput, match="No space left"):
        write_file(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_sealed_files_hide_and_authenticate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZKMARGIN_PASSPHRASE", "p")
    box = seal(b"planted secret", "p")
    assert b"planted" not in box
    assert unseal(box, name="x") == b"planted secret"
    tree = json.loads(box)
    for key in ("salt", "nonce", "box"):
        damaged = {**tree, key: ("1" if tree[key][0] == "0" else "0") + tree[key][1:]}
        with pytest.raises(MalformedInput):
            unseal(json.dumps(damaged).encode(), name="x")
        with pytest.raises(MalformedInput):
            unseal(json.dumps({k: v for k, v in tree.items() if k != key}).encode(), name="x")


@given(st.integers(-(2**80), 2**80), st.integers(0, 12))
def test_decimal_strings_round_trip(quanta: int, decimals: int) -> None:
    assert to_quanta(format_quanta(quanta, decimals), decimals, field="x") == quanta


@given(st.integers(-(2**63) + 1, 2**63 - 1), st.integers(0, 9))
def test_lots_round_trip(lots: int, scale: int) -> None:
    lot = parse_decimal("1" if scale == 0 else "0." + "0" * (scale - 1) + "1", field="lot")
    assert to_lots(format_fraction(lots * lot), lot, field="x") == lots


@given(st.integers(0, 2**200))
def test_the_rounded_up_root_is_the_smallest_that_covers(value: int) -> None:
    root = isqrt_ceil(value)
    assert root * root >= value
    assert root == 0 or (root - 1) ** 2 < value


@pytest.mark.parametrize("key", ["elections", "overlays"])
def test_null_is_no_second_spelling_of_an_absent_member(key: str) -> None:
    account = sample_account(1)
    tree = statement_tree(account.snapshot, account.commitment)
    statement_from_bytes(json.dumps(tree).encode())
    with pytest.raises(MalformedInput) as caught:
        statement_from_bytes(json.dumps(tree | {key: None}).encode())
    assert caught.value.field == f"statement.{key}"
