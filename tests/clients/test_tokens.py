"""Tokens instead of keys, by the SDKs as they are: none of them knows that there is a gateway."""

from collections.abc import Iterator
from dataclasses import replace

import openai
import pytest

from tests.abuse.outside import Upstream
from tests.abuse.test_tokens import AUTHORITY, ENTRA, LOST, OIDC, Ground, people
from tests.gateway import GatewayThread, instance, snapshot

ASK = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with Upstream() as upstream:
        with GatewayThread(
            replace(snapshot([instance(1, upstream.port)]), issuers=(ENTRA, OIDC, LOST)), people()
        ) as gateway:
            yield Ground(gateway, upstream)


def test_a_token_is_a_key_for_openais_client(ground: Ground):
    with openai.OpenAI(base_url=f"{ground.gateway.url}/v1", api_key=ground.oidc.token()) as client:
        assert client.chat.completions.create(**ASK).choices[0].message.content == "hello"
        assert [model.id for model in client.models.list()] == ["chat"]


def test_azures_client_asks_its_provider_of_tokens_for_each_request(ground: Ground):
    asked = []

    def token() -> str:
        asked.append(1)
        return ground.entra.entra(AUTHORITY, jti=str(len(asked)))

    with openai.AzureOpenAI(
        azure_endpoint=ground.gateway.url, api_version="2024-10-21", azure_ad_token_provider=token
    ) as client:
        for _ in range(3):
            assert client.chat.completions.create(**ASK).choices[0].message.content == "hello"
    assert len(asked) == 3


def test_a_token_that_is_refused_is_an_authentication_error_and_not_tried_again(ground: Ground):
    before = len(ground.gateway.journal.refusals)
    with openai.OpenAI(base_url=f"{ground.gateway.url}/v1", api_key=ground.oidc.token(exp=1), max_retries=3) as client:
        with pytest.raises(openai.AuthenticationError) as said:
            client.chat.completions.create(**ASK)
    assert said.value.response.headers["x-sluicegate-reason"] == "credential.token"
    assert len(ground.gateway.journal.refusals) == before + 1
    assert ground.last.reason == "credential.token.expired"


def test_a_token_that_cannot_be_checked_yet_is_tried_again(ground: Ground):
    token = ground.oidc.token(iss="https://lost.example")
    before = len(ground.gateway.journal.refusals)
    with openai.OpenAI(base_url=f"{ground.gateway.url}/v1", api_key=token, max_retries=1) as client:
        client._calculate_retry_timeout = lambda *args, **more: 0.01  # the gateway says five seconds
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(**ASK)
    assert len(ground.gateway.journal.refusals) == before + 2
