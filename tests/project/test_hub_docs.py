"""docs/HUB.md says what the code says, and its examples run against a real hub."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.places import ROOT
from zkmargin.service.http.problems import PROBLEMS
from zkmargin.service.settings import Settings

EXAMPLES = ROOT / "docs" / "examples"
HUB = (ROOT / "docs" / "HUB.md").read_text()


def settings_table() -> str:
    lines = ["| name | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default
        if isinstance(default, SecretStr):
            default = default.get_secret_value()
        shown = "" if default is None or default == () else f"`{default}`"
        about = field.description or {"log_level": "debug, info, warning, error", "log_format": "json or text"}[name]
        lines.append(f"| {name} | {shown} | {about} |")
    return "\n".join(lines)


def problems_table() -> str:
    lines = ["| code | status | what it means | what to do |", "|---|---|---|---|"]
    lines += [f"| `{p.code}` | {p.status} | {p.title} | {p.remedy} |" for p in PROBLEMS.values()]
    return "\n".join(lines)


def test_the_settings_are_those_of_the_service() -> None:
    assert settings_table() in HUB, settings_table()


def test_the_problem_types_are_those_of_the_service() -> None:
    assert problems_table() in HUB, problems_table()


def test_the_venue_has_30_lines() -> None:
    text = (EXAMPLES / "venue.py").read_text()
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    about = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, documented) and ast.get_docstring(node)
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    lines = [line for number, line in enumerate(text.splitlines(), 1) if number not in about]
    assert len([line for line in lines if line.strip() and not line.strip().startswith("#")]) <= 30


@contextmanager
def example(name: str, *words: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {"ZKMARGIN_POOL_PROCESSES": "1", "PYTHONPATH": str(ROOT)}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / name), *words],
            stdout=out,
            stderr=out,
            env=environment,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    while True:
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url)  # noqa: S310 - our own server
            return
        except OSError:
            time.sleep(0.1)


def free_ports(count: int) -> list[str]:
    import socket

    with_sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(s.getsockname()[1]) for s in with_sockets]
    for s in with_sockets:
        s.close()
    return ports


@pytest.mark.slow
@pytest.mark.slow
def test_the_examples_run_against_each_other(tmp_path: Path) -> None:
    """Also on prices that were published again, as after an hour."""
    (hub_port, venue_port), files = free_ports(2), tmp_path / "files"
    hub, venue = f"http://127.0.0.1:{hub_port}", f"http://127.0.0.1:{venue_port}"
    with example("hub_demo.py", str(files), hub_port, "1", log=tmp_path / "hub.log") as server:
        ready(server, tmp_path / "hub.log")
        first = latest(hub)
        while latest(hub) == first:
            time.sleep(0.05)
        with example("venue.py", hub, venue_port, str(files), log=tmp_path / "venue.log") as process:
            wait_for(venue, process, tmp_path / "venue.log")
            holder = subprocess.run(
                [sys.executable, str(EXAMPLES / "holder.py"), hub, venue, str(files)],
                capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            assert holder.returncode == 0, holder.stderr + (tmp_path / "venue.log").read_text()
            assert json.loads(holder.stdout)["schema"] == "zkmargin/credit/1"
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(venue, data=b"{}")
            assert refused.value.code == 422
        server.send_signal(signal.SIGINT)  # as Ctrl-C, but to this process alone
        gone(server, hub_port)
        assert server.returncode == 0
        assert "Traceback" not in (tmp_path / "hub.log").read_text()


def latest(hub: str) -> int:
    """The time of the newest snapshot."""
    with urllib.request.urlopen(f"{hub}/v1/snapshots/latest") as answer:  # noqa: S310 - our own server
        return int(json.load(answer)["snapshot"]["time"])


def ready(server: subprocess.Popen[bytes], log: Path) -> None:
    while "ready: " not in log.read_text():
        assert server.poll() is None, log.read_text()
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.slow
def test_the_demo_hub_leaves_nothing_running(tmp_path: Path) -> None:
    """Its process alone is killed, while it still sets up: what it started ends, too."""
    (port,) = free_ports(1)
    with example("hub_demo.py", str(tmp_path / "files"), port, log=tmp_path / "log") as server:
        while '"ready"' not in (tmp_path / "log").read_text():
            assert server.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
        os.kill(server.pid, signal.SIGKILL)
        gone(server, port)


def gone(server: subprocess.Popen[bytes], port: str) -> None:
    """Neither the process nor one that it started is there, and nobody listens."""
    server.wait(30)
    deadline = time.monotonic() + 60
    while group_lives(server.pid):
        assert time.monotonic() < deadline, "something is left"
        time.sleep(0.05)
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live")


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_demo_hub_ends_when_it_cannot_be_set_up(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "mine").touch()
    with example("hub_demo.py", str(tmp_path / "files"), port, log=tmp_path / "log") as server:
        assert server.wait(30) == 1
    assert "must be empty" in (tmp_path / "log").read_text()
    assert [path.name for path in (tmp_path / "files").iterdir()] == ["mine"]
