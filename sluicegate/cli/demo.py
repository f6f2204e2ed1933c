"""`sluicegate demo`: simulated deployments, a gateway in front of them, and requests to try, with one command.

Two child processes, as it would be in earnest: the simulator and `sluicegate serve`. Their configuration, keys and logs
live in a private directory that goes away with them.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from string import Template
from types import FrameType
from typing import IO, Any

import click

from sluicegate.cli.demo_traffic import Traffic

READY_S = 20.0
STOP_S = 8.0
LOOK_S = 0.1

FLEET = """\
instances:
  weu:
    region: West Europe
    key: {weu_key}
    deployments:
      gpt-4o-ptu: {{sku: ProvisionedManaged, capacity: {{ptu: 20, bucket_s: 5}}, burst: 4, latency: {quick}}}
      gpt-4o: {{burst: 4, latency: {usual}}}
  sdc:
    region: Sweden Central
    key: {sdc_key}
    deployments:
      gpt-4o-ptu: {{sku: ProvisionedManaged, capacity: {{ptu: 20, bucket_s: 5}}, burst: 4, latency: {quick}}}
      gpt-4o: {{burst: 4, latency: {usual}}}
"""
QUICK = "{first_token_s: 0.25, per_token_s: 0.015, jitter: 0.2}"
USUAL = "{first_token_s: 0.4, per_token_s: 0.025, jitter: 0.3}"

GATEWAY = """\
version: 1
gateway:
  name: demo
  region: westeurope
  data: {directory}/data
  drain: 1s
  listen: {{address: "127.0.0.1:{port}"}}
instances:
  weu:
    endpoint: {weu}
    region: westeurope
    auth: {{key: "${{env:SLUICEGATE_DEMO_WEU_KEY}}"}}
    deployments:
      gpt-4o-ptu: {{model: gpt-4o, version: 2024-11-20, sku: ProvisionedManaged, ptu: 20}}
      gpt-4o: {{model: gpt-4o, version: 2024-11-20, sku: Standard}}
  sdc:
    endpoint: {sdc}
    region: swedencentral
    auth: {{key: "${{env:SLUICEGATE_DEMO_SDC_KEY}}"}}
    deployments:
      gpt-4o-ptu: {{model: gpt-4o, version: 2024-11-20, sku: ProvisionedManaged, ptu: 20}}
      gpt-4o: {{model: gpt-4o, version: 2024-11-20, sku: Standard}}
models:
  chat: {{use: gpt-4o@2024-11-20}}
consumers:
  demo-app:
    key: ${{env:SLUICEGATE_DEMO_KEY}}
    models: [chat]
    diagnostics: true
  newsletter:
    key: ${{env:SLUICEGATE_DEMO_TRAFFIC_KEY}}
    models: [chat]
    diagnostics: true
"""

TEXT = r"""
Sluicegate runs in front of simulated Azure OpenAI instances.

  gateway  $base   model "chat", consumer "demo-app"
  weu      $weu   gpt-4o-ptu (provisioned: asked first), gpt-4o
  sdc      $sdc   the same, in another region: asked when weu cannot
  control  $control   of the simulator: what it was asked, and how to break it

Ask, as Azure's clients do

    curl -s '$base/openai/deployments/chat/chat/completions?api-version=2024-10-21' \
      -H 'api-key: $key' -H 'content-type: application/json' \
      -d '{"messages": [{"role": "user", "content": "How high is the water?"}]}'

Stream, as OpenAI's clients do

    curl -sN '$base/v1/chat/completions' \
      -H 'authorization: Bearer $key' -H 'content-type: application/json' \
      -d '{"model": "chat", "stream": true, "messages": [{"role": "user", "content": "And tomorrow?"}]}'

  With -i the head says who answered: x-sluicegate-deployment, x-sluicegate-attempts.

Throttle the provisioned deployment for 20 seconds

    curl -s '$control/faults' -d '{"kind": "throttle", "instance": "weu", "deployment": "gpt-4o-ptu", "for_s": 20}'

  Ask again: the answer is as before, but the next deployment gave it. Who was asked, and who said 429:

    curl -s '$control/totals'

Throttle everything

    curl -s '$control/faults' -d '{"kind": "throttle", "for_s": 20}'

  Ask again with -i: now the gateway itself says 429, and after how long asking helps.

Kill an instance

    curl -s -X PATCH '$control/config' -d '{"instances": {"weu": {"mode": "down"}}}'

  Ask again: the other one answers. "up" instead of "down" brings it back.

Look inside, from another terminal

$inside

More ways to break things, and the ledger of every request: curl -s $control/

Ctrl-C stops everything. Keys are new each time.
"""

INSIDE = ("top", "pools", "requests", "usage")

STORY = """
Traffic tells a story now, over and over; watch it with `top` beside it. --quiet leaves it out.
"""


class Died(Exception):
    """A child ended that should not have; the text says which, how, and its last words."""


class Child:
    """One of the two processes."""

    def __init__(self, name: str, args: list[str], log: Path, env: dict[str, str], say: bool = False) -> None:
        self.name = name
        self.log = log
        with open(log, "wb") as to:
            out: int | IO[bytes] = subprocess.PIPE if say else to
            command = [sys.executable, "-P", "-m", "sluicegate.main", *args]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=to, env=env,
                                            process_group=0)  # fmt: skip

    def check(self) -> None:
        """Raises Died."""
        status = self.process.poll()
        if status is not None:
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            words = self.log.read_text(errors="replace").strip().splitlines()[-12:]
            told = "\n".join("    " + line for line in words)
            raise Died(f"{self.name} {how}." + (f" Its last words:\n{told}" if told else ""))

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        for again in (self.process.terminate, self.process.kill):  # a keeper told twice does not wait for its workers
            try:
                self.process.wait(STOP_S)
                break
            except subprocess.TimeoutExpired:
                again()
        self.process.wait()
        with contextlib.suppress(ProcessLookupError):  # workers go on when their keeper was killed
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.process.stdout is not None:
            self.process.stdout.close()


@click.command()
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535), help="Of the gateway.")
@click.option("--seed", default=0, show_default=True, help="Of what the simulated models say.")
@click.option("--quiet", is_flag=True, help="No traffic but yours, and nothing told about it: for scripts.")
@click.option(
    "--pace", default=1.0, show_default=True, type=click.FloatRange(0.1, 10), help="Of the story: 2 is twice as fast."
)
def command(port: int, seed: int, quiet: bool, pace: float) -> None:
    """Try Sluicegate without Azure: it runs until Ctrl-C and leaves nothing behind.

    Traffic tells a story that repeats every two minutes: calm, a spike that spills over, a throttling, an outage of one
    region, recovery. Each part says what to watch.
    """
    _free(port)
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    children: list[Child] = []
    traffic: Traffic | None = None
    directory = Path(tempfile.mkdtemp(prefix="sluicegate-demo-"))  # 0700
    try:
        facts, keys = _start(directory, children, port, seed)
        while not stopping and not _answers(port):
            children[-1].check()
            if time.monotonic() > facts["began"] + READY_S:
                raise Died(f"the gateway did not answer within {READY_S:.0f} s.")
            time.sleep(LOOK_S)
        if not stopping:
            click.echo(_text(facts, port, keys["SLUICEGATE_DEMO_KEY"], directory))
        if not stopping and not quiet:
            click.echo(STORY)
            traffic = Traffic(_base(port), facts["control"], keys["SLUICEGATE_DEMO_TRAFFIC_KEY"], pace, _tell)
            traffic.start()
        while not stopping:
            time.sleep(LOOK_S)
            if not stopping:
                for child in children:
                    child.check()
    except Died as e:
        if not stopping:  # Ctrl-C reaches the children as well, and may reach them first
            raise click.ClickException(str(e)) from None
    finally:
        if traffic is not None:
            traffic.stop()
        for child in reversed(children):
            child.stop()
        shutil.rmtree(directory, ignore_errors=True)
        if stopping:
            click.echo("\nStopped; nothing is left.")


def _free(port: int) -> None:
    """Exit status 1, with what to do, if somebody listens there."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError as e:
            hint = f"Choose another: sluicegate demo --port {8090 if port != 8090 else 8091}"
            raise click.ClickException(f"port {port}: {(e.strerror or 'error').lower()}. {hint}") from None


def _start(directory: Path, children: list[Child], port: int, seed: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Start both; what the simulator said of itself, and the keys."""
    whose = ("WEU_KEY", "SDC_KEY", "KEY", "TRAFFIC_KEY")
    names = [f"SLUICEGATE_DEMO_{name}" for name in whose]
    keys = {name: secrets.token_hex(16) for name in names}
    env = {**os.environ, **keys}
    fleet, gateway = directory / "fleet.yaml", directory / "gateway.yaml"
    fleet.write_text(FLEET.format(weu_key=keys[names[0]], sdc_key=keys[names[1]], quick=QUICK, usual=USUAL))
    simulate = ["simulate", "--instances", str(fleet), "--seed", str(seed), "--json"]
    simulator = Child("the simulator", simulate, directory / "simulator.log", dict(os.environ), say=True)
    children.append(simulator)
    assert simulator.process.stdout is not None
    line = simulator.process.stdout.readline()
    if not line:
        simulator.process.wait(STOP_S)
        simulator.check()
    facts: dict[str, Any] = json.loads(line)
    facts["began"] = time.monotonic()
    endpoints = {name: instance["endpoint"] for name, instance in facts["instances"].items()}
    gateway.write_text(GATEWAY.format(directory=directory, port=port, **endpoints))
    children.append(Child("the gateway", ["serve", "-c", str(gateway)], directory / "gateway.log", env))
    return facts, keys


def _answers(port: int) -> bool:
    """Whether the gateway is ready."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1.0) as s:
            s.sendall(b"GET /health/ready HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
            return s.recv(64).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


def _base(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _program() -> str:
    """How a shell finds this program: by its name, or beside this Python."""
    beside = Path(sys.executable).parent / "sluicegate"
    if shutil.which("sluicegate") is not None:
        return "sluicegate"
    if not beside.exists():
        return f"{sys.executable} -m sluicegate.main"
    return str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)


def _tell(line: str) -> None:
    """A line of the story: what begins is bold, a spillover in colour."""
    begins = line[:6].strip() != ""
    with contextlib.suppress(BrokenPipeError):  # `demo | head`: nobody reads on, and it goes on
        click.echo(click.style(line, bold=begins, fg="yellow" if "  spillover  " in line else None))


def _text(facts: dict[str, Any], port: int, key: str, directory: Path) -> str:
    """What runs, and what to try: titles bold, what can be pasted in colour."""
    base = _base(port)
    inside = "\n".join(f"    {_program()} {verb} --data {directory / 'data'}" for verb in INSIDE)
    weu, sdc = (facts["instances"][name]["endpoint"] for name in ("weu", "sdc"))
    text = Template(TEXT).substitute(base=base, weu=weu, sdc=sdc, control=facts["control"], key=key, inside=inside)
    lines = []
    for line in text.splitlines():
        if line.startswith("    "):
            line = click.style(line, fg="cyan")
        elif line[:1].isupper():
            line = click.style(line, bold=True)
        lines.append(line)
    return "\n".join(lines)
