"""`sluicegate verify-bypass`: what refuses, what is not there, what answers, and what to do about it."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sluicegate.core.settings import Front
from sluicegate.main import program
from tests.abuse.outside import Seen, Upstream, answer
from tests.gateway import KEY, GatewayThread, instance, snapshot

DOOR = "9a3f2c1e-0000-4000-8000-5b1d7e000001"
REFUSES = answer(b'{"error":{"code":"401"}}', b"401 Unauthorized")


def config(folder: Path, port: int, front: str = "") -> str:
    path = folder / "gateway.yaml"
    path.write_text(
        f"""version: 1
gateway: {{data: "{folder}/data"{front}}}
instances:
  weu:
    endpoint: http://127.0.0.1:{port}
    auth: {{key: "${{env:NOT_HERE}}"}}
    deployments:
      gpt-4o: {{model: gpt-4o, version: 2024-11-20}}
models:
  chat: {{use: gpt-4o@2024-11-20}}
consumers:
  one: {{key: "${{env:NOT_HERE_EITHER}}", models: [chat]}}
  two: {{key: "${{file:/nowhere/at/all}}", models: [chat]}}
"""
    )
    return str(path)


def run(*args: str) -> Result:
    return CliRunner().invoke(program, ["verify-bypass", *args], env={"CLIENT_KEY": KEY, "NOT_HERE": None})


def test_row_F4_an_instance_that_refuses_clients_is_no_way_around(tmp_path: Path):
    with Upstream() as upstream:
        upstream.answer = REFUSES
        done = run("-c", config(tmp_path, upstream.port), "--key-env", "CLIENT_KEY")
        assert done.exit_code == 0, done.output
        assert (
            "no way around the gateway was found from here" in done.output and "close its network, too" in done.output
        )
        shown = [
            (seen.header(b"api-key"), seen.header(b"authorization"), seen.header(b"x-api-key"))
            for seen in upstream.requests
        ]
        key = KEY.encode()
        assert shown == [(None, None, None), (key, None, None), (None, b"Bearer " + key, None), (None, None, key)]
        assert {seen.target for seen in upstream.requests} == {b"/openai/models?api-version=2024-10-21"}
        assert KEY not in done.output and not (tmp_path / "data").exists()


def test_row_F4_one_that_lets_clients_in_is_and_it_is_said_how_to_close_it(tmp_path: Path):
    def lets_in(seen: Seen, s: socket.socket) -> bool:
        s.sendall(answer(b"{}") if seen.header(b"api-key") else REFUSES)
        return True

    with Upstream() as upstream:
        upstream.answer = lets_in
        file = config(tmp_path, upstream.port)
        done = run("-c", file, "--key-env", "CLIENT_KEY")
        assert done.exit_code == 1 and "CLIENT_KEY as api-key: open, 200: it answers" in done.output
        assert "weu: clients have its keys: renew them" in done.output and "close-the-side-door.md" in done.output
        told: dict[str, Any] = json.loads(run("-c", file, "--key-env", "CLIENT_KEY", "--json").output)
        assert told["bypass"] is True
        assert [p["outcome"] for p in told["probes"]] == ["refused", "open", "refused", "refused"]
        upstream.answer = answer(b"{}")
        done = run("-c", file)
        assert done.exit_code == 1 and "weu: anybody who reaches it is answered" in done.output


def test_row_F4_what_cannot_be_reached_is_closed(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = run("-c", config(tmp_path, port), "--key-env", "CLIENT_KEY")
    assert done.exit_code == 0 and done.output.count("closed, connection refused") == 4
    assert "close its network" not in done.output
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = run(f"http://127.0.0.1:{silent.getsockname()[1]}", "--timeout", "0.2")
    assert done.exit_code == 0 and "closed, no answer in time" in done.output


@pytest.mark.parametrize("said", [answer(b"", b"404 Not Found"), answer(b"", b"500 Oops"), answer(b"", b"302 Found", b"Location: /x"),
                                  b"SSH-2.0-x\r\n"])  # fmt: skip
def test_row_F4_what_neither_answers_nor_refuses_is_not_taken_for_closed(said: bytes, tmp_path: Path):
    with Upstream() as upstream:
        upstream.answer = lambda seen, s: s.sendall(said) or False  # type: ignore[func-returns-value]
        done = run("-c", config(tmp_path, upstream.port))
        assert (
            done.exit_code == 1 and "no credential: unclear" in done.output and "look what stands there" in done.output
        )


def test_row_F4_the_gateway_itself_around_its_front_door(tmp_path: Path):
    with Upstream() as upstream:
        upstream.answer = REFUSES
        plain = snapshot([instance(1, upstream.port)])
        file = config(tmp_path, upstream.port, f", front_door_ids: [{DOOR}]")
        shut = replace(plain, gateway=replace(plain.gateway, front=Front(doors=(DOOR,))))
        with GatewayThread(shut) as gateway:
            done = run("-c", file, "--key-env", "CLIENT_KEY", "--gateway", gateway.url)
            assert done.exit_code == 0 and done.output.count("X-Azure-FDID, ") == 4
        with GatewayThread(plain) as gateway:
            done = run("-c", file, "--key-env", "CLIENT_KEY", "--gateway", gateway.url)
            assert done.exit_code == 1 and "no X-Azure-FDID, CLIENT_KEY as api-key: open, 200" in done.output
            assert "no X-Azure-FDID, no credential: open, 401: refused for its credential" in done.output
            assert "AzureFrontDoor.Backend" in done.output


def test_row_F4_a_door_that_is_shut_to_everybody_is_said(tmp_path: Path):
    with Upstream() as upstream:
        upstream.answer = REFUSES
        plain = snapshot([instance(1, upstream.port)])
        shut = replace(plain, gateway=replace(plain.gateway, front=Front(doors=(DOOR,))))
        with GatewayThread(shut) as gateway, GatewayThread(plain) as behind:
            for public, code, said in (
                (gateway.url, 1, "nobody comes in by the front door"),
                (behind.url, 0, "front door"),
            ):
                file = config(tmp_path, upstream.port, f", front_door_ids: [{DOOR}], public_url: '{public}/'")
                done = run("-c", file, "--gateway", gateway.url)
                assert done.exit_code == code and said in done.output, done.output


@pytest.mark.parametrize(
    ("args", "said"),
    [(["--key-env", "NOWHERE"], "NOWHERE is not set"), (["--gateway", "10.0.0.4"], "--gateway is an address"),
     (["--gateway", "http://127.0.0.1:1"], "it has no door"), (["ftp://x"], "is not an address we can call")],
)  # fmt: skip
def test_what_cannot_be_tried_is_said(args: list[str], said: str, tmp_path: Path):
    done = run("-c", config(tmp_path, 1), *args)
    assert done.exit_code == 2 and said in done.output


def test_a_configuration_that_does_not_load_here_leaves_another_way(tmp_path: Path):
    path = tmp_path / "gateway.yaml"
    path.write_text("version: 1\n")
    done = run("-c", str(path))
    assert done.exit_code == 2 and "or name the endpoints" in done.output
