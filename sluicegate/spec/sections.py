"""How a declared dataclass is read: its annotations are the table.

A field's annotation says which kind reads it (`Annotated[float, Duration()]`), a field without default is required,
`later` on the class names the keys that belong to the language and do not work yet, and `bare` lets `{}` stand for all
defaults. A field called `from_` is the key `from`: Python has that word for itself. So a new section costs a
dataclass: errors, schema and reference page follow from it.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from sluicegate.spec.describe import field_docs, first_line
from sluicegate.spec.kinds import MISSING, Context, Flag, Kind, Name, Text, closest, quoted
from sluicegate.spec.nodes import WORDS, Mapping, Node, Scalar
from sluicegate.spec.nodes import Listing as ListNode
from sluicegate.spec.problems import Path


def otherwise(value: Any) -> Any:
    """A field that may be left out; `value` is what holds then, found by whoever merges (reference page, compiler)."""
    return dataclasses.field(default=None, metadata={"otherwise": value})


LATER = "belongs to the language and arrives later: leave it out for now"


class Keys:
    """In an annotation of a map: which names its keys may be, and what one entry is called."""

    def __init__(self, what: str, kind: Name | None = None) -> None:
        self.what = what
        self.kind = kind or Name()


class Section(Kind):
    """A map with known keys: a dataclass."""

    def __init__(self, cls: type) -> None:
        self.cls = cls
        self.later: tuple[str, ...] = getattr(cls, "later", ())
        self.instead: dict[str, str] = getattr(cls, "instead", {})
        "Keys that people know from elsewhere, and what to write instead."

    @property
    def fields(self) -> dict[str, tuple[Kind, dataclasses.Field[Any]]]:
        """Kind and dataclass field of every key."""
        return _fields(self.cls)

    @property
    def required(self) -> list[str]:
        """Keys without a default."""
        return [key for key, (_, f) in self.fields.items() if _required(f)]

    def says(self) -> str:
        return "a map of " + ", ".join(self.fields)

    def read(self, cx: Context, node: Node, path: Path) -> Any:
        values, lacking = self.values(cx, node, path)
        return MISSING if lacking else self.cls(**{self.fields[key][1].name: value for key, value in values.items()})

    def values(self, cx: Context, node: Node, path: Path) -> tuple[dict[str, Any], list[str]]:
        """The fields that could be read, and the required ones that could not; everything amiss was reported."""
        values: dict[str, Any] = {}
        required = self.required
        bare = getattr(self.cls, "bare", False) and isinstance(node, Mapping)
        if not bare and not _full_map(cx, node, path, self.says(), self.begin()):
            return values, [*required, ""]
        assert isinstance(node, Mapping)
        reserved = False
        for key, child in node.items.items():
            at = (*path, key)
            cx.keys[at] = node.keys[key]
            cx.values[at] = child.place
            if key in self.fields:
                value = self.fields[key][0].read(cx, child, at)
                if value is not MISSING:
                    values[key] = value
            elif key in self.later:
                cx.problems.add(node.keys[key], at, LATER)
                reserved = True
            else:
                other = self.instead.get(key, "")
                near = "" if other else closest(key, (*self.fields, *self.later))
                hint = other or ("" if near else f"known here: {', '.join(self.fields)}")
                cx.problems.add(node.keys[key], path, f"unknown key {quoted(key)}{near}", hint)
        lacking = [key for key in required if key not in values]
        for key in lacking:
            if key not in node.items and not reserved:  # what is reserved may well stand for what is missing
                kind = self.fields[key][0]
                cx.say(path, f"needs {key}", f"write {key}: {kind.says()}{_sketch(kind)}", key=True)
        return values, lacking

    def begin(self) -> str:
        """How such a map begins, for who wrote something else there."""
        first = next(iter((*self.required, *self.fields)))
        return f"write {first}: {self.fields[first][0].says()}"

    def schema(self) -> dict[str, Any]:
        docs = field_docs(self.cls)
        properties = {}
        for key, (kind, field) in self.fields.items():
            properties[key] = {**kind.schema(), "description": docs.get(field.name, "")}
            default = self.default(field)
            if default not in (None, ()):
                properties[key]["default"] = default if isinstance(default, bool | int) else kind.write(default)
        return {
            "type": "object",
            "description": first_line(self.cls),
            "additionalProperties": False,
            "required": self.required,
            "properties": properties,
        }

    def write(self, value: Any) -> str:
        said = []
        for key, (kind, f) in self.fields.items():
            held = getattr(value, f.name)
            if held is not None and held != f.default:
                said.append(f"{key}: {kind.write(held)}")
        return "{" + ", ".join(said) + "}"

    def below(self) -> Iterable[tuple[str, Kind]]:
        return [("", self)]

    @staticmethod
    def default(field: dataclasses.Field[Any]) -> Any:
        """What holds where the key is left out: None for nothing that could be written."""
        value = field.metadata.get("otherwise", field.default)
        return None if value is dataclasses.MISSING else value


class Named(Kind):
    """A map from names to things of one kind."""

    def __init__(self, keys: Keys, kind: Kind) -> None:
        self.keys = keys
        self.kind = kind

    def says(self) -> str:
        return f"a map from names to {self.keys.what}s"

    def read(self, cx: Context, node: Node, path: Path) -> Any:
        if not _full_map(cx, node, path, self.says(), self.begin(node)):
            return MISSING
        assert isinstance(node, Mapping)
        values = {}
        for key, child in node.items.items():
            at = (*path, key)
            cx.keys[at] = node.keys[key]
            cx.values[at] = child.place
            if self.keys.kind.matches(key):
                value = self.kind.read(cx, child, at)
                if value is not MISSING:
                    values[key] = value
            else:
                what = f"{quoted(key)} is not a name for a {self.keys.what}"
                cx.problems.add(node.keys[key], path, what, self.keys.kind.hint)
        return values

    def begin(self, node: Node) -> str:
        """How such a map begins, for who wrote something else there: a list, mostly."""
        if isinstance(node, ListNode):
            first = node.items[0] if node.items else None
            name = first.items.get("name") if isinstance(first, Mapping) else None
            text = name.text if isinstance(name, Scalar) and self.keys.kind.matches(name.text) else "NAME"
            return f"write the name and a colon instead of the dash: {text}:"
        return f"write NAME: and what belongs to this {self.keys.what}"

    def below(self) -> Iterable[tuple[str, Kind]]:
        return [(".NAME" + deeper, kind) for deeper, kind in self.kind.below()]

    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": False,
            "patternProperties": {f"^{self.keys.kind.pattern}$": self.kind.schema()},
        }


class Listing(Kind):
    """A list of one kind, not empty."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    def says(self) -> str:
        return f"a list, each item {self.kind.says()}"

    def read(self, cx: Context, node: Node, path: Path) -> Any:
        if not isinstance(node, ListNode):
            if not (isinstance(node, Scalar) and node.refused):
                cx.say(path, f"is {WORDS[type(node)]}, not {self.says()}", "write it in brackets: [one, two]")
            return MISSING
        if not node.items:
            cx.say(path, "is an empty list", f"write {self.says()}, or remove the key")
            return MISSING
        values = []
        for number, child in enumerate(node.items):
            cx.values[*path, number] = child.place
            value = self.kind.read(cx, child, (*path, number))
            if value is not MISSING:
                values.append(value)
        return tuple(values) if len(values) == len(node.items) else MISSING

    def write(self, value: Any) -> str:
        return "[" + ", ".join(self.kind.write(v) for v in value) + "]"

    def below(self) -> Iterable[tuple[str, Kind]]:
        return [("[]" + deeper, kind) for deeper, kind in self.kind.below()]

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.kind.schema(), "minItems": 1}


def _sketch(kind: Kind) -> str:
    """How an entry of a map looks, as far as it must."""
    if isinstance(kind, Named) and isinstance(kind.kind, Section) and kind.kind.required:
        return ", NAME: {" + ", ".join(f"{key}: ..." for key in kind.kind.required) + "}"
    return ""


def _full_map(cx: Context, node: Node, path: Path, says: str, begin: str) -> bool:
    if isinstance(node, Mapping) and node.items:
        return True
    if isinstance(node, Mapping) or (isinstance(node, Scalar) and node.empty):
        cx.say(path, "is empty", f"write {says}, or remove the key")
    elif not (isinstance(node, Scalar) and node.refused):
        cx.say(path, f"is {WORDS[type(node)]}, not {says}", begin)
    return False


def _required(f: dataclasses.Field[Any]) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


@cache
def _fields(cls: type) -> dict[str, tuple[Kind, dataclasses.Field[Any]]]:
    hints = get_type_hints(cls, include_extras=True)
    return {f.name.rstrip("_"): (kind_of(hints[f.name]), f) for f in dataclasses.fields(cls)}


def kind_of(hint: Any) -> Kind:
    """The kind that reads a field of this annotation."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        for extra in args[1:]:
            if isinstance(extra, Kind):
                return extra
            if isinstance(extra, Keys):
                return Named(extra, kind_of(get_args(args[0])[1]))
    elif origin in (typing.Union, types.UnionType):
        rest = [a for a in args if a is not type(None)]
        if len(rest) == 1:
            return kind_of(rest[0])
    elif origin is tuple:
        return Listing(kind_of(args[0]))
    elif isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return Section(hint)
    elif hint is str:
        return Text()
    elif hint is bool:
        return Flag()
    raise TypeError(f"no kind reads {hint!r}; write Annotated[..., Kind()]")
