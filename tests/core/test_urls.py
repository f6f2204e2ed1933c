"""Abuse 29: addresses in bodies that an upstream would fetch. None of a private place passes in any spelling, where
that is asked for; prose that talks of such a place is no address."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.urls import is_public, private
from sluicegate.sim.stage import Stage
from sluicegate.wire.fields import top_level

PRIVATE = (
    "http://169.254.169.254/metadata/instance", "http://168.63.129.16/", "http://127.0.0.1:8000/", "https://localhost/x",
    "http://10.0.0.1", "http://192.168.1.1/", "http://172.16.0.9", "http://100.64.0.1/", "http://0.0.0.0/", "http://[::1]/",
    "http://[fe80::1%25eth0]/", "http://[fd00:ec2::254]/", "http://[::ffff:10.0.0.1]/", "http://[64:ff9b::a00:1]/",
    "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://127.1/", "http://0x7f.1/", "http://127.0.0.1./",
    "http://127.0.0.1%2f/", "HTTP://LOCALHOST/", "http://localhost./", "http://app.localhost/", "http://redis:6379/",
    "http://metadata.google.internal/", "http://printer.local/", "//10.0.0.1/x", "http:10.0.0.1", "http:/10.0.0.1",
    "http:\\\\10.0.0.1\\x", "http://user:pw@10.0.0.1/", "http://public.example@10.0.0.1/", "http://public.example\\@10.0.0.1/",
    "http://10.0.0.1\\@public.example/", "http://public.example#@10.0.0.1/", "http://10.0.0.1#@public.example/",
    "http://public.example?@10.0.0.1/", "\thttp://10.0.0.1", "ht\ntp://10.0.0.1", "http://１２７.0.0.1/", "http://⑩.0.0.1/",
    "http://%31%30.0.0.1/", "ws://10.0.0.1", "file:///etc/passwd", "ftp://public.example/", "gopher://public.example:70/_",
    "http://[::]/", "http://224.0.0.1/", "http://[2002:a00:1::]/", "http://[::10.0.0.1]/", "http://[nonsense]/",
    "http://127.0.0.1\u00ad/", "http://\u200b169.254.169.254/", "http://127\u3002" + "0.0.1/", "http://10.0\uff61" + "0.1",
    "http://127.0.0.1\ufe0f/", "http://loc\u00adal.local\u200dhost/", "http://127.0.0.1%00.contoso.example/",
    "http://127.0.0.1%20.contoso.example/", "http://127.0.0.1%C2%AD/", "http://kubernetes.default.svc/",
    "http://192.0.0.192/opc/v1/", "http://0127.0.0.1/", "http://010.0.0.1/",
)  # fmt: skip
PUBLIC = (
    "https://contoso.example/a.png", "http://8.8.8.8/", "https://[2606:4700::1111]/", "data:image/png;base64,aGVsbG8=",
    "gpt-4o", "", "https://xn--bcher-kva.example/", "https://a.blob.core.windows.net/c/x?sig=1", "note: 10.0.0.1 is mine",
    "10.0.0.1", "mailto:me@localhost", "https://b\u00fccher.example/", "https://\u4f8b\u3048.\u30c6\u30b9\u30c8/",
)  # fmt: skip


@pytest.mark.parametrize("url", PRIVATE)
def test_abuse_29_a_private_place_is_none_of_the_public_in_any_spelling(url: str):
    assert not is_public(url)


@pytest.mark.parametrize("url", PUBLIC)
def test_abuse_29_what_is_public_or_no_address_passes(url: str):
    assert is_public(url)


BODIES: tuple[Any, ...] = (
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "URL"}}]}]},
    {"messages": [{"role": "user", "content": [{"type": "input_image", "image_url": "URL"}]}]},
    {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "URL"}]}]},
    {"data_sources": [{"type": "azure_search", "parameters": {"endpoint": "URL", "index_name": "x"}}]},
    {"tools": [{"type": "mcp", "server_label": "x", "server_url": "URL"}]},
    {"mcp_servers": [{"type": "url", "url": "URL", "name": "x"}]},
    {"image_urls": ["https://contoso.example/", "URL"]},
    {"messages": [{"content": [{"type": "image", "source": {"type": "url", "url": "URL"}}]}]},
)


@pytest.mark.parametrize("body", BODIES, ids=lambda b: next(iter(b)))
def test_abuse_29_every_place_that_an_upstream_would_fetch_from_is_looked_at(body: Any):
    text = json.dumps(body)
    assert private(top_level(text.replace("URL", "http://169.254.169.254/").encode())) == next(iter(body))
    assert not private(top_level(text.replace("URL", "https://contoso.example/").encode()))


@pytest.mark.parametrize(
    "raw",
    [
        b'{"image_url":{"url":"\\u0068ttp:\\/\\/169.254.169.254\\/"}}', b'{"x":{"\\u0075rl":"http://10.0.0.1"}}',
        b'{"x":{"url" \n\t: \n "http://10.0.0.1"}}', b'{"x":{"url":"https://a.example","url":"http://10.0.0.1"}}',
        b'{"x":{"a\\"b":1,"url":"http://10.0.0.1"}}', b'{"x":{"URL":"http://10.0.0.1"}}',
        b'{"x":{"url":["https://a.example",["http://10.0.0.1"]]}}',
        b'{"url":"http:\\u002f\\u002f10.0.0.1"}', b'{"x":{"url":"\\nhttp://10.0.0.1"}}',
    ],
)  # fmt: skip
def test_abuse_29_no_spelling_of_json_hides_one(raw: bytes):
    assert private(top_level(raw))


def test_abuse_29_who_talks_of_a_private_place_names_none():
    body = {"messages": [{"role": "user", "content": 'why does "http://localhost:8080" not answer? {"url": "no"}'}]}
    assert not private(top_level(json.dumps(body).encode()))
    assert not private(top_level(json.dumps({"input": "http://10.0.0.1", "model": "http://10.0.0.1"}).encode()))


@given(st.text(max_size=60), st.text(max_size=60))
def test_abuse_29_no_text_breaks_the_look(key: str, value: str):
    private({"x": json.dumps({key: value, "url": value}).encode("utf-8", "replace")})
    is_public(value)


def test_abuse_29_a_long_body_is_looked_at_in_a_moment():
    """One string of 8 MB, and one with a million escapes: both linear."""
    body = b'{"url":"data:image/png;base64,' + b"A" * 8_000_000 + b'","y":"' + b'\\"' * 1_000_000 + b'"}'
    assert not private({"x": body})


def test_abuse_29_the_policy_is_a_matter_of_the_model_and_reaches_nobody_upstream():
    given = {"deployments": {"d": {}}}
    stage = Stage({"a": given, "b": given})
    first, *_ = stage.snapshot.models
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}]}
    assert stage.ask(messages=[image]).drive is not None
    stage.settle()
    assert len(stage.ledger) == 1, "by default it is forwarded as it is: the gateway fetches nothing"
    strict = replace(first, name="strict", number=2, public_urls=True, deployments=first.deployments[1:])
    lax = replace(first, deployments=first.deployments[:1], fallback=("strict",))
    models = (lax, strict)
    entry = replace(stage.directory.consumers[0], models=("chat", "strict"))
    stage.adopt(replace(stage.snapshot, models=models), replace(stage.directory, consumers=(entry,)))
    before = len(stage.ledger)
    refused = stage.ask(model="strict", messages=[image])
    stage.settle()
    assert (refused.status, refused.header("x-sluicegate-reason")) == (400, "request.private_url")
    assert len(stage.ledger) == before and not stage.world.in_flight
    stage.upstream.fault("status", instance="a", status=500)
    stage.ask(model="chat", messages=[image])
    stage.settle()
    assert not stage.ledger.of("b")[1:] and not stage.bugs, "a fallback has rules of its own"
    stage.ask(model="chat")
    stage.settle()
    assert stage.ledger.of("b"), "else it is used"
