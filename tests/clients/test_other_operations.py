"""Completions, embeddings, moderations and lists of models through the official SDKs, unchanged, Python and Node.

What they return is compared with the simulator's ledger and with the gateway's records.
"""

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from sluicegate.core.events import Usage
from tests.clients.asking import VERSION, node
from tests.clients.members import until
from tests.clients.other import SEEN, other_site
from tests.clients.site import CUT, Site
from tests.gateway import KEY

WAYS: dict[str, Callable[[str], openai.OpenAI]] = {
    "AzureOpenAI": lambda url: openai.AzureOpenAI(azure_endpoint=url, api_version=VERSION, api_key=KEY, max_retries=0),
    "OpenAI at /openai/v1": lambda url: openai.OpenAI(base_url=f"{url}/openai/v1", api_key=KEY, max_retries=0),
    "OpenAI at /v1": lambda url: openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0),
}


@pytest.fixture(scope="module")
def where() -> Iterator[Site]:
    with other_site() as made:
        yield made


@pytest.fixture(params=WAYS)
def client(request: pytest.FixtureRequest, where: Site) -> Iterator[openai.OpenAI]:
    with WAYS[request.param](where.url) as made:
        yield made


def booked(where: Site) -> Any:
    """The last record, once it is settled."""
    until(lambda: where.gateway.call(lambda: not where.gateway.worker.bound.live))
    return where.gateway.call(lambda: where.gateway.journal.recent[-1])


@pytest.mark.parametrize(
    ("given", "tokens"),
    [
        ("Grüße aus 東京", 5), (["one", "two", "three"], 4), ([15339, 1917, 11], 3), ([[15339, 1917], [11]], 3),
    ],
)  # fmt: skip
def test_embeddings_of_text_and_of_token_ids(where: Site, client: openai.OpenAI, given: Any, tokens: int):
    packed = client.embeddings.create(model="vectors", input=given)  # the SDK asks for base64, and unpacks it
    plain = client.embeddings.create(model="vectors", input=given, encoding_format="float")
    assert len(packed.data[0].embedding) == 1536 and len(packed.data) == (len(given) if _many(given) else 1)
    for a, b in zip(packed.data, plain.data, strict=True):
        assert a.embedding == pytest.approx(b.embedding, abs=1e-7)
    assert plain.usage.prompt_tokens == plain.usage.total_tokens == where.served().claim.prompt == tokens
    record = booked(where)
    assert (record.api, record.usage, record.estimated) == ("embeddings", Usage(tokens), False)


def _many(given: Any) -> bool:
    return isinstance(given, list) and not isinstance(given[0], int)


def test_dimensions_arrive(client: openai.OpenAI):
    assert len(client.embeddings.create(model="vectors", input="x", dimensions=256).data[0].embedding) == 256


def test_embeddings_of_a_server_of_its_own(where: Site, client: openai.OpenAI):
    assert len(client.embeddings.create(model="vllm", input="x").data[0].embedding) == 1536
    assert where.served().path == "/v1/embeddings" and where.served().deployment == "mistral"


def test_a_large_answer_arrives_whole_and_is_booked(where: Site, client: openai.OpenAI):
    """Beyond a megabyte it is passed on as it comes, its usage stands at the end."""
    answer = client.embeddings.create(model="vectors", input=[f"text {n}" for n in range(60)], encoding_format="float")
    assert [d.index for d in answer.data] == list(range(60))
    record = booked(where)
    assert record.usage == Usage(answer.usage.prompt_tokens) and not record.estimated


def test_completions_plain_and_streamed(where: Site, client: openai.OpenAI):
    prompts = ["[sim:echo] Grüße", "[sim:echo] 東京"]
    plain = client.completions.create(model="text", prompt=prompts, max_tokens=50)
    assert [c.text for c in plain.choices] == ["Grüße", "東京"]
    assert plain.usage is not None
    assert (plain.usage.prompt_tokens, plain.usage.completion_tokens) == _claimed(where)
    said = ["", ""]
    for event in client.completions.create(model="text", prompt=prompts, max_tokens=50, stream=True):
        assert event.usage is None, "nobody asked for it"
        for choice in event.choices:
            said[choice.index] += choice.text
    assert said == ["Grüße", "東京"]
    record = booked(where)
    assert (record.usage.input, record.usage.output) == _claimed(where) and not record.estimated


def test_usage_of_a_stream_is_for_those_who_asked(where: Site, client: openai.OpenAI):
    events = list(
        client.completions.create(model="text", prompt="x", stream=True, stream_options={"include_usage": True})
    )
    usage = events[-1].usage
    assert usage is not None and (usage.prompt_tokens, usage.completion_tokens) == _claimed(where)


def test_best_of_and_token_ids(where: Site, client: openai.OpenAI):
    answer = client.completions.create(model="text", prompt=[[15339, 1917], [11]], n=2, best_of=3, max_tokens=4)
    assert len(answer.choices) == 4 and answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == _claimed(where) == (3, 24)


def _claimed(where: Site) -> tuple[int, int]:
    claim = where.served().claim
    return claim.prompt, claim.completion


def test_a_completion_that_breaks_off_is_an_error(where: Site, client: openai.OpenAI):
    with pytest.raises(openai.APIError):
        list(client.completions.create(model="text", prompt=f"{CUT} [sim:tokens=12]", stream=True))
    record = booked(where)
    assert record.state == "interrupted" and record.estimated and record.usage.output > 0


@pytest.mark.parametrize("how", ["fin", "clean", "rst"])
def test_no_cut_of_a_completion_or_of_vectors_is_silent(where: Site, how: str):
    """At every 29th byte, plain and streamed. The SDK alone takes a stream that ends early for a whole one."""
    kind: dict[str, Any] = {"kind": "reset"} if how == "rst" else {"kind": "cut", "how": how}
    truth = "Grüße aus 東京, ein wenig länger"
    seen = {"raised": 0, "whole": 0}
    with WAYS["AzureOpenAI"](where.url) as client:
        for stream in (True, False):
            for at in range(0, 2000, 29):
                fault = where.fleet.fault(**kind, at=at, marker=f"cut-{how}-{stream}-{at}", times=1)
                prompt = f"[sim:echo] {truth} cut-{how}-{stream}-{at}"
                try:
                    answer: Any = client.completions.create(model="text", prompt=prompt, max_tokens=99, stream=stream)
                    said = "".join(c.text for e in (answer if stream else [answer]) for c in e.choices)
                    assert said.startswith(truth) and said.endswith(f"{at}"), (at, how, stream, said)
                    seen["whole"] += 1
                except openai.APIError:
                    seen["raised"] += 1
                where.fleet.lift(fault)
            for at in range(0, 9000, 601):
                fault = where.fleet.fault(**kind, at=at, marker=f"vec-{how}-{stream}-{at}", times=1)
                try:
                    vector = (
                        client.embeddings.create(model="vectors", input=f"vec-{how}-{stream}-{at}").data[0].embedding
                    )
                    assert len(vector) == 1536
                    seen["whole"] += 1
                except openai.APIError:
                    seen["raised"] += 1
                where.fleet.lift(fault)
    assert seen["raised"] > 40 and seen["whole"] > 0, seen


def test_moderations(where: Site, client: openai.OpenAI):
    answer = client.moderations.create(model="judge", input=["fine", "[sim:filter] not fine"])
    assert [r.flagged for r in answer.results] == [False, True]
    record = booked(where)
    assert (record.api, record.usage, record.status) == ("moderations", None, 200)


def test_the_models_that_one_may_use(where: Site, client: openai.OpenAI):
    before = len(where.fleet.ledger)
    assert [m.id for m in client.models.list()] == SEEN
    assert client.models.retrieve("vectors").id == "vectors"
    for name in ("hidden", "unknown"):
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve(name)
    assert len(where.fleet.ledger) == before, "nobody else was asked"


@pytest.mark.parametrize("model", ["chat", "judge"])
def test_what_a_model_does_not_offer_is_refused(client: openai.OpenAI, model: str):
    with pytest.raises(openai.PermissionDeniedError) as refused:
        client.embeddings.create(model=model, input="x")
    assert refused.value.response.headers["x-sluicegate-reason"] == "grant.operation"


def test_an_input_that_is_too_long_is_the_clients_own_error(client: openai.OpenAI):
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        client.embeddings.create(model="vectors", input=[7] * 8193)


# ---------------------------------------------------------------------- Node

NODE_WAYS = ("AzureOpenAI", "OpenAI at /openai/v1", "OpenAI at /v1")


@pytest.fixture(scope="module")
def lines(where: Site) -> dict[str, dict[str, Any]]:
    """By way, what Node saw."""
    return {line["way"]: line for line in node("operations", where.url, {"cut": CUT}, script="operations.mjs")}


@pytest.mark.parametrize("way", NODE_WAYS)
def test_node_sees_the_same(lines: dict[str, dict[str, Any]], way: str):
    saw = lines[way]
    assert saw["vectors"] == {"count": 3, "size": 1536, "tokens": 4} and saw["ids"]["tokens"] == 3
    assert saw["nearest"] < 1e-6, "base64 and numbers are the same vector"
    assert saw["plain"] == ["Grüße", "東京"] == saw["streamed"] and saw["leaked"] == 0
    assert saw["flagged"] == [False, True]
    assert saw["models"] == SEEN and saw["model"] == "vectors" and saw["hidden"] == 404
    assert saw["cut"] and saw["refused"] == 403
