"""The SDKs at a gateway behind something: a prefix, a front door's header, a key in the URL, a client certificate."""

from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from sluicegate.core.settings import Front, Listen, TlsFiles
from sluicegate.core.snapshot import ConsumerEntry, Directory, Match, Snapshot
from tests.abuse.outside import Upstream
from tests.certificates import Authority
from tests.gateway import KEY, SECRET, GatewayThread, instance, snapshot

DOOR = "9a3f2c1e-0000-4000-8000-5b1d7e000001"
HI: Any = [{"role": "user", "content": "hi"}]


def fronted(upstream: Upstream, front: Front, listen: Listen | None = None) -> Snapshot:
    plain = snapshot([instance(1, upstream.port)], listen)
    return replace(plain, gateway=replace(plain.gateway, front=front))


def test_the_sdks_call_below_a_prefix_through_a_door():
    door = {"X-Azure-FDID": DOOR}
    with (
        Upstream() as upstream,
        GatewayThread(fronted(upstream, Front(doors=(DOOR,), base_paths=("/llm",)))) as gateway,
    ):
        base = f"{gateway.url}/llm"
        with openai.OpenAI(api_key=KEY, base_url=f"{base}/v1", default_headers=door) as client:
            assert client.chat.completions.create(model="chat", messages=HI).choices[0].message.content == "hello"
            assert [model.id for model in client.models.list()] == ["chat"]
        azure = openai.AzureOpenAI(api_key=KEY, azure_endpoint=base, api_version="2024-10-21", default_headers=door)
        with azure as client:
            assert client.chat.completions.create(model="chat", messages=HI).choices[0].message.content == "hello"
        with openai.OpenAI(api_key=KEY, base_url=f"{base}/v1", max_retries=2) as client:
            with pytest.raises(openai.PermissionDeniedError) as refused:
                client.chat.completions.create(model="chat", messages=HI)
            assert refused.value.body and "front.door" in str(refused.value.body)
        assert len(upstream.requests) == 2


def test_an_sdk_that_guesses_waits_as_it_is_told():
    with Upstream() as upstream, GatewayThread(fronted(upstream, Front(failures=2))) as gateway:
        with openai.OpenAI(api_key="nobody", base_url=f"{gateway.url}/v1", max_retries=0) as client:
            said = []
            for _ in range(3):
                with pytest.raises(openai.APIStatusError) as refused:
                    client.chat.completions.create(model="chat", messages=HI)
                said.append(type(refused.value))
            assert said == [openai.AuthenticationError, openai.AuthenticationError, openai.RateLimitError]
            assert 0 < int(refused.value.response.headers["retry-after"]) <= 60


def test_the_sdk_with_a_certificate_and_no_key(tmp_path: Path):
    pki = Authority(tmp_path)
    server, shop = pki.server(), pki.leaf("shop")
    match = Match("", certificate=(("thumbprint", (shop.thumbprint,)),))
    people = Directory((SECRET,), (ConsumerEntry(1, "shop", "default", ("chat",), (), match=match),))
    tls = TlsFiles(str(server.file), str(server.key_file), str(pki.file))
    context = ssl.create_default_context(cafile=str(pki.file))
    context.load_cert_chain(shop.file, shop.key_file)

    def without_key(request: httpx2.Request) -> None:
        del request.headers["authorization"]

    http = httpx2.Client(verify=context, event_hooks={"request": [without_key]})
    with Upstream() as upstream:
        spec = fronted(upstream, Front(certificates=True), Listen(port=0, tls=tls))
        with GatewayThread(spec, people) as gateway:
            with openai.OpenAI(api_key="unused", base_url=f"{gateway.url}/v1", http_client=http) as client:
                for _ in range(3):
                    assert (
                        client.chat.completions.create(model="chat", messages=HI).choices[0].message.content == "hello"
                    )
        assert len(upstream.requests) == 3
