"""The rule that docs/RULES.md shows is real: registered it proves and verifies; unregistered nobody even loads it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

from tests.circuits.test_market_rules import line, make, try_proof
from tests.support.places import ROOT
from zkmargin.circuits import rules
from zkmargin.circuits.errors import MalformedInput, RuleRefused, StatementMismatch
from zkmargin.circuits.rules import Terms
from zkmargin.circuits.rules.collateral_loan import build as collateral_loan
from zkmargin.circuits.rules.cross_margin import build as cross_margin
from zkmargin.circuits.rules.registration import register, register_installed
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import compile_terms
from zkmargin.prover.errors import NotSolvent

TEXT = (ROOT / "docs" / "RULES.md").read_text()
RULE_ID = "long-short/1"
#: What the installed distribution does on import, so that a test can see whether it was loaded.
MARK = "\nimport os, pathlib\npathlib.Path(os.environ['LOADED']).touch()\n"


def snapshot() -> Snapshot:
    """A snapshot that names the document's rule."""
    return make(
        {"id": RULE_ID, "parameters": {"long_ppm": 100_000, "short_ppm": 200_000}},
        [line("USD", "quote", "1", ["1", "1"], {}), line("BTC", "perpetual", "100", ["10", "8"], {})],
    )


def install(where: Path, name: str = "long_short") -> None:
    """A distribution that has the document's rule, as an installer leaves it in site-packages."""
    found = re.search(r"^```python[^\n]*\n(.*?)^```", TEXT, re.S | re.M)
    assert found
    (where / f"{name}.py").write_text(found[1] + MARK)
    info = where / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[zkmargin.rules]\n{RULE_ID} = {name}:build\n")


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that exists once the installed distribution was imported."""
    site = tmp_path / "site"
    site.mkdir()
    install(site)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("LOADED", str(tmp_path / "loaded"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setattr(rules, "REGISTERED", {})
    monkeypatch.setattr("zkmargin.circuits.rules.registration.REGISTERED", rules.REGISTERED)
    monkeypatch.delitem(sys.modules, "long_short", raising=False)
    return tmp_path / "loaded"


def test_an_installed_rule_that_a_snapshot_names_is_not_loaded(loaded: Path) -> None:
    """The attack: who can install a distribution, and have a snapshot signed, would run code in every verifier."""
    for _ in range(2):
        with pytest.raises(StatementMismatch, match="unknown rule"):
            compile_terms(snapshot(), Terms("initial", Fraction(1), 3600))
    assert not loaded.exists()
    # Control: the same distribution is found and loaded as soon as the application asks for it, and the refusal before
    # is not remembered.
    register_installed([RULE_ID])
    assert loaded.exists()
    compile_terms(snapshot(), Terms("initial", Fraction(1), 3600))


def test_the_third_party_rule_proves(loaded: Path) -> None:
    register_installed([RULE_ID])
    register_installed([RULE_ID])  # once more is nothing
    try_proof(snapshot(), [3000, -100], amount="1800")
    with pytest.raises(NotSolvent):
        try_proof(snapshot(), [3000, -100], amount="1800.01")


def test_a_rule_that_nobody_or_two_have_is_not_registered(loaded: Path, tmp_path: Path) -> None:
    with pytest.raises(MalformedInput, match="0 installed"):
        register_installed(["nonesuch/1"])
    install(tmp_path / "site", "another")
    with pytest.raises(MalformedInput, match="2 installed"):
        register_installed([RULE_ID])
    assert not loaded.exists()


def test_nobody_registers_another_rule_under_an_id_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "REGISTERED", {})
    monkeypatch.setattr("zkmargin.circuits.rules.registration.REGISTERED", rules.REGISTERED)
    register("cross-margin/1", cross_margin)  # the very rule: nothing to do
    register("own/1", cross_margin)
    for taken in ("tiered-margin/1", "own/1"):
        with pytest.raises(RuleRefused, match="another rule"):
            register(taken, collateral_loan)
    assert list(rules.REGISTERED) == ["own/1"]


def test_the_command_line_loads_a_rule_that_its_user_names(loaded: Path, tmp_path: Path) -> None:
    (tmp_path / "snapshot.json").write_bytes(snapshot().to_bytes())
    held = [{"instrument": "USD", "quantity": "3000"}, {"instrument": "BTC", "quantity": "-100"}]
    (tmp_path / "portfolio.json").write_text(json.dumps({"schema": "zkmargin/portfolio/1", "positions": held}))
    explain = ["explain", "--snapshot", "snapshot.json", "--portfolio", "portfolio.json", "--json"]

    def zkmargin(*given: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "zkmargin.service.cli.entry", *given]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    refused = zkmargin(*explain)
    assert refused.returncode == StatementMismatch.exit_code
    assert not loaded.exists()
    shown = zkmargin("--rule", RULE_ID, *explain)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["requirement"] == "2000"
    assert loaded.exists()
    assert zkmargin("--rule", "nonesuch/1", *explain).returncode == MalformedInput.exit_code
