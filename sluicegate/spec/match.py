"""`match`: whose tokens and certificates are a consumer's, as a map of what must be equal or as an expression."""

from __future__ import annotations

import re
from typing import Any, Final

from sluicegate.core.claims import CERTIFICATE, LISTS
from sluicegate.core.expr.check import check
from sluicegate.core.expr.parse import Mistake, parse, tokens
from sluicegate.core.match import THUMBPRINT
from sluicegate.core.snapshot import Match, Wanted
from sluicegate.core.whose import said
from sluicegate.spec.kinds import MISSING, Context, Kind, Name, Text, Word, closest, quoted
from sluicegate.spec.nodes import WORDS, Mapping, Node, Scalar
from sluicegate.spec.nodes import Listing as ListNode
from sluicegate.spec.problems import Path
from sluicegate.spec.references import Wrong

MOST: Final = 1000
"""Values of one claim."""

PLACES: Final = ("issuer", "certificate", "headers")
"""Keys of the map that are no claims."""

_CLAIM = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,128}")
_HEADER = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PLAIN = re.compile(r"[ -#%-~]{1,256}")
_NAME = Name()
_VALUE = Text("a value such as 0a1b0000-0000-4000-8000-000000000004", 256)


class ClaimName(Word):
    """`azp`, or whatever a provider calls it."""

    def says(self) -> str:
        return "the name of a claim such as azp"

    def parse(self, text: str) -> str:
        if not _CLAIM.fullmatch(text):
            raise Wrong("is not the name of a claim", f"write {self.says()}")
        return text


class Each(ClaimName):
    """A claim of which every value is a consumer of its own."""

    def parse(self, text: str) -> str:
        if text in LISTS:
            raise Wrong("may have several values in one token", "name a claim that has one, such as azp or oid")
        return super().parse(text)


class MatchForm(Kind):
    """`{issuer: contoso, azp: ...}`, or `issuer == "contoso" && "llm" in scp`."""

    def says(self) -> str:
        return "a map of claims and their values, or an expression over claims"

    def read(self, cx: Context, node: Node, path: Path) -> Any:
        if isinstance(node, Mapping):
            return self._map(cx, node, path)
        if isinstance(node, ListNode):
            cx.say(
                path, f"is a list, not {self.says()}", "several ways to be one consumer: write an expression with ||"
            )
            return MISSING
        if node.refused:
            return MISSING
        if node.empty or not node.text.strip():
            cx.say(path, "is empty", f"write {self.says()}, or remove the key")
            return MISSING
        return self._expression(cx, node, path)

    def _expression(self, cx: Context, node: Scalar, path: Path) -> Any:
        at = node.text.find("${")
        if at >= 0:
            what = "references do not stand in expressions: a value could change what they mean"
            cx.problems.add(node.inside(at), path, what, "write the value out, or a map, which takes references")
            return MISSING
        try:
            tree = parse(node.text)
            check(tree)
        except Mistake as e:
            cx.problems.add(node.inside(e.at), path, e.what, e.hint)
            return MISSING
        cx.texts[path] = node
        text = " ".join(t.text for t in tokens(node.text)) if "//" in node.text else node.text
        return Match(tree=tree, text=" ".join(text.split()))

    def _map(self, cx: Context, node: Mapping, path: Path) -> Any:
        if not node.items:
            cx.say(path, "is empty", f"write {self.says()}, or remove the key")
            return MISSING
        before = len(cx.problems)
        issuer = ""
        certificate: Wanted = ()
        headers: Wanted = ()
        claims = []
        for key, child in node.items.items():
            at = (*path, key)
            cx.keys[at] = node.keys[key]
            cx.values[at] = child.place
            if key == "issuer":
                issuer = _NAME.read(cx, child, at) or ""
            elif key == "certificate":
                certificate = self._fields(cx, child, at, True)
            elif key == "headers":
                headers = self._fields(cx, child, at, False)
            elif not _CLAIM.fullmatch(key):
                cx.say(at, "is not the name of a claim", "write a name such as azp", key=True)
            else:
                claims.append((key, self._values(cx, child, at)))
        if len(cx.problems) > before:
            return MISSING
        return Match(issuer, tuple(claims), certificate, headers)

    def _fields(self, cx: Context, node: Node, path: Path, certificate: bool) -> Wanted:
        example = "{thumbprint: ...}" if certificate else "{x-tenant: ...}"
        if not isinstance(node, Mapping) or not node.items:
            what = "is empty" if isinstance(node, Mapping) else f"is {WORDS[type(node)]}, not a map"
            cx.say(path, what, f"write {path[-1]}: {example}")
            return ()
        found = []
        for key, child in node.items.items():
            at = (*path, key)
            cx.keys[at] = node.keys[key]
            cx.values[at] = child.place
            if certificate and key not in CERTIFICATE:
                near = closest(key, CERTIFICATE)
                hint = "" if near else f"known: {', '.join(CERTIFICATE)}"
                cx.say(at, f"a certificate has no {quoted(key)}{near}", hint, key=True)
            elif not certificate and not _HEADER.fullmatch(key):
                cx.say(at, f"{quoted(key)} is not the name of a header", "names of headers are in lower case", key=True)
            else:
                values = self._values(cx, child, at)
                found.append((key, self._thumbprints(cx, values, at) if key == THUMBPRINT and certificate else values))
        return tuple(found)

    def _values(self, cx: Context, node: Node, path: Path) -> tuple[str, ...]:
        if isinstance(node, Mapping):
            cx.say(
                path, "is a map: what is deeper in a claim is for expressions", "write match: claims.name.field == ..."
            )
            return ()
        if isinstance(node, Scalar):
            value = _VALUE.read(cx, node, path)
            return () if value is MISSING else (value,)
        if not node.items:
            cx.say(path, "is an empty list", "write the values of which one must be there, or remove the key")
        if len(node.items) > MOST:
            cx.say(path, f"has more than {MOST} values", "give each a consumer of its own, or use each")
            return ()
        found = []
        for n, child in enumerate(node.items):
            at = (*path, n)
            cx.values[at] = child.place
            value = _VALUE.read(cx, child, at)
            if value is not MISSING:
                found.append(value)
        return tuple(found)

    def _thumbprints(self, cx: Context, values: tuple[str, ...], path: Path) -> tuple[str, ...]:
        found = []
        for n, value in enumerate(values):
            text = value.replace(":", "").replace(" ", "").lower()
            if _SHA256.fullmatch(text):
                found.append(text)
                continue
            at = (*path, n) if (*path, n) in cx.values else path
            hint = "openssl x509 -in CERT -noout -fingerprint -sha256 prints it"
            sha1 = "is that of SHA-1, which can be forged" if re.fullmatch("[0-9a-f]{40}", text) else ""
            cx.say(at, f"{cx.shown(at, value)} {sha1 or 'is not a thumbprint: 64 hex digits of SHA-256'}", hint)
        return tuple(found)

    @staticmethod
    def plain(said: Any) -> Match | None:
        """What JSON says, if it is a map of texts without anything that needs a look: the usual case of a line."""
        if type(said) is not dict:
            return None
        issuer = ""
        claims = []
        for name, value in said.items():
            values = value if type(value) is list else [value]
            if name in PLACES[1:] or not values or len(values) > MOST or not _CLAIM.fullmatch(name):
                return None
            for text in values:
                if type(text) is not str or not _PLAIN.fullmatch(text):
                    return None
            if name == "issuer":
                if type(value) is not str or not _NAME.matches(value):
                    return None
                issuer = value
            else:
                claims.append((name, tuple(values)))
        return Match(issuer, tuple(claims)) if issuer or claims else None

    def write(self, value: Match) -> str:
        return said(value)

    def schema(self) -> dict[str, Any]:
        values = {"anyOf": [{"type": ["string", "number", "boolean"]}, {"type": "array", "minItems": 1}]}
        fields = {"type": "object", "additionalProperties": values, "minProperties": 1}
        properties = {
            "issuer": {**_NAME.schema(), "description": "Name of the issuer, of those under `issuers`."},
            "certificate": {
                **fields,
                "description": "Fields of the client's certificate: " + ", ".join(CERTIFICATE) + ".",
            },
            "headers": {**fields, "description": "Headers, in lower case, of a trusted proxy."},
        }
        whole = {"type": "object", "properties": properties, "additionalProperties": values, "minProperties": 1}
        return {"anyOf": [{"type": "string"}, whole]}
