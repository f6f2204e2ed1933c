"""The listener's TLS: 1.2 at least, HTTP/1.1 only, tickets on so that clients resume instead of shaking hands anew."""

from __future__ import annotations

import ssl

from sluicegate.core.settings import TlsFiles


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Context for a listening socket. Raises OSError or ssl.SSLError when the files cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if files.client_ca:
        context.load_verify_locations(files.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if files.client_required else ssl.CERT_OPTIONAL
    return context
