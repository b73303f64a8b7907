"""Cases and mutations on which both verifiers must say the same: ``make agree``, and
tests/verifier/test_reference.py."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from benchmarks import options
from tests.circuits.test_market_rules import loans, tiered
from tests.circuits.test_portfolio_margin import own_portfolios, own_tree
from tests.circuits.test_span import span
from tests.support.toy import Tree, load_snapshot, load_statement, sample_account, trade
from tests.verifier.test_proof_bytes import BAD_POINTS, elements, points_outside_the_subgroup, splice
from zkmargin.circuits.documents.statement import parse_multiplier
from zkmargin.circuits.errors import MalformedInput, ZkMarginError
from zkmargin.circuits.layout import DOMAINS, Layout, proof_size
from zkmargin.circuits.rules import Terms, build
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import Statement
from zkmargin.circuits.system import FIELD_ORDER
from zkmargin.prover import solvency
from zkmargin.prover.commitment import commit
from zkmargin.prover.documents import make_statement
from zkmargin.prover.domains import cheapest_domain
from zkmargin.prover.prove import prove
from zkmargin.verifier import reference
from zkmargin.verifier.argument.v1.encoding import HEADER_BYTES, VERSION
from zkmargin.verifier.curve import G1_BYTES
from zkmargin.verifier.facts.attestation import Attestation
from zkmargin.verifier.verify import verify

OVERLAYS = {
    "EU": [
        {"type": "leverage-cap", "max": "5"},
        {"type": "concentration", "max_ppm": 900_000},
        {"type": "banned", "instruments": ["GOLD"]},
        {"type": "minimum-equity", "amount": "10"},
        {"type": "latency-buffer", "daily_ppm": 20_000, "instruments": ["BTC"]},
        {"type": "greek-limit", "greek": "delta", "max": "10"},
    ]
}


@dataclass(frozen=True)
class Question:
    """What both verifiers are asked, and which mutation made it."""

    kind: str
    snapshot: Snapshot
    statement: Statement
    proof: bytes
    now: int


@dataclass(frozen=True)
class Case:
    """A statement, its snapshot and a proof that holds, at the time ``now``."""

    name: str
    snapshot: Snapshot
    statement: Statement
    proof: bytes
    now: int

    @property
    def layout(self) -> Layout:
        """(n, K), from the header."""
        return Layout(1 << self.proof[1], self.proof[2])

    def question(self) -> Question:
        """The case as it is."""
        return Question("none", self.snapshot, self.statement, self.proof, self.now)


def _proved(name: str, snapshot: Snapshot, lots: Sequence[int], *, level: str, **changes: Any) -> Case:
    """Prove a statement about ``lots``, with the best elections."""
    overlays = tuple(changes.get("overlays", ()))
    terms = Terms(level, parse_multiplier("1", field=""), 3600, (), overlays)
    choice = solvency.best_choice(build(snapshot, terms), lots)
    commitment, opening = commit(lots, cheapest_domain(snapshot))
    fact = Attestation("h", "a", 1, commitment, opening.domain, snapshot.registry_digest, snapshot.time)
    given: Tree = {"amount": "1", "expiry": snapshot.time + 600, "level": level} | changes
    statement = make_statement(snapshot, fact, venue="s", **given, elections=choice)
    return Case(name, snapshot, statement, prove(statement, snapshot, opening), snapshot.time)


def _cross(columns: int) -> Case:
    account = sample_account(columns)
    changes: Tree = {}
    if columns == 1:  # a statement that uses every field
        delta = [trade(account.snapshot, 0, -50), trade(account.snapshot, 2, 5)]
        purpose: Tree = {"for": "trade", "limit": "100", "counterparty": "any"}
        changes = {"amount": "12.34", "multiplier": "1.5", "delta": delta, "purpose": purpose}
    if columns == 2:
        purpose = {"for": "credit", "venue": "spoke-1", "amount": "12.34", "expires": account.snapshot.time + 600}
        changes = {"amount": "12.34", "purpose": purpose}
    return Case(f"cross margin, K = {columns}", account.snapshot, *account.proof(**changes), account.snapshot.time)


def _portfolio_margin() -> Case:
    snapshot = options.make(8)
    statement, opening = options.account(snapshot)
    return Case("portfolio margin", snapshot, statement, prove(statement, snapshot, opening), snapshot.time)


MAKERS: dict[str, Callable[[], Case]] = {
    "cross-1": lambda: _cross(1),
    "cross-2": lambda: _cross(2),
    "cross-3": lambda: _cross(3),
    "tiered": lambda: _proved("tiered margin", tiered(), [900_000, 40, -30, 7], level="initial"),
    "overlays": lambda: _proved(
        "tiered margin, overlays",
        tiered(overlays=OVERLAYS),
        [900_000, 40, -30, 0],
        level="maintenance",
        overlays=["EU"],
    ),
    "loans": lambda: _proved("loan, category elected", loans(), [-900, 10_000, 0, 0], level="maintenance"),
    "span": lambda: _proved("scan by the lemma", span(), [900_000, 50, -40, 5, 3, 2], level="initial"),
    "spreads": lambda: _proved(
        "scan by election, liquidation end", span("election"), [900_000, 50, -40, 5, 3, 2], level="liquidation-end"
    ),
    "portfolio": _portfolio_margin,
    "skew": lambda: _proved(
        "portfolio margin, skew elected",
        load_snapshot(own_tree()),
        [10**10, *own_portfolios(1)[0][1:]],
        level="initial",
    ),
}


@lru_cache
def case(name: str) -> Case:
    """A case, made once."""
    return MAKERS[name]()


Verdict = tuple[str, str | None]


def _verdict(ask: Callable[[], None]) -> Verdict:
    try:
        ask()
    except ZkMarginError as err:
        return err.code, err.field
    return "holds", None


def answers(question: Question) -> tuple[Verdict, Verdict]:
    """Code and field by the native verifier and by the reference; "holds" when nothing is raised."""
    q = question
    return (
        _verdict(lambda: verify(q.statement, q.snapshot, q.proof, now=q.now)),
        _verdict(lambda: reference.verify(q.statement, q.snapshot, q.proof, now=q.now)),
    )


# --- mutations of the proof: each takes a generator, the proof and its layout ---


def _points(layout: Layout) -> list[int]:
    return [at for _, at, length in elements(layout) if length == G1_BYTES]


def _scalars(layout: Layout) -> list[int]:
    return [at for _, at, length in elements(layout) if length != G1_BYTES]


def bit_flip(rng: random.Random, proof: bytes, layout: Layout) -> bytes:
    at = rng.randrange(len(proof))
    return splice(proof, at, bytes([proof[at] ^ 1 << rng.randrange(8)]))


def byte_swap(rng: random.Random, proof: bytes, layout: Layout) -> bytes:
    a, b = rng.sample(range(len(proof)), 2)
    return splice(splice(proof, a, proof[b : b + 1]), b, proof[a : a + 1])


def length(rng: random.Random, proof: bytes, layout: Layout) -> bytes:
    return proof[: rng.randrange(len(proof))] if rng.randrange(2) else proof + rng.randbytes(rng.randrange(1, 99))


def header(rng: random.Random, proof: bytes, layout: Layout) -> bytes:
    """Another version, w or K; half of the time with the length that K asks for."""
    k = rng.choice([layout.columns, rng.randrange(256)])
    head = bytes([rng.choice([VERSION, rng.randrange(256)]), rng.choice([7, 8, 9, 10, 11, 12, proof[1]]), k])
    if rng.randrange(2) and 1 <= k <= 32:
        return head + (proof * 33)[HEADER_BYTES : proof_size(k)]
    return head + proof[HEADER_BYTES:]


def improper_point(rng: random.Random, proof: bytes, layout: Layout) -> bytes:
    """Infinity, off the curve, x not below p, uncompressed, or outside the subgroup."""
    at = rng.choice(_points(layout))
    bad = rng.choice([*BAD_POINTS.values(), lambda _: rng.choice(points_outside_the_subgroup())])
    return splice(proof, at, bad(proof[at : at + G1_BYTES]))


def other_point(rng: random.Random, proof: bytes, layout: Layout) -> bytes:
    """Another valid point: of this proof, the negative, or that of another proof."""
    at, source = rng.choice(_points(layout)), rng.choice([proof, case("cross-2").proof, case("span").proof])
    if rng.randrange(4) == 0:
        return splice(proof, at, bytes([proof[at] ^ 0x20]))
    of = rng.choice(_points(Layout(1 << source[1], source[2])))
    return splice(proof, at, source[of : of + G1_BYTES])


def other_scalar(rng: random.Random, proof: bytes, layout: Layout) -> bytes:
    """Plus one, plus r, zero, r - 1 or a random one."""
    at = rng.choice(_scalars(layout))
    value = int.from_bytes(proof[at : at + 32], "big")
    new = rng.choice([(value + 1) % FIELD_ORDER, value + FIELD_ORDER, 0, FIELD_ORDER - 1, rng.getrandbits(256)])
    return splice(proof, at, (new % (1 << 256)).to_bytes(32, "big"))


def swapped_elements(rng: random.Random, proof: bytes, layout: Layout) -> bytes:
    places = _points(layout) if rng.randrange(2) else _scalars(layout)
    size = G1_BYTES if places[0] == HEADER_BYTES else 32
    a, b = rng.sample(places, 2)
    return splice(splice(proof, a, proof[b : b + size]), b, proof[a : a + size])


PROOF_MUTATIONS = (
    bit_flip,
    byte_swap,
    length,
    header,
    improper_point,
    other_point,
    other_scalar,
    swapped_elements,
)


# --- mutations of what is asked ---


def _leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
    if items is None:
        yield path
        return
    for key, value in items:
        yield from _leaves(value, (*path, key))


def _other(rng: random.Random, value: Any) -> Any:
    """Another value of the same type, near enough to be read by the schema as often as not."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return rng.choice([value + 1, abs(value - 1), value * 2, rng.choice(DOMAINS)])
    at = rng.randrange(len(value)) if value else 0
    digit = rng.choice("0123456789")
    return rng.choice(
        [value[:at] + digit + value[at + 1 :], value + digit, "initial", "maintenance", "liquidation-end", "none"]
    )


def _changed(rng: random.Random, tree: Tree) -> Tree:
    out = copy.deepcopy(tree)
    path = rng.choice(list(_leaves(out)))
    node = out
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = _other(rng, node[path[-1]])
    return out


def _until(rng: random.Random, tree: Tree, load: Callable[[Tree], Any]) -> Any:
    """A change of one leaf that the file edge, which both verifiers share, lets through."""
    while True:
        changed = _changed(rng, tree)
        try:
            if changed != tree:
                return load(changed)
        except MalformedInput:
            continue


def statement_field(rng: random.Random, c: Case) -> Question:
    """Another statement; the proof may be for another system then, or none at all."""
    statement = _until(rng, dict(c.statement.tree), load_statement)
    return Question("statement field", c.snapshot, statement, c.proof, c.now)


def snapshot_field(rng: random.Random, c: Case) -> Question:
    """Another snapshot; two times in three the statement names it, so that only the proof can be wrong."""
    snapshot = _until(rng, dict(c.snapshot.tree), load_snapshot)
    tree = dict(c.statement.tree)
    if rng.randrange(3):
        tree |= {"snapshot": snapshot.digest.hex(), "rule": snapshot.rule_id}
    return Question("snapshot field", snapshot, load_statement(tree), c.proof, c.now)


def commitment(rng: random.Random, c: Case) -> Question:
    """A byte of the commitment, another valid point, or an improper one."""
    old = bytes.fromhex(c.statement.tree["commitment"])
    at = rng.randrange(48)
    new = rng.choice(
        [
            splice(old, at, rng.randbytes(1)),
            case("cross-3").statement.commitment,
            c.proof[3:51],
            bytes([old[0] ^ 0x20]) + old[1:],
            rng.choice(list(BAD_POINTS.values()))(old),
        ]
    )
    statement = load_statement(dict(c.statement.tree) | {"commitment": new.hex()})
    return Question("commitment", c.snapshot, statement, c.proof, c.now)


def clock(rng: random.Random, c: Case) -> Question:
    """Around each limit of the times, by a second."""
    limits = [c.statement.context.expiry, c.snapshot.time + c.statement.terms.horizon, c.snapshot.time - 30]
    return Question("clock", c.snapshot, c.statement, c.proof, rng.choice(limits) + rng.randint(-1, 1))


def other_proof(rng: random.Random, c: Case) -> Question:
    """A whole proof of another case, or a statement of another with this snapshot."""
    other = case(rng.choice(list(MAKERS)))
    if rng.randrange(2):
        return Question("other proof", c.snapshot, c.statement, other.proof, c.now)
    return Question("other proof", c.snapshot, other.statement, c.proof, c.now)


ASKED_MUTATIONS = (statement_field, snapshot_field, commitment, clock, other_proof)


#: Kinds of mutation: a multiple of this many questions has each equally often.
KINDS = len(PROOF_MUTATIONS) + len(ASKED_MUTATIONS)


def _mutated(rng: random.Random, c: Case, kind: int) -> Question:
    if kind < len(PROOF_MUTATIONS):
        mutate = PROOF_MUTATIONS[kind]
        return replace(c.question(), kind=mutate.__name__.replace("_", " "), proof=mutate(rng, c.proof, c.layout))
    return ASKED_MUTATIONS[kind - len(PROOF_MUTATIONS)](rng, c)


def questions(count: int, seed: int, names: Sequence[str] = tuple(MAKERS)) -> Iterator[Question]:
    """``count`` random mutations, spread evenly over their kinds and the cases; the same kinds for the same seed.

    What a mutation happens to leave as it was is drawn again, so only a clock within its limits lets a proof hold.
    """
    rng = random.Random(seed)
    for i in range(count):
        c = case(names[(i // KINDS) % len(names)])
        question = c.question()
        while replace(question, kind="none") == c.question():
            question = _mutated(rng, c, i % KINDS)
        yield question
