"""The oracle of Derive's published PMRM v2 accounts: a case file to a snapshot and a portfolio in lots.

Prices options by Black-76 on the forward in plain floats and rounds once, as an oracle would; formulas are those of
derivexyz/v2-core, named by function of ``src/risk-managers/PMRMLib_2.sol``. Cases stay outside the repository.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.support.places import SHARED
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.snapshot import Snapshot
from zkmargin.circuits.units import format_fraction, format_quanta

FOLDER = SHARED / "cases" / "derive_pmrm2"
NOW = 1_739_934_748
QUOTE_DECIMALS, VALUE_DECIMALS = 6, 12
PPB = 10**9
DAY, YEAR = 86_400, 365 * 86_400
#: Forwards of expiries nearer than this are partly settled: a shock moves the rest only (the cases' own test).
SETTLEMENT = 1800

Tree = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A published account: the snapshot of its public data, its positions in lots, and what Derive says."""

    name: str
    snapshot: Snapshot
    lots: tuple[int, ...]
    expected: dict[str, float]
    losses: tuple[tuple[str, float], ...]


def paths() -> list[Path]:
    """Case files in their own order; empty where the folder is missing."""
    return sorted(FOLDER.glob("test_*.json"), key=lambda path: int(path.stem.split("_")[1]))


def black76(forward: float, strike: float, deviation: float, discount: float, *, call: bool) -> float:
    """Black-76 with ``deviation`` = volatility * sqrt(years); intrinsic value where it is zero."""
    if deviation <= 0 or forward <= 0:
        return discount * max(0.0, forward - strike if call else strike - forward)
    d1 = math.log(forward / strike) / deviation + deviation / 2
    d2 = d1 - deviation
    sign = 1 if call else -1
    return discount * sign * (forward * normal(sign * d1) - strike * normal(sign * d2))


def normal(x: float) -> float:
    """Standard normal distribution function; exact in the tails."""
    return math.erfc(-x / math.sqrt(2)) / 2


@dataclass(frozen=True)
class Expiry:
    """One expiry's feed under the case's parameters."""

    seconds: int
    feed: Tree
    parameters: Tree

    @property
    def id(self) -> str:
        return f"E{self.seconds}"

    @property
    def years(self) -> float:
        return self.seconds / YEAR

    @property
    def rate(self) -> float:
        """Interest rates are never below zero (PMRM_2._initialiseExpiries)."""
        return max(float(self.feed["Rate"]), 0.0)

    @property
    def discount(self) -> float:
        return math.exp(-self.rate * self.years)

    def static_discounts(self) -> tuple[float, float]:
        """Of a positive and of a negative shocked value (_addStaticDiscount)."""
        p = self.parameters["Margin"]
        gain = p["BASE_STATIC_DISCOUNT"] * math.exp(
            -self.years * (self.rate * p["LONG_RATE_MULTSCALE"] + p["LONG_RATE_ADDSCALE"])
        )
        loss = p["BASE_STATIC_DISCOUNT_NEG"] * math.exp(
            self.years * (self.rate * p["SHORT_RATE_MULTSCALE"] + p["SHORT_RATE_ADDSCALE"])
        )
        return gain, min(1 / self.discount, loss)

    def basis_factor(self) -> float:
        """_addBasisContingency."""
        p = self.parameters["BasisContingency"]
        return float(p["BASIS_CONT_ADD_FACTOR"] + p["BASIS_CONT_MULT_FACTOR"] * self.years)

    def forward(self, shock: float) -> float:
        """Forward price after a spot shock; the settled part does not move."""
        forward = float(self.feed["Forward"])
        variable = min(1.0, self.seconds / SETTLEMENT)
        return forward * (1 + variable * (shock - 1))

    def volatility(self, vol: float, strike: float, direction: str) -> float:
        """Up and down by _addVolShocks, LINEAR and ABS by _getExpirySkewedShockedMTM."""
        if direction in ("LINEAR", "ABS"):
            p, root = self.parameters["SkewShock"], math.sqrt(self.years)
            cap = p[f"{direction}_CBASE"] * root + p[f"{direction}_SCALE_CAP"]
            width = root * p["MIN_WIDTH_SCALE"] * (p["VOL_PARAM_STATIC"] + root * p["VOL_PARAM_SCALE"])
            k = math.log(strike / self.forward(1.0))
            k = abs(k) if direction == "ABS" else k
            slope = k * cap / max(p["MIN_K_STAR"], width)
            return vol * max(0.0, 1 + float(min(cap, slope) if k >= 0 else max(-cap, slope)))
        p = self.parameters["VolShock"]
        power = p["SHORTTERMPOWER"] if self.seconds <= 30 * DAY else p["LONGTERMPOWER"]
        size = (30 * DAY / max(self.seconds, p["DTE_FLOOR"] * DAY)) ** power
        if direction == "Up":
            return float(max(p["MIN_VOL_EVAL_SHOCKED"], vol * (1 + p["VOLRANGEUP"] * size)))
        return vol * max(0.0, 1 - p["VOLRANGEDOWN"] * size) if direction == "Down" else vol

    def price(self, option: Tree, shock: float, direction: str) -> float:
        """An option's value per unit in a scenario."""
        vol = self.volatility(float(option["MarkVol"]), option["Strike"], direction)
        forward, deviation = self.forward(shock), vol * math.sqrt(self.years)
        return black76(forward, option["Strike"], deviation, self.discount, call=bool(option["IsCall"]))


def floor_ppb(value: float) -> int:
    """Parts per billion, rounded down."""
    return math.floor(Fraction(str(value)) * PPB)


def ceil_ppb(value: float) -> int:
    """Parts per billion, rounded up against the account."""
    return math.ceil(Fraction(str(value)) * PPB)


def decimals_of(quantity: float) -> int:
    """Decimals of a quantity as it is printed."""
    exponent = Decimal(str(quantity)).normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def instrument(
    name: str, kind: str, quantity: float, prices: Iterable[float], mark: float, risk: Tree
) -> tuple[Tree, int]:
    """A registry line with a lot that holds the quantity, and the quantity in lots."""
    lot = Fraction(1, 10 ** max(2, decimals_of(quantity)))
    limit = 10 ** max(2, math.ceil(math.log10(max(abs(quantity), 1))))
    unit = lot * 10**VALUE_DECIMALS
    line: Tree = {
        "id": name,
        "kind": kind,
        "lot": format_fraction(lot),
        "position_limit": str(limit),
        "mark": format_quanta(round(Fraction(mark) * 10**VALUE_DECIMALS), VALUE_DECIMALS),
        "values": [format_quanta(round(Fraction(price) * unit), VALUE_DECIMALS) for price in prices],
        "risk": risk,
    }
    lots = Fraction(str(quantity)) / lot
    assert lots.denominator == 1
    return line, int(lots)


@dataclass(frozen=True)
class Oracle:
    """The public side of a case."""

    scenario: Tree
    parameters: Tree

    @property
    def spot_confidence(self) -> float:
        return float(self.scenario["SpotConfidence"])

    @property
    def confidence(self) -> float:
        """Of spot, and of the perpetual where it is held (PMRM_2._arrangePortfolio)."""
        held = self.scenario["NumPerps"] != 0
        return min(self.spot_confidence, self.scenario["PerpConfidence"]) if held else self.spot_confidence

    def confidence_rate(self, confidence: float) -> float:
        """_getConfidenceContingency."""
        p = self.parameters["OtherContingency"]
        return (1 - confidence) * p["CONF_MARGIN"] if confidence < p["CONF_THRESHOLD"] else 0.0

    def initial_loss(self) -> float:
        """Initial loss factor with the peg loss (getMarginAndMarkToMarket)."""
        p = self.parameters["OtherContingency"]
        gap = max(0.0, p["PEG_LOSS_THRESHOLD"] - self.scenario["StablePrice"])
        return float(self.parameters["Margin"]["IM_LOSS_FACTOR"] + gap * p["PEG_LOSS_FACTOR"])

    def expiries(self) -> dict[int, Expiry]:
        feeds = self.scenario["OptionFeeds"]
        return {feed["FeedExpiry"]: Expiry(feed["FeedExpiry"], feed, self.parameters) for feed in feeds}

    def columns(self) -> dict[str, tuple[float, str]]:
        """Snapshot scenarios: the losses, and mark and basis shocks where they are none of these."""
        basis = self.parameters["BasisContingency"]
        shocks = [(s["SpotShock"], s["VolShockDirection"]) for s in self.parameters["Scenarios"]]
        shocks += [(1, "None"), (basis["SCENARIO_SPOT_UP"], "None"), (basis["SCENARIO_SPOT_DOWN"], "None")]
        return {scenario_name(*shock): shock for shock in shocks}

    def rule_parameters(self) -> Tree:
        p, basis, margin = self.parameters["OtherContingency"], self.parameters["BasisContingency"], {}
        for expiry in self.expiries().values():
            gain, loss = expiry.static_discounts()
            confidences = [expiry.feed[k] for k in ("ForwardConfidence", "RateConfidence", "OptionVolConfidences")]
            margin[expiry.id] = {
                "gain_ppb": floor_ppb(gain),
                "loss_ppb": ceil_ppb(loss),
                "basis_ppb": ceil_ppb(expiry.basis_factor()),
                "short_maintenance_ppb": ceil_ppb(p["MM_OPTION_PERCENT"]),
                "short_initial_ppb": ceil_ppb(p["MM_OPTION_PERCENT"] + p["IM_OPTION_PERCENT"]),
                "gross_initial_ppb": ceil_ppb(self.confidence_rate(min(self.confidence, *confidences))),
            }
        return {
            "mark": scenario_name(1, "None"),
            "basis_up": scenario_name(basis["SCENARIO_SPOT_UP"], "None"),
            "basis_down": scenario_name(basis["SCENARIO_SPOT_DOWN"], "None"),
            "index": str(Decimal(repr(self.scenario["SpotPrice"]))),
            "maintenance_loss_ppb": ceil_ppb(self.parameters["Margin"]["MM_LOSS_FACTOR"]),
            "initial_loss_ppb": ceil_ppb(self.initial_loss()),
            "scenarios": {
                scenario_name(s["SpotShock"], s["VolShockDirection"]): {
                    "kind": "skew" if s["VolShockDirection"] in ("LINEAR", "ABS") else "regular",
                    "dampening_ppb": ceil_ppb(s["DampeningFactor"]),
                }
                for s in self.parameters["Scenarios"]
            },
            "expiries": margin,
        }

    def lines(self) -> list[tuple[Tree, int]]:
        """Every registry line with the account's lots."""
        s, columns = self.scenario, self.columns()
        perps, index = s["NumPerps"], self.parameters["OtherContingency"]
        unit = format_quanta(1, QUOTE_DECIMALS)
        # The holder's cash is signed: profit and funding of the perpetual settled, its price paid.
        cash = sum(Fraction(str(s[k])) for k in ("Cash", "UnrealisedPerpPNL", "UnrealisedFunding"))
        cash -= Fraction(str(perps)) * Fraction(str(s["PerpPrice"]))
        quote: Tree = {
            "id": "USDC", "kind": "quote", "lot": unit, "position_limit": "100000000", "mark": "1",
            "values": [unit] * len(columns), "risk": {},
        }  # fmt: skip
        out = [(quote, math.floor(cash * 10**QUOTE_DECIMALS))]
        risk: Tree
        for c in s["Collaterals"]:
            price = c["Price"] / s["StablePrice"]
            prices = [price * (shock if c["IsRiskCancelling"] else 1) for shock, _ in columns.values()]
            unsure = self.confidence_rate(min(c["Confidence"], self.spot_confidence))
            initial = c["MMHaircut"] + c["IMHaircut"] + unsure
            risk = {"maintenance_ppb": ceil_ppb(c["MMHaircut"]), "initial_ppb": ceil_ppb(initial)}
            out.append(instrument(c["Name"], "spot", c["Amount"], prices, price, risk))
        if perps:
            prices = [s["PerpPrice"] * shock for shock, _ in columns.values()]
            initial = index["MM_PERP_PERCENT"] + index["IM_PERP_PERCENT"] + self.confidence_rate(self.confidence)
            risk = {"maintenance_ppb": ceil_ppb(index["MM_PERP_PERCENT"]), "initial_ppb": ceil_ppb(initial)}
            out.append(instrument("PERP", "perpetual", perps, prices, s["PerpPrice"], risk))
        expiries = self.expiries()
        for o in s["Options"]:
            expiry, kind = expiries[o["Expiry"]], "call" if o["IsCall"] else "put"
            prices = [expiry.price(o, *shock) for shock in columns.values()]
            strike = format_fraction(Fraction(str(o["Strike"])))
            risk = {"expiry": expiry.id, "strike": strike, "type": kind}
            name = f"{expiry.id}-{strike}-{kind[0].upper()}"
            out.append(instrument(name, "option", o["Amount"], prices, expiry.price(o, 1, "None"), risk))
        return out


def scenario_name(shock: float, direction: str) -> str:
    """A snapshot's name for a spot shock and a volatility shock."""
    return f"{direction.lower()}:{shock:.6g}"


def document(oracle: Oracle) -> tuple[Tree, tuple[int, ...]]:
    """The snapshot document of a case, and the account's lots."""
    lines = oracle.lines()
    tree: Tree = {
        "schema": "zkmargin/snapshot/1",
        "time": NOW,
        "quote": {"currency": "USDC", "decimals": QUOTE_DECIMALS, "value_decimals": VALUE_DECIMALS},
        "rule": {"id": "portfolio-margin/1", "parameters": oracle.rule_parameters()},
        "scenarios": list(oracle.columns()),
        "instruments": [line for line, _ in lines],
        "source": "derivexyz/v2-core, PMRM_2 portfolio cases",
    }
    return tree, tuple(lots for _, lots in lines)


@lru_cache(maxsize=64)
def load(path: Path) -> Case:
    """Read and convert one case file."""
    tree = json.loads(path.read_text())
    snapshot, lots = document(Oracle(tree["Scenario"], tree["Parameters"]))
    result = tree["Result"]
    rows = [row[-1] for kind in ("reg", "tail", "skew") for row in result[f"{kind}_losses"]]
    names = [scenario_name(s["SpotShock"], s["VolShockDirection"]) for s in tree["Parameters"]["Scenarios"]]
    return Case(
        name=path.stem,
        snapshot=snapshot_from_bytes(json.dumps(snapshot).encode()),
        lots=lots,
        expected={"initial": float(result["IM"]), "maintenance": float(result["MM"])},
        losses=tuple(zip(names, map(float, rows), strict=True)),
    )
