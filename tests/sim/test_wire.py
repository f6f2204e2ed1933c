"""What an instance says, read as raw bytes: surfaces, keys, shapes of answers and refusals, headers."""

import json
from collections.abc import Iterator

import pytest

from sluicegate.sim.fleet import FleetThread
from tests.sim.raw import ask, body_of, connect, events, plain, request, rest, split, streamed, unchunk

SAFE = {"filtered": False, "severity": "safe"}


@pytest.fixture(scope="module")
def fleet() -> Iterator[FleetThread]:
    spec = {
        "weu": {
            "cookies": True,
            "deployments": {
                "gpt-4o": {},
                "ptu": {"sku": "ProvisionedManaged", "utilisation": 0.832},
                "o3": {"model": "o3-mini", "version": "2025-01-31", "reasoning": 64, "cached": 4},
                "async": {"async_filter": True},
                "padded": {"obfuscation": True},
            },
        },
        "old": {"v1": False},
        "vllm": {"kind": "openai_compatible", "deployments": {"mistral": {"answers_as": "mistral-small"}}},
    }
    with FleetThread(spec, seed=7) as fleet:
        yield fleet


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def error(answer: bytes) -> dict[str, object]:
    return json.loads(split(answer)[2])["error"]


# ---------------------------------------------------------------- surfaces and keys


def test_each_kind_of_instance_has_its_own_paths(fleet):
    for name, target, wanted in [
        ("weu", "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21", 200),
        ("weu", "/openai/v1/chat/completions", 200),
        ("weu", "/openai/v1/chat/completions?api-version=preview", 200),
        ("weu", "/openai/v1/chat/completions?api-version=2024-10-21", 404),
        ("weu", "/openai/deployments/gpt-4o/chat/completions", 404),
        ("weu", "/openai/deployments/gpt-4o/chat/completions?api-version=soon", 404),
        ("weu", "/openai/deployments/gpt-4o/embeddings?api-version=2024-10-21", 400),
        ("weu", "/openai/deployments/gpt-4o/moderations?api-version=2024-10-21", 404),
        ("weu", "/openai/chat/completions?api-version=2024-10-21", 404),
        ("weu", "/openai/v1/moderations", 404),
        ("weu", "/v1/chat/completions", 404),
        ("old", "/openai/v1/chat/completions", 404),
        ("vllm", "/openai/v1/chat/completions", 404),
    ]:
        body = body_of(model="gpt-4o")
        assert status(ask(fleet[name], body, target=target)[0]) == wanted, (name, target)


def test_azure_takes_its_key_in_either_header_and_nothing_else(fleet):
    weu = fleet["weu"]
    whole = request(weu)
    for shown, wanted in [
        (f"api-key: {weu.key}", 200),
        (f"authorization: Bearer {weu.key}", 200),
        ("api-key: wrong", 401),
        ("authorization: Bearer wrong", 401),
        ("x-nothing: here", 401),
    ]:
        with connect(weu) as s:
            s.sendall(whole.replace(f"api-key: {weu.key}".encode(), shown.encode()))
            answer = rest(s)[0]
        assert status(answer) == wanted, shown
        if wanted == 401:
            assert error(answer)["code"] == "401"
            assert "Access denied due to invalid subscription key" in str(error(answer)["message"])


def test_missing_things_have_azures_shapes(fleet):
    assert error(ask(fleet["weu"], deployment="nope")[0])["code"] == "DeploymentNotFound"
    assert error(ask(fleet["weu"], target="/openai/nothing?api-version=2024-10-21")[0]) == {
        "code": "404", "message": "Resource not found",
    }  # fmt: skip
    body = body_of(model="nope")
    assert error(ask(fleet["weu"], body, target="/openai/v1/chat/completions")[0])["code"] == "DeploymentNotFound"
    answer = ask(fleet["vllm"], body, f"authorization: Bearer {fleet['vllm'].key}", target="/v1/chat/completions")[0]
    assert error(answer)["code"] == "model_not_found"


def test_bad_bodies_are_400_in_the_envelope(fleet):
    for body, word in [
        (b"{", "JSON"),
        (b"[]", "JSON"),
        (b'{"messages":[]}', "messages"),
        (body_of(max_tokens="many"), "max_tokens"),
        (body_of(n=0), "'n'"),
        (body_of(stream_options={"include_usage": True}), "stream_options"),
    ]:
        answer = ask(fleet["weu"], body)[0]
        assert status(answer) == 400
        assert word in str(error(answer)["message"])


def test_an_old_api_version_knows_no_stream_options_and_no_schemas(fleet):
    usage = {"stream": True, "stream_options": {"include_usage": True}}
    assert plain(fleet["weu"], version="2024-06-01", **usage)[0] == 400
    assert streamed(fleet["weu"], version="2024-09-01-preview", stream_options={"include_usage": True})
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    assert plain(fleet["weu"], version="2024-06-01", response_format=form)[0] == 400
    assert plain(fleet["weu"], version="2024-10-21", response_format=form)[0] == 200


def test_a_marked_prompt_is_stopped_by_the_content_filter(fleet):
    code, document, _ = plain(fleet["weu"], "please [sim:filter] this")
    found = document["error"]
    assert (code, found["code"], found["param"], found["status"], found["type"]) == (
        400,
        "content_filter",
        "prompt",
        400,
        None,
    )
    assert found["innererror"]["code"] == "ResponsibleAIPolicyViolation"
    assert found["innererror"]["content_filter_result"]["violence"] == {"filtered": True, "severity": "high"}
    assert plain(fleet["weu"], "[sim:too_long]")[1]["error"]["code"] == "context_length_exceeded"


# ---------------------------------------------------------------- plain answers


def test_a_plain_answer_is_azures(fleet):
    code, document, headers = plain(fleet["weu"], "0123456789")
    assert code == 200
    assert list(document) == sorted(document)
    assert document["model"] == "gpt-4o-2024-11-20" and document["object"] == "chat.completion"
    assert document["prompt_filter_results"][0]["content_filter_results"]["hate"] == SAFE
    choice = document["choices"][0]
    assert choice["finish_reason"] == "stop" and choice["content_filter_results"]["violence"] == SAFE
    assert choice["message"]["role"] == "assistant" and choice["message"]["content"]
    usage = document["usage"]
    assert usage["prompt_tokens"] == 3 + 4 + 3
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert headers["content-type"] == "application/json"
    assert headers["x-ms-region"] == "West Europe"
    assert headers["x-ms-deployment-name"] == "gpt-4o"
    assert len(headers["apim-request-id"]) == len(headers["x-request-id"]) == 36
    assert headers["strict-transport-security"] and headers["azureml-model-session"] and headers["server"]
    assert int(headers["x-ratelimit-remaining-tokens"]) > 0


def test_internal_things_are_there_to_be_stripped(fleet):
    answer = ask(fleet["weu"])[0].lower()
    for name in (b"set-cookie: arraffinity", b"set-cookie: session", b"x-aml-cluster", b"x-served-by", b"server:"):
        assert name in answer


def test_provisioned_deployments_say_their_utilisation_and_no_rate_limits(fleet):
    _, headers, _ = split(ask(fleet["weu"], deployment="ptu")[0])
    assert headers["azure-openai-deployment-utilization"] == "83.2%"
    assert not [name for name in headers if name.startswith("x-ratelimit")]
    assert "azure-openai-deployment-utilization" not in split(ask(fleet["weu"])[0])[1]


def test_a_compatible_server_says_nothing_of_azure(fleet):
    served = fleet["vllm"]
    body = body_of(model="mistral", stream=True)
    line, headers, raw = split(
        ask(served, body, f"authorization: Bearer {served.key}", target="/v1/chat/completions")[0]
    )
    assert line == b"HTTP/1.1 200 OK"
    assert not [name for name in headers if "ms-" in name or "apim" in name]
    said = events(unchunk(raw))
    assert b"filter" not in raw and said[0]["choices"][0]["delta"]["role"] == "assistant"
    assert said[0]["model"] == "mistral-small"


def test_the_client_request_id_comes_back(fleet):
    _, headers, _ = split(ask(fleet["weu"], None, "x-ms-client-request-id: mine-1")[0])
    assert headers["x-ms-client-request-id"] == "mine-1"


def test_max_tokens_is_honoured(fleet):
    for name in ("max_tokens", "max_completion_tokens"):
        document = plain(fleet["weu"], **{name: 5})[1]
        assert document["choices"][0]["finish_reason"] == "length"
        assert document["usage"]["completion_tokens"] == 5


def test_echo_and_token_marks(fleet):
    assert plain(fleet["weu"], "[sim:echo] grüße, 世界")[1]["choices"][0]["message"]["content"] == "grüße, 世界"
    assert plain(fleet["weu"], "[sim:tokens=17]")[1]["usage"]["completion_tokens"] == 17


def test_content_may_be_a_list_of_parts(fleet):
    parts = [{"type": "text", "text": "[sim:echo] look"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    body = json.dumps({"messages": [{"role": "user", "content": parts}]}).encode()
    document = json.loads(split(ask(fleet["weu"], body)[0])[2])
    assert document["choices"][0]["message"]["content"] == "look"
    assert document["usage"]["prompt_tokens"] > 85


def test_reasoning_and_cached_tokens_are_counted(fleet):
    body = body_of("a prompt of some length")
    usage = json.loads(split(ask(fleet["weu"], body, deployment="o3")[0])[2])["usage"]
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 64
    assert usage["prompt_tokens_details"]["cached_tokens"] == 4
    assert usage["completion_tokens"] > 64


def test_the_same_seed_says_the_same_and_another_does_not():
    said = []
    for seed in (1, 1, 2):
        with FleetThread(1, seed=seed, wall=lambda: 1_767_225_600.0) as fleet:
            said.append((ask(fleet["i1"], body_of("[sim:tokens=30]"))[0], fleet["i1"].key))
    assert said[0] == said[1]
    assert said[0] != said[2]


# ---------------------------------------------------------------- streams


def test_a_stream_is_azures_event_for_event(fleet):
    first, role, *content, finish, done = streamed(fleet["weu"], "[sim:echo] häppy days")
    assert first["choices"] == [] and first["id"] == "" and first["model"] == "" and first["created"] == 0
    assert first["prompt_filter_results"][0]["content_filter_results"]["jailbreak"] == {
        "detected": False,
        "filtered": False,
    }
    assert role["choices"][0]["delta"] == {"content": "", "refusal": None, "role": "assistant"}
    assert role["model"] == "gpt-4o-2024-11-20" and role["object"] == "chat.completion.chunk" and role["id"]
    assert "".join(e["choices"][0]["delta"]["content"] for e in content) == "häppy days"
    assert all(e["choices"][0]["content_filter_results"]["hate"] == SAFE for e in content)
    assert finish["choices"][0]["finish_reason"] == "stop" and finish["choices"][0]["delta"] == {}
    assert done == "[DONE]"
    assert not any("usage" in e for e in (first, role, *content, finish))


def test_usage_is_null_in_all_events_but_one_before_the_end(fleet):
    *before, usage, done = streamed(fleet["weu"], stream_options={"include_usage": True})
    assert done == "[DONE]"
    assert all(e["usage"] is None for e in before)
    assert usage["choices"] == [] and usage["usage"]["completion_tokens"] == len(before) - 3
    assert usage["usage"] == {**usage["usage"], "total_tokens": usage["usage"]["prompt_tokens"] + len(before) - 3}


def test_several_choices_come_mixed(fleet):
    said = streamed(fleet["weu"], "[sim:tokens=4]", n=3, stream_options={"include_usage": True})
    indices = [e["choices"][0]["index"] for e in said[:-1] if e["choices"]]
    assert indices == [0, 1, 2, *([0, 1, 2] * 4), 0, 1, 2]
    assert said[-2]["usage"]["completion_tokens"] == 12
    assert len(plain(fleet["weu"], n=3)[1]["choices"]) == 3


def test_the_asynchronous_filter_annotates_between_and_after_the_content(fleet):
    body = body_of("[sim:tokens=30]", stream=True)
    said = events(unchunk(split(ask(fleet["weu"], body, deployment="async")[0])[2]))
    notes = [e for e in said[:-1] if e["choices"] and "content_filter_offsets" in e["choices"][0]]
    assert len(notes) >= 3
    assert all("delta" not in e["choices"][0] for e in notes)
    spans = [e["choices"][0]["content_filter_offsets"] for e in notes]
    assert all(a["end_offset"] == b["start_offset"] for a, b in zip(spans, spans[1:], strict=False))
    content = [e for e in said[1:-1] if e["choices"][0].get("delta", {}).get("content")]
    assert not any("content_filter_results" in e["choices"][0] for e in content)


def test_obfuscation_pads_on_request_or_by_default(fleet):
    def padded(said):
        return [e for e in said[:-1] if "obfuscation" in e]

    assert not padded(streamed(fleet["weu"]))
    assert padded(streamed(fleet["weu"], stream_options={"include_obfuscation": True}))
    body = body_of(stream=True)
    assert padded(events(unchunk(split(ask(fleet["weu"], body, deployment="padded")[0])[2])))


def test_a_filtered_output_ends_with_content_filter(fleet):
    said = streamed(fleet["weu"], "[sim:filter_output]")
    assert said[-2]["choices"][0]["finish_reason"] == "content_filter"
    assert said[-2]["choices"][0]["content_filter_results"]["violence"]["filtered"] is True
    assert plain(fleet["weu"], "[sim:filter_output]")[1]["choices"][0]["finish_reason"] == "content_filter"


def test_the_asynchronous_filter_stops_an_output_after_it_was_shown(fleet):
    body = body_of("[sim:filter_output][sim:tokens=30]", stream=True)
    said = events(unchunk(split(ask(fleet["weu"], body, deployment="async")[0])[2]))
    notes = [e["choices"][0] for e in said[:-1] if e["choices"] and "content_filter_offsets" in e["choices"][0]]
    assert [note["content_filter_results"]["violence"]["filtered"] for note in notes] == [False] * (len(notes) - 1) + [
        True
    ]
    assert said[-2]["choices"][0]["finish_reason"] == "content_filter" and said[-1] == "[DONE]"


# ---------------------------------------------------------------- connections


def test_one_connection_serves_many_requests_even_pipelined(fleet):
    weu = fleet["weu"]
    before = len(fleet.ledger)
    with connect(weu) as s:
        s.sendall(request(weu, body_of("[sim:echo] one"), close=False) + request(weu, body_of("[sim:echo] two")))
        got, how = rest(s)
    assert how == "fin" and got.count(b"HTTP/1.1 200 OK") == 2 and got.index(b'"one"') < got.index(b'"two"')
    one, two = fleet.ledger.entries[before:]
    assert (one.connection, one.nth, two.nth) == (two.connection, 1, 2)


def test_a_chunked_request_and_expect_are_understood(fleet):
    weu = fleet["weu"]
    body = body_of("[sim:echo] chunks")
    head = request(weu, b"", "transfer-encoding: chunked", "expect: 100-continue").replace(
        b"content-length: 0\r\n", b""
    )
    with connect(weu) as s:
        s.sendall(head)
        assert s.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        for i in range(0, len(body), 7):
            piece = body[i : i + 7]
            s.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        s.sendall(b"0\r\n\r\n")
        assert b'"chunks"' in rest(s)[0]
    assert bytes(fleet.ledger[-1].body) == body


def test_what_is_no_http_is_400_and_closed(fleet):
    with connect(fleet["weu"]) as s:
        s.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n")
        got, how = rest(s)
    assert got.startswith(b"HTTP/1.1 400 ") and how == "fin"
