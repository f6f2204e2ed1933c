"""Tokens of the machine's own identity: a service on the machine or beside it hands them out to whoever runs there.

Which one there is, the environment says, as Azure sets it: App Service, Functions and Container Apps; Azure Arc; Azure
ML; else the instance metadata service of virtual machines and AKS nodes. Where these are is never configured: they
hand out credentials, so a configuration must not be able to point there (or elsewhere).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from urllib.parse import urlencode

from sluicegate.core.settings import Identity
from sluicegate.upstream.credentials.token import LATER_S, Failed, Fetched, fetched, refused
from sluicegate.upstream.fetch import Answer, Unreachable, fetch

IMDS = "http://169.254.169.254"
IMDS_S = 10.0
"""The service waits for Entra itself; it answers from memory else."""

ARC_KEYS = "/var/opt/azcmagent/tokens"
ARC_LARGEST = 4096


async def managed_identity(identity: Identity, environ: Mapping[str, str], wall: Callable[[], float]) -> Fetched:
    """Raises Failed."""
    resource = identity.scope.removesuffix("/.default")
    endpoint = environ.get("IDENTITY_ENDPOINT", "")
    try:
        if endpoint and environ.get("IDENTITY_HEADER"):
            if environ.get("IDENTITY_SERVER_THUMBPRINT"):
                what = "the environment is Service Fabric's, whose tokens we do not fetch: write auth: azure_identity"
                raise Failed(what, LATER_S)
            query = {"api-version": "2019-08-01", "resource": resource}
            if identity.client_id:
                query["client_id"] = identity.client_id
            who = "App Service"
            answer = await _get(endpoint, query, {"x-identity-header": environ["IDENTITY_HEADER"]})
        elif endpoint and environ.get("IMDS_ENDPOINT"):
            who = "Azure Arc"
            answer = await _arc(endpoint, resource, identity)
        elif environ.get("MSI_ENDPOINT") and environ.get("MSI_SECRET"):
            query = {"api-version": "2017-09-01", "resource": resource}
            client = identity.client_id or environ.get("DEFAULT_IDENTITY_CLIENT_ID", "")
            if client:
                query["clientid"] = client
            who = "the machine's identity service"
            answer = await _get(environ["MSI_ENDPOINT"], query, {"secret": environ["MSI_SECRET"]})
        else:
            query = {"api-version": "2018-02-01", "resource": resource}
            if identity.client_id:
                query["client_id"] = identity.client_id
            host = environ.get("AZURE_POD_IDENTITY_AUTHORITY_HOST", "").rstrip("/") or IMDS
            who = "the metadata service"
            answer = await _get(f"{host}/metadata/identity/oauth2/token", query, {"metadata": "true"})
        if answer.status != 200:
            raise refused(answer, who)
        return fetched(answer.document(), wall(), resource)
    except Unreachable as e:
        raise Failed(f"no token of the managed identity: {e}") from None


async def _get(endpoint: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
    joint = "&" if "?" in endpoint else "?"
    return await fetch("GET", f"{endpoint}{joint}{urlencode(query)}", headers, within_s=IMDS_S, link_local=True)


async def _arc(endpoint: str, resource: str, identity: Identity) -> Answer:
    """Who may read a file that only its group may read gets the token: the first answer names the file."""
    if identity.client_id:
        raise Failed("Azure Arc has no other identity than the machine's: write managed_identity alone", LATER_S)
    query = {"api-version": "2019-11-01", "resource": resource}
    first = await _get(endpoint, query, {"metadata": "true"})
    if first.status != 401:
        return first
    realm = first.headers.get("www-authenticate", "").partition("realm=")[2].strip().strip('"')
    key = _arc_key(realm, ARC_KEYS)
    return await _get(endpoint, query, {"metadata": "true", "authorization": f"Basic {key}"})


def _arc_key(path: str, folder: str) -> str:
    """What stands in the file, which must be where the agent keeps them: whoever answers must not choose the file."""
    if os.path.dirname(path) != folder or not path.endswith(".key"):
        raise Failed("Azure Arc names a file that is not its own", LATER_S)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(fd, encoding="ascii") as f:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_size > ARC_LARGEST:
                raise Failed("Azure Arc names a file that is no key", LATER_S)
            return f.read(ARC_LARGEST).strip()
    except (OSError, UnicodeDecodeError):
        raise Failed("Azure Arc's key cannot be read: is this user in the group himds?", LATER_S) from None
