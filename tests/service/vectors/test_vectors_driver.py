"""Other implementations as drivers: whatever a program does, the run ends, and only right answers count."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from zkmargin.service.cli.root import app
from zkmargin.service.vectors import native
from zkmargin.service.vectors.case import VALID, Case, Topic, load_topic, topic_names
from zkmargin.service.vectors.driver import (
    GIVE_UP_AFTER,
    MAX_ANSWER_BYTES,
    Driver,
    answer_line,
    parse_answer,
    question,
)
from zkmargin.service.vectors.runner import Report, run

OWN = f"{sys.executable} -c 'from zkmargin.service.cli.root import main; main()' vectors answer"
GOOD = Case("good", "echo", {}, VALID, values={"a": 1})
BAD = Case("bad", "echo", {}, "invalid", flags=("Infinity",), code="malformed-input")
LARGE = Case("large", "echo", {"data": "x" * 500_000}, VALID)
#: A right driver for GOOD, BAD and LARGE: what the wrong ones below are variations of.
LOOP = """
import json, sys
for line in sys.stdin:
    case = json.loads(line)
    good = {"id": case["id"], "result": "accepted", "values": {"a": 1}}
    told = good if case["id"] != "bad" else {"id": "bad", "result": "rejected", "code": "malformed-input"}
    BODY
"""
ANSWER = "print(json.dumps(told), flush=True)"


def drive(tmp_path: Path, body: str, *cases: Case, seconds: float = 20.0, source: str = LOOP) -> Report:
    """Run cases through a program; ``body`` is what it does with the right answer ``told``."""
    path = tmp_path / "driver.py"
    path.write_text(source.replace("BODY", body))
    driver = Driver(f"{sys.executable} {path}", seconds=seconds)
    try:
        return run([Topic("t", "", cases)], [driver])
    finally:
        driver.close()


def reasons(report: Report) -> list[str]:
    return [failure.reason for failure in report.failures]


def test_a_right_driver_passes(tmp_path: Path) -> None:
    report = drive(tmp_path, ANSWER, GOOD, BAD, LARGE, GOOD)
    assert report.failures == []
    assert report.ran == 4


def test_a_program_may_answer_once_and_end(tmp_path: Path) -> None:
    report = drive(tmp_path, ANSWER + "; break", GOOD, BAD, LARGE)
    assert report.failures == []


@pytest.mark.slow
def test_our_own_engine_as_a_driver_answers_every_frozen_case() -> None:
    topics = [load_topic(name) for name in topic_names()]
    driver = Driver(OWN, seconds=60)
    try:
        report = run(topics, [driver])
    finally:
        driver.close()
    assert report.failures == []
    assert report.ran == sum(len(one.cases) for one in topics)


def test_the_driver_is_not_told_what_is_expected() -> None:
    told = json.loads(question(BAD))
    assert told == {"id": "bad", "operation": "echo", "input": {}}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise SystemExit(3)", "the program ended without an answer (exit status 3)"),
        ("import os; os.kill(os.getpid(), 9)", "the program ended without an answer (exit status -9)"),
        ("print('{')", "the program ended without an answer"),
        ("print('no json', flush=True)", "the answer is refused"),
        ("print('[1]', flush=True)", "does not name this case"),
        ("told['id'] = 'other'; " + ANSWER, "does not name this case"),
        ("del told['id']; " + ANSWER, "does not name this case"),
        ("told['result'] = 'maybe'; " + ANSWER, "has no result"),
        ("told['result'] = ['accepted']; " + ANSWER, "has no result"),
        ("told['values'] = []; " + ANSWER, "another type"),
        ("told['code'] = 7; " + ANSWER, "another type"),
        ("told['result'] = 'failed'; " + ANSWER, "the program says that it failed"),
        ("print('{\"id\":1.5}', flush=True)", "the answer is refused"),
        ("print(json.dumps(told) + chr(10) + json.dumps(told), flush=True)", "more than one line"),
        (f"print('x' * {2 * MAX_ANSWER_BYTES}, end='', flush=True); sys.stdin.read()", "more than"),
    ],
)
def test_what_is_no_answer_is_a_failure(tmp_path: Path, body: str, reason: str) -> None:
    body = body if "print('{')" not in body else "raise SystemExit(0)"
    report = drive(tmp_path, body, GOOD)
    assert [r for r in reasons(report) if reason in r] == reasons(report) != []


@pytest.mark.parametrize(
    "body",
    [
        "import time; time.sleep(600)",
        "print('{\"id\":', end='', flush=True); import time; time.sleep(600)",
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)",
        "sys.stdout.close(); import time; time.sleep(600)",
    ],
    ids=["silent", "half", "deaf", "closed"],
)
def test_a_program_that_hangs_is_ended(tmp_path: Path, body: str) -> None:
    report = drive(tmp_path, body, GOOD, BAD, seconds=1.0)
    assert sum(t.failed for t in report.tallies) == 2


def test_a_program_that_never_reads_does_not_block_a_large_case(tmp_path: Path) -> None:
    report = drive(tmp_path, "", LARGE, seconds=1.0, source="import time; time.sleep(600)")
    assert "no answer within" in reasons(report)[0]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_children_of_a_hanging_program_end_with_it(tmp_path: Path) -> None:
    """A child of the program keeps its pipe open."""
    note = tmp_path / "child"
    body = (
        f"import subprocess as s; p = s.Popen(['sleep', '600']); open({str(note)!r}, 'w').write(str(p.pid)); p.wait()"
    )
    drive(tmp_path, body, GOOD, seconds=5.0)
    child = int(note.read_text())

    def alive() -> bool:
        try:
            return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    for _ in range(600):  # the signal was sent; the kernel takes its time
        if not alive():
            return
        time.sleep(0.05)
    pytest.fail("the child outlived the program")


def test_after_a_crash_the_program_is_started_again(tmp_path: Path) -> None:
    body = f"sys.exit(1) if case['id'] == 'bad' else {ANSWER}"
    report = drive(tmp_path, body, GOOD, BAD, GOOD, BAD, GOOD)
    assert (report.tallies[0].passed, report.tallies[0].failed) == (3, 2)


def test_a_late_answer_is_not_taken_for_the_next_case(tmp_path: Path) -> None:
    """The first answer comes after its time; the program that sent it is gone before the second case is asked."""
    body = f"import time; time.sleep(4 if case['id'] == 'bad' else 0); {ANSWER}"
    report = drive(tmp_path, body, BAD, GOOD, GOOD, seconds=2.0)
    assert (report.tallies[0].passed, report.tallies[0].failed) == (2, 1)


def test_a_program_that_only_crashes_is_not_started_a_thousand_times(tmp_path: Path) -> None:
    started = tmp_path / "started"
    body = f"open({str(started)!r}, 'a').write('x'); sys.exit(1)"
    report = drive(tmp_path, body, *[GOOD] * (GIVE_UP_AFTER + 20))
    assert started.read_text() == "x" * GIVE_UP_AFTER
    assert report.tallies[0].failed == GIVE_UP_AFTER + 20


@pytest.mark.parametrize(
    ("body", "passed"),
    [
        ("told = good | {'id': case['id']}; " + ANSWER, 1),  # accepts everything
        ("told = {'id': case['id'], 'result': 'rejected'}; " + ANSWER, 1),  # refuses everything
        ("told.pop('values', None); " + ANSWER, 1),  # hides its values
        ("told.update(values={'a': 2}); " + ANSWER, 1),  # other values
        ("told.update(values={'a': True}); " + ANSWER, 1),
        ("told.update(code='stale-statement'); " + ANSWER, 1),  # refuses for another reason
        ("told.pop('code', None); " + ANSWER, 2),  # a driver may keep its reasons to itself
    ],
)
def test_a_lie_is_a_failure(tmp_path: Path, body: str, passed: int) -> None:
    report = drive(tmp_path, body, GOOD, BAD)
    assert (report.tallies[0].passed, report.tallies[0].failed) == (passed, 2 - passed)


def test_what_a_driver_does_not_support_is_counted_apart(tmp_path: Path) -> None:
    report = drive(tmp_path, "told = {'id': case['id'], 'result': 'unsupported'}; " + ANSWER, GOOD, BAD)
    assert (report.tallies[0].not_covered, report.ran, report.ok) == (2, 0, False)


def test_answers_are_read_strictly() -> None:
    answer = parse_answer(b'{"id":"good","result":"accepted","values":{"a":1},"message":"x"}', GOOD)
    assert (answer.verdict, dict(answer.values), answer.code) == ("accepted", {"a": 1}, None)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b'{"id":"a"}',
        b'{"id":"a","operation":"decode-g1","input":[]}',
        b"\xff",
        b'{"id":1,"input":{}}',
    ],
)
def test_our_answer_to_no_question_is_a_failure(line: bytes) -> None:
    told = answer_line(line, native.engine())
    assert (told["id"], told["result"]) == (None, "failed")


def test_a_half_question_is_a_failure_and_an_unknown_operation_is_not() -> None:
    """A bug is never counted as something that is merely not covered."""
    told = answer_line(b'{"id":"a","operation":"decode-g1","input":{}}', native.engine())
    assert (told["id"], told["result"]) == ("a", "failed")
    told = answer_line(b'{"id":"a","operation":"no","input":{}}', native.engine())
    assert (told["id"], told["result"]) == ("a", "unsupported")


def test_the_command_drives_a_program() -> None:
    result = CliRunner().invoke(app, ["vectors", "run", "--suite", "encodings", "--driver", OWN, "--json"])
    told = json.loads(result.output)
    assert result.exit_code == 0
    assert told["results"][0]["engine"] == "driver"
    lying = CliRunner().invoke(app, ["vectors", "run", "--suite", "encodings", "--driver", "cat", "--json"])
    assert lying.exit_code == 6
    assert json.loads(lying.output)["ok"] is False
