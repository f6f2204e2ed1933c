"""What `check` says of how far a limit may be exceeded."""

from sluicegate.spec.bounds import bounds, together
from tests.spec.reading import compiled, consumer, model

LIMIT = "limits: [60k tokens/minute, 20 concurrent]"
EXACT = "every answer is reserved whole; exceeded by no more than prompts are estimated too low"


def said(text: str) -> list[str]:
    return list(bounds(*compiled(text)))


def test_without_a_maximum_of_tokens_answers_in_flight_may_exceed_it():
    assert said(consumer(LIMIT)) == [
        "consumers.my-app: 60k tokens/minute: exceeded by what up to 20 answers in flight use beyond what is usual; "
        "models.chat.params: {max_tokens: {max: ...}}, or reserve: max, bounds it"
    ]


def test_a_maximum_for_every_request_reserves_all_of_it():
    limited = consumer(LIMIT).replace(
        "    use: gpt-4o@2024-11-20\n", "    use: gpt-4o@2024-11-20\n    params: {max_tokens: {max: 4000}}\n"
    )
    assert said(limited) == [f"consumers.my-app: 60k tokens/minute: {EXACT}"]
    reserved = consumer("limits: [{tokens: 60k, per: minute, reserve: max}]")
    assert said(reserved) == [f"consumers.my-app: 60k tokens/minute (reserve max): {EXACT}"]
    of_tenant = consumer(LIMIT + "\ntenant: t") + "tenants: {t: {params: {max_tokens: {force: 5}}}}\n"
    assert said(of_tenant) == [f"consumers.my-app: 60k tokens/minute: {EXACT}"]
    assert said(model("params: {n: {max: 1}}")) == []


def test_a_plans_limit_stands_once_and_shadows_are_not_told():
    text = (
        consumer("plan: p")
        + "  b: {key: '${env:SECRET}', plan: p}\nplans: {p: {models: [chat], limits: [5k tokens/minute]}}\n"
    )
    assert [line.split(": ")[:2] for line in said(text)] == [["plans.p", "5k tokens/minute"]]
    assert said(consumer("limits: [{tokens: 5k, per: minute, mode: shadow}]")) == []
    assert "prompts are estimated" in said(consumer("limits: [{tokens: 5k, per: minute, count: input}]"))[0]


def test_how_much_several_workers_admit_together_is_said():
    def of(text: str) -> list[str]:
        return list(together(*compiled(text)))

    several = consumer(LIMIT).replace("gateway:\n", "gateway:\n  workers: 3\n")
    assert of(several) == ["3 workers share each limit: together they admit no more than one would"]
    local = several.replace(LIMIT, "limits: [{tokens: 60k, per: minute, guarantee: local}]")
    assert of(local) == ["a limit with guarantee: local holds for each worker: 3 times as much may pass together"]
    assert of(consumer(LIMIT)) == [] == of(several.replace(LIMIT, ""))
