"""The official SDK for Python, unchanged: four classes, four ways in, http and https, in front of simulated instances.

What it returns is compared with the simulator's ledger, which knows what was said and what it cost.
"""

import inspect
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from zlib import crc32

import openai
import pydantic
import pytest

from tests.clients.asking import TOOLS, VERSION
from tests.clients.members import run, until
from tests.clients.site import BROKEN, CUT, ONCE, THROTTLED, WAIT_S, Site
from tests.gateway import KEY

AZURE: dict[str, Any] = {"api_version": VERSION}
WAYS: dict[str, Callable[..., Any]] = {
    "AzureOpenAI": lambda url, **more: openai.AzureOpenAI(azure_endpoint=url, **AZURE, **more),
    "AzureOpenAI of a deployment": lambda url, **more: openai.AzureOpenAI(
        azure_endpoint=url, azure_deployment="chat", **AZURE, **more
    ),
    "AsyncAzureOpenAI": lambda url, **more: openai.AsyncAzureOpenAI(azure_endpoint=url, **AZURE, **more),
    "AzureOpenAI with a bearer token": lambda url, api_key, **more: openai.AzureOpenAI(
        azure_endpoint=url, azure_ad_token=api_key, **AZURE, **more
    ),
    "OpenAI at /openai/v1": lambda url, **more: openai.OpenAI(base_url=f"{url}/openai/v1", **more),
    "OpenAI at /v1": lambda url, **more: openai.OpenAI(base_url=f"{url}/v1", **more),
    "AsyncOpenAI at /openai/v1": lambda url, **more: openai.AsyncOpenAI(base_url=f"{url}/openai/v1", **more),
}


@pytest.fixture(params=WAYS)
def make(request: pytest.FixtureRequest, where: Site) -> Iterator[Callable[..., Any]]:
    """Makes clients of one way in."""

    def made(**more: Any) -> Any:
        http = openai.DefaultAsyncHttpxClient if request.param.startswith("Async") else openai.DefaultHttpxClient
        values = {"api_key": KEY, "max_retries": 0, "timeout": 20, **more}
        return WAYS[request.param](where.url, http_client=http(verify=where.context()), **values)

    return made


async def now(value: Any) -> Any:
    """What a method of a client returns, whether it is to be awaited or not."""
    return await value if inspect.isawaitable(value) else value


async def every(stream: Any) -> list[Any]:
    """All events of a stream."""
    return [event async for event in stream] if hasattr(stream, "__aiter__") else list(stream)


def asked(make: Callable[..., Any], what: Callable[[Any], Awaitable[Any]], **more: Any) -> Any:
    """Do something with a client, and close it."""

    async def doing() -> Any:
        client = make(**more)
        try:
            return await what(client)
        finally:
            await now(client.close())

    return run(doing())


def create(make: Callable[..., Any], content: str, *, client: dict[str, Any] | None = None, **more: Any) -> Any:
    """One chat completion; a streamed one as its events."""

    async def creating(made: Any) -> Any:
        arguments = {"model": "chat", "messages": [{"role": "user", "content": content}], **more}
        answer = await now(made.chat.completions.create(**arguments))
        return await every(answer) if more.get("stream") else answer

    return asked(make, creating, **(client or {}))


def text(events: list[Any], index: int = 0) -> str:
    return "".join(c.delta.content or "" for e in events for c in e.choices if c.index == index)


def same(usage: Any, claim: Any) -> bool:
    """Usage as the SDK shows it, or as it was booked, is what the instance computed."""
    if hasattr(usage, "total_input"):
        return bool((usage.total_input, usage.total_output) == (claim.prompt, claim.completion))
    return bool((usage.prompt_tokens, usage.completion_tokens) == (claim.prompt, claim.completion))


def booked(where: Site) -> Any:
    """The last record, once it is settled."""
    until(lambda: where.gateway.call(lambda: not where.gateway.worker.bound.live))
    return where.gateway.call(lambda: where.gateway.journal.recent[-1])


# ---------------------------------------------------------------------- answers


def test_a_plain_answer_arrives_with_its_exact_usage(where: Site, make: Any):
    answer = create(make, "[sim:echo] Grüße aus 東京 🗼")
    assert answer.choices[0].message.content == "Grüße aus 東京 🗼"
    assert answer.choices[0].finish_reason == "stop"
    assert same(answer.usage, where.served().claim)
    assert same(booked(where).usage, where.served().claim)


def test_an_answer_names_its_request(where: Site, make: Any):
    async def raw(client: Any) -> Any:
        messages = [{"role": "user", "content": "hello"}]
        return await now(client.chat.completions.with_raw_response.create(model="chat", messages=messages))

    answer = asked(make, raw)
    assert answer.parse()._request_id == answer.headers["x-request-id"] == where.served().id
    assert answer.headers["x-sluicegate-request-id"] == booked(where).id


def test_a_stream_without_usage_asked_shows_no_trace_of_it(where: Site, make: Any):
    events = create(make, "[sim:echo] one two three", stream=True)
    assert text(events) == "one two three"
    assert not any("usage" in event.model_dump(exclude_unset=True) for event in events)
    # Azure's own first event has no choices; another one would be the usage that only the gateway asked for
    assert [len(event.choices) for event in events] == [0] + [1] * (len(events) - 1)
    assert same(booked(where).usage, where.served().claim) and not booked(where).estimated


def test_a_stream_with_usage_asked_ends_with_it(where: Site, make: Any):
    events = create(make, "[sim:echo] one two three", stream=True, stream_options={"include_usage": True})
    assert text(events) == "one two three"
    assert all(event.usage is None for event in events[:-1])
    assert same(events[-1].usage, where.served().claim)
    assert same(booked(where).usage, where.served().claim)


def test_two_choices_are_two_choices(where: Site, make: Any):
    assert [c.message.content for c in create(make, "[sim:echo] twice", n=2).choices] == ["twice", "twice"]
    events = create(make, "[sim:echo] twice", n=2, stream=True)
    assert [text(events, index) for index in (0, 1)] == ["twice", "twice"]


def test_tools_are_called(make: Any):
    call = create(make, "[sim:tool=weather]", tools=TOOLS).choices[0].message.tool_calls[0]
    assert call.function.name == "weather" and '"place"' in call.function.arguments
    events = create(make, "[sim:tool=weather]", tools=TOOLS, stream=True)
    deltas = [d for e in events for c in e.choices for d in c.delta.tool_calls or ()]
    assert deltas[0].function.name == "weather"
    assert '"place"' in "".join(d.function.arguments for d in deltas)
    assert events[-1].choices[0].finish_reason == "tool_calls"


class Place(pydantic.BaseModel):
    city: str
    inhabitants: int


def test_structured_output_is_parsed(make: Any):
    async def parse(client: Any) -> Any:
        messages = [{"role": "user", "content": "where"}]
        return await now(client.chat.completions.parse(model="chat", messages=messages, response_format=Place))

    assert isinstance(asked(make, parse).choices[0].message.parsed, Place)


def test_the_stream_helper_sums_up(make: Any):
    async def helped(client: Any) -> Any:
        messages = [{"role": "user", "content": "[sim:echo] summed up"}]
        manager = client.chat.completions.stream(model="chat", messages=messages)
        if hasattr(manager, "__aenter__"):
            async with manager as stream:
                return await stream.get_final_completion()
        with manager as stream:
            return stream.get_final_completion()

    assert asked(make, helped).choices[0].message.content == "summed up"


# ---------------------------------------------------------------------- errors


def test_a_wrong_key_is_an_authentication_error(where: Site, make: Any):
    before = len(where.fleet.ledger)
    with pytest.raises(openai.AuthenticationError) as e:
        create(make, "hello", client={"api_key": "nobody's"})
    assert e.value.code == "401" and "nobody's" not in str(e.value)
    assert len(where.fleet.ledger) == before


def test_an_unknown_model_is_not_found(where: Site, request: pytest.FixtureRequest, make: Any):
    before = len(where.fleet.ledger)
    if request.node.callspec.params["make"] == "AzureOpenAI of a deployment":
        assert create(make, "[sim:echo] the path decides", model="unknown").choices[0].message.content
        return
    with pytest.raises(openai.NotFoundError) as e:
        create(make, "hello", model="unknown")
    assert e.value.code == "DeploymentNotFound"
    assert len(where.fleet.ledger) == before


def test_a_filtered_prompt_is_the_callers_to_see(where: Site, make: Any):
    before = len(where.fleet.ledger)
    with pytest.raises(openai.BadRequestError) as e:
        create(make, "[sim:filter] something bad")
    assert e.value.code == "content_filter"
    assert e.value.body["innererror"]["code"] == "ResponsibleAIPolicyViolation"  # type: ignore[index]
    assert len(where.fleet.ledger) == before + 1  # another member would say the same


def test_all_throttled_says_when_to_come_again(where: Site, make: Any):
    with pytest.raises(openai.RateLimitError) as e:
        create(make, f"hello {THROTTLED}")
    headers = e.value.response.headers
    assert headers["retry-after"] == "1"
    assert 0 < int(headers["retry-after-ms"]) <= WAIT_S * 1000
    assert headers["x-should-retry"] == "true"


def test_the_sdk_comes_again_when_it_was_told_to(where: Site, make: Any, request: pytest.FixtureRequest):
    word = f"{ONCE}-{crc32(request.node.nodeid.encode())}"
    where.throttle_once(word)
    began = time.monotonic()
    answer = create(make, f"[sim:echo] back {word}", client={"max_retries": 2})
    assert answer.choices[0].message.content == f"back {word}"
    assert time.monotonic() - began >= WAIT_S - 0.05  # the members' wait, less the time since they said so
    refused = [e for e in where.fleet.ledger if word.encode() in e.body and e.status == 429]
    assert len(refused) == 2  # each member once


def test_no_member_left_is_not_retried_by_the_sdk(where: Site, make: Any):
    before = len(where.fleet.ledger)
    with pytest.raises(openai.InternalServerError) as e:
        create(make, f"hello {BROKEN}", client={"max_retries": 5})
    assert e.value.status_code == 503 and e.value.response.headers["x-should-retry"] == "false"
    assert len(where.fleet.ledger) == before + 2  # the gateway asked both members, the SDK did not multiply it


def test_a_stream_that_breaks_off_raises(where: Site, make: Any):
    with pytest.raises(openai.APIError) as e:
        create(make, f"[sim:tokens=50] {CUT}", stream=True)
    assert e.value.code == "upstream_interrupted"
    assert booked(where).state == "interrupted"
