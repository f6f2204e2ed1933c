"""Lists of models: what the caller may use, in the shape of the address it asked at, without anybody else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from sluicegate.core.caller import Consumer, digest
from sluicegate.core.snapshot import ConsumerEntry, Deployment, Directory, Model
from sluicegate.edge.listing import MOST
from tests.abuse.outside import request
from tests.edge.line import House
from tests.gateway import KEY, SECRET, instance, snapshot

OFFERS = {
    "chat": ("chat_completions",),
    "old": ("completions",),
    "vectors": ("embeddings",),
    "secret": ("chat_completions", "embeddings"),
}


def house(models: Sequence[str] = ("*",), operations: Sequence[str] = ()) -> House:
    """Four models over one deployment, and a consumer that may use some."""
    base = snapshot([instance(1, 80)])
    made = House(snap=replace(base, models=tuple(
        Model(n, name, (1,), offers) for n, (name, offers) in enumerate(OFFERS.items(), 1)
    )))  # fmt: skip
    entry = ConsumerEntry(
        1, "app", "default", tuple(models), (digest(KEY.encode(), SECRET),), operations=tuple(operations)
    )
    made.world.adopt(made.snapshot, Directory((SECRET,), (entry,)))
    made.bound.adopted()
    return made


def get(made: House, path: str, key: str | None = KEY, method: bytes = b"GET") -> tuple[int, Any]:
    answers = made.line().send(request(path=path.encode(), method=method, body=b"", key=key)).answers()
    assert len(answers) == 1 and not made.upstream.calls and not made.journal.records
    return answers[0].status, json.loads(answers[0].body)


LISTS = ["/v1/models", "/openai/v1/models", "/openai/models?api-version=2024-10-21", "/openai/models", "/anthropic/v1/models",
         "//openai/models?api-version=2024-10-21", "/openai/v1/models?api-version=preview"]  # fmt: skip


@pytest.mark.parametrize("path", LISTS)
def test_everybody_sees_what_they_may_use_and_nothing_else(path: str):
    for models, seen in [(("*",), list(OFFERS)), (("vectors", "chat"), ["chat", "vectors"]), (("gone",), [])]:
        status, listed = get(house(models), path)
        assert status == 200 and [m["id"] for m in listed["data"]] == seen


def test_a_model_that_offers_nothing_one_may_do_is_not_shown():
    status, listed = get(house(operations=("embeddings",)), "/v1/models")
    assert status == 200 and [m["id"] for m in listed["data"]] == ["vectors", "secret"]
    assert get(house(operations=("embeddings",)), "/v1/models/chat")[0] == 404


def test_openai_and_azure_write_it_their_own_way():
    made = house(("chat", "vectors"))
    assert get(made, "/v1/models")[1] == {
        "object": "list",
        "data": [{"id": n, "object": "model", "created": 0, "owned_by": "sluicegate"} for n in ("chat", "vectors")],
    }
    one = get(made, "/openai/models/vectors?api-version=2024-10-21")[1]
    assert (one["id"], one["object"], one["status"]) == ("vectors", "model", "succeeded")
    assert one["capabilities"] == {
        "fine_tune": False, "inference": True, "completion": False, "chat_completion": False, "embeddings": True,
    }  # fmt: skip
    assert get(made, "/anthropic/v1/models")[1]["first_id"] == "chat"


def test_anthropics_own_client_reads_its_shape_at_the_address_it_shares_with_openais():
    """Found by the SDK: its models had neither a type nor a name to show."""
    made = house(("chat", "vectors"))
    ask = request(b"Anthropic-Version: 2023-06-01", path=b"/v1/models?limit=1000", method=b"GET", body=b"")
    (answer,) = made.line().send(ask).answers()
    listed = json.loads(answer.body)
    assert [(m["type"], m["id"], m["display_name"]) for m in listed["data"]] == [
        ("model", "chat", "chat"), ("model", "vectors", "vectors"),
    ]  # fmt: skip
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == ("chat", "vectors", False)
    one = request(b"anthropic-version: 2023-06-01", path=b"/v1/models/chat", method=b"GET", body=b"")
    assert json.loads(made.line().send(one).answers()[0].body)["type"] == "model"
    other = request(b"anthropic-version: 2023-06-01", path=b"/openai/v1/models", method=b"GET", body=b"")
    assert json.loads(made.line().send(other).answers()[0].body)["object"] == "list"


@pytest.mark.parametrize("base", ["/v1/models", "/openai/v1/models", "/openai/models", "/anthropic/v1/models"])
def test_what_is_not_there_and_what_one_may_not_use_are_the_same_404(base: str):
    made = house(("chat",))
    answers = [get(made, f"{base}/{name}") for name in ("secret", "gone", "..", "%2e%2e", "ft:gpt-4o:x", "a" * 250)]
    assert {status for status, _ in answers} == {404}
    for _, said in answers:
        said.pop("request_id", None)
    assert all(said == answers[0][1] for _, said in answers)
    assert get(made, f"{base}/chat")[1]["id"] == "chat"


@pytest.mark.parametrize("key", [None, "nobody's"])
@pytest.mark.parametrize(
    "path", ["/v1/models", "/openai/models/chat?api-version=2024-10-21", "/anthropic/v1/models/chat"]
)
def test_without_a_key_there_is_nothing_to_see(path: str, key: str | None):
    assert get(house(), path, key)[0] == 401


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        (b"POST", "/v1/models", 405), (b"DELETE", "/v1/models/chat", 405), (b"GET", "/v1/models/", 404),
        (b"GET", "/v1/models/chat/", 404), (b"GET", "/v1/models/chat/x", 404), (b"GET", "/v1/modelsx", 404),
        (b"GET", "/v1//models", 404), (b"GET", "/models", 404), (b"GET", "/openai/models?api-version=x", 400),
        (b"GET", "/v1/models/" + "a" * 300, 404),
    ],
)  # fmt: skip
def test_other_addresses_are_no_lists(method: bytes, path: str, status: int):
    assert get(house(), path, method=method)[0] == status


def test_a_list_follows_the_configuration():
    made = house()
    snap = replace(
        made.snapshot, models=made.snapshot.models[:1], deployments=(Deployment(1, "d", 1, "m", "1", "Standard", 1),)
    )
    line = made.line()
    line.send(request(path=b"/v1/models", method=b"GET", body=b""))
    entry = ConsumerEntry(1, "app", "default", ("*",), (digest(KEY.encode(), SECRET),))
    made.world.adopt(snap, Directory((SECRET,), (entry,)))
    line.send(request(path=b"/v1/models", method=b"GET", body=b""))
    narrow = ConsumerEntry(1, "app", "default", ("gone",), (digest(KEY.encode(), SECRET),))
    made.world.adopt(snap, Directory((SECRET,), (narrow,)))
    line.send(request(path=b"/v1/models", method=b"GET", body=b""))
    assert [len(json.loads(a.body)["data"]) for a in line.answers()] == [4, 1, 0]


def test_what_is_kept_is_bounded_and_names_that_are_not_there_are_not_kept():
    made = house()
    for n in range(3 * MOST):
        get(made, f"/v1/models/nothing-{n}")
    assert not made.server.listing._made
    before = made.server.listing
    for n in range(3 * MOST):
        before.body(Consumer(ConsumerEntry(n, f"c{n}", "default", ("*",), ())), "openai", None)
    assert len(before._made) <= MOST
