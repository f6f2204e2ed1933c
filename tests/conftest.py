"""What every test shares: how hard hypothesis tries, --short, and the check that no exchange is dropped half way."""

import gc
import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

# No deadlines: time on a shared machine says nothing about the code. CI repeats the same examples every time,
# so that a red run is about the change; elsewhere hypothesis looks for new ones. HYPOTHESIS_PROFILE chooses by name:
# `long` looks ten times as far.
SLOW_IS_FINE = [HealthCheck.too_slow]
settings.register_profile("dev", deadline=None, suppress_health_check=SLOW_IS_FINE, max_examples=100)
settings.register_profile(
    "ci",
    deadline=None,
    suppress_health_check=SLOW_IS_FINE,
    max_examples=300,
    derandomize=True,
    database=None,
    print_blob=True,
)
settings.register_profile("long", settings.get_profile("dev"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--short", action="store_true", help="fewer repeats and shorter runs, for goals in CI")


@pytest.fixture(scope="session")
def short(request: pytest.FixtureRequest) -> bool:
    """Whether the run was asked to be quick: ./dev goals --short."""
    return bool(request.config.getoption("--short"))


@pytest.fixture(scope="session")
def dropped() -> Callable[[], list[str]]:
    """Asks for the exchanges that were collected before they ended, since it was last asked."""
    try:
        from sluicegate.drive import LEAKS, watch_leaks
    except ImportError:  # a driver that cannot be imported fails its own tests, not all others too
        return list
    watch_leaks()

    def ask() -> list[str]:
        found = list(LEAKS)
        LEAKS.clear()
        return found

    return ask


@pytest.fixture(autouse=True)
def every_exchange_ends(dropped: Callable[[], list[str]]) -> Iterator[None]:
    """An exchange is finished by events; one collected before would have lost its settlement and its record."""
    yield
    found = dropped()
    assert not found, f"{len(found)} exchange(s) collected unfinished: {found}"


@pytest.fixture(scope="session", autouse=True)
def every_exchange_ends_by_the_end(dropped: Callable[[], list[str]]) -> Iterator[None]:
    """The same for those that only the collector of cycles finds. Once a session: a collection costs milliseconds."""
    yield
    gc.collect()
    found = dropped()
    assert not found, f"{len(found)} exchange(s) collected unfinished, somewhere in this session: {found}"
