"""Canaries: words that stand where secrets and prompts stand, through a whole gateway and everything that can go wrong.
Afterwards they are in nothing that it wrote, said or showed: not in files, not in memory that others may see."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from sluicegate.core.caller import digest
from sluicegate.core.operators import operator_digest
from sluicegate.core.secret import Secret
from sluicegate.main import Live
from sluicegate.spec.secret import ADMIN_PREFIX, Digest, write_digest
from tests.keeper.running import ENV, ROOT, Gateway, until

KEY = "sgk_0badcafe_canary-of-a-consumers-key"
UPSTREAM = "canary-of-an-upstream-key-0000001"
OPERATOR = "sga_00000001_canary-of-an-operators-key"
PROMPT = "canary-of-a-prompt"
ANSWER = "canary-of-an-answer"
HEADER = "canary-of-a-header"
WRONG = "canary-of-a-wrong-key"
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJjYW5hcnktb2YtYS10b2tlbiJ9.Y2FuYXJ5LW9mLWEtc2lnbmF0dXJl"
QUERY = "canary-of-a-query"
BUG = f"{PROMPT} quoted by canary-of-a-bug-in-a-worker"
CANARIES = (KEY, UPSTREAM, OPERATOR, PROMPT, ANSWER, HEADER, WRONG, TOKEN, QUERY, BUG, ENV["SECRET"])

CONFIG = """\
version: 1
gateway:
  data: {folder}/data
  workers: 2
  drain: 2s
  core_dumps: {dumps}
  secrets: ["${{env:SECRET}}"]
  listen: {{address: '127.0.0.1:0'}}
  admin:
    address: '127.0.0.1:0'
    keys: {{ops: {{role: operator, key: "{operator}"}}}}
telemetry: {{access_log: {folder}/access.log}}
defaults: {{end_user: "field:user"}}
instances:
  weu: {{endpoint: '{endpoint}', auth: {{key: '${{env:UPSTREAM_KEY}}'}}, deployments: {{{deployments}}}}}
  bug: {{provider: foundry, endpoint: '{endpoint}', auth: {{key: '${{env:UPSTREAM_KEY}}'}}, deployments: {{x: {{model: gpt-4o-mini, version: 2024-07-18}}}}}}
models:
{models}  broken: {{use: gpt-4o-mini@2024-07-18}}
consumers:
  my-app: {{key: "{key}", models: all, diagnostics: true, limits: [10k requests/minute]}}
"""

BROKEN = """\
import os, sys
if "sluicegate.worker" in sys.orig_argv:
    from sluicegate.providers import PROVIDERS

    class Broken:
        def plan(self, *_):
            raise ValueError(os.environ["BUG_SAYS"])

    PROVIDERS["foundry"] = Broken()
"""
"""A bug in every worker: whoever asks the model `broken` meets it, and it quotes what it was given."""


class Upstream(BaseHTTPRequestHandler):
    """Answers as the prompt says, and repeats what it was shown wherever it can."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        shown = self.headers["api-key"]
        said = json.loads(body)["messages"][0]["content"]
        echo = f"said {said} {ANSWER}" if "422" in said else f"key {shown} said {said} {ANSWER}"
        error = json.dumps({"error": {"code": "x" if "422" in said else shown, "message": echo}}).encode()
        if "fine" in said:
            choice = {"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
            self.answer(200, json.dumps({"id": "c", "choices": [choice], "usage": usage}).encode())
        elif "stream" in said:
            event = {"id": "c", "choices": [{"index": 0, "delta": {"content": ANSWER}}]}
            self.answer(200, b"data: " + json.dumps(event).encode() + b"\n\n", "text/event-stream", cut=True)
        elif "html" in said:
            self.answer(200, f"<html>{echo}".encode(), "text/html")
        elif "malformed" in said:
            self.answer(200, f'{{"{echo}'.encode())
        elif "cut" in said:
            self.answer(200, error[:20], cut=True)
        else:
            self.answer(int(said.split()[-1]), error)

    def answer(self, status: int, body: bytes, kind: str = "application/json", cut: bool = False) -> None:
        self.send_response(status, "because " + UPSTREAM)
        for name, value in (("content-type", kind), ("x-echo", UPSTREAM), ("set-cookie", UPSTREAM)):
            self.send_header(name, value)
        self.send_header("content-length", str(len(body) + 100 * cut))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = cut

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # of workers that are killed
            super().handle()

    def log_message(self, *_: Any) -> None:
        """Nowhere."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def started(folder: Path, endpoint: str, dumps: str = "false", prefix: tuple[str, ...] = ()) -> Gateway:
    """Each way to fail has a deployment of its own: one that failed is left alone for a while."""
    deployments = ", ".join(f"{name}: {{model: gpt-4o, version: 2024-11-20}}" for name in ("chat", *FAILS))
    models = "".join(f"  {name}: {{use: [weu/{name}]}}\n" for name in ("chat", *FAILS))
    secret = Secret(ENV["SECRET"])
    sealed = write_digest(Digest("00000001", operator_digest(OPERATOR.encode(), secret)), ADMIN_PREFIX)
    key = write_digest(Digest("0badcafe", digest(KEY.encode(), secret)))
    (folder / "patch").mkdir()
    (folder / "patch" / "sitecustomize.py").write_text(BROKEN)
    env = {"UPSTREAM_KEY": UPSTREAM, "BUG_SAYS": BUG, "PYTHONPATH": f"{ROOT}:{folder / 'patch'}"}
    text = CONFIG.format(folder=folder, endpoint=endpoint, operator=sealed, key=key, dumps=dumps,
                         deployments=deployments, models=models)  # fmt: skip
    return Gateway(folder, text, env=env, prefix=prefix)


def call(port: int, path: str, body: Any = None, method: str = "POST", **headers: str) -> tuple[int, bytes]:
    """Status, and all that came back."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        raw = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        given = {"content-type": "application/json", "x-canary": HEADER, "user-agent": HEADER, "cookie": HEADER}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, raw, given)
        answer = connection.getresponse()
        try:
            got = answer.read()
        except http.client.IncompleteRead as e:
            got = e.partial
        return answer.status, str(answer.reason).encode() + str(answer.getheaders()).encode() + got
    finally:
        connection.close()


def spellings(canary: str) -> Iterator[bytes]:
    """As it might stand in a file or a message."""
    raw = canary.encode()
    yield from (raw, raw[:20], raw[-16:], raw.hex().encode(), quote(canary).encode(), canary.encode("utf-16-le"))
    for shift in range(3):
        yield base64.b64encode(b"x" * shift + raw)[4:-4]
        yield base64.urlsafe_b64encode(b"x" * shift + raw)[4:-4]


def hits(where: str, found: bytes, but: tuple[str, ...] = ()) -> list[str]:
    return [f"{c!r} in {where}" for c in CANARIES if c not in but and any(s in found for s in spellings(c))]


FAILS = {
    f"fails-{said}": said
    for said in ["html", "malformed", "cut", "400", "422", "401", "403", "404", "429", "500", "503", "302"]
}
CHAT = "/openai/deployments/{}/chat/completions?api-version=2024-10-21"


def test_abuse_45_abuse_51_abuse_52_abuse_53_no_canary_is_in_anything(endpoint: str, tmp_path: Path):
    found: list[str] = []
    statuses: set[int] = set()

    def asked(what: str, path: str, body: Any, but: tuple[str, ...] = (), **headers: str) -> None:
        status, got = call(gateway.port, path, body, **({"api_key": KEY} | headers))
        statuses.add(status)
        found.extend(hits(f"the answer to {what}", got, but))

    def message(said: str, **more: Any) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": f"{PROMPT} {said}"}], "user": "u-1", **more}

    with started(tmp_path, endpoint) as gateway:
        chat = CHAT.format("chat")
        for _ in range(4):  # both workers
            asked("a request", chat, message("fine"), but=(ANSWER,))
        asked("a stream that breaks off", chat, message("stream", stream=True), but=(ANSWER,))
        for name, said in FAILS.items():
            for n in range(2):
                # What is the client's own error passes, in the words of the upstream.
                but = (PROMPT, ANSWER) if said == "422" else ()
                asked(f"{said} upstream", CHAT.format(name), message(said, stream=bool(n)), but)
        asked("a bug", CHAT.format("broken"), message("fine"))
        asked("a model that is none", CHAT.format(QUERY), message("fine"))
        asked("no JSON", chat, f'{{"{PROMPT}'.encode())
        asked("a key twice", chat, f'{{"{PROMPT}":1,"{PROMPT}":2}}'.encode(), but=(PROMPT,))
        asked("a value that is none", chat, message("fine", max_tokens=PROMPT))
        asked("a wrong key", chat, message("fine"), api_key=WRONG)
        asked("a token", chat, message("fine"), api_key="", authorization=f"Bearer {TOKEN}")
        asked("two keys", chat, message("fine"), authorization=f"Bearer {WRONG}")
        asked("a key in the URL", f"/v1/{QUERY}?api-key={KEY}&x={QUERY}", message("fine"), api_key="")
        asked("an API version", chat + QUERY, message("fine"))
        asked("a body that is too large", chat, b"x", content_length="999999999999")
        for path in ("/metrics", "/v1/status", "/health/ready", f"/{QUERY}"):
            found += hits(path, call(gateway.port, path, None, "GET")[1])
        assert statuses >= {200, 400, 401, 404, 413, 429, 500, 503}, statuses

        # The management API: everything that can be read, and questions that are wrong.
        for route in Live()._routes():
            path = route.path
            for n, part in enumerate(("weu", "gpt-4o")):
                path = path.replace(("{instance}", "{deployment}")[n], part)
            path = path.replace("{id}", "0" * 32)
            if "tail" in path:
                continue
            if route.method == "GET":
                status, got = call(gateway.admin, path, None, "GET", authorization=f"Bearer {OPERATOR}")
                found += hits(f"GET {path}", got)
        question = {"consumer": "my-app", "operation": "chat_completions", "model": "chat", "body": message("fine")}
        for body in (question, {**question, "consumer": PROMPT}, {PROMPT: 1}):
            got = call(gateway.admin, "/v1/explain", body, authorization=f"Bearer {OPERATOR}")[1]
            found += hits("explain", got, but=(PROMPT,))
        requests = call(gateway.admin, "/v1/requests?last=100", None, "GET", authorization=f"Bearer {OPERATOR}")
        assert requests[0] == 200 and b'"my-app"' in requests[1], "they would be found there"
        for headers in (
            {"authorization": f"Bearer {WRONG}"},
            {"authorization": f"Bearer {KEY}"},
            {"api_key": OPERATOR},
        ):
            status, got = call(gateway.admin, "/v1/keys", None, "GET", **headers)
            assert status == 401
            found += hits("the management API to whom it does not know", got)

        # A configuration that is wrong, and workers that die.
        good = gateway.file.read_text()
        wrong = good.replace("models: all", "models: [no-such-model]").replace("version: 1", "version: 1\nx: y")
        gateway.file.write_text(wrong)
        gateway.hang_up_until("config.refused")
        gateway.file.write_text(good)
        for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT):
            pids = set(gateway.workers)
            os.kill(min(pids), number)
            until(lambda pids=pids: len(set(gateway.workers) - pids) == 1 and len(gateway.workers) == 2)
        assert any("unexpected ValueError" in line for line in gateway.said), "the bug was met and written down"
        assert gateway.end()[1] == 0

        written = [p for p in tmp_path.rglob("*") if p.is_file() and p != gateway.file and "patch" not in p.parts]
        names = {p.name for p in written}
        assert {"ledger.sqlite", "access.log", "numbers"} <= names, names
        assert b"u-1" in (tmp_path / "data" / "ledger.sqlite").read_bytes(), "what is configured to be there is found"
        for path in written:
            found += hits(str(path.relative_to(tmp_path)), path.read_bytes())
        found += hits("stderr", "".join(gateway.said).encode())
        assert not found, "\n".join(found)


LIKE_OTHERS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
"""A process of root that may do no more than those of others."""


def memory(pid: int) -> bytes:
    """What a process of the same user reads of another's memory, one that may do no more than others."""
    reads = f"import re; m = open('/proc/{pid}/maps').read(); f = open('/proc/{pid}/mem', 'rb', 0)\n"
    reads += "for line in m.splitlines():\n    a, b = (int(x, 16) for x in line.split()[0].split('-'))\n"
    reads += "    if 'rw-p' in line and b - a < 1 << 28:\n        try:\n            f.seek(a); d = f.read(b - a)\n"
    reads += f"        except OSError:\n            continue\n        if {UPSTREAM!r}.encode() in d: print('found')\n"
    done = subprocess.run([*LIKE_OTHERS, sys.executable, "-c", reads], capture_output=True, timeout=60)
    return done.stdout + done.stderr


@pytest.mark.skipif(not shutil.which("setpriv") or os.getuid() != 0, reason="needs setpriv, and a right to give up")
@pytest.mark.parametrize("dumps", ["false", "true"])
def test_abuse_51_memory_is_for_nobody_to_see_unless_somebody_wrote_so(endpoint: str, tmp_path: Path, dumps: str):
    """No core dump, no other process of the same user: the one where it is allowed shows that both would be found."""
    core = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        with started(tmp_path, endpoint, dumps, LIKE_OTHERS) as gateway:
            body = {"messages": [{"role": "user", "content": f"{PROMPT} fine"}]}
            assert call(gateway.port, CHAT.format("chat"), body, api_key=KEY)[0] == 200
            pids = list(gateway.workers)
            for pid in (gateway.pid, *pids):
                seen = memory(pid)
                assert (b"found" in seen) == (dumps == "true"), seen
                assert dumps == "true" or b"Permission denied" in seen, seen
            os.kill(pids[0], signal.SIGSEGV)
            until(lambda: pids[0] not in gateway.workers)
            cores = [p for p in tmp_path.rglob("*") if p.name.startswith("core")]
            if dumps == "false":
                assert not cores
            elif core == "core" and hard == resource.RLIM_INFINITY:
                assert any(UPSTREAM.encode() in p.read_bytes() for p in cores)
            for p in cores:
                p.unlink()
            assert gateway.end()[1] == 0
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
