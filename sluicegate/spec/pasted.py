"""What people paste where an endpoint belongs, and what they meant: the portals and the samples show addresses of
requests, with a path and `api-version`, and pages that are no endpoints at all.
"""

from __future__ import annotations

import re

RESOURCES = (
    ".openai.azure.com", ".openai.azure.us", ".openai.azure.cn", ".cognitiveservices.azure.com",
    ".cognitiveservices.azure.us", ".cognitiveservices.azure.cn", ".services.ai.azure.com", ".services.ai.azure.us",
)  # fmt: skip
"""How hosts of single resources of Azure end: they answer at the root, by https alone."""

REGIONAL = (".api.cognitive.microsoft.com", ".api.cognitive.microsoft.us", ".api.cognitive.azure.cn")
"""How hosts end that all resources of a region share: they know whom they are for by the key."""

PORTALS = ("portal.azure.com", "ai.azure.com", "oai.azure.com", "portal.azure.us", "portal.azure.cn")
"""Pages for people."""

_HOST = re.compile(r"(?:(?P<scheme>https?)://)?(?P<host>[A-Za-z0-9.-]+\.[A-Za-z]{2,}|localhost)(?P<port>:[0-9]{1,5})?")
_OF_REQUESTS = re.compile(r"/(?:openai|models|anthropic|api/projects|deployments|chat|v1/[a-z])(?:/|$).*")


def azure(host: str) -> bool:
    """Whether the host is a resource of Azure by its name."""
    return host.endswith(RESOURCES) or regional(host)


def regional(host: str) -> bool:
    """Whether it is the shared address of a region."""
    return host.endswith(REGIONAL)


def portal(text: str) -> bool:
    """Whether it is the address of a page of Azure's, not of a resource."""
    found = _HOST.match(text)
    return found is not None and found["host"].lower() in PORTALS


def meant(text: str) -> str:
    """The endpoint that is in `text`, or nothing: with a scheme, without `?`, `#` and what belongs to requests."""
    found = _HOST.match(text)
    if found is None or "@" in text:
        return ""
    rest = text[found.end() :]
    if rest and rest[0] not in "/?#":
        return ""
    path = re.split(r"[?#]", rest, maxsplit=1)[0]
    scheme, host = found["scheme"] or "https", found["host"].lower()
    path = "" if azure(host) else _OF_REQUESTS.sub("", path).rstrip("/")
    if not re.fullmatch(r"(?:/[A-Za-z0-9._~-]+)*", path):
        return ""
    return f"{scheme}://{host}{found['port'] or ''}{path}"
