"""`sluicegate simulate --scenario`: a file with a fleet, traffic and what goes wrong, run in virtual time."""

from __future__ import annotations

import gc
import json
import os
import re
import time
from typing import Any

import click
import yaml

from sluicegate.apis import APIS
from sluicegate.sim.scenario import Configuration, Scenario, judged, scenario_spec
from sluicegate.spec.load import load
from sluicegate.spec.problems import render
from sluicegate.spec.references import Sources

MADE_UP = "simulated-and-no-secret-at-all-"
"""A simulation needs no real secret: variables that have no default, and files, are what this begins."""

_VARIABLE = re.compile(rb"\$\{env:([A-Za-z0-9_]+)\}")


def read(path: str, seed: int | None = None) -> Scenario:
    """The scenario in a file, and the configuration it names. Raises ValueError saying what is wrong, OSError."""
    with open(path, encoding="utf-8") as f:
        document = yaml.load(f, Loader=yaml.BaseLoader)
    if not isinstance(document, dict):
        raise ValueError("write for_s:, traffic: and fleet: or gateway:")
    spec = scenario_spec(document)
    base = os.path.dirname(os.path.abspath(path))
    return Scenario(spec, base=base, seed=seed, compiled=lambda gateway: _compiled(gateway, base))


def _compiled(gateway: Any, base: str) -> Configuration:
    """A configuration from the name of its file, or from itself."""
    if isinstance(gateway, str):
        path = os.path.join(base, gateway)
        base = os.path.dirname(path)
        with open(path, "rb") as f:
            text = f.read()
    else:
        path, text = "gateway", yaml.safe_dump(gateway, sort_keys=False).encode()
    environ = {name.decode(): MADE_UP + name.decode() for name in _VARIABLE.findall(text)}
    loaded = load(text, path, base, Sources(environ, lambda name: MADE_UP + name), tuple(APIS))
    if loaded.snapshot is None or loaded.directory is None:
        raise ValueError("the gateway's configuration is wrong:\n" + render(loaded.problems, ""))
    return loaded.snapshot, loaded.directory


def run(path: str, seed: int | None, as_json: bool) -> None:
    """Run it and show what came of it; exit status 1 where that is not what the file expects."""
    try:
        scenario = read(path, seed)
    except (ValueError, OSError, yaml.YAMLError) as e:
        raise click.ClickException(f"{path}: {e}") from None
    usual = gc.get_threshold()
    gc.set_threshold(50_000, 50, 100)  # nearly everything is freed without it
    started = time.process_time()
    try:
        summary = scenario.run()
        wrong = judged(summary.data, scenario.spec.expect)
    except ValueError as e:
        raise click.ClickException(f"{path}: {e}") from None
    finally:
        gc.set_threshold(*usual)
    cpu_s = round(time.process_time() - started, 3)
    if as_json:
        click.echo(json.dumps({**summary.data, "cpu_s": cpu_s, "unexpected": wrong}))
    else:
        click.echo(summary.table())
        click.echo(f"\n{scenario.spec.for_s:g} s of traffic in {cpu_s:g} s of CPU time")
        for line in wrong:
            click.echo(f"not as expected: {line}")
    if wrong:
        raise SystemExit(1)
