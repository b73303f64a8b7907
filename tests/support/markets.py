"""A small market for the oracle's tests: three sources, one underlying with a forward, a smile and a rate."""

from __future__ import annotations

import copy
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from zkmargin.service.keys.signing_keys import public_pem
from zkmargin.service.oracle.build import Built, Last, build, last_of
from zkmargin.service.oracle.config import Config, parse_config
from zkmargin.service.oracle.feeds import sign_feed

NOW = 1_780_000_000
EXPIRY = NOW + 30 * 86_400
KEYS = {
    name: Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b".")) for name in ("alpha", "beta", "gamma")
}
KINDS = ["spot", "forward", "volatility", "rate", "index"]

QUOTES: dict[str, list[dict[str, Any]]] = {
    "spot": [
        {"underlying": "BTC", "bid": "39999", "ask": "40001"},
        {"underlying": "ETH", "bid": "2500", "ask": "2500"},
    ],
    "index": [{"underlying": "BTC", "bid": "40010", "ask": "40010"}],
    "forward": [{"underlying": "BTC", "expiry": EXPIRY, "bid": "40190", "ask": "40210"}],
    "volatility": [
        {"underlying": "BTC", "expiry": EXPIRY, "strike": "38000", "value": "0.6"},
        {"underlying": "BTC", "expiry": EXPIRY, "strike": "40000", "value": "0.5"},
        {"underlying": "BTC", "expiry": EXPIRY, "strike": "44000", "value": "0.54"},
    ],
    "rate": [{"expiry": NOW + 86_400, "value": "0.04"}, {"expiry": NOW + 365 * 86_400, "value": "0.04"}],
}


def payload(source: str, kind: str, **changes: Any) -> dict[str, Any]:
    """A feed's payload; ``changes`` replace its members."""
    tree = {
        "schema": "zkmargin/feed/1", "source": source, "kind": kind, "time": NOW - 5, "sequence": 7,
        "quotes": copy.deepcopy(QUOTES[kind]),
    }  # fmt: skip
    return tree | changes


def feed(source: str, kind: str, **changes: Any) -> bytes:
    return sign_feed(payload(source, kind, **changes), KEYS[source])


def market(**shared: Any) -> dict[str, bytes]:
    """Every feed of every source, by file name."""
    return {f"{source}-{kind}": feed(source, kind, **shared) for source in KEYS for kind in KINDS}


def line(name: str, kind: str, lot: str = "0.001", **rest: Any) -> dict[str, Any]:
    return {"id": name, "kind": kind, "lot": lot, "position_limit": "1000", **rest}


def config_tree(**changes: Any) -> dict[str, Any]:
    """The configuration's document; ``changes`` replace its members."""
    btc = {"underlying": "BTC"}
    tree: dict[str, Any] = {
        "schema": "zkmargin/oracle-config/1",
        "oracle": "oracle-1",
        "quote": {"currency": "USD", "decimals": 2, "value_decimals": 10},
        "rule": {"id": "values-only/1", "parameters": {}},
        "quorum": 2,
        "sources": [
            {"name": name, "key": public_pem(key).decode(), "kinds": KINDS} for name, key in KEYS.items()
        ],
        "limits": {kind: {"staleness": 60, "deviation_ppm": 10_000, "jump_ppm": 200_000} for kind in KINDS},
        "validity": 300,
        "groups": {"BTC": "majors", "ETH": "majors"},
        "scenarios": [
            {"name": "mark", "shocks": {"majors": 0}},
            {"name": "down-20", "shocks": {"majors": -200_000}, "volatility": "up"},
            {"name": "up-20", "shocks": {"majors": 200_000}, "volatility": "down"},
            {"name": "tail", "shocks": {"majors": -600_000}, "volatility": "up", "damping_ppm": 350_000},
        ],
        "instruments": [
            line("USD", "quote", lot="0.01"),
            line("BTC", "spot", feed="spot", **btc),
            line("BTC-PERP", "perpetual", feed="index", **btc),
            line("BTC-FUT", "future", expiry=EXPIRY, **btc),
            line("BTC-C", "option", expiry=EXPIRY, strike="42000", right="call", **btc),
            line("BTC-P", "option", expiry=EXPIRY, strike="42000", right="put", **btc),
            line("CREDIT", "credit", lot="0.01"),
        ],
    }  # fmt: skip
    return tree | changes


def config(**changes: Any) -> Config:
    return parse_config(json.dumps(config_tree(**changes)).encode())


def made(documents: dict[str, bytes] | None = None, last: Last | None = None, **options: Any) -> Built:
    """Build from the standard market unless other documents are given."""
    settings = options.pop("config", None) or config()
    return build(settings, market() if documents is None else documents, last, now=options.pop("now", NOW), **options)


def last_build() -> Last:
    """A build that is ten minutes old, with the standard market of then."""
    then = NOW - 600
    built = made(market(time=then, sequence=5), now=then)
    return last_of(built.snapshot, built.state())
