"""`sluicegate simulate`: Azure OpenAI instances of one's own, to point a gateway at and to break."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from sluicegate.sim.fleet import Fleet

FIRST_PORT = 9001
KEPT = 200_000
"""Ledger entries, about 1 KB each: a simulator may run for days."""


@click.command()
@click.option("-i", "--instances", "path", metavar="FILE", type=click.Path(dir_okay=False), help="A fleet, in YAML.")
@click.option("-s", "--scenario", metavar="FILE", type=click.Path(dir_okay=False), help="Run that in virtual time.")
@click.option("--count", type=click.IntRange(1, 1000), help="So many like instances, without a file.  [default: 1]")
@click.option("--port", type=int, help="Port of the first; the others follow. 0: any.  [default: 9001]")
@click.option("--control", type=int, help="Port of the control API, on loopback.  [default: --port less 1]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of instances that name none.")
@click.option("--tls", "directory", metavar="DIR", help="HTTPS, with the certificates there; made if there are none.")
@click.option("--seed", type=int, help="Of texts, ids and drawn faults.  [default: 0, or as the file says]")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON: what listens where, or what came of it.")
def command(
    path: str | None, scenario: str | None, count: int | None, port: int | None, control: int | None, host: str,
    directory: str | None, seed: int | None, as_json: bool,
) -> None:  # fmt: skip
    """Simulate Azure OpenAI instances until interrupted.

    Without a file: instances i1, i2, ... with a deployment gpt-4o each. Keys that are not given are made and printed.

    With a scenario: no sockets. Its traffic runs through a gateway in virtual time, and a summary is printed; exit
    status 1 where something is not as the scenario expects.
    """
    if scenario is not None:
        from sluicegate.cli.scenario import run

        run(scenario, seed, as_json)
        return
    import asyncio

    import uvloop

    from sluicegate.sim.fleet import Fleet, PortTaken
    from sluicegate.sim.spec import fleet_spec
    from sluicegate.sim.tls import certificates

    if path and (count is not None or port is not None):
        raise click.UsageError("--count and --port: the file says what instances there are, and their ports")
    count = 1 if count is None else count
    port = FIRST_PORT if port is None else port
    document: dict[str, Any] = {"instances": {f"i{n + 1}": {"port": port + n if port else 0} for n in range(count)}}
    if path:
        document = _read(path)
    for instance in _instances(document):
        instance.setdefault("key", secrets.token_hex(16))
        instance.setdefault("host", host)
        if directory:
            instance.setdefault("tls", True)
    if control is not None:
        document["control"] = control
    elif "control" not in document:
        document["control"] = port - 1 if port and not path else 0
    try:
        spec = fleet_spec(document)
        wanted = directory is not None and any(instance.tls for instance in spec.instances.values())
        tls = certificates(directory) if wanted and directory is not None else None
        fleet = Fleet(spec, seed=seed, tls=tls, keep_bodies=False)
        fleet.ledger.limit = KEPT
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(fleet, as_json))
    except (ValueError, OSError) as e:
        raise click.ClickException(f"{path or 'simulate'}: {e}") from None
    except PortTaken as e:
        raise click.ClickException(f"{e}. Choose another with --port and --control, or in the file.") from None
    except KeyboardInterrupt:
        pass


def _read(path: str) -> dict[str, Any]:
    """A fleet's file. Every scalar is text here; the fields decide what it means."""
    import yaml

    try:
        with open(path, encoding="utf-8") as f:
            document = yaml.load(f, Loader=yaml.BaseLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise click.ClickException(f"{path}: {e}") from None
    if not isinstance(document, dict):
        raise click.ClickException(f"{path}: write instances: and below it what there is")
    return document if "instances" in document else {"instances": document}


def _instances(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that are objects; what is written as `name:` with nothing after it becomes one."""
    instances = _filled(document["instances"])
    for instance in instances:
        if "deployments" in instance:
            _filled(instance["deployments"])
    return instances


def _filled(objects: Any) -> list[dict[str, Any]]:
    if not isinstance(objects, dict):
        return []
    for name, value in objects.items():
        if value == "":
            objects[name] = {}
    return [value for value in objects.values() if isinstance(value, dict)]


async def _serve(fleet: Fleet, as_json: bool) -> None:
    import asyncio
    import signal

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with fleet:
        click.echo(json.dumps(_facts(fleet)) if as_json else _told(fleet))
        await stop.wait()


def _facts(fleet: Fleet) -> dict[str, Any]:
    instances = {
        served.name: {
            "endpoint": served.endpoint,
            "key": served.key,
            "kind": served.instance.spec.kind,
            "deployments": list(served.instance.spec.deployments),
        }
        for served in fleet
    }
    tls = next((served.tls for served in fleet if served.tls), None)
    return {"control": fleet.control, "ca": tls.ca if tls else None, "instances": instances}


def _told(fleet: Fleet) -> str:
    lines = []
    for served in fleet:
        lines.append(f"{served.name}  {served.endpoint}  key {served.key}  {served.instance.spec.kind}")
        for name, deployment in served.instance.spec.deployments.items():
            lines.append(f"    {name}: {deployment.model}@{deployment.version}, {deployment.sku}")
    facts = _facts(fleet)
    if facts["ca"]:
        lines.append(f"certificates signed by {facts['ca']}")
    lines.append(f"control  {fleet.control}  (GET / says what it can do)")
    return "\n".join(lines)
