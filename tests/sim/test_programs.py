"""`sluicegate simulate` and `sluicegate demo` as processes: what they print works, and they leave nothing behind."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import openai
import pytest

SLUICEGATE = [sys.executable, "-m", "sluicegate.main"]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextmanager
def running(*args: str, tmp: Path) -> Iterator[subprocess.Popen[str]]:
    """A child with its own temporary directory, so that what it leaves there can be seen; ended by name if need be."""
    env = {**os.environ, "TMPDIR": str(tmp)}
    process = subprocess.Popen(
        [*SLUICEGATE, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def read_until(process: subprocess.Popen[str], last: str) -> str:
    assert process.stdout is not None
    got = ""
    for line in process.stdout:
        got += line
        if last in line:
            return got
    assert process.stderr is not None
    pytest.fail(f"ended early: {got}{process.stderr.read()}")


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


# ---------------------------------------------------------------- simulate


def test_simulate_serves_a_file_over_tls_and_stops_when_told(tmp_path: Path):
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(
        "weu:\n  deployments:\n    gpt-4o:\n    short: {version: 0613, tokens: [3, 3]}\n"
        "local: {kind: openai_compatible, key: a-key-of-mine}\n"
    )
    with running("simulate", "-i", str(fleet), "--tls", str(tmp_path / "certs"), "--json", tmp=tmp_path) as process:
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        weu, local = facts["instances"]["weu"], facts["instances"]["local"]
        assert weu["deployments"] == ["gpt-4o", "short"] and len(weu["key"]) == 32 and local["key"] == "a-key-of-mine"
        with httpx2.Client(verify=ssl.create_default_context(cafile=facts["ca"])) as http:
            client = openai.OpenAI(base_url=weu["endpoint"] + "/openai/v1", api_key=weu["key"], http_client=http)
            answer = client.chat.completions.create(model="short", messages=[{"role": "user", "content": "hi"}])
        assert answer.model == "gpt-4o-0613" and answer.usage is not None and answer.usage.completion_tokens == 3
        assert httpx2.get(facts["control"] + "/totals").json()["requests"] == 1
        process.send_signal(signal.SIGTERM)
        assert ended(process) == (0, "", "")


def test_simulate_says_what_it_is_and_what_is_wrong(tmp_path: Path):
    port = free_port()
    with running("simulate", "--count", "2", "--port", "0", "--control", str(port), tmp=tmp_path) as process:
        text = read_until(process, "control")
        assert re.search(r"^i2  http://127\.0\.0\.1:\d+  key [0-9a-f]{32}", text, re.M)
        with running("simulate", "--port", "0", "--control", str(port), tmp=tmp_path) as second:
            status, _, err = ended(second)
        assert status == 1 and f"the control API: 127.0.0.1:{port} is taken" in err and "--control" in err
        process.send_signal(signal.SIGINT)
        assert ended(process)[0] == 0
    for text, word in [
        ("instances: {weu: {rgion: x}}", "instances.weu: .*rgion"),
        ("[", "fleet.yaml"),
        ("a", "instances:"),
    ]:
        (tmp_path / "fleet.yaml").write_text(text)
        with running("simulate", "-i", str(tmp_path / "fleet.yaml"), tmp=tmp_path) as process:
            status, _, err = ended(process)
        assert status == 1 and re.search(word, err), err
    for option in ("--port", "--count"):
        with running("simulate", "-i", str(tmp_path / "fleet.yaml"), option, "7", tmp=tmp_path) as process:
            status, _, err = ended(process)
        assert status == 2 and "the file says" in err, "what cannot take effect is an error"


# ---------------------------------------------------------------- demo


def commands(text: str) -> list[str]:
    """What the demo offers to paste: lines indented by four, joined where they end in a backslash."""
    lines = [line[4:] for line in text.splitlines() if line.startswith("    ")]
    return "\n".join(lines).replace("\\\n", " ").splitlines()


def paste(command: str, *more: str) -> str:
    return subprocess.run([*shlex.split(command), *more], capture_output=True, text=True, check=True, timeout=30).stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="the demo's requests are for curl")
def test_every_command_that_the_demo_prints_works_when_pasted(tmp_path: Path):
    port = free_port()
    with running("demo", "--quiet", "--port", str(port), tmp=tmp_path) as process:
        text = read_until(process, "Ctrl-C")
        azure, stream, throttle, totals, throttle_all, kill, *inside = commands(text)
        quick = {d: {"latency": {"first_token_s": 0.01, "per_token_s": 0.001}} for d in ("gpt-4o-ptu", "gpt-4o")}
        config = totals.split("'")[1].replace("/totals", "/config")
        assert httpx2.patch(config, json={"instances": {"weu": {"deployments": quick}}}).status_code == 200
        assert [p.stat().st_mode & 0o777 for p in tmp_path.iterdir()] == [0o700]
        assert json.loads(paste(azure))["choices"][0]["message"]["content"]
        said = paste(stream)
        assert said.count("data: ") > 5 and said.endswith("data: [DONE]\n\n")
        assert json.loads(paste(totals))["by_deployment"] == {"weu/gpt-4o-ptu": 2}
        paste(throttle)
        assert json.loads(paste(azure))["choices"]
        counted = json.loads(paste(totals))
        assert counted["by_deployment"] == {"weu/gpt-4o": 1, "weu/gpt-4o-ptu": 3} and counted["by_status"]["429"] == 1
        paste(kill)
        assert json.loads(paste(azure))["choices"]
        assert "sdc/gpt-4o-ptu" in paste(totals)
        paste(kill.replace("down", "up"))
        paste(throttle_all)
        answer = paste(azure, "-i")
        assert answer.startswith("HTTP/1.1 429 ") and "retry-after: " in answer.lower()
        assert "x-sluicegate-attempts: " in answer
        top, *inside = inside
        assert " top " in top and "weu/gpt-4o" in paste(top, "--once")
        for command, word in zip(inside, ("weu/gpt-4o", "weu/gpt-4o", "demo-app"), strict=True):
            assert word in paste(command), command
        with running("demo", "--port", str(port), tmp=tmp_path) as second:
            status, out, err = ended(second)
        assert status == 1 and not out and f"port {port}: address already in use" in err and "--port" in err
        process.send_signal(signal.SIGINT)
        status, out, err = ended(process)
        assert (status, err) == (0, "") and "nothing is left" in out
    assert not list(tmp_path.iterdir())
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", port))


def test_the_demos_traffic_tells_of_a_spillover_that_the_ledger_knows(tmp_path: Path):
    with running("demo", "--pace", "2", "--port", str(free_port()), tmp=tmp_path) as process:
        text = read_until(process, "Ctrl-C")
        requests = next(command for command in commands(text) if " requests " in command)
        told = read_until(process, "the first:")
        top = next(command for command in commands(text) if " top " in command)
        look = json.loads(paste(top, "--once", "--json"))
        chat, ptu = look["models"][0], look["deployments"][0]
        assert chat["model"] == "chat" and chat["spill_share"] > 0.0 and chat["refused_per_s"] == 0.0
        assert ptu["deployment"] == "weu/gpt-4o-ptu" and ptu["in_flight"] > 0
        assert told.index("  calm  ") < told.index("  spike  ") < told.index("  spillover  ")
        assert re.search(r"^ +\d+ answered: weu/gpt-4o-ptu \d+$", told, re.MULTILINE), "calm: all of it at home"
        told = read_until(process, "  calm  ")
        assert re.search(r"answered: .*weu/gpt-4o \d+.* \(\d+% elsewhere than weu/gpt-4o-ptu\)$", told, re.MULTILINE)
        known = json.loads(paste(requests, "--json", "--deployment", "weu/gpt-4o", "--last", "5"))
        trails = [json.loads(paste(requests, one["id"], "--json"))["trail"] for one in known]
        ways = {"weu/gpt-4o-ptu: upstream.throttled.rate", "weu/gpt-4o-ptu: passed.throttled"}
        assert trails and all(ways & {*trail} for trail in trails), "refused there, or left alone until its time"
        process.send_signal(signal.SIGINT)
        status, out, err = ended(process)
    assert (status, err) == (0, "") and "nothing is left" in out
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the demo's children in /proc")
@pytest.mark.parametrize("index", [0, 1], ids=["simulator", "gateway"])
def test_a_child_that_dies_is_reported_and_ends_the_demo(tmp_path: Path, index: int):
    with running("demo", "--quiet", "--port", str(free_port()), tmp=tmp_path) as process:
        read_until(process, "Ctrl-C")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 2
        os.kill(int(children[index]), signal.SIGKILL)
        status, _, err = ended(process)
    assert status == 1 and f"{['the simulator', 'the gateway'][index]} was killed by signal 9" in err
    assert not list(tmp_path.iterdir())
    assert not [c for c in children if Path(f"/proc/{c}").exists()]
