"""Whoever has retired keys of a hub, and answers in its place, is believed in nothing by a client that knew it."""

from __future__ import annotations

import ast
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.hubs import Clock
from tests.support.retired import DAY, ROTATES, VALID, Attested, History, run
from zkmargin.circuits.errors import ProofRejected, StaleStatement, StatementMismatch, ZkMarginError
from zkmargin.service.client import trust as trust_module
from zkmargin.service.client.exchange import Flow
from zkmargin.service.client.holder import accept_attested
from zkmargin.service.client.trust import (
    Trust,
    accept_inclusion,
    compare_head,
    fetch_head,
    follow_keys,
    from_bytes,
    meet,
    pin,
)
from zkmargin.service.client.venue import fetch_credit
from zkmargin.service.keys.signing import raw_public, sign_credit_entry
from zkmargin.verifier.facts.credit_entry import CreditEntry
from zkmargin.verifier.facts.hub_keys import KEY_GRACE, KeyChain
from zkmargin.verifier.facts.transparency import MAX_HEAD_AGE, LogForked

pytestmark = pytest.mark.slow

START = 1_700_000_000
ENTRY = CreditEntry(
    hub="hub-1", credit="c-1", account="alice", venue="spoke-a", caip2="eip155:1", amount="10", currency="USD",
    statement=bytes(32), epoch=1, snapshot=bytes(32), state="live", used="0", released="0", sequence=0, issued=START,
    expires=START + 900 * DAY, time=START,
)  # fmt: skip


@dataclass
class Game:
    """An honest hub with two keys, the first of which has ended, and a client that has followed it all along."""

    hub: History = field(default_factory=History)
    clock: Clock = field(default_factory=lambda: Clock(START))
    trust: Trust = field(init=False)

    def __post_init__(self) -> None:
        self.hub.appoint(START, START + VALID * DAY)
        self.hub.attest("alice", 1, START)
        self.hub.sign_head(START)
        self.trust = self.hub.play(meet(raw_public(self.hub.keys[0]), clock=self.clock))
        self.hub.play(fetch_head(self.trust))
        self.rotate(ROTATES * DAY)
        self.hub.attest("alice", 2, self.clock.now)
        self.hub.sign_head(self.clock.now)
        self.hub.play(fetch_head(self.trust))
        self.pass_time(VALID * DAY - DAY)

    def pass_time(self, seconds: int) -> None:
        """Later, and the hub has signed its head anew."""
        self.clock.now += seconds
        self.hub.sign_head(self.clock.now)

    def rotate(self, seconds: int) -> None:
        """Later, and the hub has a new key, which its client has seen."""
        self.clock.now += seconds
        self.hub.appoint(self.clock.now, self.clock.now + VALID * DAY)
        self.hub.sign_head(self.clock.now)
        self.hub.play(fetch_head(self.trust))

    def fresh(self) -> Trust:
        """The client's trust, as its file keeps it."""
        return from_bytes(self.trust.to_bytes(), clock=self.clock)


def accept(history: History, trust: Trust, attested: Attested) -> Any:
    """The client is given an attestation in an answer, and asks for its place in the log."""
    return history.play(accept_attested(trust, "alice", {"attested": attested.to_json()}))


def backdated(game: Game, time: int, *, key: int = 0) -> tuple[History, Attested]:
    """The honest log and one leaf more: a false fact, and a head that covers it, both signed with an old key."""
    false = game.hub.copy()
    attested = false.attest("alice", 3, time, key=key, commitment=b"\x01" * 48)
    false.sign_head(time, key=key)
    return false, attested


def without(monkeypatch: pytest.MonkeyPatch, *checks: str) -> None:
    """The client as it was without these checks."""
    faults: dict[str, tuple[str, Any]] = {
        "newest": ("zkmargin.verifier.facts.hub_keys.KeyChain.present", lambda self, now: 0),
        "ended": ("zkmargin.verifier.facts.hub_keys.KEY_GRACE", 10**9),
        "age": ("zkmargin.service.client.trust.check_recent", lambda head, now: None),
        "learnt": ("zkmargin.verifier.facts.hub_keys.KeyChain.check_learnt", lambda self, known, now: None),
        "current": (
            "zkmargin.verifier.facts.hub_keys.KeyChain.verify_current", lambda self, verify, data, now:
            self.verify(verify, data)
        ),
    }  # fmt: skip
    for check in checks:
        monkeypatch.setattr(*faults[check])


def test_a_retired_key_backdates_a_fact_and_a_head_one_leaf_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key ended days ago, the head is dated inside its window, the client holds a newer one of one leaf less."""
    game = Game()
    inside = START + (VALID - 1) * DAY
    trust, before = game.fresh(), game.trust.to_bytes()
    false, attested = backdated(game, inside)
    with pytest.raises(StaleStatement, match="superseded"):
        accept(false, trust, attested)
    assert trust.to_bytes() == before
    game.hub.play(fetch_head(trust))
    # The next line of defence: heads do not go back in time.
    without(monkeypatch, "current", "age")
    with pytest.raises(LogForked, match="earlier time") as caught:
        accept(false, trust, attested)
    assert caught.value.proven
    # Control: a client that has neither takes the false fact.
    trust.head = None
    assert accept(false, trust, attested).attestation.commitment == b"\x01" * 48


def test_a_superseded_key_whose_window_is_open_signs_for_the_present(monkeypatch: pytest.MonkeyPatch) -> None:
    game = Game()
    game.rotate(0)
    game.pass_time(KEY_GRACE)
    now = game.clock.now
    assert game.hub.links[1].covers(now)
    false, attested = backdated(game, now, key=1)
    with pytest.raises(StaleStatement, match="superseded"):
        accept(false, game.fresh(), attested)
    without(monkeypatch, "newest")
    assert accept(false, game.fresh(), attested).attestation.epoch == 3


def test_the_last_known_key_has_ended_and_its_head_is_fresh_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    game = Game()
    ends = game.hub.links[1].not_after
    false, attested = backdated(game, ends, key=1)
    game.clock.now = ends + KEY_GRACE
    accept(false, game.fresh(), attested)  # not retired yet, by this clock
    game.clock.now += 1
    with pytest.raises(StaleStatement, match="has ended"):
        accept(false, game.fresh(), attested)
    without(monkeypatch, "current")
    accept(false, game.fresh(), attested)


def test_a_new_fact_of_a_retired_key_is_under_no_head_of_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Honest head and paths, false attestation. What the old key signed in its time stays good: it is in the log."""
    game = Game()
    old = game.hub.copy()
    false, attested = backdated(game, START + DAY)
    for leaf in range(len(game.hub.leaves)):
        tree = {"attested": attested.to_json() | {"leaf": leaf}}
        with pytest.raises(ProofRejected):
            game.hub.play(accept_attested(game.fresh(), "alice", tree))
    first = Attested(attested.fact, b"", 0)
    document = History(keys=old.keys).attest("alice", 1, START, key=0).document
    assert accept(game.hub, game.fresh(), Attested(first.fact, document, 0)).attestation.epoch == 1  # key 0 signed it
    assert len(false.leaves) == len(game.hub.leaves) + 1


@pytest.mark.parametrize("age", [MAX_HEAD_AGE, MAX_HEAD_AGE + 1])
def test_a_head_that_is_kept_from_the_client_for_too_long(age: int, monkeypatch: pytest.MonkeyPatch) -> None:
    game = Game()
    frozen, trust = game.hub.copy(), game.fresh()
    game.clock.now += age
    if age <= MAX_HEAD_AGE:
        assert frozen.play(fetch_head(trust)).time == game.clock.now - age
        return
    with pytest.raises(StaleStatement, match="older"):
        frozen.play(fetch_head(trust))
    without(monkeypatch, "age")
    assert frozen.play(fetch_head(trust)).time == game.clock.now - age


def test_a_head_or_fact_from_the_future_is_refused() -> None:
    game = Game()
    for seconds, good in ((30, True), (31, False)):
        ahead = game.hub.copy()
        attested = ahead.attest("alice", 3, game.clock.now + seconds)
        ahead.sign_head(game.clock.now)
        late = game.hub.copy()
        late.sign_head(game.clock.now + seconds)
        if good:
            accept(ahead, game.fresh(), attested)
            late.play(fetch_head(game.fresh()))
        else:
            with pytest.raises(StaleStatement, match="future"):
                accept(ahead, game.fresh(), attested)
            with pytest.raises(StaleStatement, match="future"):
                late.play(fetch_head(game.fresh()))


def test_a_retired_key_appoints_another_successor(monkeypatch: pytest.MonkeyPatch) -> None:
    """To a client that has followed; to one that was away while the key was replaced; and to a new one."""
    game = Game()
    false = game.hub.copy()
    false.keys, false.links, false.chain = false.keys[:1], false.links[:1], false.chain[:1]
    false.appoint(START + VALID * DAY, game.clock.now + VALID * DAY)
    false.sign_head(game.clock.now)
    with pytest.raises(StatementMismatch, match="another branch"):
        false.play(follow_keys(game.fresh()))
    with pytest.raises(ZkMarginError):
        false.play(fetch_head(game.fresh()))
    away = game.fresh()
    assert away.chain is not None
    away.keys, away.head = away.keys[:1], None
    away.chain = KeyChain(away.chain.keys[:1])
    new = meet(raw_public(game.hub.keys[0]), clock=game.clock)
    for flow in (follow_keys(away), new):
        with pytest.raises(StaleStatement) as caught:
            false.play(flow)
        assert caught.value.field == "hub-key.0.not_after"
    with pytest.raises(StaleStatement):  # nor can they follow the honest one, for they cannot tell it
        game.hub.play(follow_keys(away))
    without(monkeypatch, "learnt")
    false.play(fetch_head(away))


def test_who_was_away_begins_again_with_what_the_operator_publishes() -> None:
    game = Game()
    published = game.hub.play(pin(game.trust)).to_bytes()
    assert (json.loads(published)["epochs"], game.trust.epochs) == ([], {})
    new = from_bytes(published, clock=game.clock)
    game.hub.play(fetch_head(new))
    false, attested = backdated(game, START + DAY)
    with pytest.raises(StaleStatement):
        accept(false, new, attested)


def test_a_retired_key_signs_a_credit_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """No head includes an entry, so the newest key alone signs one that is shown."""
    game = Game()

    def show(key: int, time: int) -> Flow[Any]:
        entry = CreditEntry(**{**vars(ENTRY), "used": "0", "time": time})
        document = sign_credit_entry(entry, game.hub.keys[key])
        flow = fetch_credit(game.fresh(), "c-1")
        return run(flow, lambda r: {"entry": json.loads(document)} if "credits" in r.path else game.hub.answer(r))

    with pytest.raises(StaleStatement, match="superseded"):
        show(0, START + DAY)
    assert show(1, game.clock.now)
    held = game.fresh().held_entry(sign_credit_entry(ENTRY, game.hub.keys[0]))
    assert held == ENTRY  # from the venue's own file it is what was shown in its time
    without(monkeypatch, "current")
    assert show(0, START + DAY)


def test_an_old_head_of_others_is_compared_and_covers_nothing() -> None:
    game = Game()
    trust, before = game.fresh(), game.trust.to_bytes()
    old = History(keys=game.hub.keys[:1], leaves=game.hub.leaves[:1])
    document = old.sign_head(START)
    assert game.hub.play(compare_head(trust, document)).time == START
    fork = History(keys=game.hub.keys[:1])
    fork.attest("alice", 1, START, commitment=b"\x01" * 48)
    for false, key in ((fork, 0), (backdated(game, START + DAY)[0], 0)):
        with pytest.raises(LogForked):
            game.hub.play(compare_head(trust, false.sign_head(START + DAY, key=key)))
    assert trust.to_bytes() == before
    with pytest.raises(StaleStatement):
        game.hub.play(accept_inclusion(trust, b"", {"head": json.loads(document)}))
    assert game.hub.play(compare_head(Trust("hub-1", game.trust.pinned, clock=game.clock, chain=game.trust.chain),
                                      document)).size == 1  # fmt: skip


# Every order of honest and false events.


class Thief:
    """Has every key of the hub that is not its present one, all that it ever published, and the client's connection."""

    def __init__(self, rng: random.Random, game: Game) -> None:
        self.rng, self.game = rng, game
        self.past: list[History] = []

    def watch(self) -> None:
        """Keep what the hub shows now."""
        self.past = [*self.past[-20:], self.game.hub.copy()]

    def heads(self) -> set[bytes]:
        """The heads that the hub signed of late."""
        return {state.head for state in self.past}

    def retired(self) -> list[int]:
        """Keys that the client knows to be none of the present: older than the one that signed its newest head."""
        chain = self.game.trust.chain
        assert chain is not None
        return list(range(chain.present(self.game.clock.now)))

    def time(self, key: int) -> int:
        """A time that the key's window covers: its ends, now, or any."""
        link, now = self.game.hub.links[key], self.game.clock.now
        choices = [link.not_before, link.not_after, self.rng.randint(link.not_before, link.not_after), now]
        return self.rng.choice(choices)

    def base(self) -> History:
        """Some state of the hub's, which the thief goes on from."""
        state = self.rng.choice([*self.past, self.game.hub])
        return replace(self.game.hub.copy(), leaves=[*state.leaves], head=state.head)

    def head(self) -> tuple[History, Callable[[Trust], Flow[Any]]]:
        """A head of a log of his own, or of the hub's."""
        false, key = self.base(), self.rng.choice(self.retired())
        for _ in range(self.rng.randint(0, 3)):
            false.attest("alice", self.rng.randint(1, 9), self.time(key), key=key, commitment=self.rng.randbytes(48))
        false.sign_head(self.time(key), key=key)
        return false, fetch_head

    def fact(self) -> tuple[History, Callable[[Trust], Flow[Any]]]:
        """A fact of his own, under a head of his own or an honest one."""
        false, key = self.base(), self.rng.choice(self.retired())
        honest = false.copy()
        fact = false.attest(
            "alice", self.rng.randint(1, 99), self.time(key), key=key, commitment=self.rng.randbytes(48)
        )
        false.sign_head(self.time(key), key=key)
        if self.rng.random() < 0.5 and honest.leaves:
            false, fact = honest, Attested(fact.fact, fact.document, self.rng.randrange(len(honest.leaves)))
        return false, lambda trust: accept_attested(trust, "alice", {"attested": fact.to_json()})

    def keys(self) -> tuple[History, Callable[[Trust], Flow[Any]]]:
        """Another chain of keys, from one of his, with a head of its last key."""
        false, key = self.game.hub.copy(), self.rng.choice(self.retired())
        false.keys, false.links, false.chain = false.keys[: key + 1], false.links[: key + 1], false.chain[: key + 1]
        link = false.links[key]
        for _ in range(self.rng.randint(0, 2)):
            last = false.links[-1]
            false.appoint(
                self.rng.randint(last.not_before, last.not_after), max(self.game.clock.now, link.not_after) + DAY
            )
        false.sign_head(self.game.clock.now)
        return false, self.rng.choice([fetch_head, follow_keys])

    def entry(self) -> tuple[History, Callable[[Trust], Flow[Any]]]:
        """A credit entry."""
        key = self.rng.choice(self.retired())
        entry = CreditEntry(**{**vars(ENTRY), "time": max(self.time(key), START)})
        document = json.loads(sign_credit_entry(entry, self.game.hub.keys[key]))

        class Shows(History):
            def answer(self, request: Any) -> Any:
                return {"entry": document} if "credits" in request.path else super().answer(request)

        return Shows(**vars(self.game.hub.copy())), lambda trust: fetch_credit(trust, "c-1")

    def strike(self) -> tuple[str, Callable[[Trust], Any]]:
        """One attack, by its name."""
        name = self.rng.choice(["head", "fact", "keys", "entry"])
        false, flow = getattr(self, name)()
        return name, lambda trust: false.play(flow(trust))


def play(seed: int, *, steps: int = 40) -> tuple[dict[str, int], int]:
    """One sequence of honest events, each taken by the client, and of attacks; gives what it believed by kind, and how
    many it refused.
    """
    rng = random.Random(seed)
    game = Game()
    thief, epoch, believed, refused = Thief(rng, game), 2, dict.fromkeys(("head", "fact", "keys", "entry"), 0), 0
    for _ in range(steps):
        thief.watch()
        event = rng.random()
        if event < 0.25:
            if game.clock.now - game.hub.links[-1].not_before > ROTATES * DAY or rng.random() < 0.2:
                game.rotate(0)
            game.pass_time(rng.choice([0, 1, KEY_GRACE, DAY, 8 * DAY]))
            game.hub.play(fetch_head(game.trust))
        elif event < 0.5:
            epoch += 1
            attested = game.hub.attest("alice", epoch, game.clock.now)
            game.hub.sign_head(game.clock.now)
            assert accept(game.hub, game.trust, attested).attestation == attested.fact
        else:
            name, attack = thief.strike()
            trust = game.fresh()
            try:
                attack(trust)
            except ZkMarginError:
                refused += 1
                # He may have shown a head of the hub's own, and nothing else is left of him.
                assert trust.head is not None
                assert trust.head.document in {game.trust.head and game.trust.head.document, *thief.heads()}
                assert replace(trust, head=game.trust.head) == game.trust, (seed, name)
            else:
                believed[name] += 1
    return believed, refused


@pytest.mark.parametrize("seed", range(24))
def test_nothing_is_believed_of_whoever_has_only_retired_keys(seed: int) -> None:
    believed, refused = play(seed)
    assert (sum(believed.values()), refused > 5) == (0, True)


def test_control_the_same_thief_is_believed_by_a_client_without_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "current", "age", "learnt")
    total = dict.fromkeys(("head", "fact", "keys", "entry"), 0)
    for seed in range(12):
        for name, count in play(seed)[0].items():
            total[name] += count
    assert min(total["head"], total["fact"], total["entry"]) > 0, total


# The clock is passed everywhere.

#: Checks of the verifier that leave times unchecked when they are given no ``now``.
CLOCKED = (
    "verify", "verify_account", "verify_current", "verify_snapshot_signature", "check_attested", "check_authorises",
    "check_credit", "Evidence",
)  # fmt: skip


def unclocked(source: str) -> list[str]:
    """Functions in which one of them is called without ``now``."""
    found = []
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
                if name in CLOCKED and "now" not in {keyword.arg for keyword in call.keywords}:
                    found.append(function.name)
    return found


def test_the_client_checks_no_time_without_its_clock() -> None:
    folder = Path(trust_module.__file__).parent
    found = [(path.name, name) for path in sorted(folder.glob("*.py")) for name in unclocked(path.read_text())]
    # A trust file was written by this client, and the head in it is only compared with.
    assert found == [("trust.py", "from_bytes")]
    assert unclocked("def f():\n    check_credit(1, 2)\n    chain.verify(x, y, now=3)\n") == ["f"]
