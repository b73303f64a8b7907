"""``zkmargin demo --files``: the example's portfolio and prices of now, and nobody's file lost."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.service.cli.test_cli import call
from zkmargin.circuits.documents.snapshot import snapshot_from_bytes
from zkmargin.prover.documents import portfolio_lots
from zkmargin.service import demo_data
from zkmargin.service.cli import demo


def test_the_files_are_of_now_and_belong_together(tmp_path: Path) -> None:
    place = tmp_path / "new" / "trial"
    answer = call("demo", "--files", place)
    made = snapshot_from_bytes((place / "snapshot.json").read_bytes())
    assert abs(made.time - time.time()) < 60
    assert (answer["snapshot"], answer["time"]) == (made.digest.hex(), made.time)
    assert any(portfolio_lots((place / "portfolio.json").read_bytes(), made))
    assert made.registry_digest == snapshot_from_bytes(demo_data.read("snapshot.json")).registry_digest
    assert sorted(path.name for path in place.iterdir()) == ["portfolio.json", "snapshot.json"]


def test_the_prices_can_be_dated_again(tmp_path: Path) -> None:
    demo.write_examples(tmp_path, 1_700_000_000)
    demo.write_examples(tmp_path, 1_700_003_600)
    assert json.loads((tmp_path / "snapshot.json").read_bytes())["time"] == 1_700_003_600


@pytest.mark.parametrize("name", ["portfolio.json", "snapshot.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b'{"schema":"zkmargin/portfolio/1","positions":[]}', b"\x00\xff"])
def test_a_file_of_somebody_is_never_replaced(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    answer = call("demo", "--files", tmp_path, code=3)
    assert answer["error"]["field"] == str(tmp_path / name)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, content)]


def test_a_place_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert call("demo", "--files", tmp_path / "file" / "x", code=3)["error"]["code"] == "malformed-input"
