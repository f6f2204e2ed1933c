"""Both forms are one simulator: the virtual one tells a sink what the real client tells it from a socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.core.ports import Call
from sluicegate.core.snapshot import Instance
from sluicegate.core.wheel import Wheel
from sluicegate.sim.clock import VirtualClock
from sluicegate.sim.fleet import Fleet
from sluicegate.sim.net import SimUpstream
from sluicegate.upstream.client import Client
from sluicegate.wire.headers import pairs

SPEC: dict[str, Any] = {"weu": {"deployments": {"gpt-4o": {}, "burst": {"burst": 5, "async_filter": True}}}}
WALL = VirtualClock().wall()


class Sink:
    """Remembers; `over` calls back."""

    def __init__(self, over: Any = None) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.how = ""
        self._over = over

    def head(self, status: int, headers: Any, now: float) -> None:
        assert not self.status and not self.how
        self.status, self.headers = status, sorted((k.lower(), v) for k, v in pairs(headers))

    def data(self, chunk: bytes, now: float) -> None:
        assert self.status and chunk and not self.how
        self.body += chunk

    def end(self, how: str, now: float) -> None:
        assert not self.how
        self.how = how
        if self._over:
            self._over()

    def said(self) -> tuple[Any, ...]:
        return self.status, self.headers, self.body, self.how


def call(port: int, key: str, body: bytes, deployment: str = "gpt-4o") -> Call:
    instance = Instance(1, "weu", "azure_openai", "http", "127.0.0.1", port, "")
    target = f"/openai/deployments/{deployment}/chat/completions?api-version=2024-10-21"
    head = f"POST {target} HTTP/1.1\r\nhost: x\r\napi-key: {key}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    return Call(instance, "POST", head, body, 2.0, False)


def virtually(
    bodies: list[bytes], deployment: str, faults: list[dict[str, Any]], seed: int
) -> tuple[list[Any], list[Any]]:
    """One after the other in virtual time; what the sink heard, and what the ledger holds."""
    clock = VirtualClock()
    upstream = SimUpstream(clock, SPEC, seed=seed)
    heard = []
    for fault in faults:
        upstream.fault(**fault)
    for body in bodies:
        sink = Sink()
        upstream.start(call(80, upstream["weu"].key, body, deployment), sink)
        assert not sink.status and not sink.how, "the sink was told before time went on"
        clock.run_until(clock.now())
        for attempt in list(upstream.live):  # those that hang, as below
            attempt.cancel()
        heard.append(sink.said())
    return heard, [facts(e) for e in upstream.ledger]


def really(
    bodies: list[bytes], deployment: str, faults: list[dict[str, Any]], seed: int
) -> tuple[list[Any], list[Any]]:
    """The same on sockets, by the gateway's own client."""

    async def main() -> tuple[list[Any], list[Any]]:
        heard = []
        loop = asyncio.get_running_loop()
        async with Fleet(SPEC, seed=seed, wall=lambda: WALL) as fleet:
            client = Client(loop, Wheel())
            for fault in faults:
                fleet.fault(**fault)
            for body in bodies:
                over = asyncio.Event()
                sink = Sink(over.set)
                attempt = client.start(call(fleet["weu"].port, fleet["weu"].key, body, deployment), sink)
                if faults and faults[0]["kind"] == "hang":
                    await fleet.until(lambda ledger: len(ledger) and ledger[-1].faults)
                    for _ in range(30):
                        await asyncio.sleep(0)
                    attempt.cancel()
                else:
                    async with asyncio.timeout(10):
                        await over.wait()
                heard.append(sink.said())
            await fleet.until(lambda ledger: not ledger.open())
            client.close()
            return heard, [facts(e) for e in fleet.ledger]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main())


def facts(entry: Any) -> tuple[Any, ...]:
    """What both ledgers must agree on."""
    claim = entry.claim and (entry.claim.prompt, entry.claim.completion)
    return entry.id, entry.deployment, entry.digest, entry.status, entry.sent_body, entry.usage_sent, entry.whole, claim


prompts = st.sampled_from(
    ["hello", "[sim:tokens=3]", "[sim:echo] grüß dich 🌊", "[sim:tool]", "[sim:filter]", "[sim:filter_output]"]
)
TOOLS = [
    {
        "type": "function",
        "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}},
    }
]


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    document: dict[str, Any] = {"messages": [{"role": "user", "content": draw(prompts)}]}
    if draw(st.booleans()):
        document["stream"] = True
        if draw(st.booleans()):
            document["stream_options"] = {"include_usage": True, "include_obfuscation": draw(st.booleans())}
    if draw(st.booleans()):
        document["n"] = draw(st.integers(1, 3))
    if draw(st.booleans()):
        document["max_tokens"] = draw(st.integers(0, 30))
    if draw(st.booleans()):
        document["tools"] = TOOLS
    return json.dumps(document).encode()


@settings(max_examples=40)
@given(
    st.lists(documents(), min_size=1, max_size=3), st.sampled_from(["gpt-4o", "burst", "nope"]), st.integers(0, 2**31)
)
def test_the_same_seed_gives_the_same_bytes_in_both_forms(bodies, deployment, seed):
    assert virtually(bodies, deployment, [], seed) == really(bodies, deployment, [], seed)


PLAIN = b'{"messages":[{"role":"user","content":"[sim:tokens=5]"}]}'
STREAM = PLAIN[:-1] + b',"stream":true,"stream_options":{"include_usage":true}}'
FAULTS: list[dict[str, Any]] = [
    {"kind": "status", "status": 503}, {"kind": "throttle"}, {"kind": "html"}, {"kind": "redirect"},
    {"kind": "content_type"}, {"kind": "two_documents"}, {"kind": "error_event", "after": 2}, {"kind": "drop"},
    {"kind": "usage", "missing": True}, {"kind": "cut"}, {"kind": "cut", "at": 0}, {"kind": "cut", "at": 100},
    {"kind": "cut", "at": 100, "of": "raw"}, {"kind": "cut", "at": "after_finish", "how": "clean"},
    {"kind": "cut", "at": "before_done"}, {"kind": "reset"}, {"kind": "reset", "at": 300}, {"kind": "length", "by": 3},
    {"kind": "length", "by": -3}, {"kind": "both_framings"}, {"kind": "unframed"}, {"kind": "close"},
    {"kind": "interim", "count": 3}, {"kind": "interim", "count": 100}, {"kind": "surplus"}, {"kind": "split", "size": 9},
    {"kind": "split", "at": [3, 500]}, {"kind": "split"}, {"kind": "hang"}, {"kind": "hang", "at": 700},
    {"kind": "headers", "headers": {"x-more": "1"}}, {"kind": "drift"}, {"kind": "comments", "count": 3},
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: "-".join(str(v) for v in f.values()))
@pytest.mark.parametrize("body", [PLAIN, STREAM], ids=["plain", "stream"])
def test_a_fault_is_the_same_in_both_forms(fault, body):
    virtual, real = virtually([body], "gpt-4o", [fault], 5), really([body], "gpt-4o", [fault], 5)
    assert virtual[0] == real[0]
    if fault["kind"] not in ("interim", "length"):  # there the client leaves before everything was said
        assert virtual[1] == real[1]


@pytest.mark.parametrize("body", [PLAIN, STREAM], ids=["plain", "stream"])
def test_every_cut_is_the_same_in_both_forms(body):
    size = len(virtually([body], "gpt-4o", [], 5)[0][0][2]) + 900
    for at in range(0, size, 13):
        for kind in ("cut", "reset"):
            fault = {"kind": kind, "at": at, "of": "raw"}
            assert virtually([body], "gpt-4o", [fault], 5) == really([body], "gpt-4o", [fault], 5), fault
