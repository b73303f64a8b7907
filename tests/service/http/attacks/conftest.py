"""The hub that every attack starts from, on both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.attacked import (
    attacked,
)
from tests.support.ledgers import DATABASES, World
from zkmargin.service.ledger import audit


@pytest.fixture(params=DATABASES)
def tampered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The hub, whose ledger need not be clean at the end."""
    with attacked(request.param, tmp_path_factory.mktemp("hub")) as made:
        yield made


@pytest.fixture
def world(tampered: World) -> Iterator[World]:
    """The same, whose ledger must be clean at the end, proofs and all."""
    yield tampered
    assert audit.run(tampered.hub.ledger).findings == []
