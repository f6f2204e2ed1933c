"""Every client that people point at Azure OpenAI, unchanged, in an environment of its own: what it shows its caller is
what the simulated instances said, and what was booked is what they counted. Run by `./dev clients`.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import wave
from pathlib import Path
from typing import Any

import pytest

from tests.clients.ground import KEY, WAIT_S, Ground
from tests.clients.page import PAGE, read, written
from tests.clients.roster import CLIENTS, HEAVY, OPERATIONS, ROOT, Client, available
from tests.clients.truths import TRUTHS, Saw

ECHO = "Grüße aus 東京 🗼"
BUILT = ROOT / "build" / "clients"

results: dict[str, dict[str, dict[str, bool]]] = {}
"""By client, operation and scheme: whether it came out as it should."""
agreed: dict[str, Any] = {}
"""What must be the same for all clients."""
known: set[str] = set()
"""Records of clients that came before."""


def recording(path: Path) -> Path:
    """Half a second of a tone."""
    with wave.open(str(path), "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(1)
        audio.setframerate(8000)
        audio.writeframes(bytes(int(128 + 40 * math.sin(n / 5)) for n in range(4000)))
    return path


def environment(place: Ground) -> dict[str, str]:
    """Nothing that this machine tells its programs about proxies and authorities; Node is told of ours as it asks."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "PYTHONUTF8": "1", **({"NODE_EXTRA_CA_CERTS": str(place.ca)} if place.ca else {})}


def program(client: Client) -> list[str]:
    if client.runtime == "node":
        for source in (HEAVY / "node").glob("*.mjs"):  # beside their packages, where Node looks for these
            shutil.copy(source, BUILT / "node")
        return ["node", str(BUILT / "node" / "run.mjs"), client.module]
    return [str(BUILT / client.lock / "bin" / "python"), str(HEAVY / "python" / "run.py"), client.module]


def lines(client: Client, place: Ground, word: str) -> dict[str, dict[str, Any]]:
    """What it printed, by operation."""
    given = {
        "url": place.url,
        "key": KEY,
        "ca": place.ca and str(place.ca),
        "version": "2024-10-21",
        "words": {
            "echo": f"[sim:echo] {ECHO}",
            "tool": "[sim:tool=weather]",
            "throttled": f"[sim:echo] {word}",
            "refused": f"always-{client.id}",
        },
        "audio": str(recording(place.folder / "speech.wav")),
        "operations": available(client),
    }
    done = subprocess.run(
        program(client), input=json.dumps(given), env=environment(place), capture_output=True, text=True, timeout=240,
        cwd=place.folder, check=False,
    )  # fmt: skip
    said = f"{client.name} ended with {done.returncode}:\n{done.stderr[-3000:]}"
    assert done.returncode == 0, said
    found = {line["operation"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert set(found) == set(available(client)), said
    return found


def seen(client: Client, place: Ground, word: str, before: int) -> Saw:
    """What instances and gateway know of this client's requests."""
    served = place.served(before)
    last = place.ask()  # one worker books in order: where this one stands, all before it do
    records = place.settled(last)
    new = [r for r in records if r["id"] not in known and r["id"] != last]
    known.update([last, *(r["id"] for r in new)])
    sound = (place.folder / "speech.wav").read_bytes()
    return Saw(ECHO, word, WAIT_S, client.tries, served, new, sound, agreed)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.id)
def test_what_a_client_shows_is_what_was_said(client: Client, place: Ground, short: bool):
    if short and not client.short:
        pytest.skip("not in the short form")
    word = f"once-{client.id}"
    place.throttle(word, times=1)
    place.throttle(f"always-{client.id}")
    before = place.last()
    found = lines(client, place, word)
    place.asked("/faults", method="DELETE")
    saw = seen(client, place, word, before)
    wrong = {}
    for name, line in found.items():
        problem = line.get("failed") or TRUTHS[name](line["facts"], saw)
        results.setdefault(client.id, {}).setdefault(name, {})[place.scheme] = not problem
        if problem:
            wrong[name] = problem
    problem = saw.booked_wrong()
    assert not wrong, "\n".join(f"{client.name}, {OPERATIONS[name].title}: {why}" for name, why in wrong.items())
    assert not problem, f"{client.name}: {problem}"


def test_the_page_is_written():
    """Written by a whole run; a part of one compares nothing."""
    if len(results) != len(CLIENTS) or any(len(s) != 2 for c in results.values() for s in c.values()):
        pytest.skip("not every client was tried over http and https")
    before = PAGE.read_text("utf-8")
    page = written(before, results)
    PAGE.write_text(page, "utf-8")
    assert read(page).keys() == {client.name for client in CLIENTS}
    print("docs/clients.md", "is as it was" if page == before else "was written anew")
