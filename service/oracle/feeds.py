"""Signed feeds: what a source says about the market, checked on its own.

A document is ``{"schema": "zkmargin/feed/1", "source", "jws"}``; the JWS (EdDSA, type pinned) carries RFC 8785 JSON.
Values become exact fractions. Nothing here knows other sources, the clock or the last snapshot.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from zkmargin.circuits import canonical
from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.schema import dump, load, validate
from zkmargin.circuits.strict_json import parse_json
from zkmargin.circuits.units import format_fraction, parse_decimal
from zkmargin.service.keys.signing import sign_token
from zkmargin.service.oracle.errors import OracleRefused
from zkmargin.service.oracle.models import (
    FeedModel,
    FeedPayloadModel,
    ForwardFeedModel,
    ForwardModel,
    Kind,
    PriceFeedModel,
    PriceModel,
    RateFeedModel,
    RateModel,
    VolatilityFeedModel,
    VolatilityModel,
)
from zkmargin.verifier.facts.jws import open_token

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

TOKEN_TYPE = "zkmargin-feed+jws"  # noqa: S105 - a media type, no secret
#: Above 10,000 % a volatility is a mistake of units.
MAX_VOLATILITY = 100
#: Above 1,000 % in absolute value a rate is a mistake of units.
MAX_RATE = 10
_PAYLOADS: dict[str, type[PriceFeedModel | ForwardFeedModel | VolatilityFeedModel | RateFeedModel]] = {
    "spot": PriceFeedModel,
    "index": PriceFeedModel,
    "forward": ForwardFeedModel,
    "volatility": VolatilityFeedModel,
    "rate": RateFeedModel,
}


@dataclass(frozen=True)
class Figure:
    """What is aggregated: a kind, an underlying, and where they apply an expiry (Unix seconds) and a strike."""

    kind: Kind
    underlying: str = ""
    expiry: int = 0
    strike: Fraction = Fraction(0)

    def __str__(self) -> str:
        strike = format_fraction(self.strike) if self.strike else ""
        return ":".join(part for part in (self.kind, self.underlying, str(self.expiry or ""), strike) if part)


#: Points (place, value) sorted by place: strikes of one expiry, or expiries of a curve.
Line = tuple[tuple[Fraction, ...], tuple[Fraction, ...]]


@dataclass(frozen=True)
class Feed:
    """A verified feed. ``prices`` by (underlying, expiry or 0); ``smiles`` likewise; ``curve`` by expiry."""

    source: str
    kind: Kind
    time: int
    sequence: int
    payload_digest: bytes
    prices: Mapping[tuple[str, int], Fraction] = field(default_factory=dict)
    smiles: Mapping[tuple[str, int], Line] = field(default_factory=dict)
    curve: Line = ((), ())

    def value(self, figure: Figure) -> Fraction | None:
        """This source's figure, or None where it says nothing about it.

        Prices are mids. Volatility is linear between strikes of the same expiry and unknown outside them; the rate
        is linear between expiries and flat outside.
        """
        if figure.kind != self.kind:
            return None
        if self.kind == "rate":
            return _interpolate(self.curve, Fraction(figure.expiry), flat=True)
        if self.kind == "volatility":
            smile = self.smiles.get((figure.underlying, figure.expiry))
            return None if smile is None else _interpolate(smile, figure.strike, flat=False)
        return self.prices.get((figure.underlying, figure.expiry))


def _interpolate(line: Line, at: Fraction, *, flat: bool) -> Fraction | None:
    places, values = line
    i = bisect.bisect_left(places, at)
    if i < len(places) and places[i] == at:
        return values[i]
    if 0 < i < len(places):
        share = (at - places[i - 1]) / (places[i] - places[i - 1])
        return values[i - 1] + share * (values[i] - values[i - 1])
    if not flat or not places:
        return None
    return values[0] if i == 0 else values[-1]


def sign_feed(payload: Mapping[str, Any], key: Ed25519PrivateKey) -> bytes:
    """As a source: the feed document over a payload tree; ``MalformedInput`` if the payload is not of its kind."""
    model = _payload(dict(payload), at="feed")
    token = sign_token(canonical.canonical_bytes(dump(model)), key, TOKEN_TYPE)
    return canonical.canonical_bytes({"schema": "zkmargin/feed/1", "source": model.source, "jws": token})


def _payload(tree: Any, *, at: str) -> FeedPayloadModel:
    kind = tree.get("kind") if isinstance(tree, dict) else None
    model = _PAYLOADS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise MalformedInput("unknown kind of feed", field=f"{at}.kind")
    return validate(model, tree, name=at)


def source_of(data: bytes, *, name: str) -> str:
    """The source that a document claims; chooses the key to open it with, and proves nothing."""
    return load(FeedModel, data, name=name).source


def open_feed(data: bytes, key: Ed25519PublicKey, *, name: str = "feed") -> Feed:
    """Check a feed's signature, form and contents; errors name ``feeds.SOURCE`` and the field.

    Raises ``MalformedInput`` (form), ``SignatureRejected``, ``OracleRefused`` (crossed, unsorted, negative, ...).
    """
    document = load(FeedModel, data, name=name)
    at = f"feeds.{document.source}"
    payload = open_token(document.jws, key, TOKEN_TYPE, field=f"{at}.jws")
    model = _payload(parse_json(payload, name=at), at=at)
    if canonical.canonical_bytes(dump(model)) != payload:
        raise MalformedInput("payload is not in canonical form", field=at)
    if model.source != document.source:
        raise MalformedInput("differs from the source that signed", field=f"{at}.source")
    seen = hashlib.sha256(payload).digest()
    common = (model.source, model.time, model.sequence, seen)
    if isinstance(model, VolatilityFeedModel):
        at = f"{at}.volatility.quotes"
        return _feed("volatility", common, smiles=_surface(model.quotes, at))
    if isinstance(model, RateFeedModel):
        return _feed("rate", common, curve=_curve(model.quotes, f"{at}.rate.quotes"))
    if isinstance(model, ForwardFeedModel):
        return _feed("forward", common, prices=_prices(model.quotes, f"{at}.forward.quotes"))
    assert isinstance(model, PriceFeedModel)  # noqa: S101 - the only model left
    return _feed(model.kind, common, prices=_prices(model.quotes, f"{at}.{model.kind}.quotes"))


def _feed(kind: Kind, common: tuple[str, int, int, bytes], **contents: Any) -> Feed:
    source, time, sequence, digest = common
    return Feed(source, kind, time, sequence, digest, **contents)


def _prices(quotes: Sequence[PriceModel], at: str) -> dict[tuple[str, int], Fraction]:
    out: dict[tuple[str, int], Fraction] = {}
    for i, quote in enumerate(quotes):
        bid = parse_decimal(quote.bid, field=f"{at}.{i}.bid")
        ask = parse_decimal(quote.ask, field=f"{at}.{i}.ask")
        if bid <= 0:
            raise OracleRefused("a price must be positive", field=f"{at}.{i}.bid")
        if bid > ask:
            raise OracleRefused("crossed: the bid is above the ask", field=f"{at}.{i}.bid")
        place = (quote.underlying, quote.expiry if isinstance(quote, ForwardModel) else 0)
        if place in out:
            raise OracleRefused("quoted twice", field=f"{at}.{i}.underlying")
        out[place] = (bid + ask) / 2
    return out


def _surface(quotes: Sequence[VolatilityModel], at: str) -> dict[tuple[str, int], Line]:
    points: dict[tuple[str, int], list[tuple[Fraction, Fraction]]] = {}
    previous: tuple[str, int, Fraction] | None = None
    for i, quote in enumerate(quotes):
        strike = parse_decimal(quote.strike, field=f"{at}.{i}.strike")
        value = parse_decimal(quote.value, field=f"{at}.{i}.value")
        if strike <= 0:
            raise OracleRefused("a strike must be positive", field=f"{at}.{i}.strike")
        if value < 0:
            raise OracleRefused("negative volatility", field=f"{at}.{i}.value")
        if value > MAX_VOLATILITY:
            raise OracleRefused(f"volatility above {MAX_VOLATILITY}", field=f"{at}.{i}.value")
        place = (quote.underlying, quote.expiry, strike)
        if previous is not None and place <= previous:
            raise OracleRefused("points must rise by underlying, expiry, strike", field=f"{at}.{i}.strike")
        previous = place
        points.setdefault(place[:2], []).append((strike, value))
    return {key: (tuple(k for k, _ in line), tuple(v for _, v in line)) for key, line in points.items()}


def _curve(quotes: Sequence[RateModel], at: str) -> Line:
    values: list[Fraction] = []
    for i, quote in enumerate(quotes):
        value = parse_decimal(quote.value, field=f"{at}.{i}.value")
        if abs(value) > MAX_RATE:
            raise OracleRefused(f"a rate beyond {MAX_RATE}", field=f"{at}.{i}.value")
        if i and quote.expiry <= quotes[i - 1].expiry:
            raise OracleRefused("expiries must rise", field=f"{at}.{i}.expiry")
        values.append(value)
    return tuple(Fraction(quote.expiry) for quote in quotes), tuple(values)
