"""The margin rules, written from RULES.md alone: a JSON tree to the scenarios' terms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from math import ceil, floor, isqrt, lcm
from typing import Any

from tests.support.spec_terms import Amount, Lin, Own, Side, Sum, Term, abs_, up

Tree = dict[str, Any]
MILLION, BILLION = 10**6, 10**9


class Market:
    """A snapshot tree with the quantities that all rules use."""

    def __init__(self, snapshot: Tree, statement: Tree, level: str) -> None:
        self.tree, self.level, self.initial = snapshot, level, level == "initial"
        self.instruments: list[Tree] = snapshot["instruments"]
        self.scenarios: list[str] = snapshot["scenarios"]
        self.parameters: Tree = snapshot["rule"]["parameters"]
        self.horizon: int = statement["horizon"]
        self.elections: dict[str, str] = statement.get("elections", {})
        self.M = Fraction(statement["multiplier"])
        self.unit = 10 ** snapshot["quote"]["value_decimals"]
        self.fine: int = self.unit // 10 ** snapshot["quote"]["decimals"]

    def rows(self, *kinds: str) -> Iterator[tuple[int, Tree, Tree]]:
        for j, inst in enumerate(self.instruments):
            if inst["kind"] in kinds:
                yield j, inst, inst.get("risk", {})

    def v(self, j: int) -> Fraction:
        inst = self.instruments[j]
        return Fraction(inst["mark"]) * Fraction(inst["lot"]) * self.unit

    def e(self, j: int) -> Fraction:
        return -self.v(j) if self.instruments[j]["kind"] == "credit" else self.v(j)

    def value(self, j: int, s: int) -> int:
        return int(Fraction(self.instruments[j]["values"][s]) * self.unit)

    def net(self, s: int) -> Lin:
        return Lin({j: self.value(j, s) for j in range(len(self.instruments))})

    def latency(self, ppm: int) -> Fraction:
        square = -(-(ppm**2) * self.horizon // 86400)
        root = isqrt(square)
        return Fraction(root + (root * root < square), MILLION)


#: Scenarios, and the amount factor.
Rule = tuple[list[Term], int]


def linear_rule(k: Market, requirement: Term) -> Rule:
    return [Sum([(1, k.net(s)), (-1, requirement)]) for s in range(len(k.scenarios))], k.fine


def cross_margin(k: Market) -> Rule:
    addends: list[tuple[int, Term]] = []
    for j, inst, risk in k.rows("spot", "perpetual"):
        if inst["kind"] == "spot":
            rates = [Fraction(risk["haircut_ppm"], MILLION) * k.M]
        else:
            tier = k.parameters["tiers"][risk["tier"]]
            base = tier["initial_ppm"]
            rates = [Fraction(base, MILLION) * k.M, Fraction(tier["maintenance_fraction_ppm"], MILLION)]
            if k.initial:
                rates = [Fraction(initial_rate(tier, risk, inst), MILLION) * k.M]
        lotquanta = k.v(j) / k.fine
        if k.parameters["rounding"] == "per-lot":
            for rate in rates:
                lotquanta *= rate
            addends.append((ceil(lotquanta * k.fine), abs_(j)))
        else:
            t, g = abs_(j), lotquanta
            for rate in rates:
                g *= rate
                if g.denominator != 1:
                    t, g = Own("ceil", [Sum([(g.numerator, t)])], g.denominator), Fraction(1)
            addends.append((k.fine * int(g), t))
        if risk.get("latency_ppm", 0):
            addends.append((ceil(k.v(j) * k.latency(risk["latency_ppm"])), abs_(j)))
    return linear_rule(k, Own("shared", [Sum([(f, t) for f, t in addends if f])]))


def initial_rate(tier: Tree, risk: Tree, inst: Tree) -> int:
    base: int = tier["initial_ppm"]
    interest = Fraction(risk.get("open_interest", "0")) * Fraction(inst["mark"])
    if "open_interest_lower" not in tier or interest <= Fraction(tier["open_interest_lower"]):
        return base
    lower, upper = Fraction(tier["open_interest_lower"]), Fraction(tier["open_interest_upper"])
    if interest >= upper:
        return MILLION
    return min(MILLION, base + floor((MILLION - base) * (interest - lower) / (upper - lower)))


def tiered_margin(k: Market) -> Rule:
    costs: list[tuple[int, Term]] = []
    for j, inst, risk in k.rows("perpetual", "future", "spot"):
        if inst["kind"] == "spot":
            costs.append((1, Sum([(ceil(k.v(j) * Fraction(risk["haircut_ppm"], MILLION) * k.M), abs_(j))])))
            continue
        brackets = k.parameters["tables"][risk["table"]]
        rates = [Fraction(b["initial_ppm" if k.initial else "maintenance_ppm"], MILLION) for b in brackets]
        a = [k.v(j) * rate * k.M for rate in rates]
        b = [Fraction(0)]
        for i in range(1, len(brackets)):
            b.append(b[-1] + Fraction(brackets[i]["lower"]) * (rates[i] - rates[i - 1]) * k.unit * k.M)
        d = lcm(*(value.denominator for value in a + b))
        lines: list[Term] = [Sum([(int(d * x), abs_(j))], -int(d * y)) for x, y in zip(a, b, strict=True)]
        t = lines[0] if len(lines) == 1 else Own("max", lines)
        costs.append((1, t if d == 1 else Own("ceil", [t], d)))
    return linear_rule(k, Own("shared", [Sum(costs)]))


def collateral_loan(k: Market) -> Rule:
    elected = k.elections.get("emode", "none")
    column = "ltv_ppm" if k.initial else "threshold_ppm"
    scenarios: list[Term] = []
    sizes = [Fraction(inst["position_limit"]) / Fraction(inst["lot"]) for inst in k.instruments]
    worth = [max(abs(k.value(j, s)) for s in range(len(k.scenarios))) for j in range(len(k.instruments))]
    bound = int(sum(size * value for size, value in zip(sizes, worth, strict=True))) // k.fine
    debts: dict[int, Term] = {}
    for j, _, _ in k.rows("quote"):
        owed = Lin({i: -k.value(i, 0) for i in (j, *(c for c, _, _ in k.rows("credit")))})
        debts[j] = Own("max", [Sum([(1, owed), (k.fine, Amount(bound))]), Lin({})])
    for s in range(len(k.scenarios)):
        parts: list[tuple[int, Term]] = []
        for j, _, risk in k.rows("quote", "spot"):
            inside = elected != "none" and risk.get("category") == elected
            ppm = max(risk[column], k.parameters["categories"][elected][column]) if inside else risk[column]
            discount = min(Fraction(1), (1 - Fraction(ppm, MILLION)) * k.M)
            parts.append((-ceil(discount * k.value(j, s)), Side("long", j)))
            if elected != "none" and not inside:
                charge = (-1000, debts[j]) if j in debts else (-1000 * k.value(j, s), Side("short", j))
                parts.append(charge)
        scenarios.append(Sum([(1, k.net(s)), (1, Sum([part for part in parts if part[0]]))]))
    return scenarios, k.fine


def lot_cost(y: dict[int, Fraction]) -> Term:
    linear = Lin({j: ceil(c) for j, c in y.items()})
    return Sum([(1, linear), *((1, Side("short", j)) for j, c in y.items() if c.denominator != 1)])


def span_scan(k: Market) -> Rule:
    F = k.M * (Fraction(k.parameters["initial_factor_ppm"], MILLION) if k.initial else 1)
    net: list[tuple[int, Term]] = [(-1, lot_cost({j: -k.e(j) for j in range(len(k.instruments))}))]
    for j, _, risk in k.rows("spot"):
        net.append((1, Sum([(-ceil(k.v(j) * Fraction(risk["haircut_ppm"], MILLION) * F), abs_(j))])))
    for name in sorted(k.parameters["groups"]):
        net.append((-1, span_group(k, name, F)))
    return [Sum(net)], k.fine


def span_group(k: Market, name: str, F: Fraction) -> Term:
    group = k.parameters["groups"][name]
    members = {j: risk for j, _, risk in k.rows("future", "perpetual", "option") if risk["group"] == name}
    pieces: list[Term] = [Lin({})]
    for s, ppm in enumerate(k.parameters["weights_ppm"]):
        y = {j: (k.v(j) - k.value(j, s)) * Fraction(ppm, MILLION) for j in members}
        if any(y.values()):
            pieces.append(lot_cost({j: c for j, c in y.items() if c}))
    base: Term = Own("max", pieces)
    spreads = group.get("spreads", [])
    labels = iter(k.elections.get(f"{name}.spreads", "").split("."))
    if spreads:
        base = Sum([(1, base), *((1, span_spread(k, members, spread, labels)) for spread in spreads)])
    minimum = ceil(Fraction(group.get("short_option_minimum", "0")) * k.unit)
    options = [j for j in members if k.instruments[j]["kind"] == "option"]
    if minimum and options:
        base = Own("max", [base, Sum([(minimum, Side("short", j)) for j in options])])
    return up([(F, base)])


def span_spread(k: Market, members: dict[int, Tree], spread: Tree, labels: Iterator[str]) -> Term:
    delta = {j: Fraction(risk.get("delta", "0")) for j, risk in members.items()}
    d = lcm(*(value.denominator for value in delta.values()))
    months = [
        {j: int(delta[j] * d) for j, risk in members.items() if risk.get("month") == month and delta[j]}
        for month in spread["months"]
    ]

    def side(n: dict[int, int]) -> Term:
        if len(n) == 1:
            ((j, c),) = n.items()
            return Sum([(abs(c), Side("long" if c > 0 else "short", j))])
        return Own("max", [Lin(n), Lin({})])

    sides = {
        "long": [side(n) for n in months if n],
        "short": [side({j: -c for j, c in n.items()}) for n in months if n],
    }
    total: dict[int, int] = {j: c for n in months for j, c in n.items()}
    N = Own("max", [Lin(total), Lin({j: -c for j, c in total.items()})])
    a, b = (Fraction(spread.get(rate, "0")) * k.unit for rate in ("outright", "charge"))
    if spread["form"] == "lemma":
        both = [(1, t) for pair in zip(sides["long"], sides["short"], strict=True) for t in pair]
        return up([((a - b / 2) / d, N), (b / 2 / d, Sum(both))])
    return up([(a / d, N), (b / d, Sum([(1, t) for t in sides[next(labels)]]))])


def portfolio_margin(k: Market) -> Rule:
    q, p = BILLION, k.parameters
    mark, up_, down = (k.scenarios.index(p[name]) for name in ("mark", "basis_up", "basis_down"))
    prefix = "initial" if k.initial else "maintenance"
    i = [Fraction(p["index"]) * Fraction(inst["lot"]) * k.unit for inst in k.instruments]

    def loss_factor(dampening: int) -> int:
        return ceil(Fraction(p[f"{prefix}_loss_ppb"] * dampening, q) * k.M)

    parts: list[tuple[int, Term]] = []
    strikes: dict[tuple[str, Fraction], list[int]] = {}
    expiries: dict[str, list[int]] = {}
    for j, inst, risk in k.rows("perpetual", "spot", "option"):
        value = Fraction(k.value(j, mark)) if inst["kind"] == "spot" else i[j]
        if inst["kind"] == "option":
            rate = p["expiries"][risk["expiry"]].get("gross_initial_ppb", 0) if k.initial else 0
            strikes.setdefault((risk["expiry"], Fraction(risk["strike"])), []).append(j)
            expiries.setdefault(risk["expiry"], []).append(j)
        else:
            rate = risk[f"{prefix}_ppb"]
        own = ceil(value * Fraction(rate, q) * k.M) + ceil(value * k.latency(risk.get("latency_ppm", 0)))
        parts.append((own, abs_(j)))
    for (expiry, _), rows in strikes.items():
        rate = Fraction(p["expiries"][expiry][f"short_{prefix}_ppb"], q) * k.M
        if len(rows) == 1:
            h = ceil(i[rows[0]] / 2 * rate)
            parts += [(h, abs_(rows[0])), (-h, Lin({rows[0]: 1}))]
        else:
            parts.append((ceil(i[rows[0]] * rate), Own("max", [Lin(dict.fromkeys(rows, -1)), Lin({})])))
    requirement = Own("shared", [Sum([(f, t) for f, t in parts if f])])
    plain = [j for j, inst in enumerate(k.instruments) if inst["kind"] != "option"]

    def value_of(s: int, f: int) -> Lin:
        out = {j: q * q * k.value(j, mark) for j in range(len(k.instruments))}
        for j in plain:
            out[j] += q * f * (k.value(j, s) - k.value(j, mark))
        return Lin(out)

    def y(s: int, name: str, expiry: str) -> Term:
        rows, rates = expiries[expiry], p["expiries"][expiry]
        gain, loss = rates["gain_ppb"], rates["loss_ppb"]

        def x(rate: int, sign: int) -> Lin:
            return Lin({j: sign * (rate * k.value(j, s) - q * k.value(j, mark)) for j in rows})

        out: Term = x(gain, 1)
        if gain != loss:
            short = Own("max", [Lin({j: -k.value(j, s) for j in rows}), Lin({})])
            out = Sum([(1, out), (-(loss - gain), short)])
        if p["scenarios"][name]["kind"] == "regular":
            return out
        piece = "long" if gain == loss else k.elections[f"{name}/{expiry}"]
        return Own("min", [out, x(gain if piece == "long" else loss, -1)])

    scenarios: list[Term] = []
    for s, name in enumerate(k.scenarios):
        if name in p["scenarios"]:
            f = loss_factor(p["scenarios"][name].get("dampening_ppb", q))
            shocked = [(f, y(s, name, expiry)) for expiry in sorted(expiries)] if f else []
            scenarios.append(Sum([(1, value_of(s, f)), (-q * q, requirement), *shocked]))
    basis: list[tuple[int, Term]] = []
    for expiry in sorted(expiries):
        moved = [Lin({j: k.value(j, s) - k.value(j, mark) for j in expiries[expiry]}) for s in (up_, down)]
        basis.append((loss_factor(q) * p["expiries"][expiry]["basis_ppb"], Own("min", [*moved, Lin({})])))
    scenarios.append(Sum([(1, value_of(mark, 0)), (-q * q, requirement), *basis]))
    return scenarios, k.fine * q * q


RULES: dict[str, Callable[[Market], Rule]] = {
    "cross-margin/1": cross_margin,
    "tiered-margin/1": tiered_margin,
    "collateral-loan/1": collateral_loan,
    "span-scan/1": span_scan,
    "portfolio-margin/1": portfolio_margin,
}
