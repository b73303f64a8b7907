"""Make the frozen files. Same code, same seed: the same bytes, which ``--check`` and a test compare.

``python -m tests.vectors.generate --out FOLDER`` writes them (``v1``, ``v2`` in it); ``--check`` compares instead.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tests.vectors.cases import Cases, SharedTexts
from tests.vectors.seed import SEED
from tests.vectors.topics import (
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
from zkmargin.circuits.errors import CorruptData
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

#: The topics of each wire version, in the order in which they are written.
VERSIONS: dict[int, tuple[ModuleType, ...]] = {
    1: (encodings, documents, systems, commitments, transcripts, proofs, cheats, batches, signed, credits, log),
    2: (purposes, trades, authorisations, purpose_proofs),
}
TOPICS: dict[str, ModuleType] = {topic.NAME: topic for topics in VERSIONS.values() for topic in topics}
#: Frozen with the files: the command's name of then stays in them.
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


def shared_bytes(library: SharedTexts, version: int) -> bytes:
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
        library = SharedTexts()
        for module in modules:
            name: str = module.NAME
            if name not in chosen:
                continue
            progress(name)
            cases = Cases(name, module.TITLE, library)
            module.write(cases)
            topic = cases.topic()
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or compare, and print how many cases there are and their digest; 1 when something differs."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.vectors.generate", description=(__doc__ or "").split("\n")[0]
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, metavar="FOLDER", help="folder to write to: v1, v2 in it")
    what.add_argument("--check", action="store_true", help="compare with the frozen files instead of writing")
    chosen = parser.parse_args(arguments)
    out: Path | None = chosen.out
    if out is not None and not out.is_dir():
        parser.error(f"no such folder: {out}")
    made = build(progress=lambda step: print(step, file=sys.stderr))
    if out is None:
        try:
            compare(made.files)
        except CorruptData as err:
            print(f"{err.code}: {err}", file=sys.stderr)
            return 1
    else:
        for path, data in made.files.items():
            (out / path).parent.mkdir(exist_ok=True)
            (out / path).write_bytes(data)
    cases, invalid = (sum(column) for column in zip(*made.counts.values(), strict=True))
    place = "as frozen" if out is None else f"-> {out}"
    print(f"{cases} cases, {invalid} invalid, {sum(map(len, made.files.values()))} bytes {place}")
    print(f"digest {made.digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
