"""A ceiling for a group of clients that is a deployment's own: each group reaches as far as the quota it was given."""

from sluicegate.sim.stage import Client, Stage
from tests.spec.reading import compiled

TEXT = """\
version: 1
gateway: {secrets: ["${env:SECRET}"]}
instances:
  weu:
    endpoint: https://contoso-weu.openai.azure.com
    auth: {key: "${env:AOAI_KEY}"}
    deployments:
      small: {model: gpt-4o, version: 2024-11-20, capacity: 30k tokens/minute}
      large: {model: gpt-4o, version: 2024-11-20, capacity: 60k tokens/minute}
models:
  chat-small: {use: [weu/small]}
  chat-large: {use: [weu/large]}
consumers:
  k-a: {key: "${env:APP_KEY}", models: [chat-small]}
  k-b: {key: "${env:OTHER_KEY}", models: [chat-large]}
"""


def test_A3_two_groups_that_ask_for_all_they_can_reach_each_its_own_quota():
    """Both ask for five times what there is, for two minutes; what is not served is a 429 of the deployment, and
    nobody gets into the other's."""
    snapshot, directory = compiled(TEXT, {"OTHER_KEY": "key-of-the-other-000000001"})
    stage = Stage(snapshot=snapshot, directory=directory)
    asked: dict[str, list[Client]] = {"k-a": [], "k-b": []}
    models = {"k-a": "chat-small", "k-b": "chat-large"}
    each = 1000  # a prompt of some tokens and room for an answer, as the deployment counts them

    def ask(n: int) -> None:
        for consumer, times in (("k-a", 1), ("k-b", 2)):
            for _ in range(times):
                asked[consumer].append(
                    stage.ask("[sim:tokens=5]", consumer=consumer, model=models[consumer], max_tokens=each - 10)
                )

    stage.play([n * 0.4 for n in range(300)], ask)
    stage.clock.run_for(125.0)
    stage.settle()
    served = {name: sum(c.status == 200 for c in clients) for name, clients in asked.items()}
    refused = {name: {c.status for c in clients if c.status != 200} for name, clients in asked.items()}
    assert refused == {"k-a": {429}, "k-b": {429}}
    assert 0.85 * 60 <= served["k-a"] <= 1.1 * 60, "30,000 tokens a minute"
    assert 0.85 * 120 <= served["k-b"] <= 1.1 * 120, "60,000"
    assert stage.ask("hello", consumer="k-a", model="chat-large").status == 404
    assert not stage.ledger.early()
