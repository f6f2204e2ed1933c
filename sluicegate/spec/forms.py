"""Values that people may write in more than one shape."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sluicegate.spec.kinds import MISSING, Choice, Context, Kind, Name, PublicName, Text
from sluicegate.spec.nodes import Listing as ListNode
from sluicegate.spec.nodes import Node, Scalar
from sluicegate.spec.problems import Path
from sluicegate.spec.sections import Keys, Listing, Named
from sluicegate.spec.values import Member, Region, Select, Selector


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

    def write(self, value: Use) -> str:
        return str(value.selector) if value.selector else self._list.write(value.members)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self._select.schema(), self._list.schema()]}


class AllOr(Kind):
    """A word that means all, or a list of names."""

    def __init__(self, word: str, name: Name, what: str) -> None:
        self._word = word
        self._name = name
        self._what = what
        self._all = Choice([word])
        self._list = Listing(name)

    def says(self) -> str:
        return f"{self._what}, or {self._word}"

    def read(self, cx: Context, node: Node, path: Path) -> Any:
        if isinstance(node, Scalar) and node.text != self._word and not node.empty:
            if not node.refused:
                hint = f"write [{node.text}]" if self._name.matches(node.text) else ""
                cx.say(path, "is text, not " + self.says(), hint)
            return MISSING
        if isinstance(node, Scalar):
            return MISSING if self._all.read(cx, node, path) is MISSING else ("*",)
        return self._list.read(cx, node, path)

    def write(self, value: tuple[str, ...]) -> str:
        return self._word if value == ("*",) else self._list.write(value)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self._all.schema(), self._list.schema()]}


class Grants(AllOr):
    """`[chat, embed]`, or `all`."""

    def __init__(self) -> None:
        super().__init__("all", PublicName(), "a list of models such as [chat, embed]")


class Regions(AllOr):
    """`[westeurope, swedencentral]`, or `any`."""

    def __init__(self) -> None:
        super().__init__("any", Region(), "a list of regions such as [westeurope, swedencentral]")


class Labels(Kind):
    """`{cost_centre: 4711}`: names and free text."""

    _map = Named(Keys("label"), Text("text", 128))
    _name = re.compile(Name.pattern)
    _text = re.compile(r"[ -#%-~]{1,128}")

    @classmethod
    def plain(cls, value: Any) -> tuple[tuple[str, str], ...] | None:
        """What JSON says, if it is nothing but names and plain text: the usual case, read without detour."""
        if type(value) is dict and value:
            for name, text in value.items():
                if type(text) is not str or not cls._text.fullmatch(text) or not cls._name.fullmatch(name):
                    return None
            return tuple(sorted(value.items()))
        return None

    def says(self) -> str:
        return "a map of words such as {cost_centre: 4711}"

    def read(self, cx: Context, node: Node, path: Path) -> Any:
        labels = self._map.read(cx, node, path)
        return MISSING if labels is MISSING else tuple(sorted(labels.items()))

    def write(self, value: tuple[tuple[str, str], ...]) -> str:
        return "{" + ", ".join(f"{name}: {text}" for name, text in value) + "}"

    def schema(self) -> dict[str, Any]:
        return self._map.schema()
