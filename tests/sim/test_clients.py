"""The official SDK against the server form: if it parses what we say, we say it as Azure does."""

import json
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import httpx2
import openai
import pytest
from pydantic import BaseModel

from sluicegate.sim.fleet import FleetThread
from sluicegate.sim.tls import certificates

TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "open_gate",
            "parameters": {
                "type": "object",
                "properties": {"gate": {"type": "string"}, "by_cm": {"type": "integer", "minimum": 1, "maximum": 50}},
                "required": ["gate", "by_cm"],
            },
        },
    },
    {"type": "function", "function": {"name": "ring", "parameters": {"type": "object", "properties": {}}}},
]


class Keeper(BaseModel):
    name: str
    since: int
    mood: Literal["calm", "tired"]
    helper: "Keeper | None"


class Log(BaseModel):
    keepers: list[Keeper]
    level_m: float
    open: bool


@pytest.fixture(scope="module")
def fleet() -> Iterator[FleetThread]:
    with FleetThread({"weu": {}, "vllm": {"kind": "openai_compatible"}}) as fleet:
        yield fleet


@pytest.fixture(params=["azure", "v1", "compatible"])
def client(request: pytest.FixtureRequest, fleet: FleetThread) -> Iterator[openai.OpenAI]:
    weu, vllm = fleet["weu"], fleet["vllm"]
    made = {
        "azure": lambda: openai.AzureOpenAI(
            azure_endpoint=weu.endpoint, api_key=weu.key, api_version="2024-10-21", max_retries=0
        ),
        "v1": lambda: openai.OpenAI(base_url=weu.endpoint + "/openai/v1", api_key=weu.key, max_retries=0),
        "compatible": lambda: openai.OpenAI(base_url=vllm.endpoint, api_key=vllm.key, max_retries=0),
    }[request.param]()
    with made as client:
        yield client
    fleet.lift()


def says(content: str, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": content}], **more}


def test_plain(client):
    answer = client.chat.completions.create(**says("[sim:echo] gute Schleuse 🌊"))
    assert answer.choices[0].message.content == "gute Schleuse 🌊"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer._request_id


def test_stream(client):
    chunks = list(client.chat.completions.create(**says("[sim:echo] gute Schleuse 🌊"), stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "gute Schleuse 🌊"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(c.usage is None for c in chunks)


def test_stream_with_usage(client):
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(**says("hi", n=2), stream=True, stream_options=options))
    assert chunks[-1].usage.completion_tokens > 0 and chunks[-1].choices == []
    assert all(c.usage is None for c in chunks[:-1])


def test_tools_plain_and_streamed_are_the_same_call(client):
    plain = client.chat.completions.create(**says("[sim:tool] please", tools=TOOLS))
    call = plain.choices[0].message.tool_calls[0]
    assert plain.choices[0].finish_reason == "tool_calls" and plain.choices[0].message.content is None
    assert call.function.name == "open_gate"
    name, arguments, call_id = "", "", ""
    for chunk in client.chat.completions.create(**says("[sim:tool] please", tools=TOOLS), stream=True):
        for choice in chunk.choices:
            for part in choice.delta.tool_calls or []:
                call_id = call_id or part.id
                name += part.function.name or ""
                arguments += part.function.arguments or ""
    assert name == "open_gate" and call_id.startswith("call_")
    for text in (arguments, call.function.arguments):
        found = json.loads(text)
        assert set(found) == {"gate", "by_cm"} and 1 <= found["by_cm"] <= 50


def test_several_tools_at_once_and_a_chosen_one(client):
    both = client.chat.completions.create(**says("[sim:tool=open_gate,ring]", tools=TOOLS))
    assert [c.function.name for c in both.choices[0].message.tool_calls] == ["open_gate", "ring"]
    choice = {"type": "function", "function": {"name": "ring"}}
    one = client.chat.completions.create(**says("hello", tools=TOOLS, tool_choice=choice))
    assert [c.function.name for c in one.choices[0].message.tool_calls] == ["ring"]
    none = client.chat.completions.create(**says("hello", tools=TOOLS))
    assert none.choices[0].message.tool_calls is None


def test_the_stream_helper_accumulates_tools(client):
    with client.chat.completions.stream(**says("[sim:tool=open_gate,ring]", tools=TOOLS)) as stream:
        final = stream.get_final_completion()
    assert [c.function.name for c in final.choices[0].message.tool_calls] == ["open_gate", "ring"]


def test_structured_output_parses(client):
    for seed in range(5):
        answer = client.chat.completions.parse(**says(f"log {seed}"), response_format=Log)
        parsed = answer.choices[0].message.parsed
        assert parsed is not None and parsed.keepers


def test_json_object(client):
    answer = client.chat.completions.create(**says("hello"), response_format={"type": "json_object"})
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


def test_refusals_become_the_sdks_errors(client, fleet):
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").chat.completions.create(**says("hello"))
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(**{**says("hello"), "model": "nope"})
    fleet.fault("throttle", times=1, wait_s=3)
    with pytest.raises(openai.RateLimitError) as limited:
        client.chat.completions.create(**says("hello"))
    assert limited.value.response.headers["retry-after-ms"] == "3000"
    fleet.fault("status", times=1, status=503)
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(**says("hello"))


def test_a_prompt_filter_reaches_the_client_with_its_code(client):
    with pytest.raises(openai.BadRequestError) as filtered:
        client.chat.completions.create(**says("[sim:filter]"))
    assert filtered.value.code == "content_filter"


def test_an_error_inside_a_stream_raises(client, fleet):
    fleet.fault("error_event", times=1, after=4)
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(**says("hello"), stream=True))


def test_a_clean_cut_is_silent_for_the_sdk(client, fleet):
    """Which is why a gateway must not pass it on."""
    fleet.fault("drop", times=1)
    chunks = list(client.chat.completions.create(**says("hello"), stream=True))
    assert chunks and not any(c.choices and c.choices[0].finish_reason for c in chunks)


def test_https_with_an_authority_of_its_own(tmp_path: Path):
    made = certificates(tmp_path)
    with FleetThread({"weu": {"tls": True}}, tls=made) as fleet:
        weu = fleet["weu"]
        assert weu.endpoint.startswith("https://localhost:")
        http = httpx2.Client(verify=ssl.create_default_context(cafile=made.ca))
        with openai.AzureOpenAI(
            azure_endpoint=weu.endpoint, api_key=weu.key, api_version="2024-10-21", http_client=http, max_retries=0
        ) as client:
            assert (
                client.chat.completions.create(**says("[sim:echo] over TLS")).choices[0].message.content == "over TLS"
            )
            fleet.fault("cut", times=1, at=10, how="bare")
            with pytest.raises(openai.APIConnectionError):
                client.chat.completions.create(**says("hello"))
    assert certificates(tmp_path) == made  # used again, not made again
    subprocess.run(["openssl", "verify", "-CAfile", made.ca, made.certificate], check=True, capture_output=True)
