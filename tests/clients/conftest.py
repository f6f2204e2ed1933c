"""The site that the SDK tests share: over http and over https, once for each file."""

from collections.abc import Iterator

import pytest

from tests.clients.site import Site, site
from tests.gateway import LIVE


@pytest.fixture(autouse=True)
def forgotten() -> None:
    """What the test before did to the doors of a gateway that they share."""
    for gateway in tuple(LIVE):
        gateway.forget()


@pytest.fixture(scope="module", params=["http", "https"])
def where(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(request.param == "https", tmp_path_factory.mktemp("certificates")) as made:
        yield made
