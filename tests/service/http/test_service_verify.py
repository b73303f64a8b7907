"""POST /v1/proofs/verify and verify-batch: a verdict names its checks; the form of a request is a problem."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest

from tests.support import toy
from tests.support.places import ROOT
from tests.support.services import (
    HUB_KEY,
    ORACLE_KEY,
    Tree,
    account,
    false_proof,
    fresh_snapshot,
    is_problem,
    pem,
    raw,
    request,
    running,
    serve,
    settings,
)
from zkmargin.circuits.statement import CLOCK_SKEW
from zkmargin.service.http.app import create_app
from zkmargin.service.keys import signing
from zkmargin.verifier.facts.attestation import Attestation
from zkmargin.verifier.facts.snapshot_signature import TOKEN_TYPE, SnapshotSignature

VERIFY, BATCH = "/v1/proofs/verify", "/v1/proofs/verify-batch"


def signed_snapshot(**changes: Any) -> Tree:
    snap = fresh_snapshot()
    fact: dict[str, Any] = {"oracle": "o", "snapshot": snap.digest, "time": snap.time, "valid_until": snap.time + 3000}
    payload = SnapshotSignature(**fact | changes).payload()
    token = jwt.PyJWS().encode(payload, ORACLE_KEY, algorithm="EdDSA", headers={"typ": TOKEN_TYPE})
    return {"schema": "zkmargin/signed-snapshot/1", "jws": token}


def attested(**changes: Any) -> Tree:
    snap, held = fresh_snapshot(), account()
    fact: dict[str, Any] = {
        "hub": "hub-1", "account": "alice", "epoch": 7, "commitment": held.commitment, "domain": toy.DOMAIN,
        "registry": snap.registry_digest, "time": snap.time,
    }  # fmt: skip
    tree: Tree = json.loads(signing.sign_attestation(Attestation(**fact | changes), HUB_KEY))
    return tree


def checks(attestation: str, snapshot_signature: str, times: str, proof: str) -> dict[str, str]:
    return {"attestation": attestation, "snapshot_signature": snapshot_signature, "times": times, "proof": proof}


def test_verdicts() -> None:
    """Every check passes, is not asked for, or fails and is named; in one service, for the pool's start takes long."""
    later = int(time.time()) + CLOCK_SKEW + 1000
    oracle = {"signed_snapshot": signed_snapshot(), "oracle_key": raw(ORACLE_KEY)}
    good, bad = request(), false_proof()
    other = request("11")
    # name, request, checks, code and field of the failed one
    cases: list[tuple[str, Tree, dict[str, str], tuple[str, str] | None]] = [
        ("good", good, checks("passed", "not-checked", "passed", "passed"), None),
        ("oracle", good | oracle, checks("passed", "passed", "passed", "passed"), None),
        ("pem", good | {"hub_key": pem(HUB_KEY)}, checks("passed", "not-checked", "passed", "passed"), None),
        (
            "no attestation",
            {k: v for k, v in good.items() if k != "attestation"},
            checks("not-checked", "not-checked", "passed", "passed"),
            None,
        ),
        ("by digest", {k: v for k, v in good.items() if k != "snapshot"},
            checks("passed", "not-checked", "passed", "passed"), None),
        ("false proof", bad, checks("passed", "not-checked", "passed", "failed"), ("proof-rejected", "proof")),
        (
            "other key",
            good | {"hub_key": raw(ORACLE_KEY)},
            checks("failed", "skipped", "skipped", "skipped"),
            ("signature-rejected", "attestation.jws"),
        ),
        (
            "other epoch",
            good | {"attestation": attested(epoch=8)},
            checks("failed", "skipped", "skipped", "skipped"),
            ("statement-mismatch", "statement.context.epoch"),
        ),
        (
            "attestation of the future",
            good | {"attestation": attested(time=later)},
            checks("passed", "not-checked", "failed", "skipped"),
            ("stale-statement", "attestation.time"),
        ),
        (
            "other oracle",
            good | oracle | {"oracle_key": raw(HUB_KEY)},
            checks("passed", "failed", "skipped", "skipped"),
            ("signature-rejected", "signed-snapshot.jws"),
        ),
        (
            "oracle signed another",
            good | oracle | {"signed_snapshot": signed_snapshot(snapshot=bytes(32))},
            checks("passed", "failed", "skipped", "skipped"),
            ("statement-mismatch", "signed-snapshot.payload.snapshot"),
        ),
        (
            "no longer in force",
            good | oracle | {"signed_snapshot": signed_snapshot(valid_until=1)},
            checks("passed", "passed", "failed", "skipped"),
            ("stale-statement", "signed-snapshot.payload.valid_until"),
        ),
        (
            "proof of another statement",
            good | {"proof": other["proof"]},
            checks("passed", "not-checked", "passed", "failed"),
            ("statement-mismatch", "proof.statement"),
        ),
        (
            "relabelled proof of another statement",
            good | {"proof": other["proof"] | {"statement": good["proof"]["statement"]}},
            checks("passed", "not-checked", "passed", "failed"),
            ("proof-rejected", "proof"),
        ),
        (
            "other snapshot",
            good | {"snapshot": good["snapshot"] | {"source": "another"}},
            checks("passed", "not-checked", "passed", "failed"),
            ("statement-mismatch", "statement.snapshot"),
        ),
    ]  # fmt: skip

    async def use(client: httpx2.AsyncClient) -> None:
        for name, tree, wanted, failed in cases:
            answer = await client.post(VERIFY, json=tree)
            found = answer.json()
            assert answer.status_code == 200, (name, found)
            assert found["checks"] == wanted, name
            assert found["verdict"] == ("valid" if failed is None else "invalid"), name
            said = found["failed"]
            assert (said and (said["code"], said["field"])) == failed, name
            assert said is None or found["checks"][said["check"]] == "failed", name
            assert (found["amount"], found["currency"], found["epoch"]) == ("10", "USD", 7)
        # The same in one call: items have their own verdicts.
        items = [{k: tree[k] for k in ("statement", "proof", "attestation")} for tree in (good, bad, good)]
        shared = {"snapshots": [good["snapshot"]], "hub_key": raw(HUB_KEY)}
        unknown = json.loads(json.dumps(items[0]))
        unknown["statement"]["snapshot"] = "00" * 32
        broken = items[0] | {"proof": good["proof"] | {"proof": good["proof"]["proof"] + "00"}}
        answer = await client.post(BATCH, json=shared | {"items": [*items, unknown, broken]})
        found = answer.json()
        assert (answer.status_code, found["proofs"], found["valid"]) == (200, 5, 2), found
        assert [r["verdict"] for r in found["results"]] == ["valid", "invalid", "valid", *["unverifiable"] * 2]
        assert [r["code"] for r in found["results"][3:]] == ["unknown-snapshot", "malformed-proof"]
        assert found["results"][1]["failed"]["field"] == "proof"
        text = (await client.get("/metrics")).text
        assert 'zkmargin_verdicts_total{code="proof-rejected"} 3.0' in text
        assert (await client.get("/health/ready")).json()["checks"] == {"verification": "ok"}

    serve(create_app(settings()), use)


def test_requests_of_another_form_are_problems_that_name_the_field() -> None:
    good = request()
    deep = b'{"a":' * 5000 + b"1" + b"}" * 5000
    raw_bodies: list[tuple[bytes, int, str, str | None]] = [
        (b"", 400, "broken-json", "body"),
        (b"\xff\xfe", 400, "broken-json", "body"),
        (deep, 400, "broken-json", "body"),
        (b'{"a": 1, "a": 2}', 400, "broken-json", "body"),
        (b'{"amount": 1.5}', 400, "broken-json", "body"),
        (b'{"amount": 1' + b"0" * 400 + b"}", 400, "broken-json", "body"),
        (b"[]", 422, "malformed-input", "body"),
        (b"null", 422, "malformed-input", "body"),
        (b"{}", 422, "malformed-input", "statement"),
    ]
    proof = good["proof"]
    points = proof | {"proof": proof["proof"][:6] + "ff" * (len(proof["proof"]) // 2 - 3)}
    no_key = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"
    no_token = {"schema": "zkmargin/attestation/1", "jws": "a.b.c"}
    trees: list[tuple[Tree, str, str]] = [
        (good | {"now": 5}, "malformed-input", "now"),
        (good | {"hub_key": "00"}, "malformed-input", "hub_key"),
        (good | {"hub_key": no_key}, "malformed-input", "hub_key"),
        ({k: v for k, v in good.items() if k != "hub_key"}, "malformed-input", "hub_key"),
        (good | {"signed_snapshot": signed_snapshot()}, "malformed-input", "oracle_key"),
        (good | {"snapshot": []}, "malformed-input", "snapshot"),
        (good | {"snapshot": good["snapshot"] | {"time": "x"}}, "malformed-input", "snapshot.time"),
        (good | {"statement": good["statement"] | {"amount": 10}}, "malformed-input", "statement.amount"),
        (good | {"attestation": no_token}, "malformed-input", "attestation.jws"),
        (good | {"proof": proof | {"proof": proof["proof"][:-1]}}, "malformed-input", "proof.proof"),
        (good | {"proof": proof | {"proof": proof["proof"][:-2]}}, "malformed-proof", "proof"),
        (good | {"proof": points}, "malformed-proof", "proof.columns.0"),
    ]  # fmt: skip

    async def use(client: httpx2.AsyncClient) -> None:
        for body, status, code, field in raw_bodies:
            for path in (VERIFY, BATCH):
                answer = await client.post(path, content=body, headers={"content-type": "application/json"})
                assert (answer.status_code, answer.json()["code"]) == (status, code), body[:40]
                if path == VERIFY:
                    is_problem(answer, status, code, field)
        for tree, code, field in trees:
            is_problem(await client.post(VERIFY, json=tree), 422, code, field)
        item = {k: good[k] for k in ("statement", "proof", "attestation")}
        spoiled = item | {"statement": good["statement"] | {"level": "x"}}
        for tree, field in (
            ({"items": []}, "items"),
            ({"items": [item] * 257}, "items"),
            ({"items": [item], "snapshots": {}}, "snapshots"),
            ({"items": [item], "snapshots": [None]}, "snapshots.0"),
            ({"items": [item], "snapshots": [good["snapshot"] | {"time": "x"}]}, "snapshots.0.time"),
            ({"items": [item, spoiled]}, "items.1.statement.level"),
        ):
            is_problem(await client.post(BATCH, json=tree), 422, "malformed-input", field)
        stale = {k: v for k, v in good.items() if k != "snapshot"}
        stale["statement"] = stale["statement"] | {"snapshot": "00" * 32}
        is_problem(await client.post(VERIFY, json=stale), 404, "unknown-snapshot", "statement.snapshot")
        # After all of it the service still does its work.
        assert (await client.post(VERIFY, json=good)).json()["verdict"] == "valid"

    serve(create_app(settings()), use)


def test_a_configured_hub_and_snapshot_need_not_be_sent(tmp_path: Path) -> None:
    (tmp_path / "hub.pub").write_text(pem(HUB_KEY))
    (tmp_path / "snapshot.json").write_bytes(fresh_snapshot().to_bytes())
    good = request()
    bare = {k: good[k] for k in ("statement", "proof", "attestation")}

    async def use(client: httpx2.AsyncClient) -> None:
        found = (await client.post(VERIFY, json=bare)).json()
        assert (found["verdict"], found["attestation_key"]) == ("valid", raw(HUB_KEY))

    keys = settings(hub_keys=(tmp_path / "hub.pub",), snapshots=(tmp_path / "snapshot.json",))
    serve(create_app(keys), use)


def test_the_example_of_the_api_description_is_a_real_call() -> None:
    app = create_app(settings())
    posts = {path: calls["post"] for path, calls in app.openapi()["paths"].items() if "post" in calls}
    assert {VERIFY, BATCH} <= set(posts)

    async def use(client: httpx2.AsyncClient) -> None:
        one = (await client.post(VERIFY, json=_example(posts[VERIFY]))).json()
        # Of a day long past: all but its time is in order.
        assert (one["checks"]["attestation"], one["failed"]["code"]) == ("passed", "stale-statement")
        many = (await client.post(BATCH, json=_example(posts[BATCH]))).json()
        assert many["results"] == [one | {"time": many["results"][0]["time"]}]

    serve(app, use)


def _example(operation: Tree) -> Any:
    return operation["requestBody"]["content"]["application/json"]["example"]


def test_the_verifier_needs_no_database_and_nothing_of_the_ledger() -> None:
    code = (
        "import sys, zkmargin.service.http.app, zkmargin.service.settings, zkmargin.service.verification.worker\n"
        "zkmargin.service.http.app.create_app(zkmargin.service.settings.load_settings(role='verifier')).openapi()\n"
        "assert not {'sqlalchemy', 'alembic', 'psycopg'} & set(sys.modules)\n"
        "assert not [n for n in sys.modules if n.startswith(('zkmargin.service.ledger', 'zkmargin.service.store'))]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_service_that_cannot_start_says_why_and_shows_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "service.toml").write_text('hub_keys = ["nonesuch.pub"]\npool_processes = 1\n')
    command = [
        sys.executable,
        "-m",
        "zkmargin",
        "serve",
        "--port",
        "0",
        "--config",
        str(tmp_path / "service.toml"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert '"field": "hub_keys"' in done.stderr
    assert "Traceback (most recent call last):\n" not in done.stderr
    assert "did not start" in done.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_real_server_answers_and_ends_in_order(workers: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(log, workers=int(workers)) as (server, url):
        with httpx2.Client(base_url=url, timeout=30) as client:
            for _ in range(4):
                answer = client.post(VERIFY, json=request())
                assert answer.json()["verdict"] == "valid"
            assert "server" not in answer.headers
            text = client.get("/metrics").text
            counted = re.search(r'zkmargin_verdicts_total\{code="valid"\} 4.0', text)
            assert counted, text
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    events = [json.loads(line) for line in log.read_text().splitlines()]
    served = [e for e in events if e["event"] == "request"]
    assert {e["route"] for e in served} == {VERIFY, "/metrics"}
    assert sum(e["event"] == "stopping" for e in events) == int(workers)
    planted = request()
    for secret in (planted["statement"]["context"]["nonce"], planted["proof"]["proof"], planted["attestation"]["jws"]):
        assert secret not in log.read_text()
