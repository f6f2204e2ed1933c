"""`x-stainless-retry-count`: what an SDK sends again adds nothing to the retry budget."""

import pytest

from tests.abuse.outside import request
from tests.edge.line import House


@pytest.mark.parametrize(
    ("headers", "first"),
    [((), True), ((b"x-stainless-retry-count: 0",), True), ((b"X-Stainless-Retry-Count: 2",), False)],
)
def test_G14_who_asks_again_is_known(headers: tuple[bytes, ...], first: bool):
    house = House()
    for message in ([request(*headers)], [request(*headers)] * 2, [request(*headers, b"X-A: 1", b"x-a: 2")]):
        before = house.world.retries.requests
        house.line().send(*message)
        assert house.world.retries.requests - before == len(message) * first
