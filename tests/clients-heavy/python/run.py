"""One client, every operation it has: `run.py MODULE`, told on stdin where the gateway is. A line of JSON for each.

It runs in an environment of the client's own, where nothing of Sluicegate is installed. What a line says is what the
client showed its caller; whether that is the truth is judged by whoever started this (tests/clients-heavy).
"""

import asyncio
import importlib
import inspect
import json
import ssl
import sys
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))


class Place:
    """Where the gateway is, who we are, and what to say."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.url: str = given["url"]
        self.key: str = given["key"]
        self.ca: str | None = given["ca"]
        self.version: str = given["version"]
        self.words: dict[str, str] = given["words"]
        self.audio: str = given["audio"]

    def recording(self) -> tuple[str, bytes]:
        """Its name, and what is in it."""
        path = Path(self.audio)
        return path.name, path.read_bytes()

    def verify(self) -> ssl.SSLContext | bool:
        """For libraries on httpx: the authority to trust."""
        return ssl.create_default_context(cafile=self.ca) if self.ca else True


async def perform(module: Any, place: Place, operations: list[str]) -> None:
    client = module.Client(place)
    for name in operations:
        try:
            facts = getattr(client, name)()
            if inspect.isawaitable(facts):
                facts = await facts
            line = {"operation": name, "facts": facts}
        except Exception:
            line = {"operation": name, "failed": traceback.format_exc()[-3000:]}
        print(json.dumps(line, default=str), flush=True)
    closed = getattr(client, "close", lambda: None)()
    if inspect.isawaitable(closed):
        await closed


if __name__ == "__main__":
    told = json.load(sys.stdin)
    asyncio.run(perform(importlib.import_module(sys.argv[1]), Place(told), told["operations"]))
