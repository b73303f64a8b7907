"""Mutation tests of the verifier: change one thing at a time and see that a test fails.

Every mutant is one small change to a file of ``verifier/``: a check removed or turned, an operator or a constant
changed, an element of a list or a keyword left out, two arguments swapped, an exception handler removed. Each runs in
its own forked process, against the tests of :data:`TESTS`, up to the first failure. A mutant that no test notices must
be listed in ``scripts/equivalent_mutants.toml`` with the reason why it changes nothing that matters; otherwise, or when
a listed one is noticed after all, the command fails. ``docs/MUTANTS.md`` is what it prints.

mutmut 3 does not mutate decorated functions or module constants (here: domains, tables, tags, digests) and removes no
statement; cosmic-ray starts a new Python for each mutant, which is most of a minute's budget in imports. Hence this
script.

    python -m scripts.mutate                      all of verifier/, writes docs/MUTANTS.md
    python -m scripts.mutate --file field.py      one file, prints only; facts/jws.py for one in a folder
    python -m scripts.mutate --resume FILE        goes on after an interrupted run that had --results FILE
"""

from __future__ import annotations

import argparse
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import resource
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

from scripts.mutants import Mutant, mutants

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "verifier"
EQUIVALENT = ROOT / "scripts" / "equivalent_mutants.toml"
REPORT = ROOT / "docs" / "MUTANTS.md"
#: A mutant that computes longer than this runs in circles; no test of the list takes a tenth of it.
CPU_SECONDS = 240
#: The frozen cases of one topic: error codes and named fields.
_VECTORS = "service/vectors/test_vectors.py::test_the_native_engine_answers_every_case_rightly[{}]"
_FROZEN, _VERIFY = "verifier/test_frozen.py", "verifier/test_verify.py"
_VERDICT = "verifier/test_verdict.py"
_ALGEBRA, _STEPS = "verifier/test_algebra.py", "verifier/test_cheating_steps.py"
_DECODERS, _BYTES, _FACTS = "verifier/test_decoders.py", "verifier/test_proof_bytes.py", "verifier/facts/"
#: The tests of each file, quickest first, by paths in ``verifier/`` and ``tests/``. Frozen proofs come first where they
#: can: they were made by nobody's mutant.
TESTS: dict[str, tuple[str, ...]] = {
    "argument/claim.py": (_FROZEN, _ALGEBRA, "verifier/test_claim.py"),
    "argument/instance.py": (_FROZEN, "verifier/test_transcript.py"),
    "argument/matrix.py": (_FROZEN, "verifier/test_claim.py", _ALGEBRA),
    "argument/v1/challenges.py": (_FROZEN, "verifier/test_transcript.py"),
    "argument/v1/encoding.py": (_FROZEN, _DECODERS, _BYTES),
    "argument/v1/equation.py": (_FROZEN, _VERIFY, _ALGEBRA, _STEPS),
    "argument/v1/linearisation.py": (_FROZEN, _VERIFY, _ALGEBRA, _STEPS),
    "argument/v1/messages.py": (_FROZEN,),
    "argument/versions.py": (_FROZEN, "verifier/test_versions.py", _BYTES),
    "batch.py": ("verifier/test_batch.py", _VERIFY),
    "curve.py": (_FROZEN, _DECODERS, _ALGEBRA, _BYTES),
    "facts/attestation.py": (_FACTS + "test_attestation.py",),
    "facts/authorisation.py": (_FACTS + "test_authorisation.py", _VECTORS.format("authorisations")),
    "facts/credit_entry.py": (_FACTS + "test_credit_entry.py", _VECTORS.format("credits")),
    "facts/hub_keys.py": (_FACTS + "test_hub_keys.py", _VECTORS.format("log")),
    "facts/jws.py": (
        _FACTS + "test_jws.py",
        _FACTS + "test_snapshot_signature.py",
        _FACTS + "test_attestation.py",
        _FACTS + "test_transparency.py",
        _VECTORS.format("signed"),
    ),
    "facts/snapshot_signature.py": (_FACTS + "test_snapshot_signature.py",),
    "facts/transparency.py": (_FACTS + "test_transparency.py", _VECTORS.format("log")),
    "field.py": (_FROZEN, _DECODERS, _ALGEBRA, _BYTES),
    "kzg.py": (_FROZEN, _VERIFY, "verifier/test_batch.py"),
    "proof_document.py": (_VERDICT,),
    "srs.py": (_FROZEN, "verifier/test_srs.py"),
    "srs_structure.py": ("verifier/test_srs.py",),
    "transcript.py": (_FROZEN, "verifier/test_transcript.py"),
    "verdict.py": (_VERDICT,),
    "verify.py": (_FROZEN, _VERIFY),
}
#: Third-party modules and the layer below, which no mutant changes: imported once, before the fork.
PRELOAD = (
    "_pytest.assertion.rewrite", "pytest", "hypothesis", "hypothesis.strategies", "pydantic", "typer", "typer.testing",
    "rich.console", "rich.table", "rich.progress", "rfc8785", "cryptography.hazmat.primitives.asymmetric.ed25519",
    "cryptography.hazmat.primitives.serialization", "jwt", "flint", "py_arkworks_bls12381", "numpy",
    "zkmargin.circuits.rules", "zkmargin.circuits.statement", "zkmargin.circuits.schema",
)  # fmt: skip


class Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Serves one module from mutated source."""

    def __init__(self, name: str, path: Path, source: str) -> None:
        self.name, self.path, self.source = name, path, source

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        """Only the one module."""
        if fullname != self.name:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin=str(self.path))

    def exec_module(self, module: ModuleType) -> None:
        """Run the mutated source under the file's own name."""
        module.__file__ = str(self.path)
        exec(compile(self.source, str(self.path), "exec"), module.__dict__)  # noqa: S102 - that is what it is for


def files() -> list[str]:
    """Every file that is mutated, by its path in ``verifier/``: all but the second verifier, which is a test itself."""
    found = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    return [name for name in found if not name.startswith("reference/")]


def files_of(mutant: Mutant) -> list[str]:
    """The tests that a mutant runs against: existing files, or one test of a file."""
    chosen = [name for name in TESTS[mutant.file] if (ROOT / "tests" / name.partition("::")[0]).exists()]
    return [str(ROOT / "tests" / name) for name in chosen]


def child(mutant: Mutant, answer: int) -> None:
    """Run the tests on one mutant; write the first failure to ``answer``. Does not return."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
    import pytest

    class First:
        """Notes what noticed the mutant."""

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.failed:
                os.write(answer, report.nodeid.encode())

        def pytest_collectreport(self, report: pytest.CollectReport) -> None:
            if report.failed:
                os.write(answer, b"import of " + report.nodeid.encode())

    module = "zkmargin.verifier." + mutant.file.removesuffix(".py").replace("/", ".")
    sys.meta_path.insert(0, Mutated(module, PACKAGE / mutant.file, mutant.source))
    code = 1
    try:
        options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", "--tb=no"]
        # File by file: what is noticed early does not pay for collecting the rest.
        code = next((c for name in files_of(mutant) if (c := int(pytest.main([*options, name], plugins=[First()])))), 0)
    finally:
        os._exit(code)


@dataclass
class Result:
    """What became of a mutant: ``survived``, ``killed`` (by a test) or ``timeout``."""

    name: str
    outcome: str
    by: str
    seconds: float


def run(todo: Sequence[Mutant], jobs: int, log: Path | None, minutes: float) -> list[Result]:
    """Run mutants in forked processes, some at a time; results also go to ``log``, one JSON object a line.

    After ``minutes`` no further mutant is begun, so there may be fewer results than mutants.
    """
    end = time.monotonic() + 60 * minutes
    waiting = list(reversed(todo))
    running: dict[int, tuple[Mutant, int, float]] = {}
    results: list[Result] = []
    while waiting or running:
        if time.monotonic() > end:
            waiting.clear()
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            reader, writer = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(reader)
                child(mutant, writer)
            os.close(writer)
            running[pid] = (mutant, reader, time.monotonic())
        if not running:
            break
        pid, status = os.wait()
        mutant, reader, began = running.pop(pid)
        with os.fdopen(reader, "rb") as stream:
            by = stream.read().decode(errors="replace")
        outcome = "timeout" if os.WIFSIGNALED(status) else "killed" if os.WEXITSTATUS(status) else "survived"
        results.append(Result(mutant.name, outcome, by, round(time.monotonic() - began, 2)))
        if log:
            with log.open("a") as out:
                out.write(json.dumps(asdict(results[-1])) + "\n")
        if sys.stderr.isatty():
            alive = sum(r.outcome == "survived" for r in results)
            print(f"\r{len(results)}/{len(todo)} mutants, {alive} survive", end="", file=sys.stderr)
    return results


def explained() -> dict[str, str]:
    """Name of each mutant that is known to change nothing that matters, and why."""
    table = tomllib.loads(EQUIVALENT.read_text()) if EQUIVALENT.exists() else {}
    return {name: group["reason"] for group in table.get("group", []) for name in group["mutants"]}


def _line(name: str, counts: Counter[str]) -> str:
    return f"| {name} | {counts.total()} | {counts['killed']} | {counts['timeout']} | {counts['survived']} |"


def report(results: Iterable[Result], missing: int) -> tuple[str, list[str]]:
    """The document, and what is wrong with it: survivors without a reason, reasons without a survivor, gaps."""
    by_file: dict[str, Counter[str]] = {}
    survivors: list[str] = []
    for result in results:
        by_file.setdefault(result.name.split(":")[0], Counter())[result.outcome] += 1
        if result.outcome == "survived":
            survivors.append(result.name)
    reasons = explained()
    faults = [f"survives without a reason: {name}" for name in survivors if name not in reasons]
    faults += [f"listed, but a test notices it: {name}" for name in reasons if name not in survivors]
    lines = [
        "# Mutation tests of the verifier", "",
        "Written by `make mutants`; `scripts/mutants.py` says how they are made. A mutant is killed when a test",
        "fails on it, or when it never ends. Every survivor is listed, with the reason why it changes nothing that",
        "matters.",
        "", "| file | mutants | killed | never ended | survived |", "|---|---|---|---|---|",
    ]  # fmt: skip
    total: Counter[str] = Counter()
    for name, counts in sorted(by_file.items()):
        total.update(counts)
        lines.append(
            f"| `{name}` | {counts.total()} | {counts['killed']} | {counts['timeout']} | {counts['survived']} |"
        )
    lines.append(f"| all | {total.total()} | {total['killed']} | {total['timeout']} | {total['survived']} |")
    if missing:
        faults.append(f"{missing} mutants were not run")
        lines += ["", f"The run was stopped: {missing} mutants were not run, and are in no row above."]
    lines += ["", "## Survivors", ""]
    groups: dict[str, list[str]] = {}
    for name in survivors:
        groups.setdefault(reasons.get(name, "No reason is known."), []).append(name)
    for reason, names in groups.items():
        lines += [reason, "", *(f"- `{name}`" for name in names), ""]
    return "\n".join(lines).rstrip() + "\n", faults


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; 1 when a survivor has no reason."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--file", action="append", help="only this file of verifier/; writes no report")
    parser.add_argument("--resume", type=Path, help="take these results of an earlier run; run only what they lack")
    parser.add_argument("--list", action="store_true", help="print the mutants and stop")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, default=24 * 60, help="begin no mutant after so long")
    parser.add_argument("--results", type=Path, help="append each result here as JSON")
    options = parser.parse_args(argv)
    os.chdir(ROOT)
    todo = [mutant for name in options.file or files() for mutant in mutants(PACKAGE, name)]
    known: list[Result] = []
    if options.resume:
        old = [Result(**json.loads(line)) for line in options.resume.read_text().splitlines()]
        done = {result.name: result for result in old}
        known = [done[mutant.name] for mutant in todo if mutant.name in done]
        todo = [mutant for mutant in todo if mutant.name not in done]
    if options.list:
        print("\n".join(mutant.name for mutant in todo))
        print(len(todo), "mutants")
        return 0
    for name in PRELOAD:
        importlib.import_module(name)
    results = [*known, *run(todo, options.jobs, options.results, options.minutes)]
    document, faults = report(results, len(known) + len(todo) - len(results))
    if options.file:
        faults = [fault for fault in faults if not fault.startswith("listed")]
    else:
        REPORT.write_text(document)
    print(document)
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
