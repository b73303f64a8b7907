"""One outcome for each idempotency key: whatever the order of tries, pauses and changes meanwhile, all are told the
same, and nobody who was refused finds his change booked.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx2
import pytest
from sqlalchemy import Connection, text

from tests.service.ledger.test_audit import populate
from tests.support.hubs import Session, Signer
from tests.support.ledgers import DATABASES, World, fresh_url, started
from tests.support.toy import Tree
from zkmargin.circuits.errors import ZkMarginError
from zkmargin.service.http.problems import PROBLEMS, headers_of
from zkmargin.service.ledger import idempotency
from zkmargin.service.ledger.idempotency import Call, Outcome
from zkmargin.service.refusals import (
    CapExceeded,
    Conflict,
    IdempotencyMismatch,
    RequestInProgress,
    StaleEpoch,
    Unavailable,
)

KEY, DIGEST, CALLER = "k-1", b"\x01" * 32, "venue/spoke-a"
OPS, ALICE, VENUE_A = "operator/ops", "account/alice", "venue/spoke-a"


@pytest.fixture(scope="module", params=DATABASES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with fresh_url(request.param, tmp_path_factory.mktemp("hub")) as url, started(url) as made:
        made.ledger.database.write(lambda tx: tx.execute(text("CREATE TABLE booked (k VARCHAR(64))")))
        yield made


def call(key: str = KEY) -> Call:
    return Call(CALLER, key, DIGEST, 201)


@dataclass(frozen=True)
class Told:
    """An answer of these tests."""

    tree: Tree

    def to_json(self, money: Any) -> Tree:
        return self.tree


def booking(key: str, refusal: ZkMarginError | None = None) -> Any:
    """Work that books a row, or is refused."""

    def work(tx: Connection) -> Told:
        if refusal is not None:
            raise refusal
        tx.execute(text("INSERT INTO booked VALUES (:k)"), {"k": key})
        return Told({"booked": key})

    return work


def booked(world: World, key: str) -> int:
    query = text("SELECT count(*) FROM booked WHERE k = :k")
    return int(world.ledger.database.read(lambda tx: tx.execute(query, {"k": key})).scalar_one())


def heard(run: Any) -> str:
    """What a caller was told: ``201``, or the code of the problem."""
    try:
        result = run()
        if isinstance(result, Outcome):
            result.told()
    except ZkMarginError as err:
        return err.code
    return "201"


def test_a_first_try_cannot_book_after_its_retry_was_refused(world: World) -> None:
    """The first one claimed its key and verifies its proof, slowly; the account moves on; the retry is refused."""
    key = secrets.token_hex(8)
    first, retry = call(key), call(key)
    assert idempotency.claim(world.ledger, first, lambda tx: "checked") == "checked"

    def moved_on(tx: Connection) -> None:
        raise StaleEpoch("the account has moved on", field="statement.context.epoch")

    with world.later(world.ledger.policy.claim_seconds):
        assert heard(lambda: idempotency.claim(world.ledger, retry, moved_on)) == "stale-epoch"
    assert heard(lambda: idempotency.settle(world.ledger, first, booking(key))) == "stale-epoch"
    assert heard(lambda: idempotency.once(world.ledger, CALLER, key, DIGEST, booking(key))) == "stale-epoch"
    assert booked(world, key) == 0


def test_a_retry_waits_for_the_first_try_and_is_told_its_answer(world: World) -> None:
    key = secrets.token_hex(8)
    first = call(key)
    idempotency.claim(world.ledger, first, lambda tx: None)
    for _ in range(3):
        with pytest.raises(RequestInProgress):
            idempotency.claim(world.ledger, call(key), lambda tx: pytest.fail("was checked"))
    assert heard(lambda: idempotency.settle(world.ledger, first, booking(key))) == "201"
    again = idempotency.claim(world.ledger, call(key), lambda tx: pytest.fail("was checked"))
    assert isinstance(again, Outcome)
    assert (again.told(), again.earlier, booked(world, key)) == ({"booked": key}, True, 1)


def test_no_refusal_is_told_while_another_try_may_book(world: World) -> None:
    """The first try was overtaken, and fails: the second one books, and the first one's refusal is told to nobody."""
    key = secrets.token_hex(8)
    first, second = call(key), call(key)
    idempotency.claim(world.ledger, first, lambda tx: None)
    with world.later(world.ledger.policy.claim_seconds):
        idempotency.claim(world.ledger, second, lambda tx: None)
        assert heard(lambda: idempotency.refuse(world.ledger, first, Conflict("no"))) == "request-in-progress"
        assert heard(lambda: idempotency.settle(world.ledger, first, booking(key))) == "request-in-progress"
        assert heard(lambda: idempotency.settle(world.ledger, second, booking(key))) == "201"
    assert heard(lambda: idempotency.refuse(world.ledger, first, Conflict("no"))) == "201"
    assert booked(world, key) == 1


def test_a_retry_beside_a_booking_that_is_about_to_commit_is_told_its_answer(world: World) -> None:
    """Both at once: the first stands in its booking transaction, its claim is over, and the account has moved on."""
    key = secrets.token_hex(8)
    first, inside, go = call(key), threading.Event(), threading.Event()
    idempotency.claim(world.ledger, first, lambda tx: None)

    def slow(tx: Connection) -> Told:
        inside.set()
        assert go.wait(20)
        answer: Told = booking(key)(tx)
        return answer

    def refused(tx: Connection) -> None:
        raise StaleEpoch("the account has moved on")

    told: dict[str, str] = {}
    tries = [
        threading.Thread(
            target=lambda: told.update(a=heard(lambda: idempotency.settle(world.ledger, first, slow))),
        ),
        threading.Thread(
            target=lambda: told.update(b=heard(lambda: idempotency.claim(world.ledger, call(key), refused))),
        ),
    ]
    with world.later(world.ledger.policy.claim_seconds):
        tries[0].start()
        assert inside.wait(20)
        tries[1].start()
        tries[1].join(0.2)
        assert tries[1].is_alive(), "the retry did not wait"
        go.set()
        for thread in tries:
            thread.join(30)
    assert told == {"a": "201", "b": "201"}
    assert booked(world, key) == 1


def test_what_is_no_outcome_leaves_the_key_free(world: World) -> None:
    key = secrets.token_hex(8)
    first = call(key)
    idempotency.claim(world.ledger, first, lambda tx: None)
    assert heard(lambda: idempotency.refuse(world.ledger, first, Unavailable("away"))) == "unavailable"
    assert heard(lambda: idempotency.once(world.ledger, CALLER, key, DIGEST, booking(key, Unavailable("away")))) == (
        "unavailable"
    )
    assert heard(lambda: idempotency.once(world.ledger, CALLER, key, DIGEST, booking(key))) == "201"


def test_a_refusal_is_repeated_word_for_word_and_another_request_is_a_mismatch(world: World) -> None:
    key, refusal = secrets.token_hex(8), CapExceeded("above the cap", field="amount", cap="7")
    for work in (booking(key, refusal), booking(key), booking(key, Conflict("other"))):
        with pytest.raises(ZkMarginError) as told:
            idempotency.once(world.ledger, CALLER, key, DIGEST, work)
        assert told.value.to_json() == refusal.to_json()
    for other in (lambda tx: None, booking(key)):
        with pytest.raises(IdempotencyMismatch):
            idempotency.claim(world.ledger, Call(CALLER, key, b"\x02" * 32), other)
    with pytest.raises(IdempotencyMismatch):
        idempotency.once(world.ledger, CALLER, key, b"\x02" * 32, booking(key))
    assert booked(world, key) == 0


def test_who_is_to_wait_is_told_how_long() -> None:
    assert headers_of(RequestInProgress("at work"))["retry-after"] == "1"
    assert "retry-after" not in headers_of(Conflict("no"))


def test_every_answer_of_the_service_itself_is_no_outcome() -> None:
    assert {p.code for p in PROBLEMS.values() if p.status >= 500} <= idempotency.NO_OUTCOME


@dataclass
class Schedule:
    """Random steps of several tries of one request, some of which never come to an end, while what the ledger would say
    changes; and what was told.
    """

    world: World
    rng: Random
    key: str = field(default_factory=lambda: secrets.token_hex(8))
    told: list[str] = field(default_factory=list)
    waiting: list[Call] = field(default_factory=list)

    def refusal(self) -> ZkMarginError | None:
        """What stands in the way at this moment."""
        return self.rng.choice([None, None, StaleEpoch("moved on"), CapExceeded("full"), Unavailable("away")])

    def check(self, tx: Connection) -> None:
        """Before the proof."""
        fails = self.refusal()
        if fails is not None:
            raise fails

    def step(self) -> None:
        """One of them."""
        ledger, work = self.world.ledger, booking(self.key, self.refusal())
        kind = self.rng.choice(["claim", "claim", "settle", "refuse", "once", "pause", "crash"])
        if kind == "pause":
            self.world.clock.now += self.rng.choice([1, ledger.policy.claim_seconds, 3 * ledger.policy.claim_seconds])
        elif kind == "claim":
            one = call(self.key)
            try:
                claimed = idempotency.claim(ledger, one, self.check)
            except ZkMarginError as err:
                self.told.append(err.code)
            else:
                if claimed is None:
                    self.waiting.append(one)
                else:
                    self.told.append(heard(lambda: claimed))
        elif kind == "once":
            self.told.append(heard(lambda: idempotency.once(ledger, CALLER, self.key, DIGEST, work)))
        elif self.waiting:
            one = self.waiting.pop(self.rng.randrange(len(self.waiting)))
            if kind == "settle":
                self.told.append(heard(lambda: idempotency.settle(ledger, one, work)))
            elif kind == "refuse":
                self.told.append(heard(lambda: idempotency.refuse(ledger, one, Conflict("bad proof"))))

    def holds(self) -> bool:
        """Whether all were told one outcome, and a row is booked if and only if that is ``201``."""
        begin = self.world.clock.now
        for _ in range(self.rng.randint(2, 10)):
            self.step()
        self.world.clock.now = begin
        outcomes = set(self.told) - idempotency.NO_OUTCOME
        return len(outcomes) <= 1 and booked(self.world, self.key) == ("201" in outcomes)


@pytest.mark.parametrize("seed", range(6))
def test_any_order_of_tries_pauses_and_crashes_has_one_outcome(world: World, seed: int) -> None:
    rng = Random(seed)
    for _ in range(25):
        one = Schedule(world, rng)
        assert one.holds(), one.told


def test_without_the_record_of_refusals_some_order_contradicts_itself(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: refusals that store nothing, as they were."""

    def forgotten(ledger: Any, tx: Connection, one: Call, refusal: ZkMarginError) -> Outcome:
        tx.execute(idempotency._GIVE_UP, one.place())
        return Outcome(refusal, earlier=False)

    monkeypatch.setattr(idempotency, "_write_refusal", forgotten)
    rng = Random(1)
    assert not all(Schedule(world, rng).holds() for _ in range(60))


class Doubting(Session):
    """A session that makes of every change four tries: one that is refused when all is done but the commit; the same
    again, when nothing would refuse it; one under a fresh key; and that one again.
    """

    operations: set[tuple[str, str]]
    templates: dict[str, Any]
    world: World
    refusing = False

    def call(
        self, caller: str | None, method: str, path: str, body: Tree | None = None, *, key: str | None = None
    ) -> httpx2.Response:
        """The answer of the third try, after checking the other ones."""
        if method == "GET":
            return super().call(caller, method, path, body, key=key)
        self._seen(method, path)
        refused, before = secrets.token_hex(8), self.world.digest()
        self.refusing = True
        first = super().call(caller, method, path, body, key=refused)
        self.refusing = False
        again = super().call(caller, method, path, body, key=refused)
        assert self.world.digest() == before, f"{method} {path} changed something that it refused"
        trees = [answer.json() for answer in (first, again)]
        instances = {tree.pop("instance") for tree in trees}
        assert (trees[0]["code"], trees[0]["detail"], first.status_code) == ("conflict", "not now", 409), first.text
        assert (trees[0] == trees[1], len(instances)) == (True, 2)
        fresh = key or secrets.token_hex(8)
        done = super().call(caller, method, path, body, key=fresh)
        if done.status_code < 300:
            after = self.world.digest()
            self.refusing = True
            told = super().call(caller, method, path, body, key=fresh)
            self.refusing = False
            assert (told.status_code, told.json()) == (done.status_code, done.json())
            assert self.world.digest() == after
        return done

    def _seen(self, method: str, path: str) -> None:
        for template, calls in self.templates.items():
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path) and method.lower() in calls:
                self.operations.add((method.lower(), template))
                return


def changes(templates: dict[str, Any]) -> set[tuple[str, str]]:
    """All calls that need an idempotency key."""
    out = set()
    for template, calls in templates.items():
        for method, described in calls.items():
            names = {p["name"].lower() for p in described.get("parameters", ())}
            if "idempotency-key" in names:
                out.add((method, template))
    return out


@pytest.mark.parametrize("kind", DATABASES)
def test_every_call_repeats_its_refusal_and_its_answer(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table of all calls that change something: none may be refused first and booked later under one key."""
    real = idempotency._write
    with fresh_url(kind, tmp_path) as url, started(url) as world:
        templates = world.session.http.get("/v1/openapi.json").json()["paths"]
        s = Doubting(world.hub, world.session.http, world.clock)
        s.operations, s.templates, s.world = set(), templates, world

        def refusing(ledger: Any, tx: Connection, one: Call, status: int, tree: Tree) -> None:
            if s.refusing and status != idempotency.REFUSED:
                raise Conflict("not now")
            real(ledger, tx, one, status, tree)

        monkeypatch.setattr(idempotency, "_write", refusing)
        world.session = s
        populate(world)
        s.ok(ALICE, "DELETE", "/v1/accounts/alice/grants/spoke-a")
        s.ok(OPS, "PUT", "/v1/venues/spoke-a/cap", {"cap": "900000"})
        for state in ("suspend", "resume"):
            s.ok(OPS, "POST", f"/v1/venues/spoke-a/{state}")
        s.ok(OPS, "POST", "/v1/breakers/close", {"scope": "venue/spoke-b"})
        kids = [
            s.ok(VENUE_A, "POST", "/v1/keys", {"key": Signer().public, "not_before": world.clock()})["kid"]
            for _ in range(2)
        ]
        world.clock.now += 1
        s.ok(VENUE_A, "POST", f"/v1/keys/{kids[0]}/retire")
        s.ok(OPS, "POST", f"/v1/keys/{kids[1]}/revoke")
        assert s.operations == changes(templates)
        assert len(s.operations) > 20
