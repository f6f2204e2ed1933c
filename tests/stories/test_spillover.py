"""Stories of capacity: provisioned first, standard when it is full, home again; long prompts, rollouts, other models."""

import json
from dataclasses import replace
from typing import Any

import pytest

from sluicegate.core.limits.base import LimitSpec
from sluicegate.core.settings import Gateway, ParamSpec, Rollout, Spill
from sluicegate.core.snapshot import ConsumerEntry, Directory, Model, Snapshot
from sluicegate.sim.stage import SECRET, Client, Stage
from tests.spec.reading import compiled

FAST = {"latency": {"first_token_s": 0.2, "per_token_s": 0.005}}
PAIRED: dict[str, Any] = {
    "ptu": {"deployments": {"p": {"sku": "ProvisionedManaged", **FAST}}},
    "std": {"deployments": {"s": FAST}},
}
TWO: dict[str, Any] = {"old": {"deployments": {"v1": FAST}}, "new": {"deployments": {"v2": FAST}}}


def asked(stage: Stage, content: str = "hello", **more: Any) -> Client:
    client = stage.ask(content, **more)
    stage.settle()
    assert not stage.bugs, stage.bugs
    return client


def went(stage: Stage) -> list[str]:
    """Instances of the last record's attempts."""
    names = {
        d.number: i.name for i in stage.snapshot.instances for d in stage.snapshot.deployments if d.instance == i.number
    }
    return [names[a.deployment] for a in stage.journal.recent[-1].attempts]


def changed(fleet: dict[str, Any], deployments: dict[int, dict[str, Any]] | None = None, **more: Any) -> Snapshot:
    """The configuration that the stage makes of a fleet, with changes to its deployments (by number) and its parts."""
    made = Stage(fleet).snapshot
    changes = deployments or {}
    return replace(made, deployments=tuple(replace(d, **changes.get(d.number, {})) for d in made.deployments), **more)


# ---------------------------------------------------------------------- provisioned and standard


def test_S01_provisioned_full_standard_bursts_and_home_again_at_once():
    stage = Stage(PAIRED)
    stage.upstream.fault("throttle", instance="ptu", wait_s=1.5, form="ms", times=1)
    assert asked(stage).status == 200 and went(stage) == ["ptu", "std"]
    assert stage.journal.recent[-1].trail == ["ptu/p: upstream.throttled.rate"]
    shut = stage.ledger[0].sent_at or 0.0
    clients: list[Client] = []
    began = stage.clock.now()
    stage.play([n * 0.05 for n in range(60)], lambda n: clients.append(stage.ask(stream=bool(n % 2))))
    stage.clock.run_for(4)
    stage.settle()
    assert all(c.status == 200 for c in clients)
    ptu = [e.first_at for e in stage.ledger.of("ptu")][1:]
    assert ptu[0] == pytest.approx(max(shut + 1.5, began), abs=0.06), "at once when its time is up"
    assert not [e for e in stage.ledger.of("std") if e.first_at > ptu[0] + 0.5], "home again"
    assert not stage.ledger.early()


def test_A9_an_idle_standard_deployment_takes_nothing_from_a_provisioned_one():
    stage = Stage(PAIRED)
    for _ in range(20):
        asked(stage)
    assert len(stage.ledger.of("std")) == 0


def test_B9_the_next_member_is_asked_in_the_same_moment():
    stage = Stage({f"m{n}": {} for n in range(4)})
    for n in range(3):
        stage.upstream.fault("throttle", instance=f"m{n}", wait_s=5)
    asked(stage)
    attempts = stage.journal.recent[-1].attempts
    assert [b.at - a.ended_at for a, b in zip(attempts, attempts[1:], strict=False)] == [0.0, 0.0, 0.0]


def test_S02_deleted_dead_and_revoked_and_the_fourth_serves():
    stage = Stage({"gone": {}, "dead": {}, "revoked": {}, "good": {}})
    stage.upstream.fault("status", shape="no_deployment", instance="gone")
    stage.upstream.mode("dead", "down")
    stage.upstream.fault("status", shape="wrong_key", instance="revoked")
    clients = [asked(stage) for _ in range(10)]
    assert [c.status for c in clients[4:]] == [200] * 6
    assert len(stage.ledger.of("gone")) <= 1 and len(stage.ledger.of("revoked")) <= 1
    causes = {p["deployment"]: p["cause"] for p in stage.world.pools(stage.clock.now())}
    assert causes["gone/gpt-4o"] in ("upstream.deployment", "") and "good/gpt-4o" in causes


def test_S03_total_throttle_and_recovery():
    stage = Stage({"a": {}, "b": {}})
    stage.upstream.fault("throttle", for_s=5.0)
    assert asked(stage).status == 429
    assert asked(stage).status == 429 and len(stage.ledger) == 2
    state = {p["deployment"]: (p["state"], p["until"]) for p in stage.world.pools(stage.clock.now())}
    assert all(s == "shut" and 0 < until <= 5 for s, until in state.values())
    stage.clock.run_for(5.0)
    assert asked(stage).status == 200
    stage.clock.run_for(2.0)
    for _ in range(4):
        assert asked(stage).status == 200
    assert not stage.ledger.early()


# ---------------------------------------------------------------------- regions


def test_A14_A15_own_region_first_with_all_its_tiers_then_the_others():
    fleet = {
        "far-ptu": {"deployments": {"p": {"sku": "ProvisionedManaged"}}},
        "near-ptu": {"deployments": {"p": {"sku": "ProvisionedManaged"}}},
        "far-std": {}, "near-std": {},
    }  # fmt: skip
    made = Stage(fleet).snapshot
    where = [replace(i, region="westeurope" if i.name.startswith("near") else "swedencentral") for i in made.instances]
    snapshot = replace(made, gateway=Gateway(region="westeurope"), instances=tuple(where))
    stage = Stage(fleet, snapshot=snapshot)
    stage.upstream.fault("throttle", wait_s=60)
    asked(stage)
    assert went(stage) == ["near-ptu", "near-std", "far-ptu", "far-std"]


# ---------------------------------------------------------------------- long prompts

LONG = "word " * 40_000


def test_B22_a_prompt_too_long_for_a_member_never_reaches_it():
    stage = Stage(PAIRED, snapshot=changed(PAIRED, {0: {"max_input": 8_000}, 1: {"max_input": 128_000}}))
    assert asked(stage, LONG).status == 200 and went(stage) == ["std"]
    assert stage.journal.recent[-1].trail == ["ptu/p: passed.prompt"]
    assert asked(stage).status == 200 and went(stage) == ["ptu"]


def test_B22_too_long_for_all_is_a_400_and_no_call():
    stage = Stage(PAIRED, snapshot=changed(PAIRED, {0: {"max_input": 8_000}, 1: {"max_input": 8_000}}))
    client = asked(stage, LONG)
    assert client.status == 400 and b'"code":"context_length_exceeded"' in client.body
    assert client.header("x-sluicegate-reason") == "request.context_length" and client.header("retry-after") is None
    assert len(stage.ledger) == 0


BOOK = """
version: 1
gateway: {secrets: ["${env:SECRET}"]}
instances:
  weu:
    endpoint: https://contoso-weu.openai.azure.com
    auth: {key: "${env:AOAI_KEY}"}
    deployments:
      p: {model: gpt-4.1, version: 2025-04-14, sku: ProvisionedManaged}
      s: {model: gpt-4.1, version: 2025-04-14, sku: GlobalStandard}
models:
  chat: {use: gpt-4.1@2025-04-14}
consumers:
  my-app: {key: "${env:APP_KEY}", models: [chat]}
"""
"""Nobody wrote a window: 128,000 tokens of the provisioned one and 1,047,576 of the other stand in the book."""


@pytest.mark.parametrize(
    ("words", "asks", "trail"),
    [
        (80_000, ["weu/p"], []),
        (100_000, ["weu/p", "weu/s"], ["weu/p: upstream.context_length"]),
        (110_000, ["weu/s"], ["weu/p: passed.prompt"]),
    ],
    ids=["fits", "perhaps", "cannot fit"],
)
def test_B22_B23_windows_of_known_models_are_known(words: int, asks: list[str], trail: list[str]):
    stage = Stage(snapshot=compiled(BOOK)[0])
    assert asked(stage, "words " * words).status == 200
    record = stage.journal.recent[-1]
    assert [stage.world.members[a.deployment].label for a in record.attempts] == asks
    assert record.trail == trail and len(stage.ledger) == len(asks)


def test_B22_longer_than_every_window_of_the_book_is_a_400_and_no_call():
    stage = Stage(snapshot=compiled(BOOK.replace("gpt-4.1", "gpt-4o").replace("2025-04-14", "2024-11-20"))[0])
    client = asked(stage, "words " * 140_000)
    assert client.status == 400 and b'"code":"context_length_exceeded"' in client.body and len(stage.ledger) == 0


def test_B23_a_provisioned_400_for_a_long_prompt_spills_to_standard():
    stage = Stage(PAIRED)
    stage.upstream.fault("status", shape="too_long", instance="ptu")
    assert asked(stage).status == 200 and went(stage) == ["ptu", "std"]
    record = stage.journal.recent[-1]
    assert record.trail == ["ptu/p: upstream.context_length"]
    assert stage.world.doors[0].breaker.closed and stage.world.doors[0].breaker.faults == 0, "no fault of it"


def test_B23_not_where_it_is_not_wanted():
    stage = Stage(PAIRED, spill=Spill(long_context=False))
    stage.upstream.fault("status", shape="too_long", instance="ptu")
    assert asked(stage).status == 400 and went(stage) == ["ptu"]


def test_B23_nobody_else_can_the_client_sees_what_was_said():
    stage = Stage(PAIRED)
    stage.upstream.fault("status", shape="too_long")
    client = asked(stage)
    assert client.status == 400 and b"maximum context length" in client.body and went(stage) == ["ptu", "std"]
    assert (stage.journal.recent[-1].state, stage.journal.recent[-1].status) == ("settled", 400)


def test_B23_standard_that_is_throttled_makes_it_a_429():
    stage = Stage(PAIRED)
    stage.upstream.fault("status", shape="too_long", instance="ptu")
    stage.upstream.fault("throttle", instance="std", wait_s=3)
    client = asked(stage)
    assert client.status == 429 and client.header("retry-after") == "3"


# ---------------------------------------------------------------------- rollouts and other models


def rollout(share: float, consumers: int = 200) -> Stage:
    snapshot = changed(TWO)
    model = replace(snapshot.models[0], deployments=(0,), rollout=Rollout((1,), share))
    entries = tuple(ConsumerEntry(n, f"app{n}", "default", ("chat",), ()) for n in range(1, consumers + 1))
    return Stage(TWO, snapshot=replace(snapshot, models=(model,)), directory=Directory((SECRET,), entries))


def arms(stage: Stage, consumers: int = 200) -> dict[str, str]:
    found = {}
    for n in range(1, consumers + 1):
        asked(stage, consumer=f"app{n}")
        found[f"app{n}"] = went(stage)[0]
    return found


def test_I1_a_rollout_takes_its_share_and_a_consumer_stays_on_its_arm():
    small, again, large = (arms(rollout(share)) for share in (0.2, 0.2, 0.6))
    assert small == again
    new = {name for name, arm in small.items() if arm == "new"}
    assert 0.1 < len(new) / 200 < 0.3
    more = {name for name, arm in large.items() if arm == "new"}
    assert new < more and 0.5 < len(more) / 200 < 0.7


def test_I1_an_arm_that_cannot_serve_leaves_it_to_the_model_itself_never_the_other_way():
    stage = rollout(1.0, 1)
    stage.upstream.mode("new", "down")
    assert asked(stage, consumer="app1").status == 200 and went(stage) == ["new", "old"]
    stage = rollout(0.0, 1)
    stage.upstream.mode("old", "down")
    assert asked(stage, consumer="app1").status == 503 and went(stage) == ["old"]


def other_model(granted: tuple[str, ...], fallback: tuple[str, ...] = ("large",)) -> Stage:
    snapshot = changed(TWO)
    models = (
        Model(1, "small", (0,), ("chat_completions",), fallback=fallback),
        Model(2, "large", (1,), ("chat_completions",)),
    )
    entry = ConsumerEntry(1, "app", "default", granted, ())
    return Stage(TWO, snapshot=replace(snapshot, models=models), directory=Directory((SECRET,), (entry,)))


@pytest.mark.parametrize(
    ("granted", "fallback", "status", "asks"),
    [
        (("small", "large"), ("large",), 200, ["old", "new"]),
        (("small", "large"), (), 429, ["old"]),
        (("small",), ("large",), 429, ["old"]),
    ],
    ids=["written and granted", "not written", "not granted"],
)
def test_another_model_only_where_it_is_written_and_granted(
    granted: tuple[str, ...], fallback: tuple[str, ...], status: int, asks: list[str]
):
    stage = other_model(granted, fallback)
    stage.upstream.fault("throttle", instance="old", wait_s=9)
    client = asked(stage, model="small")
    assert client.status == status and went(stage) == asks
    record = stage.journal.recent[-1]
    assert record.model == "small"
    assert ("onward: large" in record.trail) == (status == 200)


def test_another_models_arm_that_cannot_serve_leaves_it_to_that_model():
    three = {**TWO, "new2": {"deployments": {"v3": FAST}}}
    snapshot = changed(three)
    models = (
        Model(1, "small", (0,), ("chat_completions",), fallback=("large",)),
        Model(2, "large", (1,), ("chat_completions",), rollout=Rollout((2,), 1.0)),
    )
    entry = ConsumerEntry(1, "app", "default", ("small", "large"), ())
    stage = Stage(three, snapshot=replace(snapshot, models=models), directory=Directory((SECRET,), (entry,)))
    stage.upstream.fault("throttle", instance="old", wait_s=9)
    stage.upstream.fault("throttle", instance="new2", wait_s=9)
    assert asked(stage, model="small").status == 200 and went(stage) == ["old", "new2", "new"]


def test_an_end_user_stays_on_one_arm_of_another_model_too():
    three = {**TWO, "new2": {"deployments": {"v3": FAST}}}
    models = (
        Model(1, "small", (0,), ("chat_completions",), fallback=("large",)),
        Model(2, "large", (1,), ("chat_completions",), rollout=Rollout((2,), 0.5, stick_to="end_user")),
    )
    entry = ConsumerEntry(1, "app", "default", ("small", "large"), (), end_user="user")
    stage = Stage(
        three, snapshot=replace(changed(three), models=models), directory=Directory((SECRET,), (entry,)),
    )  # fmt: skip
    stage.upstream.fault("throttle", instance="old", wait_s=600)
    users = [f"user-{n}" for n in range(40)]
    for user in users:
        assert asked(stage, model="small", user=user).status == 200
        fallen = went(stage)[-1]
        assert asked(stage, model="large", user=user).status == 200
        assert went(stage) == [fallen]
    assert {e.instance for e in stage.ledger if e.status == 200} == {"new", "new2"}


@pytest.mark.parametrize(
    ("own", "other", "said", "sent"),
    [
        ({"max": 100}, {}, {"max_tokens": 900}, {"max_tokens": 100}),
        ({"max": 100}, {"max": 4000}, {"max_tokens": 900}, {"max_tokens": 100}),
        ({"max": 100}, {"max": 4000}, {}, {"max_completion_tokens": 100}),
        ({"default": "700"}, {}, {}, {"max_completion_tokens": 700}),
        ({"default": "700"}, {"max": 500}, {}, {"max_completion_tokens": 500}),
        ({}, {"max": 500}, {}, {"max_completion_tokens": 500}),
        ({"max": 100}, {}, {"max_completion_tokens": 900}, {"max_completion_tokens": 100}),
    ],
)
def test_the_rules_of_both_models_hold_where_another_one_answers(
    own: dict[str, Any], other: dict[str, Any], said: dict[str, int], sent: dict[str, int]
):
    """What was reserved is what the rules of the asked model leave, and the other one's own hold besides. What we put
    ourselves has the name that the other one takes."""
    fleet: dict[str, Any] = {
        "old": {"deployments": {"v1": FAST}}, "new": {"deployments": {"v2": {"model": "gpt-5", **FAST}}},
    }  # fmt: skip
    models = tuple(
        Model(
            number,
            name,
            (number - 1,),
            ("chat_completions",),
            fallback=fallback,
            params=(ParamSpec("max_tokens", **rule),) if rule else (),
        )
        for number, name, fallback, rule in ((1, "small", ("large",), own), (2, "large", (), other))
    )
    entry = ConsumerEntry(1, "app", "default", ("small", "large"), ())
    stage = Stage(
        fleet, snapshot=replace(Stage(fleet).snapshot, models=models), directory=Directory((SECRET,), (entry,)),
        keep_bodies=True,
    )  # fmt: skip
    stage.upstream.fault("throttle", instance="old", wait_s=9)
    assert asked(stage, model="small", **said).status == 200 and went(stage) == ["old", "new"]
    body = json.loads(stage.ledger.of("new")[0].body or b"")
    assert {k: v for k, v in body.items() if k not in ("model", "messages")} == sent


def test_no_member_is_asked_twice_though_two_models_share_it():
    snapshot = changed(TWO)
    models = (
        Model(1, "small", (0,), ("chat_completions",), fallback=("large",)),
        Model(2, "large", (0, 1), ("chat_completions",)),
    )
    entry = ConsumerEntry(1, "app", "default", ("small", "large"), ())
    stage = Stage(TWO, snapshot=replace(snapshot, models=models), directory=Directory((SECRET,), (entry,)))
    stage.upstream.fault("throttle", instance="old", wait_s=9)
    assert asked(stage, model="small").status == 200 and went(stage) == ["old", "new"]


def test_B5_every_answer_of_a_mixed_pool_says_so_beside_what_the_client_has_left():
    snapshot = changed(TWO, {1: {"version": "2025-08-01"}})
    limits = (LimitSpec("request_rate", 100, window=60.0),)
    for mixed, warning in ((True, "mixed_versions"), (False, None)):
        model = replace(snapshot.models[0], mixed_versions=mixed)
        for own in ((), limits):
            entry = ConsumerEntry(1, "app", "default", ("chat",), (), own)
            stage = Stage(TWO, snapshot=replace(snapshot, models=(model,)), directory=Directory((SECRET,), (entry,)))
            stage.upstream.fault("status", shape="filtered", times=1)
            for streams in (False, False, True):
                client = asked(stage, stream=streams)
                assert client.header("x-sluicegate-warning") == warning
                limit = client.header("x-ratelimit-limit-requests")
                assert limit == "100" if own else limit != "100"


# ---------------------------------------------------------------------- who is faster


def test_B19_who_embeds_faster_is_asked_first():
    """An embedding writes no token, and takes its time, too; what is refused at once is no fast answer."""
    fleet: dict[str, Any] = {
        name: {"deployments": {"e": {"model": "text-embedding-3-large", "latency": {"first_token_s": s}}}}
        for name, s in (("slow", 0.2), ("fast", 0.02))
    }
    stage = Stage(fleet, operations=("embeddings",), balance="latency")
    stage.upstream.fault("status", shape="filtered", instance="slow", times=20)
    for _ in range(200):
        assert asked(stage, b'{"model":"chat","input":"hello"}', api="embeddings").status in (200, 400)
    assert len(stage.ledger.of("fast")) > 150


# ---------------------------------------------------------------------- configurations that follow each other


def test_a_door_outlives_the_configuration_that_named_it():
    stage = Stage(PAIRED)
    stage.upstream.fault("throttle", instance="ptu", wait_s=30, times=1)
    asked(stage)
    without = replace(stage.snapshot, models=(replace(stage.snapshot.models[0], deployments=(1,)),),
                      deployments=stage.snapshot.deployments[1:])  # fmt: skip
    stage.world.adopt(without, stage.world.callers)
    asked(stage)
    stage.world.adopt(stage.snapshot, stage.world.callers)
    asked(stage)
    assert went(stage) == ["std"] and not stage.ledger.early()


def test_a_quota_outlives_the_configuration_that_named_it():
    """Both that share it are taken out and come back: what it was told holds for them until that time."""
    snapshot = changed(TWO, {0: {"quota_group": "g"}, 1: {"quota_group": "g"}})
    stage = Stage(TWO, snapshot=snapshot)
    stage.upstream.fault("throttle", instance="old", wait_s=30, times=1)
    assert asked(stage).status == 429
    none = replace(snapshot, models=(replace(snapshot.models[0], deployments=()),), deployments=())
    stage.adopt(none)
    assert asked(stage).status == 503
    stage.adopt(snapshot)
    assert asked(stage).status == 429 and len(stage.ledger) == 1
    stage.clock.run_for(31.0)
    assert asked(stage).status == 200


def test_another_endpoint_is_another_door_and_another_credential_is_looked_at_at_once():
    stage = Stage(PAIRED)
    stage.upstream.fault("status", shape="wrong_key", instance="ptu", times=1)
    asked(stage)
    assert not stage.world.doors[0].breaker.closed
    first, *rest = stage.snapshot.instances
    new_key = replace(stage.snapshot, instances=(replace(first, auth=replace(first.auth, kind="none")), *rest))
    stage.world.adopt(new_key, stage.world.callers)
    assert stage.world.doors[0].breaker.ready(stage.clock.now()) == stage.clock.now()
    old = stage.world.doors[0]
    moved = replace(stage.snapshot, instances=(replace(first, host="127.0.0.2"), *rest))
    stage.world.adopt(moved, stage.world.callers)
    assert stage.world.doors[0] is not old and stage.world.doors[0].breaker.closed


def test_deployments_of_one_quota_group_find_each_other_again():
    snapshot = changed(TWO, {0: {"quota_group": "g"}, 1: {"quota_group": "g"}})
    stage = Stage(TWO, snapshot=snapshot)
    stage.upstream.fault("throttle", instance="old", wait_s=9)
    client = asked(stage)
    assert client.status == 429 and went(stage) == ["old"], "the other would have said the same"
    stage.world.adopt(snapshot, stage.world.callers)
    assert asked(stage).status == 429 and len(stage.ledger) == 1
