"""What a body names is not fetched, what a request must not set it cannot set, and what is kept is what the data map says."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import msgspec
import pytest

from sluicegate.main import Live
from sluicegate.sim.fleet import FleetThread
from tests.abuse.outside import Upstream, ask, request
from tests.keeper.operators import chat, text_of
from tests.keeper.running import ENV, KEY, ROOT, Gateway

MAP = (ROOT / "docs" / "explanation" / "what-is-stored.md").read_text("utf-8")


@pytest.mark.parametrize(
    "more",
    [
        '"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"%s"}}]}]',
        '"messages":[],"data_sources":[{"type":"azure_search","parameters":{"endpoint":"%s"}}]',
        '"messages":[{"role":"user","content":[{"type":"input_file","file_url":"%s"}]}]',
        '"messages":[],"tools":[{"type":"mcp","server_label":"x","server_url":"%s"}]',
    ],
)
def test_abuse_29_what_a_body_names_is_not_fetched(more: str, port: int, upstream: Upstream):
    with socket.create_server(("127.0.0.1", 0)) as named:
        named.settimeout(0.2)
        url = f"http://127.0.0.1:{named.getsockname()[1]}/latest/meta-data"
        body = ('{"model":"chat",' + more % url + "}").encode()
        assert ask(port, request(body=body)).status == 200
        assert url.encode() in upstream.requests[-1].raw, "it goes up as it came: who serves the model judges it"
        with pytest.raises(TimeoutError):
            named.accept()


def test_abuse_48_no_request_sets_what_it_must_not():
    """Every body and query of the management API is a closed list of fields."""
    routes = [r for r in Live()._routes() if r.id != "login_callback"]  # an identity provider adds what it likes
    shapes = [s for r in routes for s in (r.takes, r.query) if isinstance(s, type) and issubclass(s, msgspec.Struct)]
    assert len(shapes) > 5
    for shape in shapes:
        assert shape.__struct_config__.forbid_unknown_fields, shape
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"role": "owner", "is_admin": True, "tenant_id": 1, "by": "me"}, shape)
    changing = [r.id for r in routes if r.method != "GET" and r.role == "viewer"]
    assert not [r for r in changing if r not in ("config_check", "config_diff", "explain")], "viewers change nothing"


ELSEWHERE = {"audit.head", "issuers.json"}
"""What not every gateway has."""


def rows() -> set[str]:
    """Names below `gateway.data` that the data map has."""
    return {name for cell in re.findall(r"^\| [^|]+ \| ([^|]+) \|", MAP, re.MULTILINE) for name in _names(cell)}


def _names(cell: str) -> list[str]:
    if "gateway.data/" not in cell:
        return []
    return [t.removeprefix("gateway.data/") for t in re.findall(r"`([^`]+)`", cell) if not t.startswith("gateway.s")]


def test_everything_that_a_gateway_keeps_is_on_the_data_map(tmp_path: Path):
    """After requests, a reload, a revoked key, a drained deployment, somebody made at run time."""
    small = {"deployments": {"gpt-4o": {"latency": {"first_token_s": 0.01, "per_token_s": 0.001}}}}
    with FleetThread({"a": {**small, "key": ENV["UPSTREAM_KEY"]}}, seed=1) as fleet:
        text = text_of(tmp_path, fleet["a"].origin).replace('  secrets: ["${env:SECRET}"]\n', "")
        with Gateway(tmp_path, text) as gateway:
            assert chat(gateway, KEY) == 200
            socket_path = str(tmp_path / "data" / "control.sock")
            keys = _over(socket_path, "GET", "/v1/keys")["keys"]
            _over(socket_path, "POST", "/v1/keys/revoke", {"consumer": "my-app", "key": keys[0]["key"]})
            _over(socket_path, "POST", "/v1/deployments/weu/gpt-4o/drain")
            gateway.hang_up_until("config.adopted")
            kept = {p.relative_to(tmp_path / "data").parts[0] for p in (tmp_path / "data").rglob("*")}
            for path in (tmp_path / "data").rglob("*"):
                assert path.stat().st_mode & 0o077 == 0, f"{path} is not for others to see"
            assert gateway.end()[1] == 0
    mapped = rows()
    unmapped = {name for name in kept if re.sub(r"-(wal|shm)$", "", name) not in mapped}
    assert not unmapped, f"docs/explanation/what-is-stored.md has no row for {sorted(unmapped)}"
    assert {"secret", "revoked.json", "drained.json", "ledger.sqlite", "numbers", "journal"} <= kept
    assert not {n for n in mapped if n not in kept} - ELSEWHERE, "what the map names and nobody writes"


def _over(path: str, method: str, target: str, body: object = None) -> dict:
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        raw = b"" if body is None else json.dumps(body).encode()
        s.sendall(f"{method} {target} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(raw)}\r\n\r\n".encode() + raw)
        got = b""
        while chunk := s.recv(65536):
            got += chunk
    head, _, rest = got.partition(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n")[0], got
    return json.loads(rest)
