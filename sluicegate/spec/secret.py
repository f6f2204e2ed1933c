"""Secrets, which stand in a configuration as a reference or as a digest, never as themselves."""

from __future__ import annotations

import base64
import re
from binascii import a2b_base64
from typing import Any, NamedTuple

from sluicegate.core.secret import Secret
from sluicegate.spec.kinds import MISSING, Context, Word, quoted
from sluicegate.spec.moments import Moment
from sluicegate.spec.nodes import WORDS, Mapping, Node, Scalar
from sluicegate.spec.problems import Path
from sluicegate.spec.references import ASK, PENDING, Told, Wrong

PREFIX = "sgk1:"

ADMIN_PREFIX = "sga1:"
"""Digests of consumers' keys, and of operators'."""

_DIGITS = r"[0-9a-f]{8}:[A-Za-z0-9_-]{21}[AQgw]"
"""Of 16 bytes in base64: the last of 22 characters has two bits only."""

DIGEST = PREFIX + _DIGITS

ADMIN_DIGEST = ADMIN_PREFIX + _DIGITS

_DIGEST = re.compile(_DIGITS)


class Digest(NamedTuple):
    """What is left of a consumer's key where the key itself is kept nowhere."""

    id: str
    "Eight hex digits that tell keys of one consumer apart."
    value: bytes
    expires: float = 0.0
    "Wall time from which on nobody gets in with the key; 0: never."


Key = Secret | Digest
"""What a consumer shows, or its digest."""


def read_digest(text: str, prefix: str = PREFIX) -> Digest | None:
    """The digest that `text` is, None for anything else."""
    if not text.startswith(prefix) or not _DIGEST.fullmatch(text[5:]):
        return None
    return Digest(text[5:13], a2b_base64(text[14:].replace("-", "+").replace("_", "/") + "=="))


def write_digest(digest: Digest, prefix: str = PREFIX) -> str:
    """As it stands in a configuration."""
    return f"{prefix}{digest.id}:{base64.urlsafe_b64encode(digest.value).decode().rstrip('=')}"


class OperatorDigest(Word):
    """What `sluicegate key new --admin` prints."""

    pattern = ADMIN_DIGEST
    hidden = True

    def says(self) -> str:
        return "the digest of an operator's key: sga1:..., from `sluicegate key new NAME --admin`"

    def parse(self, text: str) -> Digest:
        digest = read_digest(text, ADMIN_PREFIX)
        if digest is None:
            if text.startswith(PREFIX):
                raise Wrong("is the digest of a consumer's key", "make another: sluicegate key new NAME --admin")
            hint = "make a key and its digest: sluicegate key new NAME --admin"
            raise Wrong("is not the digest of an operator's key", hint)
        return digest

    def write(self, value: Digest) -> str:
        return f"{ADMIN_PREFIX}{value.id}:***"


class Hidden(Word):
    """A secret: a reference to it, never itself. Nothing that stands or is found there is ever shown."""

    pattern = r"\$\{(env|file|keyvault):.*\}"

    def __init__(self, what: str, shortest: int = 1, longest: int = 4096, digests: bool = False) -> None:
        self._what = what
        self._shortest = shortest
        self._longest = longest
        self._digests = digests

    def says(self) -> str:
        return f"a reference to {self._what}: ${{env:NAME}} or ${{file:/path}}"

    def schema(self) -> dict[str, Any]:
        if not self._digests:
            return {"type": "string", "pattern": rf"^({self.pattern})$"}
        ending = {"key": {"type": "string", "pattern": rf"^({DIGEST})$"}, "expires": Moment().schema()}
        return {
            "anyOf": [
                {"type": "string", "pattern": rf"^({self.pattern}|{DIGEST})$"},
                {"type": "object", "properties": ending, "required": [*ending], "additionalProperties": False},
            ]
        }

    def write(self, value: Any) -> str:
        return f"{PREFIX}{value.id}:***" if isinstance(value, Digest) else "***"

    def read(self, cx: Context, node: Node, path: Path) -> Any:
        if self._digests and isinstance(node, Mapping):
            return self._expiring(cx, node, path)
        if not isinstance(node, Scalar):
            cx.say(path, f"is {WORDS[type(node)]}, not {self.says()}")
            return MISSING
        if node.refused:
            return MISSING
        if node.empty or not node.text:
            cx.say(path, "is empty", f"write {self.says()}")
            return MISSING
        if self._digests and node.text.startswith(PREFIX):
            digest = read_digest(node.text)
            if digest is None:
                hint = f"it is {PREFIX}, eight hex digits, a colon and 22 characters"
                cx.say(path, "begins like the digest of a key and is none", hint)
            return digest or MISSING
        try:
            secret = Secret(cx.sources.resolve(node.text, secret=True).text)
            if cx.sources.pending(node.text):
                cx.say(path, PENDING, ASK, "note")
            self.check(secret.reveal())
        except Told:
            cx.problems.damage(path)
            return MISSING
        except Wrong as e:
            cx.say(path, e.what, e.hint)
            return MISSING
        return secret

    def _expiring(self, cx: Context, node: Mapping, path: Path) -> Any:
        """`{key: sgk1:..., expires: 2026-12-31}`."""
        for name in node.items:
            if name not in ("key", "expires"):
                cx.problems.add(node.keys[name], path, f"unknown key {quoted(name)}", "known here: key, expires")
        digest, until = node.items.get("key"), node.items.get("expires")
        if digest is None or until is None:
            cx.say(path, "needs key and expires", "write {key: sgk1:..., expires: 2026-12-31}")
            return MISSING
        cx.values[*path, "key"], cx.values[*path, "expires"] = digest.place, until.place
        found = self.read(cx, digest, (*path, "key")) if isinstance(digest, Scalar) else MISSING
        moment = Moment().read(cx, until, (*path, "expires"))
        if isinstance(found, Secret):
            what = "is a reference, and only a key of which there is the digest has an end"
            cx.say((*path, "key"), what, "make one: sluicegate key new NAME")
            return MISSING
        return found._replace(expires=moment) if isinstance(found, Digest) and moment is not MISSING else MISSING

    def check(self, text: str) -> None:
        """Whether it can be sent in a header and used as it is. Raises Wrong, which says nothing of the text."""
        if not re.fullmatch(r"[\x21-\x7e]*", text):
            hint = "look for blanks, line ends and quotes around it"
            raise Wrong("has characters that no key has (blanks, controls, or beyond ASCII)", hint)
        if not text:
            raise Wrong("leads to nothing")
        if len(text) < self._shortest:
            hint = f"at least {self._shortest} characters, for example from: openssl rand -hex 32"
            raise Wrong("is too short to be a secret", hint)
        if len(text) > self._longest:
            raise Wrong("is too long to be a secret", f"at most {self._longest} characters")
