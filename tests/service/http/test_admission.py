"""Who is let in: a crowd of strangers takes nobody else's room, threads, processes or time."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.http.test_edge import alive, answer_on, code_of, connected, one
from tests.support.hubs import Hub, Session, Signer, hub_snapshot, sqlite_url
from tests.support.services import hub_of, request
from zkmargin.service.client.signing import RequestSigner
from zkmargin.service.errors import Overloaded
from zkmargin.service.http import lanes, routing
from zkmargin.service.http.door import Door
from zkmargin.service.http.hub_context import HubService
from zkmargin.service.http.lanes import CALLERS, OPERATORS, PUBLIC, VERIFY, Lane, Sluice
from zkmargin.service.http.middleware import PIECE, Limit
from zkmargin.service.keys.request_signatures import UnknownKey

Scope = dict[str, Any]
WANTS = {"/verify": VERIFY, "/credits": CALLERS, "/caps": OPERATORS}


def scope(path: str, method: str = "POST", headers: dict[str, str] | None = None) -> Scope:
    return {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()], "http_version": "1.1",
        "scheme": "http", "server": ("service", 80), "client": ("client", 1), "asgi": {"version": "3.0"},
        "root_path": "",
    }  # fmt: skip


async def no_body() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


class Answers:
    """What was answered, in order."""

    def __init__(self) -> None:
        self.starts: list[tuple[int, dict[bytes, bytes]]] = []

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.starts.append((message["status"], dict(message["headers"])))


def limited(rooms: dict[str, Lane], lane: Callable[[Any], str], gate: asyncio.Event) -> Limit:
    """The middleware around calls that take until the gate opens, except for operators and callers."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if scope["path"] == "/verify":
            await gate.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    return Limit(
        app, lanes=rooms, lane=lane, sluice=Sluice(10**9), body_bytes=1000, large_bytes=1000,
        large=lambda path, method: False, pending_bytes=1000, body_timeout=5,
    )  # fmt: skip


def crowd_and_credit(rooms: dict[str, Lane], lane: Callable[[Any], str]) -> tuple[bool, Answers, Answers]:
    """Ten strangers come to a lane of two and stay; then a credit: whether it was answered while they stayed."""
    crowd, credit = Answers(), Answers()

    async def main() -> bool:
        gate = asyncio.Event()
        app = limited(rooms, lane, gate)
        strangers = [asyncio.create_task(app(scope("/verify"), no_body, crowd.send)) for _ in range(10)]
        await asyncio.sleep(0.01)
        calls = [asyncio.create_task(app(scope(path), no_body, credit.send)) for path in ("/credits", "/caps")]
        await asyncio.sleep(0.05)
        answered = len(credit.starts) == 2 and all(status == 200 for status, _ in credit.starts)
        gate.set()
        await asyncio.gather(*strangers, *calls)
        return answered

    return asyncio.run(main()), crowd, credit


def test_a_credit_is_let_in_at_once_while_strangers_wait_and_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "WAIT_MS", (20, 20))
    rooms = {VERIFY: Lane(2, waiting=4), CALLERS: Lane(2), OPERATORS: Lane(1)}
    answered, crowd, _ = crowd_and_credit(rooms, lambda scope: WANTS[scope["path"]])
    assert answered
    statuses = [status for status, _ in crowd.starts]
    assert (statuses.count(200), statuses.count(503)) == (2, 8)
    assert all(headers[b"retry-after"] == b"2" for status, headers in crowd.starts if status == 503)


async def unread(size: int, pending: int, use: Callable[[Limit, list[Any], Answers], Awaitable[None]]) -> None:
    """Two answers of so many bytes that nobody reads, in a lane of two."""
    never, sent = asyncio.Event(), []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        lines = [(b"content-length", str(size).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": lines})
        await send({"type": "http.response.body", "body": bytes(size)})

    async def stuck(message: Any) -> None:
        sent.append(message)
        if message["type"] == "http.response.body":
            await never.wait()

    limit = Limit(
        app, lanes={VERIFY: Lane(2)}, lane=lambda _: VERIFY, sluice=Sluice(10**9), body_bytes=1000, large_bytes=1000,
        large=lambda path, method: False, pending_bytes=pending, body_timeout=5,
    )  # fmt: skip
    readers = [asyncio.create_task(limit(scope("/verify"), no_body, stuck)) for _ in range(2)]
    await asyncio.sleep(0.01)
    answers = Answers()
    await use(limit, sent, answers)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    assert limit.lanes[VERIFY].running == sum(limit.held.values()) == 0


@pytest.mark.parametrize("size", [100, 10 * PIECE + 1])
def test_whoever_does_not_read_his_answer_takes_nobodys_place(size: int) -> None:
    """Two such readers had the public room of a hub, for as long as they liked."""

    async def use(limit: Limit, sent: list[Any], answers: Answers) -> None:
        assert len(sent) == 4
        assert limit.lanes[VERIFY].running == 0
        await limit(scope("/verify"), no_body, answers.send)
        assert [status for status, _ in answers.starts] == [200]

    asyncio.run(unread(size, 10**8, use))


def test_answers_that_nobody_reads_count_like_bodies() -> None:
    size = 2 * PIECE

    async def use(limit: Limit, sent: list[Any], answers: Answers) -> None:
        # Handed on piece by piece, so that the rest waits where it is counted.
        assert [len(message["body"]) for message in sent if "body" in message] == [PIECE, PIECE]
        assert sum(limit.held.values()) == 2 * size
        await limit(scope("/verify"), no_body, answers.send)
        assert [status for status, _ in answers.starts] == [503]

    asyncio.run(unread(size, 5 * size, use))


def test_in_one_lane_with_strangers_a_credit_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: it waits with the crowd, or is turned away with it."""
    monkeypatch.setattr(lanes, "WAIT_MS", (20, 20))
    shared = Lane(2, waiting=100)
    answered, _, credit = crowd_and_credit(dict.fromkeys((VERIFY, CALLERS, OPERATORS), shared), lambda _: VERIFY)
    assert not answered
    assert [status for status, _ in credit.starts] == [503, 503]


def test_a_lane_serves_in_order_and_forgets_who_left() -> None:
    async def main() -> None:
        lane, order = Lane(1, waiting=10), []

        async def guest(name: str) -> None:
            await lane.enter()
            order.append(name)
            await asyncio.sleep(0)
            lane.leave()

        await lane.enter()
        tasks = [asyncio.create_task(guest(name)) for name in "abcd"]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        lane.leave()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == ["a", "c", "d"]
        assert lane.running == 0

    asyncio.run(main())


def test_whoever_is_let_in_while_giving_up_gives_the_place_back() -> None:
    async def main() -> None:
        lane = Lane(1, waiting=10)
        await lane.enter()
        late = asyncio.create_task(lane.enter())
        await asyncio.sleep(0)
        lane.leave()
        late.cancel()
        with pytest.raises(asyncio.CancelledError):
            await late
        assert lane.running == 0
        await lane.enter()
        assert lane.running == 1

    asyncio.run(main())


def test_strangers_come_one_by_one_while_callers_are_at_work() -> None:
    async def main(busy: bool, gap: float) -> int:
        lane = Lane(100, waiting=100, gap=gap, busy=lambda: busy)
        tasks = [asyncio.create_task(lane.enter()) for _ in range(20)]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return sum(not task.cancelled() for task in tasks)

    assert asyncio.run(main(busy=True, gap=30.0)) == 1
    assert asyncio.run(main(busy=False, gap=30.0)) == 1
    assert asyncio.run(main(busy=True, gap=0.0)) == 20

    async def waits(busy: bool) -> float:
        lane = Lane(1, gap=20.0, busy=lambda: busy)
        await lane.enter()
        return lane._next - asyncio.get_running_loop().time()

    assert 19 < asyncio.run(waits(busy=True)) <= 20
    assert 1 < asyncio.run(waits(busy=False)) <= 2


def test_strangers_bodies_together_have_a_rate() -> None:
    sluice = Sluice(1000.0)
    assert sluice.delay(10, 5.0) == 0
    waits = [sluice.delay(1000, 5.0) for _ in range(3)]
    assert waits == pytest.approx([0.96, 1.96, 2.96])
    assert sluice.delay(10, 100.0) == 0


def test_strangers_bodies_take_half_of_the_memory_for_bodies() -> None:
    async def main() -> list[int]:
        gate, answers = asyncio.Event(), Answers()
        app = limited({VERIFY: Lane(9), CALLERS: Lane(9)}, lambda s: WANTS[s["path"]], gate)

        async def body() -> Any:
            return {"type": "http.request", "body": b"x" * 400, "more_body": False}

        first = asyncio.create_task(app(scope("/verify"), body, answers.send))
        await asyncio.sleep(0.01)
        with pytest.raises(Overloaded):
            await app(scope("/verify"), body, answers.send)
        await app(scope("/credits"), body, answers.send)
        gate.set()
        await first
        assert sum(app.held.values()) == 0
        return [status for status, _ in answers.starts]

    assert asyncio.run(main()) == [200, 200]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    hub = Hub(sqlite_url(tmp_path_factory.mktemp("hub")), sweep_seconds=3600)
    with hub.client() as http:
        made = Session(hub, http)
        made.publish(hub_snapshot(hub.now - 5))
        made.venue("spoke-a")
        made.account("alice", cash="0")
        yield made


def service_of(session: Session) -> HubService:
    return hub_of(session.http)


def signed(signer: Signer, path: str, body: bytes = b"", method: str = "GET") -> dict[str, str]:
    return RequestSigner(signer.key, "hub-1").sign(method, path, "", {}, body, now=int(time.time()))


def test_the_door_knows_callers_by_their_signature_alone(session: Session) -> None:
    door, signers = Door(session.hub.ledger), session.hub.signers
    path = "/v1/credits"

    def lane(headers: dict[str, str], path: str = path, method: str = "GET") -> str:
        return door.lane(scope(path, method, headers))

    venue = signed(signers["venue/spoke-a"], path)
    assert lane(venue) == PUBLIC  # before the keys are read
    door.refresh()
    assert lane(venue) == CALLERS
    assert lane(signed(signers["operator/ops"], path)) == OPERATORS
    assert lane(signed(signers["oracle/feed"], path)) == OPERATORS
    # An account's key is known once a request of it was authenticated.
    alice = signed(signers["account/alice"], path)
    assert lane(alice) == PUBLIC
    door.met(
        RequestSigner(signers["account/alice"].key, "hub-1").keyid, signers["account/alice"].key.public_key(), "account"
    )
    assert lane(alice) == CALLERS
    # What anybody can copy or make up is not enough.
    strangers = signed(Signer(), path)
    for headers in (
        {}, strangers, {**strangers, "Signature-Input": venue["Signature-Input"]}, {"Signature-Input": "junk"},
        {k: v for k, v in venue.items() if k != "Signature"},
    ):  # fmt: skip
        assert lane(headers) == PUBLIC
    assert lane(venue, "/v1/venues") == PUBLIC
    assert lane(venue, method="POST") == PUBLIC


def test_a_slow_body_takes_the_strangers_room_once(session: Session) -> None:
    """Whoever never finished a first request stayed a stranger, and held their room with each."""
    door, path = Door(session.hub.ledger), "/v1/credits"
    alice = scope(path, "GET", signed(session.hub.signers["account/alice"], path))
    assert door.lane(alice) == PUBLIC
    door.verify(alice)
    assert door.lane(alice) == CALLERS
    nobody = scope(path, "GET", signed(Signer(), path))  # the control
    with pytest.raises(UnknownKey):
        door.verify(nobody)
    assert door.lane(nobody) == PUBLIC


def test_what_the_door_remembers_is_bounded(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zkmargin.service.http.door.KNOWN", 2)
    door = Door(session.hub.ledger)
    for number in range(4):
        door.met(str(number), Signer().key.public_key(), "account")
    assert list(door._met) == ["2", "3"]
    door.forget("2")
    assert list(door._met) == ["3"]


def test_with_every_place_of_strangers_taken_callers_and_operators_are_served(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "WAIT_MS", (1, 1))
    service = service_of(session)
    session.ok("venue/spoke-a", "GET", "/v1/credits")
    for name in (VERIFY, PUBLIC):
        monkeypatch.setattr(service.lanes[name], "running", service.lanes[name].most)
    session.ok("venue/spoke-a", "GET", "/v1/credits")
    session.ok("operator/ops", "GET", "/v1/breakers")
    assert session.http.get("/health/live").status_code == session.http.get("/metrics").status_code == 200
    for answer in (
        session.http.post("/v1/proofs/verify", json=request()), session.http.get("/v1/keys"),
        session.http.post("/v1/credits", json={}),
    ):  # fmt: skip
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "overloaded", "2")
    # The control: a venue that the door does not know shares the strangers' fate.
    door = service.hub.get().door
    monkeypatch.setattr(door, "_few", {})
    monkeypatch.setattr(door, "_met", type(door._met)())
    session.refused("overloaded", "venue/spoke-a", "GET", "/v1/credits")


def test_a_key_that_ends_is_nobodys_whatever_the_door_remembers(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.venue("spoke-z")
    signer = RequestSigner(session.hub.signers["venue/spoke-z"].key, "hub-1")
    session.ok("venue/spoke-z", "GET", "/v1/credits")
    assert signer.keyid in service_of(session).hub.get().door._met
    session.ok("operator/ops", "POST", f"/v1/keys/{signer.keyid}/revoke")
    # A key is good for the second in which it ends.
    monkeypatch.setattr(service_of(session).hub.get().ledger, "clock", lambda: int(time.time()) + 2)
    session.refused("key-not-valid", "venue/spoke-z", "GET", "/v1/credits")
    assert signer.keyid not in service_of(session).hub.get().door._met


def test_the_ledgers_proofs_and_strangers_have_processes_of_their_own(session: Session) -> None:
    service = service_of(session)
    ledger, strangers = service.hub.get().pool, service.verifier.get().pool
    assert not set(ledger.pids) & set(strangers.pids)
    assert ledger.store is not strangers.store

    def work(pool: Any) -> int:
        return len(pool._lanes.light) + len(pool._lanes.heavy)

    class Full(Exception):
        pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strangers, "max_queue", 0)
        answer = session.http.post("/v1/proofs/verify", json=request())
        assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
        assert work(ledger) == 0
        patch.setattr(ledger, "max_queue", 0)
        patch.setattr(strangers, "max_queue", 1)
        assert session.http.post("/v1/proofs/verify", json=request()).json()["verdict"] == "valid"
    for pid in strangers.pids:
        nice = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[16])
        assert nice >= 10


def refused_unread(session: Session, headers: dict[str, str], body: Callable[[], Awaitable[Any]]) -> str:
    """The code of a POST of a snapshot whose body may not be asked for."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    lines = {"content-type": "application/json", "content-length": "9437184"} | headers

    async def main() -> None:
        await session.http.app(scope("/v1/snapshots", "POST", lines), body, send)  # type: ignore[arg-type]

    session.http.portal.call(main)  # type: ignore[union-attr]
    code: str = json.loads(sent[1]["body"])["code"]
    return code


def test_nobodys_body_is_read_before_its_signature_holds(session: Session) -> None:
    async def unread() -> Any:
        raise AssertionError("the body was read")

    known = session.hub.signers["oracle/feed"]
    for headers, code in (
        ({}, "signature-rejected"),
        (signed(Signer(), "/v1/snapshots", b"x", "POST"), "unknown-key"),
        (signed(known, "/v1/snapshots", b"", "POST"), "signature-rejected"),
        (signed(known, "/v1/snapshots", b"x", "POST") | {"Signature": f"sig=:{'A' * 86}==:"}, "signature-rejected"),
        (signed(known, "/v1/credits", b"x", "POST"), "signature-rejected"),
    ):  # fmt: skip
        assert refused_unread(session, headers, unread) == code


def test_no_body_is_parsed_before_it_is_the_signed_one(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def parsed(data: bytes) -> Any:
        raise AssertionError("parsed")

    monkeypatch.setattr(routing, "parse_body", parsed)
    known = session.hub.signers["oracle/feed"]

    async def other() -> Any:
        return {"type": "http.request", "body": b"{", "more_body": False}

    assert refused_unread(session, signed(known, "/v1/snapshots", b"x", "POST"), other) == "signature-rejected"
    # The control: the signed one is.
    assert refused_unread(session, signed(known, "/v1/snapshots", b"{", "POST"), other) == "internal-error"


def test_large_bodies_are_parsed_beside_the_event_loop(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    places: list[bool] = []
    real = routing.parse_body

    def noted(data: bytes) -> Any:
        try:
            places.append(asyncio.get_running_loop() is not None)
        except RuntimeError:
            places.append(threading.current_thread() is threading.main_thread())
        return real(data)

    monkeypatch.setattr(routing, "parse_body", noted)
    for size in (10, routing.INLINE_BYTES + 1):
        session.call("oracle/feed", "POST", "/v1/snapshots", {"x": "y" * size})
    assert places == [True, False]


@pytest.mark.slow
def test_nine_megabytes_that_nobody_signed_are_answered_and_health_answers_meanwhile(tmp_path: Path) -> None:
    hub = Hub(sqlite_url(tmp_path))
    with hub.running(tmp_path / "log") as url:
        port = int(url.rpartition(":")[2])
        head = (
            b"POST /v1/snapshots HTTP/1.1\r\nhost: hub\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        )
        body = b"[" + b'"0",' * (9 * 2**20 // 4) + b"0]"
        with connected(port) as line:
            line.sendall(head % len(body))
            # Refused by its headers: nothing of the body was sent yet.
            assert code_of(one(line)) == (401, "signature-rejected")
            sent = 0
            while sent < len(body):
                sent += line.send(body[sent : sent + 2**20])
                alive(port)
            # The connection is good for another request.
            line.sendall(b"GET /health/live HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n")
            assert answer_on(line).startswith(b"HTTP/1.1 200")
