"""What every verb that reads a configuration does the same way: find it, load it, say what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import click

from sluicegate.apis import APIS
from sluicegate.spec.bounds import bounds, together
from sluicegate.spec.load import Loaded, load_all, load_texts
from sluicegate.spec.made import Held, nobody
from sluicegate.spec.problems import counted, dotted, render
from sluicegate.spec.references import Sources, Vault

DEFAULT = "gateway.yaml"
_SHOWN = {"key": "a key", "none": "no credential", "passthrough": "the client's own token"}
"""What instances see of us."""

SHOWN = 20
"""Limits in a summary."""


def config_option(f: Callable[..., Any]) -> Callable[..., Any]:
    """`-c FILE`."""
    what = f"The configuration. Default: {DEFAULT}. Several: later files override earlier ones, leaf by leaf."
    return click.option("-c", "--config", metavar="FILE", multiple=True, help=what)(f)


def again(config: tuple[str, ...], start: bool, made: Held = nobody, vault: Vault | None = None) -> Loaded:
    """The configuration as its files are now. `start`: it is about to take effect. `made`: consumers that were made
    through the management API. `vault`: says what `${keyvault:...}` leads to; None: nobody is asked."""
    return load_all(config or (DEFAULT,), Sources(os.environ, vault=vault), tuple(APIS), start, made)


class Sent:
    """Compiles what somebody sends to a gateway that was started with these files, in this process's environment."""

    def __init__(self, config: tuple[str, ...], made: Held = nobody, vault: Vault | None = None) -> None:
        self._made = made
        self._vault = vault
        self.paths = tuple(os.path.abspath(path) for path in config or (DEFAULT,))

    def __call__(self, texts: Sequence[tuple[str, bytes]], base: str, start: bool) -> Loaded:
        base = base or os.path.dirname(self.paths[0])
        return load_texts(texts, base, Sources(os.environ, vault=self._vault), tuple(APIS), start, self._made)

    def own(self) -> list[bytes] | None:
        """What the files hold now; None where one cannot be read."""
        try:
            return [Path(path).read_bytes() for path in self.paths]
        except OSError:
            return None


def load(
    config: tuple[str, ...], start: bool, end: str, quiet: bool = False, made: Held = nobody, vault: Vault | None = None
) -> Loaded:
    """The configuration, or exit status 2 after saying everything that is wrong with it. `end` closes the report;
    `quiet`: warnings and notes are not asked for."""
    if not config and not os.path.exists(DEFAULT):
        raise click.UsageError(f"there is no {DEFAULT} here. Name your configuration: -c FILE")
    loaded = again(config, start, made, vault)
    report = render(loaded.problems, end if loaded.problems.fatal else "")
    if report and (loaded.problems.fatal or not quiet):
        click.echo(report, err=True)
    if loaded.problems.fatal:
        raise SystemExit(2)
    return loaded


def summary(loaded: Loaded) -> str:
    """What the configuration comes to, one line, and each model's pool in the order in which it is tried."""
    snapshot, directory = loaded.snapshot, loaded.directory
    assert snapshot is not None and directory is not None
    instances = {i.number: i.name for i in snapshot.instances}
    labels = {d.number: f"{instances[d.instance]}/{d.name} (tier {d.tier})" for d in snapshot.deployments}
    sizes = {
        "instance": snapshot.instances,
        "deployment": snapshot.deployments,
        "model": snapshot.models,
        "consumer": directory.consumers,
    }
    lines = ["ok: " + ", ".join(counted(len(things), noun) for noun, things in sizes.items())]
    for model in snapshot.models:
        lines.append(f"  {model.name}: " + ", then ".join(labels[n] for n in model.deployments))
    for instance in snapshot.instances:
        auth = instance.auth
        shown = str(snapshot.identities[auth.identity - 1]) if auth.identity else _SHOWN.get(auth.kind, auth.kind)
        lines.append(f"  {instance.name}: {shown}")
    lines += [f"  {line}" for line in together(snapshot, directory)]
    limits = list(islice(bounds(snapshot, directory), SHOWN + 1))
    lines += [f"  {line}" for line in limits[:SHOWN]]
    if len(limits) > SHOWN:
        lines.append("  ... and more limits")
    for path, before, now, removed in loaded.overrides:
        lines.append(f"  {now}: {'removes' if removed else 'overrides'} {dotted(path)} of {before}")
    return "\n".join(lines)
