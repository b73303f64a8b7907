"""What commands write: never over an input, a file of another kind or an only copy; and files that belong together."""

from __future__ import annotations

import ast
import base64
import inspect
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
import typer
from typer.testing import CliRunner

from tests.service.cli.test_cli import NOW, PASSPHRASE, World, build, call
from tests.support.places import ROOT
from zkmargin.circuits.canonical import canonical_bytes
from zkmargin.circuits.errors import InternalError, MalformedInput
from zkmargin.service import files
from zkmargin.service.cli.outputs import Writes, check_options, mark_of
from zkmargin.service.cli.root import app
from zkmargin.service.file_kinds import FOLDER, kind_of
from zkmargin.service.keys.sealing import generate_encryption_key
from zkmargin.service.keys.signing_keys import generate_key, private_pem, public_pem

ENV = {"ZKMARGIN_PASSPHRASE": PASSPHRASE}
RUNNER = CliRunner()
FORK = canonical_bytes({"held": {}, "shown": {}, "proven": True})


def document(kind: str) -> bytes:
    return canonical_bytes({"schema": f"zkmargin/{kind.removesuffix(' document')}/1"})


@cache
def samples() -> dict[str, bytes]:
    """Bytes of every kind that a command may meet at its target, by kind."""
    key, (secret, shown) = generate_key(), generate_encryption_key()
    kinds = (
        "snapshot", "portfolio", "opening", "attestation", "statement", "proof", "credit", "tree-head", "hub-key",
        "demand", "offer", "trust", "feed", "signed-snapshot", "oracle-state", "authorisation", "policy", "import",
    )  # fmt: skip
    found = {f"{name} document": document(name) for name in kinds}
    plain = [private_pem(key), public_pem(key), secret, shown, b"0" * 64 + b"\n", b"\x89PNG\r\n\x1a\n", FORK]
    plain += [b"my diary", b"SQLite format 3\x00", files.seal(b"{}", "another passphrase")]
    return found | {kind_of(data): data for data in plain}


@dataclass(frozen=True)
class Command:
    """A command of the tree: its words and its function."""

    words: tuple[str, ...]
    function: Callable[..., None]

    def options(self) -> Iterator[tuple[str, inspect.Parameter]]:
        yield from inspect.signature(self.function, eval_str=True).parameters.items()

    def writes(self) -> dict[str, Writes]:
        found = {name: mark_of(parameter.annotation) for name, parameter in self.options()}
        return {name: mark for name, mark in found.items() if mark is not None}

    def reads(self) -> list[str]:
        marked = self.writes()
        return [n for n, p in self.options() if n not in marked and "Path" in str(get_args(p.annotation) or p)]


def commands(group: typer.Typer = app, words: tuple[str, ...] = ()) -> Iterator[Command]:
    for info in group.registered_commands:
        assert info.callback is not None
        name = info.name or info.callback.__name__.replace("_", "-")
        yield Command((*words, name), info.callback)
    for sub in group.registered_groups:
        assert sub.typer_instance is not None
        yield from commands(sub.typer_instance, (*words, str(sub.name)))


ALL = list(commands())
WRITERS = [c for c in ALL if any(mark.kind != FOLDER for mark in c.writes().values())]


def attack(command: Command, **given: object) -> str:
    """What the check before the command says; "" where it lets the command run."""
    try:
        check_options(command.function, given)
    except MalformedInput as err:
        return str(err)
    return ""


def test_the_table_covers_the_tree() -> None:
    assert len(ALL) > 50
    assert {"commit", "prove", "statement"} <= {c.words[-1] for c in WRITERS}
    assert sum(len(c.writes()) for c in ALL) >= 60


@pytest.mark.parametrize("command", ALL, ids=lambda c: " ".join(c.words))
def test_every_command_is_checked_before_it_runs(command: Command) -> None:
    """By the wrapper that also reports errors: no two documents are on standard input or output."""
    paths = [name for name, _ in command.options() if name in command.writes() or name in command.reads()]
    if len(paths) < 2:
        assert hasattr(command.function, "__wrapped__")
        return
    with pytest.raises(typer.Exit) as caught:
        command.function(**dict.fromkeys(paths, Path("-")))
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("command", WRITERS, ids=lambda c: " ".join(c.words))
def test_no_output_replaces_a_file_of_another_kind(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ZKMARGIN_PASSPHRASE", raising=False)
    target = tmp_path / "target"
    for name, mark in command.writes().items():
        if mark.kind == FOLDER:
            continue
        assert mark.kind in samples()
        for kind, data in samples().items():
            target.write_bytes(data)
            force = (True, False) if "force" in dict(command.options()) else (False,)
            for forced in force:
                told = attack(command, **{name: target, "force": forced})
                lets = kind == mark.kind and (forced or not mark.only_copy)
                assert (told == "") == lets, (name, kind, told)
                assert lets or str(target) in told
        target.unlink()
        assert attack(command, **{name: target}) == ""  # control: nothing is there
        target.write_bytes(b"")
        assert attack(command, **{name: target}) == ""


@pytest.mark.parametrize("command", WRITERS, ids=lambda c: " ".join(c.words))
def test_no_output_replaces_an_input_or_another_output(command: Command, tmp_path: Path) -> None:
    file, link, hard = tmp_path / "file", tmp_path / "link", tmp_path / "hard"
    outputs = [name for name, mark in command.writes().items() if mark.kind != FOLDER]
    for name in outputs:
        file.write_bytes(samples()[command.writes()[name].kind])
        link.unlink(missing_ok=True)
        link.symlink_to(file)
        hard.unlink(missing_ok=True)
        hard.hardlink_to(file)
        for other in [*command.reads(), *(o for o in outputs if o != name)]:
            for one, two in ((file, file), (file, link), (link, file), (file, hard)):
                told = attack(command, **{name: one, other: two, "force": True})
                assert "would be replaced" in told or "same path" in told, (name, other, told)
                if "list" in str(dict(command.options())[other].annotation):
                    assert attack(command, **{name: one, other: [tmp_path / "x", two], "force": True})
            # Control: elsewhere, and not there yet.
            assert not attack(command, **{name: tmp_path / "new", other: tmp_path / "else"})


def test_a_path_that_is_written_and_not_declared_is_our_bug(tmp_path: Path) -> None:
    with files.declared([tmp_path / "a"]), pytest.raises(InternalError):
        files.write_file(tmp_path / "b", b"{}")
    with files.declared([tmp_path]):
        files.write_file(tmp_path / "b", b"{}")


#: What opens a file for writing, or moves one.
WRITING = {"write_text", "write_bytes", "replace", "rename", "mkstemp", "NamedTemporaryFile", "copyfile", "copy"}


def test_nothing_but_the_one_writer_writes_files() -> None:
    """By the syntax tree: a command that opened a file by itself would escape the table."""
    root = ROOT
    for path in [p for part in ("prover", "service") for p in sorted((root / part).rglob("*.py"))]:
        if path == root / "service" / "files.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            owner = getattr(getattr(node.func, "value", None), "id", "")
            modes = [a.value for a in [*node.args, *(k.value for k in node.keywords)] if isinstance(a, ast.Constant)]
            opens = name in ("open", "fdopen") and any(isinstance(m, str) and set(m) & set("wax+") for m in modes)
            moves = name in WRITING and (owner in ("os", "shutil", "tempfile") or name.startswith("write_"))
            assert not opens, f"{path.name}:{node.lineno}"
            assert not moves, f"{path.name}:{node.lineno}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return build(tmp_path_factory.mktemp("outputs"))


def commit_words(w: World, folder: Path, *more: str) -> list[str]:
    return [
        "commit", "--portfolio", str(w.portfolio), "--snapshot", str(w.snapshot), "--account", "acct-1", "--key",
        str(w.hub_key), "--opening", str(folder / "o.json"), "--attestation", str(folder / "a.json"), "--time", NOW,
        *more,
    ]  # fmt: skip


def test_the_attacks_that_lost_a_secret(world: World) -> None:
    before = {path: path.read_bytes() for path in world.dir.iterdir()}
    prove = ("prove", "--statement", world.statement, "--snapshot", world.snapshot, "--opening", world.opening)
    for target in (world.opening, world.hub_key, world.snapshot, world.statement, world.portfolio):
        call(*prove, "--out", target, env=ENV, code=3)
    common = (
        "statement", "--snapshot", world.snapshot, "--attestation", world.attestation, "--hub-key", world.hub_pub,
        "--spoke", "v", "--amount", "1", "--best-for", world.opening,
    )  # fmt: skip
    for target in (world.opening, world.attestation, world.hub_pub, world.snapshot, world.hub_key):
        call(*common, "--out", target, env=ENV, code=3)
    for target in (world.hub_key, world.portfolio, world.snapshot):
        words = commit_words(world, world.dir, "--attestation", str(target), "--force")
        call(*words, env=ENV, code=3)
    assert {path: path.read_bytes() for path in world.dir.iterdir()} == before


def belong(folder: Path) -> bool:
    """Whether the attestation is of the opening's commitment."""
    opening = json.loads(files.unseal((folder / "o.json").read_bytes(), name="o"))
    payload = json.loads((folder / "a.json").read_bytes())["jws"].split(".")[1]
    fact = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return bool(opening["commitment"] == fact["commitment"])


def test_two_commits_at_once_leave_the_files_of_one(tmp_path: Path) -> None:
    """Two processes write their pairs to the same names, over and over."""
    barrier = multiprocessing.get_context("fork").Barrier(2)

    def pair(mark: str) -> None:
        for turn in range(40):
            tree = {"schema": "zkmargin/opening/1", "run": f"{mark}{turn}"}
            other = {"schema": "zkmargin/attestation/1", "run": f"{mark}{turn}"}
            barrier.wait(20)
            files.write_files(
                files.private(tmp_path / "o", canonical_bytes(tree)),
                files.public(tmp_path / "a", canonical_bytes(other)),
            )
            barrier.wait(20)
            assert json.loads((tmp_path / "o").read_bytes())["run"] == json.loads((tmp_path / "a").read_bytes())["run"]

    tasks = [multiprocessing.get_context("fork").Process(target=pair, args=(mark,)) for mark in "xy"]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join(60)
    assert [task.exitcode for task in tasks] == [0, 0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "o"]


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("forced", [False, True])
def test_two_commands_at_once(world: World, tmp_path: Path, forced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZKMARGIN_PASSPHRASE", PASSPHRASE)
    words = [
        sys.executable,
        "-m",
        "zkmargin",
        *commit_words(world, tmp_path),
        *(["--force"] if forced else []),
    ]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    codes = [p.wait(60) for p in running]
    for process in running:
        process.communicate()
    assert sorted(codes) == ([0, 0] if forced else [0, 3])
    assert belong(tmp_path)


KILLED = """
import os, sys
from pathlib import Path
from zkmargin.service import files
left = int(sys.argv[1])
real = os.replace
def replace(a, b):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), 9)
    real(a, b)
os.replace = replace
folder = Path(sys.argv[2])
files.write_files(
    files.private(folder / "o", b'{"schema":"zkmargin/opening/1","run":"new"}'),
    files.public(folder / "a", b'{"schema":"zkmargin/attestation/1","run":"new"}'),
)
"""


@pytest.mark.parametrize("moves", [0, 1, 2])
@pytest.mark.parametrize("there_before", [False, True])
def test_a_kill_between_two_files_leaves_both_neither_or_a_refusal(
    tmp_path: Path, moves: int, there_before: bool
) -> None:
    old = {"o": document("opening"), "a": document("attestation")}
    for name, data in old.items() if there_before else ():
        (tmp_path / name).write_bytes(data)
    done = subprocess.run([sys.executable, "-c", KILLED, str(moves), str(tmp_path)], check=False)
    assert done.returncode == (-signal.SIGKILL if moves < 2 else 0)

    def read(name: str) -> bytes | str:
        try:
            return files.read_file(tmp_path / name)
        except MalformedInput as err:
            return err.message

    answers = {name: read(name) for name in "oa"}
    if moves == 1:
        assert "interrupted command" in str(answers["o"])
        assert "interrupted command" in str(answers["a"]) or not there_before
    else:
        assert all(b"new" in bytes(data) for data in answers.values() if moves == 2 and isinstance(data, bytes))
        assert all(data == old[name] for name, data in answers.items() if moves == 0 and there_before)
    # The next run heals, and takes away what was left.
    files.write_files(files.private(tmp_path / "o", document("opening")), files.public(tmp_path / "a", old["a"]))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == old


def test_an_error_before_the_first_move_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zkmargin.service.files.os.replace", broken)
    with pytest.raises(MalformedInput, match="No space left"):
        files.write_files(files.public(tmp_path / "a", b"{}"), files.public(tmp_path / "b", b"{}"))
    assert list(tmp_path.iterdir()) == []


def test_a_note_is_not_written_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / ".a.pending").symlink_to(victim)
    files.write_files(files.public(tmp_path / "a", b"{}"), files.public(tmp_path / "b", b"{}"))
    assert victim.read_bytes() == b"precious"


def test_documents_come_from_standard_input_and_go_to_standard_output(world: World, tmp_path: Path) -> None:
    words = ["prove", "--statement", "-", "--snapshot", str(world.snapshot), "--opening", str(world.opening)]
    result = RUNNER.invoke(app, [*words, "--out", "-"], input=world.statement.read_bytes(), env=ENV)
    assert result.exit_code == 0
    proof = tmp_path / "p.json"
    proof.write_bytes(result.stdout_bytes)
    assert "proved" in result.stderr
    call("verify", "--statement", world.statement, "--snapshot", world.snapshot, "--proof", proof, "--now", NOW)
    for bad in (["--json"], ["--opening", "-"]):
        answer = RUNNER.invoke(app, [*words, "--out", "-", *bad], input=world.statement.read_bytes(), env=ENV)
        assert answer.exit_code == 3
    for words in (
        commit_words(world, tmp_path, "--opening", "-"),
        ["keygen", "--key", "-", "--public", str(tmp_path / "k")],
    ):
        assert RUNNER.invoke(app, words, env=ENV).exit_code == 3
    assert not (tmp_path / "k").exists()
    assert os.listdir(tmp_path) == ["p.json"]
