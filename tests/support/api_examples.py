"""Writes ``service/http/routes/examples.json``: for every model of the hub's calls an example from a real session.

Run it after a change of the interface: ``.venv/bin/python -m tests.support.api_examples``.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from tests.support.hubs import Session, Signer, sqlite_url
from tests.support.ledgers import started
from tests.support.places import ROOT
from tests.support.toy import Tree

TARGET = ROOT / "service" / "http" / "routes" / "examples.json"


class Recorder(Session):
    """A session that keeps what went to and fro, by model."""

    examples: dict[str, Tree]
    paths: dict[str, Any]

    def ok(self, caller: str | None, method: str, path: str, body: Tree | None = None, **options: Any) -> Tree:
        """A call that must succeed."""
        answer = super().ok(caller, method, path, body, **options)
        for template, calls in self.paths.items():
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path.partition("?")[0]) and method.lower() in calls:
                call = calls[method.lower()]
                self._keep(call.get("requestBody", {}), body)
                for status, described in call["responses"].items():
                    if status.startswith("2"):
                        self._keep(described, answer)
        return answer

    def _keep(self, described: Tree, tree: Tree | None) -> None:
        schema = described.get("content", {}).get("application/json", {}).get("schema", {})
        if tree is not None and "$ref" in schema:
            self.examples.setdefault(schema["$ref"].rsplit("/", 1)[-1], tree)


def record() -> dict[str, Tree]:
    """One of each call."""
    with tempfile.TemporaryDirectory() as directory, started(sqlite_url(Path(directory))) as world:
        s = Recorder(world.hub, world.session.http, world.clock)
        s.examples, s.paths = {}, s.http.get("/v1/openapi.json").json()["paths"]
        ops, alice, venue = "operator/ops", "account/alice", "venue/spoke-a"
        s.publish(world.snapshot)
        s.ok(None, "GET", "/v1/snapshots/latest")
        s.venue("spoke-a")
        s.account("alice", jurisdiction="retail")
        s.ok(alice, "PUT", "/v1/accounts/alice/grants/spoke-a")
        s.ok(alice, "POST", "/v1/keys", {"key": Signer().public, "not_before": world.clock()})
        body = s.credit_body("alice", world.snapshot, venue="spoke-a", amount="300", overlays=["retail"])
        credit = s.ok(venue, "POST", "/v1/credits", body)["credit"]
        fills = [{"instrument": "PERPETUAL-2", "quantity": "1"}, {"instrument": "QUOTE-0", "quantity": "-64.25"}]
        report = {"sequence": 1, "amount": "100", "fills": fills}
        s.ok(venue, "POST", f"/v1/credits/{credit}/consume", report)
        s.ok(venue, "POST", f"/v1/credits/{credit}/release", {"sequence": 2, "free": "150", "used": "50", "paid": "20"})
        s.account("bob")
        legs = (("PERPETUAL-2", "1"), ("QUOTE-0", "-64.25"))
        trade = s.trade_body("alice", "bob", world.snapshot, venue="spoke-a", legs=legs, overlays=["retail"])
        s.ok(venue, "POST", "/v1/trades", trade)
        out = s.withdrawal_body("alice", world.snapshot, instrument="QUOTE-0", quantity="10", overlays=["retail"])
        s.ok(alice, "POST", "/v1/accounts/alice/withdrawals", out)
        s.ok(ops, "POST", "/v1/breakers/open", {"scope": "venue/spoke-a"})
        for caller, path in (
            (venue, f"/v1/credits/{credit}"), (venue, "/v1/credits"), (ops, "/v1/venues"), (None, "/v1/keys"),
            (alice, "/v1/accounts/alice/opening"), (alice, "/v1/accounts/alice/attestation"), (None, "/v1/log/head"),
            (None, "/v1/log/inclusion?leaf=0"), (None, "/v1/log/consistency?first=2&second=4"), (None, "/v1/problems"),
            (None, "/v1/problems/stale-epoch"),
        ):  # fmt: skip
            s.ok(caller, "GET", path)
        attestation = s.ok(alice, "GET", "/v1/accounts/alice/attestation")["attestation"]
        item = {"statement": body["statement"], "proof": body["proof"], "attestation": attestation}
        s.ok(None, "POST", "/v1/proofs/verify", item | {"hub_key": world.hub.made["key"]})
        s.ok(None, "POST", "/v1/proofs/verify-batch", {"items": [item], "hub_key": world.hub.made["key"]})
        return s.examples


if __name__ == "__main__":
    TARGET.write_text(json.dumps(record(), indent=1, sort_keys=True) + "\n")
