"""Small things on loopback: a line from a program's pipe, a GET, ports that are free."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import ssl
from pathlib import Path

from bench.processes import Process, Stop


def line(process: Process, within_s: float) -> str:
    """The next line that a program prints."""
    assert process.popen.stdout is not None
    ready, _, _ = select.select([process.popen.stdout], [], [], within_s)
    text = process.popen.stdout.readline() if ready else ""
    if not text:
        said = process.said().strip()[-2000:]
        raise Stop(f"{process.name} said nothing within {within_s:.0f} s. On stderr: {said or '(nothing)'}")
    return text


def get(port: int, path: str, ca: Path | None, timeout: float = 5.0) -> tuple[int, bytes]:
    """A GET over a connection of its own."""
    if ca:
        context = ssl.create_default_context(cafile=str(ca))
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            "localhost", port, timeout=timeout, context=context
        )
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
