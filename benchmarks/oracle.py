"""Time a snapshot: 1,000 instruments (options on two underlyings) in 40 scenarios, from three signed sources.

python benchmarks/oracle.py
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from zkmargin.service.keys.signing_keys import generate_key, public_pem
from zkmargin.service.oracle.build import build
from zkmargin.service.oracle.config import parse_config
from zkmargin.service.oracle.directory import sign_snapshot
from zkmargin.service.oracle.feeds import sign_feed

NOW = 1_780_000_000
DAY = 86_400
UNDERLYINGS = {"BTC": 100_000, "ETH": 4_000}
EXPIRIES = tuple(NOW + days * DAY for days in (1, 7, 30, 90, 180))
KINDS = ("index", "forward", "volatility", "rate")
STRIKES = tuple(range(52, 152, 2))  # percent of the spot price
SCENARIOS = 40
RUNS = 5


def quotes(kind: str) -> list[dict[str, Any]]:
    """One source's quotes: 500 surface points (50 strikes, 5 expiries, 2 underlyings), 10 forwards."""
    if kind == "rate":
        return [{"expiry": expiry, "value": "0.04"} for expiry in EXPIRIES]
    if kind == "index":
        return [{"underlying": u, "bid": str(p), "ask": str(p)} for u, p in UNDERLYINGS.items()]
    if kind == "forward":
        return [
            {"underlying": u, "expiry": e, "bid": f"{p}.1", "ask": f"{p}.3"}
            for u, p in UNDERLYINGS.items()
            for e in EXPIRIES
        ]
    return [
        {"underlying": u, "expiry": e, "strike": str(p * k // 100), "value": f"0.{50 + abs(k - 100) // 4}"}
        for u, p in UNDERLYINGS.items()
        for e in EXPIRIES
        for k in STRIKES
    ]


def instruments() -> list[dict[str, Any]]:
    """Cash, and calls and puts on every surface point but one: 1,000 in all."""
    options = [
        {
            "id": f"{u}-{e}-{p * k // 100}-{right[0]}", "kind": "option", "lot": "0.01", "position_limit": "1000",
            "underlying": u, "expiry": e, "strike": str(p * k // 100), "right": right,
        }
        for u, p in UNDERLYINGS.items() for e in EXPIRIES for k in STRIKES for right in ("call", "put")
    ]  # fmt: skip
    cash = {"id": "USD", "kind": "quote", "lot": "0.01", "position_limit": "100000000"}
    return [cash, *options[:999]]


def config(keys: dict[str, Ed25519PrivateKey]) -> bytes:
    """The configuration's document."""
    states = ("none", "up", "down", "up")
    tree = {
        "schema": "zkmargin/oracle-config/1", "oracle": "bench", "quorum": 2, "validity": 300,
        "quote": {"currency": "USD", "decimals": 2, "value_decimals": 10},
        "rule": {"id": "values-only/1", "parameters": {}},
        "sources": [{"name": n, "key": public_pem(k).decode(), "kinds": list(KINDS)} for n, k in keys.items()],
        "limits": {kind: {"staleness": 60, "deviation_ppm": 1000, "jump_ppm": 100_000} for kind in KINDS},
        "groups": {u: u for u in UNDERLYINGS},
        "scenarios": [
            {"name": f"s{i}", "shocks": dict.fromkeys(UNDERLYINGS, 10_000 * i), "volatility": states[i % 4]}
            for i in range(SCENARIOS)
        ],
        "instruments": instruments(),
    }  # fmt: skip
    return json.dumps(tree).encode()


def main() -> None:
    """Print the median of some runs, from configuration and feed bytes to signed snapshot bytes."""
    keys = {name: generate_key() for name in ("alpha", "beta", "gamma")}
    document, oracle_key = config(keys), generate_key()
    feeds = {
        f"{name}-{kind}": sign_feed(
            {
                "schema": "zkmargin/feed/1", "source": name, "kind": kind, "time": NOW, "sequence": 1,
                "quotes": quotes(kind),
            },
            key,
        )
        for name, key in keys.items() for kind in KINDS
    }  # fmt: skip
    seconds: list[float] = []
    size = 0
    for _ in range(RUNS):
        begin = time.perf_counter()
        settings = parse_config(document)
        built = build(settings, feeds, None, now=NOW)
        sign_snapshot(built.snapshot, settings, oracle_key)
        size = len(built.snapshot.to_bytes())
        seconds.append(time.perf_counter() - begin)
    shape = f"{len(built.snapshot.instruments)} instruments x {len(built.snapshot.scenarios)} scenarios"
    print(f"{shape}, {len(feeds)} feeds, {len(built.figures)} figures, {size / 1e6:.1f} MB")
    print(f"first {seconds[0]:.2f} s, median of {RUNS} {statistics.median(seconds):.2f} s")


if __name__ == "__main__":
    main()
