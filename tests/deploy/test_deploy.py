"""What stands in deploy/: read, checked against each other and against what they start. No Docker engine is needed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sluicegate.apis import APIS
from sluicegate.spec.load import load
from sluicegate.spec.references import Sources

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
UNIT = (DEPLOY / "sluicegate.service").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
GATEWAYS = {name: s for name, s in COMPOSE["services"].items() if name.startswith("gateway")}


def seconds(text: str) -> float:
    """Of `5m30s` or `5min 30s`."""
    parts = re.findall(r"(\d+) ?(min|m|s)\b", re.sub(r"(\d)([ms])(?=\d)", r"\1\2 ", text))
    assert parts, text
    return sum(int(n) * (1 if unit == "s" else 60) for n, unit in parts)


@pytest.fixture(scope="module")
def snapshot():
    """Of the configuration that all of them start."""
    text = (DEPLOY / "gateway.yaml").read_bytes()
    environ = {"AOAI_ENDPOINT_WEU": "https://contoso-weu.openai.azure.com"}
    loaded = load(text, "gateway.yaml", str(DEPLOY), Sources(environ, lambda path: path + "x" * 32), tuple(APIS))
    assert loaded.snapshot, [(p.what, p.hint) for p in loaded.problems]
    return loaded.snapshot


# ---------------------------------------------------------------- Dockerfile


def instructions() -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE))
    return [(word, rest) for word, _, rest in (line.strip().partition(" ") for line in joined.splitlines()) if word]


@pytest.mark.skipif(sys.platform != "linux", reason="hadolint is locked for Linux")
def test_the_linter_has_nothing_to_say():
    beside = Path(sys.executable).parent / "hadolint"
    program = str(beside) if beside.exists() else shutil.which("hadolint")
    if program is None:
        pytest.skip("no hadolint here: ./dev brings it")
    done = subprocess.run([program, "--no-color", DEPLOY / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_it_is_built_in_stages_and_run_by_nobody_in_particular():
    steps = instructions()
    stages = [n for n, (word, _) in enumerate(steps) if word == "FROM"]
    assert len(stages) == 2 and "slim" in steps[stages[1]][1]
    last = dict(steps[stages[1] :])
    uid, _, gid = last["USER"].partition(":")
    assert int(uid) > 0 and int(gid) > 0
    assert [word for word, _ in steps[stages[1] :]].index("USER") < [w for w, _ in steps[stages[1] :]].index(
        "ENTRYPOINT"
    )
    assert "/health/ready" in last["HEALTHCHECK"]
    assert all(version in DOCKERFILE for version in ("python:3.11-bookworm", "python:3.11-slim-bookworm"))


def test_every_package_is_installed_with_hashes_and_what_is_copied_exists():
    for word, rest in instructions():
        for install in re.findall(r"\binstall --no-cache-dir.*?(?=&&|$)", rest) if word == "RUN" else []:
            assert "--require-hashes -r requirements/" in re.sub(r" +", " ", install) or "/wheels/*.whl" in install
        if word == "COPY" and "--from" not in rest:
            for name in rest.split()[:-1]:
                assert (ROOT / name).exists(), name


def test_the_port_it_asks_is_the_port_it_serves(snapshot):
    port = re.search(r"http://127\.0\.0\.1:(\d+)/", DOCKERFILE)
    exposed = re.search(r"^EXPOSE (\d+)", DOCKERFILE, re.MULTILINE)
    assert port and exposed and int(port[1]) == int(exposed[1]) == snapshot.gateway.listen.port
    assert snapshot.gateway.listen.host == "0.0.0.0" and snapshot.gateway.data == "/data"
    assert re.search(r"^VOLUME /data$", DOCKERFILE, re.MULTILINE)


# ---------------------------------------------------------------- compose.yaml


def test_three_gateways_that_can_write_nowhere_but_into_their_own_data():
    assert len(GATEWAYS) == 3
    volumes, ports, names = [], [], []
    for service in GATEWAYS.values():
        assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"] and "privileged" not in service
        writable = [v for v in service["volumes"] if not v.endswith(":ro")]
        assert len(writable) == 1 and writable[0].endswith(":/data")
        volumes += [writable[0].split(":")[0]]
        ports += service["ports"]
        names.append(service["environment"]["GATEWAY_NAME"])
        assert (DEPLOY / service["build"]["dockerfile"].removeprefix("deploy/")).exists()
        assert (DEPLOY / service["build"]["context"]).resolve() == ROOT
    assert len(set(volumes)) == len(set(ports)) == len(set(names)) == 3
    assert set(volumes) == set(COMPOSE["volumes"])
    assert all(port.startswith("127.0.0.1:") for port in ports), "whoever wants more says so"


KEYS = {
    "build", "image", "restart", "read_only", "tmpfs", "cap_drop", "security_opt", "stop_grace_period", "networks",
    "secrets", "deploy", "environment", "ports", "volumes", "profiles", "command", "user",
}  # fmt: skip


def test_no_key_of_a_service_is_misspelt():
    """By the compose specification's own schema it was checked by hand."""
    top = {"name", "services", "networks", "volumes", "secrets", "x-gateway"}
    assert set(COMPOSE) == top
    for name, service in COMPOSE["services"].items():
        assert set(service) <= KEYS, name
        assert set(service["networks"]) <= set(COMPOSE["networks"])


def test_it_waits_for_running_answers(snapshot):
    assert all(seconds(s["stop_grace_period"]) > snapshot.gateway.drain_s for s in GATEWAYS.values())


def test_every_secret_of_the_configuration_is_mounted():
    used = set(re.findall(r"\$\{file:/run/secrets/([\w-]+)\}", (DEPLOY / "gateway.yaml").read_text()))
    assert used and used == set(COMPOSE["secrets"])
    assert all(set(s["secrets"]) == used for s in GATEWAYS.values())


def test_every_variable_of_the_configuration_is_set_or_has_a_default():
    needed = set(re.findall(r"\$\{env:(\w+)\}", (DEPLOY / "gateway.yaml").read_text()))
    assert all(needed <= set(s["environment"]) for s in GATEWAYS.values())


def test_the_shared_store_has_a_place_and_nobody_is_told_that_it_does_anything():
    redis = COMPOSE["services"]["redis"]
    assert redis["profiles"] == ["shared"] and set(redis["networks"]) <= set(GATEWAYS["gateway-1"]["networks"])
    assert "ports" not in redis and "depends_on" not in GATEWAYS["gateway-1"]
    assert "not used yet" in (DEPLOY / "compose.yaml").read_text()


# ---------------------------------------------------------------- sluicegate.service


def settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.splitlines():
        if re.match(r"\w+=", line):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_it_starts_and_reloads_the_gateway_with_verbs_that_exist():
    unit = settings()
    for key in ("ExecStartPre", "ExecStart", "ExecReload"):
        (command,) = unit[key]
        program, verb, *args = command.split()
        assert program == "/opt/sluicegate/bin/sluicegate" and args == ["-c", "/etc/sluicegate/gateway.yaml"]
        known = subprocess.run(
            [sys.executable, "-m", "sluicegate.main", verb, "--help"], capture_output=True, text=True
        )
        assert known.returncode == 0 and "--config" in known.stdout
    assert unit["ExecStart"][0].split()[1] == "serve"


def test_the_unit_waits_for_running_answers(snapshot):
    unit = settings()
    assert seconds(unit["TimeoutStopSec"][0]) > snapshot.gateway.drain_s
    assert unit["KillMode"] == ["mixed"], "SIGTERM to the keeper alone"


def test_the_unit_brings_every_secret_and_a_place_to_write():
    unit = settings()
    brought = {value.split(":")[0] for value in unit["LoadCredential"]}
    assert brought == set(COMPOSE["secrets"])
    assert unit["ProtectSystem"] == ["strict"] and unit["StateDirectory"] == ["sluicegate"]
    assert unit["Environment"] == ["DATA=/var/lib/sluicegate"], "what deploy/gateway.yaml reads"
    assert "${env:DATA|" in (DEPLOY / "gateway.yaml").read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_takes_it_and_finds_it_hardened(tmp_path: Path):
    unit = tmp_path / "sluicegate.service"
    unit.write_text(UNIT.replace("/opt/sluicegate/bin/sluicegate", "/bin/true"))  # it must exist to be verified
    env = {**os.environ, "SYSTEMD_LOG_TARGET": "console"}
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, env=env)
    ours = [line for line in verified.stderr.splitlines() if "sluicegate" in line]
    assert verified.returncode == 0 and not ours, verified.stderr
    asked = ["systemd-analyze", "security", "--offline=true", "--threshold=20", unit]
    judged = subprocess.run(asked, capture_output=True, text=True, env=env)
    if "unrecognized option" in judged.stderr:
        pytest.skip("this systemd-analyze judges no files")
    assert judged.returncode == 0, judged.stdout.splitlines()[-1:] + judged.stderr.splitlines()


# ---------------------------------------------------------------- the test itself


def test_times_are_read():
    assert seconds("5m30s") == seconds("5min 30s") == 330 and seconds("10m") == 600
