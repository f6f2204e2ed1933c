"""A gateway as an operator starts it, before a simulator, each a process of its own: what heavy clients stand on."""

from __future__ import annotations

import contextlib
import json
import shutil
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
MODELS = {"chat": "gpt-4o@2024-11-20", "busy": "gpt-4o-mini@2024-07-18"}
"""Public names and what serves them: in each instance a deployment of its own, `NAME-N`. `busy` is the one that
throttles, so that nothing else meets its doors."""


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

    def throttle_once(self, word: str) -> None:
        """Every instance refuses the first request that holds this word, for WAIT_S."""
        for name in self.instances:
            fault = {"kind": "throttle", "instance": name, "marker": word, "wait_s": WAIT_S, "times": 1}
            self.asked("/faults", fault, "POST")

    def last(self) -> int:
        """The number of the last request that reached an instance."""
        return int(self.asked("/totals")["requests"])

    def served(self, after: int) -> list[dict[str, Any]]:
        """Requests that reached the instances after that one."""
        found: list[dict[str, Any]] = self.asked(f"/ledger?after={after}")["entries"]
        return found

    def settled(self, answered: int, seconds: float = 10.0) -> list[dict[str, Any]]:
        """What the gateway booked, oldest first, once so many answers with status 200 stand there."""
        ask = ["-m", "sluicegate.main", "requests", "--json", "--last", "10000", "-c", "gateway.yaml"]
        ends = time.monotonic() + seconds
        while True:
            done = subprocess.run(
                [sys.executable, "-P", *ask], cwd=self.folder, env={**ENV, "PYTHONPATH": str(ROOT)}, text=True,
                capture_output=True, check=True,
            )  # fmt: skip
            found: list[dict[str, Any]] = [r for r in json.loads(done.stdout) if r["state"] != "open"]
            if len([r for r in found if r["status"] == 200]) >= answered or time.monotonic() > ends:
                return found[::-1]


def deployments(number: int) -> dict[str, dict[str, str]]:
    """Of one instance."""
    parts = {name: used.split("@") for name, used in MODELS.items()}
    return {f"{name}-{number}": {"model": model, "version": version} for name, (model, version) in parts.items()}


def fleet(tls: bool) -> dict[str, Any]:
    """Two instances that carry everything."""
    return {
        f"i{n}": {"key": ENV["UPSTREAM_KEY"], "port": 0, "tls": tls, "deployments": deployments(n)} for n in (1, 2)
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
            f"i{n}": {"endpoint": told["instances"][f"i{n}"]["endpoint"], "auth": {"key": "${env:UPSTREAM_KEY}"},
                      "deployments": deployments(n), **trusted}
            for n in (1, 2)
        },
        "models": {name: {"use": used} for name, used in MODELS.items()},
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
