"""Invented accounts: a snapshot for every shipped rule and size, a commitment, statements, proofs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tests.vectors.seed import HUB, Stream, guard
from zkmargin.circuits import canonical
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.documents.statement import statement_from_bytes
from zkmargin.circuits.rules.span_scan import STANDARD
from zkmargin.circuits.units import format_quanta
from zkmargin.prover.commitment import Opening, commit
from zkmargin.prover.prove import prove
from zkmargin.service.vectors.case import Tree

if TYPE_CHECKING:
    from zkmargin.circuits.snapshot import Snapshot
    from zkmargin.circuits.statement import Statement

NOW = 1_700_000_000
EXPIRY = NOW + 600
TIERS = {
    "large": {"initial_ppm": 20_000, "maintenance_fraction_ppm": 600_000},
    "open": {
        "initial_ppm": 50_000, "maintenance_fraction_ppm": 600_000, "open_interest_lower": "1000",
        "open_interest_upper": "100000",
    },
}  # fmt: skip
CONTEXT: Tree = {
    "hub": HUB, "account": "alice", "epoch": 7, "spoke": "spoke-1", "nonce": "00112233445566778899aabbccddeeff",
    "expiry": EXPIRY,
}  # fmt: skip


def document(rule: Tree, scenarios: Sequence[str], instruments: Sequence[Tree]) -> Tree:
    """A snapshot document of dollars with two decimals, six for values."""
    return {
        "schema": "zkmargin/snapshot/1", "time": NOW, "quote": {"currency": "USD", "decimals": 2, "value_decimals": 6},
        "rule": rule, "scenarios": list(scenarios), "instruments": list(instruments), "source": "invented",
    }  # fmt: skip


def line(name: str, kind: str, lot: str, mark: str, values: Sequence[str], risk: Tree, limit: str = "1000000") -> Tree:
    """One instrument."""
    return {
        "id": name, "kind": kind, "lot": lot, "position_limit": limit, "mark": mark, "values": list(values),
        "risk": risk,
    }  # fmt: skip


def cross(instruments: int, scenarios: int, *, rounding: str = "per-lot", limit: str = "1000000") -> Tree:
    """Cross margin: cash, a credit line, then perpetuals and spot in turn, with values drawn from the seed."""
    draw = Stream(f"cross/{instruments}/{scenarios}")
    lines = [
        line("USD", "quote", "0.01", "1", ["0.01"] * scenarios, {}, limit),
        line("CREDIT", "credit", "0.01", "1", ["-0.01"] * scenarios, {}, limit),
    ]
    for row in range(2, instruments):
        perpetual = row % 2 == 0
        unit = 642_500 if perpetual else 250_500
        moves = [unit] + [unit * draw.number(80, 120) // 100 for _ in range(scenarios - 1)]
        values = [format_quanta(v, 6) for v in moves]
        if perpetual:
            risk: Tree = {"tier": "open" if row % 4 else "large", "open_interest": "300", "latency_ppm": 1000}
            lines.append(line(f"PERP-{row}", "perpetual", "0.01", "64.25", values, risk, limit))
        else:
            risk = {"haircut_ppm": 100_000, "latency_ppm": 0}
            lines.append(line(f"SPOT-{row}", "spot", "0.001", "250.5", values, risk, limit))
    rule = {"id": "cross-margin/1", "parameters": {"rounding": rounding, "tiers": TIERS}}
    return document(rule, [f"scenario-{s}" for s in range(scenarios)], lines[:instruments])


def tiered() -> Tree:
    """Tiered margin with every kind of overlay."""
    table = [
        {"lower": "0", "initial_ppm": 20_000, "maintenance_ppm": 10_000},
        {"lower": "50000", "initial_ppm": 50_000, "maintenance_ppm": 25_000},
        {"lower": "250000", "initial_ppm": 100_000, "maintenance_ppm": 50_000},
    ]
    overlays = {
        "concentrated": [{"type": "concentration", "max_ppm": 800_000}],
        "delta": [{"type": "greek-limit", "greek": "delta", "max": "50"}],
        "leverage": [{"type": "leverage-cap", "max": "5"}],
        "no-gold": [{"type": "banned", "instruments": ["GOLD"]}, {"type": "minimum-equity", "amount": "1000"}],
        "slow": [{"type": "latency-buffer", "daily_ppm": 20_000}],
    }
    rule = {"id": "tiered-margin/1", "parameters": {"tables": {"t": table}}, "overlays": overlays}
    return document(
        rule,
        ["mark", "down"],
        [
            line("USD", "quote", "1", "1", ["1", "1"], {}),
            line("BTC", "perpetual", "0.1", "100", ["10", "8"], {"table": "t"}) | {"greeks": {"delta": "0.1"}},
            line("ETH", "perpetual", "0.1", "10", ["1", "0.7"], {"table": "t"}) | {"greeks": {"delta": "0.01"}},
            line("GOLD", "spot", "0.1", "50", ["5", "4.9"], {"haircut_ppm": 100_000}),
        ],
    )


def loans() -> Tree:
    """Collateral and loans with one category."""
    categories = {"stable": {"ltv_ppm": 930_000, "threshold_ppm": 950_000}}
    cash = {"ltv_ppm": 770_000, "threshold_ppm": 800_000, "category": "stable"}
    stable = {"ltv_ppm": 750_000, "threshold_ppm": 780_000, "category": "stable"}
    return document(
        {"id": "collateral-loan/1", "parameters": {"categories": categories}},
        ["mark", "down"],
        [
            line("USD", "quote", "1", "1", ["1", "1"], cash),
            line("DAI", "spot", "0.1", "1", ["0.1", "0.099"], stable),
            line("ETH", "spot", "0.1", "2000", ["200", "150"], {"ltv_ppm": 800_000, "threshold_ppm": 825_000}),
            line("CREDIT", "credit", "1", "1", ["-1", "-1"], {}),
        ],
    )


def _array(mark: int, move: int, vega: int) -> list[str]:
    """Value of a lot of 0.1 in the 16 standard scenarios, in whole fine quanta, rounded down."""
    return [format_quanta((3 * mark + move * p + 3 * vega * v) * 10**6 // 30, 6) for p, v, _ in STANDARD]


def span(form: str) -> Tree:
    """SPAN-style scan with a calendar spread, by the lemma or by an election."""
    spread = {"months": ["m1", "m2"], "charge": "3.1", "outright": "1.6", "form": form}
    parameters = {
        "weights_ppm": [weight for _, _, weight in STANDARD],
        "initial_factor_ppm": 1_100_000,
        "groups": {"A": {"short_option_minimum": "0.25", "spreads": [spread]}, "B": {}},
    }
    month = {"group": "A", "month": "m1", "delta": "0.1"}
    return document(
        {"id": "span-scan/1", "parameters": parameters},
        [f"s{i}" for i in range(16)],
        [
            line("USD", "quote", "1", "1", ["1"] * 16, {}),
            line("F1", "future", "0.1", "100", _array(100, 12, 0), month),
            line("F2", "future", "0.1", "101", _array(101, 11, 0), month | {"month": "m2"}),
            line("C1", "option", "0.1", "5", _array(5, 4, 1), month | {"delta": "0.05"}),
            line("X", "perpetual", "0.1", "50", _array(50, 7, 0), {"group": "B"}),
            line("GOLD", "spot", "0.1", "50", ["5"] * 16, {"haircut_ppm": 100_000}),
        ],
    )


def portfolio() -> Tree:
    """Portfolio margin: two expiries, both sides of one strike, a skew scenario."""
    ppb = 10**9
    expiry = {
        "gain_ppb": ppb * 95 // 100, "loss_ppb": ppb * 104 // 100, "basis_ppb": ppb // 2,
        "short_maintenance_ppb": 13_000_000, "short_initial_ppb": 15_000_000, "gross_initial_ppb": 5_000_000,
    }  # fmt: skip
    parameters = {
        "mark": "mark", "basis_up": "basis-up", "basis_down": "basis-down", "index": "200",
        "maintenance_loss_ppb": ppb * 8 // 10, "initial_loss_ppb": ppb,
        "scenarios": {"up": {"kind": "regular"}, "down": {"kind": "regular", "dampening_ppb": ppb * 9 // 10},
                      "skew": {"kind": "skew", "dampening_ppb": ppb}},
        "expiries": {"near": expiry, "far": expiry | {"gross_initial_ppb": 0}},
    }  # fmt: skip
    plain = {"maintenance_ppb": 15_000_000, "initial_ppb": 20_000_000}
    call: Tree = {"expiry": "near", "strike": "190", "type": "call", "latency_ppm": 500}
    names = ["mark", "basis-up", "basis-down", "up", "down", "skew"]
    return document(
        {"id": "portfolio-margin/1", "parameters": parameters},
        names,
        [
            line("USD", "quote", "0.01", "1", ["0.01"] * 6, {}),
            line("BASE", "spot", "0.01", "200", ["2", "2.1", "1.9", "2.4", "1.6", "2"], plain),
            # A position in the perpetual is marked to market from its entry, which the cash holds.
            line("PERP", "perpetual", "0.01", "201", ["2.01", "2.11", "1.91", "2.41", "1.61", "2.01"], plain),
            line("CALL-190", "option", "0.01", "14.5", ["0.145", "0.21", "0.09", "0.5", "0.001", "0.15"], call),
            line("PUT-190", "option", "0.01", "6", ["0.06", "0.03", "0.11", "0.002", "0.31", "0.07"],
                 call | {"type": "put"}),
            line("PUT-150", "option", "0.01", "9", ["0.09", "0.07", "0.12", "0.04", "0.2", "0.11"],
                 {"expiry": "far", "strike": "150", "type": "put"}),
        ],
    )  # fmt: skip


@dataclass(frozen=True)
class Account:
    """An opened commitment on a snapshot. ``terms`` are members that its statements have unless changed."""

    name: str
    tree: Tree
    lots: tuple[int, ...]
    domain: int
    terms: Tree

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot, through the file edge."""
        return load_snapshot(self.name)

    @property
    def opening(self) -> Opening:
        """The opening, its blinding from the public seed."""
        return opened(self.name)[1]

    @property
    def commitment(self) -> bytes:
        """The commitment, 48 bytes."""
        return opened(self.name)[0]

    def statement_tree(self, **changes: Any) -> Tree:
        """A statement document about this account; ``changes`` replace members, those of the context too."""
        context = CONTEXT | {k: changes.pop(k) for k in list(changes) if k in CONTEXT}
        return {
            "schema": "zkmargin/statement/1", "type": "account-solvency", "commitment": self.commitment.hex(),
            "domain": self.domain, "snapshot": self.snapshot.digest.hex(), "rule": self.snapshot.rule_id,
            "level": "initial", "multiplier": "1", "horizon": 3600, "amount": "0", "delta": [], "context": context,
        } | self.terms | changes  # fmt: skip

    def statement(self, **changes: Any) -> Statement:
        """The statement, through the file edge."""
        return statement_from_bytes(canonical.canonical_bytes(self.statement_tree(**changes)))

    def proof(self, **changes: Any) -> str:
        """The honest proof of a statement, in hex. Its randomness depends on the statement."""
        return _proof(self.name, self.statement(**changes)).hex()


def prove_statement(stated: Statement, snap: Snapshot, opening: Opening) -> bytes:
    """Prove with public randomness; statements of other hubs than the vectors' are refused."""
    guard(stated)
    return prove(stated, snap, opening, randomness=Stream(f"proof/{stated.digest.hex()}").scalars)


@lru_cache(maxsize=256)
def _proof(name: str, stated: Statement) -> bytes:
    return prove_statement(stated, ACCOUNTS[name].snapshot, ACCOUNTS[name].opening)


@lru_cache(maxsize=64)
def load_snapshot(name: str) -> Snapshot:
    """An account's snapshot."""
    return snapshot_from_bytes(canonical.canonical_bytes(ACCOUNTS[name].tree))


@lru_cache(maxsize=64)
def opened(name: str) -> tuple[bytes, Opening]:
    """An account's commitment and its opening."""
    account = ACCOUNTS[name]
    return commit(account.lots, account.domain, randomness=Stream(f"opening/{name}").scalars)


def _cross_lots(instruments: int) -> tuple[int, ...]:
    draw = Stream(f"lots/{instruments}")
    return (100_000_000, 1234, *(draw.number(-3000, 3000) for _ in range(instruments - 2)))


#: The best choice of the portfolio-margin account: the sign of the shocked value of each expiry.
SKEW = {"skew/far": "long", "skew/near": "short"}


def _all() -> dict[str, Account]:
    large = "100000000000"
    found = [
        Account("cross", cross(4, 3), _cross_lots(4), 256, {}),
        Account("cross-other", cross(5, 4), _cross_lots(5), 256, {}),
        Account("cross-position", cross(4, 3, rounding="per-position"), _cross_lots(4), 256, {}),
        Account("cross-512", cross(4, 3), _cross_lots(4), 512, {}),
        Account("cross-1024", cross(4, 3), _cross_lots(4), 1024, {}),
        Account("cross-2048", cross(4, 3), _cross_lots(4), 2048, {}),
        Account("cross-k2", cross(9, 9, limit=large), _cross_lots(9), 256, {}),
        Account("cross-k3", cross(16, 20, limit=large), _cross_lots(16), 256, {}),
        Account("cross-k4", cross(30, 24, limit=large), _cross_lots(30), 256, {}),
        Account("tiered", tiered(), (60_000, 300, -900, 40), 256, {}),
        Account("loans", loans(), (5_000, -3_000, 40, 100), 256, {"elections": {"emode": "none"}}),
        Account("span", span("lemma"), (9_000, 30, -20, -8, 15, 12), 512, {}),
        Account(
            "span-election", span("election"), (9_000, 30, -20, -8, 15, 12), 512, {"elections": {"A.spreads": "short"}}
        ),
        Account("portfolio", portfolio(), (500_000, 200, -150, -100, 120, -60), 512, {"elections": SKEW}),
    ]
    return {account.name: account for account in found}


ACCOUNTS = _all()
