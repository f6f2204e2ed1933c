"""The fixed part of a request head: one place that looks at every byte of it.

Nothing in it is a client's text: names come from the configuration, the api-version through a strict grammar. It is
checked all the same, because a line end here would be a second request.
"""

from __future__ import annotations

import re
from typing import Final

from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Instance

_PORTS: Final = {"http": 80, "https": 443}
_TARGET: Final = re.compile(r"/[A-Za-z0-9._~/-]*(?:\?[A-Za-z0-9=._-]*)?")
_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|\[?[0-9A-Fa-f:.]+\]?")
_VALUE: Final = re.compile(r"[!-~]+(?: [!-~]+)?")


def shown(instance: Instance, token: Secret | None, header: str) -> tuple[str, str] | None:
    """The header line that shows who we are: a token as a bearer everywhere, a key in the provider's own header."""
    if token is not None:
        return "authorization", f"Bearer {token.reveal()}"
    key = instance.auth.secret
    if key is None:
        return None
    return header, f"Bearer {key.reveal()}" if header == "authorization" else key.reveal()


def request_head(method: str, target: str, instance: Instance, credential: tuple[str, str] | None) -> bytes:
    """Request line, host, user-agent, accept-encoding, content-type and, where there is one, the credential.

    `accept-encoding: identity`: an answer that nobody unpacks cannot be a bomb, and a stream can be metered.
    Raises ValueError for anything that does not belong on these lines, without showing it.
    """
    host = instance.host
    if not _TARGET.fullmatch(target) or "//" in target or "/../" in target:
        raise ValueError(f"instance {instance.name}: a path that cannot be sent")
    if not _HOST.fullmatch(host):
        raise ValueError(f"instance {instance.name}: a host that cannot be sent")
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    if instance.port != _PORTS.get(instance.scheme):
        host = f"{host}:{instance.port}"
    lines = [
        f"{method} {target} HTTP/1.1",
        f"host: {host}",
        "user-agent: sluicegate",
        "accept-encoding: identity",
        "content-type: application/json",
    ]
    if credential:
        name, value = credential
        if not _VALUE.fullmatch(value):
            raise ValueError(f"instance {instance.name}: a credential that cannot be sent")
        lines.append(f"{name}: {value}")
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")
