"""TLS to an instance: verified always, 1.2 at least, sessions resumed so that a new connection costs a third."""

from __future__ import annotations

import ssl
from typing import Any


class ResumingContext(ssl.SSLContext):
    """Hands the last session to every new connection.

    asyncio and uvloop have no way to pass one, but both call `wrap_bio` of the context they are given.
    """

    session: ssl.SSLSession | None = None

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """As in the base class, with the session to resume."""
        if self.session is not None:
            kwargs["session"] = self.session
        return super().wrap_bio(*args, **kwargs)


def client_context(ca: str | None) -> ResumingContext:
    """Context for one instance. `ca`: PEM file with authorities, None: the system's. Raises OSError, ssl.SSLError."""
    context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cafile=ca)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_COMPRESSION
    return context
