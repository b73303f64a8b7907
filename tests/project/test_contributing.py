"""CONTRIBUTING.md is followed: its example is an endpoint, and takes three files."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.doc_blocks import Block, blocks
from tests.support.places import ROOT

_THIS = "project/test_contributing.py::"
UNWANTED = shutil.ignore_patterns("__pycache__")
#: Printed by a process that sees one checkout alone.
DESCRIBE = """
import json
from zkmargin.service.http.app import create_app
from zkmargin.service.settings import Settings
print(json.dumps(create_app(Settings(role="hub")).openapi()))
"""


def example() -> dict[str, Block]:
    """The blocks of the example, by the file that each is added to."""
    found = [block for block in blocks(ROOT / "CONTRIBUTING.md") if block.marks.get("test", "").startswith(_THIS)]
    return {block.marks["file"]: block for block in found}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which the example was followed: the service is a copy, the rest is this one's."""
    directory = tmp_path_factory.mktemp("checkout")
    package, tests = directory / "src" / "zkmargin", directory / "tests"
    package.mkdir(parents=True)
    for name in ("circuits", "verifier", "prover"):
        (package / name).symlink_to(ROOT / name)
    for name in ("__init__.py", "__main__.py"):
        (package / name).symlink_to(ROOT / "src" / "zkmargin" / name)
    shutil.copytree(ROOT / "service", directory / "service", ignore=UNWANTED)
    (package / "service").symlink_to(directory / "service")
    shutil.copytree(ROOT / "tests" / "service" / "http", tests / "service" / "http", ignore=UNWANTED)
    for name in ("__init__.py", "support", "service/__init__.py"):
        (tests / name).symlink_to(ROOT / "tests" / name)
    (directory / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")
    for name, block in example().items():
        file = directory / name
        file.write_text(f"{file.read_text()}\n\n{block.text}")
    return directory


def run(directory: Path, *command: str, status: int = 0) -> str:
    """What a command prints in the copy; it must end so."""
    environment = os.environ | {"PYTHONPATH": f"{directory / 'src'}{os.pathsep}{directory}"}
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def test_the_example_takes_three_files() -> None:
    names = list(example())
    assert len(names) == 3
    routes, ledger, test = names
    assert routes.startswith("service/http/routes/")
    assert ledger.startswith("service/ledger/")
    assert test.startswith("tests/")


def test_the_example_is_an_endpoint(copy: Path) -> None:
    """Its own test calls it in a running hub. The control: without the other two files that test fails."""
    *code, test = example()
    name = re.findall(r"^def (test_\w+)", example()[test].text, re.MULTILINE)[0]
    command = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"{test}::{name}[sqlite]")
    assert run(copy, sys.executable, "-c", "import zkmargin.service as s; print(s.__file__)").startswith(str(copy))
    run(copy, *command)
    followed = {name: (copy / name).read_text() for name in code}
    try:
        for name in code:
            (copy / name).write_text((ROOT / name).read_text())
        run(copy, *command, status=1)
    finally:
        for name, text in followed.items():
            (copy / name).write_text(text)


def test_the_example_is_described_with_its_problems(copy: Path) -> None:
    before = json.loads(run(ROOT, sys.executable, "-c", DESCRIBE))
    after = json.loads(run(copy, sys.executable, "-c", DESCRIBE))
    path = "/v1/accounts/{account}/epochs"
    call: dict[str, Any] = after["paths"][path].pop("get")
    assert "get" not in before["paths"][path]
    assert call["operationId"] == "list_epochs"
    assert call["description"].startswith("The account's latest epochs")
    assert call["security"] == [{"signature": []}]
    assert "not-found" in call["responses"]["404"]["content"]["application/problem+json"]["examples"]
    assert "unknown-key" in call["responses"]["401"]["content"]["application/problem+json"]["examples"]
    model = call["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[-1]
    assert after["components"]["schemas"].pop(model)["examples"]
    del after["components"]["schemas"]["EpochView"]
    assert after == before, "it changed another call"


def test_the_example_is_in_style(copy: Path) -> None:
    files = [str(copy / name) for name in example()]
    run(copy, sys.executable, "-m", "ruff", "check", "--no-cache", *files)
    run(copy, sys.executable, "-m", "ruff", "format", "--no-cache", "--check", *files)
