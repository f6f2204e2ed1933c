"""Alerts: told once when a thing begins and once when it is over, to stderr, to whoever asks, to sinks that may hang."""

from __future__ import annotations

import ast
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import sluicegate
from sluicegate.core.alerts import KINDS
from sluicegate.keeper.alerts import CALM_S, KEPT, OPEN, REPEAT_S, Alerts
from sluicegate.main import program
from sluicegate.sim.fleet import FleetThread
from tests.keeper.running import ENV, Gateway, Load, config, until

COMMITTED = {
    "breaker.open", "upstream.credential", "upstream.deployment", "region.mismatch", "issuer.keys", "config.refused",
    "journal.failing", "journal.damaged", "ledger.failing", "audit.failing", "worker.ended",
}  # fmt: skip


class Desk:
    """Alerts with a clock of its own."""

    def __init__(self) -> None:
        self.at = 100.0
        self.lines: list[dict[str, Any]] = []
        self.alerts = Alerts(lambda event, **facts: self.lines.append({"event": event, **facts}), lambda: self.at)

    def states(self) -> list[tuple[str, str]]:
        return [(line["kind"], line["state"]) for line in self.lines if line["event"] == "alert"]

    def later(self, seconds: float) -> None:
        self.at += seconds
        self.alerts.tick()


def test_the_kinds_are_those_that_were_promised():
    assert set(KINDS) >= COMMITTED, "names of alerts are part of the interface: none goes away"
    assert all(kind.says.endswith(".") for kind in KINDS.values())


def test_nobody_raises_an_alert_of_a_kind_that_is_not_known():
    raised = set()
    for path in Path(sluicegate.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                first = node.args[0]
                if node.func.attr in ("alarm", "raised") and isinstance(first, ast.Constant):
                    raised.add(first.value)
    assert {"config.refused", "worker.ended", "journal.failing"} <= raised <= set(KINDS)


def test_a_breaker_that_flaps_for_an_hour_is_one_alert_and_one_end():
    desk = Desk()
    for _ in range(360):
        desk.alerts.raised("breaker.open", "weu/gpt-4o", "connect.refused", by=7)
        desk.later(5)
        desk.alerts.over("breaker.open", "weu/gpt-4o", by=7)
        desk.later(5)
    assert desk.states() == [("breaker.open", "fired")]
    desk.later(CALM_S)
    assert desk.states() == [("breaker.open", "fired"), ("breaker.open", "resolved")]
    assert desk.lines[-1]["times"] == 360


def test_it_is_over_when_the_last_worker_says_so_or_is_gone():
    desk = Desk()
    for worker in (1, 2, 3):
        desk.alerts.raised("breaker.open", "weu/gpt-4o", "x", by=worker)
    desk.alerts.over("breaker.open", "weu/gpt-4o", by=1)
    desk.later(CALM_S)
    desk.alerts.gone(2)
    desk.later(CALM_S)
    assert desk.states() == [("breaker.open", "fired")]
    desk.alerts.over("breaker.open", "weu/gpt-4o", by=3)
    desk.later(CALM_S - 1)
    assert len(desk.states()) == 1
    desk.later(1)
    assert desk.states()[-1] == ("breaker.open", "resolved")


def test_what_merely_happened_is_told_again_only_after_a_while_and_never_resolved():
    desk = Desk()
    for _ in range(10):
        desk.alerts.raised("worker.ended", "worker", "status -9")
        desk.later(1)
    assert desk.states() == [("worker.ended", "fired")]
    desk.later(REPEAT_S)
    desk.alerts.raised("worker.ended", "worker", "status -9")
    assert desk.states() == [("worker.ended", "fired")] * 2


def test_a_flood_of_subjects_stays_within_its_room():
    desk = Desk()
    for n in range(3 * OPEN):
        desk.alerts.raised("breaker.open", f"weu/{n}", "x")
    assert len(desk.alerts.matters) == OPEN and len(desk.alerts.notices) == KEPT
    assert desk.alerts.unheard == 2 * OPEN


def test_a_kind_that_is_not_known_alerts_nobody():
    desk = Desk()
    desk.alerts.raised("no.such", "x", "y")
    assert desk.lines == [{"event": "alert.unknown", "kind": "no.such", "subject": "x"}]
    assert desk.alerts.told()["open"] == []


# ---------------------------------------------------------------- a real gateway


class Hook(HTTPServer):
    """Takes notices, answers as it is told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.taken: list[dict[str, Any]] = []
        self.heads: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.status = 204
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)
        self.thread.start()

    def of(self, kind: str) -> list[str]:
        return [e["type"].rpartition(".")[2] for e in self.taken if e["data"]["kind"] == kind]


class Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.heads.append({k.lower(): v for k, v in self.headers.items()})
        self.server.paths.append(self.path)
        if self.server.status < 300:
            self.server.taken.append(json.loads(body))
        self.send_response(self.server.status)
        if self.server.status == 302:
            self.send_header("location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.shutdown()
    hook.server_close()


@pytest.fixture(scope="module")
def fleet() -> Iterator[FleetThread]:
    with FleetThread({"a": {"deployments": {"gpt-4o": {}}, "key": ENV["UPSTREAM_KEY"]}}, seed=1) as fleet:
        yield fleet


def alerting(folder: Path, endpoint: str, *sinks: str, workers: int = 1) -> str:
    return config(folder, endpoint, workers) + "telemetry:\n  alerts:\n" + "".join(f"    - {s}\n" for s in sinks)


def test_a_refused_configuration_is_posted_and_resolved_by_the_next_good_one(
    fleet: FleetThread, hook: Hook, tmp_path: Path
):
    text = alerting(tmp_path, fleet["a"].origin, '{to: "${env:HOOK}", on: [config.refused]}')
    env = {"HOOK": f"http://127.0.0.1:{hook.server_port}/hooks?token=hush-hush-hush"}
    with Gateway(tmp_path, text, env) as gateway:
        gateway.file.write_text(text + "nonsense: 1\n")
        gateway.hang_up_until("config.refused")
        (event,) = until(lambda: hook.taken)
        assert event["specversion"] == "1.0" and event["type"] == "io.sluicegate.alert.fired"
        assert event["source"] == "/sluicegate/sluicegate" and event["subject"] == "configuration"
        assert event["data"]["kind"] == "config.refused" and "nonsense" in event["data"]["detail"]
        assert hook.heads[0]["content-type"] == "application/cloudevents+json"
        assert hook.paths == ["/hooks?token=hush-hush-hush"]
        shown = CliRunner().invoke(program, ["status", "--data", str(tmp_path / "data")])
        assert "config.refused configuration" in shown.output
        gateway.file.write_text(text)
        gateway.tell(signal.SIGHUP)
        until(lambda: hook.of("config.refused") == ["fired", "resolved"], within_s=CALM_S + 15)
        said = "".join(gateway.said)
        assert "hush-hush" not in said and '"state": "resolved"' in said


def test_a_credential_that_is_refused_upstream_is_told_by_the_worker_that_saw_it(
    fleet: FleetThread, hook: Hook, tmp_path: Path
):
    text = alerting(tmp_path, fleet["a"].origin, f"{{to: 'http://127.0.0.1:{hook.server_port}/', lost: spool 1h}}")
    text = text.replace("${env:UPSTREAM_KEY}", "${env:WRONG}")
    with Gateway(tmp_path, text, {"WRONG": "w" * 32}) as gateway, Load(gateway.port, 20, 2):
        until(lambda: hook.of("upstream.credential") == ["fired"])
        event = next(e for e in hook.taken if e["data"]["kind"] == "upstream.credential")
        assert event["subject"] == "weu/gpt-4o"
        assert "breaker.open" not in {e["data"]["kind"] for e in hook.taken}


def test_a_worker_that_is_killed_is_an_alert(fleet: FleetThread, hook: Hook, tmp_path: Path):
    text = alerting(tmp_path, fleet["a"].origin, f"{{to: 'http://127.0.0.1:{hook.server_port}/', on: [worker.ended]}}")
    with Gateway(tmp_path, text) as gateway:
        os.kill(gateway.workers[0], signal.SIGKILL)
        until(lambda: hook.of("worker.ended") == ["fired"])
        assert hook.taken[0]["data"]["detail"] == "status -9"


def test_a_sink_that_hangs_and_one_that_redirects_hold_nobody_up(fleet: FleetThread, hook: Hook, tmp_path: Path):
    """The hanging one accepts and never answers; nothing is lost on the way of requests, and a redirect is no sink."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        hook.status = 302
        text = alerting(
            tmp_path, fleet["a"].origin, f"{{to: 'http://127.0.0.1:{silent.getsockname()[1]}/'}}",
            f"{{to: 'http://127.0.0.1:{hook.server_port}/here'}}",
        )  # fmt: skip
        with Gateway(tmp_path, text) as gateway, Load(gateway.port, 50, 4) as load:
            gateway.file.write_text(text + "nonsense: 1\n")
            gateway.hang_up_until("config.refused")
            error = gateway.event("alert.sink")
            assert error["error"] == "answers 302" and error["to"] == f"http://127.0.0.1:{hook.server_port}"
            before = load.count
            until(lambda: load.count > before + 50)
            assert hook.paths == ["/here"]
            shown = CliRunner().invoke(program, ["status", "--data", str(tmp_path / "data")])
            assert shown.exit_code == 0
        assert set(load.outcomes) == {"200"}, load.errors[:3]


@pytest.mark.parametrize(
    ("place", "kind", "subject"),
    [("journal", "journal.failing", "journal"), ("ledger.sqlite", "ledger.failing", "ledger")],
)
def test_records_that_cannot_be_kept_are_an_alert_and_no_reason_to_refuse(
    fleet: FleetThread, hook: Hook, tmp_path: Path, place: str, kind: str, subject: str
):
    """Something of another kind lies where the journal, or the ledger, should be."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / place).touch() if place == "journal" else (data / place).mkdir()
    text = alerting(tmp_path, fleet["a"].origin, f"{{to: 'http://127.0.0.1:{hook.server_port}/'}}")
    with Gateway(tmp_path, text) as gateway:
        until(lambda: hook.of(kind) == ["fired"])
        event = next(e for e in hook.taken if e["data"]["kind"] == kind)
        assert event["subject"] == subject and event["data"]["detail"]
        with Load(gateway.port, 20, 2) as load:
            until(lambda: load.count > 10)
        assert set(load.outcomes) == {"200"}, load.errors[:3]
