"""What the configuration asks of requests before it is known who sends them."""

from __future__ import annotations

from sluicegate.core import settings
from sluicegate.spec.kinds import Context
from sluicegate.spec.process import GatewaySpec


def front(spec: GatewaySpec, cx: Context) -> settings.Front:
    """Compiled. What could be said by anybody must not be believed."""
    for number, network in enumerate(spec.trusted_proxies):
        if network.endswith("/0"):
            what = "trusts everybody to say who they are"
            cx.say(("gateway", "trusted_proxies", number), what, "write the networks of your proxies only")
    if not spec.trusted_proxies and spec.client_address != settings.Front().client_address:
        what = "has no effect: no proxy is trusted"
        cx.say(("gateway", "client_address"), what, "write gateway.trusted_proxies, or remove it", key=True)
    cors = spec.cors
    return settings.Front(
        doors=spec.front_door_ids,
        proxies=spec.trusted_proxies,
        client_address=spec.client_address,
        allow=spec.allow,
        base_paths=spec.base_paths,
        cors=settings.Cors(cors.origins, cors.max_age) if cors is not None else None,
        query_keys=spec.query_keys,
        failures=spec.failures or 0,
    )
