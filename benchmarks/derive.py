"""Every published account of Derive's PMRM v2, proven and verified under ``portfolio-margin/1``: prints a table.

python benchmarks/derive.py [--level initial] [--repeat 3] [--only 44]

A healthy account proves that it is worth 0 at the level. An unhealthy one must be refused; its row then times the proof
that it is healthy after a public deposit of what it lacks.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support import derive_cases
from tests.support.derive_cases import Case
from zkmargin.circuits import statement
from zkmargin.circuits.errors import SystemTooLarge
from zkmargin.circuits.rules import Terms, build
from zkmargin.circuits.statement import Statement
from zkmargin.circuits.units import ceil_div, format_quanta
from zkmargin.prover import solvency
from zkmargin.prover.commitment import Opening, commit
from zkmargin.prover.documents import make_statement
from zkmargin.prover.domains import cheapest_domain
from zkmargin.prover.errors import NotSolvent
from zkmargin.prover.prove import prove
from zkmargin.service.cli.bench import interleaved
from zkmargin.verifier.facts.attestation import Attestation
from zkmargin.verifier.verify import verify

HEADER = ("account", "instr", "rows", "elect", "words", "(n, K)", "margin", "deposit", "prove ms", "verify ms", "bytes")
WIDTHS = (38, 5, 4, 5, 5, 9, 20, 18, 8, 9, 6)


@dataclass(frozen=True)
class Account:
    """A case's commitment, and how to state something about it."""

    case: Case
    level: str
    opening: Opening
    fact: Attestation

    def state(self, deposit: int) -> Statement:
        """Net margin of at least 0 after a public deposit in quote quanta, with the elections that suit the account."""
        lots = [self.case.lots[0] + deposit, *self.case.lots[1:]]
        snap = self.case.snapshot
        rule = build(snap, Terms(self.level, Fraction(1), 3600))
        delta = [(snap.instruments[0].id, format_quanta(deposit, snap.decimals))] if deposit else []
        return make_statement(
            snap, self.fact, venue="bench", amount="0", expiry=snap.time + 600, level=self.level, delta=delta,
            elections=solvency.best_choice(rule, lots),
        )  # fmt: skip


def open_account(case: Case, level: str) -> Account:
    """Commit to a case's lots on the domain that suits its snapshot."""
    commitment, opening = commit(case.lots, cheapest_domain(case.snapshot))
    fact = Attestation("hub", "acct", 1, commitment, opening.domain, case.snapshot.registry_digest, derive_cases.NOW)
    return Account(case, level, opening, fact)


def row(case: Case, level: str, repeat: int) -> tuple[str, ...]:
    """Prove and verify one account; a table row."""
    snap = case.snapshot
    rule = build(snap, Terms(level, Fraction(1), 3600))
    fine = min(solvency.net_margin(rule, case.lots))
    margin = fine // rule.amount_factor
    head = (case.name.removeprefix("test_")[: WIDTHS[0]], str(len(snap.instruments)), str(len(rule.scenarios)))
    try:
        account = open_account(case, level)
        stated = account.state(0)
        bound = statement.bind(stated, snap)
    except SystemTooLarge as err:
        return (*head, "", "", f"refused: {err}", "", "", "", "", "")
    deposit = max(0, ceil_div(-fine, rule.amount_factor))
    if deposit:
        try:
            prove(stated, snap, account.opening)
        except NotSolvent:
            stated = account.state(deposit)
        else:
            raise AssertionError(f"{case.name}: an unhealthy account was proven")
    proof = prove(stated, snap, account.opening)
    verify(stated, snap, proof, now=derive_cases.NOW)
    ms = interleaved(
        [("prove", lambda: prove(stated, snap, account.opening)), ("verify", lambda: verify(stated, snap, proof))],
        repeat,
    )
    words = sum(bound.layout.words_of(limit) for limit in bound.program.system.limits)
    return (
        *head, str(len(stated.terms.elections)), str(words), f"({bound.layout.n}, {bound.layout.columns})",
        format_quanta(margin, snap.decimals), format_quanta(deposit, snap.decimals) if deposit else "",
        f"{ms['prove']:.0f}", f"{ms['verify']:.2f}", str(len(proof)),
    )  # fmt: skip


def show(cells: tuple[str, ...]) -> None:
    """One line of the table."""
    table = enumerate(zip(cells, WIDTHS, strict=True))
    print("  ".join(f"{cell:{'<' if i in (0, 5) else '>'}{w}}" for i, (cell, w) in table))


def main() -> int:
    """Run all cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--level", choices=("initial", "maintenance"), default="initial")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", type=int, help="number of one case")
    options = parser.parse_args()
    paths = derive_cases.paths()
    if not paths:
        print(f"no cases at {derive_cases.FOLDER}")
        return 1
    show(HEADER)
    for path in paths:
        case = derive_cases.load(path)
        if options.only is None or case.name.split("_")[1] == str(options.only):
            show(row(case, options.level, options.repeat))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
