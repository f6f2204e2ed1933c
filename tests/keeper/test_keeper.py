"""The keeper and its workers as processes: what dies is replaced, what is replaced resets nobody, nothing is left."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.proc import tree
from sluicegate.sim.fleet import FleetThread
from tests.certificates import Authority
from tests.keeper.operators import chat
from tests.keeper.running import ENV, KEY, ROOT, Gateway, Load, config, killed, until

CHAT = "/openai/deployments/chat/chat/completions?api-version=2024-10-21"
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
    with Gateway(tmp_path, config(tmp_path, fleet["a"].origin, 2)) as gateway:
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
    with Gateway(tmp_path, config(tmp_path, fleet["a"].origin, 2)) as gateway:
        first = gateway.workers
        before = descriptors(gateway.pid)
        with Load(gateway.port, 200) as load:
            until(lambda: load.count > 50)
            gateway.tell(signal.SIGUSR2)
            gateway.event("restarted")
            until(lambda: not set(gateway.workers) & set(first))
            seen = load.count
            until(lambda: load.count > seen + 50)
        assert load.outcomes == {"200": load.count}, load.errors[:3]
        assert len(gateway.workers) == 2
        until(lambda: descriptors(gateway.pid) == before)
        totals, status = gateway.end()
        assert (totals["records"], totals["settled"], totals["open"]) == (load.count, load.count, 0)
        assert status == 0


def test_sigterm_leaves_no_process_behind_and_says_the_totals_of_all(fleet: FleetThread, tmp_path: Path):
    with Gateway(tmp_path, config(tmp_path, fleet["a"].origin, 2, drain="1s")) as gateway:
        with Load(gateway.port, 100) as load:
            until(lambda: load.count >= 20)
        workers = gateway.workers
        totals, status = gateway.end()
        assert status == 0
        assert totals["records"] == totals["settled"] == load.outcomes["200"]
        assert not any(alive(pid) for pid in workers)


def test_workers_go_on_without_their_keeper(fleet: FleetThread, tmp_path: Path):
    with Gateway(tmp_path, config(tmp_path, fleet["a"].origin, 2, drain="1s")) as gateway:
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


def test_diff_compares_a_file_with_what_is_in_force(tmp_path: Path):
    text = config(tmp_path, "http://127.0.0.1:1")
    new = tmp_path / "new.yaml"  # not the file that is looked at: it would be in force before it is compared
    new.write_text(text.replace("models: [chat]}", "models: [chat], limits: [5 concurrent]}"))
    with Gateway(tmp_path, text) as gateway:
        done = diff(new)
        assert (done.stdout, done.returncode) == ("consumers.my-app: limits: 5 concurrent added\n1 change: 1 live\n", 1)
        gateway.file.write_text(new.read_text())
        gateway.tell(signal.SIGHUP)
        gateway.event("config.adopted")
        done = diff(new)
        assert (done.stdout, done.returncode) == ("no change\n", 0)


def diff(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "sluicegate.main", "diff", "-c", file.name], cwd=file.parent, text=True,
        env={**os.environ, **ENV, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False,
    )  # fmt: skip


def test_reload_in_force_on_all_workers_without_a_dropped_request(fleet: FleetThread, tmp_path: Path):
    """G9, short: each reload moves the instance to another address with another key. A request that mixed old and new
    would show one's key to the other, and be refused."""
    texts = [
        config(tmp_path, fleet["a"].origin, 2),
        config(tmp_path, fleet["b"].origin, 2, "OTHER_KEY"),
    ]
    with (
        Gateway(tmp_path, texts[0], env={"OTHER_KEY": "b" * 32}) as gateway,
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
        assert descriptors(gateway.pid) <= before + 2  # the mover looks into a file now and then
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
        gateway.file.write_text(
            text.replace("listen: {address: '127.0.0.1:0'", "listen: {address: '127.0.0.1:1'").replace(
                "drain: 5s", "drain: 1s"
            )
        )
        adopted = gateway.event("config.adopted")
        assert adopted["restart"] == ["gateway.listen"]
        assert "gateway.listen changed: it takes effect at the next start; the rest does now" in "".join(gateway.said)
        assert json.loads(gateway.get("/health/ready")[1])["config"] == adopted["config"]


def test_a_management_api_that_goes_on_in_clear_says_so(fleet: FleetThread, tmp_path: Path):
    """TLS begins with the next start; nobody must think that it began with the reload."""
    leaf = Authority(tmp_path).server()
    text = config(tmp_path, fleet["a"].origin)
    tls = f"admin: {{tls: {{certificate: '{leaf.file}', key: '{leaf.key_file}'}}, "
    with Gateway(tmp_path, text) as gateway:
        for drain in ("4s", "3s"):
            gateway.file.write_text(text.replace("admin: {", tls, 1).replace("drain: 5s", f"drain: {drain}"))
            assert gateway.event("config.adopted")["restart"] == ["gateway.admin.tls"]
        gateway.file.write_text(text)
        assert "restart" not in gateway.event("config.adopted")


def test_a_worker_that_starts_after_a_reload_has_what_is_in_force(fleet: FleetThread, tmp_path: Path):
    text = config(tmp_path, fleet["a"].origin)
    with Gateway(tmp_path, text) as gateway:
        gateway.file.write_text(text.replace("drain: 5s", "drain: 6s"))
        second = gateway.event("config.adopted")["config"]
        os.kill(gateway.workers[0], signal.SIGKILL)
        assert gateway.event("worker.ready")["config"] == second


def test_what_no_worker_can_use_starts_nothing(fleet: FleetThread, tmp_path: Path):
    gateway = Gateway(tmp_path, config(tmp_path, fleet["a"].origin, 2), certificate=f"{tmp_path}/gone.pem")
    try:
        assert gateway.process.wait(20) == 1
        gateway._reader.join(10)
        said = "".join(gateway.said)
        assert said.endswith("sluicegate: a worker could not start: no such file or directory\n")
        assert "Traceback" not in said
    finally:
        gateway.__exit__()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as s:
        found: int = s.getsockname()[1]
        return found


def descriptors(pid: int) -> int:
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))
    return 0


def test_the_next_keeper_takes_over_what_a_killed_one_left(fleet: FleetThread, tmp_path: Path):
    port = free_port()
    text = config(tmp_path, fleet["a"].origin, 2, port=port)
    with Gateway(tmp_path, text) as first:
        orphans = first.workers
        with Load(port, 100) as load:
            until(lambda: load.count >= 20)
            first.process.kill()
            first.process.wait()
            with Gateway(tmp_path, text) as second:
                until(lambda: not any(alive(pid) for pid in orphans))
                seen = load.count
                until(lambda: load.count > seen + 20)
                load.__exit__()
                assert set(load.outcomes) == {"200"}, load.errors[:3]
                assert second.end()[1] == 0


def test_metrics_count_every_request_of_every_worker_dead_ones_too(fleet: FleetThread, tmp_path: Path):
    with Gateway(tmp_path, config(tmp_path, fleet["a"].origin, 2)) as gateway:
        with Load(gateway.port, 100) as load:
            until(lambda: load.count >= 40)
            gateway.tell(signal.SIGUSR2)
            gateway.event("restarted")
        gateway.get("/nowhere")

        def counted(name: str) -> float:
            page = http.client.HTTPConnection("127.0.0.1", gateway.admin, timeout=5)
            page.request("GET", "/metrics")
            lines = page.getresponse().read().decode().splitlines()
            page.close()
            return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

        until(lambda: counted('sluicegate_requests_total{model="chat",status="200",reason=""}') == load.count)
        until(lambda: counted('sluicegate_requests_total{model="",status="404",reason="route.path"}') == 1)
        assert counted('sluicegate_attempts_total{deployment="weu/gpt-4o",cause="none"}') == load.count
        assert counted('sluicegate_consumer_requests_total{tenant="default",consumer="my-app"}') == load.count
        assert counted("sluicegate_request_seconds_count") == load.count
        assert counted('sluicegate_tokens_total{model="chat",class="output"}') > 0
        assert counted('sluicegate_workers{state="ready"}') == 2
        until(lambda: counted("sluicegate_journal_oldest_open_seconds") == 0)
        assert counted("sluicegate_ledger_lag_seconds") < 10 and counted("sluicegate_journal_lost_total") == 0
        assert counted('sluicegate_journal_bytes{state="open"}') >= 2 * 4 * 1024 * 1024


def test_a_drained_deployment_gets_nothing_new_and_stays_drained_across_a_restart(fleet: FleetThread, tmp_path: Path):
    two = (
        config(tmp_path, fleet["a"].origin, 2)
        .replace("weu:", "a:")
        .replace(
            "models:\n",
            f"  b: {{endpoint: '{fleet['b'].origin}', auth: {{key: '${{env:OTHER_KEY}}'}}, deployments: {{gpt-4o: {{model: gpt-4o, version: 2024-11-20}}}}}}\nmodels:\n",
        )
    )

    def served() -> set[str]:
        before = len(fleet.ledger.entries)
        with Load(gateway.port, 100) as load:
            until(lambda: load.count > 10)
        assert set(load.outcomes) == {"200"}, load.errors[:3]
        return {e.instance for e in fleet.ledger.entries[before:]}

    def cli(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "sluicegate.main", *arguments, "-c", str(gateway.file)]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30)

    with Gateway(tmp_path, two, env={"OTHER_KEY": "b" * 32}) as gateway:
        done = cli("drain", "a/gpt-4o")
        assert (done.returncode, done.stdout) == (0, "no new calls go to a/gpt-4o\n"), done.stderr
        assert served() == {"b"}
        assert cli("drain", "a/gpt4o").stderr == 'Error: no deployment is called "a/gpt4o"; did you mean "a/gpt-4o"?\n'
        assert gateway.end()[1] == 0
    assert "no gateway runs with" in cli("pools").stderr
    with Gateway(tmp_path, two, env={"OTHER_KEY": "b" * 32}) as gateway:
        assert served() == {"b"}
        pools = json.loads(cli("pools", "--json").stdout)["pools"]
        assert [(d["deployment"], d["drained"], len(d["workers"])) for d in pools[0]["deployments"]] == [
            ("a/gpt-4o", True, 2), ("b/gpt-4o", False, 2),
        ]  # fmt: skip
        assert "drained" in cli("pools").stdout
        assert cli("undrain", "a/gpt-4o").returncode == 0
        assert "a" in served()
        status = json.loads(cli("status", "--json").stdout)
        assert [w["state"] for w in status["workers"]] == ["ready", "ready"] and status["drained"] == []
        assert cli("status").stdout.count("ready") == 2
        gateway.file.write_text(two.replace("drain: 5s", "drian: 5s"))
        done = cli("reload")
        assert done.returncode == 1 and 'unknown key "drian"' in done.stderr
        gateway.file.write_text(two)
        assert cli("reload").stdout == f"in force on all workers: {status['config']}\n"
        assert "leaving" in cli("restart").stdout


def test_a_second_gateway_with_the_same_data_does_not_start(fleet: FleetThread, tmp_path: Path):
    text = config(tmp_path, fleet["a"].origin)
    with Gateway(tmp_path, text) as first:
        second = Gateway(tmp_path, text)
        try:
            assert second.process.wait(20) == 1
            second._reader.join(10)
            assert "another gateway runs with" in "".join(second.said)
        finally:
            second.__exit__()
        assert first.get("/health/ready")[0] == 200


def test_the_access_log_has_a_line_for_every_request_of_every_worker(fleet: FleetThread, tmp_path: Path):
    path = tmp_path / "access.log"
    text = config(tmp_path, fleet["a"].origin, 2) + f"telemetry: {{access_log: {path}}}\n"
    with Gateway(tmp_path, text) as gateway:
        with Load(gateway.port, 200) as load:
            until(lambda: load.count >= 30)
            until(lambda: path.exists() and path.stat().st_size)
            path.rename(tmp_path / "access.old")
            gateway.tell(signal.SIGHUP)
            gateway.event("config.adopted")
            seen = load.count
            until(lambda: load.count > seen + 30)
        refused = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=5)
        refused.request("POST", CHAT, "{}", {"api-key": "secret-of-nobody", "content-type": "application/json"})
        assert refused.getresponse().status == 401
        refused.close()
        gateway.end()
    old, new = (tmp_path / "access.old").read_text(), path.read_text()
    lines = [json.loads(line) for line in (old + new).splitlines()]
    assert len(old.splitlines()) > 0 < len(new.splitlines())
    served = [line for line in lines if line["status"] == 200]
    assert len(served) == load.count == load.outcomes["200"]
    assert len({line["id"] for line in served}) == load.count
    assert {(s["consumer"], s["model"], s["attempts"][0]["deployment"]) for s in served} == {
        ("my-app", "chat", "weu/gpt-4o")
    }
    assert [line["reason"] for line in lines if line["status"] == 401] == ["credential.unknown"]
    assert not any(secret in old + new for secret in ("hello", "secret-of-nobody", *ENV.values()))


def test_the_memory_of_large_prompts_is_used_again(fleet: FleetThread, tmp_path: Path):
    """Given back to the kernel after each request and taken anew, a prompt of 200 KB costs some 80 page faults."""

    def faults(pid: int) -> int:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[7])

    words = "hello " * 34_000
    body = json.dumps({"max_tokens": 1, "messages": [{"role": "user", "content": words}]})
    with Gateway(tmp_path, config(tmp_path, fleet["a"].origin)) as gateway:
        (worker,) = gateway.workers
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)

        def ask(times: int) -> None:
            for _ in range(times):
                connection.request("POST", CHAT, body, {"api-key": ENV["APP_KEY"], "content-type": "application/json"})
                answer = connection.getresponse()
                assert (answer.status, bool(answer.read())) == (200, True)

        ask(20)
        before = faults(worker)
        ask(40)
        assert (faults(worker) - before) / 40 < 20
        connection.close()


def test_files_are_looked_at_and_keys_end_when_nobody_reads_stderr_any_more(fleet: FleetThread, tmp_path: Path):
    file = tmp_path / "gateway.yaml"
    text = config(tmp_path, fleet["a"].origin)
    file.write_text(text)
    here, there = os.pipe()
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "sluicegate.main", "serve", "-c", str(file)], cwd=tmp_path, stderr=there,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={**environ, **ENV, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    os.close(there)

    def in_force() -> set[str]:
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(tmp_path / "data" / "control.sock"))
            s.sendall(b"GET /v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n")
            with s.makefile("rb") as f:
                return {str(json.loads(f.read().partition(b"\r\n\r\n")[2])["config"])}

    try:
        with os.fdopen(here) as said:
            for line in said:
                if "admin.ready" in line:
                    break
        seen = in_force()
        assert len(seen) == 1
        file.write_text(text + "  app-1: {key: '${env:SECRET}', models: [chat]}\n")
        until(lambda: in_force() != seen, 20)
        file.write_text(text)
        until(lambda: in_force() == seen, 20)
    finally:
        for pid in tree(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()


def test_what_is_drained_stays_drained_under_another_name(fleet: FleetThread, tmp_path: Path):
    """It may be out because it processes outside its boundary: a new name must not bring it back."""
    text = config(tmp_path, fleet["a"].origin)
    names = text.replace("  weu: {", "  west: {was: [weu], ").replace("gpt-4o: {model", "four: {was: [gpt-4o], model")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "drained.json").write_text('["weu/gpt-4o"]')

    def away(gateway: Gateway) -> Any:
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(tmp_path / "data" / "control.sock"))
            s.sendall(b"GET /v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n")
            with s.makefile("rb") as f:
                status = json.loads(f.read().partition(b"\r\n\r\n")[2])
        assert chat(gateway, KEY) == 503
        return status["drained"]

    with Gateway(tmp_path, text) as gateway:
        assert away(gateway) == ["weu/gpt-4o"]
        gateway.file.write_text(names)
        gateway.event("config.adopted")
        assert away(gateway) == ["west/four"]
        gateway.file.write_text(names.replace("was: [weu], ", "").replace("was: [gpt-4o], ", ""))
        gateway.event("config.unchanged")
        assert away(gateway) == ["west/four"]
        gateway.end()
    (tmp_path / "data" / "drained.json").write_text('["weu/gpt-4o"]')
    for text in (names, names.replace("was: [weu], ", "").replace("was: [gpt-4o], ", "")):
        with Gateway(tmp_path, text) as gateway:
            assert away(gateway) == ["west/four"]
            gateway.end()
