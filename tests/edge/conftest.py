"""A law for every test of the edge: when the clients have left, the gateway holds nothing of them."""

from collections.abc import Iterator

import pytest

from tests.edge.line import House


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    House.built.clear()
    yield
    houses, House.built = House.built, []
    for house in houses:
        house.vacate()
        assert house.is_empty()
