"""The trusted base: what must be right for a verdict to be right, counted as whole files in fresh interpreters.

A frozen proof is verified on the way, so what is counted is what is really loaded. docs/SECURITY.md has both tables.

    python -m scripts.trusted --files   prints them, and the lines of every file
    python -m scripts.trusted --write   writes them into the document
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from zkmargin.circuits.rules import SHIPPED

ROOT = Path(__file__).resolve().parents[1]
FROZEN, DOCUMENT = ROOT / "tests" / "frozen" / "v2", ROOT / "docs" / "SECURITY.md"
#: Lines of whole files that ``import zkmargin.verifier.verify`` may load.
MOST_LINES = 3000
#: Why a package is on the path. One that is not here ends the command, and its test.
REASONS = {
    "py_arkworks_bls12381": "group, scalar field and pairing of BLS12-381",
    "python-flint": "integer matrices and polynomials over the scalar field",
    "rfc8785": "the canonical bytes that digests are over",
    "pydantic": "the form of documents, and of a rule's parameters",
    "pydantic_core": "of pydantic: its engine",
    "annotated-types": "of pydantic: names of constraints",
    "typing_extensions": "of pydantic",
    "typing-inspection": "of pydantic",
    "PyJWT": "the parts of a signed token, its algorithm pinned",
    "cryptography": "Ed25519",
    "cffi": "of cryptography",
}
IMPORT = "import zkmargin.verifier.verify"
READ = f"""
from pathlib import Path
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.circuits.documents.statement import statement_from_bytes
read = lambda name: (Path({str(FROZEN)!r}) / name).read_bytes()
snapshot, statement = snapshot_from_bytes(read("snapshot.json")), statement_from_bytes(read("a.statement.json"))
"""
VERIFY = """
import json
proof = bytes.fromhex(json.loads(read("a.proof.json"))["proof"])
zkmargin.verifier.verify.verify(statement, snapshot, proof, now=snapshot.time)
"""
PAYING, OVERLAYS = "import zkmargin.circuits.rules.paying", "import zkmargin.circuits.rules.overlays"
TERMS = "import zkmargin.circuits.rules.terms"
ATTESTED = """
from zkmargin.verifier.facts.attestation import load_public_key, verify_attestation
from zkmargin.verifier.verdict import verify_account
fact = verify_attestation(read("a.attestation.json"), load_public_key(read("hub.pub")))
verify_account(statement, snapshot, proof, fact, now=max(snapshot.time, fact.time))
"""
#: The folder of the data files, whose digests are pinned: an empty package, which the first proof loads.
DATA = "zkmargin.verifier.data"
#: Which modules are loaded, and from which distributions the others are.
_REPORT = """
import json, sys
from importlib.metadata import packages_distributions
names = packages_distributions()
tops = {name.partition(".")[0] for name in sys.modules} - {"zkmargin", "_distutils_hack"}
print(json.dumps([
    {name: module.__file__ for name, module in sys.modules.items() if name.startswith("zkmargin") and module.__file__},
    sorted({found for top in tops for found in names.get(top, ())}),
]))
"""
TITLES = {
    "core": f"core: what `{IMPORT}` loads",
    "documents": "snapshot and statement, read from bytes",
    "paying": "the law of paying, where the snapshot has a credit line",
    "overlays": "overlays, where the statement names some",
    "facts": "an attestation and the verdict on all documents",
}


@dataclass(frozen=True)
class Loaded:
    """Lines of our modules by name, whole files; and the distributions of all others, without the standard library."""

    modules: dict[str, int]
    packages: frozenset[str]

    def beside(self, other: Loaded) -> Loaded:
        """What is loaded here and not there."""
        kept = {name: lines for name, lines in self.modules.items() if name not in other.modules}
        return Loaded(kept, self.packages - other.packages)

    @property
    def lines(self) -> int:
        """Lines of all modules."""
        return sum(self.modules.values())


def loaded(*code: str) -> Loaded:
    """What a fresh interpreter has loaded after some code."""
    command = [sys.executable, "-c", "\n".join((*code, _REPORT))]
    files, packages = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    modules = {name: len(Path(file).read_text(encoding="utf-8").splitlines()) for name, file in files.items()}
    return Loaded(dict(sorted(modules.items())), frozenset(packages))


def measure() -> dict[str, Loaded]:
    """The core, and what each of the others adds to the core and the documents; ends where a proof loads more."""
    core, documents = loaded(IMPORT), loaded(IMPORT, READ)
    proved = loaded(IMPORT, READ, VERIFY)
    out = {"core": core, "documents": documents.beside(core)}
    out["paying"] = loaded(IMPORT, READ, PAYING).beside(documents)
    for rule_id, module in SHIPPED.items():
        out[rule_id] = loaded(IMPORT, READ, f"import {module}").beside(documents)
    out["overlays"] = loaded(IMPORT, READ, TERMS, OVERLAYS).beside(loaded(IMPORT, READ, TERMS))
    out["facts"] = loaded(IMPORT, READ, VERIFY, ATTESTED).beside(proved)
    counted = {DATA, *(name for part in out.values() for name in part.modules)}
    if more := proved.modules.keys() - counted:
        raise SystemExit(f"verifying a proof loads what is not counted: {', '.join(sorted(more))}")
    return out


def total(found: dict[str, Loaded]) -> int:
    """Lines of all parts with the largest rule: no verdict of the library rests on more of this code."""
    parts = sum(part.lines for name, part in found.items() if name not in SHIPPED)
    return parts + found[largest(found)].lines


def largest(found: dict[str, Loaded]) -> str:
    """The rule that adds the most lines."""
    return max(SHIPPED, key=lambda rule_id: found[rule_id].lines)


def table(found: dict[str, Loaded]) -> list[str]:
    """The table of lines."""
    out = ["| what | lines | files | packages |", "|---|---|---|---|"]
    for name, part in found.items():
        title, sign = TITLES.get(name, f"rule `{name}`"), "" if name == "core" else "+"
        out.append(f"| {title} | {sign}{part.lines} | {len(part.modules)} | {', '.join(sorted(part.packages))} |")
    return [*out, f"| all of it, with the largest rule (`{largest(found)}`) | {total(found)} | | |"]


def packages(found: dict[str, Loaded]) -> list[str]:
    """The table of packages, with the reason of each."""
    every = {name for part in found.values() for name in part.packages}
    if unknown := every - REASONS.keys():
        raise SystemExit(f"packages without a reason: {', '.join(sorted(unknown))}")
    rows = (f"| {name} | {reason} |" for name, reason in REASONS.items() if name in every)
    return ["| package | for |", "|---|---|", *rows]


def write(*tables: list[str]) -> None:
    """Replace the document's tables, each known by its head."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for lines in tables:
        begin = text.index(lines[0] + "\n")
        text = text[:begin] + "\n".join(lines) + text[text.index("\n\n", begin) :]
    DOCUMENT.write_text(text, encoding="utf-8")


def main() -> None:
    """Print both tables, and with ``--files`` the lines of every file; with ``--write`` write them."""
    found = measure()
    if "--write" in sys.argv[1:]:
        write(table(found), packages(found))
    print("\n".join([*table(found), "", *packages(found)]))
    for name, part in found.items() if "--files" in sys.argv[1:] else ():
        print(f"\n{TITLES.get(name, name)}")
        for module, lines in part.modules.items():
            print(f"  {lines:5d}  {module}")


if __name__ == "__main__":
    main()
