"""The scenarios of the guidance as an operator meets them: `sluicegate serve` as it is started, simulated instances, real
sockets, some seconds each. The same in virtual time, by the minute and with exact figures: the other files of this folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from sluicegate.sim.fleet import FleetThread
from tests.goals.calling import Answered, Caller, percentile, request, steadily
from tests.keeper.running import ENV, KEY, ROOT, Gateway, until

LOUD = "key-of-the-loud-0000000002"
QUICK = {"latency": {"first_token_s": 0.02, "per_token_s": 0.001}, "tokens": [10, 20]}


def plain(**more: Any) -> dict[str, Any]:
    """An instance with one deployment `d`."""
    return {"key": ENV["UPSTREAM_KEY"], "deployments": {"d": {**QUICK, **more}}}


def written(
    folder: Path,
    fleet: FleetThread,
    workers: int = 1,
    model: str = "",
    loud: str = "",
    keys: Any = None,
    weights: Any = None,
) -> str:
    """A configuration for the fleet: model `chat` over all of it, consumers `app` and, with limits, `loud`."""
    lines = [
        "version: 1",
        f"gateway: {{data: {folder}/data, drain: 10s, workers: {workers}, admin: {{address: '127.0.0.1:0'}},",
        "          secrets: ['${env:SECRET}'], listen: {address: '127.0.0.1:0'}}",
        "instances:",
    ]
    for served in fleet:
        weight = (weights or {}).get(served.name, 1)
        key = (keys or {}).get(served.name, "${env:UPSTREAM_KEY}")
        lines.append(f"  {served.name}: {{endpoint: '{served.origin}', auth: {{key: '{key}'}}, deployments: {{")
        for name, spec in served.instance.spec.deployments.items():
            lines.append(f"    {name}: {{model: gpt-4o, version: 2024-11-20, sku: {spec.sku}, weight: {weight}}},")
        lines[-1] = lines[-1].rstrip(",") + "}}"
    lines += [
        "models:",
        f"  chat: {{use: gpt-4o@2024-11-20{model}}}",
        "tenants: {ours: {labels: {owner: us}}, theirs: {labels: {owner: them}}}",
    ]
    lines += ["consumers:", "  app: {tenant: ours, key: '${env:APP_KEY}', models: [chat]}"]
    lines += [f"  loud: {{tenant: theirs, key: '${{env:LOUD_KEY}}', models: [chat]{loud}}}"]
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def serving(
    folder: Path, given: dict[str, Any], **more: Any
) -> Iterator[tuple[Gateway, FleetThread, Callable[[Coroutine[Any, Any, Any]], Any]]]:
    """Fleet, gateway, and what runs a story's coroutine; at the end nothing is open and every call had its record."""
    with (
        FleetThread(given, seed=11) as fleet,
        Gateway(folder, written(folder, fleet, **more), env={"LOUD_KEY": LOUD}) as gateway,
    ):
        yield gateway, fleet, asyncio.run
        totals, status = gateway.end()
        assert status == 0 and totals["records"] == totals["settled"] + totals.get("interrupted", 0)
        assert not totals.get("open"), totals


class Clients:
    """An application's: as many connections as it takes, kept."""

    def __init__(self, gateway: Gateway, key: str = KEY) -> None:
        self.gateway = gateway
        self.key = key
        self.free: list[Caller] = []
        self.asked: dict[str, Answered] = {}
        "By the name that a request goes up with."

    async def ask(self, text: str = "hello", stream: bool = False) -> Answered:
        caller = self.free.pop() if self.free else Caller(self.gateway.port)
        name = f"r{len(self.asked)}-{id(self)}"
        self.asked[name] = Answered()  # its time is now; it has not ended
        self.asked[name] = answered = await caller.ask(request(text, stream=stream, key=self.key, name=name))
        self.free.append(caller)
        return answered

    def early(self, fleet: FleetThread) -> list[str]:
        """Calls of a deployment before the time that a 429 had named, which the gateway knew of: it had answered the
        request that met the 429 before this one was asked. (Calls that were on their way when it came are no fault.)"""
        found = []
        for early, refused in fleet.ledger.early():
            asked, answered = (self.asked.get(e.header("x-ms-client-request-id")) for e in (early, refused))
            if asked is None or answered is None or 0 < answered.ended_at < asked.asked_at:
                found.append(f"{early} though {refused}")
        return found

    async def steady(self, rate: float, seconds: float, text: str = "hello") -> list[Answered]:
        """Half of it streams."""
        found: list[Answered] = await steadily(rate, seconds, lambda n: self.ask(text, bool(n % 2)))
        return found

    async def close(self) -> None:
        for caller in self.free:
            await caller.close()
        self.free.clear()


def fine(answers: list[Answered]) -> list[str]:
    """What is not."""
    return [f"{a.status} {a.body[-200:]!r}" for a in answers if a.status != 200 or not a.whole or a.framed_error]


def after(fleet: FleetThread, began: float, name: str) -> int:
    """Calls of that instance since then."""
    return sum(e.first_at >= began for e in fleet.ledger.of(name))


# ---------------------------------------------------------------------- S-01


def test_S01_a_spike_over_the_provisioned_capacity_bursts_and_comes_home(tmp_path: Path):
    capacity = {"ptu_tokens_per_minute": 120_000, "bucket_s": 0.5, "unsaid": 60}  # about 50 of these a second
    given = {"ptu": plain(sku="ProvisionedManaged", capacity=capacity), "std": plain()}
    with serving(tmp_path, given) as (gateway, fleet, run):

        async def story() -> tuple[list[Answered], float, float]:
            app = Clients(gateway)
            answers = await app.steady(10, 1)
            spike = fleet.now()
            answers += await app.steady(120, 3)
            over = fleet.now()
            answers += await app.steady(10, 4)
            await app.close()
            assert not app.early(fleet)
            return answers, spike, over

        answers, spike, over = run(story())
        assert not fine(answers)
        calls = list(fleet.ledger)
        assert {e.instance for e in calls if e.first_at < spike} == {"ptu"}, "nothing bursts that fits"
        during = [e for e in calls if spike <= e.first_at < over and e.status == 200]
        shares = Counter(e.instance for e in during)
        assert shares["ptu"] > 20 and shares["std"] > 20
        late = [e.instance for e in calls if e.first_at >= over + 2.0 and e.status == 200]
        assert late and set(late) == {"ptu"}, "home again"


# ---------------------------------------------------------------------- S-02


def test_S02_deleted_dead_and_revoked_are_not_seen_and_a_new_key_serves_at_once(tmp_path: Path):
    """The third's key is in a file: written anew, it is taken without a word to the gateway."""
    file = tmp_path / "revoked.key"
    file.write_text(ENV["UPSTREAM_KEY"])
    given = {name: plain() for name in ("deleted", "dead", "revoked", "good")}
    with serving(
        tmp_path, given, keys={"revoked": f"${{file:{file}}}"}, model=", balance: round_robin, retry: {attempts: 4}"
    ) as (gateway, fleet, run):

        async def story() -> None:
            app = Clients(gateway)
            assert not fine(await app.steady(40, 1))
            assert {e.instance for e in fleet.ledger} == set(given)
            fleet.fault("status", shape="no_deployment", instance="deleted")
            revoked = fleet.fault("status", shape="wrong_key", instance="revoked")
            fleet.mode("dead", "down")
            broke = fleet.now()
            answers = await app.steady(60, 3)
            began = [a for a in answers if a.framed_error]
            assert not [a for a in answers if a.status != 200 or not a.whole], "nobody is refused"
            assert len(began) <= 2, "but streams that had begun at the dead one"
            assert after(fleet, broke, "deleted") <= 4 and after(fleet, broke, "revoked") <= 4
            assert after(fleet, broke + 0.5, "good") > 120
            fleet.lift(revoked)
            new = "n" * 32
            fleet.patch({"revoked": {"key": new}})
            adopted = asyncio.ensure_future(asyncio.to_thread(gateway.event, "config.adopted"))
            file.write_text(new)
            await adopted
            again = fleet.now()
            fleet.mode("dead", "up")
            assert not fine(await app.steady(60, 5))
            assert after(fleet, again, "revoked") > 50, "at once: it is not waited for 30 s"
            assert after(fleet, again, "dead") > 20, "within 5 s"
            await app.close()

        run(story())


# ---------------------------------------------------------------------- S-03


def test_S03_all_throttled_is_an_honest_429_without_a_call_and_recovers_when_it_said(tmp_path: Path):
    with serving(tmp_path, {name: plain() for name in "abc"}) as (gateway, fleet, run):

        async def story() -> None:
            app = Clients(gateway)
            assert not fine(await app.steady(30, 1))
            for name, wait_s in (("a", 3.5), ("b", 1.5), ("c", 2.5)):
                fleet.fault("throttle", instance=name, wait_s=wait_s, times=1)
            first = await app.ask()
            assert first.status == 429 and first.headers["x-should-retry"] == "true"
            shut, calls = fleet.now(), len(fleet.ledger)
            told, took = [], []
            while fleet.now() < shut + 1.2:
                answered = await app.ask()
                assert answered.status == 429 and answered.headers["x-sluicegate-limit-source"] == "upstream"
                ms = int(answered.headers["retry-after-ms"])
                assert int(answered.headers["retry-after"]) == -(-ms // 1000)
                told.append((fleet.now() - shut) * 1000 + ms)
                took.append(answered.took)
                await asyncio.sleep(0.02)
            assert len(fleet.ledger) == calls, "0 upstream calls"
            assert len(told) > 20 and max(told) - min(told) < 250, "all name one moment"
            assert percentile(took, 0.5) < 0.02
            status, _ = await asyncio.to_thread(gateway.get, "/health/region")
            assert status == 200, "a moment's throttling moves no region"
            await asyncio.sleep(max(0.0, shut + 1.55 - fleet.now()))
            home = await app.ask()
            assert home.status == 200 and fleet.ledger[-1].instance == "b"
            await asyncio.sleep(max(0.0, shut + 5.0 - fleet.now()))
            assert not fine(await app.steady(40, 1))
            assert not app.early(fleet) and len({e.instance for e in fleet.ledger if e.first_at > shut + 5.0}) == 3
            await app.close()

        run(story())


# ---------------------------------------------------------------------- S-04


def usage(gateway: Gateway) -> dict[str, dict[str, Any]]:
    """What `sluicegate usage` says, by consumer."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "sluicegate.main", "usage", "--data", str(gateway.folder / "data"), "--json"],
        env={**environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {row["consumer"]: {**row, "total": sum(row["tokens"].values())} for row in json.loads(done.stdout)["usage"]}


def test_S04_a_noisy_tenant_is_held_by_two_workers_to_one_limit_and_the_bill_is_the_truth(tmp_path: Path):
    """Ten times what it may; the others' answers are as quick as before, and the ledger says who used what."""
    with serving(tmp_path, {"a": plain(), "b": plain()}, workers=2, loud=", limits: [60 requests/minute]") as (
        gateway,
        fleet,
        run,
    ):

        async def story() -> tuple[list[Answered], list[Answered], list[Answered]]:
            app, loud = Clients(gateway), Clients(gateway, LOUD)
            alone = await app.steady(20, 2)
            noise = asyncio.ensure_future(loud.steady(150, 4))
            beside = await app.steady(20, 4)
            noisy = await noise
            await app.close()
            await loud.close()
            return alone, beside, noisy

        alone, beside, noisy = run(story())
        assert not fine(alone + beside)
        assert Counter(a.status for a in noisy) == {200: 60, 429: 540}
        refused = next(a for a in noisy if a.status == 429)
        assert refused.headers["x-sluicegate-limit-source"] == "gateway"
        assert refused.headers["x-sluicegate-reason"] == "limit.request_rate"
        quick, still = (percentile([a.took for a in found], 0.5) for found in (alone, beside))
        assert still < 2 * quick + 0.02
        served = len(alone) + len(beside) + 60
        assert len(fleet.ledger) == served, "what was refused went nowhere"

        def counted() -> Any:
            rows = usage(gateway)
            return rows if sum(row["requests"] for row in rows.values()) == served else None

        rows = until(counted)
        assert rows["loud"]["requests"] == 60 and rows["app"]["requests"] == served - 60
        truth = sum(e.claim.prompt + e.claim.completion for e in fleet.ledger)
        assert sum(row["total"] for row in rows.values()) == truth


# ---------------------------------------------------------------------- S-08


def test_S08_long_streams_through_a_cut_a_client_that_leaves_and_workers_that_are_replaced(tmp_path: Path):
    slow = {"latency": {"first_token_s": 0.05, "per_token_s": 0.05}}
    given = {"a": {"key": ENV["UPSTREAM_KEY"], "deployments": {"d": slow}}}
    with serving(tmp_path, given, workers=2) as (gateway, fleet, run):

        async def story() -> list[Answered]:
            callers = [Caller(gateway.port) for _ in range(12)]
            for caller in callers:
                await caller.open()
            long = request("[sim:tokens=80]", stream=True, key=KEY)
            streams = [asyncio.ensure_future(c.ask(long)) for c in callers[:10]]
            fleet.fault("cut", at="before_finish", marker="[sim:tokens=41]")
            broken = asyncio.ensure_future(callers[10].ask(request("[sim:tokens=41]", stream=True, key=KEY)))
            leaver = callers[11]
            assert leaver.writer is not None
            leaver.writer.write(request("[sim:tokens=82]", stream=True, key=KEY))
            await leaver.reader.readuntil(b"content")
            await asyncio.sleep(0.5)
            leaver.writer.transport.abort()
            left = fleet.now()
            old = set(gateway.workers)
            gateway.tell(signal.SIGUSR2)
            entry = await asyncio.to_thread(until, lambda: next((e for e in fleet.ledger if e.ended == "client"), None))
            assert entry.left_at is not None and entry.left_at - left < 1.0, "upstream stopped within a second"
            await asyncio.to_thread(gateway.event, "restarted")
            app = Clients(gateway)
            during = await app.ask()
            assert during.status == 200
            await app.close()
            answers = await asyncio.gather(*streams)
            cut = await broken
            assert cut.status == 200 and cut.framed_error == "upstream_interrupted" and b"[DONE]" not in cut.body
            for caller in callers:
                await caller.close()
            until(lambda: not old & set(gateway.workers))
            return list(answers)

        answers = run(story())
        assert not fine(answers)
        assert all(a.body.count(b'"content":"') >= 79 and a.body.rstrip().endswith(b"data: [DONE]") for a in answers)
        kinds = Counter(e.ended for e in fleet.ledger)
        assert kinds["client"] == 1

        def booked() -> Any:
            rows = usage(gateway)
            return rows["app"] if rows and rows["app"]["requests"] == 13 else None

        row = until(booked)
        truth = sum(e.claim.prompt + e.claim.completion for e in fleet.ledger)
        assert row["total"] == pytest.approx(truth, rel=0.1), "the one that left and the one that broke are estimates"


# ---------------------------------------------------------------------- samples of others


REFUSALS: list[dict[str, Any]] = [
    {"kind": "throttle", "wait_s": 30, "form": "ms"}, {"kind": "status", "status": 500}, {"kind": "status", "status": 503},
    {"kind": "status", "shape": "wrong_key"}, {"kind": "status", "shape": "no_permission"}, {"kind": "status", "shape": "no_deployment"},
]  # fmt: skip


def test_openai_apim_lb_groups_by_priority_even_inside_a_group_and_every_refusal_goes_on(tmp_path: Path):
    """What the sample openai-apim-lb shows (401, 429 and 5xx go on at once, without waiting), and what it lacks: 403 and
    404 go on, too."""
    first = [f"first{n}" for n in range(len(REFUSALS))]
    given = {name: plain(sku="ProvisionedManaged") for name in first} | {"east": plain(), "north": plain()}
    with serving(tmp_path, given, model=", balance: round_robin, retry: {attempts: 8}") as (gateway, fleet, run):

        async def story() -> None:
            app = Clients(gateway)
            assert not fine(await app.steady(60, 2))
            group = Counter(e.instance for e in fleet.ledger)
            assert set(group) == set(first) and max(group.values()) - min(group.values()) <= 2, (
                "evenly, the first group only"
            )
            for name, refusal in zip(first, REFUSALS, strict=True):
                fleet.fault(refusal["kind"], instance=name, **{k: v for k, v in refusal.items() if k != "kind"})
            before = len(fleet.ledger)
            answered = await app.ask()
            calls = fleet.ledger.entries[before:]
            assert answered.status == 200 and [e.status for e in calls][-1] == 200
            assert {e.instance for e in calls[:-1]} == set(first) and calls[-1].instance in ("east", "north")
            assert (calls[-1].first_at or 0.0) - calls[0].first_at < 0.5, "without waiting"
            began = fleet.now()
            assert not fine(await app.steady(60, 2))
            east, north = after(fleet, began, "east"), after(fleet, began, "north")
            assert east + north >= 115 and abs(east - north) <= 6, "evenly"
            assert not app.early(fleet)
            await app.close()

        run(story())


def test_the_toolkits_faster_region_takes_over_without_probes_when_they_swap(tmp_path: Path):
    """GenAI gateway toolkit, latency routing: there a task measures once a minute, here the traffic itself does."""
    fast, slow = {"first_token_s": 0.02, "per_token_s": 0.001}, {"first_token_s": 0.4, "per_token_s": 0.004}
    given = {"near": plain(latency=fast), "far": plain(latency=slow)}
    with serving(tmp_path, given, model=", balance: latency") as (gateway, fleet, run):

        async def story() -> None:
            app = Clients(gateway)
            assert not fine(await app.steady(40, 2.5))
            settled = fleet.now() - 1.5
            near, far = after(fleet, settled, "near"), after(fleet, settled, "far")
            assert near > 0.8 * (near + far)
            fleet.patch({
                "near": {"deployments": {"d": {"latency": slow}}}, "far": {"deployments": {"d": {"latency": fast}}},
            })  # fmt: skip
            assert not fine(await app.steady(40, 5))
            swapped = fleet.now() - 1.5
            near, far = after(fleet, swapped, "near"), after(fleet, swapped, "far")
            assert far > 0.8 * (near + far), "within 5 s"
            calls = len(fleet.ledger)
            await asyncio.sleep(0.5)
            assert len(fleet.ledger) == calls, "nothing is asked that nobody asked for"
            await app.close()

        run(story())


def test_the_samples_weights_are_kept_and_a_pool_that_fails_says_so(tmp_path: Path):
    """Apim-Samples, load balancing: 80 to 20, and what becomes of a pool whose members all fail."""
    given = {"large": plain(), "small": plain()}
    with serving(tmp_path, given, model=", balance: weighted", weights={"large": 4}) as (gateway, fleet, run):

        async def story() -> None:
            app = Clients(gateway)
            assert not fine(await app.steady(100, 2))
            large = len(fleet.ledger.of("large"))
            assert abs(large - 160) <= 25, "80 to 20, by dice: four standard deviations"
            fleet.fault("status", status=500)
            answered = await app.ask()
            assert answered.status == 503 and answered.headers["x-should-retry"] == "false"
            assert (
                int(answered.headers["retry-after"]) >= 1 and answered.headers["x-sluicegate-reason"] == "pool.failed"
            )
            await app.close()

        run(story())
