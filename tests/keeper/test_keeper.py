"""The keeper and its workers as processes: what dies is replaced, what is replaced resets nobody, nothing is left."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluicegate.sim.fleet import FleetThread
from tests.keeper.running import ENV, Gateway, Load, config, killed, until

SMALL = {"deployments": {"gpt-4o": {"latency": {"first_token_s": 0.01, "per_token_s": 0.001}}}}


@pytest.fixture
def fleet() -> Iterator[FleetThread]:
    with FleetThread({"a": {**SMALL, "key": ENV["UPSTREAM_KEY"]}, "b": {**SMALL, "key": "b" * 32}}, seed=1) as fleet:
        yield fleet


def alive(pid: int) -> bool:
    """Neither gone nor a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_killed_worker_is_replaced_on_its_socket(fleet: FleetThread, tmp_path: Path):
    with Gateway(tmp_path, config(tmp_path, fleet["a"].origin), workers=2) as gateway:
        first = gateway.workers
        assert len(first) == 2
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        # Both sockets have nobody: what connects now waits for the next worker instead of being refused.
        for _ in range(6):
            assert gateway.get("/health/ready")[0] == 200
        until(lambda: len(gateway.workers) == 2)
        assert not set(first) & set(gateway.workers)
        totals, status = gateway.end()
        assert status == 0 and totals["open"] == 0
        assert not any(alive(pid) for pid in gateway.every)


def test_a_worker_told_to_leave_by_hand_is_replaced_at_once(fleet: FleetThread, tmp_path: Path):
    with Gateway(tmp_path, config(tmp_path, fleet["a"].origin)) as gateway:
        (first,) = gateway.workers
        os.kill(first, signal.SIGTERM)
        assert gateway.event("worker.leaves")["pid"] == first
        second = gateway.event("worker.ready")["pid"]
        until(lambda: gateway.workers == [second])
        assert gateway.get("/health/ready")[0] == 200


def test_a_rolling_restart_under_load_resets_nobody(fleet: FleetThread, tmp_path: Path):
    """G8, short: two workers, 200 requests a second over kept connections."""
    with Gateway(tmp_path, config(tmp_path, fleet["a"].origin), workers=2) as gateway:
        first = gateway.workers
        with Load(gateway.port, 200) as load:
            until(lambda: load.count > 50)
            gateway.tell(signal.SIGUSR2)
            gateway.event("restarted")
            until(lambda: not set(gateway.workers) & set(first))
            seen = load.count
            until(lambda: load.count > seen + 50)
        assert load.outcomes == {"200": load.count}, load.errors[:3]
        assert len(gateway.workers) == 2
        totals, status = gateway.end()
        assert (totals["records"], totals["settled"], totals["open"]) == (load.count, load.count, 0)
        assert status == 0


def test_sigterm_leaves_no_process_behind_and_says_the_totals_of_all(fleet: FleetThread, tmp_path: Path):
    with Gateway(tmp_path, config(tmp_path, fleet["a"].origin, drain="1s"), workers=2) as gateway:
        with Load(gateway.port, 100) as load:
            until(lambda: load.count >= 20)
        workers = gateway.workers
        totals, status = gateway.end()
        assert status == 0
        assert totals["records"] == totals["settled"] == load.outcomes["200"]
        assert not any(alive(pid) for pid in workers)


def test_workers_go_on_without_their_keeper(fleet: FleetThread, tmp_path: Path):
    with Gateway(tmp_path, config(tmp_path, fleet["a"].origin, drain="1s"), workers=2) as gateway:
        workers = gateway.workers
        with killed(workers):
            with Load(gateway.port, 100) as load:
                until(lambda: load.count >= 20)
                gateway.process.kill()
                seen = load.count
                until(lambda: load.count > seen + 50)
            assert load.outcomes == {"200": load.count}, load.errors[:3]
            for pid in workers:
                os.kill(pid, signal.SIGTERM)
            until(lambda: not any(alive(pid) for pid in workers))


def test_reload_in_force_on_all_workers_without_a_dropped_request(fleet: FleetThread, tmp_path: Path):
    """G9, short: each reload moves the instance to another address with another key. A request that mixed old and new
    would show one's key to the other, and be refused."""
    texts = [
        config(tmp_path, fleet["a"].origin),
        config(tmp_path, fleet["b"].origin, "OTHER_KEY"),
    ]
    with (
        Gateway(tmp_path, texts[0], workers=2, env={"OTHER_KEY": "b" * 32}) as gateway,
        Load(gateway.port, 100) as load,
    ):
        until(lambda: load.count > 20)
        hashes = []
        before = descriptors(gateway.pid)
        for n in range(8):
            gateway.file.write_text(texts[(n + 1) % 2])
            gateway.tell(signal.SIGHUP)
            hashes.append(gateway.event("config.adopted")["config"])
            said = {json.loads(gateway.get("/health/ready")[1])["config"] for _ in range(6)}
            assert said == {hashes[-1]}
        assert len(set(hashes)) == 2
        assert descriptors(gateway.pid) <= before + 1
        seen = load.count
        until(lambda: load.count > seen + 20)
        load.__exit__()
        assert load.outcomes == {"200": load.count}, load.errors[:3]
        assert {e.instance for e in fleet.ledger.entries} == {"a", "b"}


def test_a_changed_file_is_taken_and_a_broken_one_changes_nothing(fleet: FleetThread, tmp_path: Path):
    text = config(tmp_path, fleet["a"].origin)
    with Gateway(tmp_path, text) as gateway:
        first = json.loads(gateway.get("/health/ready")[1])["config"]
        gateway.file.write_text(text.replace("drain: 5s", "drain: 6s"))
        second = gateway.event("config.adopted")["config"]
        assert second != first
        gateway.file.write_text(text.replace("drain: 5s", "drian: 6s"))
        assert gateway.event("config.refused")["config"] == second
        said = "".join(gateway.said)
        assert f"{gateway.file}:4:3" in said and 'unknown key "drian"; did you mean "drain"?' in said
        assert f"1 error; the running configuration ({second}) stays in force" in said
        assert json.loads(gateway.get("/health/ready")[1])["config"] == second


def test_what_needs_a_restart_says_so_and_the_rest_takes_effect(fleet: FleetThread, tmp_path: Path):
    text = config(tmp_path, fleet["a"].origin)
    with Gateway(tmp_path, text) as gateway:
        gateway.file.write_text(text.replace("'127.0.0.1:0'", "'127.0.0.1:1'").replace("drain: 5s", "drain: 1s"))
        adopted = gateway.event("config.adopted")
        assert adopted["restart"] == ["gateway.listen"]
        assert "gateway.listen changed: it takes effect at the next start; the rest does now" in "".join(gateway.said)
        assert json.loads(gateway.get("/health/ready")[1])["config"] == adopted["config"]


def test_a_worker_that_starts_after_a_reload_has_what_is_in_force(fleet: FleetThread, tmp_path: Path):
    text = config(tmp_path, fleet["a"].origin)
    with Gateway(tmp_path, text) as gateway:
        gateway.file.write_text(text.replace("drain: 5s", "drain: 6s"))
        second = gateway.event("config.adopted")["config"]
        os.kill(gateway.workers[0], signal.SIGKILL)
        assert gateway.event("worker.ready")["config"] == second


def test_what_no_worker_can_use_starts_nothing(fleet: FleetThread, tmp_path: Path):
    gateway = Gateway(tmp_path, config(tmp_path, fleet["a"].origin), workers=2, certificate=f"{tmp_path}/gone.pem")
    try:
        assert gateway.process.wait(20) == 1
        gateway._reader.join(10)
        said = "".join(gateway.said)
        assert said.endswith("sluicegate: a worker could not start: no such file or directory\n")
        assert "Traceback" not in said
    finally:
        gateway.__exit__()


def descriptors(pid: int) -> int:
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))
    return 0
