"""Rules for fields of requests."""

import pytest

from sluicegate.core.settings import ParamSpec
from tests.spec.reading import bottom, compiled, consumer, found, model


def test_values_are_what_they_look_like_and_the_model_carries_them():
    text = model("""\
    params:
      max_tokens: {default: 1000, max: 4k}
      n: {max: 1}
      service_tier: {allow: [auto, default]}
      store: {force: false}
      user: {default: "12"}
      temperature: {max: 0.7, mode: shadow}
      response_format: {force: {type: json_object, deep: [1, -2.5]}}
    """)
    assert compiled(text)[0].models[0].params == tuple(
        ParamSpec(*values, origin="models.chat")
        for values in [
            ("max_tokens", "1000", 4000.0),
            ("n", None, 1.0),
            ("service_tier", None, None, None, ('"auto"', '"default"')),
            ("store", None, None, "false"),
            ("user", '"12"'),
            ("temperature", None, 0.7, None, None, "shadow"),
            ("response_format", None, None, '{"type":"json_object","deep":[1,-2.5]}'),
        ]
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{model: {force: x}}", "14:14 models.chat.params.model: the gateway itself decides by this field: there is no rule "
         "for it | remove it"),
        ("{max_completion_tokens: {max: 5}}", "14:14 models.chat.params.max_completion_tokens: one rule stands for all names "
         "of the token maximum | write max_tokens"),
        ("{n: {mode: shadow}}", "14:14 models.chat.params.n: rules nothing | write default, max, force or allow"),
        ("{n: {max: 0}}", "14:23 models.chat.params.n.max: is not a whole number above 0 | n is a whole number"),
        ("{n: {default: many}}", "14:27 models.chat.params.n.default: is not a whole number above 0 | n is a whole number"),
        ("{n: {default: 5, max: 2}}", "14:27 models.chat.params.n.default: is more than max | write at most 2"),
        ("{store: {force: false, default: true}}", "14:36 models.chat.params.store.default: has no effect beside force | "
         "remove one of them"),
        ("{tier: {default: a, allow: [b]}}", '14:30 models.chat.params.tier.default: is not among what is allowed | '
         'allowed: "b"'),
        ("{top_p: {max: high}}", '14:27 models.chat.params.top_p.max: "high" is not a number | write a number such as 4000 '
         "or 0.7"),
        ("{top-p: {max: 1}}", '14:14 models.chat.params: "top-p" is not a name for a field of requests | use letters, digits '
         "and underscore, at most 63, beginning with a letter"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_hold_is_refused(text: str, problem: str):
    assert found(model(f"params: {text}")) == [problem]


def test_rules_of_plan_and_consumer_stand_together_the_nearest_last():
    text = consumer("plan: team\nparams: {n: {max: 2}}") + "plans: {team: {params: {n: {max: 1}}}}\n"
    assert [(p.origin, p.max) for p in compiled(text)[1].consumers[0].params] == [
        ("plans.team", 1.0), ("consumers.my-app", 2.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("theirs", "mine"),
    [
        ("{store: {force: true}}", "{store: {force: false}}"),
        ("{tier: {allow: [a]}}", "{tier: {allow: [b]}}"),
        ("{tier: {allow: [a]}}", "{tier: {force: b}}"),
    ],
)
def test_rules_that_no_request_can_satisfy_are_refused(theirs: str, mine: str):
    text = consumer(f"tenant: hr\nparams: {mine}") + f"tenants: {{hr: {{params: {theirs}}}}}\n"
    (problem,) = found(text)
    assert problem.startswith('17:14 consumers.my-app.models: "chat": the rules of ')
    assert "tenants.hr" in problem and "consumers.my-app" in problem and "cannot hold together" in problem
    assert found(text.replace(f"params: {mine}", f"params: {mine[:-2]}, mode: shadow}}}}")) == []


def test_a_field_is_not_asked_for_values_that_it_cannot_have():
    assert found(bottom("tenants: {hr: {params: {n: {force: '${env:NO}'}}}}"))[0].startswith(
        "18:36 tenants.hr.params.n.force"
    )
