"""The least that a proxy in Python can do: bytes from here to there on uvloop, nothing parsed, nobody asked.

Not a reference to be compared with, but a measure of what is left to save: whatever a gateway in Python does, it does
on top of this. Each client connection has one of its own to the upstream, made when it comes.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import uvloop

from bench.setups import Place

READ_BYTES = 64 * 1024


def config(place: Place) -> str:
    """As JSON: where it listens and where that goes."""
    setup, files = place.setup, place.certificates
    said: dict[str, Any] = {"port": place.port, "upstreams": place.upstreams}
    if setup.upstream_tls:
        said["ca"] = str(files.ca)
    if setup.client_tls:
        said["certificate"], said["key"] = str(files.certificate), str(files.key)
    return json.dumps(said, indent=2) + "\n"


class Upstream(asyncio.BufferedProtocol):
    """What comes is the client's. All connections read into one buffer: it is written before the next read."""

    room = memoryview(bytearray(READ_BYTES))

    def __init__(self, client: Client) -> None:
        self.client = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.client.opened(transport)  # type: ignore[arg-type]

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.room

    def buffer_updated(self, nbytes: int) -> None:
        self.client.transport.write(bytes(self.room[:nbytes]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.client.transport.close()


class Client(asyncio.Protocol):
    """What comes is the upstream's, as soon as there is one."""

    transport: asyncio.Transport

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.early = b""
        self.upstream: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.opening = asyncio.ensure_future(self.relay.open(self))

    def opened(self, upstream: asyncio.Transport) -> None:
        self.upstream = upstream
        if self.early:
            upstream.write(self.early)
            self.early = b""

    def data_received(self, data: bytes) -> None:
        if self.upstream is None:
            self.early += data
        else:
            self.upstream.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.opening.cancel()
        if self.upstream is not None:
            self.upstream.close()


class Relay:
    """The ports in turn."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        self.ports = cycle(said["upstreams"])
        self.tls = ssl.create_default_context(cafile=said["ca"]) if "ca" in said else None

    async def open(self, client: Client) -> None:
        loop = asyncio.get_running_loop()
        name = {"ssl": self.tls, "server_hostname": "localhost"} if self.tls is not None else {}
        await loop.create_connection(lambda: Upstream(client), "127.0.0.1", next(self.ports), **name)


async def serve(said: Mapping[str, Any]) -> None:
    """Until it is ended."""
    relay = Relay(said)
    tls = None
    if "key" in said:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(said["certificate"], said["key"])
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Client(relay), "127.0.0.1", said["port"], backlog=4096, ssl=tls)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(json.loads(Path(sys.argv[1]).read_text())))
