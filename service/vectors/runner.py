"""Run cases through engines and compare the answers. Counts are what was run; a run of nothing is an error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from zkmargin.circuits.errors import MalformedInput
from zkmargin.service.vectors.case import VALID, Case, Topic
from zkmargin.service.vectors.engine import Answer, Engine

#: Messages kept for a report; every failure is counted.
MAX_FAILURES_SHOWN = 50


@dataclass
class Tally:
    """Counts of one engine on one topic."""

    engine: str
    topic: str
    cases: int = 0
    passed: int = 0
    failed: int = 0
    not_covered: int = 0
    invalid: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Failure:
    """One case that an engine got wrong."""

    engine: str
    topic: str
    case: str
    reason: str


@dataclass
class Report:
    """What a run found."""

    tallies: list[Tally] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @property
    def ran(self) -> int:
        """Answers that were judged: passed and failed, not those that an engine does not cover."""
        return sum(t.passed + t.failed for t in self.tallies)

    @property
    def ok(self) -> bool:
        """Whether something ran and nothing failed."""
        return self.ran > 0 and all(t.failed == 0 for t in self.tallies)

    def to_json(self) -> dict[str, Any]:
        """Counts by engine and topic, and the first failures."""
        return {
            "ran": self.ran,
            "passed": sum(t.passed for t in self.tallies),
            "failed": sum(t.failed for t in self.tallies),
            "not_covered": sum(t.not_covered for t in self.tallies),
            "results": [vars(t) | {"seconds": round(t.seconds, 2)} for t in self.tallies],
            "failures": [vars(f) for f in self.failures],
        }


def fault_of(case: Case, answer: Answer, *, exact: bool) -> str | None:
    """What is wrong with an answer, or None.

    The verdict must be the expected one, every expected value must come out and be equal, and an error code, where
    one is given, must be the expected one. An ``exact`` engine must give the code, and the field if the case has one.
    """
    if answer.verdict == "failed":
        return f"no answer: {answer.reason}"
    wanted = "accepted" if case.result == VALID else "rejected"
    if answer.verdict != wanted:
        told = f" ({answer.code}: {answer.reason})" if answer.code else ""
        return f"{answer.verdict}, expected {wanted}{told}"
    for name, value in case.values.items():
        if name not in answer.values:
            return f"no value {name}"
        # In JSON true is not 1; in Python it would be.
        if answer.values[name] != value or type(answer.values[name]) is not type(value):
            return f"value {name} differs"
    if case.code is not None and answer.code != case.code and (exact or answer.code is not None):
        return f"error {answer.code}, expected {case.code}"
    if exact and case.at is not None and answer.at != case.at:
        return f"error names {answer.at}, expected {case.at}"
    return None


def run(
    topics: Iterable[Topic],
    engines: Sequence[Engine],
    *,
    progress: Callable[[str], None] = lambda step: None,
) -> Report:
    """Answer every case with every engine. Raises ``MalformedInput`` when there is no case at all."""
    report = Report()
    total = 0
    for topic in topics:
        progress(topic.name)
        for engine in engines:
            tally = Tally(engine.name, topic.name, cases=len(topic.cases))
            total += len(topic.cases)
            report.tallies.append(tally)
            started = time.monotonic()
            for case in topic.cases:
                _count(case, engine.answer(case), engine, tally, report)
            tally.seconds = time.monotonic() - started
    if total == 0:
        raise MalformedInput("not one case to run", field="suite")
    return report


def _count(case: Case, answer: Answer, engine: Engine, tally: Tally, report: Report) -> None:
    tally.invalid += case.result != VALID
    if answer.verdict == "unsupported":
        tally.not_covered += 1
        return
    fault = fault_of(case, answer, exact=engine.exact)
    if fault is None:
        tally.passed += 1
        return
    tally.failed += 1
    if len(report.failures) < MAX_FAILURES_SHOWN:
        report.failures.append(Failure(engine.name, tally.topic, case.id, fault))
