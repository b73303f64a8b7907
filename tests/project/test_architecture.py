"""docs/ARCHITECTURE.md: its rooms are those of the code, with what they import."""

from __future__ import annotations

import re

import pytest

from tests.support.imports import LAYERS, imports_of, modules
from tests.support.places import ROOT

PAGE = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
SERVICE = ROOT / "service"
#: Folders that are rooms of ``service``.
ROOMS = sorted(path.parent.name for path in SERVICE.glob("*/__init__.py"))


def room_of(module: str) -> str | None:
    """The room of ``service`` that a module is in; None for another layer, and for a module at the top of it."""
    parts = module.split(".")
    return parts[2] if parts[1:2] == ["service"] and len(parts) > 2 and parts[2] in ROOMS else None


def imported_by(room: str) -> list[str]:
    """The other rooms of ``service`` that a room imports."""
    found = {room_of(to) for name in modules() if room_of(name) == room for to in imports_of(name)}
    return sorted(other for other in found - {room} if other)


@pytest.mark.parametrize("room", ROOMS)
def test_the_map_says_what_each_room_imports(room: str) -> None:
    line = re.search(rf"^\| `{room}` \| .+ \| ?(.*?) ?\|$", PAGE, re.M)
    assert line, f"the map has no room {room}"
    assert line[1] == ", ".join(imported_by(room))


def test_the_map_has_no_other_room() -> None:
    assert sorted(re.findall(r"^\| `(\w+)` \| ", PAGE, re.M)) == ROOMS


def test_two_rooms_do_not_import_each_other() -> None:
    """But for one pair: large bodies are parsed in the processes that verify, by the schemas of their calls."""
    found = {
        tuple(sorted((room, other))) for room in ROOMS for other in imported_by(room) if room in imported_by(other)
    }
    assert found <= {("http", "verification")}


def test_the_diagram_has_every_layer() -> None:
    found = re.search(r"^```mermaid.*?\n(.*?)^```", PAGE, re.S | re.M)
    assert found
    places = [found[1].index(f"{layer}[") for layer in LAYERS]
    assert places == sorted(places)


def test_every_folder_of_a_layer_is_on_the_map() -> None:
    for layer in LAYERS[:3]:
        for path in (ROOT / layer).glob("**/__init__.py"):
            folder = path.parent.relative_to(ROOT).as_posix()
            if not re.search(r"/(data|v\d+)$", folder):
                assert f"`{folder}/`" in PAGE, folder


def test_what_the_walks_name_is_in_the_files_that_they_name() -> None:
    rows = [row for row in re.findall(r"^\| (.+) \|$", PAGE, re.M) if re.search(r"`[\w/]+\.py`", row)]
    assert len(rows) > 20
    for row in rows:
        text = "".join((ROOT / path).read_text() for path in re.findall(r"`([\w/]+/\w+\.py)`", row))
        for name in re.findall(r"`([A-Za-z_]\w+)`", row):
            assert not text or re.search(rf"\b{name}\b", text), f"{name}: {row}"
