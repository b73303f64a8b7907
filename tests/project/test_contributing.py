"""CONTRIBUTING.md is followed: its example is an endpoint, and takes three files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.doc_blocks import Block, blocks
from tests.support.places import ROOT

#: In a role of its own, so that its description is made from the copy.
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


_THIS = "project/test_contributing.py::"


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
    shutil.copytree(ROOT / "service", directory / "service", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "service").symlink_to(directory / "service")
    (tests / "service" / "http").mkdir(parents=True)
    for name in ("__init__.py", "support", "service/__init__.py", "service/http/__init__.py"):
        (tests / name).symlink_to(ROOT / "tests" / name)
    (directory / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")
    for name, block in example().items():
        file = directory / name
        before = file.read_text() + "\n\n" if file.exists() else ""
        file.write_text(before + block.text)
    return directory


def run(directory: Path, *command: str) -> str:
    """What a command prints in the copy; it must succeed."""
    environment = os.environ | {"PYTHONPATH": f"{directory / 'src'}{os.pathsep}{directory}"}
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_example_takes_three_files() -> None:
    names = list(example())
    assert len(names) == 3
    routes, ledger, test = names
    assert routes.startswith("service/http/routes/")
    assert ledger.startswith("service/ledger/")
    assert test.startswith("tests/")
    assert not (ROOT / test).exists()


def test_the_example_is_an_endpoint(copy: Path) -> None:
    """Its own test calls it in a running hub; the control is that the same test fails without the two others."""
    (test,) = (name for name in example() if name.startswith("tests/"))
    where = f"{copy / 'src'}"
    module = run(copy, sys.executable, "-c", "import zkmargin.service as s; print(s.__file__)")
    assert module.startswith(where), "not the copy"
    assert "1 passed" in run(copy, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test)


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
