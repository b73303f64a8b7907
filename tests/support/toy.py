"""Small snapshots, accounts, statements on a domain of 256, and a toy SRS whose tau is known."""

from __future__ import annotations

import copy
import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import pytest
from py_arkworks_bls12381 import G1Point, G2Point, Scalar

from zkmargin.circuits.compiler import Auxiliary, Program, Slack
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.documents.statement import statement_from_bytes
from zkmargin.circuits.errors import ProofRejected
from zkmargin.circuits.expression import Shared
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.statement import BoundStatement, Statement, bind
from zkmargin.circuits.units import format_fraction, format_quanta
from zkmargin.prover.commitment import Opening, commit
from zkmargin.prover.prove import prove
from zkmargin.prover.witness import Witness, build_witness
from zkmargin.verifier.argument.instance import Instance
from zkmargin.verifier.field import batch_inverse, domain, powers, scalar, vanishing
from zkmargin.verifier.srs import Srs, VerifierKey
from zkmargin.verifier.verify import instance_of, verify

#: Cases and vectors of others, next to the repository and no part of it.
NOW = 1_700_000_000
DOMAIN = 256
#: lot and mark of each kind of instrument; money has 2 decimals, values per lot 6.
KINDS = {
    "quote": ("0.01", "1"),
    "credit": ("0.01", "1"),
    "spot": ("0.001", "250.5"),
    "perpetual": ("0.01", "64.25"),
}
TIERS = {
    "large": {"initial_ppm": 20_000, "maintenance_fraction_ppm": 600_000},
    "open": {
        "initial_ppm": 50_000,
        "maintenance_fraction_ppm": 600_000,
        "open_interest_lower": "1000",
        "open_interest_upper": "100000",
    },
}

Tree = dict[str, Any]


def kind_of(row: int) -> str:
    """Row 0 is cash, row 1 a loan, then perpetuals and spot in turn."""
    return {0: "quote", 1: "credit"}.get(row, "perpetual" if row % 2 == 0 else "spot")


def snapshot_tree(
    instruments: int = 5,
    scenarios: int = 3,
    *,
    rounding: str = "per-lot",
    limit: str = "1000000",
    seed: int = 1,
) -> Tree:
    """A snapshot document with pseudo-random scenario values; ``limit`` is every position limit in units."""
    rng = random.Random(seed)
    lines: list[Tree] = []
    for row in range(instruments):
        kind = kind_of(row)
        lot, mark = KINDS[kind]
        unit = {"quote": 10_000, "credit": -10_000, "spot": 250_500, "perpetual": 642_500}[kind]
        moves = [unit] + [unit * rng.randint(80, 120) // 100 for _ in range(scenarios - 1)]
        values = moves if kind in ("spot", "perpetual") else [unit] * scenarios
        risk: Tree = {}
        if kind == "perpetual":
            risk = {"tier": "open" if row % 4 else "large", "open_interest": "300", "latency_ppm": 1000}
        elif kind == "spot":
            risk = {"haircut_ppm": 100_000, "latency_ppm": 0}
        lines.append(
            {
                "id": f"{kind.upper()}-{row}",
                "kind": kind,
                "lot": lot,
                "position_limit": limit,
                "mark": mark,
                "values": [format_quanta(v, 6) for v in values],
                "risk": risk,
            }
        )
    return {
        "schema": "zkmargin/snapshot/1",
        "time": NOW,
        "quote": {"currency": "USD", "decimals": 2, "value_decimals": 6},
        "rule": {"id": "cross-margin/1", "parameters": {"rounding": rounding, "tiers": copy.deepcopy(TIERS)}},
        "scenarios": [f"scenario-{s}" for s in range(scenarios)],
        "instruments": lines,
        "source": "tests",
    }


def load_snapshot(tree: Tree) -> Snapshot:
    """Through the file edge, as a verifier would."""
    return snapshot_from_bytes(json.dumps(tree).encode())


def load_statement(tree: Tree) -> Statement:
    """Through the file edge, as a verifier would."""
    return statement_from_bytes(json.dumps(tree).encode())


def statement_tree(snapshot: Snapshot, commitment: bytes, **changes: Any) -> Tree:
    """A statement document about ``commitment``; ``changes`` replace top-level fields."""
    tree: Tree = {
        "schema": "zkmargin/statement/2",
        "type": "account-solvency",
        "purpose": {"for": "show"},
        "commitment": commitment.hex(),
        "domain": DOMAIN,
        "snapshot": snapshot.digest.hex(),
        "rule": snapshot.rule_id,
        "level": "initial",
        "multiplier": "1",
        "horizon": 3600,
        "amount": "0",
        "delta": [],
        "context": {
            "hub": "hub-1",
            "account": "alice",
            "epoch": 7,
            "spoke": "spoke-1",
            "nonce": "00112233445566778899aabbccddeeff",
            "expiry": NOW + 600,
        },
    }
    return tree | changes


def portfolio(instruments: int, *, cash: int = 100_000_000, seed: int = 1) -> list[int]:
    """Lots: much cash, a small loan, small positions of both signs."""
    rng = random.Random(seed)
    small = [rng.randint(-3000, 3000) for _ in range(max(0, instruments - 2))]
    return [cash, 1234, *small][:instruments]


def trade(snapshot: Snapshot, row: int, lots: int) -> Tree:
    """One entry of a statement's delta."""
    inst = snapshot.instruments[row]
    return {"instrument": inst.id, "quantity": format_fraction(lots * inst.lot)}


@dataclass(frozen=True)
class Account:
    """An opened commitment on a snapshot, with what tests derive from it."""

    snapshot: Snapshot
    opening: Opening
    commitment: bytes

    def statement(self, **changes: Any) -> Statement:
        """A statement about this account."""
        return load_statement(statement_tree(self.snapshot, self.commitment, **changes))

    def proof(self, **changes: Any) -> tuple[Statement, bytes]:
        """A statement and its honest proof."""
        statement = self.statement(**changes)
        return statement, prove(statement, self.snapshot, self.opening)


@dataclass(frozen=True)
class Bound:
    """A statement bound to integers and to the curve, with its honest witness."""

    bound: BoundStatement
    instance: Instance
    witness: Witness


def open_account(snapshot: Snapshot, lots: Sequence[int]) -> Account:
    """Commit to ``lots`` with fresh blinding on the shipped SRS."""
    commitment, opening = commit(lots, DOMAIN)
    return Account(snapshot, opening, commitment)


def bind_all(account: Account, statement: Statement) -> Bound:
    """Everything that the honest prover starts from."""
    bound = bind(statement, account.snapshot)
    return Bound(bound, instance_of(bound), build_witness(bound, account.snapshot, account.opening.lots))


@lru_cache
def sample_snapshot(columns: int) -> Snapshot:
    """A snapshot whose system takes exactly ``columns`` (1, 2 or 3) limb columns of 256 rows."""
    size, limit = {1: ((4, 3), "1000000"), 2: ((9, 9), "100000000000"), 3: ((16, 20), "100000000000")}[columns]
    return load_snapshot(snapshot_tree(*size, limit=limit))


@lru_cache
def sample_account(columns: int) -> Account:
    """A solvent account on :func:`sample_snapshot`."""
    snapshot = sample_snapshot(columns)
    return open_account(snapshot, portfolio(len(snapshot.instruments)))


@lru_cache
def sample_proof(columns: int) -> tuple[Statement, bytes]:
    """Its statement and honest proof, made once."""
    return sample_account(columns).proof()


def lagrange_at(n: int, point: Scalar) -> list[Scalar]:
    """L_i(point) = omega**i Z(point) / (n (point - omega**i)) for i < n."""
    h = domain(n)
    inverses = batch_inverse([point - x for x in h], vanishing(n, point) * scalar(n).inverse())
    return [a * x for a, x in zip(inverses, h, strict=True)]


class ToySrs(Srs):
    """An SRS whose tau everybody knows: for simulators, equivocation and broken structures."""

    def __init__(self, tau: int = 0xBADC0FFEE, size: int = 2 * DOMAIN + 16) -> None:
        self.tau = scalar(tau)
        self.size = size
        self.digest = hashlib.sha256(b"toy" + tau.to_bytes(32, "big")).digest()

    @cached_property
    def powers_g1(self) -> list[G1Point]:
        """[tau**k]_1."""
        return [G1Point() * t for t in powers(self.tau, self.size)]

    @cached_property
    def powers_g2(self) -> list[G2Point]:
        """[tau**k]_2."""
        return [G2Point() * t for t in powers(self.tau, 65)]

    @lru_cache  # noqa: B019 - a handful of instances in a test run
    def lagrange(self, n: int) -> list[G1Point]:
        """[L_i(tau)]_1."""
        return [G1Point() * value for value in lagrange_at(n, self.tau)]

    @cached_property
    def key(self) -> VerifierKey:
        """The verifier's part."""
        return VerifierKey(G1Point(), G2Point(), G2Point() * self.tau, self.digest)


def edge_account(scenarios: int, worst: int) -> tuple[Account, int]:
    """An account whose worst scenario is ``worst`` alone, and its net margin there.

    One fine quantum is one quote quantum. Instrument 1 + s falls in scenario s only; only 1 + worst is held.
    """
    cash = {"id": "USD", "kind": "quote", "lot": "0.01", "position_limit": "1000000", "mark": "1", "risk": {}}
    lines: list[Tree] = [cash | {"values": ["0.01"] * scenarios}]
    for s in range(scenarios):
        values = ["100"] * scenarios
        values[s] = "60"
        spot = {"id": f"SPOT-{s}", "kind": "spot", "lot": "1", "position_limit": "1000000", "mark": "100"}
        lines.append(spot | {"values": values, "risk": {"haircut_ppm": 50_000}})
    tree = snapshot_tree(1, scenarios) | {"instruments": lines}
    tree["quote"]["value_decimals"] = 2
    lots = [500] + [0] * scenarios
    lots[1 + worst] = 7
    return open_account(load_snapshot(tree), lots), 500 + 7 * (6000 - 500)


def settle(program: Program, z: Sequence[int], values: Sequence[int], amount: int) -> list[int]:
    """Recompute, row by row, what the other variables determine: shared terms and (maybe negative) slacks."""
    out = list(values)
    shared = {
        definition.expression.name: k
        for k, definition in enumerate(program.definitions)
        if isinstance(definition, Auxiliary) and isinstance(definition.expression, Shared)
    }
    slacks = {definition.row: k for k, definition in enumerate(program.definitions) if isinstance(definition, Slack)}
    for i, row in enumerate(program.system.rows):
        own = slacks.get(i, shared.get(row.name.removeprefix("shared(").removesuffix(")")))
        if own is not None:
            rest = sum(f * z[j] for j, f in row.positions.items()) + row.constant - row.amount_factor * amount
            rest += sum(a * out[k] for k, a in row.variables.items() if k != own)
            assert rest % row.variables[own] == 0
            out[own] = -rest // row.variables[own]
    return out


def refused(statement: Statement, account: Account, proof: bytes, error: type[Exception] = ProofRejected) -> None:
    """The proof is refused with exactly this error."""
    with pytest.raises(error) as caught:
        verify(statement, account.snapshot, proof, now=NOW)
    assert type(caught.value) is error


def random_scalar(rng: random.Random) -> Scalar:
    """A reproducible, well-spread scalar."""
    return scalar(rng.getrandbits(320))


def horner(coefficients: Sequence[Scalar], point: Scalar) -> Scalar:
    """A polynomial's value, the slow and obvious way."""
    total = scalar(0)
    for value in reversed(coefficients):
        total = total * point + value
    return total


def solve(matrix: Sequence[Sequence[Scalar]], right: Sequence[Scalar]) -> list[Scalar]:
    """The solution of a small regular linear system, by Gauss-Jordan elimination."""
    size = len(right)
    rows = [[*line, value] for line, value in zip(matrix, right, strict=True)]
    for column in range(size):
        pivot = next(i for i in range(column, size) if not rows[i][column].is_zero())
        rows[column], rows[pivot] = rows[pivot], rows[column]
        inverse = rows[column][column].inverse()
        rows[column] = [value * inverse for value in rows[column]]
        for i in range(size):
            if i != column:
                factor = rows[i][column]
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[column], strict=True)]
    return [row[size] for row in rows]
