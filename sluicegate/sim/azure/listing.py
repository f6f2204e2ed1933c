"""The models of an instance: Azure lists what the region offers, OpenAI's dialect what the server holds."""

from __future__ import annotations

from typing import Any

from sluicegate.sim.answer import Answer
from sluicegate.sim.azure import refusals
from sluicegate.sim.azure.facts import families
from sluicegate.sim.spec import InstanceSpec


def listing(spec: InstanceSpec, operation: str, compatible: bool) -> Answer:
    """`/models`, or one of them."""
    if compatible:
        models: dict[str, Any] = {
            name: {"id": name, "object": "model", "created": 0, "owned_by": "server"} for name in spec.deployments
        }
    else:
        named = {f"{d.model}-{d.version}": d.model for d in spec.deployments.values()}
        models = {name: _azure(name, model) for name, model in named.items()}
    name = operation.removeprefix("/models").removeprefix("/")
    if not name and operation == "/models":
        return refusals.refusal(200, {"object": "list", "data": list(models.values())})
    return refusals.refusal(200, models[name]) if name in models else refusals.no_resource()


def _azure(name: str, model: str) -> dict[str, Any]:
    known = families(model)
    return {
        "id": name, "object": "model", "status": "succeeded", "created_at": 0, "updated_at": 0,
        "lifecycle_status": "generally-available", "deprecation": {},
        "capabilities": {
            "fine_tune": False, "inference": True, "completion": "completions" in known,
            "chat_completion": "chat" in known, "embeddings": "embeddings" in known,
        },
    }  # fmt: skip
