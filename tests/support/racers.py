"""The client processes of a race: one holder that proves each epoch, many venue processes that want its credit.

Started as a process of its own (``python -m tests.support.racers``), which reads the plan from standard input and
forks; what each process did and was told goes to a file of its own, one JSON line each, written before the next step.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import secrets
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from random import Random
from typing import Any

from tests.support.servers import Caller
from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.purpose import ForCredit
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.units import format_quanta, to_quanta
from zkmargin.prover.documents import make_statement, parse_opening, proof_bytes
from zkmargin.prover.prove import prove
from zkmargin.service.client.negotiation import authorise
from zkmargin.service.keys.sealing import open_sealed
from zkmargin.verifier.facts.attestation import verify_attestation
from zkmargin.verifier.facts.hub_keys import public_key

Tree = dict[str, Any]
ACCOUNT = "alice"
DECIMALS = 2
#: Cash of the account in quanta: what can be proved while no credit is out.
EQUITY = 100_000
WAYS = {"plain": 35, "hang-up": 15, "twice": 10, "both": 15, "repeat": 10, "thief": 5, "greedy": 5, "stale": 5}
#: Seconds of a credit; the hub of a race frees it a second later.
SHORTEST, LONGEST = 3, 9


@dataclass(frozen=True)
class Plan:
    """What the processes need to know."""

    hub: str
    key: str
    ports: list[int]
    directory: str
    snapshot: str
    venues: dict[str, str]
    holder: str
    encryption: str
    attempts: int
    processes: int
    #: Probability that a process joins the race for an epoch.
    join: float
    seed: int
    #: How a process behaves in one attempt, with weights.
    ways: dict[str, int] = field(default_factory=lambda: dict(WAYS))
    #: Seconds after which the race ends, however many attempts there were.
    seconds: float = 900.0

    def dump(self) -> bytes:
        """For the standard input of the process."""
        return json.dumps(asdict(self)).encode()


@dataclass
class Shared:
    """What the processes share: attempts left, newest epoch that has proofs, whether all is over."""

    left: Synchronized[int]
    epoch: Synchronized[int]
    over: Synchronized[int]
    deadline: float

    def ticket(self) -> bool:
        """Take one of the attempts, if any is left."""
        with self.left.get_lock():
            if self.left.value <= 0 or time.monotonic() > self.deadline:
                return False
            self.left.value -= 1
            return True


def money(amount: int) -> str:
    """As the interface writes it."""
    return format_quanta(amount, DECIMALS)


def quanta(text: str) -> int:
    """Back again."""
    return to_quanta(text, DECIMALS, field="amount")


def holder(plan: Plan, shared: Shared, snapshot: Snapshot) -> None:
    """Prove every epoch once for every venue, until all are gone. Nothing secret leaves this process."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    rng = Random(plan.seed)
    caller = Caller(bytes.fromhex(plan.holder), plan.hub, plan.ports, rng)
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(plan.holder))
    encryption = X25519PrivateKey.from_private_bytes(bytes.fromhex(plan.encryption))
    hub_key = public_key(bytes.fromhex(plan.key))
    line = snapshot.index["CREDIT-1"]
    while not shared.over.value:
        status, got, _ = caller.until_answered("GET", f"/v1/accounts/{ACCOUNT}/opening")
        if status != 200:
            raise AssertionError(got)
        attested = verify_attestation(canonical_bytes(got["attestation"]), hub_key)
        if attested.epoch <= shared.epoch.value:
            time.sleep(0.01)
            continue
        opened = open_sealed(encryption, bytes.fromhex(got["sealed_opening"]), attested.commitment)
        opening = parse_opening(opened, snapshot)
        room = EQUITY - opening.lots[line]
        made: Tree = {}
        for venue in plan.venues if room > 0 else ():
            # Often all there is: then two winners would be more than was ever proved.
            amount = room if rng.random() < 0.4 else rng.randint(1, room)
            expiry = int(time.time()) + 600
            purpose = ForCredit(venue, money(amount), int(time.time()) + LONGEST + 600)
            stated = make_statement(
                snapshot, attested, venue=venue, amount=money(amount), expiry=expiry, purpose=purpose
            )
            proof = proof_bytes(stated, prove(stated, snapshot, opening))
            made[venue] = {
                "statement": json.loads(stated.to_bytes()), "proof": json.loads(proof), "amount": money(amount),
                "authorisation": json.loads(authorise(stated, key, now=int(time.time()))),
                "digest": stated.digest.hex(),
            }  # fmt: skip
        path = proofs_of(plan, attested.epoch)
        path.with_suffix(".part").write_text(json.dumps(made))
        path.with_suffix(".part").rename(path)
        shared.epoch.value = attested.epoch


def proofs_of(plan: Plan, epoch: int) -> Path:
    """Where the holder puts an epoch's proofs."""
    return Path(plan.directory) / f"epoch-{epoch}.json"


@dataclass
class Venue:
    """One process of a venue."""

    plan: Plan
    shared: Shared
    name: str
    index: int
    rng: Random
    caller: Caller
    held: list[Tree] = field(default_factory=list)
    seen: int = 0

    def note(self, **what: Any) -> None:
        """Write down what happened."""
        self.out.write(json.dumps(what) + "\n")
        self.out.flush()

    def run(self) -> None:
        """Race until the attempts are used up."""
        with (Path(self.plan.directory) / f"racer-{self.index}.jsonl").open("w") as self.out:
            previous = 0
            while self.shared.left.value > 0 and time.monotonic() < self.shared.deadline:
                epoch = self.shared.epoch.value
                if epoch == self.seen:
                    time.sleep(0.005)
                    if self.rng.random() < 0.01:
                        self.report(press=False)
                    if not epoch or self.rng.random() > 0.002:
                        continue  # else once more: perhaps nobody joined, or nobody honest
                else:
                    previous, self.seen = self.seen, epoch
                made = json.loads(proofs_of(self.plan, epoch).read_text())
                if self.rng.random() < 0.02:
                    self.look()
                if not made:
                    self.report(press=True)
                elif self.rng.random() < self.plan.join:
                    self.attempt(epoch, made, previous)
            self.note(kind="end", lost=self.caller.lost)

    def look(self) -> None:
        """Remember a tree head, to compare histories later."""
        status, answer, _ = self.caller.until_answered("GET", "/v1/log/head")
        self.note(kind="head", status=status, answer=answer)

    # --- credits

    def attempt(self, epoch: int, made: Tree, previous: int) -> None:
        """One way to ask for the epoch's credit."""
        way = self.rng.choices(list(self.plan.ways), list(self.plan.ways.values()))[0]
        mine = made[self.name]
        if way == "thief":
            mine = made[self.rng.choice([name for name in made if name != self.name])]
        if way == "stale":
            older = json.loads(proofs_of(self.plan, previous).read_text()) if previous else {}
            way, mine = ("stale", older[self.name]) if self.name in older else ("plain", mine)
        amount = quanta(mine["amount"])
        body = {
            "statement": mine["statement"], "proof": mine["proof"], "authorisation": mine["authorisation"],
            "amount": money(amount + 1 if way == "greedy" else self.rng.choice([amount, max(1, amount // 2)])),
            "expires": int(time.time()) + self.rng.randint(SHORTEST, LONGEST),
        }  # fmt: skip
        for _ in range(2 if way == "twice" else 1):
            if self.shared.ticket():
                self.ask(epoch, way, body, mine["digest"])

    def ask(self, epoch: int, way: str, body: Tree, digest: str) -> None:
        """Ask under a fresh idempotency key, until answered."""
        key = secrets.token_hex(12)
        about = {"key": key, "venue": self.name, "way": way, "epoch": epoch, "digest": digest, "amount": body["amount"]}
        self.note(kind="asked", **about)
        hung_up = way == "hang-up"
        if hung_up:
            self.caller.hang_up("/v1/credits", body, key, self.rng.uniform(0, 0.3))
            # The ledger's clock counts seconds: only a later one tells an earlier answer from this one's.
            time.sleep(self.rng.choice([0, 1.1]))
        twins: list[tuple[int, Any]] = []
        if way == "both":
            twin = Caller(bytes.fromhex(self.plan.venues[self.name]), self.plan.hub, self.plan.ports, Random(key))
            other = threading.Thread(target=lambda: twins.append(told(twin, body, key)))
            other.start()
        last = time.time()
        status, answer, lost = self.caller.until_answered("POST", "/v1/credits", body, key)
        if way == "both":
            other.join()
            lost += twin.lost
            self.note(kind="both", **about, same=twins == [(status, plain(answer))])
        self.note(kind="answered", **about, hung_up=hung_up, lost=lost, last=last, status=status, answer=answer)
        if status == 201:
            self.held.append(answer)
        if way == "repeat":
            again = told(self.caller, body, key)
            self.note(kind="repeated", **about, status=status, same=again == (status, plain(answer)))
            other = body | {"expires": body["expires"] + 1}
            status, refused, _ = self.caller.until_answered("POST", "/v1/credits", other, key)
            self.note(kind="misused", **about, status=status, code=refused.get("code"))

    def report(self, *, press: bool) -> None:
        """Use, release or leave one of the credits held; ``press`` when the account has nothing left to pledge."""
        if not self.held or (press and self.rng.random() < 0.5):
            return
        credit = self.held.pop(self.rng.randrange(len(self.held)))
        free, used = quanta(credit["free"]), quanta(credit["used"])
        if free + used == 0:
            return
        body: Tree = {"sequence": credit["sequence"] + 1}
        if free and not press and self.rng.random() < 0.4:
            action, body["amount"] = "consume", money(self.rng.randint(1, free))
        elif press or self.rng.random() < 0.7:
            part = self.rng.randint(0, free) if self.rng.random() < 0.3 else free
            action, body = "release", body | {"free": money(part), "used": money(used if part or used else 0)}
            if part + used == 0:
                body["free"] = money(free)
        else:
            return  # to expire
        key, path = secrets.token_hex(12), f"/v1/credits/{credit['credit']}/{action}"
        status, answer, lost = self.caller.until_answered("POST", path, body, key)
        self.note(kind="changed", action=action, credit=credit["credit"], lost=lost, status=status, answer=answer)
        if status != 200:
            status, answer, _ = self.caller.until_answered("GET", f"/v1/credits/{credit['credit']}")
        if status == 200:
            self.held.append(answer)


def plain(answer: Tree) -> Tree:
    """Without what names one request among several."""
    return {name: value for name, value in answer.items() if name != "instance"}


def told(caller: Caller, body: Tree, key: str) -> tuple[int, Tree]:
    """What a credit request comes to."""
    status, answer, _ = caller.until_answered("POST", "/v1/credits", body, key)
    return status, plain(answer)


def _venue(plan: Plan, shared: Shared, index: int) -> None:
    name = list(plan.venues)[index % len(plan.venues)]
    rng = Random(f"{plan.seed}/{index}")
    caller = Caller(bytes.fromhex(plan.venues[name]), plan.hub, plan.ports, rng)
    Venue(plan, shared, name, index, rng, caller).run()


def main() -> int:
    """Fork everybody, wait, and say how many did not end well."""
    plan = Plan(**json.loads(sys.stdin.buffer.read()))
    snapshot = snapshot_from_bytes(plan.snapshot.encode())
    context = multiprocessing.get_context("fork")  # one thread so far, and 64 imports of the same would take minutes
    deadline = time.monotonic() + plan.seconds
    shared = Shared(context.Value("q", plan.attempts), context.Value("q", 0), context.Value("q", 0), deadline)
    prover = context.Process(target=holder, args=(plan, shared, snapshot))
    racers = [context.Process(target=_venue, args=(plan, shared, i)) for i in range(plan.processes)]
    prover.start()
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    shared.over.value = 1
    failed = sum(racer.exitcode != 0 for racer in racers) + (not prover.is_alive() and prover.exitcode != 0)
    prover.join(20)
    if prover.pid and prover.is_alive():
        os.kill(prover.pid, signal.SIGKILL)
    return failed


if __name__ == "__main__":
    sys.exit(main())
