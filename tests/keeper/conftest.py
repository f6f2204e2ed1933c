"""What gateways of these tests stand in front of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sluicegate.sim.fleet import FleetThread
from tests.keeper.operators import SMALL
from tests.keeper.running import ENV


@pytest.fixture(scope="module")
def fleet() -> Iterator[FleetThread]:
    with FleetThread({"a": {**SMALL, "key": ENV["UPSTREAM_KEY"]}}, seed=1) as fleet:
        yield fleet
