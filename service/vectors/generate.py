"""Make the frozen files. Same code, same seed: the same bytes, which ``--check`` and a test compare."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType

from zkmargin.circuits.errors import CorruptData
from zkmargin.service.vectors.book import Book, Library
from zkmargin.service.vectors.case import (
    INVALID,
    SCHEMA,
    SHARED_FILE,
    SHARED_SCHEMA,
    Topic,
    Tree,
    case_tree,
    digest_of,
    frozen_files,
    parse_file,
    path_of,
)
from zkmargin.service.vectors.flags import FLAGS
from zkmargin.service.vectors.seed import SEED
from zkmargin.service.vectors.topics import (
    authorisations,
    batches,
    cheats,
    commitments,
    credits,
    documents,
    encodings,
    log,
    proofs,
    purpose_proofs,
    purposes,
    signed,
    systems,
    trades,
    transcripts,
)

#: The topics of each wire version, in the order in which they are written.
VERSIONS: dict[int, tuple[ModuleType, ...]] = {
    1: (encodings, documents, systems, commitments, transcripts, proofs, cheats, batches, signed, credits, log),
    2: (purposes, trades, authorisations, purpose_proofs),
}
TOPICS: dict[str, ModuleType] = {topic.NAME: topic for topics in VERSIONS.values() for topic in topics}
PROVENANCE = {
    "generator": "zkmargin vectors generate (service/vectors of the zkmargin project)",
    "seed": SEED.decode(),
    "values": "Expected results are the author's. Values are the native engine's (arkworks, FLINT); the reference "
    "engine (py_ecc, galois) checks those that it covers.",
    "license": "Apache-2.0",
}


@dataclass(frozen=True)
class Generated:
    """Files by path (``v1/log.json``), (cases, invalid) by topic, and one digest over all of it."""

    files: Mapping[str, bytes]
    counts: Mapping[str, tuple[int, int]]
    digest: str


def file_bytes(topic: Topic, version: int) -> bytes:
    """A topic's file: one line for each case, so that a change shows as a line."""
    used = sorted({flag for case in topic.cases for flag in case.flags})
    head: Tree = {
        "schema": SCHEMA,
        "wire_version": version,
        "topic": topic.name,
        "title": topic.title,
        "provenance": PROVENANCE,
        "notes": {flag: FLAGS[flag].model_dump() for flag in used},
        "number_of_cases": len(topic.cases),
        "number_invalid": sum(case.result == INVALID for case in topic.cases),
    }
    cases = ",\n".join(_dumps(case_tree(case)) for case in topic.cases)
    return (json.dumps(head, indent=1)[:-2] + ',\n "cases": [\n' + cases + "\n]}\n").encode()


def shared_bytes(library: Library, version: int) -> bytes:
    """The shared texts, one a line."""
    lines = ",\n".join(f"{_dumps(name)}: {_dumps(library.texts[name])}" for name in sorted(library.texts))
    head = {"schema": SHARED_SCHEMA, "wire_version": version}
    return (json.dumps(head, indent=1)[:-2] + ',\n "texts": {\n' + lines + "\n}}\n").encode()


def _dumps(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def build(topics: Iterable[str] = tuple(TOPICS), *, progress: Callable[[str], None] = lambda step: None) -> Generated:
    """The files of these topics (all by default) and the shared texts, checked against their own schema."""
    chosen = set(topics)
    files: dict[str, bytes] = {}
    counts: dict[str, tuple[int, int]] = {}
    for version, modules in VERSIONS.items():
        library = Library()
        for module in modules:
            name: str = module.NAME
            if name not in chosen:
                continue
            progress(name)
            book = Book(name, module.TITLE, library)
            module.write(book)
            topic = book.topic()
            path = path_of(version, f"{name}.json")
            files[path] = file_bytes(topic, version)
            counts[name] = len(topic.cases), sum(case.result == INVALID for case in topic.cases)
            parse_file(files[path], name=name)
        if library.texts:
            files[path_of(version, SHARED_FILE)] = shared_bytes(library, version)
    return Generated(files, counts, digest_of(files.items()))


def compare(files: Mapping[str, bytes]) -> None:
    """Raise ``CorruptData`` naming the first file that differs from the frozen one."""
    frozen = frozen_files()
    for name in sorted(frozen.keys() | files.keys()):
        if frozen.get(name) != files.get(name):
            raise CorruptData("what is generated differs from what is frozen", field=f"vectors/{name}")
