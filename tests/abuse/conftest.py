"""One gateway and one scripted upstream for a file of tests; every test begins with an upstream that saw nothing."""

from collections.abc import Iterator

import pytest

from tests.abuse.outside import Upstream
from tests.gateway import LIVE, GatewayThread, instance, snapshot


@pytest.fixture(autouse=True)
def forgotten() -> None:
    """What the test before did to the doors of a gateway that they share."""
    for gateway in tuple(LIVE):
        gateway.forget()


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[GatewayThread, Upstream]]:
    with Upstream() as upstream, GatewayThread(snapshot([instance(1, upstream.port)])) as gateway:
        yield gateway, upstream


@pytest.fixture
def upstream(running: tuple[GatewayThread, Upstream]) -> Iterator[Upstream]:
    yield running[1]
    running[1].forget()


@pytest.fixture
def gateway(running: tuple[GatewayThread, Upstream]) -> GatewayThread:
    return running[0]


@pytest.fixture
def port(running: tuple[GatewayThread, Upstream], upstream: Upstream) -> int:
    return running[0].port
