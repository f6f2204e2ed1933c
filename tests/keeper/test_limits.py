"""One limit over several workers, as processes over sockets: together they admit what is written and no more."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sluicegate.sim.fleet import FleetThread
from tests.keeper.running import ENV, KEY, Gateway, config, killed, until

CHAT = "/openai/deployments/chat/chat/completions?api-version=2024-10-21"
QUICK = {"first_token_s": 0.01, "per_token_s": 0.0}


@pytest.fixture
def fleet() -> Iterator[FleetThread]:
    deployments = {"deployments": {"gpt-4o": {"latency": QUICK}}}
    with FleetThread({"a": {**deployments, "key": ENV["UPSTREAM_KEY"]}}, seed=1) as fleet:
        yield fleet


def limited(folder: Path, fleet: FleetThread, *limits: str, workers: int = 2) -> str:
    text = config(folder, fleet["a"].origin, workers)
    return text.replace("models: [chat]}", f"models: [chat], limits: [{', '.join(limits)}]}}")


class Caller:
    """One kept connection, and the worker at its other end."""

    def __init__(self, port: int, workers: Iterable[int]) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.connection.connect()
        self.worker = until(lambda: serving(self.connection.sock.getsockname()[1], workers))
        self.statuses: Counter[int] = Counter()
        self.used = 0
        self.last: dict[str, str] = {}

    def ask(self, **fields: Any) -> int:
        body = json.dumps({"messages": [{"role": "user", "content": "hello"}], "max_tokens": 5, **fields})
        self.connection.request("POST", CHAT, body, {"api-key": KEY, "content-type": "application/json"})
        answer = self.connection.getresponse()
        told = json.loads(answer.read())
        self.last = {name.lower(): value for name, value in answer.getheaders()}
        self.statuses[answer.status] += 1
        if answer.status == 200:
            self.used += told["usage"]["total_tokens"]
        else:
            assert answer.status == 429 and told["error"]["reason"].startswith("limit."), told
            assert self.last["x-sluicegate-limit-source"] == "gateway"
        return answer.status


def serving(port: int, workers: Iterable[int]) -> int:
    """Whose socket is at the other end of this one; 0: not accepted yet."""
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if int(words[2].rpartition(":")[2], 16) == port:
            inodes.add(f"socket:[{words[9]}]")
    for pid in workers:
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if os.readlink(fd) in inodes:
                    return pid
            except OSError:  # closed meanwhile
                pass
    return 0


@contextmanager
def callers(gateway: Gateway, each: int) -> Iterator[list[Caller]]:
    """So many connections to each of the workers; the kernel chooses whose a connection is."""
    workers = gateway.workers
    found: list[Caller] = []
    spare: list[Caller] = []
    try:
        while len(found) < each * len(workers):
            caller = Caller(gateway.port, workers)
            (found if sum(c.worker == caller.worker for c in found) < each else spare).append(caller)
            assert len(spare) < 200
        yield found
    finally:
        for caller in found + spare:
            caller.connection.close()


def at_once(callers: list[Caller], times: int, **fields: Any) -> None:
    """Each of them asks so many times, all at the same time."""
    errors: list[BaseException] = []

    def run(caller: Caller, dice: random.Random) -> None:
        try:
            for _ in range(times):
                caller.ask(**{name: dice.choice(v) if isinstance(v, list) else v for name, v in fields.items()})
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=run, args=(c, random.Random(n))) for n, c in enumerate(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]


def admitted(callers: Iterable[Caller]) -> int:
    return sum(c.statuses[200] for c in callers)


def of_each(callers: Iterable[Caller]) -> dict[int, int]:
    served: Counter[int] = Counter()
    for caller in callers:
        served[caller.worker] += caller.statuses[200]
    return served


def test_two_workers_admit_exactly_what_one_limit_allows(fleet: FleetThread, tmp_path: Path):
    with Gateway(tmp_path, limited(tmp_path, fleet, "60 requests/minute")) as gateway, callers(gateway, 4) as eight:
        assert gateway.ready["limits"] == {"shared_by": 2, "over": 0}
        at_once(eight, 30)
        assert admitted(eight) == 60 == len(fleet.ledger.entries)
        assert len(of_each(eight)) == 2 and min(of_each(eight).values()) > 0, "both had a part of it"


def test_what_one_worker_does_not_use_another_may(fleet: FleetThread, tmp_path: Path):
    with Gateway(tmp_path, limited(tmp_path, fleet, "40 requests/minute")) as gateway, callers(gateway, 1) as (a, b):
        for _ in range(5):
            assert (a.ask(), b.ask()) == (200, 200)
        assert int(a.last["x-ratelimit-limit-requests"]) == 40
        left = int(b.last["x-ratelimit-remaining-requests"])
        assert 20 <= left <= 30, "what is told is of the whole limit; what the other worker holds unused is missing"
        for _ in range(30):
            assert a.ask() == 200
        assert [a.ask(), b.ask()] == [429, 429]
        assert a.last["retry-after"] and a.last["x-ratelimit-remaining-requests"] == "0"


def test_tokens_of_sizes_1_to_1000_stay_within_the_printed_bound(fleet: FleetThread, tmp_path: Path):
    """Every request names its maximum and the estimate of the prompt is kept, so that nothing is used beyond what was
    reserved: the bound is the limit itself."""
    sizes = [1, 1, 3, 10, 30, 100, 300, 1000]
    with Gateway(tmp_path, limited(tmp_path, fleet, "10k tokens/minute")) as gateway, callers(gateway, 4) as eight:
        bound = 10_000 + gateway.ready["limits"]["over"]
        at_once(eight, 60, max_tokens=sizes)
        used = sum(caller.used for caller in eight)
        assert used == sum(e.claim.prompt + e.claim.completion for e in fleet.ledger.entries)
        assert 0.85 * bound <= used <= bound
        assert len(of_each(eight)) == 2 and min(of_each(eight).values()) > 0


def test_no_more_at_the_same_time_than_the_limit_whoever_carries_them(tmp_path: Path):
    slow = {"deployments": {"gpt-4o": {"latency": {"first_token_s": 0.15, "per_token_s": 0.0}}}}
    with (
        FleetThread({"a": {**slow, "key": ENV["UPSTREAM_KEY"]}}, seed=1) as fleet,
        Gateway(tmp_path, limited(tmp_path, fleet, "3 concurrent")) as gateway,
        callers(gateway, 4) as eight,
    ):
        at_once(eight, 15)
        ends = [(e.first_at, 1) for e in fleet.ledger.entries] + [(e.ended_at, -1) for e in fleet.ledger.entries]
        running = peak = 0
        for _, step in sorted(ends, key=lambda end: (end[0], end[1])):
            running += step
            peak = max(peak, running)
        assert peak == 3
        assert [eight[0].ask(), eight[-1].ask()] == [200, 200], "nothing of it is lost"


def test_a_killed_workers_share_is_not_given_out_again_within_the_window(fleet: FleetThread, tmp_path: Path):
    with Gateway(tmp_path, limited(tmp_path, fleet, "60 requests/minute")) as gateway:
        with callers(gateway, 2) as four:
            at_once(four, 5)
            assert admitted(four) == 20
            os.kill(four[0].worker, signal.SIGKILL)
            gateway.event("worker.ready")
        with callers(gateway, 2) as again:
            at_once(again, 30)
            assert admitted(four) + admitted(again) <= 60
            assert admitted(again) >= 60 - 2 * 20, "the other's share, and what nobody held"
            assert len(fleet.ledger.entries) <= 60


def test_replaced_workers_give_back_what_they_did_not_use(fleet: FleetThread, tmp_path: Path):
    with Gateway(tmp_path, limited(tmp_path, fleet, "60 requests/minute")) as gateway:
        with callers(gateway, 2) as before:
            at_once(before, 5)
            gateway.tell(signal.SIGUSR2)
            gateway.event("restarted")
        old = {caller.worker for caller in before}
        until(lambda: not old & set(gateway.workers))
        with callers(gateway, 2) as after:
            at_once(after, 20)
            assert (admitted(before), admitted(after)) == (20, 40)


def test_a_limit_that_changes_while_it_runs_counts_what_was_used(fleet: FleetThread, tmp_path: Path):
    """Twice as much, then a window sixty times as long, then half: each time what was used stays used."""
    with Gateway(tmp_path, limited(tmp_path, fleet, "20 requests/minute")) as gateway, callers(gateway, 2) as four:
        for limit, total in (("", 20), ("40 requests/minute", 40), ("50 requests/hour", 50), ("30 requests/hour", 50)):
            if limit:
                gateway.file.write_text(limited(tmp_path, fleet, limit))
                gateway.hang_up_until("config.adopted")
            at_once(four, 20)
            assert admitted(four) == total, limit


def test_without_a_keeper_each_worker_has_its_share_or_an_equal_part(fleet: FleetThread, tmp_path: Path):
    with Gateway(tmp_path, limited(tmp_path, fleet, "60 requests/minute")) as gateway:
        workers = gateway.workers
        with killed(workers), callers(gateway, 1) as (a, b):
            while a.ask() == 200:
                pass
            assert (a.statuses[200], b.ask()) == (60, 429)
            gateway.process.kill()
            until(lambda: b.ask() == 200)
            while b.ask() == 200:
                pass
            assert (a.ask(), b.statuses[200]) == (429, 30), "who has no share is not locked out for good"


def test_one_worker_needs_nobody_to_share_with(fleet: FleetThread, tmp_path: Path):
    text = limited(tmp_path, fleet, "10 requests/minute", workers=1)
    with Gateway(tmp_path, text) as gateway, callers(gateway, 2) as two:
        assert "limits" not in gateway.ready
        at_once(two, 10)
        assert admitted(two) == 10
        assert two[0].last["x-ratelimit-remaining-requests"] == "0"
