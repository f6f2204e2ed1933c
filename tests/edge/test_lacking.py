"""A server that lacks an operation says so to whoever asked for it, and stays in service for everybody else."""

from __future__ import annotations

import json

import pytest

from tests.edge.test_only_input import ask, house

LACKING = {
    "FastAPI": (404, b'{"detail":"Not Found"}'),
    "OpenAI": (404, b'{"error":{"message":"Invalid URL (POST /v1/x)","type":"invalid_request_error","param":null,"code":null}}'),
    "llama.cpp": (404, b'{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}'),
    "llama.cpp without the switch": (501, b'{"error":{"code":501,"message":"This server does not support embeddings.",'
                                          b'"type":"not_supported_error"}}'),
    "a router": (405, b'{"detail":"Method Not Allowed"}'),
    "Go": (404, b"404 page not found"),
    "nothing": (404, b""),
}  # fmt: skip
GONE = {
    "OpenAI": b'{"error":{"message":"The model `m` does not exist","type":"invalid_request_error","code":"model_not_found"}}',
    "vLLM": b'{"error":{"message":"The model `m` does not exist.","type":"NotFoundError","code":404}}',
    "Ollama": b'{"error":{"message":"model \\"m\\" not found, try pulling it first","type":"api_error"}}',
    "Azure": b'{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}',
}


@pytest.mark.parametrize("server", LACKING)
@pytest.mark.parametrize("operation", ["embeddings", "completions", "moderations"])
def test_who_asks_for_what_a_server_lacks_takes_it_from_nobody(server: str, operation: str):
    status, body = LACKING[server]
    made = house()
    for _ in range(20):
        line = ask(made, operation, input="x", prompt="x")
        made.upstream.calls[-1].answer(body, status)
        got = line.answers()[0]
        assert (got.status == status and "error" in json.loads(got.body)) or b"detail" in got.body
    assert len(made.upstream.calls) == 20
    ask(made, "chat/completions", messages=[])
    assert len(made.upstream.calls) == 21, "the deployment is in service"


@pytest.mark.parametrize("server", GONE)
@pytest.mark.parametrize("operation", ["embeddings", "chat/completions"])
def test_a_deployment_that_is_not_there_is_left_alone_whatever_was_asked_of_it(server: str, operation: str):
    made = house()
    line = ask(made, operation, input="x", messages=[])
    made.upstream.calls[-1].answer(GONE[server], 404)
    assert line.answers()[0].status == 503
    ask(made, "chat/completions", messages=[])
    assert len(made.upstream.calls) == 1


@pytest.mark.parametrize("server", LACKING)
def test_what_every_server_has_is_missing_with_its_deployment(server: str):
    status, body = LACKING[server]
    made = house()
    line = ask(made, "chat/completions", messages=[])
    made.upstream.calls[-1].answer(body, status)
    assert line.answers()[0].status == 503
