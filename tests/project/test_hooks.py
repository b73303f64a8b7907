"""The hooks of pre-commit are local, on tools that `make lint` locks; the documents know every target of make."""

from __future__ import annotations

import re

import yaml

from tests.support.doc_blocks import documents
from tests.support.places import ROOT


def test_the_hooks_are_those_of_make_lint() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    hooks = config["repos"][0]["hooks"]
    assert all(hook["language"] == "system" for hook in hooks)
    commands = {tuple(hook["entry"].split()[:2]) for hook in hooks}
    makefile = (ROOT / "Makefile").read_text()
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.M)
    assert lint
    used = [line.strip().removeprefix("$(BIN)/").split() for line in lint[1].splitlines()]
    assert {command[0].removeprefix(".venv/bin/") for command in commands} == {words[0] for words in used}
    assert {words[1] for words in used if len(words) > 1} == {command[1] for command in commands if len(command) > 1}


def test_each_command_is_a_locked_tool() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    lock = (ROOT / "requirements-dev.lock").read_text()
    for hook in config["repos"][0]["hooks"]:
        tool = hook["entry"].split()[0]
        assert tool.startswith(".venv/bin/")
        assert re.search(rf"^{tool.rpartition('/')[2]}==", lock, re.M)


def test_contributing_has_every_target_and_no_document_another() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.M))
    listed = (ROOT / "CONTRIBUTING.md").read_text().partition("## Targets")[2].partition("\n## ")[0]
    assert set(re.findall(r"`make ([a-z-]+)`", listed)) == targets
    for page in documents():
        assert set(re.findall(r"`make ([a-z-]+)", page.read_text())) <= targets, page.name
