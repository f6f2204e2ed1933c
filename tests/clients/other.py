"""A site for the operations besides chat: an Azure instance and a server of its own, one model for each operation."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from sluicegate.core.secret import Secret
from sluicegate.core.settings import Listen
from sluicegate.core.snapshot import Auth, Deployment, Model
from sluicegate.sim.fleet import FleetThread
from tests.clients.members import over
from tests.clients.site import CUT, Site
from tests.gateway import UNMOVED, GatewayThread, directory, instance

MODELS = {
    # public name: (instance, deployment, model, operations)
    "chat": (1, "gpt-4o", "gpt-4o", ("chat_completions",)),
    "text": (1, "instruct", "gpt-35-turbo-instruct", ("completions",)),
    "vectors": (1, "embed", "text-embedding-3-small", ("embeddings",)),
    "judge": (2, "judge", "omni-moderation", ("moderations",)),
    "vllm": (2, "mistral", "mistral-small", ("chat_completions", "completions", "embeddings")),
    "hidden": (1, "gpt-4o", "gpt-4o", ("chat_completions",)),
}
SEEN = [name for name in MODELS if name != "hidden"]


@contextlib.contextmanager
def other_site() -> Iterator[Site]:
    """`app` may use all models but `hidden`."""
    given = {
        "i1": {"deployments": {d: {"model": m} for i, d, m, _ in MODELS.values() if i == 1}},
        "i2": {
            "kind": "openai_compatible",
            "deployments": {d: {"model": m} for i, d, m, _ in MODELS.values() if i == 2},
        },
    }
    with FleetThread(given, seed=7) as fleet:
        fleet.fault("cut", how="clean", at="before_finish", marker=CUT)
        azure, server = (
            instance(n, served.port, name=served.name, auth=Auth("key", Secret(served.key)))
            for n, served in enumerate(fleet, 1)
        )
        instances = [azure, replace(server, provider="openai_compatible", base_path="/v1")]
        base = over(instances, {}, Listen(port=0))
        numbers = {name: n for n, name in enumerate(MODELS, 1)}
        snapshot = replace(
            base,
            deployments=tuple(
                Deployment(numbers[name], d, i, m, "1", "Standard", 1) for name, (i, d, m, _) in MODELS.items()
            ),
            models=tuple(
                Model(numbers[n], n, (numbers[n],), ops, breaker=UNMOVED) for n, (_, _, _, ops) in MODELS.items()
            ),
        )
        with GatewayThread(snapshot, directory(tuple(SEEN))) as gateway:
            gateway.journal.recent = deque()
            yield Site(gateway, fleet, None)
