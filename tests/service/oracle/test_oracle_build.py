"""Feeds to a snapshot: what it holds, and what every bad input gets."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import jwt
import pytest

from tests.support.markets import (  # fmt: skip
    EXPIRY,
    KEYS,
    NOW,
    QUOTES,
    config,
    config_tree,
    feed,
    last_build,
    line,
    made,
    market,
    payload,
)
from zkmargin.circuits import canonical
from zkmargin.circuits.errors import MalformedInput, SignatureRejected, StatementMismatch, ZkMarginError
from zkmargin.circuits.units import to_quanta
from zkmargin.service.oracle.aggregate import Rejection
from zkmargin.service.oracle.build import last_of
from zkmargin.service.oracle.config import parse_config
from zkmargin.service.oracle.errors import OracleRefused
from zkmargin.service.oracle.feeds import TOKEN_TYPE


def refused(documents: dict[str, bytes] | None = None, **options: Any) -> ZkMarginError:
    """The error of a build that must fail."""
    with pytest.raises(ZkMarginError) as caught:
        made(documents, **options)
    return caught.value


def changed(kind: str, at: int, *, sources: tuple[str, ...] = ("alpha",), **values: Any) -> dict[str, bytes]:
    """The standard market with one quote changed in the feeds of some sources."""
    quotes = [dict(quote) for quote in QUOTES[kind]]
    quotes[at] |= values
    return market() | {f"{source}-{kind}": feed(source, kind, quotes=quotes) for source in sources}


def forged(source: str, tree: dict[str, Any], **header: Any) -> bytes:
    """A feed document around any payload, signed, without the checks of an honest source."""
    token = jwt.PyJWS().encode(
        canonical.canonical_bytes(tree), KEYS[source], algorithm="EdDSA", headers={"typ": TOKEN_TYPE} | header
    )
    return json.dumps({"schema": "zkmargin/feed/1", "source": source, "jws": token}).encode()


def test_linear_values_are_exact_and_cash_is_flat() -> None:
    snap = made().snapshot
    values = {inst.id: inst.values for inst in snap.instruments}
    unit = 10**10
    assert values["USD"] == (unit // 100,) * 4
    assert values["CREDIT"] == (-unit // 100,) * 4
    assert values["BTC"] == (40 * unit, 32 * unit, 48 * unit, 40 * unit * (1000 - 210) // 1000)  # 35 % of -60 %
    assert snap.instruments[snap.index["BTC-PERP"]].mark == 40010
    assert snap.instruments[snap.index["BTC-FUT"]].values[1] == Fraction(32160, 1000) * unit
    assert (snap.time, snap.source) == (NOW, "oracle oracle-1")


def test_options_keep_parity_and_react_to_the_scenario() -> None:
    snap = made().snapshot
    call, put = (snap.instruments[snap.index[name]] for name in ("BTC-C", "BTC-P"))
    discount = 2.718281828459045 ** (-0.04 * 30 / 365)
    for s, forward in ((0, 40200), (1, 32160), (2, 48240)):
        difference = (call.values[s] - put.values[s]) / 10**10
        assert difference == pytest.approx(discount * (forward - 42000) / 1000, abs=1e-8)
    assert call.values[1] < call.values[0] < call.values[2]
    assert float(call.mark) == pytest.approx(call.values[0] / 10**7, abs=1e-6)
    # The smile is linear between 40000 (0.5) and 44000 (0.54).
    assert made().figures[f"volatility:BTC:{EXPIRY}:42000"] == Fraction("0.52")


def test_a_build_is_deterministic_and_independent_of_file_names() -> None:
    renamed = {f"z{i}": data for i, data in enumerate(reversed(list(market().values())))}
    assert made(renamed).snapshot.digest == made().snapshot.digest
    assert made().snapshot.to_bytes() == made().snapshot.to_bytes()


BAD_CONTENTS: list[tuple[str, int, dict[str, str], str, str]] = [
    ("spot", 0, {"bid": "40002"}, "crossed", "spot.quotes.0.bid"),
    ("spot", 1, {"bid": "0"}, "positive", "spot.quotes.1.bid"),
    ("spot", 1, {"underlying": "BTC"}, "quoted twice", "spot.quotes.1.underlying"),
    ("forward", 0, {"bid": "-1"}, "positive", "forward.quotes.0.bid"),
    ("volatility", 1, {"value": "-0.5"}, "negative volatility", "volatility.quotes.1.value"),
    ("volatility", 1, {"value": "50000"}, "volatility above", "volatility.quotes.1.value"),
    ("volatility", 1, {"strike": "37000"}, "must rise", "volatility.quotes.1.strike"),
    ("volatility", 1, {"strike": "38000"}, "must rise", "volatility.quotes.1.strike"),
    ("volatility", 0, {"strike": "0"}, "positive", "volatility.quotes.0.strike"),
    ("rate", 0, {"value": "11"}, "a rate beyond", "rate.quotes.0.value"),
]


@pytest.mark.parametrize(("kind", "at", "values", "message", "field"), BAD_CONTENTS)
def test_bad_contents_name_source_and_field(
    kind: str, at: int, values: dict[str, str], message: str, field: str
) -> None:
    documents = changed(kind, at, **values)
    error = refused(documents, strict=True)
    assert isinstance(error, OracleRefused)
    assert message in error.message
    assert error.field == f"feeds.alpha.{field}"
    # Without --strict two of three are enough, and the report says what did not count.
    built = made(documents)
    assert [(r.name, r.error.field) for r in built.rejected] == [(f"alpha-{kind}", error.field)]
    # With two bad sources the quorum fails, and the message still names them.
    both = refused(changed(kind, at, sources=("alpha", "beta"), **values))
    assert "too few sources: 1 of 2" in both.message
    assert f"feeds.beta.{field}" in both.message


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e5", "+1", "0x10", ""])
@pytest.mark.parametrize(("kind", "name"), [("volatility", "value"), ("spot", "ask"), ("rate", "value")])
def test_what_is_no_decimal_is_malformed(kind: str, name: str, value: str) -> None:
    quotes = [dict(quote) for quote in QUOTES[kind]]
    quotes[0][name] = value
    error = refused({"bad": forged("alpha", payload("alpha", kind, quotes=quotes))}, strict=True)
    assert isinstance(error, MalformedInput)
    assert error.field == f"feeds.alpha.quotes.0.{name}"


@pytest.mark.parametrize(
    ("changes", "message", "field"),
    [
        ({"time": NOW - 61}, "stale", "time"),
        ({"time": NOW + 31}, "from the future", "time"),
        ({"sequence": 4}, "the sequence went back from 5", "sequence"),
        ({"sequence": 5}, "two feeds under one sequence", "sequence"),
    ],
)
def test_time_and_sequence(changes: dict[str, int], message: str, field: str) -> None:
    documents = market() | {"alpha-spot": feed("alpha", "spot", **changes)}
    error = refused(documents, last=last_build(), strict=True)
    assert isinstance(error, OracleRefused)
    assert message in error.message
    assert error.field == f"feeds.alpha.spot.{field}"
    built = made(documents, last=last_build())
    assert built.seen["alpha", "spot"].sequence == 5  # the state of a source that did not count stays
    assert built.seen["beta", "spot"].sequence == 7


@pytest.mark.parametrize("time", [NOW - 60, NOW + 30])
def test_the_limits_of_time_are_inclusive(time: int) -> None:
    assert not made(market(time=time)).rejected


def test_the_same_feed_may_serve_twice_while_it_is_fresh() -> None:
    first = made()
    again = made(last=last_of(first.snapshot, first.state()), now=NOW + 1)
    assert not again.rejected
    assert again.snapshot.time == NOW + 1


def test_the_highest_sequence_of_a_source_counts() -> None:
    newer = feed("alpha", "index", sequence=8, quotes=[{"underlying": "BTC", "bid": "40050", "ask": "40050"}])
    for name in ("a-first", "z-last"):
        assert made(market() | {name: newer}).seen["alpha", "index"].sequence == 8


def test_two_feeds_under_one_sequence_count_for_nothing() -> None:
    other = feed("alpha", "index", quotes=[{"underlying": "BTC", "bid": "40050", "ask": "40050"}])
    built = made(market() | {"other": other})
    assert ("alpha", "index") not in built.seen
    assert [r.error.field for r in built.rejected] == ["feeds.alpha.index.sequence"]


def test_one_source_cannot_count_twice() -> None:
    documents = {f"{name}-{kind}": feed("alpha", kind) for name in "ab" for kind in QUOTES}
    assert "too few sources: 1 of 2" in refused(documents).message
    tree = config_tree()
    tree["sources"][1]["key"] = tree["sources"][0]["key"]
    with pytest.raises(MalformedInput, match="own key"):
        config(sources=tree["sources"])


def test_signatures_and_headers() -> None:
    stolen = json.loads(feed("beta", "spot")) | {"source": "alpha"}
    assert isinstance(refused({"x": json.dumps(stolen).encode()}, strict=True), SignatureRejected)
    for data in (
        forged("alpha", payload("alpha", "spot"), typ="other+jws"),
        forged("alpha", payload("alpha", "spot"), kid="a"),
    ):
        assert refused({"x": data}, strict=True).message == "unexpected protected header"
    assert refused({"x": forged("alpha", payload("beta", "spot"))}, strict=True).field == "feeds.alpha.source"
    loose = jwt.PyJWS().encode(
        json.dumps(payload("alpha", "spot")).encode(), KEYS["alpha"], algorithm="EdDSA", headers={"typ": TOKEN_TYPE}
    )
    document = json.dumps({"schema": "zkmargin/feed/1", "source": "alpha", "jws": loose}).encode()
    assert "canonical" in refused({"x": document}, strict=True).message
    nobody = json.loads(feed("alpha", "spot")) | {"source": "mallory"}
    assert refused({"x": json.dumps(nobody).encode()}, strict=True).message == "unknown source"
    assert refused({"x": b"{"}, strict=True).code == "malformed-input"
    assert refused({"x": forged("alpha", payload("alpha", "spot") | {"kind": "gossip"})}, strict=True).field == (
        "feeds.alpha.kind"
    )


def test_a_source_may_send_only_its_kinds() -> None:
    tree = config_tree()
    tree["sources"][0]["kinds"] = ["forward"]
    settings = config(sources=tree["sources"])
    error = refused(market(), config=settings, strict=True)
    assert error.field == "feeds.alpha.kind"


def test_a_source_beyond_the_deviation_stops_the_build() -> None:
    error = refused(changed("spot", 0, bid="41000", ask="41000"))
    assert isinstance(error, OracleRefused)
    assert "source alpha deviates" in error.message
    assert error.field == "figures.spot:BTC"


def test_a_jump_opens_the_breaker_and_a_human_may_close_it() -> None:
    quotes = [{"underlying": "BTC", "bid": "49000", "ask": "49000"}, QUOTES["spot"][1]]
    documents = market() | {f"{s}-spot": feed(s, "spot", quotes=quotes) for s in KEYS}
    error = refused(documents, last=last_build())
    assert isinstance(error, OracleRefused)
    assert "jumped by more than 200000 ppm" in error.message
    assert error.field == "figures.spot:BTC"
    assert made(documents, last=last_build(), accept_jump=True).snapshot.instruments[1].mark == 49000
    assert made(documents).snapshot.instruments[1].mark == 49000  # the first build has nothing to jump from


@pytest.mark.parametrize("now", [NOW, NOW - 1])
def test_time_is_monotone(now: int) -> None:
    first = made()
    error = refused(last=last_of(first.snapshot, first.state()), now=now)
    assert (error.message, error.field) == ("not later than the last snapshot", "clock")


def test_a_state_belongs_to_its_snapshot() -> None:
    with pytest.raises(StatementMismatch, match="another snapshot"):
        last_of(made().snapshot, made(now=NOW + 1).state())


def test_an_expired_instrument_is_refused_by_name() -> None:
    error = refused(market(time=EXPIRY), now=EXPIRY)
    assert isinstance(error, OracleRefused)
    assert (error.message, error.field) == ("instrument BTC-FUT has expired", "config.instruments.3.expiry")


def test_a_missing_scenario_is_refused_by_name() -> None:
    scenarios = config_tree()["scenarios"]
    with pytest.raises(OracleRefused, match="no scenario without a shock"):
        config(scenarios=scenarios[1:])
    hole = [*scenarios, {"name": "rest", "shocks": {"rest": 1}}]
    with pytest.raises(OracleRefused, match="scenario rest says nothing about group majors") as caught:
        config(scenarios=hole)
    assert caught.value.field == "config.scenarios.4.shocks"


def test_a_strike_outside_every_smile_has_too_few_sources() -> None:
    far = line("FAR", "option", expiry=EXPIRY, strike="99000", right="call", underlying="BTC")
    error = refused(config=config(instruments=[*config_tree()["instruments"], far]))
    assert (error.message[:15], error.field) == ("too few sources", f"figures.volatility:BTC:{EXPIRY}:99000")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"instruments": [line("X", "spot", feed="spot")]}, "config.instruments.0.underlying"),
        ({"instruments": [line("X", "quote", underlying="BTC")]}, "config.instruments.0.underlying"),
        ({"instruments": [line("X", "spot", feed="spot", underlying="DOGE")]}, "config.instruments.0.underlying"),
        (
            {"instruments": [line("X", "option", underlying="BTC", expiry=EXPIRY, strike="-1", right="put")]},
            "config.instruments.0.strike",
        ),
        ({"quorum": 4}, "config.quorum"),
        ({"limits": {}}, "config.limits.forward"),
        ({"surprise": 1}, "config.surprise"),
        ({"scenarios": [{"name": "x", "shocks": {"majors": -1_000_000}}]}, "config.scenarios.0.shocks.majors"),
        ({"sources": [{"name": "a", "key": "none", "kinds": ["spot"]}]}, "config.sources.0.key"),
    ],
)
def test_a_bad_configuration_names_its_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(ZkMarginError) as caught:
        config(**change)
    assert caught.value.field == field


def test_rule_parameters_are_checked_before_anything_is_signed() -> None:
    rule = {"id": "cross-margin/1", "parameters": {"rounding": "sometimes", "tiers": {}}}
    linear = [line("USD", "quote", lot="0.01")]
    assert isinstance(refused(config=config(rule=rule, instruments=linear)), MalformedInput)


@pytest.mark.parametrize("overlay", [
    {"type": "banned", "instruments": ["NOPE"]},
    {"type": "latency-buffer", "daily_ppm": 1, "instruments": ["USD"]},  # a charge on cash, with credits
    {"type": "banned", "instruments": ["CREDIT"]},
])  # fmt: skip
def test_overlays_are_checked_before_anything_is_signed(overlay: dict[str, Any]) -> None:
    rule = {"id": "cross-margin/1", "parameters": {"rounding": "per-lot", "tiers": {}}}
    lines = [line("USD", "quote", lot="0.01"), line("CREDIT", "credit", lot="0.01")]
    made(config=config(rule=rule, instruments=lines))
    overlays = {"good": [{"type": "minimum-equity", "amount": "1"}]}
    made(config=config(rule=rule | {"overlays": overlays}, instruments=lines))
    bad = rule | {"overlays": overlays | {"bad": [overlay]}}
    assert refused(config=config(rule=bad, instruments=lines)).code in ("malformed-input", "rule-refused")


@pytest.mark.parametrize("years", [69, 200])  # finite per unit but not in fine quanta; not finite at all
def test_a_value_that_is_not_finite_is_refused_by_name(years: int) -> None:
    century = NOW + years * 365 * 86_400
    quotes = {
        "forward": [{"underlying": "BTC", "expiry": century, "bid": "1", "ask": "1"}],
        "volatility": [{"underlying": "BTC", "expiry": century, "strike": "1", "value": "0.5"}],
        "rate": [{"expiry": century, "value": "-10"}],
    }
    documents = {f"{s}-{kind}": feed(s, kind, quotes=quotes[kind]) for s in KEYS for kind in quotes}
    option = line("OLD", "option", expiry=century, strike="1", right="call", underlying="BTC")
    assert "OLD has no finite value" in refused(documents, config=config(instruments=[option])).message


def test_the_values_of_a_document_are_whole_fine_quanta() -> None:
    for inst in json.loads(made().snapshot.to_bytes())["instruments"]:
        for text in inst["values"]:
            to_quanta(text, 10, field="value")


def test_a_rejection_reads_as_one_line() -> None:
    assert str(Rejection("a.feed.json", OracleRefused("stale", field="feeds.a.spot.time"))) == (
        "a.feed.json: feeds.a.spot.time: stale"
    )


INDEX = {"parameters_from_feeds": {"index": {"feed": "index", "underlying": "BTC"}}}


def test_the_index_of_the_rule_is_the_feeds() -> None:
    """The median of the index feeds, not a number of the configuration; it moves with them."""
    settings = config(**INDEX)
    assert made(config=settings).snapshot.parameters == {"index": "40010"}
    later = changed("index", 0, sources=("alpha", "beta"), bid="40020.125", ask="40020.126")
    assert made(later, config=settings).snapshot.parameters == {"index": "40020.1255"}
    assert made(later).snapshot.parameters == {}  # the control: without the member nothing is added


def test_a_parameter_of_the_rule_is_as_guarded_as_a_price() -> None:
    """Its figure has the quorum, the deviation and the circuit breaker of its kind, though no instrument uses it."""
    lines = [line("USD", "quote", lot="0.01"), line("BTC", "spot", feed="spot", underlying="BTC")]
    settings = config(instruments=lines, **INDEX)
    two_missing = {name: document for name, document in market().items() if name not in ("beta-index", "gamma-index")}
    assert refused(two_missing, config=settings).code == "oracle-refused"
    assert refused(changed("index", 0, bid="50000", ask="50000"), config=settings).code == "oracle-refused"
    then = NOW - 600
    built = made(market(time=then, sequence=5), now=then, config=settings)
    jumped = changed("index", 0, sources=("alpha", "beta", "gamma"), bid="60000", ask="60000")
    assert refused(jumped, last=last_of(built.snapshot, built.state()), config=settings).code == "oracle-refused"
    assert made(two_missing, config=config(instruments=lines)).snapshot.parameters == {}  # the control


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"rule": {"id": "values-only/1", "parameters": {"index": "1"}}}, "malformed-input",
         "config.parameters_from_feeds.index"),
        ({"limits": {k: v for k, v in config_tree()["limits"].items() if k != "index"},
          "instruments": [line("USD", "quote", lot="0.01")]}, "malformed-input", "config.limits.index"),
        ({"parameters_from_feeds": {"index": {"feed": "rate", "underlying": "BTC"}}}, "malformed-input",
         "config.parameters_from_feeds.index.feed"),
        ({"parameters_from_feeds": {"index": {"feed": "index", "underlying": "XYZ"}}}, "oracle-refused",
         "figures.index:XYZ"),
    ],
)  # fmt: skip
def test_a_parameter_that_no_feed_gives_is_refused(changes: dict[str, Any], code: str, field: str) -> None:
    with pytest.raises(ZkMarginError) as caught:
        made(config=config(**INDEX | changes))
    assert (caught.value.code, caught.value.field) == (code, field), str(caught.value)


def test_a_source_may_name_a_file_of_its_key() -> None:
    tree = config_tree()
    files = {f"{source['name']}.pub": source.pop("key").encode() for source in tree["sources"]}
    for source in tree["sources"]:
        source["key_file"] = f"{source['name']}.pub"
    document = json.dumps(tree).encode()
    assert parse_config(document, files.__getitem__).sources == config().sources
    for broken, field in (
        ({"key": "x", "key_file": "alpha.pub"}, "key_file"), ({}, "key"), ({"key_file": "none.pub"}, "key_file"),
        ({"key_file": "bad.pub"}, "key_file"),
    ):  # fmt: skip
        sources = [{"name": "alpha", "kinds": tree["sources"][0]["kinds"]} | broken, *tree["sources"][1:]]

        def read(name: str) -> bytes:
            if name == "none.pub":
                raise MalformedInput("No such file or directory", field=name)
            return (files | {"bad.pub": b"no key"})[name]

        with pytest.raises(MalformedInput) as caught:
            parse_config(json.dumps(tree | {"sources": sources}).encode(), read)
        assert caught.value.field == f"config.sources.0.{field}"
    with pytest.raises(MalformedInput):  # a caller without files
        parse_config(document)
