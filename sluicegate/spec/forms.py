"""Values that people may write in more than one shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import Auth
from sluicegate.spec.kinds import MISSING, Choice, Context, Kind, PublicName
from sluicegate.spec.nodes import Listing as ListNode
from sluicegate.spec.nodes import Mapping, Node, Scalar
from sluicegate.spec.problems import Path
from sluicegate.spec.sections import Listing, Section
from sluicegate.spec.values import Hidden, Member, Select, Selector


@dataclass(frozen=True, slots=True)
class KeyAuth:
    """The gateway shows a key of the resource."""

    later: ClassVar = ("client_id", "tenant_id", "client_secret", "client_certificate")

    key: Annotated[Secret, Hidden("the resource's key")]
    "A reference to the key; it goes into the header that the provider wants."


class AuthForm(Kind):
    """`none`, or a map that says what we show."""

    _word = Choice(["none"], later=["managed_identity"], now="{key: ${env:NAME}}, or none")
    map = Section(KeyAuth)
    "The form that has keys of its own."

    def says(self) -> str:
        return "none, or {key: ${env:NAME}}"

    def read(self, cx: Context, node: Node, path: Path) -> Any:
        if isinstance(node, Mapping):
            shown = self.map.read(cx, node, path)
            return Auth("key", shown.key) if shown else MISSING
        return Auth() if self._word.read(cx, node, path) else MISSING

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self._word.schema(), self.map.schema()]}


@dataclass(frozen=True, slots=True)
class Use:
    """What a model is made of: a selector, or members by name."""

    selector: Selector | None = None
    members: tuple[tuple[str, str], ...] = ()


class UseForm(Kind):
    """`gpt-4o@2024-11-20`, or `[weu/gpt-4o, sdc/gpt-4o]`."""

    _select = Select()
    _list = Listing(Member())

    def says(self) -> str:
        return "a selector such as gpt-4o@2024-11-20, or a list such as [weu/gpt-4o, sdc/gpt-4o]"

    def read(self, cx: Context, node: Node, path: Path) -> Any:
        if isinstance(node, ListNode):
            members = self._list.read(cx, node, path)
            return MISSING if members is MISSING else Use(members=members)
        selector = self._select.read(cx, node, path)
        return MISSING if selector is MISSING else Use(selector=selector)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self._select.schema(), self._list.schema()]}


class Grants(Kind):
    """`[chat, embed]`, or `all`."""

    _all = Choice(["all"])
    _list = Listing(PublicName())

    def says(self) -> str:
        return "a list of models such as [chat, embed], or all"

    def read(self, cx: Context, node: Node, path: Path) -> Any:
        if isinstance(node, Scalar) and node.text != "all" and not node.empty:
            if not node.refused:
                hint = f"write [{node.text}]" if PublicName().matches(node.text) else ""
                cx.say(path, "is text, not " + self.says(), hint)
            return MISSING
        if isinstance(node, Scalar):
            return MISSING if self._all.read(cx, node, path) is MISSING else ("*",)
        return self._list.read(cx, node, path)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self._all.schema(), self._list.schema()]}
