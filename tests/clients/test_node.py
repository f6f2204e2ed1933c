"""The official SDK for Node, unchanged: two classes, four ways in, http and https, in front of simulated instances.

One process does everything and prints a line for each thing; the tests here read them.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.asking import node
from tests.clients.site import BROKEN, CUT, ONCE, THROTTLED, WAIT_S, Site

WAYS = ("AzureOpenAI", "AzureOpenAI of a deployment", "OpenAI at /openai/v1", "OpenAI at /v1")
WORDS = {"broken": BROKEN, "cut": CUT, "throttled": THROTTLED, "once": ONCE}

Lines = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def lines(where: Site) -> dict[str, Lines]:
    """By way and by thing, what Node saw."""
    for number in range(len(WAYS)):
        where.throttle_once(f"{ONCE}-{number}")
    found: dict[str, Lines] = {way: {} for way in WAYS}
    for line in node("matrix", where.url, WORDS, ca=where.ca):
        found[line["way"]][line["what"]] = line
    return found


@pytest.fixture(params=WAYS)
def saw(request: pytest.FixtureRequest, lines: dict[str, Lines]) -> Iterator[Lines]:
    yield lines[request.param]


def test_a_plain_answer_arrives_with_usage_and_its_id(where: Site, saw: Lines):
    plain = saw["plain"]
    assert plain["said"] == [["Grüße aus 東京 🗼", "stop", ""]]
    served = next(e for e in where.fleet.ledger if e.id == plain["request_id"])
    assert plain["usage"] == served.claim.prompt + served.claim.completion


def test_usage_of_streams_is_for_those_who_asked(saw: Lines):
    assert saw["streamed"]["said"] == saw["streamed with usage"]["said"] == [["one two three", "stop", ""]]
    assert saw["streamed"]["leaked"] == 0 and saw["streamed"]["usage"] is None
    assert saw["streamed with usage"]["usage"] > 0


def test_two_choices_are_two_choices(saw: Lines):
    twice = ["twice", "stop", ""]
    assert saw["two choices"]["said"] == saw["two choices streamed"]["said"] == [twice, twice]


def test_tools_are_called(saw: Lines):
    for what in ("tools", "tools streamed"):
        [[_, finish, arguments]] = saw[what]["said"]
        assert finish == "tool_calls" and '"place"' in arguments


def test_structured_output_is_parsed(saw: Lines):
    assert set(saw["structured"]["parsed"]) == {"city", "inhabitants"}
    assert saw["structured"]["request_id"]


def test_the_stream_helper_sums_up(saw: Lines):
    assert saw["stream helper"]["text"] == "one two three"


def test_errors_are_of_their_class(saw: Lines):
    def was(what: str) -> tuple[str, int, str]:
        line = saw[what]
        return line["error"], line["status"], line["code"]

    assert was("wrong key") == ("AuthenticationError", 401, "401")
    assert was("filtered") == ("BadRequestError", 400, "content_filter")
    assert was("all throttled") == ("RateLimitError", 429, "429")
    assert was("no member left") == ("InternalServerError", 503, "service_unavailable")
    assert was("broken off") == ("APIError", None, "upstream_interrupted")
    if saw["unknown model"]["way"] == "AzureOpenAI of a deployment":  # the path decides
        assert saw["unknown model"]["ok"]
    else:
        assert was("unknown model") == ("NotFoundError", 404, "DeploymentNotFound")


def test_the_sdk_comes_again_when_and_only_when_it_was_told_to(where: Site, saw: Lines):
    headers = saw["all throttled"]["headers"]
    assert 0 < int(headers["retry-after-ms"]) <= WAIT_S * 1000 and headers["retry-after"] == "1"
    once = saw["throttled once"]
    assert once["ok"] and once["waited_s"] >= WAIT_S - 0.05
    eager = saw["no member left, eager"]["headers"]
    assert eager["x-should-retry"] == "false"


def test_nobody_multiplied_the_attempts(where: Site, lines: dict[str, Lines]):
    broken = [e for e in where.fleet.ledger if BROKEN.encode() in e.body]
    asked = len(WAYS) * 2  # twice in each way; both members, where none of them comes back at a pace just then
    assert asked <= len(broken) <= asked * 2
