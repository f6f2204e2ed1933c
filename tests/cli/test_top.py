"""`sluicegate top`: rates of two looks, and how they are shown."""

from __future__ import annotations

import copy
import json
import os
import pty
import signal
import subprocess
import sys
from typing import Any

from sluicegate.cli.top import state_of, text, view
from tests.keeper.running import ROOT


def look(at: float, **more: Any) -> dict[str, Any]:
    return {
        "at_s": at, "name": "g", "config": "c", "up_s": at, "workers": 2, "in_flight": 3, "clients": 4,
        "models": [
            {"model": "chat", "requests": 0, "answers": 0, "status": {}, "refused": {}, "tokens": {}, "seconds": 0.0,
             "deployments": ["weu/ptu", "sdc/std"]},
            {"model": "", "requests": 0, "answers": 0, "status": {}, "refused": {}, "tokens": {}, "seconds": 0.0, "deployments": []},
        ],
        "deployments": [
            {"deployment": "weu/ptu", "tier": 0, "drained": False, "calls": {}, "in_flight": 2, "states": {"closed": 2}},
            {"deployment": "sdc/std", "tier": 1, "drained": False, "calls": {}, "in_flight": 1, "states": {"closed": 2}},
        ],
        "consumers": [], **more,
    }  # fmt: skip


def busy(before: dict[str, Any], seconds: float, requests: int) -> dict[str, Any]:
    after = copy.deepcopy(before)
    after["at_s"] += seconds
    after["up_s"] += seconds
    chat, nobody = after["models"]
    chat["requests"] += requests
    chat["answers"] += requests
    chat["seconds"] += 0.5 * requests
    for key, part, of in (("200", 0.9, "status"), ("429", 0.1, "status"), ("pool.throttled", 0.1, "refused")):
        chat[of][key] = chat[of].get(key, 0) + round(part * requests)
    for kind, count in (("input", 10), ("output", 5)):
        chat["tokens"][kind] = chat["tokens"].get(kind, 0) + count * requests
    nobody["requests"] += 2
    ptu, std = after["deployments"]
    for d, cause, part in (
        (ptu, "none", 0.6), (std, "none", 0.3), (ptu, "upstream.throttled.rate", 0.4), (std, "upstream.reset", 0.1),
    ):  # fmt: skip
        d["calls"][cause] = d["calls"].get(cause, 0) + round(part * requests)
    after["consumers"] = [
        {"tenant": "t", "consumer": f"c{n}", "requests": n * requests, "tokens": 15 * n * requests} for n in range(15)
    ]
    return after


def test_rates_are_of_the_seconds_between_two_looks():
    first = busy(look(100.0), 10.0, 1000)  # what was before does not count
    seen = view(first, busy(first, 2.0, 40))
    (chat,) = seen["models"]
    assert chat == {
        "model": "chat", "rps": 20.0, "tokens_per_s": 300.0, "status_429_per_s": 2.0, "refused_per_s": 2.0,
        "answer_s": 0.5, "spill_share": 0.3333,
    }  # fmt: skip
    assert [(d["served_per_s"], d["throttled_per_s"], d["failed_per_s"]) for d in seen["deployments"]] == [
        (12.0, 8.0, 0.0), (6.0, 0.0, 2.0),
    ]  # fmt: skip
    assert seen["rps"] == 21.0, "those that named no model count, too"


def test_the_ten_that_use_most_are_shown_and_nobody_who_does_not_ask():
    first = look(0.0)
    seen = view(first, busy(first, 1.0, 10))
    assert [c["consumer"] for c in seen["consumers"]] == [f"c{n}" for n in range(14, 4, -1)]
    assert view(first, look(1.0))["consumers"] == []


def test_a_gateway_that_was_started_again_begins_at_nothing():
    old = busy(look(1000.0), 10.0, 1000)
    new = busy(look(0.0), 2.0, 40)
    assert view(old, new)["models"][0]["rps"] == 20.0


def test_the_worst_state_of_any_worker_is_said():
    def of(states: dict[str, int], drained: bool = False) -> str:
        return state_of({"states": states, "drained": drained})

    assert of({"closed": 2}) == "closed" and of({"closed": 1, "shut": 1}) == "shut 1/2"
    assert of({"open": 2}) == "open" and of({}) == "-" and of({"open": 1}, drained=True) == "drained"


def test_the_tables_say_it_all():
    first = look(0.0)
    said = text(view(first, busy(first, 2.0, 40)))
    assert "20.0" in said and "33%" in said and "sdc/std" in said and "c14" in said
    assert "g, configuration c, up 2 s, 2 workers: 21.0 requests/s" in said


def test_on_a_terminal_it_is_drawn_in_place_and_the_screen_comes_back():
    """With names that would be markup, in a terminal of its own; Ctrl-C ends it."""
    first = look(0.0)
    first["models"][0]["model"] = "[red]chat"
    script = (
        "import json,sys,time\nfrom sluicegate.cli import top\n"
        f"first = json.loads({json.dumps(json.dumps(first))})\n"
        "looks = iter([first, {**first, 'at_s': 1.0, 'up_s': 1.0}])\n"
        "def ask(*_):\n    try:\n        return next(looks)\n    except StopIteration:\n        raise KeyboardInterrupt\n"
        "top.ask = ask\n"
        "from sluicegate.cli.running import At\n"
        "top.command.callback(config=(), data=None, admin=None, admin_key_env='X', once=False, every=0.5, as_json=False)\n"
    )
    ours, theirs = pty.openpty()
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", script], stdout=theirs, stderr=theirs, stdin=theirs, env=environ
    )
    os.close(theirs)
    drawn = b""
    try:
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the terminal is gone
                break
            if not piece:
                break
            drawn += piece
        assert child.wait(20) == 0, drawn
    finally:
        os.close(ours)
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            child.wait()
    assert b"[red]chat" in drawn and b"weu/ptu" in drawn and b"Ctrl-C ends" in drawn
    assert b"\x1b[?1049h" in drawn and b"\x1b[?1049l" in drawn, "the other screen, and back"


def test_who_is_refused_does_not_make_answers_faster():
    """A flood that is refused at once is no reason to say that answers take nothing."""
    first = look(0.0)
    after = busy(first, 1.0, 10)
    after["models"][0]["requests"] += 990
    after["models"][0]["refused"]["limit.token_rate"] = 990
    (chat,) = view(first, after)["models"]
    assert chat["answer_s"] == 0.5 and chat["refused_per_s"] == 991.0 and chat["rps"] == 1000.0
