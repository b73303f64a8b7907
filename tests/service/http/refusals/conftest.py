"""One hub for all refusals, on both databases: none of them changes a row."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.ledgers import DATABASES, fresh_url, started
from tests.support.refusing import CREDITS, VENUE_A, Refusing


@pytest.fixture(scope="package", params=DATABASES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Refusing]:
    with fresh_url(request.param, tmp_path_factory.mktemp("hub")) as url, started(url) as plain:
        made = Refusing(plain.session, plain.snapshot, plain.clock)
        made.fill()
        yield made
        # The clean control: what was refused with one thing wrong passes with nothing wrong.
        made.session.ok(VENUE_A, "POST", CREDITS, made.body())
