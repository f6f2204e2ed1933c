"""The site that the SDK tests share: over http and over https, once for each file."""

from collections.abc import Iterator

import pytest

from tests.clients.site import Site, site


@pytest.fixture(scope="module", params=["http", "https"])
def where(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(request.param == "https", tmp_path_factory.mktemp("certificates")) as made:
        yield made
