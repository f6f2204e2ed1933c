"""What every verb that asks a running gateway does the same way: find its Unix socket, ask, say what went wrong."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
from collections.abc import Callable, Container, Sequence
from typing import Any

import click

from sluicegate.cli.configuration import DEFAULT, config_option
from sluicegate.core.settings import Gateway
from sluicegate.spec import nodes
from sluicegate.spec.problems import Problems

SOCKET = "control.sock"
ASK_S = 60.0
"""A reload waits for a large configuration to be compiled."""


def running(f: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say which gateway is meant."""
    what = "The folder it keeps its data in. Default: gateway.data of the configuration."
    return config_option(click.option("--data", metavar="DIR", help=what)(f))


def ask(method: str, path: str, config: Sequence[str], data: str | None, value: Any = None) -> Any:
    """The gateway's answer, or exit status 1 with what is wrong. `value`: sent as the body, JSON."""
    folder = folder_of(config, data)
    try:
        status, body = _asked(method, path, folder, None if value is None else json.dumps(value).encode())
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        raise click.ClickException(
            f"no gateway runs with {folder}. Start one: sluicegate serve. If its data is elsewhere: --data DIR"
        ) from None
    except PermissionError:
        raise click.ClickException(
            f"{os.path.join(folder, SOCKET)} belongs to somebody else: ask as that user"
        ) from None
    except (OSError, http.client.HTTPException, ValueError):
        raise click.ClickException(f"the gateway of {folder} does not answer") from None
    if status >= 400 and "error" in body:
        raise click.ClickException(body["error"]["message"])
    return body


def _asked(method: str, path: str, folder: str, body: bytes | None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("gateway", timeout=ASK_S)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(ASK_S)
        connection.sock.connect(f"/proc/self/fd/{fd}/{SOCKET}")  # by way of the folder a long path fits, too
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        os.close(fd)
        connection.close()


def folder_of(config: Sequence[str], data: str | None) -> str:
    """The folder of the gateway that is meant, or exit status 2."""
    return data or _folder(config)


def _folder(config: Sequence[str]) -> str:
    """`gateway.data` as the configuration has it; the rest of it may be wrong, or name keys that are not at hand."""
    if not config and not os.path.exists(DEFAULT):
        raise click.UsageError(f"there is no {DEFAULT} here. Name the configuration: -c FILE, or the data: --data DIR")
    found = Gateway().data
    base = "."
    for path in config or (DEFAULT,):
        try:
            with open(path, "rb") as f:
                root = nodes.read(f.read(nodes.LARGEST + 1), path, Problems())
        except OSError as e:
            raise click.UsageError(f"{path} cannot be read: {(e.strerror or 'error').lower()}") from None
        gateway = root.items.get("gateway") if root else None
        data = gateway.items.get("data") if isinstance(gateway, nodes.Mapping) else None
        if isinstance(data, nodes.Scalar) and not data.empty:
            found = data.text
        base = os.path.dirname(os.path.abspath(path)) if path == (config or (DEFAULT,))[0] else base
    if "${" in found:
        raise click.UsageError(f"gateway.data is {found}: name the folder itself with --data DIR")
    return os.path.normpath(os.path.join(base, found))


def table(rows: Sequence[Sequence[object]], head: Sequence[str], right: Container[int] = ()) -> str:
    """Columns as wide as what is in them; `right`: those that end where they should, numbers."""
    text = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[n]) for row in text) for n in range(len(head))]
    put = [str.rjust if n in right else str.ljust for n in range(len(head))]
    lines = ("  ".join(p(cell, w) for p, cell, w in zip(put, row, widths, strict=True)) for row in text)
    return "\n".join(line.rstrip() for line in lines)


def deployment_path(deployment: str) -> str:
    """Where a deployment is met, or exit status 2 when this is no name of one."""
    if not _DEPLOYMENT.fullmatch(deployment):
        raise click.UsageError(
            f'"{deployment}" is no deployment: write INSTANCE/DEPLOYMENT, as `sluicegate pools` shows'
        )
    return f"/v1/deployments/{deployment}"


_DEPLOYMENT = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")
