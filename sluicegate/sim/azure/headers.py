"""Response headers of an instance, the ones that clients want and the ones that a gateway should keep to itself."""

from __future__ import annotations

from hashlib import blake2b

from sluicegate.sim.answer import Headers
from sluicegate.sim.azure.facts import PROVISIONED, region_shown
from sluicegate.sim.azure.request import ANTHROPIC, Request
from sluicegate.sim.spec import DeploymentSpec, InstanceSpec

_FIXED: Headers = [
    (b"strict-transport-security", b"max-age=31536000; includeSubDomains; preload"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-ms-rai-invoked", b"true"),
    (b"x-accel-buffering", b"no"),
    (b"server", b"istio-envoy"),
    (b"x-envoy-upstream-service-time", b"137"),
    (b"x-aml-cluster", b"cluster-weu-aks-17.internal"),
    (b"x-served-by", b"vllm-pod-7c9d.internal.cloudapp.net"),
    (b"ms-azureml-model-error-reason", b""),
]
"""The same on every answer of Azure."""


class HeaderBook:
    """The headers of one instance's deployments, put together once."""

    __slots__ = ("_instance", "_seed", "_spec", "_static")

    def __init__(self, instance: str, spec: InstanceSpec, seed: int) -> None:
        self._instance = instance
        self._spec = spec
        self._seed = seed
        self._static: dict[str, Headers] = {}

    def ids(self, number: int) -> tuple[bytes, bytes]:
        """Request id and apim id of the n-th answer, as UUIDs."""
        digest = blake2b(b"%d %b %d" % (self._seed, self._instance.encode(), number), digest_size=32).hexdigest()
        return _uuid(digest[:32]), _uuid(digest[32:])

    def of(
        self, name: str, deployment: DeploymentSpec | None, request: Request, number: int, left: tuple[int, int]
    ) -> tuple[Headers, str]:
        """Headers for one answer, and the request id in them. `left`: requests and tokens remaining."""
        request_id, apim_id = self.ids(number)
        if self._spec.kind == "openai_compatible":
            headers: Headers = [
                (b"x-request-id", request_id),
                (b"server", b"uvicorn"),
                (b"openai-processing-ms", b"137"),
            ]
            if deployment is not None:
                headers += [(k.encode(), v.encode()) for k, v in deployment.headers.items()]
            return headers, request_id.decode()
        if self._spec.kind == "anthropic":
            own: Headers = [
                (b"request-id", b"req_011" + request_id.replace(b"-", b"")[:21]),
                (b"anthropic-organization-id", b"00000000-0000-4000-8000-000000000002"),
                (b"via", b"1.1 google"),
                (b"server", b"cloudflare"),
                (b"cf-ray", b"9a1b2c3d4e5f-FRA"),
                (b"set-cookie", b"_cfuvid=upstream-secret; Path=/; HttpOnly; Secure"),
            ]
            if deployment is not None:
                own += [(k.encode(), v.encode()) for k, v in deployment.headers.items()]
            return own, own[0][1].decode()
        static = self._static.get(name)
        if static is None:
            static = self._static[name] = self._fixed(name, deployment)
        headers = [
            (b"apim-request-id", apim_id),
            (b"x-request-id", request_id),
            (b"x-ms-client-request-id", request.header(b"x-ms-client-request-id") or apim_id),
            *static,
        ]
        if request.surface == ANTHROPIC:
            headers.append((b"request-id", b"req_011" + request_id.replace(b"-", b"")[:21]))
        elif deployment is not None and not deployment.sku.endswith(PROVISIONED):
            headers.append((b"x-ratelimit-remaining-requests", b"%d" % left[0]))
            headers.append((b"x-ratelimit-remaining-tokens", b"%d" % left[1]))
        return headers, request_id.decode()

    def _fixed(self, name: str, deployment: DeploymentSpec | None) -> Headers:
        spec = self._spec
        headers = [*_FIXED, (b"x-ms-region", region_shown(spec.region).encode())]
        if spec.cookies:
            headers.append((b"set-cookie", b"ARRAffinity=7f3c2a; Path=/; HttpOnly; Secure; Domain=simulated.example"))
            headers.append((b"set-cookie", b"session=upstream-secret; Path=/"))
        if deployment is not None:
            headers.append((b"azureml-model-session", b"d%d-%b" % (len(name), name.encode())))
            headers.append((b"x-ms-deployment-name", name.encode()))
            if not deployment.sku.endswith(PROVISIONED):
                tokens = deployment.capacity.tokens_per_minute or 450_000
                requests = deployment.capacity.requests_per_minute or max(1, tokens // 1000 * 6)
                headers.append((b"x-ratelimit-limit-requests", b"%d" % requests))
                headers.append((b"x-ratelimit-limit-tokens", b"%d" % tokens))
            headers += [(k.encode(), v.encode()) for k, v in deployment.headers.items()]
        return headers


def _uuid(digest: str) -> bytes:
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}".encode()
