"""What the configuration asks of requests before it is known who sends them."""

from __future__ import annotations

import os
import ssl
from hashlib import blake2b

from sluicegate.core import settings
from sluicegate.spec.kinds import Context
from sluicegate.spec.problems import Path
from sluicegate.spec.process import GatewaySpec


def front(spec: GatewaySpec, cx: Context, base: str) -> settings.Front:
    """Compiled. What could be said by anybody must not be believed."""
    files = Files(cx, base)
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


class Files:
    """What the configuration names, read to be known again. `base`: the directory of the configuration."""

    def __init__(self, cx: Context, base: str) -> None:
        self.cx = cx
        self._base = base

    def read(self, name: str, at: Path) -> settings.DigestedFile | None:
        """A file that is looked at for changes from now on; None after saying that it cannot be read."""
        path = os.path.normpath(os.path.join(self._base, name))
        self.cx.sources.files.append(path)
        try:
            with open(path, "rb") as f:
                return settings.DigestedFile(path, blake2b(f.read(), digest_size=8).hexdigest())
        except OSError as e:
            what = f"{self.cx.shown(at, name)} cannot be read: {(e.strerror or 'error').lower()}"
            self.cx.say(at, what, "relative paths start beside the configuration")
            return None

    def certificates(self, path: str, at: Path) -> None:
        """Whether there is one in it."""
        if not self._holds(path)["x509"]:
            self.cx.say(at, "holds no certificate that we can read", "write a PEM file: BEGIN CERTIFICATE ...")

    def revoked(self, path: str, at: Path) -> None:
        """Whether it is a list of revoked ones. Who signed it is looked at by those who use it."""
        if not self._holds(path)["crl"]:
            hint = "write a PEM file: BEGIN X509 CRL ...; of DER: openssl crl -inform der -in LIST -out LIST.pem"
            self.cx.say(at, "holds no list of revoked certificates that we can read", hint)

    def _holds(self, path: str) -> dict[str, int]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_verify_locations(path)
        except (OSError, ValueError):  # ssl.SSLError is one
            return {"x509": 0, "crl": 0}
        return context.cert_store_stats()
