"""Names to addresses: kept for a while, looked up again (private endpoints move), never to a metadata service."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address


class Resolver:
    """Addresses by host name, one look-up at a time for each."""

    __slots__ = ("_known", "_loop", "_now", "_under_way")

    def __init__(self, loop: asyncio.AbstractEventLoop, now: Callable[[], float]) -> None:
        self._loop = loop
        self._now = now
        self._known: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._under_way: dict[str, asyncio.Task[tuple[str, ...]]] = {}

    async def addresses(self, host: str, port: int, keep_s: float) -> tuple[str, ...]:
        """Addresses in the order to try. Raises socket.gaierror; OSError when all of them are forbidden."""
        known = self._known.get(host)
        if known is not None and known[0] > self._now():
            return known[1]
        task = self._under_way.get(host)
        if task is None:
            task = self._loop.create_task(self._look_up(host, port, keep_s))
            self._under_way[host] = task
            task.add_done_callback(lambda _: self._under_way.pop(host, None))
        return await asyncio.shield(task)

    async def _look_up(self, host: str, port: int, keep_s: float) -> tuple[str, ...]:
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = tuple(dict.fromkeys(str(info[4][0]) for info in found))
        allowed = tuple(a for a in addresses if not forbidden(a))
        if not allowed:
            raise OSError("every address of the endpoint is link-local")
        self._known[host] = (self._now() + keep_s, allowed)
        return allowed


def forbidden(address: str) -> bool:
    """Link-local: where clouds keep their metadata services. Looked at when connecting, because a name can be made to
    point there after it was checked."""
    ip: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return ip.is_link_local
