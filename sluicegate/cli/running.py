"""What every verb that asks a running gateway does the same way: find it, ask, say what went wrong.

A gateway of this machine is asked on its Unix socket, which needs no key. One that is elsewhere is asked with
`--admin URL` and an operator's key, whose place in the environment is named: a key never stands on a command line,
where everybody on the machine can read it.
"""

from __future__ import annotations

import functools
import http.client
import json
import os
import re
import socket
import ssl
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import urlencode, urlsplit

import click

from sluicegate.cli.configuration import DEFAULT, config_option
from sluicegate.core.settings import Gateway
from sluicegate.spec import nodes
from sluicegate.spec.problems import Problems

SOCKET = "control.sock"
ASK_S = 60.0
"""A reload waits for a large configuration to be compiled."""
KEY_ENV = "SLUICEGATE_ADMIN_KEY"


@dataclass(frozen=True)
class At:
    """Which gateway is meant."""

    config: tuple[str, ...] = ()
    data: str | None = None
    admin: str | None = None
    key_env: str = KEY_ENV

    def folder(self) -> str:
        """Its `gateway.data` on this machine, or exit status 2."""
        if self.admin:
            raise click.UsageError("this reads the data of a gateway on this machine: leave out --admin")
        return self.data or _folder(self.config)


def running(f: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say which gateway is meant; the verb gets them as `at`."""

    @functools.wraps(f)
    def command(
        *args: Any, config: tuple[str, ...], data: str | None, admin: str | None, admin_key_env: str, **more: Any
    ) -> Any:
        if admin and data:
            raise click.UsageError("--admin is a gateway elsewhere, --data one of this machine: write one of them")
        return f(*args, at=At(config, data, admin, admin_key_env), **more)

    there = "Ask a gateway elsewhere: the address of its management API. Else from SLUICEGATE_ADMIN."
    key = f"The variable that holds an operator's key for it. Default: {KEY_ENV}."
    command = click.option("--admin-key-env", metavar="NAME", default=KEY_ENV, help=key)(command)
    command = click.option("--admin", metavar="URL", envvar="SLUICEGATE_ADMIN", help=there)(command)
    what = "The folder it keeps its data in. Default: gateway.data of the configuration."
    return config_option(click.option("--data", metavar="DIR", help=what)(command))


json_option = click.option("--json", "as_json", is_flag=True, help="As JSON.")


def ask(
    method: str, path: str, at: At, value: Any = None, query: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Any:  # fmt: skip
    """The gateway's answer, or exit status 1 with what is wrong. `value`: sent as the body, JSON."""
    body = None if value is None else json.dumps(value).encode()
    with _errors(at):
        connection, answer = _sent(method, _with(path, query), at, body, headers)
        try:
            status, found = answer.status, json.loads(answer.read())
        finally:
            connection.close()
    if status >= 400 and "error" in found:
        _fail(status, found["error"]["message"], at)
    return found


def events(path: str, at: At) -> Iterator[tuple[str, Any]]:
    """Server-sent events: name and data; until interrupted, or the gateway ends."""
    with _errors(at):
        connection, answer = _sent("GET", path, at, None)
        if answer.status != 200:
            _fail(answer.status, json.loads(answer.read())["error"]["message"], at)
    name = ""
    try:
        while line := answer.readline():
            text = line.decode().rstrip("\n")
            if text.startswith("event: "):
                name = text[7:]
            elif text.startswith("data: "):
                yield name, json.loads(text[6:])
    except (OSError, http.client.HTTPException):
        return
    finally:
        connection.close()


def _with(path: str, query: Mapping[str, Any] | None) -> str:
    given = {name: value for name, value in (query or {}).items() if value not in (None, "", (), [])}
    return f"{path}?{urlencode(given, doseq=True)}" if given else path


class _errors:
    """Turns what goes wrong on the way into a message with what to do."""

    def __init__(self, at: At) -> None:
        self.at = at

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: Any) -> None:
        if e is None or isinstance(e, click.ClickException):
            return
        if self.at.admin:
            if isinstance(e, ssl.SSLError):
                raise click.ClickException(f"{self.at.admin}: TLS failed: {e.reason or e}") from None
            if isinstance(e, OSError):
                what = (e.strerror or str(e) or type(e).__name__).lower()
                raise click.ClickException(f"{self.at.admin} cannot be reached: {what}") from None
            if isinstance(e, http.client.HTTPException | ValueError):
                raise click.ClickException(f"{self.at.admin} does not answer as a gateway would") from None
            return
        folder = self.at.folder()
        if isinstance(e, FileNotFoundError | ConnectionRefusedError | NotADirectoryError):
            raise click.ClickException(
                f"no gateway runs with {folder}. Start one: sluicegate serve. If its data is elsewhere: --data DIR; "
                "if it runs on another machine: --admin URL"
            ) from None
        if isinstance(e, PermissionError):
            path = os.path.join(folder, SOCKET)
            raise click.ClickException(f"{path} belongs to somebody else: ask as that user") from None
        if isinstance(e, OSError | http.client.HTTPException | ValueError):
            raise click.ClickException(f"the gateway of {folder} does not answer") from None


def _fail(status: int, message: str, at: At) -> NoReturn:
    if status == 401 and at.admin and at.key_env not in os.environ:
        message += f". The variable {at.key_env} holds none: set it, or name another with --admin-key-env"
    raise click.ClickException(message)


def _sent(
    method: str, path: str, at: At, body: bytes | None, more: Mapping[str, str] | None = None
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """The connection and the head of the answer."""
    headers = {**({"content-type": "application/json"} if body is not None else {}), **(more or {})}
    if at.admin:
        connection = _there(at.admin)
        key = os.environ.get(at.key_env, "")
        if key:
            headers["authorization"] = f"Bearer {key.strip()}"
        path = urlsplit(at.admin).path.rstrip("/") + path
        try:
            connection.request(method, path, body, headers)
            return connection, connection.getresponse()
        except BaseException:
            connection.close()
            raise
    connection = http.client.HTTPConnection("localhost", timeout=ASK_S)
    fd = os.open(at.folder(), os.O_RDONLY | os.O_DIRECTORY)
    try:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(ASK_S)
        connection.sock.connect(f"/proc/self/fd/{fd}/{SOCKET}")  # by way of the folder a long path fits, too
        connection.request(method, path, body, headers)
        return connection, connection.getresponse()
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(fd)


def _there(url: str) -> http.client.HTTPConnection:
    """A connection to a management API, or exit status 2."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or parts.username or parts.query or parts.fragment:
        raise click.UsageError(f'"{url}" is no address of a management API: write http://127.0.0.1:8081')
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=ASK_S, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, port, timeout=ASK_S)


def _folder(config: Sequence[str]) -> str:
    """`gateway.data` as the configuration has it; the rest of it may be wrong, or name keys that are not at hand."""
    if not config and not os.path.exists(DEFAULT):
        what = f"there is no {DEFAULT} here. Name the configuration: -c FILE, or the data: --data DIR"
        raise click.UsageError(f"{what}, or a gateway elsewhere: --admin URL")
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


Paint = Callable[[str], str]


def table(
    rows: Sequence[Sequence[object]],
    head: Sequence[str],
    right: Container[int] = (),
    paint: Mapping[int, Paint] | None = None,
) -> str:
    """Columns as wide as what is in them; `right`: those that end where they should, numbers. `paint`: colours of
    columns, which click takes out again where nobody sees them."""
    text = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[n]) for row in text) for n in range(len(head))]
    put = [str.rjust if n in right else str.ljust for n in range(len(head))]
    last = len(head) - 1
    lines = []
    for number, row in enumerate(text):
        cells = [p(cell, w) for p, cell, w in zip(put, row, widths, strict=True)]
        cells[last] = cells[last].rstrip()
        while last and not cells[-1] and len(cells) > 1:  # nothing but blanks at the end
            cells.pop()
            cells[-1] = cells[-1].rstrip()
        if number == 0:
            lines.append(click.style("  ".join(cells), bold=True))
        else:
            lines.append("  ".join(paint[n](c) if paint and n in paint else c for n, c in enumerate(cells)))
    return "\n".join(lines)


COLOURS = {"closed": "green", "paced": "yellow", "shut": "yellow", "open": "red", "half_open": "red", "drained": "blue"}


def state(text: str) -> str:
    """The state of a deployment, coloured by the word it begins with."""
    word = re.match(r"[a-z_]*", text.strip())
    return click.style(text, fg=COLOURS.get(word[0] if word else ""))


def deployments(name: str, at: At) -> list[str]:
    """The deployment of this name; of an instance all that models use, or exit status 1 when there is none."""
    if "/" in name:
        deployment_path(name)
        return [name]
    known = [d["deployment"] for d in ask("GET", "/v1/deployments", at)["deployments"]]
    found = [label for label in known if label.partition("/")[0] == name]
    if not found:
        instances = ", ".join(dict.fromkeys(label.partition("/")[0] for label in known))
        raise click.ClickException(f'no model uses a deployment of an instance "{name}". Instances: {instances}')
    return found


def deployment_path(deployment: str) -> str:
    """Where a deployment is met, or exit status 2 when this is no name of one."""
    if not _DEPLOYMENT.fullmatch(deployment):
        raise click.UsageError(
            f'"{deployment}" is no deployment: write INSTANCE/DEPLOYMENT, as `sluicegate pools` shows'
        )
    return f"/v1/deployments/{deployment}"


_DEPLOYMENT = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")
