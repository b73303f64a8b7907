"""Double spending, the short form (``make race`` runs the long one): real server and client processes race for one
account's credit on one database, and are killed at random. And what the race would find if the ledger were broken.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import race
from tests.support.hubs import postgres_url, sqlite_url

pytestmark = pytest.mark.slow

BROKEN = ("-m", "tests.support.broken_hub")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield sqlite_url(tmp_path)
    else:
        yield from postgres_url()


def test_no_credit_is_lost_or_issued_twice(url: str, tmp_path: Path) -> None:
    report = race.run(url, tmp_path, attempts=80, processes=12, seconds=15, pause=1.5, join=0.6)
    assert report.findings == []
    counts = report.counts
    assert counts["won"] > 0
    assert counts["won"] == counts["credit-issued"] == counts["proofs verified by the audit"]
    assert counts["attempts"] == counts["won"] + sum(report.refusals.values())
    assert report.refusals["stale-epoch"] > 0
    assert counts["servers killed"] + counts["connections killed"] > 0
    assert 0 < report.most_live <= race.EQUITY


def test_without_the_epoch_check_the_race_finds_a_double_spend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RACE_FAULT", "epoch")
    report = race.run(
        sqlite_url(tmp_path), tmp_path, attempts=60, processes=8, servers=1, pause=0, join=1, seconds=10,
        ways={"plain": 1}, program=BROKEN,
    )  # fmt: skip
    assert "more credit was live than was proved" in report.findings
    assert any("audit: " in finding and "statement is about something else" in finding for finding in report.findings)


def test_without_idempotency_the_race_finds_lost_credits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RACE_FAULT", "idempotency")
    report = race.run(
        sqlite_url(tmp_path), tmp_path, attempts=30, processes=4, servers=1, pause=0, join=1, seconds=10,
        ways={"hang-up": 1}, program=BROKEN,
    )  # fmt: skip
    assert any("credits that nobody was told of" in finding for finding in report.findings)
