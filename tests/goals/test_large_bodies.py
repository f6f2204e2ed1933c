"""K7: bodies of 100 MB, in bounded memory and bit by bit, in one worker over real sockets.

What is measured is the growth of the worker's resident memory at its highest (VmHWM). A body that passes through costs
what waits in buffers; one that is held lives in a file.
"""

import base64
import threading
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest

from tests.edge.forms import BOUNDARY, END, TEXT, field, file
from tests.gateway import KEY
from tests.goals.large import BLOCK, MB, Peak, Upstream, ask, digest, memory_kb, noise, worker_of
from tests.goals.processes import gateway

FORM = "multipart/form-data; boundary=" + BOUNDARY.decode()
HEARD = "/openai/deployments/chat/audio/transcriptions?api-version=2025-04-01-preview"
OPERATIONS = "[chat_completions, audio_transcriptions, audio_speech, images_generations]"
PASSES_MB = 12
"""What may be held of one body that passes: a window of 1 MiB, buffers of both sides, and what Python needs besides."""

CHAT = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"x"}}],"usage":{"prompt_tokens":1,'
CHAT += b'"completion_tokens":1,"total_tokens":2}}'


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Upstream, int, int]]:
    """An upstream, the gateway's port and its worker."""
    upstream = Upstream()
    upstream.answers = {
        "/audio/transcriptions": ("application/json", TEXT, 0, b""),
        "/chat/completions": ("application/json", CHAT, 0, b""),
        "/audio/speech": ("audio/mpeg", b"", 100 * MB, b""),
        "/images/generations": (
            "application/json", b'{"data":[{"b64_json":"', 0, b'"}],"usage":{"input_tokens":1,"output_tokens":2}}',
        ),
    }  # fmt: skip
    origin = f"http://127.0.0.1:{upstream.port}"
    with gateway(tmp_path_factory.mktemp("gateway"), [origin], model=f"operations: {OPERATIONS}") as (process, port):
        worker = worker_of(process)
        small = field(b"model", b"chat") + file(b"x" * 100_000) + END
        assert ask(port, HEARD, KEY, FORM, len(small), [small])[0] == 200  # warm
        yield upstream, port, worker
    upstream.close()


def form(size: int, file_first: bool) -> tuple[int, list[Any]]:
    """A form with so many bytes in its file: how large it is, and its pieces."""
    whole = file(b"@")
    head, _, tail = whole.partition(b"@")
    model = field(b"model", b"chat")
    before, after = (b"", model) if file_first else (model, b"")
    pieces = [before + head, *noise(size), tail + after + END]
    return sum(map(len, pieces)), pieces


@pytest.mark.parametrize("way", ["path names the model", "field before the file", "field behind the file"])
def test_row_K7_an_upload_of_100_MB_costs_a_few(here: tuple[Upstream, int, int], way: str):
    upstream, port, worker = here
    path = HEARD if way.startswith("path") else "/v1/audio/transcriptions"
    size, pieces = form(100 * MB, way == "field behind the file")
    with Peak(worker) as peak:
        status, _, answer = ask(port, path, KEY, FORM, size, pieces)
    assert (status, answer) == (200, sha256(TEXT).hexdigest())
    renamed = (
        pieces if way.startswith("path") else [p.replace(b"\r\n\r\nchat\r\n", b"\r\n\r\ngpt-4o-1\r\n") for p in pieces]
    )
    assert upstream.digests[-1] == digest(renamed)
    print(f"\nK7 upload of 100 MB, {way}: {peak.kb / 1024:.1f} MB at most")
    assert peak.kb <= PASSES_MB * 1024


def test_row_K7_eight_uploads_at_once_to_an_upstream_that_stands_still(here: tuple[Upstream, int, int]):
    upstream, port, worker = here
    size, pieces = form(40 * MB, False)
    done: list[int] = []
    threads = [
        threading.Thread(target=lambda: done.append(ask(port, HEARD, KEY, FORM, size, pieces)[0])) for _ in range(8)
    ]
    upstream.go.clear()
    taken = upstream.taken
    with Peak(worker) as peak:
        for thread in threads:
            thread.start()
        before = -1
        while (now := memory_kb(worker, "VmRSS")) != before:  # until nothing moves any more
            before = now
            threading.Event().wait(0.3)
        assert not done and upstream.taken - taken < 8 * MB
    upstream.go.set()
    for thread in threads:
        thread.join(60)
    assert done == [200] * 8 and len(set(upstream.digests[-8:])) == 1
    print(f"\nK7 eight uploads, upstream still: {peak.kb / 1024:.1f} MB at most")
    assert peak.kb <= 8 * 4 * 1024


def test_row_K7_audio_of_100_MB_arrives_bit_by_bit(here: tuple[Upstream, int, int]):
    _, port, worker = here
    body = b'{"model":"chat","input":"hello","voice":"alloy"}'
    with Peak(worker) as peak:
        status, size, summed = ask(port, "/v1/audio/speech", KEY, "application/json", len(body), [body])
    assert (status, size, summed) == (200, 100 * MB, digest(noise(100 * MB)))
    print(f"\nK7 audio of 100 MB: {peak.kb / 1024:.1f} MB at most")
    assert peak.kb <= PASSES_MB * 1024


def test_row_K7_an_image_of_20_MB_arrives_bit_by_bit(here: tuple[Upstream, int, int]):
    upstream, port, worker = here
    kind, begin, _, end = upstream.answers["/images/generations"]
    image = base64.b64encode(BLOCK * 15)
    upstream.answers["/images/generations"] = (kind, begin + image, 0, end)
    body = b'{"model":"chat","prompt":"a ship"}'
    with Peak(worker) as peak:
        status, _, summed = ask(port, "/v1/images/generations", KEY, "application/json", len(body), [body])
    assert (status, summed) == (200, sha256(begin + image + end).hexdigest())
    print(f"\nK7 image of 20 MB: {peak.kb / 1024:.1f} MB at most")
    assert peak.kb <= PASSES_MB * 1024


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/openai/deployments/chat/chat/completions?api-version=2024-10-21"]
)
def test_row_K7_chats_with_an_image_of_20_MB(here: tuple[Upstream, int, int], path: str):
    upstream, port, worker = here
    image = base64.b64encode(BLOCK * 15)
    body = (
        b'{"model":"chat","max_tokens":5,"messages":[{"role":"user","content":[{"type":"text","text":"what"},'
        b'{"type":"image_url","image_url":{"url":"data:image/png;base64,' + image + b'"}}]}]}'
    )
    done: list[int] = []
    threads = [
        threading.Thread(target=lambda: done.append(ask(port, path, KEY, "application/json", len(body), [body])[0]))
        for _ in range(4)
    ]
    with Peak(worker) as peak:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    sent = body if path.startswith("/openai/deployments") else body.replace(b'"chat"', b'"gpt-4o-1"', 1)
    assert done == [200] * 4 and set(upstream.digests[-4:]) == {sha256(sent).hexdigest()}
    print(f"\nK7 four chats with an image of 20 MB at once, {path}: {peak.kb / 1024:.1f} MB at most")
    assert peak.kb <= (20 + PASSES_MB) * 1024  # one of them is looked through at a time
