"""The trusted base: what must be right for a verdict to be right, counted as whole files in fresh interpreters.

Every step runs the code on a frozen proof, so what is counted is what is really loaded. docs/SECURITY.md has both tables.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from zkmargin.circuits.rules import SHIPPED

FROZEN = Path(__file__).resolve().parents[1] / "tests" / "frozen" / "v2"
#: Why a package is on the path. One that is not here ends the command, and its test.
REASONS = {
    "py_arkworks_bls12381": "group, scalar field and pairing of BLS12-381",
    "python-flint": "integer matrices and polynomials over the scalar field",
    "rfc8785": "the canonical bytes that digests are over",
    "pydantic": "the form of documents and of a rule's parameters",
    "pydantic_core": "of pydantic: its engine",
    "annotated-types": "of pydantic: names of constraints",
    "typing_extensions": "of pydantic",
    "typing-inspection": "of pydantic",
    "PyJWT": "a signed token's parts and its pinned algorithm",
    "cryptography": "Ed25519",
    "cffi": "of cryptography",
}
#: What a fresh interpreter runs, one step after the other; the first is all that ``import`` alone loads.
STEPS = {
    "core": "import zkmargin.verifier.verify",
    "documents": (
        "from pathlib import Path\n"
        f"read = lambda name: (Path({str(FROZEN)!r}) / name).read_bytes()\n"
        "from zkmargin.circuits.documents.snapshot import snapshot_from_bytes\n"
        "from zkmargin.circuits.documents.statement import statement_from_bytes\n"
        "snapshot, statement = snapshot_from_bytes(read('snapshot.json')), statement_from_bytes(read('a.statement.json'))"
    ),
    "rule": (
        "import json\n"
        "proof = bytes.fromhex(json.loads(read('a.proof.json'))['proof'])\n"
        "zkmargin.verifier.verify.verify(statement, snapshot, proof, now=snapshot.time)"
    ),
    "facts": (
        "from zkmargin.verifier.facts.attestation import check_attested, load_public_key, verify_attestation\n"
        "fact = verify_attestation(read('a.attestation.json'), load_public_key(read('hub.pub')))\n"
        "check_attested(statement, snapshot, fact)"
    ),
}
#: The folder of the data files, whose digests are pinned: an empty package, which the first proof loads.
DATA = "zkmargin.verifier.data"
#: Which modules are loaded, and from which distributions the others are.
_REPORT = """
import json, sys
from importlib.metadata import packages_distributions
tops = {name.partition(".")[0] for name in sys.modules}
names = packages_distributions()
print(json.dumps([
    {name: module.__file__ for name, module in sys.modules.items() if name.startswith("zkmargin") and module.__file__},
    sorted({found for top in tops for found in names.get(top, ()) if top not in ("zkmargin", "_distutils_hack")}),
]))
"""


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
    """What each step, rule and overlay loads beside what was loaded before it; core first."""
    core = loaded(STEPS["core"])
    documents = loaded(STEPS["core"], STEPS["documents"])
    before = (STEPS["core"], STEPS["documents"])
    proved = loaded(*before, STEPS["rule"])
    out = {"core": core, "documents": documents.beside(core)}
    for rule_id, module in SHIPPED.items():
        out[rule_id] = loaded(*before, f"import {module}").beside(documents)
    also = proved.beside(documents).modules.keys() - out["cross-margin/1"].modules.keys() - {DATA}
    if also:
        raise SystemExit(f"verifying a proof loads more than its rule: {', '.join(sorted(also))}")
    out["overlays"] = loaded(*before, "import zkmargin.circuits.rules.overlays").beside(
        loaded(*before, "import zkmargin.circuits.rules.terms")
    )
    out["facts"] = loaded(*before, STEPS["rule"], STEPS["facts"]).beside(proved)
    return out


def total(found: dict[str, Loaded]) -> int:
    """Lines of core, documents, the largest rule, overlays and signed facts: no verdict rests on more of this code."""
    return sum(found[name].lines for name in ("core", "documents", "overlays", "facts")) + max(
        found[rule_id].lines for rule_id in SHIPPED
    )


NAMES = {
    "core": "core: what `import zkmargin.verifier.verify` loads",
    "documents": "snapshot and statement read from bytes",
    "overlays": "overlays, where a statement names some",
    "facts": "signed facts, where an attestation is checked",
}


def table(found: dict[str, Loaded]) -> list[str]:
    """The table of lines as docs/SECURITY.md has it."""
    out = ["| what | lines | files | packages |", "|---|---|---|---|"]
    for name, part in found.items():
        title = NAMES.get(name, f"rule `{name}`")
        sign = "" if name == "core" else "+"
        out.append(f"| {title} | {sign}{part.lines} | {len(part.modules)} | {', '.join(sorted(part.packages))} |")
    largest = max(SHIPPED, key=lambda rule_id: found[rule_id].lines)
    out.append(f"| all of it, with the largest rule (`{largest}`) | {total(found)} | | |")
    return out


def packages(found: dict[str, Loaded]) -> list[str]:
    """The table of packages with the reason of each; ``KeyError`` for one without."""
    every = {name for part in found.values() for name in part.packages}
    if unknown := every - REASONS.keys():
        raise SystemExit(f"packages without a reason: {', '.join(sorted(unknown))}")
    names = sorted(every, key=list(REASONS).index)
    return ["| package | for |", "|---|---|", *(f"| {name} | {REASONS[name]} |" for name in names)]


def main() -> None:
    """Print both tables, and with ``--files`` the lines of every file."""
    found = measure()
    print("\n".join([*table(found), "", *packages(found)]))
    if "--files" in sys.argv[1:]:
        for name, part in found.items():
            print(f"\n{NAMES.get(name, name)}")
            for module, lines in part.modules.items():
                print(f"  {lines:5d}  {module}")


if __name__ == "__main__":
    main()
