"""Bodies of calls: strict JSON, and the types of fields that several domains share.

A domain's own models stand with its calls in :mod:`zkmargin.service.http.routes`. Amounts and quantities are decimal
strings, times Unix seconds. Processes that verify use this without a web framework.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.strict_json import MAX_JSON_BYTES, parse_json
from zkmargin.circuits.units import DECIMAL_FORM
from zkmargin.service.errors import BrokenJson
from zkmargin.verifier.facts.attestation import AttestationModel

#: Names that stand in paths.
ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
PublicKey = Annotated[
    str, StringConstraints(pattern=r"^[0-9a-f]{64}$"), Field(description="raw Ed25519 public key, hex")
]
Kid = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
CreditId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
_AMOUNT_PATTERN = r"^(0|[1-9][0-9]{0,40})(\.[0-9]{1,30})?$"
Amount = Annotated[str, StringConstraints(pattern=_AMOUNT_PATTERN, max_length=80)]
#: What callers are told instead of a regular expression, besides what the documents' own types say. A domain's own
#: patterns stand with its calls.
FORMS = {
    ID_PATTERN: "must be a name of at most 64 letters, digits and . _ -, beginning with a letter or digit",
    _AMOUNT_PATTERN: f"{DECIMAL_FORM}; not negative",
}
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
Token = Annotated[str, StringConstraints(max_length=8192)]


def parse_body(data: bytes, *, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """Strict JSON of a body, or ``BrokenJson``."""
    try:
        return parse_json(data, name="body", max_bytes=max_bytes)
    except MalformedInput as err:
        raise BrokenJson(err.message, field="body") from None


class Answer(BaseModel):
    """Base of what the service gives."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SignedDocument(Answer):
    """A fact signed by the hub: JWS compact serialisation over canonical JSON."""

    schema_: str = Field(alias="schema")
    jws: Token


class AttestedView(Answer):
    """An attested epoch; ``leaf`` is its place in the transparency log."""

    account: Id
    epoch: Count
    leaf: Count
    attestation: AttestationModel
