"""A streamed answer of any operation, cut at every byte: never does a client take a part for the whole.

The answers are the golden ones, so that a row that streams is here as soon as it has golden files. Real edge, real
driver; the upstream is the test.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sluicegate.apis import APIS, Paths
from sluicegate.core.caller import digest
from sluicegate.core.events import Facts
from sluicegate.core.ports import Terminal
from sluicegate.core.snapshot import ConsumerEntry, Directory
from sluicegate.wire.multipart import Form, boundary_of, is_form
from tests.edge.line import House
from tests.gateway import KEY, SECRET, instance, snapshot
from tests.golden.test_golden import CASES, http

PATHS = Paths(APIS.values())
HOWS = ("done", "eof", "cut", "reset")


def _whole_streams() -> dict[str, Path]:
    """Of each operation and provider one golden stream that ends well, the shortest."""
    found: dict[str, Path] = {}
    for case in CASES:
        said = json.loads((case / "facts.json").read_text())
        if said["facts"]["stream"] and said.get("end") == "done" and not said.get("error"):
            key = "/".join(case.parts[-3:-1])
            size = (case / "upstream_response").stat().st_size
            if key not in found or size < (found[key] / "upstream_response").stat().st_size:
                found[key] = case
    return found


STREAMS = _whole_streams()


class Cutting:
    """A house that serves one golden case."""

    def __init__(self, case: Path) -> None:
        line, headers, body = http((case / "request").read_bytes())
        method, target, _ = line.split(b" ")
        match = PATHS.match(method.decode(), *target.partition(b"?")[::2])
        assert not isinstance(match, str)
        self.row = match.api
        self.facts = _facts(self.row, dict(headers)[b"Content-Type"], body)
        name = match.path_model or self.facts.model
        assert name
        base = snapshot([instance(1, 80, provider=case.parts[-2])])
        model = replace(base.models[0], name=name, operations=tuple(APIS))
        self.house = House(snap=replace(base, models=(model,)))
        self.house.upstream.at_once = None
        entry = ConsumerEntry(1, "app", "default", ("*",), (digest(KEY.encode(), SECRET),))
        self.house.world.adopt(self.house.snapshot, Directory((SECRET,), (entry,)))
        self.house.bound.adopted()
        lines = [b"%b: %b" % (n, v.replace(b"client-key", KEY.encode())) for n, v in headers]
        self.request = b"\r\n".join([line, *lines, b"Content-Length: %d" % len(body), b"", b""]) + body
        _, self.headers, self.answer = http((case / "upstream_response").read_bytes())

    def outcome(self, size: int, how: str) -> tuple[int, bytes, bool]:
        """Status and body that a client gets of an answer that ends so after so many bytes; whether it was reset."""
        line = self.house.line().send(self.request)
        attempt = self.house.upstream.calls[-1]
        attempt.begin(200, self.headers)
        if size:
            attempt.piece(self.answer[:size])
        attempt.end(how)
        line.settle()
        head, _, rest = bytes(line.out).partition(b"\r\n\r\n")
        reset = line.transport.aborted
        status = int(head.split(b" ", 2)[1]) if head else 0
        whole = _unchunked(rest) if b"transfer-encoding: chunked" in head.lower() else rest
        line.connection.connection_lost(None)
        self.house.upstream.calls.clear()
        return status, whole, reset

    def said(self, size: int) -> bool:
        """Everything was said by then, if the message ends there as HTTP messages do."""
        asked = self.facts.stream and not self.facts.asked_usage
        meter = self.row.meter(self.facts, asked)
        meter.feed(self.answer[:size], 0.0)
        return meter.end() == Terminal.DONE


def _facts(row: Any, kind: bytes, body: bytes) -> Facts:
    if not is_form(kind):
        found: Facts = row.facts(row.fields(body), body)
        return found
    form = Form(boundary_of(kind), row.decides)
    form.feed(body)
    form.end()
    told: Facts = row.form(form.fields, form.names, len(body))
    return told


def _unchunked(raw: bytes) -> bytes:
    out = b""
    while raw:
        size, _, raw = raw.partition(b"\r\n")
        length = int(size or b"0", 16)
        out += raw[:length]
        raw = raw[length + 2 :]
    return out


def test_every_operation_that_streams_is_here():
    streaming = {case.parts[-3] for case in CASES if '"stream": true' in (case / "facts.json").read_text()}
    assert {key.split("/")[0] for key in STREAMS} == streaming >= {"chat_completions", "completions"}


@pytest.mark.parametrize("key", STREAMS)
def test_abuse_no_cut_of_a_stream_looks_like_its_end(key: str):
    cutting = Cutting(STREAMS[key])
    size = len(cutting.answer)
    status, whole, reset = cutting.outcome(size, "done")
    assert status == 200 and whole and not reset
    seen = {"refused": 0, "told": 0, "reset": 0, "whole": 0, "said": 0}
    for at in range(size):
        for how in HOWS:
            status, body, reset = cutting.outcome(at, how)
            if status != 200:
                assert status >= 500 and not reset
                seen["refused"] += 1
            elif reset:
                seen["reset"] += 1
            elif b'"error"' in body:
                assert whole.startswith(body[: body.rindex(b"data: {")].removesuffix(b"event: error\n"))
                seen["told"] += 1
            elif body == whole:
                seen["whole"] += 1
            else:
                assert how in ("done", "eof") and cutting.said(at) and whole.startswith(body), (at, how, body[-200:])
                seen["said"] += 1
    assert seen["refused"] and seen["told"]
    print(key, size, seen)
