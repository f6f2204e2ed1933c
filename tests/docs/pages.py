"""What stands in the documentation: its blocks, and the commands that are there to be typed.

A block of the language `console` is executed. Lines that begin with `$ ` are commands (one that ends in a backslash
goes on in the next line), what follows is the output that they must show: `...` stands for anything in a line, or,
alone, for any lines; without any output everything is right. A command must succeed, unless it ends in `# exit 2`.
Other blocks with `title="gateway.yaml"` are files that exist from there on. All commands of a page run in one shell and
one empty folder, which holds `examples`. A command that ends in `&` goes on in the background: what follows waits until
it listens. Ports of the documentation stand for free ones.
"""

from __future__ import annotations

import random
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r'^( *)```(\w*)(?: +title="([^"]+)")?[^\n`]*\n(.*?)^\1```', re.MULTILINE | re.DOTALL)
PORTS = ("9000", "9001", "9002", "9003", "9004", "8080", "8081", "8443")
"""Written in the documentation; they get neighbours in the same order."""
LISTENS = {"serve": "8080", "demo": "8080", "simulate": "9000"}
"""By which port one sees that a verb in the background is ready."""


@dataclass
class Command:
    """One that is typed."""

    text: str
    page: str
    status: int = 0
    output: list[str] = field(default_factory=list)

    @property
    def expected(self) -> str | None:
        """A pattern for the whole output."""
        if not self.output:
            return None
        parts = [
            r"(?:.*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*?") + r"\n"
            for line in self.output
        ]
        return "".join(parts)

    @property
    def serves(self) -> bool:
        """A gateway in the background."""
        return bool(re.search(r"\bsluicegate serve\b", self.text)) and bool(self.background)

    @property
    def background(self) -> str:
        """The port at which it listens once it is ready; empty in the foreground."""
        if not self.text.endswith("&"):
            return ""
        verb = re.search(r"\bsluicegate (\w+)", self.text)
        assert verb, f"{self.page}: only sluicegate may run in the background: {self.text}"
        return LISTENS[verb[1]]


@dataclass
class File:
    """One that the reader writes."""

    name: str
    text: str


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Language, title, text of each."""
    found = []
    for match in FENCE.finditer(page.read_text("utf-8")):
        indent = match[1]
        text = "".join(line.removeprefix(indent) for line in match[4].splitlines(keepends=True))
        found.append((match[2], match[3] or "", text))
    return found


def steps(page: Path) -> list[Command | File]:
    """What a reader of the page does, in order."""
    found: list[Command | File] = []
    for language, title, text in blocks(page):
        if language == "console":
            found += commands(text, page.name)
        elif title:
            found.append(File(title, text))
    return found


def commands(text: str, page: str) -> list[Command]:
    """The commands of one block."""
    found: list[Command] = []
    going_on = False
    for line in text.splitlines():
        if going_on:
            found[-1].text += "\n" + line
        elif line.startswith("$ "):
            found.append(Command(line[2:], page))
        else:
            assert found, f"{page}: a console block begins with a command: {line}"
            found[-1].output.append(line)
            continue
        going_on = line.endswith("\\")
    for command in found:
        if fails := re.search(r" +# exit (\d)$", command.text):
            command.status = int(fails[1])
            command.text = command.text[: fails.start()]
    return found


def free_ports() -> dict[str, str]:
    """What each port of the documentation is here: neighbours that nobody has."""
    for first in range(
        random.randrange(12_000, 30_000), 32_000, len(PORTS)
    ):  # below those that are given out by themselves
        held: list[socket.socket] = []
        try:
            for port in range(first, first + len(PORTS)):
                held.append(socket.socket())
                held[-1].bind(("127.0.0.1", port))
            return {name: str(first + n) for n, name in enumerate(PORTS)}
        except OSError:
            continue
        finally:
            for s in held:
                s.close()
    raise RuntimeError("no eight free ports side by side")


def moved(text: str, ports: dict[str, str]) -> str:
    """With the ports that are free."""
    return re.sub(rf"\b({'|'.join(PORTS)})\b", lambda match: ports[match[1]], text)
