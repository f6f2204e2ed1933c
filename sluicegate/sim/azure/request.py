"""A request as an instance reads it: which surface and deployment its URL names, and what its body asks for."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final

import msgspec

from sluicegate.sim.azure.forms import document as form

Headers = list[tuple[bytes, bytes]]

_DATED: Final = re.compile(r"/openai/deployments/([^/]+)(/.+)")
_V1: Final = "/openai/v1"
_COMPATIBLE: Final = "/v1"
_RESOURCE: Final = "/openai"
_BASES: Final = (("/models", "models"), ("/anthropic/v1", "anthropic"))
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?")

DATED, V1, COMPATIBLE = "dated", "v1", "compatible"
MODELS, ANTHROPIC, MESSAGES = "models", "anthropic", "messages"
"""Foundry's inference API, Anthropic's operations in Foundry, and at home."""


class Request:
    """What arrived. `body` grows while the request is being read."""

    __slots__ = (
        "api_version",
        "body",
        "complete",
        "deployment",
        "document",
        "estimate",
        "head",
        "headers",
        "method",
        "operation",
        "path",
        "surface",
        "target",
    )

    def __init__(self, method: str, target: str, headers: Headers, head: bytes, body: bytes | bytearray = b"") -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.head = head
        "As it came, the empty line included."
        self.body = body
        self.complete = False
        self.path, self.api_version, self.surface, self.deployment, self.operation = _read_target(target)
        "Deployment: from the path; on the other surfaces from the body, once it was read."
        self.document: Any = None
        "The decoded body, an object; None while unread or when it is none."
        self.estimate = 0
        "Tokens that it counts as at its arrival, prompt and maximum; 0 while that is not known."

    def header(self, name: bytes) -> bytes | None:
        """First value of a header, by its lower-case name."""
        for key, value in self.headers:
            if key == name or key.lower() == name:
                return value
        return None

    def read(self) -> bool:
        """Decode the body; False when it is neither a JSON object nor a form."""
        kind = self.header(b"content-type") or b""
        try:
            document = form(kind, self.body) if kind[:10].lower() == b"multipart/" else msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        if not isinstance(document, dict):
            return False
        self.document = document
        if not self.deployment:
            model = document.get("model")
            self.deployment = model if isinstance(model, str) else ""
        return True


@lru_cache(1024)
def _read_target(target: str) -> tuple[str, str | None, str, str, str]:
    """Path, api-version, surface, deployment and operation (the end of the path) of a request's target."""
    path, _, query = target.partition("?")
    version: str | None = None
    for pair in query.split("&"):
        if pair.startswith("api-version="):
            version = pair[12:]
    if path.startswith(_V1 + "/"):
        return path, version, V1, "", path[len(_V1) :]
    for base, surface in _BASES:
        if path.startswith(base + "/"):
            return path, version, surface, "", path[len(base) :]
    if path.startswith(_COMPATIBLE + "/messages"):
        return path, version, MESSAGES, "", path[len(_COMPATIBLE) :]
    if path.startswith(_COMPATIBLE + "/"):
        return path, version, COMPATIBLE, "", path[len(_COMPATIBLE) :]
    match = _DATED.fullmatch(path)
    if match:
        return path, version, DATED, match[1], match[2]
    if path.startswith(_RESOURCE + "/models"):
        return path, version, DATED, "", path[len(_RESOURCE) :]
    return path, version, "", "", ""


def dated_since(version: str | None, since: str) -> bool:
    """Whether a dated api-version is at least `since`; undated ones (None, preview, latest) always are."""
    return not version or not _DATE.fullmatch(version) or version[:10] >= since


def is_date(version: str | None) -> bool:
    return bool(version and _DATE.fullmatch(version))
