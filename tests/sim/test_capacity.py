"""What deployments take before they say 429, as the service documents it: counters, slices, buckets, shared quotas."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.ports import Call
from sluicegate.core.snapshot import Instance
from sluicegate.sim.answer import Claim
from sluicegate.sim.azure.capacity import Provisioned, Standard, capacity
from sluicegate.sim.azure.facts import Ptu, ptu, region_shown
from sluicegate.sim.clock import VirtualClock
from sluicegate.sim.net import SimUpstream
from sluicegate.sim.spec import CapacitySpec, fleet_spec

# ---------------------------------------------------------------- standard


def test_no_declared_capacity_is_no_bound():
    assert capacity(CapacitySpec(), None) is None


def test_once_a_minute_has_reached_its_tokens_it_takes_no_more_until_it_is_over():
    minute = Standard(CapacitySpec(tokens_per_minute=1000, requests_per_minute=6000))
    minute.take(600, now=5.0)  # the minute begins with its first request
    assert minute.lacks(30.0) == (0.0, "") and minute.left(30.0) == (1000, 400)
    minute.take(500, now=30.0)  # the one that crosses the limit is taken
    assert minute.lacks(31.0) == (34.0, "tokens") and minute.left(31.0)[1] == 0
    assert minute.lacks(64.9)[0] == pytest.approx(0.1)
    assert minute.lacks(65.0) == (0.0, "")


@pytest.mark.parametrize(("slice_s", "most"), [(1, 2), (10, 20)])
def test_requests_are_counted_in_slices_of_the_minute(slice_s: int, most: int):
    slices = Standard(CapacitySpec(requests_per_minute=120, slice_s=slice_s))
    for n in range(most):
        assert slices.lacks(0.1) == (0.0, ""), n
        slices.take(10, now=0.1)
    assert slices.lacks(0.6) == (pytest.approx(slice_s - 0.5), "requests")
    assert slices.lacks(slice_s + 0.1) == (0.0, "")


def test_six_requests_go_with_a_thousand_tokens():
    assert Standard(CapacitySpec(tokens_per_minute=30_000)).requests_per_slice == 30
    assert Standard(CapacitySpec(tokens_per_minute=1_000, slice_s=1)).requests_per_slice == 1


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 500)), max_size=200))
def test_no_minute_takes_more_than_its_limit_and_one_request(steps: list[tuple[float, int]]):
    minute = Standard(CapacitySpec(tokens_per_minute=1000, requests_per_minute=100_000))
    began, taken, now, last = -60.0, 0, 0.0, 0
    for gap, tokens in steps:
        now += gap
        wait_s, of = minute.lacks(now)
        assert (wait_s > 0) == bool(of) and wait_s <= 60.0
        if not of:
            if now >= began + 60.0:
                began, taken = now, 0
            minute.take(tokens, now)
            taken, last = taken + tokens, tokens
        assert taken - last < 1000


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 900)), min_size=1, max_size=100), st.sampled_from([1, 10]))
def test_a_client_that_waits_as_told_is_taken(steps: list[tuple[float, int]], slice_s: int):
    for counted in (
        Standard(CapacitySpec(tokens_per_minute=1000, requests_per_minute=60, slice_s=slice_s)),
        Provisioned(CapacitySpec(ptu_tokens_per_minute=6000, bucket_s=5)),
    ):
        now = 100.0
        for gap, tokens in steps:
            now += gap
            told = 0
            while (wait_s := counted.lacks(now)[0]) > 0:
                now += wait_s + 1e-6
                told += 1
            assert told <= 2, "tokens and requests may each have their own time, nothing else"
            counted.take(tokens, now)


# ---------------------------------------------------------------- provisioned


def test_a_bucket_fills_by_estimates_and_leaks_at_the_rate_that_was_bought():
    bucket = Provisioned(CapacitySpec(ptu_tokens_per_minute=6000, bucket_s=10))  # 100 a second, 1,000 are 100 %
    bucket.take(900, now=0)
    assert bucket.utilisation(0) == pytest.approx(0.9) and bucket.lacks(0)[0] == 0.0
    bucket.take(300, now=0)
    assert bucket.utilisation(0) == pytest.approx(1.2)
    assert bucket.lacks(0) == (pytest.approx(2.0, abs=0.01), "tokens")
    assert bucket.lacks(2.1)[0] == 0.0 and bucket.utilisation(12) == 0.0


def test_an_estimate_weighs_output_by_its_maximum_and_is_put_right_at_the_end():
    bucket = Provisioned(CapacitySpec(ptu=100, bucket_s=60), Ptu(2500, 1.0, 0.0, 4.0))
    assert bucket.rate == pytest.approx(100 * 2500 / 60) and bucket.full == pytest.approx(250_000)
    estimate = bucket.estimate(prompt=3000, cached=1000, maximum=500, choices=2)
    assert estimate == 2000 + 4 * 1000
    assert bucket.estimate(100, 0, None, 1) == 100 + 4 * 4096
    bucket.take(estimate, now=0)
    bucket.settle(estimate, Claim(3000, 50, 1000), now=0)
    assert bucket.utilisation(0) == pytest.approx((2000 + 4 * 50) / 250_000)
    bucket.take(estimate, now=0)
    bucket.settle(estimate, None, now=0)
    assert bucket.utilisation(0) == pytest.approx((2000 + 4 * 50) / 250_000), "what failed used nothing"


def test_units_are_known_by_model_and_type():
    assert ptu("gpt-4o", "ProvisionedManaged") == Ptu(2500, 1.0, 0.0, 4.0)
    assert ptu("gpt-4.1", "Whatever") == Ptu(3000, 1.0, 0.0, 4.0)
    assert ptu("mistral-small", "ProvisionedManaged") is None
    assert region_shown("swedencentral") == "Sweden Central" and region_shown("My Region") == "My Region"


@pytest.mark.parametrize(
    ("deployment", "says"),
    [
        ({"capacity": {"ptu": 10}}, "Standard has tokens_per_minute, not PTU"),
        ({"sku": "ProvisionedManaged", "capacity": {"tokens_per_minute": 10}}, "has PTU, not tokens_per_minute"),
        ({"sku": "ProvisionedManaged", "model": "own", "capacity": {"ptu": 10}}, "nothing is known of own"),
        ({"sku": "ProvisionedManaged", "capacity": {"ptu": 10, "bucket_s": 0}}, "bucket_s"),
        ({"quota": "eu"}, "there is no 'eu'"),
        ({"spillover": "gone"}, "to a standard one of the same instance"),
        ({"capacity": {"slice_s": 5}}, "slice_s"),
    ],
)
def test_what_cannot_take_effect_is_refused_naming_the_place(deployment: dict[str, Any], says: str):
    with pytest.raises(ValueError, match=rf"instances\.i\.deployments\.d.*{says}"):
        fleet_spec({"i": {"deployments": {"d": deployment}}})


def test_a_shared_quota_is_not_of_ptu():
    with pytest.raises(ValueError, match=r"quotas\.q"):
        fleet_spec({"instances": {}, "quotas": {"q": {"ptu": 5}}})


# ---------------------------------------------------------------- on the wire


class Heard:
    """What a caller of an instance hears."""

    def __init__(self) -> None:
        self.status, self.headers, self.body, self.how = 0, dict[bytes, bytes](), b"", ""

    def head(self, status: int, headers: Any, now: float) -> None:
        self.status, self.headers = status, {name.lower(): value for name, value in headers}

    def data(self, chunk: bytes, now: float) -> None:
        self.body += chunk

    def end(self, how: str, now: float) -> None:
        self.how = how

    @property
    def error(self) -> dict[str, Any]:
        return json.loads(self.body)["error"]


def ask(fleet: SimUpstream, where: str, prompt: str = "hi", header: str = "", **fields: Any) -> Heard:
    """One request to `instance/deployment`, and 0.1 s for the answer."""
    name, _, deployment = where.partition("/")
    body = json.dumps({"messages": [{"role": "user", "content": prompt}], **fields}).encode()
    head = (
        f"POST /openai/deployments/{deployment}/chat/completions?api-version=2024-10-21 HTTP/1.1\r\nhost: x\r\n"
        f"api-key: {fleet[name].key}\r\n{header}content-length: {len(body)}\r\n\r\n"
    ).encode()
    heard = Heard()
    instance = Instance(1, name, "azure_openai", "http", "127.0.0.1", 80, "")
    fleet.start(Call(instance, "POST", head, body, 2.0, False), heard)
    fleet.clock.run_for(0.1)
    return heard


def test_a_standard_deployment_tells_what_is_left_and_says_429_in_azures_words():
    fleet = SimUpstream(VirtualClock(), {"weu": {"region": "westeurope", "deployments": {
        "d": {"capacity": {"tokens_per_minute": 1000, "requests_per_minute": 600}}}}})  # fmt: skip
    first = ask(fleet, "weu/d", "[sim:prompt_tokens=100]", max_tokens=500)
    assert first.status == 200
    assert first.headers[b"x-ms-region"] == b"West Europe"
    assert first.headers[b"x-ratelimit-remaining-tokens"] == b"400"
    assert first.headers[b"x-ratelimit-remaining-requests"] == b"99"
    assert first.headers[b"x-ratelimit-limit-requests"] == b"600"
    assert ask(fleet, "weu/d", "[sim:prompt_tokens=100]", max_tokens=500).status == 200
    refused = ask(fleet, "weu/d")
    assert refused.status == 429 and refused.error["code"] == "429"
    assert "exceeded token rate limit" in refused.error["message"]
    assert refused.headers[b"retry-after"] == b"60" and b"retry-after-ms" not in refused.headers
    assert refused.headers[b"x-ratelimit-reset-tokens"] == b"60"
    assert fleet.ledger[-1].retry_s == 60.0
    assert b"azure-openai-deployment-utilization" not in refused.headers


def test_too_many_requests_are_another_count_than_too_many_tokens():
    fleet = SimUpstream(
        VirtualClock(), {"weu": {"deployments": {"d": {"capacity": {"requests_per_minute": 60, "slice_s": 1}}}}}
    )
    assert ask(fleet, "weu/d").status == 200
    refused = ask(fleet, "weu/d")
    assert refused.status == 429 and "exceeded call rate limit" in refused.error["message"]
    assert refused.headers[b"retry-after"] == b"1" and refused.headers[b"x-ratelimit-reset-requests"] == b"1"
    fleet.clock.run_for(1.0)
    assert ask(fleet, "weu/d").status == 200


def test_a_provisioned_deployment_shows_its_utilisation_and_the_milliseconds_to_wait():
    fleet = SimUpstream(VirtualClock(), {"weu": {"deployments": {
        "p": {"sku": "ProvisionedManaged", "latency": {"first_token_s": 1.0}, "capacity": {"ptu": 1, "bucket_s": 6}}}}})  # fmt: skip
    taken = ask(fleet, "weu/p", "[sim:prompt_tokens=50][sim:tokens=10]", max_tokens=100)  # 450 of 250 tokens
    refused = ask(fleet, "weu/p")
    assert refused.status == 429 and refused.headers[b"azure-openai-deployment-utilization"].endswith(b"%")
    assert float(refused.headers[b"azure-openai-deployment-utilization"][:-1]) == pytest.approx(178.3, abs=0.1)
    wait_ms = int(refused.headers[b"retry-after-ms"])
    assert wait_ms == pytest.approx((450 - 250) / (2500 / 60) * 1000 - 100, abs=5)
    assert refused.headers[b"retry-after"] == b"%d" % -(-wait_ms // 1000)
    fleet.clock.run_for(1.0)  # the answer is over: 10 tokens were said, not 100
    assert taken.status == 200
    ask(fleet, "weu/p")
    assert fleet.ledger[-1].claim is not None, "taken"


def test_a_stream_that_its_client_leaves_is_charged_to_its_last_token():
    fleet = SimUpstream(VirtualClock(), {"weu": {"deployments": {"p": {
        "sku": "ProvisionedManaged", "latency": {"per_token_s": 0.1},
        "capacity": {"ptu_tokens_per_minute": 60, "bucket_s": 1000}}}}})  # fmt: skip
    ask(fleet, "weu/p", "[sim:prompt_tokens=100][sim:tokens=100]", max_tokens=200, stream=True)
    bucket = fleet["weu"].capacity["p"]
    assert bucket is not None and bucket.utilisation(fleet.now()) == pytest.approx(0.9, abs=0.01)
    fleet.clock.run_for(4.9)
    for attempt in list(fleet.live):
        attempt.cancel()
    assert 0.25 < bucket.utilisation(fleet.now()) < 0.35, "half of 400, and 100 of prompt"


def test_deployments_that_share_a_quota_are_throttled_together():
    fleet = SimUpstream(VirtualClock(), {
        "quotas": {"sub-1": {"tokens_per_minute": 1000}},
        "instances": {
            "weu": {"deployments": {"a": {"quota": "sub-1"}, "own": {}}},
            "sdc": {"deployments": {"b": {"quota": "sub-1", "capacity": {"tokens_per_minute": 500_000}}}},
        },
    })  # fmt: skip
    assert ask(fleet, "weu/a", max_tokens=2000).status == 200
    refused = ask(fleet, "sdc/b")
    assert refused.status == 429 and refused.headers[b"x-ratelimit-remaining-tokens"] == b"0"
    assert ask(fleet, "weu/own").status == 200
    fleet.patch({"sdc": {"deployments": {"b": {"tokens": [1, 1]}}}})
    assert ask(fleet, "sdc/b").status == 429, "a change of something else forgets nothing"
    fleet.clock.run_for(60)
    assert ask(fleet, "sdc/b").status == 200
    with pytest.raises(ValueError, match="there is no 'sub-2'"):
        fleet.patch({"sdc": {"deployments": {"b": {"quota": "sub-2"}}}})


def test_a_prompt_longer_than_the_deployment_reads_is_too_long():
    fleet = SimUpstream(VirtualClock(), {"weu": {"deployments": {"d": {"max_input": 8000}}}})
    refused = ask(fleet, "weu/d", "[sim:prompt_tokens=10000]")
    assert refused.status == 400 and refused.error["code"] == "context_length_exceeded"
    assert "8000" in refused.error["message"] and "10000" in refused.error["message"]
    assert ask(fleet, "weu/d", "[sim:prompt_tokens=8000]").status == 200


def test_a_size_429_is_for_large_requests_only():
    fleet = SimUpstream(VirtualClock(), {"weu": {"deployments": {"d": {}}}})
    fleet.fault("throttle", reason="size", above_tokens=5000)
    refused = ask(fleet, "weu/d", "[sim:prompt_tokens=4000]", max_tokens=2000)
    assert (
        refused.status == 429 and "exceeds the maximum usage size allowed during peak load" in refused.error["message"]
    )
    assert ask(fleet, "weu/d", "[sim:prompt_tokens=4000]", max_tokens=1000).status == 200


# ---------------------------------------------------------------- the platform's own spillover

PAIR: dict[str, Any] = {"weu": {"deployments": {
    "ptu": {"sku": "ProvisionedManaged", "max_input": 1000, "capacity": {"ptu_tokens_per_minute": 60, "bucket_s": 1}},
    "std": {}, "std-2": {"capacity": {"tokens_per_minute": 1000}},
}}}  # fmt: skip
TO_STD = "x-ms-spillover-deployment: std\r\n"


def test_the_platform_spills_where_a_request_asks_for_it():
    fleet = SimUpstream(VirtualClock(), PAIR)
    own = ask(fleet, "weu/ptu", header=TO_STD)
    assert own.status == 200 and own.headers[b"x-ms-deployment-name"] == b"ptu"
    assert b"x-ms-spillover-from-deployment" not in own.headers
    assert ask(fleet, "weu/ptu", max_tokens=1000).status == 429, "without the header it is refused"
    spilled = ask(fleet, "weu/ptu", header=TO_STD)
    assert spilled.status == 200 and spilled.headers[b"x-ms-deployment-name"] == b"std"
    assert spilled.headers[b"x-ms-spillover-from-deployment"] == b"ptu"
    assert spilled.headers[b"x-ms-spillover-error"] == b"429"
    assert b"azure-openai-deployment-utilization" not in spilled.headers
    entry = fleet.ledger[-1]
    assert (entry.deployment, entry.spilled_to, entry.retry_s) == ("ptu", "std", None)


def test_the_platform_spills_where_the_deployment_says_so_and_after_long_prompts_and_faults_too():
    fleet = SimUpstream(VirtualClock(), PAIR)
    fleet.patch({"weu": {"deployments": {"ptu": {"spillover": "std"}}}})
    long = ask(fleet, "weu/ptu", "[sim:prompt_tokens=2000]")
    assert long.status == 200 and long.headers[b"x-ms-spillover-error"] == b"400"
    fleet.fault("status", status=503, deployment="ptu", times=1)
    before = fleet["weu"].capacity["ptu"].utilisation(fleet.now())
    failed = ask(fleet, "weu/ptu", max_tokens=1)
    assert failed.status == 200 and failed.headers[b"x-ms-spillover-error"] == b"503"
    assert fleet["weu"].capacity["ptu"].utilisation(fleet.now()) <= before, "what failed is not charged"
    wrong = ask(fleet, "weu/ptu", "[sim:filter]")
    assert wrong.status == 400 and wrong.error["code"] == "content_filter", "the request's own fault does not spill"


def test_the_platform_spills_to_no_other_kind_and_not_beyond_its_target():
    fleet = SimUpstream(VirtualClock(), PAIR)
    ask(fleet, "weu/ptu", max_tokens=1000)
    for target in ("gone", "ptu"):
        assert ask(fleet, "weu/ptu", header=f"x-ms-spillover-deployment: {target}\r\n").status == 429
    ask(fleet, "weu/std-2", max_tokens=2000)
    both = ask(fleet, "weu/ptu", header="x-ms-spillover-deployment: std-2\r\n")
    assert both.status == 429 and both.headers[b"x-ms-deployment-name"] == b"std-2"
