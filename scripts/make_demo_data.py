"""Write the demo's snapshot and portfolio from the table of published figures in ``service/demo_data/figures.json``.

    python scripts/make_demo_data.py

Prices, sizes, lots and maximum leverage are the published figures; the scenarios (shocks to majors and to the rest),
the position limits and the haircut of the spot line are this project's choice.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.units import PPM, format_fraction

HERE = Path(__file__).resolve().parent.parent / "service" / "demo_data"
MAJORS = {"BTC-PERP", "ETH-PERP", "SOL-PERP", "XRP-PERP", "BNB-PERP"}
#: (name, shock of majors, shock of everything else) in percent.
SHOCKS = (
    ("mark", 0, 0), ("all-5", -5, -5), ("all+5", 5, 5), ("all-10", -10, -10), ("all+10", 10, 10), ("all-15", -15, -15),
    ("all+15", 15, 15), ("all-20", -20, -20), ("all+20", 20, 20), ("majors+10/rest-10", 10, -10),
    ("majors-10/rest+10", -10, 10), ("majors-5/rest-15", -5, -15), ("majors-10/rest-25", -10, -25),
    ("majors+5/rest+20", 5, 20), ("rest-20", 0, -20), ("rest+20", 0, 20),
)  # fmt: skip
VALUE_DECIMALS = 12
#: Position limits: this many quote units of notional, rounded down to whole lots.
LIMIT_NOTIONAL = 100_000_000
SPOT_HAIRCUT_PPM = 500_000


def values(inst: dict[str, Any], lot: Fraction) -> list[str]:
    """Value of one lot in every scenario, rounded down to a fine quantum."""
    price = Fraction(inst["price"])
    out = []
    for _, majors, rest in SHOCKS:
        percent = 0 if inst["kind"] in ("quote", "credit") else majors if inst["id"] in MAJORS else rest
        value = price * lot * (100 + percent) / 100
        if inst["kind"] == "credit":
            value = -value
        out.append(format_fraction(Fraction(value * 10**VALUE_DECIMALS // 1, 10**VALUE_DECIMALS)))
    return out


def instrument(inst: dict[str, Any]) -> dict[str, Any]:
    """One registry line of the snapshot."""
    lot, price = Fraction(inst["lot"]), Fraction(inst["price"])
    lots = int(LIMIT_NOTIONAL / (price * lot))
    if inst["kind"] == "perpetual":
        risk: dict[str, Any] = {"tier": f"leverage-{inst['max_leverage']}"}
    else:
        risk = {"haircut_ppm": SPOT_HAIRCUT_PPM} if inst["kind"] == "spot" else {}
    return {
        "id": inst["id"], "kind": inst["kind"], "lot": inst["lot"], "position_limit": format_fraction(lots * lot),
        "mark": inst["price"], "values": values(inst, lot), "risk": risk,
    }  # fmt: skip


def main() -> int:
    """Write snapshot.json and portfolio.json beside figures.json."""
    figures = json.loads((HERE / "figures.json").read_text())
    time = int(datetime.fromisoformat(figures["as_of"]).timestamp())
    leverages = sorted({i["max_leverage"] for i in figures["instruments"] if i["kind"] == "perpetual"})
    tiers = {f"leverage-{m}": {"initial_ppm": -(-PPM // m), "maintenance_fraction_ppm": PPM // 2} for m in leverages}
    snapshot = {
        "schema": "zkmargin/snapshot/1",
        "time": time,
        "quote": {"currency": figures["quote"], "decimals": 6, "value_decimals": VALUE_DECIMALS},
        "rule": {"id": "cross-margin/1", "parameters": {"rounding": "per-lot", "tiers": tiers}},
        "scenarios": [name for name, _, _ in SHOCKS],
        "instruments": [instrument(i) for i in figures["instruments"]],
        "source": figures["source"],
    }
    portfolio = {
        "schema": "zkmargin/portfolio/1",
        "positions": [
            {"instrument": i["id"], "quantity": i["position"]} for i in figures["instruments"] if i["position"] != "0"
        ],
        "source": figures["source"],
    }
    (HERE / "snapshot.json").write_bytes(canonical_bytes(snapshot))
    (HERE / "portfolio.json").write_bytes(canonical_bytes(portfolio))
    print(f"{len(snapshot['instruments'])} instruments, {len(SHOCKS)} scenarios")
    return 0


if __name__ == "__main__":
    sys.exit(main())
