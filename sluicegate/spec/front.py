"""What the configuration asks of requests before it is known who sends them."""

from __future__ import annotations

from sluicegate.core import settings
from sluicegate.spec.beside import Files
from sluicegate.spec.problems import Path
from sluicegate.spec.process import GatewaySpec


def front(spec: GatewaySpec, files: Files) -> settings.Front:
    """Compiled. What could be said by anybody must not be believed."""
    cx = files.cx
    for number, network in enumerate(spec.trusted_proxies):
        if network.endswith("/0"):
            what = "trusts everybody to say who they are"
            cx.say(("gateway", "trusted_proxies", number), what, "write the networks of your proxies only")
    if not spec.trusted_proxies and spec.client_address != settings.Front().client_address:
        what = "has no effect: no proxy is trusted"
        cx.say(("gateway", "client_address"), what, "write gateway.trusted_proxies, or remove it", key=True)
    cors = spec.cors
    own = spec.listen.tls is not None and spec.listen.tls.client is not None
    passed = forwarded(spec, files)
    return settings.Front(
        doors=spec.front_door_ids,
        proxies=spec.trusted_proxies,
        client_address=spec.client_address,
        allow=spec.allow,
        base_paths=spec.base_paths,
        cors=settings.Cors(cors.origins, cors.max_age) if cors is not None else None,
        query_keys=spec.query_keys,
        failures=spec.failures or 0,
        certificates=own,
        forwarded=passed,
        crl=lists(spec, files, own or (passed is not None and passed.ca is not None)),
    )


def forwarded(spec: GatewaySpec, files: Files) -> settings.ForwardedCertificate | None:
    """Where proxies say which certificates they saw."""
    said = spec.certificates.forwarded if spec.certificates is not None else None
    if said is None:
        return None
    at: Path = ("gateway", "certificates", "forwarded")
    if not spec.trusted_proxies:
        hint = "write gateway.trusted_proxies: of anybody else it is not read"
        files.cx.say(at, "has no effect: no proxy is trusted", hint, key=True)
    ca = files.read(said.ca, (*at, "ca")) if said.ca is not None else None
    if ca is not None:
        files.certificates(ca.path, (*at, "ca"))
    return settings.ForwardedCertificate(said.header, ca)


def lists(spec: GatewaySpec, files: Files, signed: bool) -> tuple[settings.DigestedFile, ...]:
    """Of revoked certificates."""
    found = []
    for number, name in enumerate(spec.certificates.crl if spec.certificates is not None else ()):
        at: Path = ("gateway", "certificates", "crl", number)
        if not signed:
            what = "has no effect: no authority is named whose certificates it could be about"
            files.cx.say(at[:3], what, "write gateway.listen.tls.client, or forwarded with its ca", key=True)
            break
        read = files.read(name, at)
        if read is not None:
            found.append(read)
            files.revoked(read.path, at)
    return tuple(found)
