"""Pydantic models of the oracle's files: feeds, configuration, state. The file edge; values are decimal strings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from zkmargin.circuits.documents.snapshot import QuoteModel, RuleModel
from zkmargin.circuits.schema import Decimal, Hex32, Name, Ppm, Strict, Text, Time
from zkmargin.circuits.units import PPM

#: Kinds of figures that sources sign.
Kind = Literal["spot", "forward", "volatility", "rate", "index"]
Sequence = Annotated[int, Field(ge=0, le=2**53 - 1)]
_Token = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$", max_length=4 * 1024 * 1024)
]


class FeedModel(Strict):
    """``zkmargin/feed/1``: the source's name (which chooses the key) and its token."""

    schema_: Literal["zkmargin/feed/1"] = Field(alias="schema")
    source: Name
    jws: _Token


class PriceModel(Strict):
    """Bid and ask of one underlying, quote per unit; equal where the source has one price."""

    underlying: Name
    bid: Decimal
    ask: Decimal


class ForwardModel(PriceModel):
    """Bid and ask for delivery at ``expiry``."""

    expiry: Time


class VolatilityModel(Strict):
    """One point of an implied-volatility surface (Black-76, per square root of a year; 0.5 is 50 %)."""

    underlying: Name
    expiry: Time
    strike: Decimal
    value: Decimal


class RateModel(Strict):
    """A point of the quote currency's curve: continuously compounded, per year of 365 days; 0.04 is 4 %."""

    expiry: Time
    value: Decimal


class FeedPayloadModel(Strict):
    """What every signed feed says, whatever its kind."""

    schema_: Literal["zkmargin/feed/1"] = Field(alias="schema")
    source: Name
    time: Time
    sequence: Sequence


class PriceFeedModel(FeedPayloadModel):
    """A feed of spot prices or index prices."""

    kind: Literal["spot", "index"]
    quotes: Annotated[list[PriceModel], Field(min_length=1, max_length=4096)]


class ForwardFeedModel(FeedPayloadModel):
    """A feed of forwards."""

    kind: Literal["forward"]
    quotes: Annotated[list[ForwardModel], Field(min_length=1, max_length=4096)]


class VolatilityFeedModel(FeedPayloadModel):
    """A feed of surface points, sorted by underlying, expiry and strike."""

    kind: Literal["volatility"]
    quotes: Annotated[list[VolatilityModel], Field(min_length=1, max_length=16384)]


class RateFeedModel(FeedPayloadModel):
    """A feed of the rate curve, sorted by expiry."""

    kind: Literal["rate"]
    quotes: Annotated[list[RateModel], Field(min_length=1, max_length=4096)]


class SourceModel(Strict):
    """A source: name, Ed25519 public key (PEM, or the name of a file of it), and the kinds it may sign."""

    name: Name
    key: Text | None = None
    key_file: Text | None = None
    kinds: Annotated[list[Kind], Field(min_length=1, max_length=5)]


class LimitsModel(Strict):
    """Limits of one kind: age in seconds; ppm of the median (of 1 for rates) between sources and since last time."""

    staleness: Annotated[int, Field(ge=1, le=7 * 86400)]
    deviation_ppm: Ppm
    jump_ppm: Ppm


class ScenarioModel(Strict):
    """A column of the matrix: shock in ppm per group, state of volatility, damping of the change in value."""

    name: Name
    shocks: Annotated[
        dict[Name, Annotated[int, Field(gt=-PPM, le=100 * PPM)]], Field(max_length=256)
    ]  # above -100 %: a forward stays positive
    volatility: Literal["up", "none", "down"] = "none"
    damping_ppm: Annotated[int, Field(ge=0, le=PPM)] = PPM


class VolatilityShockModel(Strict):
    """Volatility factor 1 + up*(d/max(T, f))^p or max(0, 1 - down*(d/max(T, f))^p); T, d, f in days.

    d is ``reference_days``, f ``floor_days``, p ``short_power_ppm`` up to d and ``long_power_ppm`` beyond. Source:
    Derive PMRM, ``PMRMLib_2.sol``; its parameters are the defaults.
    """

    up_ppm: Annotated[int, Field(ge=0, le=100 * PPM)] = 500_000
    down_ppm: Annotated[int, Field(ge=0, le=PPM)] = 300_000
    short_power_ppm: Annotated[int, Field(ge=0, le=PPM)] = 300_000
    long_power_ppm: Annotated[int, Field(ge=0, le=PPM)] = 130_000
    reference_days: Annotated[int, Field(ge=1, le=3650)] = 30
    floor_days: Annotated[int, Field(ge=1, le=3650)] = 1


class LineModel(Strict):
    """One instrument to publish. ``underlying`` and so on as its kind needs; ``risk`` goes to the rule unchanged."""

    id: Name
    kind: Literal["quote", "spot", "perpetual", "future", "option", "credit"]
    lot: Decimal
    position_limit: Decimal
    underlying: Name | None = None
    feed: Literal["spot", "index"] | None = None
    expiry: Time | None = None
    strike: Decimal | None = None
    right: Literal["call", "put"] | None = None
    risk: dict[str, Any] = Field(default_factory=dict)


class ParameterModel(Strict):
    """A parameter of the rule that is a price: the figure ``feed`` of ``underlying``, quote per unit."""

    feed: Literal["spot", "index"]
    underlying: Name


class ConfigModel(Strict):
    """``zkmargin/oracle-config/1``. ``validity`` in seconds: how long a snapshot stays in force."""

    schema_: Literal["zkmargin/oracle-config/1"] = Field(alias="schema")
    oracle: Name
    quote: QuoteModel
    rule: RuleModel
    parameters_from_feeds: Annotated[dict[Name, ParameterModel], Field(max_length=64)] = Field(default_factory=dict)
    quorum: Annotated[int, Field(ge=1, le=64)]
    sources: Annotated[list[SourceModel], Field(min_length=1, max_length=64)]
    limits: dict[Kind, LimitsModel]
    validity: Annotated[int, Field(ge=1, le=7 * 86400)]
    groups: Annotated[dict[Name, Name], Field(max_length=1024)]
    scenarios: Annotated[list[ScenarioModel], Field(min_length=1, max_length=512)]
    volatility_shock: VolatilityShockModel = VolatilityShockModel()
    instruments: Annotated[list[LineModel], Field(min_length=1, max_length=2048)]


class SeenModel(Strict):
    """The newest feed used of one source and kind: its sequence and the SHA-256 of its payload."""

    sequence: Sequence
    payload: Hex32


class StateModel(Strict):
    """``zkmargin/oracle-state/1``: what the next build is held against."""

    schema_: Literal["zkmargin/oracle-state/1"] = Field(alias="schema")
    snapshot: Hex32
    figures: dict[str, Decimal]
    seen: dict[Name, dict[Kind, SeenModel]]
