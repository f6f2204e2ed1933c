"""One simulated resource: checks the key, finds the deployment, lets it speak, then lets the faults at it.

The same object stands behind a socket (sim/server.py) and behind virtual time (sim/net.py).
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from hashlib import blake2b
from hmac import compare_digest
from typing import Any, Final

from sluicegate.sim.answer import Answer, Claim
from sluicegate.sim.azure import refusals
from sluicegate.sim.azure.capacity import SHOWN, UNSAID, Capacity, Provisioned, Standard, capacity
from sluicegate.sim.azure.facts import PROVISIONED, families, ptu
from sluicegate.sim.azure.headers import HeaderBook
from sluicegate.sim.azure.inference import unknown
from sluicegate.sim.azure.listing import listing
from sluicegate.sim.azure.messages import in_its_words, limits
from sluicegate.sim.azure.operations import OPERATIONS, Operation, Said
from sluicegate.sim.azure.request import (
    ANTHROPIC,
    COMPATIBLE,
    DATED,
    MESSAGES,
    MODELS,
    V1,
    Request,
    is_date,
)
from sluicegate.sim.faults import FaultBook
from sluicegate.sim.ledger import Entry, Ledger
from sluicegate.sim.spec import DeploymentSpec, InstanceSpec, changed

SURFACES: Final = {
    "azure_openai": (DATED, V1), "openai_compatible": (COMPATIBLE,), "foundry": (V1, MODELS, ANTHROPIC),
    "anthropic": (MESSAGES, ANTHROPIC),
}  # fmt: skip
"""Families of URLs of each kind of instance."""

SPILLED: Final = frozenset({429, 500, 503})
"""What the platform's own spillover catches; besides these, a prompt that is too long."""
TOO_LONG: Final = b"context_length_exceeded"


class Instance:
    """A resource with its deployments, in force."""

    def __init__(
        self, name: str, spec: InstanceSpec, seed: int, ledger: Ledger, faults: FaultBook,
        quotas: Mapping[str, Standard],
    ) -> None:  # fmt: skip
        self.name = name
        self.seed = seed
        self.ledger = ledger
        self.faults = faults
        self.bearers: Callable[[str], bool] | None = None
        "Says which tokens it takes, beside its keys; None: none."
        self.served = 0
        "Answers so far: it numbers their ids."
        self.key = spec.key or made_key(seed, name)
        self.quotas = quotas
        self.capacity: dict[str, Capacity | None] = {}
        self.spec = spec
        self.configure(spec)

    def configure(self, spec: InstanceSpec) -> None:
        """Take another spec; what deployments have used so far stays."""
        before, self.spec = self.spec, spec
        self.key = spec.key or self.key
        self._keys = [key.encode() for key in (self.key, spec.second_key) if key]
        self.book = HeaderBook(self.name, spec, self.seed)
        used, self.capacity = self.capacity, {}
        for name, d in spec.deployments.items():
            old = before.deployments.get(name)
            if name in used and old is not None and (old.capacity, old.model, old.sku) == (d.capacity, d.model, d.sku):
                self.capacity[name] = used[name]
            else:
                self.capacity[name] = capacity(d.capacity, ptu(d.model, d.sku))

    def patch(self, patch: Mapping[str, Any]) -> None:
        """Change part of the spec. Raises ValueError."""
        self.configure(changed(self.spec, patch, self.quotas))

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
        answer = self._answered(request, readable, entry, now, wall)
        target = self._spillover(request)
        if target and (answer.status in SPILLED or (answer.status == 400 and TOO_LONG in answer.body())):
            source, error = request.deployment, answer.status
            if entry.on_end is not None:  # it was taken, and then failed: nothing was used
                entry.on_end(entry)
                entry.on_end = None
            request.deployment = entry.spilled_to = target
            answer = self._answered(request, readable, entry, now, wall)
            answer.headers.append((b"x-ms-spillover-from-deployment", source.encode()))
            answer.headers.append((b"x-ms-spillover-error", b"%d" % error))
        return answer

    def _answered(self, request: Request, readable: bool, entry: Entry, now: float, wall: float) -> Answer:
        answer = self._honest(request, readable, entry, now, wall)
        faults = self.faults.matching(self.name, request, now)
        return self._finished(answer, request, entry, faults, now, wall)

    def _spillover(self, request: Request) -> str:
        """Where the platform itself sends what a provisioned deployment refuses: as the request or the deployment
        says; empty: nowhere."""
        deployment = self.spec.deployments.get(request.deployment)
        if deployment is None or not deployment.sku.endswith(PROVISIONED):
            return ""
        asked = request.header(b"x-ms-spillover-deployment")
        name = deployment.spillover if asked is None else asked.decode("latin-1")
        target = self.spec.deployments.get(name)
        return name if target is not None and not target.sku.endswith(PROVISIONED) else ""

    def _finished(
        self, answer: Answer, request: Request, entry: Entry, faults: list[Any], now: float, wall: float
    ) -> Answer:
        """With its headers, and with what the faults make of it."""
        self.served += 1
        deployment = self.spec.deployments.get(request.deployment)
        own = self.capacity.get(request.deployment)
        left = SHOWN if deployment is not None else (0, 0)
        if deployment is not None:
            shared = self.quotas.get(deployment.quota)
            if own is not None:
                left = own.left(now)
            if shared is not None:
                (a, b), (c, d) = left, shared.left(now)
                left = min(a, c), min(b, d)
        headers, entry.id = self.book.of(request.deployment, deployment, request, self.served, left)
        answer.headers = [*answer.headers, *headers]
        if self.spec.kind == "anthropic":
            answer.headers += limits(deployment, left, wall)
        if deployment is not None and deployment.sku.endswith(PROVISIONED):
            used = deployment.utilisation
            if used is None and own is not None:
                used = own.utilisation(now)
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
        return in_its_words(request, self._plainly(request, readable, entry, now, wall))

    def _plainly(self, request: Request, readable: bool, entry: Entry, now: float, wall: float) -> Answer:
        """In the words of Azure, and of OpenAI."""
        compatible = self.spec.kind == "openai_compatible"
        if request.surface not in SURFACES[self.spec.kind]:
            return refusals.no_resource()
        operation = OPERATIONS.get(request.operation) if request.method == "POST" else None
        listed = request.method == "GET" and request.operation.startswith("/models")
        if not listed and (operation is None or not operation.lies(request.surface)):
            return refusals.no_resource()
        if request.surface == MODELS and not is_date(request.api_version):
            return refusals.no_resource()
        if request.surface == DATED and not is_date(request.api_version):
            return refusals.no_resource()
        if request.surface == V1 and (not self.spec.v1 or is_date(request.api_version)):
            return refusals.no_resource()
        entry.authorized = self._authorized(request, compatible)
        if not entry.authorized:
            return refusals.wrong_key(compatible)
        if operation is None:
            return listing(self.spec, request.operation, compatible)
        if request.surface != DATED and not readable:
            return refusals.bad_request("We could not parse the JSON body of your request.")
        deployment = self.spec.deployments.get(request.deployment)
        if deployment is None:
            return refusals.no_deployment(compatible, request.deployment)
        if not readable:
            return refusals.bad_request("We could not parse the JSON body of your request.")
        known = families(deployment.model)
        if known and operation.family not in known:
            return refusals.not_supported(operation.called, deployment.model)
        wrong = unknown(request) if request.surface == MODELS else None
        if wrong is None:
            wrong = operation.wrong(request)
        if wrong is not None:
            return wrong
        return self._spoken(operation, request, deployment, entry, now, wall)

    def _spoken(
        self, operation: Operation, request: Request, deployment: DeploymentSpec, entry: Entry, now: float, wall: float
    ) -> Answer:
        own, shared = self.capacity[request.deployment], self.quotas.get(deployment.quota)
        if own is not None or shared is not None:
            refused = _lacking(own, shared, deployment, now, wall, request, operation)
            if refused is not None:
                return refused
        azure = self.spec.kind != "openai_compatible"
        chat = operation.make(request.document, request.body, deployment, azure, self.seed)
        claim = chat.claim
        request.estimate = claim.prompt + (UNSAID if chat.cap is None else chat.cap) * chat.choices
        if "too_long" in chat.marks:
            return refusals.too_long(128_000, 128_000 + claim.prompt)
        if 0 < deployment.max_input < claim.prompt:
            return refusals.too_long(deployment.max_input, claim.prompt)
        for counted in (own, shared):
            if counted is not None:
                counted.take(counted.estimate(claim.prompt, claim.cached, chat.cap, chat.choices), now)
        if "filter" in chat.marks:
            answer = refusals.filtered_prompt()
            answer.claim = Claim(claim.prompt, 0, claim.cached)
        else:
            answer = self._written(operation, chat, deployment, wall)
        if chat.stream or isinstance(own, Provisioned):
            estimate = own.estimate(claim.prompt, claim.cached, chat.cap, chat.choices) if own is not None else 0
            entry.on_end = lambda entry: _over(entry, answer, own, estimate, now)
        return answer

    def _written(self, operation: Operation, chat: Said, deployment: DeploymentSpec, wall: float) -> Answer:
        jitter = deployment.latency.jitter
        draw = blake2b(b"%d %b %d" % (self.seed, self.name.encode(), self.served), digest_size=24).digest()
        speed = 1.0 if not jitter else 1.0 + jitter * (2.0 * int.from_bytes(draw[:4], "big") / 2**32 - 1.0)
        identity = operation.prefix + b64encode(draw[3:], b"Az").rstrip(b"=")
        return chat.answer(identity, wall, speed)

    def _authorized(self, request: Request, compatible: bool) -> bool:
        """Azure takes the key in either header, OpenAI's dialect only as a bearer token; Anthropic's in one of its own,
        which Foundry takes, too."""
        if self.spec.keyless:
            return True
        bearer = request.header(b"authorization")
        own = () if compatible else (b"x-api-key",) if self.spec.kind == "anthropic" else (b"api-key",)
        if request.surface == ANTHROPIC:
            own = (b"x-api-key", *own)
        for name in own:
            key = request.header(name)
            if key is not None:
                return any(compare_digest(key, mine) for mine in self._keys)
        if bearer is None:
            return False
        if self.bearers is not None and bearer[:7] == b"Bearer " and self.bearers(bearer[7:].decode("latin-1")):
            return True
        return any(compare_digest(bearer, b"Bearer " + key) for key in self._keys)


def _lacking(
    own: Capacity | None,
    shared: Standard | None,
    deployment: DeploymentSpec,
    now: float,
    wall: float,
    request: Request,
    operation: Operation,
) -> Answer | None:
    """The 429 of a deployment that has no capacity left, or shares a quota that has none."""
    wait_s, of = own.lacks(now) if own is not None else (0.0, "")
    if shared is not None:
        shared_s, shared_of = shared.lacks(now)
        if shared_s > wait_s:
            wait_s, of = shared_s, shared_of
    if not of:
        return None
    form: refusals.RetryForm = "both" if deployment.sku.endswith(PROVISIONED) else "s"
    return refusals.throttled(wait_s, wall, "rate", form, request.api_version, of, operation.called)


def _over(entry: Entry, answer: Answer, own: Capacity | None, estimate: float, now: float) -> None:
    """An answer is over: note how much of a stream was computed, and settle."""
    claim = entry.claim
    if claim is not None and answer.stream and not entry.whole and isinstance(answer.pieces, list):
        size = len(answer.body())
        said = min(1.0, entry.sent_body / size) if size else 1.0
        entry.claim = Claim(claim.prompt, round(claim.completion * said), claim.cached, claim.reasoning)
    if own is not None:
        own.settle(estimate, entry.claim, entry.ended_at or now)


def made_key(seed: int, name: str) -> str:
    """A key for tests: the same for the same seed."""
    return blake2b(f"{seed} {name} key".encode(), digest_size=16).hexdigest()
