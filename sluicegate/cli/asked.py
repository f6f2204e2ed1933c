"""What deployments say to a request that asks for nothing: `sluicegate check --ask`.

Each is sent the body `{}` (with its name where that goes into the body), by the path and with the credential that the
gateway would use. Whoever is there refuses that for want of messages, and charges nothing; a key that is not known, a
name that is not there and an address that nobody has show before that.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from sluicegate.apis import APIS
from sluicegate.core.secret import Secret
from sluicegate.core.settings import Identity
from sluicegate.core.snapshot import Deployment, Instance, Snapshot
from sluicegate.providers import PROVIDERS

AT_ONCE = 8
MOST = 64 * 1024
WORDS: Mapping[str, str] = {
    "upstream.credential": "refuses what the gateway shows: is it the key of this resource, has the identity its role?",
    "upstream.deployment": "is not there: is this how the deployment is called (not its model)?",
    "upstream.status_5xx": "is there, and fails",
    "upstream.redirect": "sends us elsewhere: is the endpoint the resource's own?",
    "upstream.status": "says something that nobody expects there",
}

Fetch = Callable[[Identity], Coroutine[Any, Any, Any]]
"""A token of an identity; raises an exception whose text says why there is none."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of one."""

    deployment: str
    good: bool
    says: str


def ask(snapshot: Snapshot, fetch: Fetch, within_s: float) -> list[Asked]:
    """All deployments, in the order of the configuration."""
    instances = {i.number: i for i in snapshot.instances}
    tokens = {n: _token(identity, fetch, within_s) for n, identity in enumerate(snapshot.identities, 1)}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = [
            pool.submit(_one, snapshot, instances[d.instance], d, tokens, within_s) for d in snapshot.deployments
        ]
        return [one.result() for one in waiting]


def lines(found: list[Asked]) -> Iterator[str]:
    """For people."""
    for one in found:
        yield f"  {one.deployment}: {'answers' if one.good else 'NO'}, {one.says}"


def _token(identity: Identity, fetch: Fetch, within_s: float) -> Secret | str:
    try:
        token: Secret = asyncio.run(asyncio.wait_for(fetch(identity), within_s * 2)).token
    except TimeoutError:
        return "no token in time"
    except Exception as e:  # whatever a source of tokens raises says what is wrong with it
        return f"no token: {getattr(e, 'what', type(e).__name__)}"
    return token


def _one(
    snapshot: Snapshot, instance: Instance, d: Deployment, tokens: Mapping[int, Secret | str], within_s: float
) -> Asked:
    label = f"{instance.name}/{d.name}"
    if instance.auth.kind == "passthrough":
        return Asked(label, True, "not asked: it is shown the client's own token")
    token = tokens.get(instance.auth.identity) if instance.auth.identity else None
    if isinstance(token, str):
        return Asked(label, False, token)
    offered = [m.operations for m in snapshot.models if d.number in m.deployments]
    api = next((APIS[name] for names in offered for name in names if name in APIS), APIS["chat_completions"])
    plan = PROVIDERS[instance.provider].plan(api, d, instance, None, token)
    body = json.dumps({} if plan.model is None else {"model": plan.model}).encode()
    try:
        status, headers, said = _sent(instance, plan.head, body, within_s)
    except ssl.SSLCertVerificationError as e:
        return Asked(label, False, f"its certificate is not good: {e.verify_message}")
    except socket.gaierror:
        return Asked(label, False, f"nobody is called {instance.host}: is the name right, does its DNS answer here?")
    except TimeoutError:
        return Asked(label, False, f"no answer within {within_s:g} s: is its network open to this machine?")
    except (OSError, http.client.HTTPException) as e:
        why = (getattr(e, "strerror", "") or type(e).__name__).lower()
        return Asked(label, False, f"nobody can be talked to at {instance.host}:{instance.port}: {why}")
    cause = PROVIDERS[instance.provider].refusal(status, headers, said, time.time()).cause if status != 200 else ""
    if cause.startswith("upstream.throttled"):
        return Asked(label, True, f"{status}: it is there, and throttled now")
    if status == 404 and not cause:
        return Asked(label, False, "404: its API is not there: is the endpoint right, and the api_version?")
    if cause:
        return Asked(label, False, f"{status}: {WORDS.get(cause, cause)}")
    return Asked(label, True, f"{status}: it is there, and takes the credential")


def _sent(instance: Instance, head: bytes, body: bytes, within_s: float) -> tuple[int, Any, bytes]:
    """Status, headers, the beginning of the answer. No proxy of the environment is asked, as the gateway asks none."""
    with socket.create_connection((instance.host, instance.port), within_s) as plain:
        plain.settimeout(within_s)
        if instance.scheme == "https":
            trusted = ssl.create_default_context(cafile=instance.ca)
            connection: socket.socket = trusted.wrap_socket(plain, server_hostname=instance.host)
        else:
            connection = plain
        with connection:
            connection.sendall(head + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.getheaders()]
            return answer.status, headers, answer.read(MOST)
