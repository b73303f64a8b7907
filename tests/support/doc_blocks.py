"""The fenced blocks of the documents, each with what is done with it, said in its own first line.

    ```sh run=NAME            run as printed: all blocks of one NAME in one shell, in order, in an empty checkout
    ```json run=NAME file=F   saved as F there
    ```console run=NAME       commands after "$ ", then what they print; a line "..." stands for any lines
    ```sh run=NAME until=W    in a terminal of its own; goes on when it has printed W
    ```json test=F::T         read and checked by that test
    ```sh shown=WHY           not run. tests/project/test_doc_blocks.py counts these

``run`` takes besides: ``prints`` (each line printed stands in the document), ``after=DOCUMENT/NAME`` (that session is
run first, in the same place). Ports of examples (808x) are replaced by free ones; nothing else is changed.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.places import ROOT

#: What a reader finds in a checkout; not what an earlier reader left in this one.
CHECKOUT = ("benchmarks", "circuits", "docs", "fuzz", "prover", "scripts", "service", "tests", "verifier", "Makefile")
#: For one block; the slowest starts a hub.
SECONDS = 180
_FENCE = re.compile(r"^```(.*)$")
_PORT = re.compile(r"\b808[0-9]\b")


@dataclass(frozen=True)
class Block:
    """One fenced block: where it is, its language, what its first line says, and its text."""

    document: str
    line: int
    language: str
    marks: dict[str, str]
    text: str

    @property
    def place(self) -> str:
        """For messages."""
        return f"{self.document}:{self.line}"


def documents() -> list[Path]:
    """Every document that people read."""
    own = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")]
    return [*own, *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "adr").glob("*.md"))]


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a document."""
    found: list[Block] = []
    begin, info, lines = 0, "", []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        fence = _FENCE.match(line)
        if not begin and fence:
            begin, info, lines = number, fence[1], []
        elif begin and fence:
            language, *words = info.split() or [""]
            marks = dict(word.partition("=")[::2] for word in words)
            found.append(Block(path.name, begin, language, marks, "".join(f"{text}\n" for text in lines)))
            begin = 0
        elif begin:
            lines.append(line)
    assert not begin, f"{path.name}: a block without an end"
    return found


def every_block() -> list[Block]:
    """Of all documents."""
    return [block for path in documents() for block in blocks(path)]


def sessions() -> dict[str, list[Block]]:
    """The blocks to run, by ``DOCUMENT/NAME``, in the order of the document."""
    found: dict[str, list[Block]] = {}
    for block in every_block():
        if "run" in block.marks:
            found.setdefault(f"{block.document}/{block.marks['run']}", []).append(block)
    return found


def with_earlier(name: str) -> list[Block]:
    """The blocks of a session behind those of the sessions that it goes on from."""
    own = sessions()[name]
    return [*(with_earlier(own[0].marks["after"]) if "after" in own[0].marks else ()), *own]


class Ports:
    """A free port for every port that an example names, the same for the same."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def free(self, text: str) -> str:
        """The text with its ports replaced."""
        return _PORT.sub(lambda match: self._of(match[0]), text)

    def _of(self, port: str) -> str:
        while port not in self.found:
            with socket.create_server(("127.0.0.1", 0)) as taken:
                free = str(taken.getsockname()[1])
            if free not in self.found.values():
                self.found[port] = free
        return self.found[port]


class Shell:
    """What a reader does in a fresh checkout: types blocks into one terminal, and into others that stay open."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.ports, self.count = directory, Ports(), 0
        for name in CHECKOUT:
            (directory / name).symlink_to(ROOT / name)
        (directory / ".venv").symlink_to(sys.prefix)
        kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = kept | {"PATH": path, "HOME": str(directory), "ZKMARGIN_POOL_PROCESSES": "1"}
        self.log = directory / ".output"
        self.log.touch()
        self.shell = self._start(["bash", "-e", "-o", "pipefail"], self.log)
        self.others: list[subprocess.Popen[bytes]] = []

    def _start(self, command: list[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as out:
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=out, stderr=out, cwd=self.directory, env=self.environment,
                start_new_session=True,
            )  # fmt: skip

    def run(self, block: Block) -> None:
        """Do what a block says; an ``AssertionError`` has what was printed."""
        self.count += 1
        text = self.ports.free(block.text)
        if "file" in block.marks:
            saved = self.directory / f".file-{self.count}"
            saved.write_text(text)
            self._type(f"cp {saved} {block.marks['file']}\n", block)  # where the reader is by now
        elif block.language == "console":
            for command, wanted in transcript(text):
                matches(self._type(command, block), wanted, block)
        elif "until" in block.marks:
            self._stay(text, block)
        else:
            printed = self._type(text, block)
            if "prints" in block.marks:
                document = (
                    ROOT / ("README.md" if block.document == "README.md" else f"docs/{block.document}")
                ).read_text()
                assert printed.strip(), f"{block.place} prints nothing"
                for line in printed.splitlines():
                    assert line.strip() in document, f"{block.place} prints {line}"

    def _type(self, text: str, block: Block) -> str:
        """Give a text to the shell as one file, so that its commands read nothing of the next."""
        typed, done = self.directory / f".block-{self.count}", f"done-{self.count}-{time.monotonic_ns()}"
        typed.write_text(text)
        before = len(self.log.read_bytes())
        assert self.shell.stdin
        with suppress(BrokenPipeError):
            self.shell.stdin.write(f". {typed} </dev/null\necho {done}\n".encode())
            self.shell.stdin.flush()
        return self._wait(self.shell, self.log, done, block, before)

    def _stay(self, text: str, block: Block) -> None:
        log = self.directory / f".output-{self.count}"
        log.touch()
        self.others.append(self._start(["bash", "-e", "-c", text], log))
        self._wait(self.others[-1], log, block.marks["until"], block, 0)

    def _wait(self, process: subprocess.Popen[bytes], log: Path, word: str, block: Block, before: int) -> str:
        deadline = time.monotonic() + SECONDS
        while True:
            ended = process.poll() is not None
            printed = log.read_bytes()[before:].decode(errors="replace")
            if word in printed:
                return printed.partition(word)[0]
            assert not ended, f"{block.place} failed:\n{printed}"
            assert time.monotonic() < deadline, f"{block.place} takes too long:\n{printed}"
            time.sleep(0.02)

    def close(self) -> None:
        """End everything that the blocks started."""
        for process in (*self.others, self.shell):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdin:
                with suppress(BrokenPipeError):
                    process.stdin.close()


def transcript(text: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines that it prints."""
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, *lines = re.sub(r"\\\n\s*", "", part).splitlines()
        yield command, lines


def matches(printed: str, wanted: list[str], block: Block) -> None:
    """Every wanted line, in order; ``...`` allows any lines in its place."""
    pattern = "".join(r"(?:.*\n)*" if line == "..." else re.escape(line) + r"\s*\n" for line in wanted)
    assert re.fullmatch(pattern, printed), f"{block.place} prints\n{printed}"


@contextmanager
def reader(directory: Path) -> Iterator[Shell]:
    """A reader in a fresh checkout below ``directory``."""
    shell = Shell(directory)
    try:
        yield shell
    finally:
        shell.close()
