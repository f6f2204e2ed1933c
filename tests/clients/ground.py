"""A gateway as an operator starts it, before a simulator, each a process of its own: what heavy clients stand on."""

from __future__ import annotations

import contextlib
import json
import shutil
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import certificates
from tests.gateway import KEY
from tests.goals.processes import ENV, ROOT, Process

WAIT_S = 0.2
"""How long a member that throttles asks to be left alone."""
AZURE, SERVER, CLAUDE = ("i1", "i2"), ("server",), ("hub", "own")
KINDS = {"server": "openai_compatible", "hub": "foundry", "own": "anthropic"}
"""Of instances; the others are Azure's."""
MODELS = {
    "chat": ("gpt-4o@2024-11-20", AZURE),
    "busy": ("gpt-4o-mini@2024-07-18", AZURE),
    "jammed": ("gpt-4.1@2025-04-14", AZURE),
    "embed": ("text-embedding-3-small@1", AZURE),
    "instruct": ("gpt-35-turbo-instruct@0914", AZURE),
    "image": ("gpt-image-1@2025-04-15", AZURE),
    "speech": ("gpt-4o-mini-tts@2025-12-15", AZURE),
    "transcribe": ("whisper@001", AZURE),
    "moderation": ("omni-moderation@1", SERVER),
    "claude": ("claude-sonnet-4-6@1", CLAUDE),
    "claude-busy": ("claude-haiku-4-5@1", CLAUDE),
    "claude-jammed": ("claude-opus-4-6@1", CLAUDE),
}
"""Public names and who serves them, in each of these instances by a deployment of its own. Those called busy throttle
once and those called jammed always, so that nothing else meets their doors."""


@dataclass
class Ground:
    """Where clients are sent, and what says afterwards what reached the instances."""

    url: str
    ca: Path | None
    folder: Path
    control: str
    instances: tuple[str, ...]

    @property
    def scheme(self) -> str:
        return self.url.partition(":")[0]

    def asked(self, path: str, document: Any = None, method: str = "GET") -> Any:
        """Of the simulator's control API."""
        data = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(self.control + path, data, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            return json.load(answer)

    def throttle(self, word: str, **times: int) -> None:
        """Every instance refuses requests that hold this word, so many `times` or always, for WAIT_S."""
        for name in self.instances:
            fault = {"kind": "throttle", "instance": name, "marker": word, "wait_s": WAIT_S, **times}
            self.asked("/faults", fault, "POST")

    def last(self) -> int:
        """The number of the last request that reached an instance."""
        return int(self.asked("/totals")["requests"])

    def served(self, after: int) -> list[dict[str, Any]]:
        """Requests that reached the instances after that one."""
        found: list[dict[str, Any]] = self.asked(f"/ledger?after={after}")["entries"]
        return found

    def ask(self) -> str:
        """One request of our own, and the id under which the gateway books it."""
        body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "hello"}]}).encode()
        headers = {"api-key": KEY, "content-type": "application/json"}
        request = urllib.request.Request(f"{self.url}/openai/v1/chat/completions", body, headers)
        trusting = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=self.ca))
        with urllib.request.build_opener(urllib.request.ProxyHandler({}), trusting).open(request, timeout=20) as answer:
            answer.read()
            return str(answer.headers["x-sluicegate-request-id"])

    def settled(self, last: str, seconds: float = 20.0) -> list[dict[str, Any]]:
        """What the gateway booked, oldest first, once the record with this id stands there."""
        ask = ["-m", "sluicegate.main", "requests", "--json", "--last", "10000", "-c", "gateway.yaml"]
        ends = time.monotonic() + seconds
        while True:
            done = subprocess.run(
                [sys.executable, "-P", *ask], cwd=self.folder, env={**ENV, "PYTHONPATH": str(ROOT)}, text=True,
                capture_output=True, check=True,
            )  # fmt: skip
            found: list[dict[str, Any]] = [r for r in json.loads(done.stdout) if r["state"] != "open"]
            if any(r["id"] == last for r in found):
                return found[::-1]
            assert time.monotonic() < ends, f"{last} is not booked after {seconds} s"


def deployments(instance: str) -> dict[str, dict[str, str]]:
    """Of one instance: a public name, in other words."""
    found = {}
    for name, (used, instances) in MODELS.items():
        if instance in instances:
            model, version = used.split("@")
            found[f"{name}-at-{instance}"] = {"model": model, "version": version, "sku": "GlobalStandard"}
    return found


def fleet(tls: bool) -> dict[str, Any]:
    """What is simulated."""
    return {
        name: {"key": ENV["UPSTREAM_KEY"], "port": 0, "tls": tls, "kind": KINDS.get(name, "azure_openai"),
               "deployments": deployments(name)}
        for name in (*AZURE, *SERVER, *CLAUDE)
    }  # fmt: skip


def configuration(told: dict[str, Any], files: certificates.Certificates | None) -> dict[str, Any]:
    """A gateway over what the simulator says of itself."""
    trusted = {"tls": {"ca": str(files.ca)}} if files else {}
    listen: dict[str, Any] = {"address": "127.0.0.1:0"}
    if files:
        listen["tls"] = {"certificate": str(files.certificate), "key": str(files.key)}
    return {
        "version": 1,
        "gateway": {"data": "data", "drain": "1s", "secrets": ["${env:SECRET}"], "listen": listen,
                    "admin": {"address": "127.0.0.1:0"}},
        "instances": {
            name: {"provider": instance["kind"], "endpoint": instance["endpoint"],
                   "auth": {"key": "${env:UPSTREAM_KEY}"}, "deployments": deployments(name), **trusted}
            for name, instance in told["instances"].items()
        },
        "models": {name: {"use": used} for name, (used, _) in MODELS.items()},
        "consumers": {"app": {"key": "${env:GATEWAY_KEY}", "models": list(MODELS)}},
    }  # fmt: skip


@contextlib.contextmanager
def ground(folder: Path, tls: bool) -> Iterator[Ground]:
    """Both processes, until the block ends. With `tls`, an authority made for this once signs for both."""
    files = certificates.make(folder) if tls else None
    (folder / "fleet.yaml").write_text(json.dumps({"seed": 7, "instances": fleet(tls)}))
    more: list[str] = []
    if files:  # as the simulator names them
        for made, name in ((files.ca, "ca.pem"), (files.certificate, "server.pem"), (files.key, "server.key")):
            if made.name != name:
                shutil.copy(made, folder / name)
        more = ["--tls", str(folder)]
    with contextlib.ExitStack() as stack:
        simulator = Process(["-m", "sluicegate.main", "simulate", "-i", "fleet.yaml", "--json", *more], folder)
        stack.callback(simulator.end)
        told = simulator.told()
        (folder / "gateway.yaml").write_text(json.dumps(configuration(told, files), indent=1))  # JSON is YAML
        gateway = Process(["-m", "sluicegate.main", "serve", "-c", "gateway.yaml"], folder, answers_on_stderr=True)
        stack.callback(gateway.end)
        ready = gateway.told()
        assert ready["event"] == "ready", ready
        url = f"https://localhost:{ready['port']}" if tls else f"http://127.0.0.1:{ready['port']}"
        yield Ground(url, files and files.ca, folder, told["control"], tuple(told["instances"]))


__all__ = ["KEY", "WAIT_S", "Ground", "ground"]
