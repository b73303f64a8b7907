"""Drive another implementation: a program that reads one case a line and answers one line (docs/VECTORS.md).

Nothing that the program does can hang or crash the run: every answer has a deadline, its length a limit, and a
program that died, timed out or answered out of turn is killed with its children and started afresh.
"""

from __future__ import annotations

import json
import os
import selectors
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal

from zkmargin.circuits.errors import MalformedInput
from zkmargin.circuits.strict_json import parse_json
from zkmargin.service.vectors.case import VALID, Case
from zkmargin.service.vectors.engine import Answer, Engine

#: Seconds for one answer; the first may have to load an implementation.
DEFAULT_SECONDS = 30.0
#: Longest answer line. The longest that a case needs has some 200 bytes.
MAX_ANSWER_BYTES = 64 * 1024
#: After this many cases in a row without any answer the program is not asked again; the rest counts as failed.
GIVE_UP_AFTER = 5
_CHUNK = 65536
_VERDICTS: dict[str, Literal["accepted", "rejected", "unsupported", "failed"]] = {
    "accepted": "accepted", "rejected": "rejected", "unsupported": "unsupported", "failed": "failed",
}  # fmt: skip


class _NoAnswer(Exception):
    """Why there is no usable line."""


def question(case: Case) -> bytes:
    """The line that a driver reads: id, operation, input. What is expected is not told."""
    tree = {"id": case.id, "operation": case.operation, "input": dict(case.input)}
    return json.dumps(tree, separators=(",", ":")).encode() + b"\n"


def parse_answer(line: bytes, case: Case) -> Answer:
    """An answer line, or why it is none."""
    try:
        tree = parse_json(line, name="answer")
    except MalformedInput as err:
        raise _NoAnswer(f"the answer is refused: {err.message}") from None
    if not isinstance(tree, dict) or tree.get("id") != case.id:
        raise _NoAnswer("the answer does not name this case")
    verdict, values, code = _VERDICTS.get(str(tree.get("result"))), tree.get("values", {}), tree.get("code")
    if verdict is None or not isinstance(values, dict) or not isinstance(code, str | None):
        raise _NoAnswer("the answer has no result, or values or code of another type")
    return Answer(verdict, values, code, reason="the program says that it failed" if verdict == "failed" else "")


class _Ended(_NoAnswer):
    """The program closed its output without a byte of an answer."""


class Driver:
    """Another program as an engine. Its error codes are compared only where it gives one."""

    exact = False

    def __init__(self, command: str, *, seconds: float = DEFAULT_SECONDS) -> None:
        try:
            self._command = shlex.split(command)
        except ValueError:
            raise MalformedInput("unbalanced quotes", field="driver") from None
        if not self._command:
            raise MalformedInput("names no program", field="driver")
        if not 0 < seconds <= 3600:
            raise MalformedInput("must be above 0 and at most 3600 seconds", field="timeout")
        self.name = "driver"
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._silent = 0
        self._answered = False

    def answer(self, case: Case) -> Answer:
        """Ask the program. No answer of any kind is a failure, and ends the process."""
        if self._silent >= GIVE_UP_AFTER:
            return Answer("failed", reason=f"not asked: {GIVE_UP_AFTER} cases in a row had no answer")
        line = question(case)
        try:
            try:
                told = self._exchange(line)
            except _Ended:
                # It may answer one case and end: a program that had answered before is started for this one.
                if not self._answered:
                    raise
                self.close()
                told = self._exchange(line)
            answer = parse_answer(told, case)
        except _NoAnswer as err:
            self.close()
            self._silent += 1
            return Answer("failed", reason=str(err))
        self._silent, self._answered = 0, True
        return answer

    def _running(self) -> subprocess.Popen[bytes]:
        """The process; a program that answered and left is started again."""
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - the user's own program, no shell
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
                )
            except OSError as err:
                raise MalformedInput(err.strerror or "cannot be started", field="driver") from None
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    os.set_blocking(pipe.fileno(), False)
        return self._process

    def _exchange(self, line: bytes) -> bytes:
        """Write a line and read one, both within the deadline, whichever the program does first."""
        process = self._running()
        if process.stdin is None or process.stdout is None:
            raise _NoAnswer("no pipes")
        deadline = time.monotonic() + self._seconds
        read = b""
        with selectors.DefaultSelector() as ready:
            ready.register(process.stdout, selectors.EVENT_READ)
            ready.register(process.stdin, selectors.EVENT_WRITE)
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise _NoAnswer(f"no answer within {self._seconds:g} s")
                for key, _ in ready.select(left):
                    if key.fileobj is process.stdin:
                        try:
                            line = line[os.write(process.stdin.fileno(), line[:_CHUNK]) :]
                        except BlockingIOError:
                            continue
                        except OSError:  # it stopped reading; perhaps it has answered already
                            line = b""
                        if not line:
                            ready.unregister(process.stdin)
                        continue
                    try:
                        chunk = os.read(process.stdout.fileno(), _CHUNK)
                    except BlockingIOError:
                        continue
                    read += chunk
                    if not chunk:
                        ended = _NoAnswer if read else _Ended
                        raise ended(f"the program ended without an answer{self._status(process)}")
                    if b"\n" in read:
                        answer, _, rest = read.partition(b"\n")
                        if rest:
                            raise _NoAnswer("more than one line for one case")
                        return answer
                    if len(read) > MAX_ANSWER_BYTES:
                        raise _NoAnswer(f"an answer of more than {MAX_ANSWER_BYTES} bytes")

    @staticmethod
    def _status(process: subprocess.Popen[bytes]) -> str:
        try:
            return f" (exit status {process.wait(1)})"
        except subprocess.TimeoutExpired:
            return ""

    def close(self) -> None:
        """End the program and whatever it started."""
        process, self._process, self._answered = self._process, None, False
        if process is None:
            return
        # A session of its own: the group is the program and its children, and nothing else.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def answer_line(line: bytes, engine: Engine) -> dict[str, Any]:
    """One line of the protocol answered by an engine: what ``zkmargin vectors answer`` prints."""
    try:
        tree = parse_json(line, name="question")
    except MalformedInput as err:
        return {"id": None, "result": "failed", "message": str(err)}
    if not isinstance(tree, dict) or not isinstance(tree.get("id"), str) or not isinstance(tree.get("input"), dict):
        return {"id": None, "result": "failed", "message": "a question has id, operation and input"}
    answer = engine.answer(Case(tree["id"], str(tree.get("operation")), tree["input"], VALID))
    told: dict[str, Any] = {"id": tree["id"], "result": answer.verdict}
    if answer.values:
        told["values"] = dict(answer.values)
    if answer.code:
        told["code"] = answer.code
    if answer.reason:
        told["message"] = answer.reason
    return told


def answers(lines: Iterable[bytes], engine: Engine) -> Iterator[Mapping[str, Any]]:
    """Answer line by line until the input ends; empty lines are passed over."""
    for line in lines:
        if line.strip():
            yield answer_line(line, engine)


def serve(engine: Engine) -> None:
    """The protocol on standard input and output."""
    for told in answers(sys.stdin.buffer, engine):
        sys.stdout.write(json.dumps(told, separators=(",", ":")) + "\n")
        sys.stdout.flush()
