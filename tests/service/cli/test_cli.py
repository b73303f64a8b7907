"""The command line end to end: a hub, a holder and a venue that share nothing but files."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from zkmargin.service.cli.root import app

RUNNER = CliRunner()
NOW = "1777917500"
PASSPHRASE = "correct horse"


def call(*args: object, code: int = 0, env: dict[str, str] | None = None) -> dict[str, Any]:
    """Run a command with --json; returns its JSON object after checking the exit code."""
    result = RUNNER.invoke(app, [*map(str, args), "--json"], env=env)
    assert result.exit_code == code, result.output
    tree: dict[str, Any] = json.loads(result.stdout)
    assert tree["ok"] == (code == 0)
    return tree


@dataclass(frozen=True)
class World:
    """Paths of one account's files."""

    dir: Path

    def __getattr__(self, name: str) -> Path:
        return self.dir / (name.replace("_", ".") + (".json" if name not in ("hub_key", "hub_pub") else ""))


def demo_file(name: str) -> bytes:
    return resources.files("zkmargin.service.demo_data").joinpath(name).read_bytes()


def build(directory: Path) -> World:
    """Everything up to a proof, by the commands themselves."""
    w = World(directory)
    w.snapshot.write_bytes(demo_file("snapshot.json"))
    w.portfolio.write_bytes(demo_file("portfolio.json"))
    env = {"ZKMARGIN_PASSPHRASE": PASSPHRASE}
    call("keygen", "--key", w.hub_key, "--public", w.hub_pub, env=env)
    call(
        "commit", "--portfolio", w.portfolio, "--snapshot", w.snapshot, "--account", "acct-1", "--key", w.hub_key,
        "--opening", w.opening, "--attestation", w.attestation, "--time", NOW, env=env,
    )  # fmt: skip
    ask(w, w.statement, "1000")
    call(
        "prove",
        "--statement",
        w.statement,
        "--snapshot",
        w.snapshot,
        "--opening",
        w.opening,
        "--out",
        w.proof,
        env=env,
    )
    return w


def ask(w: World, out: Path, amount: str, *extra: str, code: int = 0) -> dict[str, Any]:
    return call(
        "statement", "--snapshot", w.snapshot, "--attestation", w.attestation, "--hub-key", w.hub_pub,
        "--spoke", "venue",
        "--amount", amount, "--expiry", int(NOW) + 600, "--now", NOW, "--out", out, *extra, code=code,
    )  # fmt: skip


def check(w: World, *extra: object, code: int = 0, **paths: Path) -> dict[str, Any]:
    parts = {"statement": w.statement, "snapshot": w.snapshot, "proof": w.proof, "attestation": w.attestation}
    parts |= {"hub-key": w.hub_pub} | paths
    options = [item for name, path in parts.items() for item in (f"--{name}", path)]
    return call("verify", *options, "--now", NOW, *extra, code=code)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build(tmp_path_factory.mktemp("cli"))


def test_a_venue_verifies_what_the_holder_proved(world: World) -> None:
    assert check(world)["attestation"] == "checked"


def test_without_an_attestation_the_answer_says_so(world: World) -> None:
    result = RUNNER.invoke(
        app, ["verify", "--statement", str(world.statement), "--snapshot", str(world.snapshot), "--proof",
              str(world.proof), "--now", NOW]
    )  # fmt: skip
    assert result.exit_code == 0
    assert "attestation NOT checked" in result.output


def test_secrets_are_sealed_and_unreadable_by_others(world: World) -> None:
    for path in (world.opening, world.hub_key):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert b"zkmargin/sealed/1" in path.read_bytes()
    assert b"lots" not in world.opening.read_bytes()


def test_without_a_passphrase_secrets_are_not_written(world: World, tmp_path: Path) -> None:
    key = tmp_path / "k"
    error = call("keygen", "--key", key, "--public", tmp_path / "p", code=3, env={"ZKMARGIN_PASSPHRASE": ""})
    assert error["error"]["code"] == "malformed-input"
    assert not key.exists()
    call("keygen", "--key", key, "--public", tmp_path / "p", "--unencrypted", env={"ZKMARGIN_PASSPHRASE": ""})
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


@pytest.mark.parametrize("passphrase", ["", "wrong"])
def test_a_sealed_opening_needs_its_passphrase(world: World, tmp_path: Path, passphrase: str) -> None:
    call(
        "prove", "--statement", world.statement, "--snapshot", world.snapshot, "--opening", world.opening,
        "--out", tmp_path / "p.json", code=3, env={"ZKMARGIN_PASSPHRASE": passphrase},
    )  # fmt: skip
    assert not (tmp_path / "p.json").exists()


def test_a_false_statement_names_shortfall_and_scenario_and_writes_nothing(world: World, tmp_path: Path) -> None:
    ask(world, tmp_path / "s.json", "5000000")
    error = call(
        "prove", "--statement", tmp_path / "s.json", "--snapshot", world.snapshot, "--opening", world.opening,
        "--out", tmp_path / "p.json", code=8, env={"ZKMARGIN_PASSPHRASE": PASSPHRASE},
    )["error"]  # fmt: skip
    assert error["code"] == "not-solvent"
    assert "in scenario majors-10/rest-25" in error["message"]
    assert list(tmp_path.iterdir()) == [tmp_path / "s.json"]


def test_each_part_must_belong(world: World, tmp_path: Path) -> None:
    ask(world, tmp_path / "other.json", "999")
    assert check(world, statement=tmp_path / "other.json", code=4)["error"]["field"] == "proof.statement"
    stale = call(
        "verify", "--statement", world.statement, "--snapshot", world.snapshot, "--proof", world.proof, "--now",
        int(NOW) + 86400, code=5,
    )  # fmt: skip
    assert stale["error"]["code"] == "stale-statement"


def test_a_flipped_proof_is_rejected_with_its_own_exit_code(world: World, tmp_path: Path) -> None:
    tree = json.loads(world.proof.read_bytes())
    last = "0" if tree["proof"][-1] != "0" else "1"
    tree["proof"] = tree["proof"][:-1] + last
    (tmp_path / "p.json").write_text(json.dumps(tree))
    assert check(world, proof=tmp_path / "p.json", code=6)["error"]["code"] == "proof-rejected"
    tree["proof"] += "00"
    (tmp_path / "p.json").write_text(json.dumps(tree))
    assert check(world, proof=tmp_path / "p.json", code=3)["error"]["code"] == "malformed-proof"


def test_a_batch_names_the_bad_ones(world: World, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.statement.json").write_bytes(world.statement.read_bytes())
        (tmp_path / f"{name}.proof.json").write_bytes(world.proof.read_bytes())
    good = call("verify-batch", "--snapshot", world.snapshot, "--now", NOW, tmp_path)
    assert (good["proofs"], good["failed"]) == (3, 0)
    (tmp_path / "b.proof.json").write_text("{}")
    bad = call("verify-batch", "--snapshot", world.snapshot, "--now", NOW, tmp_path, code=6)
    assert bad["failed"] == 1
    assert bad["results"]["b"]["error"]["code"] == "malformed-input"


def test_explain_agrees_from_portfolio_and_from_opening(world: World) -> None:
    a = call("explain", "--snapshot", world.snapshot, "--portfolio", world.portfolio)
    b = call(
        "explain",
        "--snapshot",
        world.snapshot,
        "--opening",
        world.opening,
        env={"ZKMARGIN_PASSPHRASE": PASSPHRASE},
    )
    assert a == b
    assert float(a["health_factor"]) > 1
    assert a["worst_scenario"] == "majors-10/rest-25"


@pytest.mark.parametrize(
    "args",
    [
        ("--level", "wrong"),
        ("--multiplier", "0"),
        ("--multiplier", "NaN"),
        ("--multiplier", "1e3"),
        ("--multiplier", "1001"),
    ],
)
def test_explain_refuses_bad_knobs(world: World, args: tuple[str, str]) -> None:
    call("explain", "--snapshot", world.snapshot, "--portfolio", world.portfolio, *args, code=3)


@pytest.mark.parametrize(
    ("extra", "field"),
    [
        (("--delta", "BTC-PERP"), "delta"),
        (("--level", "maximum"), "statement.level"),
        (("--nonce", "xyz"), "statement.context.nonce"),
        (("--multiplier", "0"), "statement.multiplier"),
        (("--multiplier", "1.0000001"), "statement.multiplier"),
        (("--horizon", "0"), "statement.horizon"),
        (("--delta", "BTC-PERP=1", "--delta", "BTC-PERP=1"), "statement.delta.1.instrument"),
    ],
)
def test_a_statement_with_a_bad_field_is_not_written(
    world: World, tmp_path: Path, extra: tuple[str, ...], field: str
) -> None:
    error = ask(world, tmp_path / "s.json", "1", *extra, code=3)["error"]
    assert error["field"] == field
    assert not (tmp_path / "s.json").exists()


def test_the_demo_runs_and_every_attack_is_refused(tmp_path: Path) -> None:
    report = call("demo", "--out", tmp_path)
    assert [s["amount"] for s in report["spokes"]] == ["500000", "250000"]
    assert [a["refused"] for a in report["attacks"]] == [
        "proof-rejected", "proof-rejected", "signature-rejected", "proof-rejected", "statement-mismatch", "not-solvent",
    ]  # fmt: skip
    assert call("verify-batch", "--snapshot", tmp_path / "snapshot.json", "--now", NOW, tmp_path)["failed"] == 0


def test_srs_verify_lists_its_checks() -> None:
    assert "Lagrange basis 2048 matches the powers" in call("srs", "verify")["checks"]


@pytest.mark.slow
@pytest.mark.slow
def test_bench_prints_ratios() -> None:
    report = call("bench", "--sizes", "4x2", "--repeat", "1", "--batch", "3")
    row = report["rows"][0]
    assert row["verify_ratio"] > 0
    assert row["proof_bytes"] == 451
    assert report["batch"]["proofs"] == 3
    text = RUNNER.invoke(app, ["bench", "--sizes", "4x2", "--repeat", "1", "--batch", "3", "--primitives"])
    assert "MSM, 1024 full scalars" in text.output


@pytest.mark.parametrize("sizes", ["", "0x1", "1x1", "9999x1", "4x", "4x9999"])
def test_bench_refuses_odd_sizes(sizes: str) -> None:
    call("bench", "--sizes", sizes, code=3)


def test_start_up_imports_nothing_heavy() -> None:
    heavy = "('flint', 'py_arkworks_bls12381', 'pydantic', 'cryptography', 'jwt', 'numpy', 'galois', 'rich.table')"
    code = f"import sys, zkmargin.service.cli.root; print([m for m in {heavy} if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_a_real_process_gives_exit_code_and_one_json_line(world: World) -> None:
    command = [
        sys.executable,
        "-m",
        "zkmargin",
        "verify",
        "--json",
        "--statement",
        str(world.dir / "no"),
    ]
    command += ["--snapshot", str(world.snapshot), "--proof", str(world.proof)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert answer.returncode == 3
    assert json.loads(answer.stdout)["error"]["field"].endswith("/no")
    assert answer.stderr == ""
