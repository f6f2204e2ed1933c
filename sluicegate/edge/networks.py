"""Addresses and networks: who is inside, and which address a proxy says that it asks for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

KNOWN_MOST: Final = 4096
"""Addresses whose answer is kept: clients choose theirs."""

HOPS_MOST: Final = 64
"""Of one request that are looked at, from the nearest."""


class Networks:
    """Some networks, as `10.0.0.0/8` and `2001:db8::/32`."""

    __slots__ = ("_known", "_v4", "_v6", "empty")

    def __init__(self, networks: Iterable[str]) -> None:
        self._v4: list[tuple[int, int]] = []
        self._v6: list[tuple[int, int]] = []
        for text in networks:
            network = ip_network(text)
            into = self._v4 if network.version == 4 else self._v6
            into.append((int(network.network_address), int(network.netmask)))
        self.empty = not (self._v4 or self._v6)
        self._known: dict[str, bool] = {}

    def hold(self, address: str) -> bool:
        """Whether it is in one of them. What is no address is in none."""
        found = self._known.get(address)
        if found is None:
            found = self._look(address)
            if len(self._known) >= KNOWN_MOST:
                self._known.clear()
            self._known[address] = found
        return found

    def _look(self, address: str) -> bool:
        text = plain(address)
        if text is None:
            return False
        parsed = ip_address(text)
        number = int(parsed)
        return any(number & mask == base for base, mask in (self._v4 if parsed.version == 4 else self._v6))


def plain(text: str) -> str | None:
    """An address as it is always written: no zone, IPv4 as IPv4. None: it is none."""
    if len(text) > 64:
        return None
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(parsed)


def source(address: str) -> str:
    """What is counted as one place: a host has a whole /64 of IPv6 to itself."""
    if ":" not in address:
        return address
    text = plain(address)
    if text is None or ":" not in text:
        return text or address
    return str(IPv6Address(int(IPv6Address(text)) >> 64 << 64)) + "/64"


def hop(text: str) -> str | None:
    """The address in one item of a list of hops: `1.2.3.4`, `1.2.3.4:567`, `2001:db8::1`, `[2001:db8::1]:567`."""
    text = text.strip(" \t")
    if text.startswith("["):
        inside, bracket, port = text[1:].partition("]")
        if not bracket or (port and not _port(port)) or ":" not in inside:
            return None
        return plain(inside)
    if text.count(":") == 1:
        text, _, digits = text.partition(":")
        if not _port(":" + digits):
            return None
    return plain(text)


def _port(text: str) -> bool:
    return text[:1] == ":" and text[1:].isdecimal() and text.isascii() and len(text) <= 6


def forwarded_for(item: str) -> str | None:
    """The address of `for=` in one element of a Forwarded header (RFC 7239)."""
    found: str | None = None
    for pair in item.split(";"):
        name, _, value = pair.strip(" \t").partition("=")
        if name.lower() == "for":
            if found is not None:
                return None
            found = value
    if found is None:
        return None
    if len(found) > 1 and found[0] == found[-1] == '"':
        found = found[1:-1]
    return hop(found)


def client_of(peer: str, values: Sequence[str], header: str, trusted: Networks) -> str:
    """Who asks, as the trusted `peer` says: the hop that is nearest to us and not trusted.

    Hops are read from the right, where the nearest proxy wrote: what stands further left may be whatever the client
    made up, and what is no address ends the search. The header of one address may stand once.
    """
    if header not in ("x-forwarded-for", "forwarded"):
        only = hop(values[0]) if len(values) == 1 else None
        return only or peer
    client = peer
    left = HOPS_MOST
    for value in reversed(values):
        rest = value
        comma = ","
        while comma:
            rest, comma, item = rest.rpartition(",")
            left -= 1
            address = forwarded_for(item) if header == "forwarded" else hop(item)
            if address is None or left < 0:
                return client
            client = address
            if not trusted.hold(client):
                return client
    return client
