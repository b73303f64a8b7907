"""Pydantic models of the documents that carry a statement: the file edge of :mod:`circuits`.

Everything is strict: unknown keys, wrong types, over-long strings are refused with the path of the field.
Amounts are decimal strings. Conversion to integers happens in the modules that own the concepts.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from .canonical import parse_json
from .errors import MalformedInput
from .units import DECIMAL_PATTERN

Decimal = Annotated[str, StringConstraints(pattern=DECIMAL_PATTERN, max_length=80)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/+-]{0,63}$")]
Hex32 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Hex48 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{96}$")]
#: Seconds since the Unix epoch; the upper bound keeps dates inside four-digit years.
Time = Annotated[int, Field(ge=0, le=253_402_300_799, strict=True)]
Text = Annotated[str, StringConstraints(max_length=2000)]
Ppm = Annotated[int, Field(ge=0, le=100_000_000, strict=True)]


class Strict(BaseModel):
    """Base of all models: frozen, no unknown keys, no coercion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class QuoteModel(Strict):
    """Quote currency: amounts have ``decimals``, values per lot have ``value_decimals`` (>= decimals)."""

    currency: Name
    decimals: Annotated[int, Field(ge=0, le=24)]
    value_decimals: Annotated[int, Field(ge=0, le=24)]


class RuleModel(Strict):
    """Rule id and its parameters; the rule itself validates the parameters."""

    id: Name
    parameters: dict[str, Any]


class InstrumentModel(Strict):
    """One line of the registry; ``values`` holds the value per lot in each scenario, in registry order."""

    id: Name
    kind: Literal["quote", "spot", "perpetual", "future", "option", "credit"]
    lot: Decimal
    position_limit: Decimal
    mark: Decimal
    values: Annotated[list[Decimal], Field(min_length=1, max_length=512)]
    risk: dict[str, Any] = Field(default_factory=dict)


class SnapshotModel(Strict):
    """``zkmargin/snapshot/1``."""

    schema_: Literal["zkmargin/snapshot/1"] = Field(alias="schema")
    time: Time
    quote: QuoteModel
    rule: RuleModel
    scenarios: Annotated[list[Name], Field(min_length=1, max_length=512)]
    instruments: Annotated[list[InstrumentModel], Field(min_length=1, max_length=2048)]
    source: Text = ""


class DeltaModel(Strict):
    """A public trade: signed quantity of one instrument."""

    instrument: Name
    quantity: Decimal


class ContextModel(Strict):
    """What a proof is bound to, so that it is worthless anywhere else."""

    hub: Name
    account: Name
    epoch: Annotated[int, Field(ge=0, le=2**53 - 1)]
    spoke: Name
    nonce: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    expiry: Time


class StatementModel(Strict):
    """``zkmargin/statement/1``: AccountSolvency."""

    schema_: Literal["zkmargin/statement/1"] = Field(alias="schema")
    type: Literal["account-solvency"]
    commitment: Hex48
    domain: Literal[256, 512, 1024, 2048]
    snapshot: Hex32
    rule: Name
    level: Literal["initial", "maintenance"]
    multiplier: Decimal
    horizon: Annotated[int, Field(ge=1, le=366 * 86400)]
    amount: Decimal
    delta: Annotated[list[DeltaModel], Field(max_length=2048)]
    elections: Annotated[dict[Name, Name], Field(min_length=1, max_length=1024)] | None = None
    context: ContextModel


class PositionModel(Strict):
    """Signed quantity of one instrument, in units (not lots)."""

    instrument: Name
    quantity: Decimal


class PortfolioModel(Strict):
    """``zkmargin/portfolio/1``. Secret."""

    schema_: Literal["zkmargin/portfolio/1"] = Field(alias="schema")
    positions: Annotated[list[PositionModel], Field(max_length=2048)]
    source: Text = ""


class OpeningModel(Strict):
    """``zkmargin/opening/1``: everything that opens a commitment. Secret."""

    schema_: Literal["zkmargin/opening/1"] = Field(alias="schema")
    commitment: Hex48
    domain: Literal[256, 512, 1024, 2048]
    registry: Hex32
    lots: Annotated[list[Decimal], Field(min_length=1, max_length=2048)]
    blinding: Annotated[list[Hex32], Field(min_length=2, max_length=2)]


class AttestationPayloadModel(Strict):
    """The signed fact: this commitment is this account's portfolio in this epoch."""

    schema_: Literal["zkmargin/attestation/1"] = Field(alias="schema")
    hub: Name
    account: Name
    epoch: Annotated[int, Field(ge=0, le=2**53 - 1)]
    commitment: Hex48
    domain: Literal[256, 512, 1024, 2048]
    registry: Hex32
    time: Time


class AttestationModel(Strict):
    """``zkmargin/attestation/1``: JWS compact serialisation (EdDSA) over the canonical payload."""

    schema_: Literal["zkmargin/attestation/1"] = Field(alias="schema")
    jws: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$", max_length=8192)]


class ProofModel(Strict):
    """``zkmargin/proof/1``: the proof bytes with the digest of the statement they claim to prove."""

    schema_: Literal["zkmargin/proof/1"] = Field(alias="schema")
    statement: Hex32
    proof: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]*$", max_length=2 * 65536)]


M = TypeVar("M", bound=BaseModel)


def validate(model: type[M], tree: Any, *, name: str) -> M:
    """Validate a parsed JSON tree; the first fault becomes a ``MalformedInput`` naming the field's path.

    Messages never quote the input, because the input may be secret.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as err:
        first = err.errors(include_url=False, include_context=False, include_input=False)[0]
        path = ".".join(str(part)[:64] for part in (name, *first["loc"]))
        raise MalformedInput(first["msg"], field=path) from None


def load(model: type[M], data: bytes, *, name: str) -> M:
    """Bytes to a validated model in one step."""
    return validate(model, parse_json(data, name=name), name=name)


def dump(model: BaseModel) -> dict[str, Any]:
    """The JSON tree of a model, with its wire names."""
    return model.model_dump(mode="json", by_alias=True)
