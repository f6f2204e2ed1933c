"""The door of an instance: one listening address that can be open, gone, or there without letting anybody in."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from sluicegate.sim.server import Connection, Desk

BACKLOG = 1024


class Door:
    """One listening address. Accepts by itself, so that it can stop accepting without closing."""

    def __init__(
        self,
        desk: Desk,
        loop: asyncio.AbstractEventLoop,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.desk = desk
        self.loop = loop
        self.host = host
        self.port = port
        self.tls = tls
        self.wall = wall
        self.connections: set[Connection] = set()
        self.mode = "down"
        self._socket: socket.socket | None = None
        self._starting: set[asyncio.Task[Any]] = set()
        self._fillers: list[socket.socket] = []
        self._dated = (0, b"")

    def date(self) -> bytes:
        """The Date header's value, made once a second."""
        now = int(self.wall())
        if self._dated[0] != now:
            self._dated = (now, formatdate(now, usegmt=True).encode())
        return self._dated[1]

    def set_mode(self, mode: str) -> None:
        """up: serve. down: as a process that was killed. stall: connecting hangs; open connections go on."""
        if mode == self.mode:
            return
        if self.mode == "stall":
            self._unfill()
            if mode == "up":  # a socket whose backlog was flooded is not worth keeping
                self._close()
        if mode == "up":
            self._open()
        elif mode == "down":
            self._close()
            for connection in list(self.connections):
                connection.kill()
        else:
            if self._socket is None:
                self._open()
            self._stall()
        self.mode = mode

    def _open(self) -> None:
        if self._socket is None:
            family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
            s = socket.socket(family, socket.SOCK_STREAM)
            try:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind((self.host, self.port))
                s.listen(BACKLOG)
                s.setblocking(False)
            except OSError:
                s.close()
                raise
            self._socket = s
            self.port = s.getsockname()[1]
        self.loop.add_reader(self._socket.fileno(), self._accept)

    def _close(self) -> None:
        if self._socket is not None:
            self.loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _stall(self) -> None:
        """Shrink the backlog and fill it ourselves: the kernel then ignores whoever else knocks."""
        assert self._socket is not None
        self.loop.remove_reader(self._socket.fileno())
        self._socket.listen(0)
        for _ in range(4):
            s = socket.socket(self._socket.family, socket.SOCK_STREAM)
            s.setblocking(False)
            try:
                s.connect((self.host, self.port))
            except OSError as e:
                if e.errno != errno.EINPROGRESS:
                    s.close()
                    break
            self._fillers.append(s)

    def _unfill(self) -> None:
        for s in self._fillers:
            s.close()
        self._fillers.clear()

    def _accept(self) -> None:
        assert self._socket is not None
        for _ in range(64):
            try:
                s, _ = self._socket.accept()
            except OSError:
                return
            s.setblocking(False)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = self.loop.create_task(self._start(s))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    async def _start(self, s: socket.socket) -> None:
        try:
            await self.loop.connect_accepted_socket(
                lambda: Connection(self), s, ssl=self.tls, **({"ssl_handshake_timeout": 10.0} if self.tls else {})
            )
        except (OSError, ssl.SSLError, TimeoutError):
            s.close()  # a handshake that failed

    async def stop(self) -> None:
        """Close everything."""
        self._unfill()
        self._close()
        self.mode = "down"
        for task in list(self._starting):
            task.cancel()
        for connection in list(self.connections):
            connection.stop()
        for _ in range(50):
            if not self.connections:
                return
            await asyncio.sleep(0)
