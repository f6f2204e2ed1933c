"""Names to addresses: kept for a while, looked up again (private endpoints move), never to a metadata service."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ipaddress import ip_address

STALE_S = 600.0
"""How long old addresses still serve while the name server does not answer. Certificates say whether they are right."""


class Resolver:
    """Addresses by name, one look-up at a time for each name."""

    __slots__ = ("_known", "_loop", "_now", "_under_way")

    def __init__(self, loop: asyncio.AbstractEventLoop, now: Callable[[], float]) -> None:
        self._loop = loop
        self._now = now
        self._known: dict[str, tuple[float, list[str]]] = {}
        "When it was looked up, and what was found in the order to try."
        self._under_way: dict[str, asyncio.Task[list[str] | OSError]] = {}

    async def addresses(self, host: str, port: int, keep_s: float) -> list[str]:
        """In the order to try; an address is its own. Raises OSError when the name does not resolve."""
        if is_address(host):
            return [host]
        at, known = self._known.get(host, (0.0, []))
        if known and self._now() < at + keep_s:
            return list(known)
        task = self._under_way.get(host)
        if task is None:
            self._under_way[host] = task = self._loop.create_task(self._look_up(host, port))
        found = await asyncio.shield(task)  # others wait for it, too
        if not isinstance(found, OSError):
            return list(found)
        if known and self._now() < at + STALE_S:
            return list(known)
        raise found

    async def _look_up(self, host: str, port: int) -> list[str] | OSError:
        try:
            found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
        except OSError as error:
            return error
        except UnicodeError as error:  # a label that is empty or too long
            return OSError(str(error))
        finally:
            del self._under_way[host]
        self._known[host] = (self._now(), addresses)
        return addresses

    def demote(self, host: str, address: str) -> None:
        """It did not answer: try it after the others."""
        _, known = self._known.get(host, (0.0, []))
        if address in known:
            known.remove(address)
            known.append(address)


def is_address(host: str) -> bool:
    """An IP address, not a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
