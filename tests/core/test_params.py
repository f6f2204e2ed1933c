"""Rules for parameters: whatever a request says, what goes up is within them, and nothing else is touched."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.apis import APIS
from sluicegate.apis.base import BadRequest
from sluicegate.core.params import FAMILY, NotAllowed, problem, rules, token_field
from sluicegate.core.settings import ParamSpec
from sluicegate.wire.fields import rebuild

API = APIS["chat_completions"]


def went_up(
    document: dict[str, object], *specs: ParamSpec, name: str = "max_tokens"
) -> tuple[dict[str, object], object]:
    """The body that goes up, and the facts."""
    raw = json.dumps(document).encode()
    fields = API.fields(raw)
    facts = API.facts(fields, raw)
    bound = rules(specs, "chat_completions", name)
    assert bound is not None
    changes = bound.apply(fields, facts)
    return json.loads(rebuild(raw, fields, changes)), facts


@pytest.mark.parametrize("name", FAMILY[:2])
def test_D6_the_whole_family_is_cut(name: str):
    sent, facts = went_up({"model": "m", name: 4000}, ParamSpec("max_tokens", max=800))
    assert sent == {"model": "m", name: 800}
    assert facts.max_output == 800  # type: ignore[attr-defined]


def test_D6_two_names_at_once_are_both_cut():
    sent, facts = went_up({"max_tokens": 10, "max_completion_tokens": 4000}, ParamSpec("max_tokens", max=800))
    assert sent == {"max_tokens": 10, "max_completion_tokens": 800}
    assert facts.max_output == 800  # type: ignore[attr-defined]


@pytest.mark.parametrize("document", [{}, {"max_tokens": None}])
def test_D6_without_a_maximum_the_rule_puts_its_own(document: dict[str, object]):
    sent, facts = went_up(document, ParamSpec("max_tokens", max=800))
    assert sent["max_tokens"] == 800 and facts.max_output == 800  # type: ignore[attr-defined]
    sent, facts = went_up(document, ParamSpec("max_tokens", max=800, default="100"))
    assert sent["max_tokens"] == 100 and facts.max_output == 100  # type: ignore[attr-defined]


def test_D6_a_name_that_the_operation_does_not_read_is_no_maximum():
    """A server that ignores what it does not know would take its own."""
    sent, _ = went_up({"max_output_tokens": 4000}, ParamSpec("max_tokens", max=800))
    assert sent == {"max_output_tokens": 800, "max_tokens": 800}


def test_models_that_refuse_max_tokens_get_the_other_name():
    assert token_field(["gpt-4o"]) == "max_tokens" and token_field(["o3-mini"]) == "max_completion_tokens"
    sent, _ = went_up({}, ParamSpec("max_tokens", max=800), name="max_completion_tokens")
    assert sent == {"max_completion_tokens": 800}


@pytest.mark.parametrize(
    ("document", "spec", "n", "best_of"),
    [
        ({"n": 5, "best_of": 7}, ParamSpec("n", max=2), 2, 7),
        ({"n": 5, "best_of": 7}, ParamSpec("best_of", max=6), 5, 6),
        ({"n": 5}, ParamSpec("n", max=2), 2, None),
        ({}, ParamSpec("n", force="3"), 3, None),
        ({"n": 5, "best_of": 7}, ParamSpec("seed", force="1"), 5, 7),
    ],
)
def test_D7_choices_are_counted_as_they_go_up_whichever_of_them_was_changed(
    document: dict[str, object], spec: ParamSpec, n: int, best_of: int | None
):
    sent, facts = went_up(document, spec)
    assert facts.n == n == sent.get("n", 1)  # type: ignore[attr-defined]
    if best_of is not None:
        assert facts.best_of == best_of == sent["best_of"]  # type: ignore[attr-defined]


def test_D7_n_is_cut_and_reserved_as_it_goes_up():
    sent, facts = went_up({"n": 5, "best_of": 7}, ParamSpec("n", max=1), ParamSpec("best_of", max=2))
    assert sent == {"n": 1, "best_of": 2} and (facts.n, facts.best_of) == (1, 2)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("spec", "document", "sent"),
    [
        (ParamSpec("temperature", max=1.0), {"temperature": 1.7}, {"temperature": 1}),
        (ParamSpec("temperature", max=1.5), {"temperature": 1.7}, {"temperature": 1.5}),
        (ParamSpec("temperature", max=1.5), {"temperature": 0.2}, {"temperature": 0.2}),
        (ParamSpec("temperature", max=1.5), {}, {}),
        (ParamSpec("temperature", default="0.2"), {}, {"temperature": 0.2}),
        (ParamSpec("temperature", default="0.2"), {"temperature": 1}, {"temperature": 1}),
        (ParamSpec("store", force="false"), {"store": True}, {"store": False}),
        (ParamSpec("store", force="false"), {}, {"store": False}),
        (ParamSpec("service_tier", allow=('"auto"', '"default"')), {"service_tier": "auto"}, {"service_tier": "auto"}),
        (ParamSpec("service_tier", allow=('"auto"',)), {}, {}),
        (ParamSpec("logprobs", allow=("false",)), {"logprobs": None}, {"logprobs": None}),
        (ParamSpec("n", allow=("1", "2")), {"n": 2}, {"n": 2}),
        (ParamSpec("tools", force="[]"), {"tools": [{"a": 1}]}, {"tools": []}),
    ],
)
def test_D8_each_rule(spec: ParamSpec, document: dict[str, object], sent: dict[str, object]):
    assert went_up(document, spec)[0] == sent


@pytest.mark.parametrize(
    ("spec", "document", "said"),
    [
        (ParamSpec("service_tier", allow=('"auto"',), origin="models.chat"), {"service_tier": "flex"}, "models.chat"),
        (ParamSpec("tools", allow=()), {"tools": [{"a": 1}]}, "not allowed"),
        (ParamSpec("n", allow=("1",)), {"n": 3}, "must be one of 1"),
        (ParamSpec("seed", max=5), {"seed": "4000"}, "must be a number"),
        (ParamSpec("seed", max=5), {"seed": [1] * 1000}, "must be a number"),
        (ParamSpec("user", allow=('"a"',)), {"user": "a" * 5000}, "must be one of"),
    ],
)
def test_D8_what_is_not_allowed_is_refused_and_says_why(spec: ParamSpec, document: dict[str, object], said: str):
    with pytest.raises(NotAllowed) as refused:
        went_up(document, spec)
    assert said in refused.value.message and next(iter(document)) in refused.value.message


def test_what_several_say_holds_together():
    far = ParamSpec("max_tokens", max=4000, default="1000", origin="models.chat")
    near = ParamSpec("max_completion_tokens", max=800, origin="tenants.hr")
    assert went_up({}, far, near)[0] == {"max_tokens": 800}, "the nearest default, cut to the smallest max"
    assert went_up({"max_tokens": 900}, near, far)[0] == {"max_tokens": 800}
    tier = ParamSpec("service_tier", allow=('"auto"', '"flex"')), ParamSpec("service_tier", allow=('"flex"', '"x"'))
    assert went_up({"service_tier": "flex"}, *tier)[0] == {"service_tier": "flex"}
    with pytest.raises(NotAllowed):
        went_up({"service_tier": "auto"}, *tier)
    assert went_up({}, ParamSpec("seed", default="1"), ParamSpec("seed", default="2"))[0] == {"seed": 2}


def test_a_default_is_never_what_another_rule_refuses():
    """A model's default is put for whoever may have it; of several the nearest that all allow."""
    tier = ParamSpec("service_tier", default='"priority"', origin="models.chat")
    cheap = ParamSpec("service_tier", allow=('"auto"', '"flex"'), origin="tenants.hr")
    assert went_up({}, tier)[0] == {"service_tier": "priority"}
    assert went_up({}, tier, cheap)[0] == went_up({}, cheap, tier)[0] == {}
    assert went_up({}, ParamSpec("service_tier", default='"flex"'), cheap, tier)[0] == {"service_tier": "flex"}
    few = ParamSpec("n", default="3"), ParamSpec("n", max=2), ParamSpec("n", allow=("1", "3"))
    assert went_up({}, *few)[0] == {}, "cut to the maximum it is not allowed any more"
    assert went_up({}, ParamSpec("top_p", default="0.50"), ParamSpec("top_p", allow=("0.5",)))[0] == {"top_p": 0.5}


def test_shadow_changes_nothing_and_says_what_it_would():
    bound = rules([ParamSpec("n", max=1, mode="shadow"), ParamSpec("seed", max=1, mode="off")], "x", "max_tokens")
    assert bound is not None
    raw = b'{"n":5,"seed":9}'
    fields = API.fields(raw)
    assert bound.apply(fields, API.facts(fields, raw)) == {}
    assert bound.shadow(fields) == "params would set: n"
    assert (
        rules([], "x", "max_tokens") is None and rules([ParamSpec("n", max=1, mode="off")], "x", "max_tokens") is None
    )


def test_a_rule_that_cannot_take_effect_is_a_problem():
    assert problem(ParamSpec("model", force='"x"')) and problem(ParamSpec("n", default='"x"'))
    assert not problem(ParamSpec("max_tokens", default="10"))


NUMBERS = st.one_of(st.integers(-5, 10**20), st.floats(allow_nan=False, allow_infinity=False), st.just(1e300))
VALUES = st.one_of(NUMBERS, st.none(), st.booleans(), st.text(max_size=5), st.lists(st.integers(), max_size=2))


@given(st.dictionaries(st.sampled_from([*FAMILY, "n", "best_of", "temperature", "x"]), VALUES), st.integers(1, 5000))
def test_D7_no_request_goes_up_beyond_its_rules(document: dict[str, object], most: int):
    """Refused, or within every maximum and untouched elsewhere; and the reservation is for what goes up."""
    specs = [ParamSpec(f, max=most) for f in ("max_tokens", "n", "best_of", "temperature")]
    try:
        sent, facts = went_up(document, *specs)
    except (NotAllowed, BadRequest):
        return
    for field in (*FAMILY, "n", "best_of", "temperature"):
        assert sent.get(field) is None or sent[field] <= most  # type: ignore[operator]
    family = [sent[f] for f in FAMILY[:2] if isinstance(sent.get(f), int | float)]
    assert family and facts.max_output == int(max(family))  # type: ignore[attr-defined, type-var]
    assert sent.get("x") == document.get("x")
    assert facts.n == (sent.get("n") or 1) if isinstance(sent.get("n"), int) else True  # type: ignore[attr-defined]
