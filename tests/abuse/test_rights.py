"""Cases 33 and 34: whatever happens to the deployments, nobody is served by what it may not use.

In virtual time; the simulator's ledger knows who was asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.settings import Rollout, Timeouts
from sluicegate.core.snapshot import ConsumerEntry, Directory, Model, Snapshot
from sluicegate.sim.stage import SECRET, Client, Stage
from tests.spec.reading import loaded

FLEET: dict[str, Any] = {f"i{n}": {"deployments": {"d": {}}} for n in range(4)}
NAMES = ("m0", "m1", "m2", "m3")
CHAT = ("chat_completions",)


def over(stage: Stage) -> None:
    stage.settle()
    assert not stage.bugs, stage.bugs
    assert stage.world.in_flight == 0


TROUBLES: dict[str, Callable[[Stage, str], object]] = {
    "throttled": lambda stage, name: stage.upstream.fault("throttle", instance=name, wait_s=30),
    "out of quota": lambda stage, name: stage.upstream.fault("throttle", instance=name, wait_s=86_400),
    "failing": lambda stage, name: stage.upstream.fault("status", status=500, instance=name),
    "silent": lambda stage, name: stage.upstream.fault("hang", instance=name),
    "dead": lambda stage, name: stage.upstream.mode(name, "down"),
    "unreachable": lambda stage, name: stage.upstream.mode(name, "stall"),
    "deleted": lambda stage, name: stage.upstream.fault("status", shape="no_deployment", instance=name),
    "revoked": lambda stage, name: stage.upstream.fault("status", shape="wrong_key", instance=name),
    "too long": lambda stage, name: stage.upstream.fault("status", shape="too_long", instance=name),
    "lying": lambda stage, name: stage.upstream.fault("html", instance=name),
}
QUICK = Timeouts(connect=0.5, first_byte=3.0, total=20.0)


# ---------------------------------------------------------------------- 33: models


def chain(granted: tuple[str, ...], fallbacks: tuple[tuple[str, ...], ...] | None = None) -> Stage:
    """Four models, one deployment each, every one falling back to the next ones."""
    made = Stage(FLEET).snapshot
    models = tuple(
        Model(n + 1, name, (n,), CHAT, fallback=fallbacks[n] if fallbacks else NAMES[n + 1 :], timeouts=QUICK)
        for n, name in enumerate(NAMES)
    )
    entry = ConsumerEntry(1, "app", "default", granted, ())
    return Stage(FLEET, snapshot=replace(made, models=models), directory=Directory((SECRET,), (entry,)))


@pytest.mark.parametrize("trouble", TROUBLES)
def test_abuse_33_a_fallback_never_widens_rights(trouble: str):
    """A gateway that walks the list without asking who asks serves m1 to whoever may use m0."""
    stage = chain(("m0", "m2"))
    for name in ("i0", "i2"):
        TROUBLES[trouble](stage, name)
    clients = [stage.ask(model="m0", stream=bool(n % 2)) for n in range(20)]
    over(stage)
    assert {c.status for c in clients} <= {400, 429, 503}
    assert {e.instance for e in stage.ledger} <= {"i0", "i2"}
    assert stage.ask(model="m1").status == stage.ask(model="m3").status == 404
    over(stage)


@given(
    st.sets(st.sampled_from(NAMES)),
    st.tuples(*(st.lists(st.sampled_from(NAMES), max_size=4, unique=True).map(tuple) for _ in NAMES)),
    st.lists(st.tuples(st.sampled_from(list(TROUBLES)), st.sampled_from(list(FLEET))), max_size=4),
    st.lists(st.tuples(st.sampled_from(NAMES), st.booleans()), min_size=1, max_size=6),
)
def test_abuse_33_whatever_falls_back_on_whatever(
    granted: set[str], fallbacks: Any, troubles: list[tuple[str, str]], asks: list[tuple[str, bool]]
):
    stage = chain(tuple(granted), fallbacks)
    for trouble, name in troubles:
        TROUBLES[trouble](stage, name)
    for model, stream in asks:
        client = stage.ask(model=model, stream=stream)
        over(stage)
        if model not in granted:
            assert client.status == 404
    allowed = {f"i{n}" for n, name in enumerate(NAMES) if name in granted}
    assert {e.instance for e in stage.ledger} <= allowed


def test_abuse_33_a_right_that_was_taken_away_is_gone_for_the_next_request_and_its_fallbacks():
    stage = chain(("m0", "m1"))
    TROUBLES["throttled"](stage, "i0")
    assert stage.ask(model="m0").drive
    over(stage)
    assert {e.instance for e in stage.ledger} == {"i0", "i1"}
    before = len(stage.ledger.of("i1"))
    stage.adopt(stage.snapshot, Directory((SECRET,), (ConsumerEntry(1, "app", "default", ("m0",), ()),)))
    clients = [stage.ask(model="m0") for _ in range(5)]
    over(stage)
    assert {c.status for c in clients} == {429} and len(stage.ledger.of("i1")) == before


# ---------------------------------------------------------------------- 34: places

EXAMPLE = Path(__file__).parents[2] / "examples" / "boundaries.yaml"
ENV = {
    name: f"{name.lower()}-0123456789abcdef"
    for name in ("AOAI_KEY_WEU", "AOAI_KEY_SDC", "WEB_SHOP_KEY", "NOTEBOOK_KEY", "HOOK")
}
WORLD = ("gpt-4o-any", "usa")
"""Deployments that nothing of the EU may reach."""


def european(**model: Any) -> Stage:
    """The example, with an instance in the United States beside it, which is the nearest and the fastest there is."""
    text = EXAMPLE.read_text()
    usa = """\
  eus:
    endpoint: https://contoso-eus.openai.azure.com
    region: eastus
    auth:
      key: ${env:AOAI_KEY_WEU}
    deployments:
      usa: {model: gpt-4o, version: 2024-11-20, sku: Standard}
      usa-new: {model: gpt-4o, version: 2025-08-01, sku: GlobalStandard}
      usa-mini: {model: gpt-4o-mini, version: 2024-07-18, sku: GlobalStandard}

models:
"""
    text = text.replace("\nmodels:\n", usa, 1).replace(
        "boundaries: [eu, world]", "boundaries: [eu, world]\n  secrets: ['${env:SECRET}']", 1
    )
    found = loaded(text, ENV)
    assert found.snapshot is not None and found.directory is not None, list(found.problems)
    models = tuple(replace(m, timeouts=QUICK, **model) for m in found.snapshot.models)
    return Stage(snapshot=replace(found.snapshot, models=models), directory=found.directory)


def outside(stage: Stage) -> set[str]:
    """Deployments that were called and must not be."""
    return {f"{e.instance}/{e.deployment}" for e in stage.ledger if e.instance == "eus" or e.deployment in WORLD}


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("balance", ["weighted", "latency", "least_tokens"])
def test_abuse_34_when_its_boundary_has_nothing_left_a_request_fails_rather_than_leave(trouble: str, balance: str):
    stage = european(balance=balance)
    for name in ("weu", "sdc"):
        TROUBLES[trouble](stage, name)
    clients: list[Client] = []
    stage.play(
        [n * 0.4 for n in range(50)], lambda n: clients.append(stage.ask(consumer="web-shop", stream=bool(n % 2)))
    )
    stage.clock.run_for(30)
    over(stage)
    assert not outside(stage)
    want = {"throttled": {429}, "out of quota": {429}, "too long": {400}}.get(trouble, {503})
    assert {c.status for c in clients} == want


@pytest.mark.parametrize("trouble", ["throttled", "failing", "dead"])
def test_abuse_34_the_same_file_lets_the_world_go_there(trouble: str):
    """So the test above does not pass because the way is closed for everybody."""
    stage = european()
    for name in ("weu", "sdc"):
        TROUBLES[trouble](stage, name)
    for _ in range(30):  # until those that fail are left alone
        last = stage.ask(consumer="notebook")
        over(stage)
    assert last.status == 200 and outside(stage)


@pytest.mark.parametrize(
    "header",
    [
        (b"x-ms-region", b"eastus"), (b"x-sluicegate-boundary", b"world"), (b"x-sluicegate-deployment", b"eus/usa"),
        (b"x-tenant", b"labs"), (b"x-ms-client-request-id", b"eus/usa"),
    ],
    ids=lambda h: h[0].decode(),
)  # fmt: skip
def test_abuse_34_no_word_of_a_client_moves_its_boundary(header: tuple[bytes, bytes]):
    stage = european()
    for name in ("weu", "sdc"):
        TROUBLES["throttled"](stage, name)
    clients = [
        stage.ask(consumer="web-shop", headers=(header,), region="eastus", boundary="world", service_tier="priority")
        for _ in range(5)
    ]
    over(stage)
    assert {c.status for c in clients} == {429} and not outside(stage)


def test_abuse_34_another_configuration_in_the_middle_of_a_request_does_not_take_it_out():
    """A request in flight goes on with the routes it began with, and the next one with the new ones: neither is mixed."""
    stage = european()
    stage.upstream.fault("hang", instance="weu")
    stage.upstream.fault("hang", instance="sdc")
    first = stage.ask(consumer="web-shop")
    chat = stage.snapshot.models[0]
    wider: Snapshot = replace(
        stage.snapshot, models=(replace(chat, rollout=Rollout((), 0.0)), *stage.snapshot.models[1:])
    )
    stage.adopt(wider)
    second = stage.ask(consumer="web-shop")
    over(stage)
    assert (first.status, second.status) == (503, 503) and not outside(stage)
