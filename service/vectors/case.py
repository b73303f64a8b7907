"""Cases and the files that hold them (``zkmargin/vectors/1``), in the manner of Project Wycheproof.

A file is one topic. A case names an operation, its input, and either ``result: valid`` with the values that must
come out, or ``result: invalid`` with the error that must. ``flags`` name the fault; ``notes`` explain every flag.
An input string ``@name`` stands for the text of that name in the ``shared.json`` of the same wire version: snapshots,
statements, proofs, keys.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Annotated, Any, Literal

from pydantic import Field

from zkmargin.circuits.errors import CorruptData
from zkmargin.circuits.schema import Name, Strict, Text, validate
from zkmargin.circuits.strict_json import MAX_JSON_BYTES, parse_json

SCHEMA = "zkmargin/vectors/1"
SHARED_SCHEMA = "zkmargin/vectors-shared/1"
#: The wire versions whose vectors ship, each in its own folder under ``data``, frozen for good. Version 2 came with
#: statements that have a purpose and with authorisations; it holds these alone, beside all of version 1.
WIRE_VERSIONS = (1, 2)
SHARED_FILE = "shared.json"

Tree = dict[str, Any]
VALID: Literal["valid"] = "valid"
INVALID: Literal["invalid"] = "invalid"


@dataclass(frozen=True)
class Case:
    """One case. ``code`` is the expected error of an invalid one, ``at`` the field that our own engine names."""

    id: str
    operation: str
    input: Mapping[str, Any]
    result: Literal["valid", "invalid"]
    comment: str = ""
    flags: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    code: str | None = None
    at: str | None = None


@dataclass(frozen=True)
class Topic:
    """One file of cases."""

    name: str
    title: str
    cases: tuple[Case, ...]


class NoteModel(Strict):
    """What a flag means: the kind of fault, and why it matters."""

    kind: Literal["encoding", "arithmetic", "transcript", "binding", "time", "signature", "format", "limit", "edge"]
    text: Text


class ErrorModel(Strict):
    """Expected refusal: stable code, and the field that this project's own verifier names."""

    code: Name
    field: Text | None = None


class CaseModel(Strict):
    """One case of a file."""

    id: Name
    operation: Name
    comment: Text
    flags: list[Name]
    input: dict[str, Any]
    result: Literal["valid", "invalid"]
    values: dict[str, Any] | None = None
    error: ErrorModel | None = None


class ProvenanceModel(Strict):
    """Where the cases come from."""

    generator: Text
    seed: Text
    values: Text
    license: Text


class FileModel(Strict):
    """``zkmargin/vectors/1``."""

    schema_: Literal["zkmargin/vectors/1"] = Field(alias="schema")
    wire_version: Literal[1, 2]
    topic: Name
    title: Text
    provenance: ProvenanceModel
    notes: dict[Name, NoteModel]
    number_of_cases: Annotated[int, Field(ge=1)]
    number_invalid: Annotated[int, Field(ge=0)]
    cases: Annotated[list[CaseModel], Field(min_length=1)]


class SharedModel(Strict):
    """``zkmargin/vectors-shared/1``: texts that several cases use."""

    schema_: Literal["zkmargin/vectors-shared/1"] = Field(alias="schema")
    wire_version: Literal[1, 2]
    texts: dict[Name, str | dict[str, Any]]


def case_tree(case: Case) -> Tree:
    """The JSON form of a case."""
    tree: Tree = {
        "id": case.id,
        "operation": case.operation,
        "comment": case.comment,
        "flags": list(case.flags),
        "input": dict(case.input),
        "result": case.result,
    }
    if case.values:
        tree["values"] = dict(case.values)
    if case.code is not None:
        tree["error"] = {"code": case.code} | ({"field": case.at} if case.at else {})
    return tree


def _case(model: CaseModel) -> Case:
    error = model.error
    return Case(
        model.id, model.operation, model.input, model.result, model.comment, tuple(model.flags), model.values or {},
        error.code if error else None, error.field if error else None,
    )  # fmt: skip


def check_consistent(model: FileModel, *, name: str) -> None:
    """Counts, ids, flags and results of a file agree with each other; ``CorruptData`` otherwise."""
    cases = model.cases
    if model.number_of_cases != len(cases) or model.number_invalid != sum(c.result == INVALID for c in cases):
        raise CorruptData("counts differ from the cases", field=name)
    if len({c.id for c in cases}) != len(cases):
        raise CorruptData("two cases of one id", field=name)
    if {flag for c in cases for flag in c.flags} != set(model.notes):
        raise CorruptData("flags differ from the notes", field=name)
    for c in cases:
        if (c.result == INVALID) != (c.error is not None) or (c.result == INVALID and not c.flags):
            raise CorruptData(f"{c.id}: an invalid case has an error and a flag, a valid one no error", field=name)


def parse_file(data: bytes, *, name: str) -> FileModel:
    """A file of cases, checked; ``MalformedInput`` or ``CorruptData`` naming the file."""
    model = validate(FileModel, parse_json(data, name=name, max_bytes=MAX_JSON_BYTES), name=name)
    check_consistent(model, name=name)
    return model


class Shared:
    """The shared texts, and how an input gets them."""

    def __init__(self, texts: Mapping[str, str | Tree]) -> None:
        self._texts = texts

    def text(self, name: str) -> str:
        """The text of a name; a JSON document in compact form, its keys sorted."""
        if name not in self._texts:
            raise CorruptData("no shared text of this name", field=f"{SHARED_FILE}:{name}")
        value = self._texts[name]
        return value if isinstance(value, str) else compact(value)

    def resolve(self, value: Any) -> Any:
        """An input with every ``@name`` replaced."""
        if isinstance(value, str):
            return self.text(value[1:]) if value.startswith("@") else value
        if isinstance(value, dict):
            return {key: self.resolve(item) for key, item in value.items()}
        return [self.resolve(item) for item in value] if isinstance(value, list) else value


def compact(tree: object) -> str:
    """JSON without white space, keys sorted, ASCII."""
    return json.dumps(tree, sort_keys=True, separators=(",", ":"))


def path_of(version: int, name: str) -> str:
    """Where a file of a wire version lies below ``data``."""
    return f"v{version}/{name}"


def _read(path: str) -> bytes:
    try:
        return resources.files("zkmargin.service.vectors.data").joinpath(*path.split("/")).read_bytes()
    except OSError as err:
        raise CorruptData(f"cannot be read ({type(err).__name__})", field=f"vectors/{path}") from None


def _names(version: int) -> list[str]:
    """The files of a wire version that ship."""
    folder = resources.files("zkmargin.service.vectors.data").joinpath(f"v{version}")
    return sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".json")) if folder.is_dir() else []


def frozen_files() -> dict[str, bytes]:
    """Every file that ships, by its path below ``data``."""
    paths = [path_of(version, name) for version in WIRE_VERSIONS for name in _names(version)]
    return {path: _read(path) for path in paths}


def shipped() -> dict[str, int]:
    """Topics that ship and the wire version of each, version by version, by name. No two have one name."""
    files = [(name, version) for version in WIRE_VERSIONS for name in _names(version) if name != SHARED_FILE]
    return {name.removesuffix(".json"): version for name, version in files}


def topic_names() -> list[str]:
    """Topics of every wire version that ship."""
    return list(shipped())


@lru_cache(maxsize=len(WIRE_VERSIONS))
def load_shared(version: int) -> Shared:
    """The shared texts of a wire version."""
    path = path_of(version, SHARED_FILE)
    model = validate(SharedModel, parse_json(_read(path), name=path), name=path)
    return Shared(model.texts)


def load_topic(name: str) -> Topic:
    """A shipped topic, its references resolved."""
    version = shipped()[name]
    path = path_of(version, f"{name}.json")
    model = parse_file(_read(path), name=f"vectors/{path}")
    if model.wire_version != version:
        raise CorruptData("in the folder of another wire version", field=f"vectors/{path}")
    shared = load_shared(version)
    return Topic(model.topic, model.title, tuple(resolved(_case(c), shared) for c in model.cases))


def resolved(case: Case, shared: Shared) -> Case:
    """The case with its shared texts in place, as a driver gets it."""
    from dataclasses import replace

    return replace(case, input=shared.resolve(dict(case.input)))


def digest_of(files: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 over names and contents: one line that says which vectors these are."""
    h = hashlib.sha256()
    for name, data in sorted(files):
        h.update(name.encode() + b"\x00" + hashlib.sha256(data).digest())
    return h.hexdigest()
