"""What a hostile or careless document gets: no secret repeated, no memory blown, no secret file lost."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.prover.test_documents import SNAPSHOT, account, read
from zkmargin.circuits import canonical
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.documents.statement import statement_from_bytes
from zkmargin.circuits.errors import MalformedInput, StatementMismatch, ZkMarginError
from zkmargin.circuits.rules import Terms
from zkmargin.circuits.schema import load
from zkmargin.prover.commitment import Opening
from zkmargin.prover.documents import OpeningModel, make_statement, parse_opening, portfolio_lots
from zkmargin.prover.explain import explain
from zkmargin.prover.portfolio import PortfolioModel
from zkmargin.prover.prove import prove
from zkmargin.service.cli.root import app
from zkmargin.verifier.facts.attestation import Attestation
from zkmargin.verifier.verdict import verify_account
from zkmargin.verifier.verify import verify

SECRET = "13371337"


@pytest.mark.parametrize(
    "text",
    [
        '{"schema":"zkmargin/portfolio/1","positions":[{"instrument":"USDC","quantity":-1337133.7}]}',
        '{"schema":"zkmargin/portfolio/1","positions":[{"instrument":"USDC","quantity":13371337133713371337}]}',
        '{"schema":"zkmargin/portfolio/1","positions":[{"instrument":"USDC","quantity":13371337}]}',
        '{"schema":"zkmargin/portfolio/1","positions":[],"13371337":1,"13371337":1}',
        '{"schema":"zkmargin/portfolio/1","positions":[],"13371337":1}',
        '{"schema":"zkmargin/portfolio/1","positions":[{"instrument":"USDC","quantity":"1","13371337":1}]}',
        '{"schema":"zkmargin/portfolio/1","positions":[{"instrument":"USDC","quantity":"x13371337"}]}',
    ],
)
def test_no_message_repeats_a_secret(text: str) -> None:
    for parse in (lambda d: portfolio_lots(d, SNAPSHOT), lambda d: parse_opening(d, SNAPSHOT)):
        with pytest.raises(ZkMarginError) as caught:
            parse(text.encode())
        shown = str(caught.value) + repr(caught.value) + json.dumps(caught.value.to_json())
        assert SECRET not in shown
        assert "1337133" not in shown


def test_secret_models_have_no_repr() -> None:
    _, document, _ = account()
    model = load(OpeningModel, document, name="opening")
    assert model.lots[0] not in repr(model) + str(model)
    portfolio = load(PortfolioModel, canonical.canonical_bytes(read("portfolio.json")), name="portfolio")
    assert portfolio.positions[0].quantity not in repr(portfolio) + repr(portfolio.positions[0])


def test_control_characters_never_reach_a_terminal() -> None:
    tree = {**read("snapshot.json"), "\x1b[2Jproof holds": 1}
    with pytest.raises(MalformedInput) as caught:
        snapshot_from_bytes(json.dumps(tree).encode())
    assert "\x1b" not in str(caught.value)
    assert caught.value.field == "snapshot.?"


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize(
    "data",
    [
        b"{" + b",".join(b'"k%d":1' % i for i in range(500_000)) + b"}",
        b'{"schema":"zkmargin/portfolio/1","positions":[' + b",".join([b"[]"] * 2_000_000) + b"]}",
        b'{"schema":"zkmargin/snapshot/1","instruments":[' + b",".join([b'{"values":["x"]}'] * 200_000) + b"]}",
    ],
    ids=["keys", "lists", "instruments"],
)
def test_a_large_hostile_document_costs_little_memory(data: bytes) -> None:
    tracemalloc.start()
    try:
        for parse in (snapshot_from_bytes, statement_from_bytes, lambda d: portfolio_lots(d, SNAPSHOT)):
            with pytest.raises(MalformedInput):
                parse(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 400 * 1024 * 1024


def test_a_commitment_on_another_domain_is_another_portfolio() -> None:
    """Every other row of a domain of 512 is a row of 256; the attestation says which domain is meant."""
    lots = [0] * len(SNAPSHOT.instruments)
    lots[0], lots[1] = 10**12, -(10**9)  # cash, and a short spot position worth more
    vanished = Opening(256, (lots[0], *([0] * (len(lots) - 1))), (_zero(), _zero()))
    held = Opening(512, tuple(lots), (_zero(), _zero()))
    assert vanished.commitment() != held.commitment()
    fact = Attestation("hub", "a", 1, held.commitment(), 512, SNAPSHOT.registry_digest, SNAPSHOT.time)
    elsewhere = Attestation("hub", "a", 1, vanished.commitment(), 256, SNAPSHOT.registry_digest, SNAPSHOT.time)
    stated = make_statement(SNAPSHOT, elsewhere, venue="s", amount="1", expiry=SNAPSHOT.time + 60)
    proof = prove(stated, SNAPSHOT, vanished)
    verify(stated, SNAPSHOT, proof)
    with pytest.raises(StatementMismatch):
        verify_account(stated, SNAPSHOT, proof, fact, now=SNAPSHOT.time)


def _zero():
    from zkmargin.verifier.field import ZERO

    return ZERO


def test_an_instrument_named_like_the_total_does_not_replace_it() -> None:
    tree = read("snapshot.json")
    tree["instruments"][3]["id"] = "requirement"
    snap = snapshot_from_bytes(canonical.canonical_bytes(tree))
    lots = portfolio_lots(canonical.canonical_bytes({**read("portfolio.json"), "positions": []}), snap)
    lots[2] = 1000
    from fractions import Fraction

    answer = explain(snap, Terms("initial", Fraction(1), 3600), lots)
    assert answer.requirement == answer.positions[0][3] > 0


def test_a_price_of_zero_cannot_hide_a_requirement() -> None:
    tree = read("snapshot.json")
    tree["instruments"][3]["mark"] = "0"
    with pytest.raises(MalformedInput) as caught:
        snapshot_from_bytes(canonical.canonical_bytes(tree))
    assert caught.value.field == "snapshot.instruments.3.mark"


def run(*args: object, code: int) -> str:
    result = CliRunner().invoke(app, [str(a) for a in args], env={"ZKMARGIN_PASSPHRASE": "p"})
    assert result.exit_code == code, result.output
    return result.output


def test_a_key_is_never_replaced_by_accident(tmp_path: Path) -> None:
    key, public = tmp_path / "k", tmp_path / "p"
    run("keygen", "--key", key, "--public", public, code=0)
    before = key.read_bytes(), public.read_bytes()
    run("keygen", "--key", key, "--public", public, code=3)
    run("keygen", "--key", tmp_path / "x", "--public", tmp_path / "x", code=3)
    run("keygen", "--key", tmp_path / "y", "--public", tmp_path / "none" / "p", code=3)
    run("keygen", "--key", tmp_path / "y", "--public", tmp_path, code=3)
    assert (key.read_bytes(), public.read_bytes()) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["k", "p"]
    run("keygen", "--key", key, "--public", public, "--force", code=0)
    assert key.read_bytes() != before[0]


def test_an_opening_is_never_replaced_by_accident(tmp_path: Path) -> None:
    run("keygen", "--key", tmp_path / "k", "--public", tmp_path / "p", code=0)
    (tmp_path / "s.json").write_bytes(SNAPSHOT.to_bytes())
    (tmp_path / "f.json").write_bytes(canonical.canonical_bytes(read("portfolio.json")))
    common = ("commit", "--portfolio", tmp_path / "f.json", "--snapshot", tmp_path / "s.json", "--account", "a")
    common += ("--key", tmp_path / "k", "--opening", tmp_path / "o")
    run(*common, "--attestation", tmp_path / "none" / "a", code=3)
    assert not (tmp_path / "o").exists()
    run(*common, "--attestation", tmp_path / "o", code=3)
    assert not (tmp_path / "o").exists()
    run(*common, "--attestation", tmp_path / "a", code=0)
    before = (tmp_path / "o").read_bytes()
    run(*common, "--attestation", tmp_path / "a", code=3)
    assert (tmp_path / "o").read_bytes() == before
