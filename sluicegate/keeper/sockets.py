"""Listening sockets: one for each worker, owned by the keeper, so that replacing a worker resets nobody.

All of them are bound to one address with SO_REUSEPORT and the kernel spreads new connections over them. A worker
inherits its socket; while there is none, connections wait in the backlog.
"""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from typing import IO, Any

from sluicegate.core.settings import Listen

BACKLOG = 2048


class CannotListen(Exception):
    """No socket is to be had: what, and what to do about it."""


def listen(where: Listen, count: int = 1, shared: bool = False) -> list[socket.socket]:
    """That many listening sockets on one address. Raises CannotListen.

    `shared`: the address may be in use already by workers of ours whose keeper is gone.
    """
    made: list[socket.socket] = []
    try:
        family, _, _, _, address = socket.getaddrinfo(
            where.host, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        if where.port and not shared:
            # Without SO_REUSEPORT first: with it, two gateways by mistake would share the port and its traffic.
            bound(family, address, socket.SO_REUSEADDR).close()
        for _ in range(count):
            made.append(bound(family, address, socket.SO_REUSEADDR, socket.SO_REUSEPORT))
            if len(made) == 1:
                address = (address[0], made[0].getsockname()[1], *address[2:])
        for s in made:  # only now: a port the kernel picked could not be had twice
            s.listen(BACKLOG)
    except OSError as e:
        for s in made:
            s.close()
        hint = _ADVICE.get(e.errno or 0, "Write another gateway.listen.address.")
        raise CannotListen(f"cannot listen on {label(where)}: {(e.strerror or 'error').lower()}. {hint}") from None
    return made


def label(where: Listen) -> str:
    """host:port, as it is written."""
    return f"[{where.host}]:{where.port}" if ":" in where.host else f"{where.host}:{where.port}"


def bound(family: int, address: Any, *options: int) -> socket.socket:
    """A socket with these options, bound."""
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        for option in options:
            made.setsockopt(socket.SOL_SOCKET, option, 1)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


_ADVICE = {
    errno.EADDRINUSE: "Stop what listens there (ss -ltnp shows it), or write another gateway.listen.address.",
    errno.EADDRNOTAVAIL: "This machine has no such address: 0.0.0.0 means every address it has.",
    errno.EACCES: "Ports below 1024 need a privilege: write a higher one, such as 8443.",
}


def anonymous(what: str = "parcel") -> IO[bytes]:
    """A file without a name, that ends with the last process that holds it: a parcel has secrets in it."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create(f"sluicegate-{what}"), "w+b")
    return tempfile.TemporaryFile()
