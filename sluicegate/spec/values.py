"""Words with a grammar of their own: selectors, members, who uses an application, what happens when a client leaves."""

from __future__ import annotations

import re
from typing import NamedTuple

from sluicegate.core.params import UNTOUCHABLE
from sluicegate.core.residency import plain
from sluicegate.spec.kinds import Name, Text, Word
from sluicegate.spec.references import Wrong
from sluicegate.spec.regions import areas
from sluicegate.spec.units import Duration
from sluicegate.wire.headers import CREDENTIAL_HEADERS


class DoorId(Word):
    """The id of an Azure Front Door profile."""

    pattern = r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"

    def says(self) -> str:
        return "the id of a Front Door, such as 9a3f2c1e-0000-4000-8000-5b1d7e000001"

    def parse(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise Wrong("is not the id of a Front Door", "look for `frontDoorId` of the profile: az afd profile show")
        return text.lower()


class HeaderName(Word):
    """`client-cert`."""

    pattern = r"[A-Za-z0-9][A-Za-z0-9-]{0,63}"

    def says(self) -> str:
        return "the name of a header such as client-cert"

    def parse(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise Wrong("is not the name of a header", f"write {self.says()}")
        return text.lower()


class EndUser(Word):
    """Where a request says who uses the application that sends it."""

    pattern = r"field:[a-z][a-z0-9_]{0,62}|claim:.{1,128}|header:[a-z0-9][a-z0-9-]{0,62}"

    def says(self) -> str:
        return "field:user or another field of the body, claim:oid, or header:x-user of a trusted proxy"

    def parse(self, text: str) -> str:
        kind, colon, name = text.partition(":")
        if kind == "claim" and name and name.isprintable() and len(name) <= 128:
            return text
        if kind == "header" and re.fullmatch("[a-z0-9][a-z0-9-]{0,62}", name):
            if name.encode() in CREDENTIAL_HEADERS:
                raise Wrong("is a header of credentials, not of names", f"write {self.says()}")
            return text
        if not colon or kind != "field" or not re.fullmatch(self.pattern, text):
            raise Wrong("does not say where", f"write {self.says()}")
        if name in UNTOUCHABLE:
            raise Wrong("names a field that says something else", f"write {self.says()}")
        return name

    def write(self, value: str) -> str:
        return value if not value or value.startswith(("claim:", "header:")) else f"field:{value}"


class Selector(NamedTuple):
    """`model@version`."""

    model: str
    version: str

    def __str__(self) -> str:
        return f"{self.model}@{self.version}"


class LanguageVersion(Word):
    """Which language the document is written in."""

    pattern = "1"

    def says(self) -> str:
        return "1"

    def parse(self, text: str) -> str:
        if text != "1":
            raise Wrong("is not a version of the language that this gateway reads", "write version: 1")
        return text


class Region(Name):
    """As Azure's command line writes it, or a name of one's own."""

    def says(self) -> str:
        return "a region such as westeurope"

    def parse(self, text: str) -> str:
        known = plain(text)
        if not self.matches(text) and known in areas():
            raise Wrong("is how people read it", self.hint, better=f"write {known}")
        return super().parse(text)


class ApiVersion(Text):
    """The date of an API."""

    def __init__(self) -> None:
        super().__init__("an API version such as 2024-10-21", 32, r"\d{4}-\d{2}-\d{2}(-preview)?")

    def parse(self, text: str) -> str:
        try:
            return super().parse(text)
        except Wrong as e:
            raise Wrong(
                e.what, "write 2024-10-21, or leave it out: only resources without /openai/v1 need it"
            ) from None


class Select(Word):
    """`gpt-4o@2024-11-20`."""

    pattern = r"[^@\s]+@[^@\s]+"

    def says(self) -> str:
        return "a selector such as gpt-4o@2024-11-20"

    def parse(self, text: str) -> Selector:
        if not re.fullmatch(self.pattern, text):
            hint = f"write {self.says()}, or a list of instance/deployment"
            alone = f"write [{text}] for this deployment alone, or {self.says()}" if text.count("/") == 1 else ""
            raise Wrong("does not say model and version", hint, better=alone)
        model, _, version = text.partition("@")
        return Selector(model, version)


class Member(Word):
    """`weu/gpt-4o`: an instance and its deployment."""

    pattern = r"[^/\s]+/[^/\s]+"

    def says(self) -> str:
        return "a deployment such as weu/gpt-4o"

    def parse(self, text: str) -> tuple[str, str]:
        if not re.fullmatch(self.pattern, text):
            raise Wrong("is not a deployment", "write instance/deployment, as they are called under instances:")
        instance, _, deployment = text.partition("/")
        return instance, deployment

    def write(self, value: tuple[str, str]) -> str:
        return "/".join(value)


class Leave(Word):
    """`abort`, or `finish 30s`: what goes on upstream when the client has left."""

    pattern = r"abort|finish [0-9.]+ ?(ms|s|m|h|d)"

    def says(self) -> str:
        return "abort, or finish and a time such as finish 30s"

    def parse(self, text: str) -> float:
        if text == "abort":
            return 0.0
        word, _, time = text.partition(" ")
        if word != "finish" or not time:
            raise Wrong("is not known here", f"write {self.says()}")
        value: float = Duration(least=0.001, most=3600).parse(time.strip())
        return value

    def write(self, value: float) -> str:
        return f"finish {Duration().write(value)}" if value else "abort"


class LogTarget(Word):
    """`stdout`, `stderr`, a path, or `none`, which is kept as nothing."""

    pattern = r"[^\x00-\x1f\x7f]+"

    def says(self) -> str:
        return "stdout, stderr, none, or a path to a file"

    def parse(self, text: str) -> str:
        if len(text) > 4096 or not re.fullmatch(self.pattern, text):
            raise Wrong("is not a path", f"write {self.says()}")
        return "" if text == "none" else text

    def write(self, value: str) -> str:
        return value or "none"
