"""A request that verifies now: an account of our own demo data, committed, attested and proved by this service.

Nothing in it is anybody's: the keys are made for it and forgotten. It is made again before it grows old, at most once
in :data:`KEEP_SECONDS`, so that strangers who ask for it cause no more work than that.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool

from zkmargin.prover.commitment import commit
from zkmargin.prover.documents import make_statement, portfolio_lots, proof_bytes
from zkmargin.prover.domains import cheapest_domain
from zkmargin.prover.prove import prove
from zkmargin.service.demo_data import read, snapshot_at
from zkmargin.service.keys import signing, signing_keys
from zkmargin.verifier.facts.attestation import Attestation
from zkmargin.verifier.facts.snapshot_signature import SCHEMA, TOKEN_TYPE, SnapshotSignature

#: How long an example is given out. It is good for :data:`GOOD_SECONDS`, so whoever gets it has most of an hour.
KEEP_SECONDS = 300
GOOD_SECONDS = 3600
AMOUNT = "500000"


def make(now: int) -> dict[str, Any]:
    """The body of a verify call in which every check passes from ``now`` for :data:`GOOD_SECONDS`."""
    snap = snapshot_at(now)
    domain = cheapest_domain(snap)
    house, oracle = signing_keys.generate_key(), signing_keys.generate_key()
    commitment, opening = commit(portfolio_lots(read("portfolio.json"), snap), domain)
    fact = Attestation("hub-1", "acct-1", 1, commitment, domain, snap.registry_digest, now)
    stated = make_statement(snap, fact, venue="spoke-a", amount=AMOUNT, expiry=now + GOOD_SECONDS, horizon=GOOD_SECONDS)
    prices = SnapshotSignature("oracle-1", snap.digest, now, now + GOOD_SECONDS)
    signed = signing.sign_document(prices.payload(), oracle, schema=SCHEMA, token_type=TOKEN_TYPE)
    return {
        "statement": json.loads(stated.to_bytes()),
        "proof": json.loads(proof_bytes(stated, prove(stated, snap, opening))),
        "attestation": json.loads(signing.sign_attestation(fact, house)),
        "signed_snapshot": json.loads(signed),
        "snapshot": json.loads(snap.to_bytes()),
        "hub_key": signing.raw_public(house).hex(),
        "oracle_key": signing.raw_public(oracle).hex(),
    }


@dataclass(frozen=True)
class Made:
    """An example, the second in which it was made, and its bytes, which nobody's request makes again."""

    time: int
    tree: dict[str, Any]
    body: bytes


class FreshExample:
    """The example of one application, made when it is first asked for and again when it is old."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = asyncio.Lock()
        self._made: Made | None = None

    async def get(self) -> Made:
        """The example; who asks while one is being made waits for that one."""
        async with self._lock:
            now = int(self._clock())
            # Also when the clock was set back: an example of the future does not verify.
            if self._made is None or not self._made.time <= now < self._made.time + KEEP_SECONDS:
                tree = await run_in_threadpool(make, now)
                self._made = Made(now, tree, json.dumps(tree).encode())
            return self._made


class FreshDescription:
    """An API description with an example in it, as it is sent. Written once for each example: it has some 200 kB, and
    strangers may ask for it all day.
    """

    def __init__(self) -> None:
        self._made: Made | None = None
        self._body = b""

    def get(self, made: Made, write: Callable[[], bytes]) -> bytes:
        """The description with this example, written if it is another than the last time."""
        if self._made is not made:
            self._body, self._made = write(), made
        return self._body


def of_batch(example: dict[str, Any]) -> dict[str, Any]:
    """The same as the body of a batch call."""
    shared: dict[str, Any] = {name: example[name] for name in ("hub_key", "oracle_key") if name in example}
    item = {k: v for k, v in example.items() if k not in shared and k != "snapshot"}
    return {"items": [item], "snapshots": [example["snapshot"]], **shared}
