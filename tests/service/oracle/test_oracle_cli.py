"""The oracle's commands end to end: sources sign, the oracle builds, a holder proves on what it built."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.service.cli.test_cli import call
from tests.support.markets import NOW, config, config_tree, line, made, payload
from tests.support.places import ROOT
from zkmargin.circuits.errors import MalformedInput, SignatureRejected, StaleStatement, StatementMismatch
from zkmargin.service.keys.signing_keys import generate_key
from zkmargin.service.oracle.directory import sign_snapshot
from zkmargin.verifier.facts.snapshot_signature import verify_snapshot_signature

LINEAR = [
    line("USD", "quote", lot="0.01") | {"position_limit": "100000000"},
    line("BTC", "spot", feed="spot", underlying="BTC", risk={"haircut_ppm": 100_000}),
    line("BTC-PERP", "perpetual", feed="index", underlying="BTC", risk={"tier": "large"}),
    line("CREDIT", "credit", lot="0.01") | {"position_limit": "100000000"},
]
RULE = {
    "id": "cross-margin/1",
    "parameters": {
        "rounding": "per-lot",
        "tiers": {"large": {"initial_ppm": 50_000, "maintenance_fraction_ppm": 600_000}},
    },
}


class Oracle:
    """Paths of an oracle and its sources, all made by the commands."""

    def __init__(self, directory: Path) -> None:
        self.dir, self.feeds, self.out = directory, directory / "feeds", directory / "out"
        self.key, self.pub, self.config = directory / "oracle.key", directory / "oracle.pub", directory / "c.json"
        self.feeds.mkdir()
        call("oracle", "keygen", "--key", self.key, "--public", self.pub, "--unencrypted")
        sources = []
        for name in ("alpha", "beta", "gamma"):
            key, pub = directory / f"{name}.key", directory / f"{name}.pub"
            call("oracle", "keygen", "--key", key, "--public", pub, "--unencrypted")
            sources.append({"name": name, "key": pub.read_text(), "kinds": ["spot", "index"]})
        limits = {k: v for k, v in config_tree()["limits"].items() if k in ("spot", "index")}
        tree = config_tree(sources=sources, limits=limits, instruments=LINEAR, rule=RULE)
        self.config.write_text(json.dumps(tree))
        self.sign(NOW - 5, 1)

    def sign(self, time: int, sequence: int, **changes: Any) -> None:
        """All sources write their feeds anew."""
        for name in ("alpha", "beta", "gamma"):
            for kind in ("spot", "index"):
                path = self.dir / "payload.json"
                path.write_text(json.dumps(payload(name, kind, time=time, sequence=sequence) | changes))
                out = self.feeds / f"{name}-{kind}.feed.json"
                call("oracle", "sign-feed", "--payload", path, "--key", self.dir / f"{name}.key", "--out", out)

    def build(self, *extra: object, now: int = NOW, code: int = 0) -> dict[str, Any]:
        return call(
            "oracle", "build", "--config", self.config, "--feeds", self.feeds, "--key", self.key, "--out", self.out,
            "--now", now, *extra, code=code,
        )  # fmt: skip

    def verify(self, built: dict[str, Any], *, now: int, code: int = 0) -> dict[str, Any]:
        return call(
            "oracle", "verify", "--snapshot", self.out / built["file"], "--signature", self.out / built["signature"],
            "--oracle-key", self.pub, "--now", now, code=code,
        )  # fmt: skip

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted(self.out.iterdir())}


@pytest.fixture
def oracle(tmp_path: Path) -> Oracle:
    return Oracle(tmp_path)


def test_a_holder_proves_on_a_snapshot_that_the_oracle_built(oracle: Oracle, tmp_path: Path) -> None:
    built = oracle.build()
    assert built["rejected"] == []
    assert built["file"] == f"{built['snapshot']}.snapshot.json"
    assert oracle.verify(built, now=NOW)["oracle"] == "oracle-1"
    snapshot = oracle.out / built["file"]
    positions = [{"instrument": "USD", "quantity": "20000"}, {"instrument": "BTC-PERP", "quantity": "1.5"}]
    files = {name: tmp_path / f"{name}.json" for name in ("portfolio", "opening", "attestation", "statement", "proof")}
    files["portfolio"].write_text(json.dumps({"schema": "zkmargin/portfolio/1", "positions": positions}))
    hub_key, hub_pub = tmp_path / "hub.key", tmp_path / "hub.pub"
    call("keygen", "--key", hub_key, "--public", hub_pub, "--unencrypted")
    call(
        "commit", "--portfolio", files["portfolio"], "--snapshot", snapshot, "--account", "acct", "--key", hub_key,
        "--opening", files["opening"], "--attestation", files["attestation"], "--time", NOW, "--unencrypted",
    )  # fmt: skip
    call(
        "statement", "--snapshot", snapshot, "--attestation", files["attestation"], "--hub-key", hub_pub, "--spoke",
        "venue", "--amount", "1000", "--expiry", NOW + 600, "--now", NOW, "--out", files["statement"],
    )  # fmt: skip
    call(
        "prove", "--statement", files["statement"], "--snapshot", snapshot, "--opening", files["opening"], "--out",
        files["proof"],
    )  # fmt: skip
    verified = call(
        "verify", "--statement", files["statement"], "--snapshot", snapshot, "--proof", files["proof"],
        "--attestation", files["attestation"], "--hub-key", hub_pub, "--now", NOW + 10,
    )  # fmt: skip
    assert (verified["attestation"], verified["snapshot"]) == ("checked", "not checked")
    signed = ("--signed-snapshot", oracle.out / f"{built['snapshot']}.signed.json", "--oracle-key", oracle.pub)
    common = ("verify", "--statement", files["statement"], "--snapshot", snapshot, "--proof", files["proof"], *signed)
    assert call(*common, "--now", NOW + 10)["snapshot"] == "checked"
    # Once it is no longer in force nothing verifies against it, and the holder's own command refuses too.
    limit = built["valid_until"]
    assert call(*common, "--now", limit + 1, code=5)["error"]["code"] == "stale-statement"
    prove = ("prove", "--statement", files["statement"], "--snapshot", snapshot, "--opening", files["opening"])
    call(*prove, "--out", tmp_path / "late.json", *signed, code=5)
    assert not (tmp_path / "late.json").exists()
    call(*common[:-2], "--now", NOW + 10, code=3)


def test_the_next_build_goes_on_from_the_state(oracle: Oracle) -> None:
    first = oracle.build()
    oracle.sign(NOW + 55, 2)
    second = oracle.build("--last", oracle.out / first["file"], now=NOW + 60)
    assert second["snapshot"] != first["snapshot"]
    third = oracle.build(now=NOW + 61)
    assert len(oracle.files()) == 7  # three snapshots, three signatures, one state
    other = oracle.build("--last", oracle.out / first["file"], now=NOW + 62, code=4)
    assert other["error"]["field"] == "state.snapshot"
    assert third["time"] == NOW + 61


def test_a_refused_build_leaves_the_last_snapshot_in_force(oracle: Oracle) -> None:
    built = oracle.build()
    before = oracle.files()
    stale = oracle.build(now=NOW + 100, code=10)["error"]
    assert stale["code"] == "oracle-refused"
    assert "feeds.alpha.spot.time: stale" in stale["message"]
    jumped = [{"underlying": "BTC", "bid": "90000", "ask": "90000"}]
    oracle.sign(NOW + 95, 2, quotes=jumped)
    assert "jumped" in oracle.build(now=NOW + 100, code=10)["error"]["message"]
    assert oracle.build(now=NOW, code=10)["error"]["field"] == "clock"
    assert oracle.files() == before
    oracle.verify(built, now=NOW + 300)
    gone = oracle.verify(built, now=NOW + 301, code=5)["error"]
    assert gone["field"] == "signed-snapshot.payload.valid_until"
    assert oracle.build("--accept-jump", now=NOW + 100)["time"] == NOW + 100


def test_a_bad_feed_is_reported_or_with_strict_refused(oracle: Oracle) -> None:
    (oracle.feeds / "alpha-spot.feed.json").write_text("{}")
    assert oracle.build("--feeds", oracle.dir / "none", code=3)["error"]["message"] == "not a directory"
    assert oracle.build("--strict", code=3)["error"]["field"].startswith("alpha-spot.feed.json")
    assert not oracle.out.exists()
    built = oracle.build()
    assert [(r["file"], r["code"]) for r in built["rejected"]] == [("alpha-spot.feed.json", "malformed-input")]


def test_a_snapshot_without_its_state_is_no_base(oracle: Oracle) -> None:
    built = oracle.build()
    (oracle.out / "state.json").unlink()
    assert oracle.build("--last", oracle.out / built["file"], now=NOW + 1, code=4)["error"]["field"] == "last"


def test_a_crash_that_stops_between_files_changes_nothing(oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    oracle.build()
    before = oracle.files()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert oracle.build(now=NOW + 1, code=3)["error"]["message"] == "No space left on device"
    assert oracle.files() == before


def test_signature_faults() -> None:
    key, snap, settings = generate_key(), made().snapshot, config()
    fact, signed = sign_snapshot(snap, settings, key)
    public = key.public_key()
    assert verify_snapshot_signature(signed, snap, public, now=NOW) == fact
    assert [fact.in_force(t) for t in (NOW - 31, NOW - 30, NOW, NOW + 300, NOW + 301)] == [0, 1, 1, 1, 0]
    with pytest.raises(SignatureRejected):
        verify_snapshot_signature(signed, snap, generate_key().public_key())
    with pytest.raises(StatementMismatch, match="another snapshot"):
        verify_snapshot_signature(signed, made(now=NOW + 1).snapshot, public)
    with pytest.raises(StaleStatement, match="not in force yet"):
        verify_snapshot_signature(signed, snap, public, now=NOW - 31)
    with pytest.raises(MalformedInput):
        verify_snapshot_signature(signed.replace(b"signed-snapshot/1", b"attestation/1"), snap, public)


def test_a_changed_snapshot_is_not_the_signed_one(oracle: Oracle) -> None:
    built = oracle.build()
    path = oracle.out / built["file"]
    path.write_bytes(path.read_bytes().replace(b'"40000"', b'"41000"'))
    assert oracle.verify(built, now=NOW, code=4)["error"]["field"] == "signed-snapshot.payload.snapshot"


def test_help_stays_light() -> None:
    code = "import zkmargin.service.cli.root, sys; print([m for m in ('numpy', 'jwt', 'pydantic') if m in sys.modules])"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == "[]"
