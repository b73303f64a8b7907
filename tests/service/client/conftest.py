"""One running hub for all of the client's flows; every test keeps a trust of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.client_world import World, running


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running(tmp_path_factory.mktemp("hub")) as made:
        yield made
