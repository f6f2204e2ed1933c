"""One simulated resource: checks the key, finds the deployment, lets it speak, then lets the faults at it.

The same object stands behind a socket (sim/server.py) and behind virtual time (sim/net.py).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from hashlib import blake2b
from hmac import compare_digest
from typing import Any, Final

from sluicegate.sim.answer import Answer
from sluicegate.sim.azure import refusals
from sluicegate.sim.azure.capacity import Capacity
from sluicegate.sim.azure.chat import Chat
from sluicegate.sim.azure.headers import HeaderBook
from sluicegate.sim.azure.request import COMPATIBLE, DATED, V1, Request, dated_since, is_date
from sluicegate.sim.faults import FaultBook
from sluicegate.sim.ledger import Entry, Ledger
from sluicegate.sim.spec import DeploymentSpec, InstanceSpec, changed

STREAM_OPTIONS_SINCE: Final = "2024-09-01"
JSON_SCHEMA_SINCE: Final = "2024-08-01"
N_MOST: Final = 128


class Instance:
    """A resource with its deployments, in force."""

    def __init__(self, name: str, spec: InstanceSpec, seed: int, ledger: Ledger, faults: FaultBook) -> None:
        self.name = name
        self.seed = seed
        self.ledger = ledger
        self.faults = faults
        self.served = 0
        "Answers so far: it numbers their ids."
        self.key = spec.key or made_key(seed, name)
        self.capacity: dict[str, Capacity] = {}
        self.configure(spec)

    def configure(self, spec: InstanceSpec) -> None:
        """Take another spec; what deployments have used so far stays."""
        self.spec = spec
        self.key = spec.key or self.key
        self._keys = (self.key.encode(), b"Bearer " + self.key.encode())
        self.book = HeaderBook(self.name, spec, self.seed)
        self.capacity = {
            name: self.capacity[name] if name in self.capacity and self.capacity[name].spec == d.capacity
            else Capacity(d.capacity)
            for name, d in spec.deployments.items()
        }  # fmt: skip

    def patch(self, patch: Mapping[str, Any]) -> None:
        """Change part of the spec. Raises ValueError."""
        self.configure(changed(self.spec, patch))

    # ------------------------------------------------------------------ a request

    def early(self, request: Request, entry: Entry, now: float, wall: float) -> Answer | None:
        """An answer that does not wait for the body: only where a fault says so."""
        faults = self.faults.early(self.name, request, now)
        if not faults:
            return None
        return self._finished(refusals.server_error(500), request, entry, faults, now, wall)

    def answer(self, request: Request, entry: Entry, now: float, wall: float) -> Answer:
        """What to say to a complete request."""
        readable = request.read()
        entry.deployment = request.deployment
        entry.api_version = request.api_version
        answer = self._honest(request, readable, entry, now, wall)
        faults = self.faults.matching(self.name, request, now)
        return self._finished(answer, request, entry, faults, now, wall)

    def _finished(
        self, answer: Answer, request: Request, entry: Entry, faults: list[Any], now: float, wall: float
    ) -> Answer:
        """With its headers, and with what the faults make of it."""
        self.served += 1
        deployment = self.spec.deployments.get(request.deployment)
        capacity = self.capacity.get(request.deployment)
        left = capacity.left(now) if capacity is not None else (0, 0)
        headers, entry.id = self.book.of(request.deployment, deployment, request, self.served, left)
        answer.headers = [*answer.headers, *headers]
        if deployment is not None and deployment.sku.endswith("ProvisionedManaged"):
            used = deployment.utilisation
            if used is None and capacity is not None:
                used = capacity.utilisation(now)
            answer.headers.append((b"azure-openai-deployment-utilization", b"%.1f%%" % (100 * (used or 0.0))))
        for fault in faults:
            answer = fault.act(answer, request, now, wall)
        entry.stream = bool(request.document and request.document.get("stream") is True)
        entry.claim = answer.claim
        entry.retry_s = answer.retry_s
        entry.faults = tuple([fault.number for fault in faults])
        return answer

    def _honest(self, request: Request, readable: bool, entry: Entry, now: float, wall: float) -> Answer:
        """Without faults."""
        compatible = self.spec.kind == "openai_compatible"
        if not request.surface or (request.surface == COMPATIBLE) != compatible or request.method != "POST":
            return refusals.no_resource()
        if request.surface == DATED and not is_date(request.api_version):
            return refusals.no_resource()
        if request.surface == V1 and (not self.spec.v1 or is_date(request.api_version)):
            return refusals.no_resource()
        entry.authorized = self._authorized(request, compatible)
        if not entry.authorized:
            return refusals.wrong_key(compatible)
        if request.surface != DATED and not readable:
            return refusals.bad_request("We could not parse the JSON body of your request.")
        deployment = self.spec.deployments.get(request.deployment)
        if deployment is None:
            return refusals.no_deployment(compatible, request.deployment)
        if not readable:
            return refusals.bad_request("We could not parse the JSON body of your request.")
        wrong = _wrong(request)
        if wrong is not None:
            return wrong
        return self._spoken(request, deployment, entry, now, wall)

    def _spoken(self, request: Request, deployment: DeploymentSpec, entry: Entry, now: float, wall: float) -> Answer:
        chat = Chat(request.document, request.body, deployment, self.spec.kind == "azure_openai", self.seed)
        wait_s = self.capacity[request.deployment].take(
            chat.claim.prompt + (chat.cap if chat.cap is not None else 16), now
        )
        if wait_s > 0:
            form: refusals.RetryForm = "both" if deployment.sku.endswith("ProvisionedManaged") else "s"
            return refusals.throttled(wait_s, wall, "rate", form, request.api_version)
        if "filter" in chat.marks:
            return refusals.filtered_prompt()
        if "too_long" in chat.marks:
            return refusals.too_long(128_000, 128_000 + chat.claim.prompt)
        jitter = deployment.latency.jitter
        draw = blake2b(b"%d %b %d" % (self.seed, self.name.encode(), self.served), digest_size=24).digest()
        speed = 1.0 if not jitter else 1.0 + jitter * (2.0 * int.from_bytes(draw[:4], "big") / 2**32 - 1.0)
        identity = b"chatcmpl-" + b64encode(draw[3:], b"Az").rstrip(b"=")
        return chat.answer(identity, wall, speed)

    def _authorized(self, request: Request, compatible: bool) -> bool:
        """Azure takes the key in either header, OpenAI's dialect only as a bearer token."""
        key, bearer = request.header(b"api-key"), request.header(b"authorization")
        if compatible:
            return bearer is not None and compare_digest(bearer, self._keys[1])
        if key is not None:
            return compare_digest(key, self._keys[0])
        return bearer is not None and compare_digest(bearer, self._keys[1])


def _wrong(request: Request) -> Answer | None:
    """What the API refuses about a body."""
    document = request.document
    messages = document.get("messages")
    if not isinstance(messages, list) or not messages:
        return refusals.bad_request("Missing required parameter: 'messages'.", "messages", "missing_required_parameter")
    for name in ("max_tokens", "max_completion_tokens", "n"):
        value = document.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            return refusals.bad_request(f"Invalid type for '{name}': expected an integer.", name, "invalid_type")
        if value is not None and (value < 1 or (name == "n" and value > N_MOST)):
            return refusals.bad_request(f"Invalid '{name}': integer out of range.", name, "integer_out_of_range")
    options = document.get("stream_options")
    if options is not None:
        if request.surface == DATED and not dated_since(request.api_version, STREAM_OPTIONS_SINCE):
            return refusals.bad_request("Unrecognized request argument supplied: stream_options")
        if document.get("stream") is not True:
            return refusals.bad_request(
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options"
            )
    form = document.get("response_format")
    if isinstance(form, dict) and form.get("type") == "json_schema" and request.surface == DATED:
        if not dated_since(request.api_version, JSON_SCHEMA_SINCE):
            return refusals.bad_request(
                "response_format value as json_schema is enabled only for api versions 2024-08-01-preview and later",
                code="BadRequest",
            )
    return None


def made_key(seed: int, name: str) -> str:
    """A key for tests: the same for the same seed."""
    return blake2b(f"{seed} {name} key".encode(), digest_size=16).hexdigest()
