"""Upstreams that break off or talk nonsense, as the official SDKs see it: never as success.

Every lie, and a sample of cuts; tests/goals cuts at every offset. Both SDKs take a chat stream that ends early for a
complete one if nobody tells them: that is why the gateway must.
"""

import pytest

from tests.clients.lies import LIES
from tests.clients.truncation import SDKS, cut_everywhere, lying, tell_lies, without_gateway
from tests.clients.verdicts import Tally


def test_there_are_lies_enough():
    assert len(LIES) > 80 and {lie.stream for lie in LIES.values()} == {True, False}


@pytest.mark.parametrize("sdk", SDKS)
def test_no_lie_of_an_upstream_looks_like_success(sdk: str):
    tally = Tally()
    with lying() as (gateway, _):
        tell_lies(gateway, sdk, tally)
    print(f"\n{tally.table()}")
    assert not tally.wrong, "\n".join(tally.wrong)
    assert tally.of("silent") == 0


@pytest.mark.parametrize("sdk", SDKS)
def test_a_cut_is_never_silent(sdk: str):
    tally = Tally()
    with lying() as (gateway, _):
        cut_everywhere(gateway, sdk, tally, every=23, start=5)
    assert not tally.wrong, "\n".join(tally.wrong)
    assert tally.of("silent") == 0


@pytest.mark.parametrize("sdk", SDKS)
def test_without_the_gateway_the_same_lies_look_like_success(sdk: str):
    """Else the tests above would prove nothing."""
    with lying() as (_, liar):
        seen = without_gateway(liar, sdk)
    assert seen["silent"] >= 5, seen
