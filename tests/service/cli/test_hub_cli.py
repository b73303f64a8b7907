"""The commands on a hub, against a real server that was made by the hub's own commands."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.service.cli.test_cli import RUNNER, call
from tests.support.hubs import hub_snapshot, running, sign_snapshot, sqlite_url
from tests.support.places import ROOT
from zkmargin.service.cli.root import app
from zkmargin.service.client.exchange import HubProblem, HubUnreachable
from zkmargin.service.files import unseal
from zkmargin.service.keys import signing
from zkmargin.service.keys.signing_keys import load_private_key
from zkmargin.verifier.facts.transparency import TreeHead

pytestmark = pytest.mark.slow

PASSPHRASE = "correct horse"
Tree = dict[str, Any]


@dataclass(frozen=True)
class World:
    """A directory with everybody's files, and a hub that runs."""

    dir: Path
    url: str

    def __call__(self, *args: object, by: str | None = None, code: int = 0, **env: str) -> Tree:
        """Run a command with --json as a caller, whose key and trust are named by the environment."""
        given = {"ZKMARGIN_HUB": self.url, "ZKMARGIN_HUB_KEY": str(self.dir / "hub.pub")}
        given |= {"ZKMARGIN_PASSPHRASE": PASSPHRASE, "ZKMARGIN_ORACLE_KEY": str(self.dir / "feed.pub")}
        if by is not None:
            given |= {"ZKMARGIN_KEY": str(self.dir / f"{by}.key"), "ZKMARGIN_TRUST": str(self.dir / f"{by}.trust")}
        return call(*args, code=code, env=given | env)

    def __truediv__(self, name: str) -> Path:
        return self.dir / name


def keygen(w: World, name: str) -> None:
    w("keygen", "--key", w / f"{name}.key", "--public", w / f"{name}.pub")


def secret(w: World, name: str) -> Any:
    """A caller's signing key."""
    os.environ["ZKMARGIN_PASSPHRASE"] = PASSPHRASE
    try:
        return load_private_key(unseal((w / f"{name}.key").read_bytes(), name="key"))
    finally:
        del os.environ["ZKMARGIN_PASSPHRASE"]


def publish(w: World) -> None:
    snapshot = hub_snapshot(int(time.time()) - 5)
    (w / "snapshot.json").write_bytes(snapshot.to_bytes())
    (w / "signed.json").write_bytes(sign_snapshot(secret(w, "feed"), snapshot))
    files = ("--snapshot", w / "snapshot.json", "--signed-snapshot", w / "signed.json")
    assert w("snapshot", "publish", *files, by="feed")["digest"] == snapshot.digest.hex()


@pytest.fixture(scope="module")
def w(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("hub-cli")
    w = World(directory, "")
    env = {"ZKMARGIN_DATABASE_URL": sqlite_url(directory), "ZKMARGIN_STORAGE_KEYS_FILE": str(directory / "storage.key")}
    for name in ("ops", "feed", "spoke-a"):
        keygen(w, name)
    w("hub", "new-storage-key", "--out", w / "storage.key")
    w(
        "hub", "init", "--name", "hub-1", "--currency", "USD", "--decimals", 2, "--operator-key", w / "ops.pub",
        "--public", w / "hub.pub", **env,
    )  # fmt: skip
    w("hub", "admit-oracle", "feed", "--key", w / "feed.pub", **env)
    env |= {"ZKMARGIN_ROLE": "hub", "ZKMARGIN_POOL_PROCESSES": "1", "ZKMARGIN_PASSPHRASE": PASSPHRASE}
    with running(directory / "log", env) as url:
        w = World(directory, url)
        publish(w)
        w("venue", "zone", "zone-1", "--cap", "5000", by="ops")
        w(
            "venue", "register", "spoke-a", "--caip2", "eip155:1", "--zone", "zone-1", "--cap", "4000", "--public",
            w / "spoke-a.pub", by="ops",
        )  # fmt: skip
        w(
            "account", "keygen", "--key", w / "alice.key", "--public", w / "alice.pub", "--encryption-key",
            w / "alice.x25519", "--encryption-public", w / "alice.xpub",
        )  # fmt: skip
        w("account", "open", "alice", "--public", w / "alice.pub", "--encryption-public", w / "alice.xpub", by="ops")
        deposit = ("--instrument", "QUOTE-0", "--quantity", "1000", "--reference", "receipt-1")
        assert w("account", "deposit", "alice", *deposit, by="ops")["epoch"] == 2
        yield w


def opening(w: World, *extra: object, code: int = 0) -> Tree:
    parts = ("--out", w / "opening.json", "--attestation", w / "attestation.json", "--snapshot", w / "fetched.json")
    key = ("--encryption-key", w / "alice.x25519")
    return w("account", "opening", "alice", *parts, *key, *extra, by="alice", code=code)


def test_a_credit_from_files_by_the_commands_of_the_local_prover(w: World) -> None:
    held = opening(w)
    assert (w / "fetched.json").read_bytes() == (w / "snapshot.json").read_bytes()
    assert stat.S_IMODE((w / "opening.json").stat().st_mode) == 0o600
    assert b"lots" not in (w / "opening.json").read_bytes()
    assert opening(w, code=3)["error"]["field"] == str(w / "opening.json")  # an existing secret stays
    assert opening(w, "--force")["leaf"] == held["leaf"]
    asked = w("credit", "demand", "--venue", "spoke-a", "--amount", 300, "--out", w / "demand.json")
    w(
        "statement", "--snapshot", w / "fetched.json", "--attestation", w / "attestation.json", "--hub-key",
        w / "hub.pub", "--spoke", "spoke-a", "--amount", 300, "--nonce", asked["nonce"], "--out", w / "statement.json",
        "--for", "credit", "--expires", asked["expires"],
    )  # fmt: skip
    w(
        "prove", "--statement", w / "statement.json", "--snapshot", w / "fetched.json", "--opening",
        w / "opening.json", "--out", w / "proof.json",
    )  # fmt: skip
    consent = (
        "account", "authorise", "--statement", w / "statement.json", "--snapshot", w / "fetched.json", "--key",
        w / "alice.key", "--out", w / "authorisation.json",
    )  # fmt: skip
    # Nobody is here to ask, and nothing is signed unasked.
    assert w(*consent, code=15)["error"]["code"] == "not-covered"
    assert not (w / "authorisation.json").exists()
    w(*consent, "--yes")
    files = [
        "--statement", w / "statement.json", "--proof", w / "proof.json", "--attestation", w / "attestation.json",
        "--authorisation", w / "authorisation.json",
        "--leaf", held["leaf"], "--out", w / "credit.json",
    ]  # fmt: skip
    prices = ("--snapshot", w / "snapshot.json", "--signed-snapshot", w / "signed.json")
    request = ("credit", "request", "--demand", w / "demand.json", *files, *prices, "--idempotency-key", "k-1")
    made = w(*request, by="spoke-a")
    assert (made["amount"], made["sequence"], made["state"]) == ("300", 0, "live")
    assert w(*request, by="spoke-a") == made
    stale = w("credit", "request", "--venue", "spoke-a", *files, by="spoke-a", code=12)["error"]
    assert (stale["code"], "prove again" in stale["remedy"]) == ("stale-epoch", True)

    fills = ("--fill", "PERPETUAL-2=1", "--fill", "QUOTE-0=-64.25")
    entry = ("--entry", w / "credit.json")
    assert w("credit", "consume", *entry, "--amount", 100, *fills, by="spoke-a")["used"] == "100"
    give = ("credit", "release", *entry, "--free", 200, "--used", 50, "--paid")
    assert w(*give, 51, by="spoke-a", code=3)["error"]["field"] == "paid"
    assert w(*give, 20, by="spoke-a")["released"] == "250"
    assert w("credit", "expire", *entry, by="spoke-a", code=12)["error"]["code"] == "not-expired"
    assert w("credit", "show", made["credit"], *entry, by="spoke-a")["sequence"] == 2
    assert [c["used"] for c in w("credit", "list", "--live", by="alice")["credits"]] == ["50"]
    bad = w("credit", "consume", *entry, "--amount", 1, "--fill", "X", by="spoke-a", code=3)
    assert bad["error"]["field"] == "fill"


def test_a_credit_from_a_demand_and_an_offer(w: World) -> None:
    key = ("--encryption-key", w / "alice.x25519")
    w("credit", "demand", "--venue", "spoke-a", "--amount", "1.5", "--caip2", "eip155:1", "--out", w / "d2.json")
    ask = ("account", "offer", "alice", "--demand", w / "d2.json", "--out", w / "o2.json", *key)
    policy = {"schema": "zkmargin/policy/1", "credits": [{"venue": "spoke-a", "amount": "1.49", "seconds": 3700}]}
    (w / "policy.json").write_text(json.dumps(policy))
    assert w(*ask, "--policy", w / "policy.json", by="alice", code=15)["error"]["field"] == "statement.purpose.amount"
    assert w(*ask, by="alice", code=15)["error"]["code"] == "not-covered"
    assert not (w / "o2.json").exists()
    policy["credits"] = [{"venue": "spoke-a", "amount": "1.5", "seconds": 3700}]
    (w / "policy.json").write_text(json.dumps(policy))
    w(*ask, "--policy", w / "policy.json", by="alice")
    request = ("credit", "request", "--demand", w / "d2.json", "--offer", w / "o2.json", "--out", w / "c2.json")
    assert w(*request, by="spoke-a")["amount"] == "1.5"
    w("credit", "demand", "--venue", "spoke-a", "--amount", 5000, "--out", w / "d3.json")
    offer = ("account", "offer", "alice", "--demand", w / "d3.json", "--out", w / "o3.json", *key, "--yes")
    assert w(*offer, by="alice", code=8)["error"]["code"] == "not-solvent"
    assert not (w / "o3.json").exists()


def test_a_trade_from_two_offers(w: World) -> None:
    w(
        "account", "keygen", "--key", w / "bob.key", "--public", w / "bob.pub", "--encryption-key",
        w / "bob.x25519", "--encryption-public", w / "bob.xpub",
    )  # fmt: skip
    w("account", "open", "bob", "--public", w / "bob.pub", "--encryption-public", w / "bob.xpub", by="ops")
    w("account", "deposit", "bob", "--instrument", "QUOTE-0", "--quantity", 500, "--reference", "receipt-2", by="ops")
    legs = ("--leg", "PERPETUAL-2=1", "--leg", "QUOTE-0=-64.25")
    asked = ("trade", "demand", "--venue", "spoke-a", "--maker", w / "maker.json", "--taker", w / "taker.json",
             "--limit", 5)  # fmt: skip
    assert w(*asked, "--leg", "QUOTE-0", code=3)["error"]["field"] == "leg"
    assert len(set(w(*asked, *legs).values())) >= 2
    files = []
    for side, name in (("maker", "alice"), ("taker", "bob")):
        out, key = w / f"{side}-offer.json", w / f"{name}.x25519"
        w(
            "account", "offer", name, "--demand", w / f"{side}.json", "--out", out, "--encryption-key", key, "--yes",
            by=name,
        )  # fmt: skip
        files += [f"--{side}-demand", w / f"{side}.json", f"--{side}-offer", out]
    before = [w("account", "show", name, by=name)["epoch"] for name in ("alice", "bob")]
    ledger = ("trade", "book", *files, "--idempotency-key", "t-1")
    done = w(*ledger, by="spoke-a")
    assert [done[side]["account"] for side in ("maker", "taker")] == ["alice", "bob"]
    assert [done[side]["epoch"] for side in ("maker", "taker")] == [epoch + 1 for epoch in before]
    assert w(*ledger, by="spoke-a") == done
    assert w("trade", "book", *files, by="spoke-a", code=12)["error"]["code"] == "stale-epoch"


def test_the_account_from_both_sides(w: World) -> None:
    key = ("--encryption-key", w / "alice.x25519")
    take = ("account", "withdraw", "alice", "--instrument", "QUOTE-0", *key, "--to", "vault-1", "--yes",
            "--quantity")  # fmt: skip
    before = w("account", "show", "alice", by="alice")["epoch"]
    assert w(*take, 10, by="alice")["epoch"] == before + 1
    assert w(*take, -10, by="alice", code=3)["error"]["field"] == "quantity"
    assert w("account", "recommit", "alice", by="alice")["epoch"] == before + 2
    assert w("account", "freeze", "alice", by="ops")["state"] == "frozen"
    assert w(*take, 10, by="alice", code=12)["error"]["code"] == "account-frozen"
    assert w("account", "unfreeze", "alice", by="ops")["state"] == "open"
    see = ("account", "attestation", "alice", "--out", w / "seen.json")
    assert w(*see, by="spoke-a", code=12)["error"]["code"] == "not-found"
    w("account", "grant", "alice", "spoke-a", by="alice")
    assert w(*see, "--epoch", 1, by="spoke-a")["leaf"] == 0
    w("account", "revoke", "alice", "spoke-a", by="alice")
    assert w("account", "freeze", "alice", by="alice", code=12)["error"]["code"] == "forbidden"


def test_venues_breakers_and_keys(w: World) -> None:
    assert w("venue", "suspend", "spoke-a", by="ops")["state"] == "suspended"
    assert w("venue", "resume", "spoke-a", by="ops")["state"] == "active"
    assert w("venue", "cap", "spoke-a", "--cap", "3999.5", by="ops")["cap"] == "3999.5"
    assert [v["venue"] for v in w("venue", "list", by="ops")["venues"]] == ["spoke-a"]
    assert w("venue", "show", "spoke-a", by="spoke-a")["zone"] == "zone-1"
    assert w("venue", "open-breaker", "hub", by="ops")["breakers"][0]["reason"] == "operator"
    assert len(w("venue", "breakers", by="spoke-a")["breakers"]) == 1
    assert w("venue", "close-breaker", "hub", by="ops")["breakers"] == []
    old = RUNNER.invoke(app, ["key", "add", "--public", str(w / "x"), "--hub", w.url])
    assert old.exit_code == 3  # no such file
    keygen(w, "spoke-new")
    w("key", "add", "--public", w / "spoke-new.pub", by="spoke-a")
    from zkmargin.service.keys.request_signatures import key_id

    kid = key_id(secret(w, "spoke-a").public_key().public_bytes_raw())
    w("key", "retire", kid, by="spoke-new")
    time.sleep(1.1)  # a key's last second is inclusive
    assert w("venue", "show", "spoke-a", by="spoke-a", code=12)["error"]["code"] == "key-not-valid"
    w("key", "add", "--public", w / "spoke-a.pub", by="spoke-new", code=12)  # a key is registered once
    keygen(w, "spoke-lost")
    lost = w("key", "add", "--public", w / "spoke-lost.pub", by="spoke-new")["kid"]
    assert w("key", "revoke", lost, by="spoke-new", code=12)["error"]["code"] == "forbidden"
    ended = w("key", "revoke", lost, by="ops")["not_after"]
    assert ended <= int(time.time())
    assert w("key", "revoke", lost, by="ops", code=12)["error"]["code"] == "not-found"
    for suffix in ("key", "pub"):
        os.replace(w / f"spoke-new.{suffix}", w / f"spoke-a.{suffix}")


def test_the_log_is_held_to_one_history(w: World) -> None:
    first = w("log", "head", "--out", w / "head.json", by="watcher", ZKMARGIN_KEY="")
    w("account", "recommit", "alice", by="alice")
    later = w("log", "verify", "--with-head", w / "head.json", by="watcher", ZKMARGIN_KEY="")
    assert (later["held"]["size"], later["size"]) == (first["size"], first["size"] + 1)
    found = w("account", "attestation", "alice", "--out", w / "a.json", by="alice")
    proof = ("--attestation", w / "a.json", "--leaf")
    assert w("log", "verify", *proof, found["leaf"])["attestation"] == "checked"
    assert w("log", "verify", *proof, 0, code=6)["error"]["code"] == "proof-rejected"
    shown = w("log", "show", by="watcher", ZKMARGIN_HUB="")
    assert (shown["hub"], shown["head"]["size"]) == ("hub-1", later["size"])
    keys = w("log", "keys", "--out", w / "now.pub")["keys"]
    assert (len(keys), (w / "now.pub").read_bytes()) == (1, (w / "hub.pub").read_bytes())
    assert w("log", "head", "--hub-key", w / "ops.pub", code=6)["error"]["code"] == "signature-rejected"
    assert w("log", "head", "--hub-key", w / "ops.pub", by="watcher", code=4)["error"]["field"] == str(
        w / "watcher.trust"
    )
    assert w("log", "head", ZKMARGIN_HUB_KEY="", code=3)["error"]["field"] == "hub-key"


def test_a_new_reader_begins_with_what_an_up_to_date_one_holds(w: World) -> None:
    made = w("log", "pin", "--out", w / "hub.trust", by="alice")
    assert (made["hub"], made["keys"]) == ("hub-1", 1)
    assert json.loads((w / "hub.trust").read_bytes())["epochs"] == []
    (w / "newcomer.trust").write_bytes((w / "hub.trust").read_bytes())
    w("account", "recommit", "alice", by="alice")
    told = w("log", "verify", by="newcomer", ZKMARGIN_KEY="", ZKMARGIN_HUB_KEY="")
    assert (told["held"]["size"], told["size"]) == (made["size"], made["size"] + 1)


def test_a_fork_is_reported_with_its_evidence(w: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZKMARGIN_DATABASE_URL", sqlite_url(w.dir))
    monkeypatch.setenv("ZKMARGIN_STORAGE_KEYS_FILE", str(w / "storage.key"))
    monkeypatch.setenv("ZKMARGIN_PASSPHRASE", PASSPHRASE)
    from zkmargin.service.ledger.configured import open_ledger
    from zkmargin.service.settings import load_settings

    ledger = open_ledger(load_settings(None, role="hub"))
    now = int(time.time())
    key = ledger.database.read(lambda tx: ledger.signing_key(tx, now)).private
    held = w("log", "head", by="victim", ZKMARGIN_KEY="")
    fork = TreeHead("hub-1", held["size"], bytes(32), now)
    (tmp_path / "fork.json").write_bytes(signing.sign_tree_head(fork, key))
    files = ("--with-head", tmp_path / "fork.json", "--evidence", tmp_path / "evidence.json")
    told = w("log", "verify", *files, by="victim", code=11, ZKMARGIN_KEY="")
    assert told["error"]["code"] == "log-forked"
    evidence = json.loads((tmp_path / "evidence.json").read_bytes())
    assert (evidence["proven"], evidence["shown"]) == (True, json.loads((tmp_path / "fork.json").read_bytes()))


def test_prices_are_fetched_and_checked(w: World) -> None:
    got = w("snapshot", "fetch", "--out", w / "s.json", "--signed-snapshot", w / "ss.json")
    assert (w / "s.json").read_bytes() == (w / "snapshot.json").read_bytes()
    assert w("snapshot", "fetch", "--out", w / "s.json", "--digest", got["snapshot"])["oracle"] == "feed"
    forged = w("snapshot", "fetch", "--out", w / "s.json", "--oracle-key", w / "ops.pub", code=6)
    assert forged["error"]["code"] == "signature-rejected"


def test_an_unsigned_or_unheard_call_says_what_is_missing(w: World) -> None:
    assert w("account", "show", "alice", code=3)["error"]["field"] == "key"
    assert w("venue", "list", code=3, ZKMARGIN_HUB="")["error"]["field"] == "hub"
    away = w("log", "head", "--hub", "http://127.0.0.1:9", code=13)["error"]
    assert away["code"] == "hub-unreachable"
    plain = w("log", "head", "--hub", "http://hub.example", code=3)["error"]
    assert plain["field"] == "hub"


def test_one_exit_code_has_one_meaning() -> None:
    from zkmargin.circuits import errors
    from zkmargin.service import errors as service_errors
    from zkmargin.service import refusals
    from zkmargin.service.keys import request_signatures
    from zkmargin.verifier.facts.transparency import LogForked

    kinds = {
        k
        for m in (errors, service_errors, refusals, request_signatures)
        for k in vars(m).values()
        if isinstance(k, type)
    }
    ours = {k for k in kinds if issubclass(k, errors.ZkMarginError)} | {HubProblem, HubUnreachable, LogForked}
    by_exit: dict[int, set[str]] = {}
    for kind in ours:
        by_exit.setdefault(kind.exit_code, set()).add(kind.__name__)
    assert by_exit[11] == {"LogForked"}
    assert by_exit[13] == {"HubUnreachable", "Unavailable"}
    assert by_exit[14] == {"MissingExtra"}
    assert "HubProblem" in by_exit[12]
    text = (ROOT / "docs" / "FILES.md").read_text()
    assert {code for code in by_exit if f"\n| {code} |" not in text} == set()


def python(code: str) -> str:
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode in (0, 14), answer.stderr
    return answer.stdout


def test_the_commands_start_without_the_heavy_packages() -> None:
    heavy = [
        "httpx2",
        "http_message_signatures",
        "sqlalchemy",
        "alembic",
        "fastapi",
        "uvicorn",
        "pydantic",
        "jwt",
        "numpy",
    ]
    code = f"import sys, zkmargin.service.cli.root as c; print([m for m in {heavy} if m in sys.modules])"
    assert python(code).strip() == "[]"


def test_a_missing_extra_is_named_with_its_remedy() -> None:
    code = "import sys; sys.modules['httpx2'] = None; sys.argv[1:] = {}; from zkmargin.__main__ import main; main()"
    told = json.loads(python(code.format(["log", "head", "--hub", "http://localhost:1", "--json"])))["error"]
    assert (told["code"], "pip install 'zkmargin[client]'" in told["message"]) == ("missing-extra", True)
    code = code.replace("httpx2", "fastapi")
    told = json.loads(python(code.format(["ledger", "audit", "--json"])))["error"]
    assert (told["code"], "pip install 'zkmargin[service]'" in told["message"]) == ("missing-extra", True)
