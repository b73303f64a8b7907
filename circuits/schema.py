"""What every document's model is made of, and how one is read: the file edge.

Everything is strict: unknown keys, wrong types, over-long strings are refused with the path of the field.
Amounts are decimal strings. Conversion to integers happens in the modules that own the concepts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
)
from pydantic_core import PydanticCustomError

from zkmargin.circuits.errors import MAX_FAULTS, MalformedInput
from zkmargin.circuits.strict_json import MAX_JSON_BYTES, parse_json
from zkmargin.circuits.units import DECIMAL_FORM, DECIMAL_PATTERN

_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:/+-]{0,63}$"
_HEX_PATTERN = r"^[0-9a-f]{%d}$"
DESTINATION_PATTERN = r"^[\x21-\x7e]([\x20-\x7e]{0,198}[\x21-\x7e])?$"
Decimal = Annotated[str, StringConstraints(pattern=DECIMAL_PATTERN, max_length=80)]
Name = Annotated[str, StringConstraints(pattern=_NAME_PATTERN)]
Hex32 = Annotated[str, StringConstraints(pattern=_HEX_PATTERN % 64)]
Hex48 = Annotated[str, StringConstraints(pattern=_HEX_PATTERN % 96)]
#: What people are told instead of a regular expression.
_FORMS = {
    DECIMAL_PATTERN: DECIMAL_FORM,
    _NAME_PATTERN: "must be a name of at most 64 letters, digits and . _ : / + -, beginning with a letter or digit",
    DESTINATION_PATTERN: "must be 1 to 200 printable ASCII characters, without a space at either end",
    **{_HEX_PATTERN % digits: f"must be {digits} lower-case hex digits" for digits in (32, 64, 96)},
}
#: Seconds since the Unix epoch; the upper bound keeps dates inside four-digit years.
Time = Annotated[int, Field(ge=0, le=253_402_300_799, strict=True)]
Text = Annotated[str, StringConstraints(max_length=2000)]
Ppm = Annotated[int, Field(ge=0, le=100_000_000, strict=True)]


class Strict(BaseModel):
    """Base of all models: frozen, no unknown keys, no null, no coercion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_null(cls, value: Any) -> Any:
        """Null would be a second spelling of an absent member, with the same digest: refused."""
        if value is None:
            raise PydanticCustomError("null", "null: a member that is not used is absent")
        return value


class Secret(Strict):
    """A model whose repr shows nothing."""

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """No member of a secret document is ever shown."""
        return ()


class ProofModel(Strict):
    """``zkmargin/proof/1``: the proof bytes with the digest of the statement they claim to prove."""

    schema_: Literal["zkmargin/proof/1"] = Field(alias="schema")
    statement: Hex32
    proof: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]*$", max_length=2 * 65536)]


#: What a document of each kind can need, with room to spare; a snapshot may fill the general limit.
MAX_DOCUMENT_BYTES = {
    "StatementModel": 1024 * 1024,
    "PortfolioModel": 1024 * 1024,
    "OpeningModel": 1024 * 1024,
    "AttestationModel": 16 * 1024,
    "AttestationPayloadModel": 16 * 1024,
    "ProofModel": 256 * 1024,
}
#: Members that are left out of a document, rather than null, when they are not used.
_OPTIONAL = ("axes", "elections", "overlays", "greeks", "purpose")
#: What a message may repeat of a path: no control characters, nothing long.
_SAFE_PART = re.compile(r"[A-Za-z0-9_.:/+-]{1,64}")
_SCHEMA = re.compile(r"zkmargin/([a-z-]{1,40})/([0-9]{1,4})")

M = TypeVar("M", bound=BaseModel)


def validate(model: type[M], tree: Any, *, name: str) -> M:
    """Validate a parsed JSON tree; faults become a ``MalformedInput`` that names the path of each.

    Messages never quote the input, because the input may be secret; nor, for a secret model, a key that it does not
    have. A document of another kind or version is named as what it is.
    """
    secret = issubclass(model, Secret)
    faults: list[tuple[str, str]] = []
    if isinstance(tree, dict):
        _check_schema(model, tree, name=name)
        unknown = sorted(set(tree) - _members(model))
        faults += [(name if secret else _path(name, k), _unknown_key(k, model)) for k in unknown[:MAX_FAULTS]]
        tree = {key: value for key, value in tree.items() if key not in unknown} if unknown else tree
    try:
        made = model.model_validate(tree)
    except ValidationError as err:
        for fault in err.errors(include_url=False, include_input=False)[:MAX_FAULTS]:
            faults.append(_told(fault, _untagged(tree, fault["loc"]), model, name=name))
    if faults:
        raise MalformedInput(faults[0][1], field=faults[0][0], more=faults[1:])
    return made


def form_of(pattern: str) -> str:
    """What people are told of a text that has not the form of a regular expression."""
    return _FORMS.get(pattern, "is not of the documented form (docs/FILES.md)")


def _told(fault: Any, place: tuple[str | int, ...], model: type[BaseModel], *, name: str) -> tuple[str, str]:
    """Field and message of one of pydantic's faults, at a place of the document."""
    if fault["type"] == "extra_forbidden":
        message = _unknown_key(str(place[-1]), _model_at(model, place[:-1]))
        return _path(name, *(place[:-1] if issubclass(model, Secret) else place)), message
    if fault["type"] == "string_pattern_mismatch":
        return _path(name, *place), form_of(fault["ctx"]["pattern"])
    return _path(name, *place), "is missing" if fault["type"] == "missing" else fault["msg"]


def _unknown_key(key: str, model: type[BaseModel] | None) -> str:
    """What is said of a key that a model does not have: the member that was probably meant, never the key."""
    known = sorted(_members(model)) if model is not None else []
    near = get_close_matches(key, known, n=1, cutoff=0.7) if _SAFE_PART.fullmatch(key) else []
    return f"unknown key; did you mean {near[0]}?" if near else "unknown key"


def _model_at(model: type[BaseModel], place: Sequence[str | int]) -> type[BaseModel] | None:
    """The model of the object at a place of a document, as far as it has one."""
    found: type[BaseModel] | None = model
    for part in place:
        if isinstance(part, int) or found is None:
            continue
        fields = [info.annotation for key, info in found.model_fields.items() if part == (info.alias or key)]
        found = _first_model(fields[0]) if fields else found
    return found


def _first_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _first_model(part)) is not None), None)


def _check_schema(model: type[BaseModel], tree: dict[str, Any], *, name: str) -> None:
    """Refuse a document that says that it is of another kind or version."""
    wanted = [w for key, info in model.model_fields.items() if key == "schema_" for w in get_args(info.annotation)]
    told = _SCHEMA.fullmatch(tree["schema"]) if isinstance(tree.get("schema"), str) else None
    if not wanted or told is None or told[0] in wanted:
        return
    kinds = [_SCHEMA.fullmatch(w) for w in wanted]
    if any(kind is not None and kind[1] == told[1] for kind in kinds):
        message = f"this version reads {' and '.join(wanted)}, not version {told[2]}"
    else:
        message = f"this is a {told[1]} document ({told[0]}); {' or '.join(wanted)} was expected"
    raise MalformedInput(message, field=_path(name, "schema"))


def _untagged(tree: Any, parts: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """The path without the tags that a choice between models puts into it: what is no member, and has parts below."""
    out: list[str | int] = []
    for i, part in enumerate(parts):
        if isinstance(tree, dict) and part not in tree and i + 1 < len(parts):
            continue
        inside = (isinstance(tree, dict) and part in tree) or (
            isinstance(tree, list) and isinstance(part, int) and part < len(tree)
        )
        tree = tree[part] if inside else None
        out.append(part)
    return tuple(out)


def _path(*parts: str | int) -> str:
    """A dotted path, with what is unsafe to print replaced by a question mark."""
    return ".".join(str(part) if _SAFE_PART.fullmatch(str(part)) else "?" for part in parts)


def _members(model: type[BaseModel]) -> set[str]:
    return {info.alias or key for key, info in model.model_fields.items()}


def load(model: type[M], data: bytes, *, name: str) -> M:
    """Bytes to a validated model in one step; refuses more bytes than a document of its kind can have."""
    limit = MAX_DOCUMENT_BYTES.get(model.__name__, MAX_JSON_BYTES)
    if data.startswith(b"-----BEGIN "):
        raise MalformedInput("this is a PEM file; a JSON document was expected", field=name)
    return validate(model, parse_json(data, name=name, max_bytes=limit), name=name)


def dump(model: BaseModel) -> dict[str, Any]:
    """The JSON tree of a model, with its wire names; members that a later minor version added are absent when
    unused.
    """
    tree = model.model_dump(mode="json", by_alias=True)
    for holder in (tree, tree.get("rule"), *(tree.get("instruments") or [])):
        if isinstance(holder, dict):
            for key in _OPTIONAL:
                if holder.get(key, ...) is None:
                    del holder[key]
    return tree
