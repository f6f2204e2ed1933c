"""The ground that all clients share: over http, then over https."""

from collections.abc import Iterator

import pytest

from tests.clients.ground import Ground, ground


@pytest.fixture(scope="module", params=["http", "https"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with ground(tmp_path_factory.mktemp(request.param), request.param == "https") as made:
        yield made
