"""Cases 49, 55, 59, 60 and 84: what stands beside the traffic: secrets, metrics, pages, files, the program itself.

Against the real program, a keeper with its worker, wherever a process has to show it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluicegate.core.families import FAMILIES
from sluicegate.sim.fleet import FleetThread
from sluicegate.spec.problems import render
from tests.abuse.outside import Client, ask, request
from tests.edge.line import House
from tests.keeper.running import ENV, KEY, ROOT, Gateway, config, until
from tests.spec.reading import SMALLEST, loaded

FLEET: dict[str, Any] = {"a": {"key": ENV["UPSTREAM_KEY"], "deployments": {"gpt-4o": {}}}}


@pytest.fixture(scope="module")
def fleet() -> Iterator[FleetThread]:
    with FleetThread(FLEET) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def running(fleet: FleetThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    text = config(folder, fleet["a"].origin) + f"telemetry: {{access_log: {folder}/access.log}}\n"
    with Gateway(folder, text) as gateway:
        yield gateway


def chat(gateway: Gateway, *headers: bytes, model: str = "chat", key: str = KEY, body: bytes | None = None) -> Any:
    said = body or b'{"model":"chat","messages":[{"role":"user","content":"hi"}],"max_tokens":3}'
    path = f"/openai/deployments/{model}/chat/completions?api-version=2024-10-21".encode()
    return ask(gateway.port, request(*headers, path=path, key=key, body=said))


def page(gateway: Gateway) -> str:
    with Client(gateway.admin) as client:
        client.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return client.answer().body.decode()


def asked(text: str) -> int:
    """Requests that a page of metrics counts."""
    return sum(
        int(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith("sluicegate_requests_total{")
    )


# ---------------------------------------------------------------------- 49: secrets that are none

SECRETS = ["AOAI_KEY", "APP_KEY", "SECRET"]
NONE = {
    "unset": None,
    "empty": "",
    "a blank": " ",
    "blanks": " " * 40,
    "a line end": "\n",
    "a tab": "\t" * 40,
    "a zero": "\0" * 40,
}


@pytest.mark.parametrize("how", NONE)
@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("scheme", ["env", "file"])
def test_abuse_49_a_secret_that_is_none_is_an_error_at_the_start(name: str, how: str, scheme: str, tmp_path: Path):
    """Never a key that matches what nobody sent, a MAC that anybody makes, or a header without a value."""
    value = NONE[how]
    text, env = SMALLEST, {name: value or ""}
    if scheme == "file":
        text = text.replace(f"${{env:{name}}}", f"${{file:{tmp_path}/secret}}")
        if value is not None:
            (tmp_path / "secret").write_text(value)
    result = loaded(text, env)
    assert result.problems.fatal, render(result.problems)


@pytest.mark.parametrize(
    "shown",
    [
        (b"api-key:",), (b"api-key: ",), (b"Authorization: Bearer",), (b"Authorization: Bearer ",), (b"Authorization:",), (),
        (b"x-api-key:",), (b"api-key: null",), (b"api-key: undefined",), (b"api-key: None",), (b"Authorization: Basic Og==",),
    ],
    ids=lambda shown: b" ".join(shown).decode() or "nothing",
)  # fmt: skip
def test_abuse_49_nothing_shown_is_nobody(shown: tuple[bytes, ...]):
    house = House()
    got = house.line().send(request(*shown, key=None)).answers()[0]
    assert got.status == 401 and got.reason in ("credential.missing", "credential.unknown")
    assert not house.upstream.calls


def test_abuse_49_serve_does_not_start_without_its_secrets(tmp_path: Path):
    file = tmp_path / "gateway.yaml"
    file.write_text(config(tmp_path, "http://127.0.0.1:1"))
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | {**ENV, "APP_KEY": "", "SECRET": ""}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "sluicegate.main", "serve", "-c", str(file)], env={**environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0 and "APP_KEY is empty" in done.stderr and "SECRET is empty" in done.stderr


# ---------------------------------------------------------------------- 55: labels


def test_abuse_55_no_text_of_a_client_is_a_label_and_series_do_not_grow_with_its_ideas(running: Gateway):
    """A label from a header or a model name is a way to fill the memory of whatever scrapes us."""
    ideas = ["canary%d", 'canary%d"}\nevil_total 1', "canary%d\\", "c" * 60 + "canary%d"]

    def round(first: int, count: int) -> set[str]:
        asked_before = asked(page(running))
        with Client(running.port) as client:
            for n in range(first, first + count):
                idea = ideas[n % len(ideas)] % n
                body = json.dumps({
                    "model": idea, "user": idea, "safety_identifier": idea, "metadata": {idea: idea}, "service_tier": idea,
                    "messages": [{"role": "user", "name": idea, "content": "hi"}],
                }).encode()  # fmt: skip
                said = b"x-ms-client-request-id: canary%d" % n, b"User-Agent: canary%d" % n, b"x-user-id: canary%d" % n
                path = b"/openai/v1/chat/completions" if n % 3 else b"/openai/v1/canary%d" % n
                client.send(request(*said, path=path, body=body, key=KEY if n % 2 else f"canary{n}"))
                assert client.answer().status in (400, 401, 404)
        until(lambda: asked(page(running)) >= asked_before + count * 2 // 3)  # those whose path there is
        text = page(running)
        assert "canary" not in text and "evil" not in text
        return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}

    assert chat(running).status == 200
    round(0, 60)
    before = round(60, 60)
    after = round(120, 600)
    assert after == before
    assert {re.split(r"[{ ]", s)[0] for s in before if s} >= {
        f.name for f in FAMILIES.values() if not f.buckets and not f.labels
    }


# ---------------------------------------------------------------------- 59: pages on the data port

PAGES = [
    "/metrics", "/health/details", "/health", "/healthz", "/docs", "/redoc", "/openapi.json", "/debug/pprof/", "/debug", "/admin",
    "/console", "/v1/status", "/v1/configuration", "/v1/pools", "/config", "/server-status", "/actuator/env", "/.env", "/.git/config",
    "/gateway.yaml", "/favicon.ico", "/", "/ui", "/v1/models", "/key/list", "/spend/logs", "/routes", "/test", "/health/readiness",
    "/health/live/../../metrics", "/health/models/", "/static/../../secret",
]  # fmt: skip
TELLING = re.compile(rb"weu|gpt-4o|my-app|u{32}|s{64}|python|sluicegate/|uvloop|traceback|127\.0\.0\.1|version\"", re.I)


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST"])
def test_abuse_59_the_data_port_has_no_page_about_the_gateway(path: str, method: bytes, running: Gateway):
    got = ask(running.port, request(path=path.encode(), method=method, key=None, body=b""), method=method)
    assert got.status in (401, 404, 405), got
    assert not TELLING.search(got.body) and got.header("server") is None


@pytest.mark.parametrize("path", ["/v1/reload", "/v1/restart", "/v1/deployments/weu/gpt-4o/drain"])
def test_abuse_59_nor_does_it_take_orders(path: str, running: Gateway):
    workers = running.workers
    for key in (None, KEY):
        assert ask(running.port, request(path=path.encode(), key=key)).status == 404
    assert running.workers == workers and chat(running).status == 200


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/health/region", "/status-0123456789abcdef"])
def test_abuse_59_health_says_a_word_and_nothing_more(path: str, running: Gateway):
    got = ask(running.port, request(path=path.encode(), method=b"GET", key=None, body=b""), method=b"GET")
    assert got.status == 200 and set(got.json) <= {"status", "config"} and not TELLING.search(got.body + got.raw_head)
    if path == "/health/live":
        assert got.body == b'{"status":"live"}'


def test_abuse_59_health_of_a_model_is_for_those_who_may_use_it(running: Gateway):
    for key in (None, "somebody-elses-key-0000001"):
        got = ask(running.port, request(path=b"/health/models/chat", method=b"GET", key=key, body=b""), method=b"GET")
        assert got.status == 401
    got = ask(running.port, request(path=b"/health/models/chat", method=b"GET", key=KEY, body=b""), method=b"GET")
    assert got.status == 200 and b"gpt-4o" not in got.body and b"weu" not in got.body


def test_abuse_59_the_admin_port_without_a_credential_has_metrics_and_health_only(running: Gateway):
    for path in ("/v1/status", "/v1/configuration", "/v1/pools", "/docs", "/v1/reload"):
        for method in (b"GET", b"POST"):
            with Client(running.admin) as client:
                client.send(method + b" " + path.encode() + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert client.answer().status == 401


# ---------------------------------------------------------------------- 60: files


def control(gateway: Gateway, path: str) -> bytes:
    """What the keeper's own socket says."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        fd = os.open(gateway.folder / "data", os.O_RDONLY | os.O_DIRECTORY)
        try:
            s.connect(f"/proc/self/fd/{fd}/control.sock")
        finally:
            os.close(fd)
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        pieces = []
        while piece := s.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("path", ["/v1/status", "/v1/configuration", "/v1/pools"])
def test_abuse_60_the_configuration_that_is_shown_holds_no_secret(path: str, running: Gateway):
    said = control(running, path)
    assert said.startswith(b"HTTP/1.1 200") and len(said) > 200
    for secret in ENV.values():
        assert secret.encode() not in said and secret.encode()[:12] not in said


def test_abuse_60_a_copy_of_the_data_folder_gives_nobody_a_key(running: Gateway):
    """Whoever finds a backup has records, and neither a consumer's key nor the upstream's, nor what they are keyed by."""
    for n in range(20):
        assert (
            chat(
                running, body=b'{"messages":[{"role":"user","content":"prompt-canary"}],"max_tokens":%d}' % (n + 1)
            ).status
            == 200
        )
    data = running.folder / "data"
    assert until(lambda: (data / "ledger.sqlite").exists() or list(data.glob("*.db")) or list(data.glob("ledger*")))
    files = [path for path in data.rglob("*") if path.is_file()]
    assert len(files) >= 3
    for path in [*files, running.folder / "access.log"]:
        content = path.read_bytes()
        for canary in (*ENV.values(), "prompt-canary"):
            assert canary.encode() not in content, path


def test_abuse_60_what_is_written_is_for_the_owner_alone(running: Gateway):
    assert chat(running).status == 200
    data = running.folder / "data"
    wrong = []
    for path in [data, *data.rglob("*")]:
        mode = path.lstat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO) and not stat.S_ISLNK(mode):
            wrong.append(f"{path.relative_to(running.folder)} {stat.filemode(mode)}")
    assert not wrong
    assert not (running.folder / "access.log").stat().st_mode & stat.S_IRWXO


@pytest.mark.parametrize("mode", [0o602, 0o622, 0o666])
def test_abuse_60_a_secret_that_anybody_may_change_is_refused(mode: int, tmp_path: Path):
    """Whoever may write the file with a consumer's key chooses the key."""
    file = tmp_path / "key"
    file.write_text("key-of-my-app-0000000001")
    text = SMALLEST.replace("${env:APP_KEY}", f"${{file:{file}}}")
    file.chmod(0o600)
    assert not loaded(text).problems.fatal
    file.chmod(mode)
    problems = loaded(text).problems
    assert problems.fatal == bool(mode & 0o002)
    assert not problems.fatal or "anybody on this machine may change" in render(problems)


def test_abuse_60_a_literal_secret_is_refused_wherever_one_can_stand():
    for reference in ("${env:AOAI_KEY}", "${env:APP_KEY}", '"${env:SECRET}"'):
        report = render(loaded(SMALLEST.replace(reference, "literal-canary-0000000000000000000000000")).problems)
        assert "secrets do not stand in the file" in report and "literal-canary" not in report


# ---------------------------------------------------------------------- 84: the program itself


def built(folder: Path, age_s: int, seed: str) -> Path:
    """A wheel of a copy of this tree, made somewhere else, at another time."""
    folder.mkdir()
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "sluicegate", folder / "sluicegate", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for n, path in enumerate(
        sorted(folder.rglob("*"), key=lambda p: hashlib.sha256((seed + str(p)).encode()).digest())
    ):
        os.utime(path, (1_600_000_000 + age_s + n, 1_600_000_000 + age_s + n))
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "out"], cwd=folder, check=True, capture_output=True,
        env={**os.environ, "PYTHONHASHSEED": seed, "TZ": "UTC" if seed == "1" else "Asia/Tokyo"},
    )  # fmt: skip
    return next((folder / "out").glob("*.whl"))


def test_abuse_84_a_wheel_built_twice_is_the_same_bytes_and_runs_nothing_when_it_is_installed(tmp_path: Path):
    first, second = built(tmp_path / "here", 0, "1"), built(tmp_path / "there-and-longer", 90_000, "2")
    assert first.name == second.name and first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as wheel:
        names = wheel.namelist()
        assert any(name.endswith("sluicegate/core/exchange.py") for name in names)
        assert not [n for n in names if n.endswith((".pth", "setup.py", ".so")) or n.startswith(("tests/", "."))]
        assert all(".data/scripts" not in n and "__pycache__" not in n for n in names)
        text = b"".join(wheel.read(n) for n in names)
    assert str(tmp_path).encode() not in text


WATCH = """
import sys, json
seen = []
FAR = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request", "subprocess.Popen",
       "os.system", "os.exec", "os.posix_spawn", "os.fork")
def watch(event, args):
    if event in FAR or (event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+") and "__pycache__" not in str(args[0])):
        seen.append(event if event != "open" else f"open {args[0]}")
sys.addaudithook(watch)
before = set(sys.modules)
{code}
print(json.dumps(seen))
"""


@pytest.mark.parametrize(
    "code",
    [
        "import sluicegate.main", "import sluicegate.worker", "import sluicegate.keeper.keeper",
        "import pkgutil, importlib, sluicegate\n"
        "for m in pkgutil.walk_packages(sluicegate.__path__, 'sluicegate.'):\n    importlib.import_module(m.name)",
        "from sluicegate.main import program\n"
        "try: program(['check', '-c', {file!r}], standalone_mode=False)\nexcept BaseException as e: assert not getattr(e, 'code', 0), e",
    ],
    ids=["main", "worker", "keeper", "everything", "check"],
)  # fmt: skip
def test_abuse_84_nothing_calls_out_or_writes_when_it_is_imported_or_checked(code: str, tmp_path: Path):
    file = tmp_path / "gateway.yaml"
    file.write_text(config(tmp_path, "https://contoso.openai.azure.com"))
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-B", "-P", "-c", WATCH.replace("{code}", code.replace("{file!r}", repr(str(file))))],
        env={**environ, **ENV, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert not (tmp_path / "data").exists()


def test_abuse_84_and_the_watch_sees_who_does():
    done = subprocess.run(
        [sys.executable, "-c", WATCH.replace("{code}", "import socket\nsocket.socket().connect_ex(('127.0.0.1', 1))")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == ["socket.connect"]


BOMBS = {
    "unknown key": "gatway: {}\n", "python tag": "x: !!python/object/apply:os.system ['touch pwned']\n",
    "python name": "x: !!python/name:os.system\n", "any tag": "x: !evil {}\n", "merge": "x: {<<: *a}\n",
    "laughs": "a: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: [*b,*b,*b,*b]\n", "depth": "x: " + "[" * 50_000 + "\n",
    "size": "x: " + "y" * 5_000_000 + "\n", "documents": "---\nversion: 1\n", "binary": "\x00\x01\x02",
    "include of a device": "include: [/dev/zero]\n", "include of what is outside": "include: [../../../../etc/passwd]\n",
}  # fmt: skip


def test_abuse_84_a_bad_configuration_is_refused_whole_and_the_old_one_serves_on(running: Gateway):
    good = running.file.read_text()
    before = ask(running.port, request(path=b"/health/ready", method=b"GET", body=b""), method=b"GET").json["config"]
    try:
        for name, bomb in BOMBS.items():
            running.file.write_text(good + bomb)
            refused = running.hang_up_until("config.refused")
            assert refused, name
            assert chat(running).status == 200, name
        assert (
            ask(running.port, request(path=b"/health/ready", method=b"GET", body=b""), method=b"GET").json["config"]
            == before
        )
        assert not list(running.folder.rglob("pwned")) and not Path("pwned").exists()
    finally:
        running.file.write_text(good)
        running.hang_up_until("config.adopted")
    assert chat(running).status == 200


def harmless() -> dict[str, Any] | None:
    """How to start a process without the rights of root: as nobody, or where nobody cannot run this Python, as a root
    that has no capability. None: neither can be had."""
    ways: list[dict[str, Any]] = [
        {"user": 65534, "group": 65534, "extra_groups": []},
        {"prefix": ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--no-new-privs", "--"]},
    ]
    for way in ways if os.geteuid() == 0 else [{}]:
        more = dict(way)
        try:
            command = [*more.pop("prefix", []), sys.executable, "-c", "print(open('/proc/self/status').read())"]
            done = subprocess.run(command, capture_output=True, text=True, cwd="/", **more)
        except OSError:
            continue
        if done.returncode == 0 and re.search(r"CapEff:\s+0+$", done.stdout, re.M):
            return way
    return None


HARMLESS = harmless()


@pytest.mark.skipif(HARMLESS is None, reason="no way to drop the rights of root")
def test_abuse_84_it_serves_as_nobody_with_code_that_it_cannot_change(fleet: FleetThread, tmp_path: Path):
    """Everything it writes is in gateway.data; the package belongs to somebody else."""
    code = tmp_path / "code"
    shutil.copytree(ROOT / "sluicegate", code / "sluicegate", ignore=shutil.ignore_patterns("__pycache__"))
    for path in [code, *code.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    for path in [tmp_path, *tmp_path.parents]:
        if path.stat().st_uid == os.geteuid() and len(path.parts) > 2:
            path.chmod(path.stat().st_mode | 0o011)
    home = tmp_path / "home"
    home.mkdir()
    way = dict(HARMLESS or {})
    prefix = way.pop("prefix", [])
    os.chown(home, way.get("user", os.geteuid()), -1)
    file = home / "gateway.yaml"
    file.write_text(config(home, fleet["a"].origin))
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | ENV
    tries = [*prefix, sys.executable, "-c", f"open({str(code / 'sluicegate' / 'main.py')!r}, 'a')"]
    assert b"Permission denied" in subprocess.run(tries, capture_output=True, **way).stderr, "it could change the code"
    process = subprocess.Popen(
        [*prefix, sys.executable, "-P", "-m", "sluicegate.main", "serve", "-c", str(file)], cwd=home, **way,
        env={**environ, "PYTHONPATH": str(code), "HOME": str(home)}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        for line in process.stderr:
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "ready":
                break
        else:
            raise AssertionError("it did not start")
        got = ask(event["port"], request(key=KEY))
        assert got.status == 200
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert not list(code.rglob("__pycache__"))
    assert list((home / "data").rglob("*"))
