"""Make the frozen files. Same code, same seed: the same bytes, which ``--check`` and a test compare."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType

from circuits.errors import CorruptData

from .book import Book, Library
from .case import (
    INVALID,
    SCHEMA,
    SHARED_FILE,
    SHARED_SCHEMA,
    WIRE_VERSION,
    Topic,
    Tree,
    case_tree,
    digest_of,
    parse_file,
)
from .flags import FLAGS
from .seed import SEED
from .topics import (
    batches,
    cheats,
    commitments,
    credits,
    documents,
    encodings,
    log,
    proofs,
    signed,
    systems,
    transcripts,
)

#: Topics in the order in which they are written.
TOPICS: dict[str, ModuleType] = {
    topic.NAME: topic
    for topic in (
        encodings,
        documents,
        systems,
        commitments,
        transcripts,
        proofs,
        cheats,
        batches,
        signed,
        credits,
        log,
    )
}
PROVENANCE = {
    "generator": "zkmargin vectors generate (service/vectors of the zkmargin project)",
    "seed": SEED.decode(),
    "values": "Expected results are the author's. Values are the native engine's (arkworks, FLINT); the reference "
    "engine (py_ecc, galois) checks those that it covers.",
    "license": "Apache-2.0",
}


@dataclass(frozen=True)
class Generated:
    """Files by name, (cases, invalid) by topic, and one digest over all of it."""

    files: Mapping[str, bytes]
    counts: Mapping[str, tuple[int, int]]
    digest: str


def file_bytes(topic: Topic) -> bytes:
    """A topic's file: one line for each case, so that a change shows as a line."""
    used = sorted({flag for case in topic.cases for flag in case.flags})
    head: Tree = {
        "schema": SCHEMA,
        "wire_version": WIRE_VERSION,
        "topic": topic.name,
        "title": topic.title,
        "provenance": PROVENANCE,
        "notes": {flag: FLAGS[flag].model_dump() for flag in used},
        "number_of_cases": len(topic.cases),
        "number_invalid": sum(case.result == INVALID for case in topic.cases),
    }
    cases = ",\n".join(_dumps(case_tree(case)) for case in topic.cases)
    return (json.dumps(head, indent=1)[:-2] + ',\n "cases": [\n' + cases + "\n]}\n").encode()


def shared_bytes(library: Library) -> bytes:
    """The shared texts, one a line."""
    lines = ",\n".join(f"{_dumps(name)}: {_dumps(library.texts[name])}" for name in sorted(library.texts))
    head = {"schema": SHARED_SCHEMA, "wire_version": WIRE_VERSION}
    return (json.dumps(head, indent=1)[:-2] + ',\n "texts": {\n' + lines + "\n}}\n").encode()


def _dumps(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def build(topics: Iterable[str] = tuple(TOPICS), *, progress: Callable[[str], None] = lambda step: None) -> Generated:
    """The files of these topics (all by default) and the shared texts, checked against their own schema."""
    library = Library()
    files: dict[str, bytes] = {}
    counts: dict[str, tuple[int, int]] = {}
    for name in topics:
        progress(name)
        book = Book(name, TOPICS[name].TITLE, library)
        TOPICS[name].write(book)
        topic = book.topic()
        files[f"{name}.json"] = file_bytes(topic)
        counts[name] = len(topic.cases), sum(case.result == INVALID for case in topic.cases)
        parse_file(files[f"{name}.json"], name=name)
    files[SHARED_FILE] = shared_bytes(library)
    return Generated(files, counts, digest_of(files.items()))


def compare(files: Mapping[str, bytes]) -> None:
    """Raise ``CorruptData`` naming the first file that differs from the frozen one."""
    from importlib import resources

    from .case import FOLDER

    folder = resources.files("service.vectors.data").joinpath(FOLDER)
    frozen = {entry.name: entry.read_bytes() for entry in folder.iterdir() if entry.name.endswith(".json")}
    for name in sorted(frozen.keys() | files.keys()):
        if frozen.get(name) != files.get(name):
            raise CorruptData("what is generated differs from what is frozen", field=f"vectors/{name}")
