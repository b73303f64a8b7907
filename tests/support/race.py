"""A race for one account's credit: server and client processes on one database, killed at random, then the accounts.

What each venue process was told (:mod:`tests.support.racers`) is compared with what the ledger holds. ``run`` gives a
report; its ``findings`` are empty when nothing was lost, issued twice, or beyond what was proved.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import psycopg
from sqlalchemy import Connection, select

from tests.support import racers
from tests.support.hubs import Hub, Session, hub_snapshot
from tests.support.racers import ACCOUNT, EQUITY, Plan
from tests.support.servers import ROOT, SERVE, ServerProcess
from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.service.ledger import audit, events, transparency
from zkmargin.service.ledger.changes import Consumed, Expired, Issued, Released, read_content
from zkmargin.service.ledger.context import Ledger
from zkmargin.service.store import tables
from zkmargin.service.store.rows import EventRow, each, every
from zkmargin.verifier.facts.hub_keys import public_key
from zkmargin.verifier.facts.transparency import (
    TreeHead,
    attestation_leaf,
    check_extends,
    verify_inclusion,
    verify_tree_head,
)

Tree = dict[str, Any]
#: Venues with zone and cap in units; some caps are below the equity, so that they bind.
VENUES = {
    "spoke-a": ("zone-1", "600"), "spoke-b": ("zone-1", "1000"), "spoke-c": ("zone-2", "1000"),
    "spoke-d": ("zone-2", "1000"),
}  # fmt: skip
ZONE_CAPS = {"zone-1": "800", "zone-2": "5000"}
#: What each way of asking may come to.
OUTCOMES = {
    "thief": {"statement-refused"},
    "greedy": {"amount-above-proof", "stale-epoch", "cap-exceeded"},
    "stale": {"stale-epoch"},
}
HONEST = {"201", "stale-epoch", "cap-exceeded"}
#: Late reports cross the sweep, or another process's view of a credit is old.
CHANGES = {"200", "amount-unavailable", "sequence-conflict", "credit-expired"}
#: As a command that dies in its transaction: takes the lock that all writers take, and the one write lock of SQLite,
#: writes past its cache so that uncommitted pages reach the file, and waits.
_HOLD = """
import fcntl, os, sqlite3, sys, time
fcntl.flock(os.open(sys.argv[1] + "-commit", os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_SH)
c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20)
c.execute("PRAGMA cache_size=1"); c.execute("PRAGMA cache_spill=1"); c.execute("BEGIN IMMEDIATE")
c.execute("UPDATE accounts SET live = live + 1000000000"); c.execute("UPDATE credits SET free = amount, used = 0, released = 0")
c.execute("DELETE FROM idempotency"); print("held", flush=True); time.sleep(60)
"""  # noqa: E501


@dataclass
class Report:
    """What happened, and what is wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    live: int = 0
    most_live: int = 0

    def check(self, holds: bool, finding: str) -> None:
        """Note a finding unless it holds."""
        if not holds:
            self.findings.append(finding)

    def to_json(self) -> Tree:
        """For people and programs."""
        return {
            **dict(sorted(self.counts.items())), "refusals": dict(sorted(self.refusals.items())),
            "seconds": round(self.seconds, 1), "proved at most": racers.money(EQUITY),
            "live at most": racers.money(self.most_live), "live at the end": racers.money(self.live),
            "findings": self.findings,
        }  # fmt: skip


class Chaos(threading.Thread):
    """Kills a server or a database connection every now and then, and starts what it killed again."""

    def __init__(self, hub: Hub, servers: list[ServerProcess], report: Report, rng: Random, pause: float) -> None:
        super().__init__(daemon=True)
        self.hub, self.servers, self.report, self.rng, self.pause = hub, servers, report, rng, pause
        self.over = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Until :meth:`finish`."""
        try:
            while not self.over.wait(self.rng.uniform(0.5, 1.5) * self.pause):
                if self.rng.random() < 0.4:
                    self._kill_server()
                else:
                    (self._hold_and_die if self.hub.database.sqlite else self._cut_connection)()
        except BaseException as err:  # told in finish
            self.failure = err

    def finish(self) -> None:
        """Stop, and raise what went wrong here."""
        self.over.set()
        self.join()
        if self.failure is not None:
            raise self.failure

    def _kill_server(self) -> None:
        server = self.rng.choice(self.servers)
        server.kill()
        self.report.counts["servers killed"] += 1
        if self.rng.random() < 0.5:
            time.sleep(self.rng.uniform(0, 0.5))
        server.start()
        server.wait_ready()
        self.report.counts["servers restarted"] += 1

    def _cut_connection(self) -> None:
        busy = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() ORDER BY state = 'idle', random() LIMIT %s"
        )
        with psycopg.connect(self.hub.url, autocommit=True) as admin:
            ended = admin.execute(busy, [self.rng.randint(1, 3)]).fetchall()
        self.report.counts["connections killed"] += len(ended)

    def _hold_and_die(self) -> None:
        path = str(self.hub.database.engine.url.database)
        with subprocess.Popen([sys.executable, "-c", _HOLD, path], stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            held = holder.stdout.readline()
            time.sleep(self.rng.uniform(0, 0.1))
            holder.kill()
        self.report.counts["connections killed"] += held == b"held\n"


def run(
    url: str,
    directory: Path,
    *,
    attempts: int,
    processes: int,
    servers: int | None = None,
    seed: int = 1,
    pause: float = 1.0,
    join: float = 0.3,
    seconds: float = 900.0,
    ways: dict[str, int] | None = None,
    program: Sequence[str] = SERVE,
    progress: Callable[[str], None] = lambda line: None,
) -> Report:
    """Race on a fresh database; gives the report after everything has ended. ``program`` serves (the real one);
    ``pause`` is the mean time between kills, none for 0.
    """
    begin, report, hub = time.monotonic(), Report(), Hub(url)
    # SQLite has one server process and several client processes, and now and then a command beside it.
    servers = servers or (1 if hub.database.sqlite else 2)
    environment = {
        "ZKMARGIN_ROLE": "hub", "ZKMARGIN_DATABASE_URL": url, "ZKMARGIN_POOL_PROCESSES": "1",
        "ZKMARGIN_STORAGE_KEYS": ",".join(k.secret.hex() for k in hub.ring.keys), "ZKMARGIN_LOG_LEVEL": "warning",
        "ZKMARGIN_SWEEP_SECONDS": "0.5", "ZKMARGIN_REPORT_GRACE": "1", "ZKMARGIN_MAX_FAILED_PROOFS": "1000000",
        "ZKMARGIN_CLAIM_SECONDS": "2",
    }  # fmt: skip
    running = [ServerProcess(environment, directory, program=program) for _ in range(servers)]
    try:
        for server in running:
            server.start()
        snapshot = hub_snapshot(hub.now - 5, instruments=3, scenarios=2)
        for server in running:
            server.wait_ready()
        _prepare(hub, running[0].port, snapshot)
        signers = hub.signers
        plan = Plan(
            "hub-1", hub.made["key"], [s.port for s in running], str(directory), snapshot.to_bytes().decode(),
            {name: signers[f"venue/{name}"].key.private_bytes_raw().hex() for name in VENUES},
            signers[f"account/{ACCOUNT}"].key.private_bytes_raw().hex(),
            signers[f"account/{ACCOUNT}"].encryption.private_bytes_raw().hex(),
            attempts, processes, join, seed, ways or racers.WAYS, seconds,
        )  # fmt: skip
        progress("racing")
        chaos = Chaos(hub, running, report, Random(seed), pause)
        with subprocess.Popen([sys.executable, "-m", "tests.support.racers"], cwd=ROOT, stdin=subprocess.PIPE) as group:
            assert group.stdin is not None
            group.stdin.write(plan.dump())
            group.stdin.close()
            if pause:
                chaos.start()
            report.check(group.wait() == 0, "a client process failed")
        if pause:
            chaos.finish()
        progress("stopping")
        for server in running:
            report.check(server.stop() == 0, "a server did not end in order")
    finally:
        for server in running:
            server.kill()
    progress("comparing")
    notes = [json.loads(line) for path in sorted(directory.glob("racer-*.jsonl")) for line in path.open()]
    hub.ledger.database.consistent(lambda tx: Comparison(hub.ledger, tx, notes, report, hub.made["key"]).run())
    progress("auditing")
    found = audit.run(hub.ledger)
    report.findings.extend(f"audit: {finding}" for finding in found.findings)
    report.counts["proofs verified by the audit"] = found.counts["proofs"]
    hub.ledger.database.close()
    report.seconds = time.monotonic() - begin
    return report


def _prepare(hub: Hub, port: int, snapshot: Any) -> None:
    """The snapshot, the venues and the account, through the interface."""
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
        session = Session(hub, http)
        session.publish(snapshot)
        for name, (zone, cap) in VENUES.items():
            session.venue(name, cap=cap, zone=zone, zone_cap=ZONE_CAPS[zone])
        session.account(ACCOUNT, cash=racers.money(EQUITY))


class Comparison:
    """What the clients were told against what the ledger holds."""

    def __init__(self, ledger: Ledger, tx: Connection, notes: list[Tree], report: Report, key: str) -> None:
        self.ledger, self.tx, self.report = ledger, tx, report
        self.hub_key = public_key(bytes.fromhex(key))
        self.notes: dict[str, list[Tree]] = defaultdict(list)
        for note in notes:
            self.notes[note["kind"]].append(note)
        self.won = [note for note in self.notes["answered"] if note["status"] == 201]

    def run(self) -> None:
        """Every comparison."""
        self._answers()
        self._outcomes()
        self._credits()
        self._journal()
        self._heads()

    def _answers(self) -> None:
        asked, answered = self.notes["asked"], self.notes["answered"]
        counts, check = self.report.counts, self.report.check
        counts["attempts"], counts["won"] = len(asked), len(self.won)
        counts["outcomes lost"] = sum(note["lost"] for note in self.notes["end"])
        counts["hung up"] = sum(note["hung_up"] for note in answered)
        check([n["key"] for n in asked] == [n["key"] for n in answered], "an attempt was never answered")
        check(len({n["key"] for n in asked}) == len(asked), "two attempts of one key")
        check(all(n["same"] for n in self.notes["repeated"]), "a repeated request got another answer")
        check(all(n["same"] for n in self.notes["both"]), "one request sent twice at once was told two things")
        counts["sent twice at once"] = len(self.notes["both"])
        check(all(n["code"] == "idempotency-mismatch" for n in self.notes["misused"]), "a key answered another request")
        refused = [n for n in self.notes["repeated"] if n["status"] != 201]
        counts["refusals repeated"] = len(refused)
        counts["repeated after an answer"] = len(self.notes["repeated"])

    def _outcomes(self) -> None:
        for note in self.notes["answered"]:
            code = "201" if note["status"] == 201 else note["answer"].get("code", str(note["status"]))
            allowed = OUTCOMES.get(note["way"], HONEST)
            self.report.check(code in allowed, f"{note['way']} came to {code}")
            if code != "201":
                self.report.refusals[code] += 1
        for note in self.notes["changed"]:
            code = "200" if note["status"] == 200 else note["answer"].get("code", str(note["status"]))
            self.report.check(code in CHANGES, f"{note['action']} came to {code}")
            self.report.counts[f"{note['action']} " + ("done" if code == "200" else "refused")] += 1

    def _credits(self) -> None:
        """Each credit that a client was told of is in the ledger once and unchanged, and there is no other."""
        check = self.report.check
        rows = {row.id: row for row in self.tx.execute(select(tables.credits))}
        told = Counter(note["answer"]["credit"] for note in self.won)
        check(all(count == 1 for count in told.values()), "one credit answered two attempts")
        check(not set(told) - set(rows), f"{len(set(told) - set(rows))} credits lost")
        check(not set(rows) - set(told), f"{len(set(rows) - set(told))} credits that nobody was told of")
        epochs = Counter(row.epoch for row in rows.values())
        check(all(count == 1 for count in epochs.values()), "two credits on one epoch")
        for note in self.won:
            answer, row = note["answer"], rows.get(note["answer"]["credit"])
            if row is None:
                continue
            same = (row.account, row.venue, row.epoch, row.statement, racers.money(row.amount), row.issued, row.expires)
            want = (
                ACCOUNT, note["venue"], note["epoch"], note["digest"], note["amount"], answer["issued"],
                answer["expires"],
            )  # fmt: skip
            check(same == want, f"credit {row.id} is not the one that was answered")
            # The answer was late: it is the one of an earlier try, whose own answer never arrived.
            late = (note["lost"] or note["hung_up"]) and self._created(note) < int(note["last"])
            self.report.counts["retries that found their credit"] += bool(late)
        self.report.live = sum(row.free + row.used for row in rows.values())
        self.rows = rows
        self.report.counts["live at the end"] = sum(row.free + row.used > 0 for row in rows.values())

    def _created(self, note: Tree) -> int:
        c = tables.idempotency.c
        query = select(c.created).where(c.caller == f"venue/{note['venue']}", c.key == note["key"])
        found = self.tx.execute(query).scalar_one_or_none()
        self.report.check(found is not None, "an answer that was not kept")
        return found if found is not None else 2**62

    def _journal(self) -> None:
        """At every moment of the journal the live sum is within what was proved; every change told is in it once."""
        live = 0
        changes: dict[str, list[Consumed | Released | Expired]] = defaultdict(list)
        for row in each(self.tx, EventRow, every(EventRow).order_by(tables.events.c.number)):
            event = events.read(self.ledger, row)
            change = read_content(event.kind, event.content).change
            if isinstance(change, Issued):
                live += change.amount
            elif isinstance(change, Released | Expired):
                live -= change.free + change.used
            if isinstance(change, Consumed | Released | Expired):
                changes[change.credit].append(change)
            self.report.counts[event.kind] += 1
            self.report.most_live = max(self.report.most_live, live)
        self.report.check(self.report.most_live <= EQUITY, "more credit was live than was proved")
        self.report.check(live == self.report.live, "live credits are not what the journal says")
        for credit, row in self.rows.items():
            done = changes[credit]
            used = sum(c.used if isinstance(c, Consumed) else -c.used for c in done)
            released = sum(c.free + c.used for c in done if not isinstance(c, Consumed))
            held, said = (row.used, row.released, row.sequence), (used, released, len(done))
            self.report.check(held == said, f"credit {credit}: row (used, released, sequence) {held}, journal {said}")
        told = [n for n in self.notes["changed"] if n["status"] == 200]
        for note in told:
            done = changes[note["credit"]]
            sequence = note["answer"]["sequence"]
            kind = {"consume": Consumed, "release": Released}[note["action"]]
            fits = 0 < sequence <= len(done) and isinstance(done[sequence - 1], kind)
            self.report.check(fits, f"a change of credit {note['credit']} was lost")
        pairs = Counter((n["credit"], n["answer"]["sequence"]) for n in told)
        self.report.check(all(count == 1 for count in pairs.values()), "two reports of one sequence")
        made = self.report.counts["credit-consumed"] + self.report.counts["credit-released"]
        self.report.check(made == len(told), "changes that nobody was told of")

    def _heads(self) -> None:
        """Every tree head seen is of one history, and every attestation told is in it."""
        newest = transparency.head(self.tx)
        size, last = newest.size, verify_tree_head(newest.document.encode(), self.hub_key)
        seen: dict[int, TreeHead] = {}
        for note in self.notes["head"]:
            head = verify_tree_head(canonical_bytes(note["answer"]["head"]), self.hub_key)
            self.report.check(seen.setdefault(head.size, head).root == head.root, "two tree heads of one size")
        previous: TreeHead | None = None
        for head in [*(seen[number] for number in sorted(seen) if number != size), last]:
            if previous is not None:
                path = [bytes.fromhex(h) for h in transparency.consistency(self.tx, previous.size, head.size)]
                check_extends(previous, head, path)
            previous = head
        self.report.counts["tree heads compared"] = len(seen)
        for note in self.won:
            attested = note["answer"]["attested"]
            path = [bytes.fromhex(h) for h in transparency.inclusion(self.tx, attested["leaf"], size)]
            leaf = attestation_leaf(canonical_bytes(attested["attestation"]))
            verify_inclusion(leaf, attested["leaf"], size, path, last.root)
