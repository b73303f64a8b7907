"""The oracle's configuration: sources, limits, instruments and the scenario grid, validated once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.schema import dump, load
from zkmargin.circuits.units import PPM, parse_decimal
from zkmargin.service.oracle.errors import OracleRefused
from zkmargin.service.oracle.feeds import Figure
from zkmargin.service.oracle.models import ConfigModel, Kind, LineModel, SourceModel, VolatilityShockModel
from zkmargin.verifier.facts.attestation import load_public_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


@dataclass(frozen=True)
class Source:
    """Who may sign what."""

    name: str
    key: Ed25519PublicKey
    kinds: frozenset[Kind]


@dataclass(frozen=True)
class Limits:
    """Age in seconds; the others in ppm of the figure (of 1 for rates)."""

    staleness: int
    deviation_ppm: int
    jump_ppm: int


@dataclass(frozen=True)
class Scenario:
    """Relative shock of each group, state of volatility, and the share of the change in value that counts."""

    name: str
    shocks: Mapping[str, Fraction]
    volatility: Literal["up", "none", "down"]
    damping: Fraction

    @property
    def unshocked(self) -> bool:
        """Whether this is the market as it stands."""
        return self.volatility == "none" and not any(self.shocks.values())


@dataclass(frozen=True)
class VolatilityShock:
    """See :class:`zkmargin.service.oracle.models.VolatilityShockModel`; factors and powers as plain numbers."""

    up: float
    down: float
    short_power: float
    long_power: float
    reference_days: int
    floor_days: int


@dataclass(frozen=True)
class Line:
    """One instrument: lot and limit in units (strings for the document), and the figures that price it.

    ``price`` is the figure of a linear instrument and the forward of an option, None for cash.
    """

    id: str
    kind: str
    lot: Fraction
    document: Mapping[str, Any] = field(hash=False)
    group: str = ""
    price: Figure | None = None
    volatility: Figure | None = None
    rate: Figure | None = None
    expiry: int | None = None
    strike: Fraction = Fraction(0)
    call: bool = False

    @property
    def figures(self) -> tuple[Figure, ...]:
        """All figures that this instrument needs."""
        return tuple(f for f in (self.price, self.volatility, self.rate) if f is not None)


@dataclass(frozen=True)
class Config:
    """A validated configuration; ``validity`` in seconds, ``parameters`` those of the rule that are figures."""

    oracle: str
    quote: Mapping[str, Any] = field(hash=False)
    value_decimals: int
    rule: Mapping[str, Any] = field(hash=False)
    quorum: int
    sources: Mapping[str, Source] = field(hash=False)
    limits: Mapping[str, Limits] = field(hash=False)
    validity: int
    scenarios: tuple[Scenario, ...]
    volatility_shock: VolatilityShock
    lines: tuple[Line, ...]
    parameters: Mapping[str, Figure] = field(hash=False, default_factory=dict)

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Every figure once, in the order of the instruments, then those of the rule."""
        of_lines = [figure for line in self.lines for figure in line.figures]
        return tuple(dict.fromkeys((*of_lines, *self.parameters.values())))


_NEEDS: dict[str, tuple[str, ...]] = {
    "quote": (), "credit": (), "spot": ("underlying", "feed"), "perpetual": ("underlying", "feed"),
    "future": ("underlying", "expiry"), "option": ("underlying", "expiry", "strike", "right"),
}  # fmt: skip


def _line(model: LineModel, at: str, groups: Mapping[str, str]) -> Line:
    for name in ("underlying", "feed", "expiry", "strike", "right"):
        if (getattr(model, name) is None) == (name in _NEEDS[model.kind]):
            wanted = "needs" if name in _NEEDS[model.kind] else "has no"
            raise MalformedInput(f"{model.kind} {model.id} {wanted} {name}", field=f"{at}.{name}")
    lot = parse_decimal(model.lot, field=f"{at}.lot")
    document = {
        "id": model.id, "kind": model.kind, "lot": model.lot, "position_limit": model.position_limit,
        "risk": model.risk,
    }  # fmt: skip
    if model.underlying is None:
        return Line(model.id, model.kind, lot, MappingProxyType(document))
    group = groups.get(model.underlying)
    if group is None:
        raise OracleRefused(f"{model.id}: the underlying is in no group", field=f"{at}.underlying")
    if model.feed is not None:
        price = Figure(model.feed, model.underlying)
        return Line(model.id, model.kind, lot, MappingProxyType(document), group, price)
    assert model.expiry is not None  # noqa: S101 - checked above: futures and options have one
    price = Figure("forward", model.underlying, model.expiry)
    if model.strike is None:
        return Line(model.id, model.kind, lot, MappingProxyType(document), group, price, expiry=model.expiry)
    strike = parse_decimal(model.strike, field=f"{at}.strike")
    if strike <= 0:
        raise MalformedInput("must be positive", field=f"{at}.strike")
    return Line(
        model.id, model.kind, lot, MappingProxyType(document), group, price,
        Figure("volatility", model.underlying, model.expiry, strike), Figure("rate", expiry=model.expiry),
        model.expiry, strike, model.right == "call",
    )  # fmt: skip


def _key(item: SourceModel, at: str, read: Callable[[str], bytes] | None) -> Ed25519PublicKey:
    """The key of a source, from the document or from the file that it names."""
    if item.key is not None and item.key_file is None:
        return load_public_key(item.key.encode())
    if item.key_file is None or item.key is not None:
        raise MalformedInput("give key or key_file", field=f"{at}.key")
    if read is None:
        raise MalformedInput("a file can't be named here", field=f"{at}.key_file")
    return load_public_key(read(item.key_file))


def _sources(model: ConfigModel, read: Callable[[str], bytes] | None) -> dict[str, Source]:
    sources: dict[str, Source] = {}
    keys: set[bytes] = set()
    for i, item in enumerate(model.sources):
        at = f"config.sources.{i}"
        try:
            key = _key(item, at, read)
        except MalformedInput as err:
            named = "key" if item.key_file is None else "key_file"
            raise MalformedInput(err.message, field=f"{at}.{named}") from None
        raw = key.public_bytes_raw()
        if item.name in sources or raw in keys:
            raise MalformedInput("each source has its own name and its own key", field=at)
        keys.add(raw)
        sources[item.name] = Source(item.name, key, frozenset(item.kinds))
    return sources


def _shock(model: VolatilityShockModel) -> VolatilityShock:
    return VolatilityShock(
        model.up_ppm / PPM, model.down_ppm / PPM, model.short_power_ppm / PPM, model.long_power_ppm / PPM,
        model.reference_days, model.floor_days,
    )  # fmt: skip


def _check(config: Config) -> None:
    if not any(scenario.unshocked for scenario in config.scenarios):
        raise OracleRefused("no scenario without a shock: the market as it stands is missing", field="config.scenarios")
    groups = sorted({line.group for line in config.lines if line.group})
    for s, scenario in enumerate(config.scenarios):
        for group in groups:
            if group not in scenario.shocks:
                raise OracleRefused(
                    f"scenario {scenario.name} says nothing about group {group}", field=f"config.scenarios.{s}.shocks"
                )
    for kind in sorted({figure.kind for figure in config.figures}):
        if kind not in config.limits:
            raise MalformedInput("an instrument needs this kind", field=f"config.limits.{kind}")
        able = sum(kind in source.kinds for source in config.sources.values())
        if able < config.quorum:
            raise OracleRefused(f"{able} sources of {kind}, {config.quorum} needed", field="config.quorum")


def _parameters(model: ConfigModel) -> dict[str, Figure]:
    for name in model.parameters_from_feeds:
        if name in model.rule.parameters:
            raise MalformedInput("the rule has this parameter already", field=f"config.parameters_from_feeds.{name}")
    return {name: Figure(item.feed, item.underlying) for name, item in model.parameters_from_feeds.items()}


def parse_config(data: bytes, read: Callable[[str], bytes] | None = None) -> Config:
    """Read a configuration; ``read`` gives the bytes of a key file by its name.

    ``MalformedInput`` or ``OracleRefused`` (a missing scenario) name the field.
    """
    model = load(ConfigModel, data, name="config")
    config = Config(
        oracle=model.oracle,
        quote=MappingProxyType(dump(model.quote)),
        value_decimals=model.quote.value_decimals,
        rule=MappingProxyType(dump(model.rule)),
        quorum=model.quorum,
        sources=MappingProxyType(_sources(model, read)),
        limits=MappingProxyType({k: Limits(v.staleness, v.deviation_ppm, v.jump_ppm) for k, v in model.limits.items()}),
        validity=model.validity,
        scenarios=tuple(
            Scenario(
                s.name,
                MappingProxyType({g: Fraction(ppm, PPM) for g, ppm in s.shocks.items()}),
                s.volatility,
                Fraction(s.damping_ppm, PPM),
            )
            for s in model.scenarios
        ),
        volatility_shock=_shock(model.volatility_shock),
        lines=tuple(_line(item, f"config.instruments.{i}", model.groups) for i, item in enumerate(model.instruments)),
        parameters=MappingProxyType(_parameters(model)),
    )
    _check(config)
    return config
