"""A hub where everything would pass if nothing were wrong, and requests that are spoiled on the way."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any

from tests.support.ledgers import World
from tests.support.toy import Tree
from zkmargin.service.client.signing import RequestSigner

OPS, ALICE, BOB = "operator/ops", "account/alice", "account/bob"
VENUE_A, VENUE_B = "venue/spoke-a", "venue/spoke-b"
CREDITS, ACCOUNTS = "/v1/credits", "/v1/accounts"


class Refusing(World):
    """A hub with venues in every state, accounts, and proofs that would pass if nothing were wrong."""

    credit: str
    bodies: dict[str, Tree]

    def fill(self) -> None:
        s = self.session
        s.venue("spoke-a")
        s.venue("spoke-b")
        s.venue("spoke-small", cap="10")
        s.venue("spoke-zone", zone="zone-2", zone_cap="10")
        s.venue("spoke-out")
        for name in ("alice", "bob", "frank"):
            s.account(name)
        s.account("eve", jurisdiction="retail")
        first = s.credit_body("alice", self.snapshot, venue="spoke-a", amount="200")
        self.credit = s.ok(VENUE_A, "POST", CREDITS, first)["credit"]
        report = {"sequence": 1, "amount": "50", "fills": []}
        s.ok(VENUE_A, "POST", f"{CREDITS}/{self.credit}/consume", report)
        names = ("spoke-a", "spoke-small", "spoke-zone", "spoke-out")
        self.bodies = {
            name: s.credit_body("alice", self.snapshot, venue=name, amount="100", expiry=self.clock() + 3000)
            for name in names
        }
        self.bodies["first"] = first
        self.bodies["eve"] = s.credit_body("eve", self.snapshot, venue="spoke-a", amount="100")
        self.bodies["frank"] = s.credit_body("frank", self.snapshot, venue="spoke-a", amount="100")
        s.ok(OPS, "POST", "/v1/venues/spoke-out/suspend")
        s.ok(OPS, "POST", f"{ACCOUNTS}/frank/freeze")

    def body(self, name: str = "spoke-a", **statement: Any) -> Tree:
        """A credit request that would pass, with members of its statement replaced and signed again."""
        tree: Tree = json.loads(json.dumps(self.bodies[name]))
        return self.session.restated(tree, **statement) if statement else tree

    def send(
        self,
        caller: str,
        body: Tree,
        spoil: Callable[[dict[str, str]], bytes | None],
        *,
        at: int = 0,
        hub: str = "hub-1",
    ) -> Tree:
        """A credit request whose signed headers or body are spoiled on the way; gives the problem."""
        data = json.dumps(body).encode()
        headers = {"content-type": "application/json", "Idempotency-Key": secrets.token_hex(8)}
        signer = RequestSigner(self.hub.signers[caller].key, hub)
        lines = signer.sign("POST", CREDITS, "", headers, data, now=self.clock() + at)
        signed = {name.lower(): value for name, value in lines.items()}
        before = self.digest()
        answer = self.session.http.post(CREDITS, content=spoil(signed) or data, headers=signed)
        assert answer.headers["content-type"] == "application/problem+json"
        assert self.digest() == before
        tree: Tree = answer.json()
        assert tree["status"] == answer.status_code
        return tree
