"""The gateway under measurement: the configuration it is given, how it is started, and the totals it prints at its end.

Started as an operator would, `sluicegate serve -c FILE`, without any PYTHON* variable.
"""

from __future__ import annotations

import json
import os
import pprint
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.setups import Place
from bench.tokens import AUDIENCE, ISSUER
from sluicegate.apis import APIS
from sluicegate.spec.load import load
from sluicegate.spec.references import Sources

FILE = "gateway.yaml"
CLIENT_KEY, UPSTREAM_KEY = "BENCH_KEY", "BENCH_UPSTREAM_KEY"
ON = (
    "consumer key, grant, three limits (tokens, requests, concurrency), a rule for max_tokens, pool of three by "
    "least_tokens with breakers and failover, priced usage records in the journal, moved into the ledger, metrics, "
    "access log to a file. CPU is of the worker; the keeper's, which writes ledger and log, has a line of its own"
)  # as `config` says; keep in step
BARE = (
    "consumer key, grant, pool of three by least_tokens with breakers and failover, priced records in the journal, "
    "moved into the ledger, metrics. Off by --bare: limits, rules for parameters, access log"
)
OFFERS = "operations: [chat_completions, embeddings]"
NAMES = ("one", "two", "three", "four", "five")


def program() -> str | None:
    """`sluicegate` of this virtual environment."""
    return shutil.which("sluicegate", path=str(Path(sys.executable).parent)) or shutil.which("sluicegate")


def keys() -> dict[str, str]:
    """The environment variables that the configuration refers to; new ones for each run."""
    return {name: secrets.token_urlsafe(32) for name in (CLIENT_KEY, UPSTREAM_KEY)}


def environment(base: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Variables for the gateway: PYTHON* ones change what is measured (PYTHONDONTWRITEBYTECODE does)."""
    return {name: value for name, value in base.items() if not name.startswith("PYTHON")} | dict(more)


def config(place: Place, bare: bool = False) -> str:
    """A pool of as many instances as there are ports, one model over all of them, one consumer."""
    setup, files = place.setup, place.certificates
    listen = f"address: 127.0.0.1:{place.port}"
    if setup.client_tls:
        listen += f", tls: {{certificate: {files.certificate}, key: {files.key}}}"
    process = f"{{listen: {{{listen}}}, data: {place.folder}/data, core_dumps: true}}"
    lines = ["version: 1", f"gateway: {process}", "instances:"]
    for number, (name, port) in enumerate(zip(NAMES, place.upstreams, strict=False), 1):
        endpoint = f"https://localhost:{port}" if setup.upstream_tls else f"http://127.0.0.1:{port}"
        lines += [f"  {name}:", f'    endpoint: "{endpoint}"', f'    auth: {{key: "${{env:{UPSTREAM_KEY}}}"}}']
        if setup.upstream_tls:
            lines.append(f"    tls: {{ca: {files.ca}}}")
        lines.append(f"    deployments: {{gpt-4o-{number}: {{model: gpt-4o, version: 2024-11-20}}}}")
    credential = f'key: "${{env:{CLIENT_KEY}}}"'
    if place.tokens is not None:
        keys = place.tokens.url or place.tokens.keys
        issuer = f"{{kind: oidc, issuer: '{ISSUER}', audience: {AUDIENCE}, jwks: '{keys}'}}"
        lines += ["issuers:", f"  bench: {issuer}"]
        credential = "match: {issuer: bench, roles: [llm.use]}, each: azp"
    if bare:
        lines += ["models:", f"  chat: {{use: gpt-4o@2024-11-20, {OFFERS}}}"]
        lines += ["consumers:", f"  bench: {{{credential}, models: [chat]}}"]
        return "\n".join(lines) + "\n"
    lines += ["models:", f"  chat: {{use: gpt-4o@2024-11-20, {OFFERS}, params: {{max_tokens: {{max: 100k}}}}}}"]
    limits = "[500B tokens/minute, 500M requests/minute, 100k concurrent]"  # counted, never reached
    lines += ["consumers:", f"  bench: {{{credential}, models: [chat], limits: {limits}}}"]
    lines += [f"telemetry: {{access_log: {place.folder}/access.log}}"]
    return "\n".join(lines) + "\n"


def effective(text: str, folder: Path, env: Mapping[str, str]) -> str:
    """What the gateway makes of the configuration: every setting, those that were not written too. Keys show as ***."""
    loaded = load(text.encode(), FILE, str(folder), Sources(env), tuple(APIS))
    return pprint.pformat(loaded.snapshot, width=110)


def version(command: str) -> str:
    env = environment(os.environ, {})
    return subprocess.run([command, "version"], capture_output=True, text=True, env=env, timeout=30).stdout.strip()


# ---------------------------------------------------------------- totals


@dataclass(frozen=True)
class Totals:
    """What was asked and sent while one gateway process lived, as somebody counted it."""

    requests: int
    input_tokens: int
    output_tokens: int


def printed_totals(stderr: str) -> dict[str, Any] | None:
    """The line with which a gateway ends; None if there is none."""
    for line in reversed(stderr.splitlines()):
        if line.startswith("{") and '"totals"' in line:
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict) and found.get("event") == "totals":
                return found
    return None


def wrong_totals(printed: Mapping[str, Any] | None, client: Totals, upstream: Totals, asked_all: bool) -> list[str]:
    """Complaints: the gateway's books against what the client got and what the upstream sent. Empty is right.

    Clients see no tokens in streams for which they did not ask for usage; then only the upstream's sum counts.
    """
    if printed is None:
        return ["the gateway ended without its line of totals"]
    wrong = []

    def equal(what: str, booked: object, other: str, expected: int) -> None:
        if booked != expected:
            wrong.append(f"{what}: the gateway says {booked}, {other} {expected}")

    equal("records", printed.get("records"), "answered to clients were", client.requests)
    equal("settled", printed.get("settled"), "answered to clients were", client.requests)
    for name in ("interrupted", "refused"):
        equal(name, printed.get(name, 0), "expected were", 0)
    equal("requests upstream", upstream.requests, "answered to clients were", client.requests)
    for name in ("input_tokens", "output_tokens"):
        equal(name, printed.get(name), "the upstream sent", getattr(upstream, name))
        if asked_all:
            equal(name, printed.get(name), "clients saw", getattr(client, name))
    return wrong
