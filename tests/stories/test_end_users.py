"""Stories of end users: named by a field of the request, in records, limits and rollouts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sluicegate.core.settings import Rollout
from sluicegate.core.snapshot import Directory
from sluicegate.sim.stage import Client, Stage
from tests.spec.reading import compiled
from tests.stories.test_records import Booked

APP = """
version: 1
gateway: {secrets: ["${env:SECRET}"]}
instances:
  old:
    {endpoint: https://a.example, auth: {key: "${env:AOAI_KEY}"}, deployments: {v1: {model: gpt-4o, version: 2024-11-20}}}
  new:
    {endpoint: https://b.example, auth: {key: "${env:AOAI_KEY}"}, deployments: {v2: {model: gpt-4o, version: 2025-08-01}}}
models:
  chat: {use: gpt-4o@2024-11-20}
tenants:
  shop: {end_user: "field:user"}
consumers:
  assistant:
    tenant: shop
    key: ${env:APP_KEY}
    models: [chat]
    limits: [{requests: 3, per: minute, each: end_user}]
  plain: {key: "${env:AOAI_KEY}", models: [chat]}
"""


def asked(stage: Stage, user: Any = None, **more: Any) -> Client:
    if user is not None:
        more["user"] = user
    client = stage.ask("hello", **more)
    stage.settle()
    assert not stage.bugs, stage.bugs
    return client


def test_G3_a_record_names_the_end_user_where_somebody_wrote_that_it_shall(tmp_path: Path):
    booked = Booked(tmp_path, *compiled(APP))
    booked.ask(consumer="assistant", user="ann")
    booked.ask(consumer="assistant", user="J\u00fcrgen \U0001f642")
    booked.ask(consumer="assistant")
    booked.ask(consumer="plain", user="ann")
    found = [r["context"].get("end_user") for r in booked.records()]
    assert found == ["ann", "J\u00fcrgen \U0001f642", None, None], "nobody is recorded unasked"


def test_D1_a_limit_for_each_end_user_holds_for_each():
    stage = Stage(snapshot=compiled(APP)[0], directory=compiled(APP)[1])
    assert [asked(stage, "ann").status for _ in range(4)] == [200, 200, 200, 429]
    refused = asked(stage, "ann")
    assert refused.header("x-sluicegate-reason") == "limit.request_rate"
    assert [asked(stage, "bob").status for _ in range(4)] == [200, 200, 200, 429]
    assert [asked(stage).status for _ in range(4)] == [200, 200, 200, 429], "no name is one name"
    assert [asked(stage, ["x"]).status for _ in range(2)] == [429, 429], "and neither is what is no text"
    assert asked(stage, "ann", consumer="plain").status == 200
    stage.clock.run_for(61)
    assert asked(stage, "ann").status == 200


def test_a_name_is_one_name_in_every_spelling():
    stage = Stage(snapshot=compiled(APP)[0], directory=compiled(APP)[1])
    for spelled in (b'"J\xc3\xbcrgen"', b'"J\\u00fcrgen"', b'"\\u004a\\u00FCrgen"'):
        body = b'{"model":"chat","messages":[{"role":"user","content":"hi"}],"user":' + spelled + b"}"
        assert asked(stage, consumer="assistant").status == 200  # those without a name
        client = stage.ask(body, consumer="assistant")
        stage.settle()
        assert client.status == 200
    assert asked(stage, "J\u00fcrgen").status == 429


@pytest.mark.parametrize("api_version", ["2024-10-21", None], ids=["model in the path", "model in the body"])
def test_I1_an_end_user_stays_on_one_arm_and_a_share_that_grows_keeps_whom_it_had(api_version: str | None):
    def arms(share: float) -> dict[str, str]:
        snapshot, directory = compiled(APP.replace("requests: 3", "requests: 1000"))
        rollout = Rollout((snapshot.deployments[1].number,), share, "end_user")
        model = replace(snapshot.models[0], rollout=rollout)
        stage = Stage(snapshot=replace(snapshot, models=(model,)), directory=Directory(*_parts(directory)))
        found: dict[str, str] = {}
        for n in (*range(150), *range(20)):
            asked(stage, f"user-{n}", api_version=api_version)
            (attempt,) = stage.journal.recent[-1].attempts
            arm = stage.world.members[attempt.deployment].label
            assert found.setdefault(f"user-{n}", arm) == arm
            assert stage.journal.recent[-1].context.arm == ("gpt-4o@2025-08-01" if arm == "new/v2" else "")
        unnamed = set()
        for _ in range(10):
            asked(stage, api_version=api_version)
            unnamed.add(stage.journal.recent[-1].attempts[0].deployment)
        assert len(unnamed) == 1, "without a name the consumer decides"
        return found

    few, many = arms(0.2), arms(0.6)
    new = {name for name, arm in few.items() if arm == "new/v2"}
    assert 0.08 < len(new) / 150 < 0.32
    more = {name for name, arm in many.items() if arm == "new/v2"}
    assert new < more and 0.48 < len(more) / 150 < 0.72


def _parts(directory: Directory) -> tuple[Any, ...]:
    return directory.secrets, directory.consumers, directory.tenants
