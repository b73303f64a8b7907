"""Explanations: levels in order, elections that prove, Greeks that add, charts that open, sums of openings."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.circuits.test_market_rules import OVERLAYS, best_slack, loans, terms, tiered, try_proof
from tests.service.cli.test_cli import call
from zkmargin.circuits import canonical
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.rules import LEVELS, Terms, build
from zkmargin.prover import solvency
from zkmargin.prover.commitment import commit, sum_openings
from zkmargin.prover.documents import opening_bytes
from zkmargin.prover.explain import explain, health_factor
from zkmargin.verifier.curve import decode_g1, encode_g1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-5_000, 5_000), min_size=4, max_size=4), st.booleans())
def test_the_three_levels_are_ordered_and_the_compiled_system_agrees(z: list[int], use_loans: bool) -> None:
    snap = loans() if use_loans else tiered()
    z = [z[0] * 1000, *z[1:3], abs(z[3])]
    values = dict(explain(snap, terms(), z).thresholds)
    assert values["initial"] <= values["liquidation-end"] <= values["maintenance"]
    for level in LEVELS:
        rule = build(snap, terms(level))
        assert best_slack(rule, z) == min(solvency.net_margin(rule, z))
        unit = rule.amount_factor * 10**snap.decimals
        assert Fraction(min(solvency.net_margin(rule, z)), unit) == values[level]


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_proves(level: str) -> None:
    try_proof(tiered(), [1_000, 100, -50, 7], amount="100", level=level)
    try_proof(loans(), [-900, 10_000, 0, 0], level="maintenance", elections={"emode": "stable"})


def test_the_health_factor_is_the_largest_multiplier_that_is_solvent() -> None:
    snap, z = tiered(), [100, 100, 0, 0]
    factor = health_factor(snap, terms(), z)
    assert factor is not None
    for multiplier, solvent in ((factor, True), (factor + Fraction(1, 10**6), False)):
        rule = build(snap, Terms("maintenance", multiplier, 3600))
        assert (min(solvency.net_margin(rule, z)) >= 0) is solvent
    assert health_factor(snap, terms(), [100, 0, 0, 0]) is None


def test_an_explanation_names_greeks_overlays_and_elections() -> None:
    tree = explain(tiered(overlays=OVERLAYS), terms(overlays=("no-gold", "retail")), [9_000, 100, -50, 7]).to_json()
    assert tree["greeks"] == {"delta": "9.5", "gamma": "-25"}
    assert tree["overlays"]["no-gold.banned.GOLD"] is False
    assert tree["overlays"]["retail.minimum-equity"] is True
    assert explain(loans(), terms(), [-900, 10_000, 0, 0]).to_json()["elections"] == {"emode": "stable"}


@given(st.lists(st.lists(st.integers(-(2**40), 2**40), min_size=3, max_size=3), min_size=1, max_size=4))
@settings(max_examples=15, deadline=None)
def test_openings_add_as_their_commitments_do(accounts: list[list[int]]) -> None:
    made = [commit(lots, 256) for lots in accounts]
    total = decode_g1(made[0][0], field="c")
    for commitment, _ in made[1:]:
        total = total + decode_g1(commitment, field="c")
    assert sum_openings([opening for _, opening in made]).commitment() == encode_g1(total)


def test_openings_of_other_registries_do_not_add() -> None:
    with pytest.raises(MalformedInput):
        sum_openings([commit([1, 2], 256)[1], commit([1], 256)[1]])
    with pytest.raises(MalformedInput):
        sum_openings([commit([2**62], 256)[1], commit([2**62], 256)[1]])


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_a_hub_explains_the_sum_of_its_accounts(tmp_path: Path) -> None:
    snap = tiered()
    file = write(tmp_path / "s.json", snap.to_bytes())
    options: list[object] = []
    for i, lots in enumerate(([9_000, 100, 0, 0], [500, -40, 10, 0])):
        opening = commit(lots, 256)[1]
        options += ["--opening", write(tmp_path / f"{i}.json", opening_bytes(opening, snap.registry_digest))]
    tree = call("explain", "--snapshot", file, *options)
    assert {p["instrument"]: p["quantity"] for p in tree["positions"]} == {"USD": "9500", "BTC": "6", "ETH": "1"}
    assert tree["greeks"]["delta"] == "6.1"


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("ending", ["svg", "png"])
@pytest.mark.parametrize("with_axes", [True, False])
def test_a_chart_is_drawn(tmp_path: Path, ending: str, with_axes: bool) -> None:
    tree: dict[str, Any] = dict(tiered().tree)
    if with_axes:
        tree["axes"] = [{"spot": "0", "vol": "none"}, {"spot": "-20", "vol": "up"}]
    snap = snapshot_from_bytes(canonical.canonical_bytes(tree))
    file = write(tmp_path / "s.json", snap.to_bytes())
    opening = write(tmp_path / "o.json", opening_bytes(commit([9_000, 100, -50, 7], 256)[1], snap.registry_digest))
    chart = tmp_path / f"c.{ending}"
    call("explain", "--snapshot", file, "--opening", opening, "--plot", chart)
    start = chart.read_bytes()[:200]
    assert start.startswith(b"\x89PNG") if ending == "png" else b"<?xml" in start
    call("explain", "--snapshot", file, "--opening", opening, "--plot", tmp_path / "c.pdf", code=3)
    assert not (tmp_path / "c.pdf").exists()


def test_axes_must_fit_the_scenarios() -> None:
    tree = {**tiered().tree, "axes": [{"spot": "0", "vol": "none"}]}
    with pytest.raises(MalformedInput) as caught:
        snapshot_from_bytes(canonical.canonical_bytes(tree))
    assert caught.value.field == "snapshot.axes"


def test_the_holder_takes_the_best_election_and_proves_by_commands(tmp_path: Path) -> None:
    snap = loans()
    file = write(tmp_path / "s.json", snap.to_bytes())
    positions = [{"instrument": "USD", "quantity": "-900"}, {"instrument": "DAI", "quantity": "1000"}]
    portfolio = {"schema": "zkmargin/portfolio/1", "positions": positions}
    held = write(tmp_path / "f.json", canonical.canonical_bytes(portfolio))
    env = {"ZKMARGIN_PASSPHRASE": "p"}
    paths = {n: tmp_path / n for n in ("key", "pub", "opening", "attestation", "statement", "proof")}
    call("keygen", "--key", paths["key"], "--public", paths["pub"], env=env)
    call(
        "commit", "--portfolio", held, "--snapshot", file, "--account", "a", "--key", paths["key"], "--opening",
        paths["opening"], "--attestation", paths["attestation"], "--time", 1000, env=env,
    )  # fmt: skip
    common = (
        "statement", "--snapshot", file, "--attestation", paths["attestation"], "--hub-key", paths["pub"], "--spoke",
        "v",
        "--amount", "0", "--expiry", 2000, "--now", 1500, "--level", "maintenance", "--out", paths["statement"],
    )  # fmt: skip
    prove = ("prove", "--statement", paths["statement"], "--snapshot", file, "--opening", paths["opening"])
    call(*common, "--elect", "emode=none", env=env)
    call(*prove, "--out", paths["proof"], env=env, code=8)
    call(*common, env=env)
    call(*prove, "--out", paths["proof"], env=env, code=4)
    call(*common, "--best-for", paths["opening"], env=env)
    call(*prove, "--out", paths["proof"], env=env)
    call(
        "verify", "--statement", paths["statement"], "--snapshot", file, "--proof", paths["proof"], "--attestation",
        paths["attestation"], "--hub-key", paths["pub"], "--now", 1500,
    )  # fmt: skip
