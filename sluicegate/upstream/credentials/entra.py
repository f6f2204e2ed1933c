"""Tokens that Entra gives to an application: for a secret, for an assertion signed with its certificate, or for a
token of the cluster that it trusts (workload identity federation)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from urllib.parse import quote, urlencode, urlsplit

from sluicegate.core.settings import Identity
from sluicegate.upstream.credentials.token import LATER_S, Failed, Fetched, fetched, refused
from sluicegate.upstream.fetch import Unreachable, fetch

AUTHORITY = "https://login.microsoftonline.com"
ENTRA_S = 15.0
LONGEST_FILE = 64 * 1024
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_TENANT = re.compile(r"[A-Za-z0-9.-]{1,253}")

Sign = Callable[[Identity, str], str]
"""An assertion for a token end point, signed with the identity's certificate. Raises Failed."""


async def workload_identity(identity: Identity, environ: Mapping[str, str], wall: Callable[[], float]) -> Fetched:
    """For the token that the cluster keeps in a file, read anew each time. Raises Failed."""
    path = environ.get("AZURE_FEDERATED_TOKEN_FILE", "")
    client = identity.client_id or environ.get("AZURE_CLIENT_ID", "")
    tenant = identity.tenant_id or environ.get("AZURE_TENANT_ID", "")
    lacking = [
        name
        for name, value in (
            ("AZURE_FEDERATED_TOKEN_FILE", path), ("AZURE_CLIENT_ID", client), ("AZURE_TENANT_ID", tenant)
        )
        if not value
    ]  # fmt: skip
    if lacking:
        raise Failed(f"{', '.join(lacking)} is not set: is the pod labelled azure.workload.identity/use?", LATER_S)
    fields = {"client_assertion_type": ASSERTION, "client_assertion": read(path)}
    return await _ask(identity, environ, tenant, client, fields, wall)


async def service_principal(
    identity: Identity, environ: Mapping[str, str], wall: Callable[[], float], sign: Sign
) -> Fetched:
    """For a secret, or a certificate. Raises Failed."""
    if identity.secret is not None:
        fields = {"client_secret": identity.secret.reveal()}
    else:
        url = token_url(identity, environ, identity.tenant_id)
        fields = {"client_assertion_type": ASSERTION, "client_assertion": sign(identity, url)}
    return await _ask(identity, environ, identity.tenant_id, identity.client_id, fields, wall)


def token_url(identity: Identity, environ: Mapping[str, str], tenant: str) -> str:
    """Where tokens of a tenant are asked for. Raises Failed."""
    authority = (identity.authority or environ.get("AZURE_AUTHORITY_HOST", "") or AUTHORITY).rstrip("/")
    if "://" not in authority:
        authority = f"https://{authority}"
    parts = urlsplit(authority)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise Failed("the authority is no https:// address: secrets are not sent in clear", LATER_S)
    if not _TENANT.fullmatch(tenant):
        raise Failed("the tenant is none", LATER_S)
    return f"{authority}/{quote(tenant)}/oauth2/v2.0/token"


async def _ask(
    identity: Identity, environ: Mapping[str, str], tenant: str, client: str, fields: Mapping[str, str],
    wall: Callable[[], float],
) -> Fetched:  # fmt: skip
    form = {"grant_type": "client_credentials", "client_id": client, "scope": identity.scope, **fields}
    headers = {"content-type": "application/x-www-form-urlencoded"}
    try:
        url = token_url(identity, environ, tenant)
        answer = await fetch("POST", url, headers, urlencode(form).encode(), ENTRA_S)
        if answer.status != 200:
            raise refused(answer, "Entra")
        return fetched(answer.document(), wall())
    except Unreachable as e:
        raise Failed(f"no token from Entra: {e}") from None


def read(path: str) -> str:
    """The content of a small file. Raises Failed."""
    try:
        with open(path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NONBLOCK)) as f:
            content = f.read(LONGEST_FILE + 1)
        text = content.decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise Failed("the token of the cluster (AZURE_FEDERATED_TOKEN_FILE) cannot be read") from None
    if not text or len(content) > LONGEST_FILE:
        raise Failed("the token of the cluster (AZURE_FEDERATED_TOKEN_FILE) is none")
    return text
