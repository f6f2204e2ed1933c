"""A worker as a process of its own, to be weighed: resident memory, CPU time, and all that it prints."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from sluicegate.core.snapshot import Snapshot
from sluicegate.link.parcel import pack
from tests.gateway import directory

ROOT = Path(__file__).resolve().parents[2]
MOST = 64 * 1024 * 1024
"""Bytes that no single abuse may add to the process."""


class Child:
    """`with Child(snapshot) as child`: serving on `child.port`; `child.said` holds its output once it ended."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.said = ""
        with (
            socket.create_server(("127.0.0.1", 0), backlog=1024) as listener,
            tempfile.TemporaryFile() as parcel,
        ):
            parcel.write(pack(snapshot, directory()))
            parcel.flush()
            self.port: int = listener.getsockname()[1]
            fds = [parcel.fileno(), listener.fileno()]
            command = [
                sys.executable,
                "-P",
                "-m",
                "sluicegate.worker",
                "--parcel-fd",
                str(fds[0]),
                "--listen-fd",
                str(fds[1]),
            ]
            self.process = subprocess.Popen(
                command, pass_fds=fds, env={**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT))}, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._guard = threading.Timer(50, self.process.kill)
        self._guard.start()
        assert self.process.stdout
        first = self.process.stdout.readline()
        assert json.loads(first)["event"] == "ready", first
        self.pid = self.process.pid

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
            self.process.communicate()
        self._guard.cancel()

    def end(self) -> str:
        """Drain and end; all it printed after it was ready."""
        self.process.send_signal(signal.SIGTERM)
        self.said, _ = self.process.communicate()
        return self.said

    def memory(self) -> int:
        """Resident bytes now; the peak is counted anew from here."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        return self._status("VmRSS")

    def peak(self) -> int:
        """Most resident bytes since `memory` was asked."""
        return self._status("VmHWM")

    def cpu(self) -> float:
        """Seconds of CPU used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _status(self, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
        raise AssertionError(name)
