"""What an IP address is near to: the machine itself, its cloud's metadata service, or a private network."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address

METADATA: Final = tuple(
    ip_network(n)
    for n in (
        "169.254.0.0/16",
        "fe80::/10",
        "168.63.129.16/32",
        "100.100.100.200/32",
        "192.0.0.192/32",
        "fd00:ec2::254/128",
    )
)
"""Where clouds answer questions about the machine, with credentials among the answers: never called."""


def plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for: mapped, compatible, 6to4 or by way of NAT64; else itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        number = int(address)
        if number >> 32 == 0x64FF9B << 64 or (number >> 32 == 0 and number > 1):
            return IPv4Address(number & 0xFFFFFFFF)
    return address


def forbidden(address: str) -> bool:
    """Link-local: where clouds keep their metadata services. Looked at when connecting, because a name can be made to
    point there after it was checked."""
    return plain(ip_address(address.partition("%")[0])).is_link_local


def metadata(address: Address) -> bool:
    """Where a cloud answers questions about the machine, however it is written."""
    ip = plain(address)
    return any(ip in network for network in METADATA)


def inner(address: Address) -> bool:
    """Not of the public internet: loopback, private, link-local, shared, unspecified, multicast, reserved."""
    ip = plain(address)
    return not ip.is_global or ip.is_multicast or metadata(ip)
