"""What the programs are told: the gateway's configuration is one the language takes, the references' say what they must."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench import gateway
from bench.__main__ import arguments, scale
from bench.certificates import make
from bench.gateway import Totals, printed_totals, wrong_totals
from bench.references import envoy_config, nginx_config
from bench.setups import BOTH, PLAIN, TLS, Place, Setup
from sluicegate.apis import APIS
from sluicegate.spec.load import Loaded, load
from sluicegate.spec.references import Sources

SETUPS = [PLAIN, TLS, BOTH]
KEYS = {gateway.CLIENT_KEY: "client-key-0123456789abcdef", gateway.UPSTREAM_KEY: "upstream-key-0123456789abcdef"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def place(setup: Setup, folder: Path) -> Place:
    return Place(setup, folder, 9001, 9002, (9101, 9102, 9103), make(folder))


def loaded(setup: Setup, folder: Path, bare: bool = False) -> Loaded:
    text = gateway.config(place(setup, folder), bare).encode()
    return load(text, gateway.FILE, str(folder), Sources(KEYS), tuple(APIS))


@pytest.mark.parametrize("setup", SETUPS, ids=lambda s: s.name)
def test_the_gateways_configuration_is_valid_and_has_a_pool_of_three(setup: Setup, folder: Path):
    found = loaded(setup, folder)
    assert found.snapshot, found.problems
    assert [i.port for i in found.snapshot.instances] == [9101, 9102, 9103]
    assert {i.scheme for i in found.snapshot.instances} == {"https" if setup.upstream_tls else "http"}
    assert len(found.snapshot.models[0].deployments) == 3
    assert bool(found.snapshot.gateway.listen.tls) == setup.client_tls
    assert found.directory and len(found.directory.consumers) == 1


@pytest.mark.parametrize("bare", [False, True])
def test_what_the_report_says_is_on_is_on(bare: bool, folder: Path):
    found = loaded(PLAIN, folder, bare)
    assert found.snapshot and found.directory
    consumer, model = found.directory.consumers[0], found.snapshot.models[0]
    assert sorted(limit.kind for limit in consumer.limits) == (
        [] if bare else ["concurrency", "request_rate", "token_rate"]
    )
    assert bool(model.params) == bool(found.snapshot.gateway.telemetry.access_log) == (not bare)


def test_the_effective_configuration_shows_defaults_and_no_key(folder: Path):
    shown = gateway.effective(gateway.config(place(PLAIN, folder)), folder, KEYS)
    assert "keep_alive_s=" in shown
    assert not [key for key in KEYS.values() if key in shown]


@pytest.mark.parametrize("setup", SETUPS, ids=lambda s: s.name)
def test_nginx_holds_bodies_in_memory_and_passes_streams_on_at_once(setup: Setup, folder: Path):
    text = nginx_config(place(setup, folder))
    assert text.count("{") == text.count("}")
    assert "client_body_buffer_size 1m;" in text and "access_log off;" in text
    assert "proxy_buffering off;" in text.partition("listen 127.0.0.1:9002")[2]
    assert ("proxy_ssl_verify on;" in text) == setup.upstream_tls
    assert ("9001 ssl" in text) == setup.client_tls


@pytest.mark.parametrize("setup", SETUPS, ids=lambda s: s.name)
def test_envoy_speaks_tls_where_the_setup_does(setup: Setup, folder: Path):
    resources = json.loads(envoy_config(place(setup, folder)))["static_resources"]
    assert ("transport_socket" in resources["clusters"][0]) == setup.upstream_tls
    assert ("transport_socket" in resources["listeners"][0]["filter_chains"][0]) == setup.client_tls
    endpoints = resources["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert [e["endpoint"]["address"]["socket_address"]["port_value"] for e in endpoints] == [9101, 9102, 9103]


def test_everything_listens_on_loopback_only(folder: Path):
    at = place(PLAIN, folder)
    for text in (gateway.config(at), nginx_config(at), envoy_config(at)):
        assert "0.0.0.0" not in text and "127.0.0.1" in text


def test_the_gateway_sees_no_variable_that_python_would_heed():
    env = gateway.environment({"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": "x", "PATH": "/bin"}, {"A": "b"})
    assert env == {"PATH": "/bin", "A": "b"}


def totals(**more: int) -> Mapping[str, int]:
    fair = {"records": 5, "settled": 5, "interrupted": 0, "refused": 0, "input_tokens": 50, "output_tokens": 70}
    return {**fair, **more}


SEEN = Totals(5, 50, 70)


def test_books_that_agree_are_right():
    assert wrong_totals(totals(), SEEN, SEEN, True) == []


@pytest.mark.parametrize(
    "wrong", [{"records": 4}, {"settled": 4}, {"refused": 1}, {"interrupted": 1}, {"input_tokens": 49}]
)
def test_books_that_differ_in_one_number_are_wrong(wrong: dict[str, int]):
    assert wrong_totals(totals(**wrong), SEEN, SEEN, True)


def test_a_request_that_the_upstream_got_twice_is_wrong():
    assert wrong_totals(totals(), SEEN, Totals(6, 50, 70), True)


def test_tokens_that_clients_did_not_ask_for_are_compared_with_the_upstream_only():
    blind = Totals(5, 0, 0)
    assert wrong_totals(totals(), blind, SEEN, False) == []
    assert wrong_totals(totals(), blind, SEEN, True)


def test_no_totals_at_all_are_wrong():
    assert wrong_totals(None, SEEN, SEEN, True)
    assert printed_totals("{broken\nnothing\n") is None
    assert printed_totals('x\n{"event": "totals", "records": 5}\n') == {"event": "totals", "records": 5}


def test_the_command_line_changes_what_it_names_and_nothing_else():
    said = arguments(["--short", "--rows", "chunk", "--seconds", "3"])
    assert said.rows == ["chunk"]
    assert (scale(said).seconds, scale(said).rounds) == (3.0, 1)
    assert scale(arguments([])).rounds >= 4


@pytest.mark.parametrize(
    "wrong", [["--rows", "chnk"], ["--programs", "apache"], ["--rounds", "0"], ["--seconds", "-1"]]
)
def test_what_is_not_there_is_refused(wrong: list[str]):
    with pytest.raises(SystemExit) as stop:
        arguments(wrong)
    assert stop.value.code == 2
