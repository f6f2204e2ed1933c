"""A kind reads one value of the document: the field that a text stands in decides what it means.

Every kind can do four things: read a node, write a value back as people write it, say in a phrase what it accepts, and
give its JSON schema. Errors, `sluicegate schema` and the reference page come from these and nothing else.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final, Protocol

from sluicegate.spec.nodes import WORDS, Node, Scalar
from sluicegate.spec.problems import Path, Place, Problems, Severity
from sluicegate.spec.references import Sources, Wrong


class Missing:
    """The value could not be read; why was reported."""

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing()


class Elsewhere(Protocol):
    """Places that are found when somebody asks, because there are too many to keep."""

    def __contains__(self, name: object) -> bool: ...
    def place(self, path: Path, key: bool) -> Place: ...


class Context:
    """What reading needs and leaves: where references lead, what was wrong, and where each value and key stands."""

    def __init__(self, sources: Sources, problems: Problems, start: Place) -> None:
        self.sources = sources
        self.problems = problems
        self.start = start
        self.values: dict[Path, Place] = {}
        self.keys: dict[Path, Place] = {}
        self.sealed: dict[Path, str] = {}
        "Source text of values that came from a reference: shown in errors in place of the value."
        self.texts: dict[Path, Scalar] = {}
        "Expressions, for errors that stand inside them."
        self.elsewhere: Elsewhere | None = None
        "Consumers that stand in a file of their own."
        self.origin = ""
        "What ceilings and rules say of where they were written; empty: the object they stand in."

    def place(self, path: Path, key: bool = False) -> Place:
        """Where a value (or its key) stands; for what was never written, the nearest thing around it that was."""
        if self.elsewhere is not None and len(path) > 1 and path[0] == "consumers" and path[1] in self.elsewhere:
            return self.elsewhere.place(path, key)
        first, second = (self.keys, self.values) if key else (self.values, self.keys)
        for end in range(len(path), 0, -1):
            found = first.get(path[:end]) or second.get(path[:end])
            if found is not None:
                return found
            first, second = self.keys, self.values  # what is missing is missing from the thing with this name
        return self.start

    def say(self, path: Path, what: str, hint: str = "", severity: Severity = "error", key: bool = False) -> None:
        """Report a finding at the value of `path`, or at its key."""
        self.problems.add(self.place(path, key), path, what, hint, severity)

    def origin_of(self, path: Path) -> str:
        """Where a ceiling or rule was written, for refusals and explanations: `tenants.retail`."""
        return self.origin or ".".join(str(part) for part in path[:2])

    def shown(self, path: Path, text: str) -> str:
        """`text` for an error: in quotes, shortened, and as it stands in the file when it came from a reference."""
        return quoted(self.sealed.get(path, text))


def quoted(text: str) -> str:
    """Text of the document inside a sentence: one line, not endless."""
    if len(text) > 60:
        text = text[:57] + "..."
    return '"' + "".join(c if c.isprintable() else "?" for c in text) + '"'


def closest(name: str, names: Iterable[str]) -> str:
    """`; did you mean "x"?`, or nothing."""
    by_folded = {n.casefold(): n for n in names}
    found = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return f'; did you mean "{by_folded[found[0]]}"?' if found else ""


class Kind:
    """One way to read a node."""

    def read(self, cx: Context, node: Node, path: Path) -> Any:
        """The value, or MISSING after reporting why not."""
        raise NotImplementedError

    def says(self) -> str:
        """What it accepts, with its article: `a duration such as 30s`."""
        raise NotImplementedError

    def write(self, value: Any) -> str:
        """The value as people would write it."""
        return str(value)

    def schema(self) -> dict[str, Any]:
        """JSON schema, draft 2020-12."""
        raise NotImplementedError

    def below(self) -> Iterable[tuple[str, Kind]]:
        """The sections that it opens, each with what follows in the path: `("", s)` for itself, `(".NAME", s)`."""
        return ()


class Word(Kind):
    """A kind that is one piece of text, references allowed."""

    pattern: ClassVar[str] = ""
    "For the schema: what the text looks like, without anchors."
    hidden: ClassVar[bool] = False
    "It may be a secret: no error repeats it."

    def read(self, cx: Context, node: Node, path: Path) -> Any:
        if not isinstance(node, Scalar):
            cx.say(path, f"is {WORDS[type(node)]}, not {self.says()}")
            return MISSING
        if node.refused:
            return MISSING
        if node.empty:
            cx.say(path, "is empty", f"write {self.says()}, or remove the key")
            return MISSING
        try:
            text, referred = cx.sources.resolve(node.text)
            if referred:
                cx.sealed[path] = node.text
            return self.meant(text, referred)
        except Wrong as e:
            hint = e.better if e.better and path not in cx.sealed and not self.hidden else e.hint
            cx.say(path, f"{quoted(node.text)} {e.what}" if e.quoted and not self.hidden else e.what, hint)
            return MISSING

    def meant(self, text: str, referred: bool) -> Any:
        """The value, of text that stands there or that a reference led to. Raises Wrong."""
        return self.parse(text)

    def parse(self, text: str) -> Any:
        """The value. Raises Wrong, whose words do not repeat the text: it may be a secret in the wrong place."""
        raise NotImplementedError

    def schema(self) -> dict[str, Any]:
        if not self.pattern:
            return {"type": ["string", "number", "boolean"]}
        return {"type": ["string", "number"], "pattern": rf"^({self.pattern}|.*\$\{{.*)$"}


class Text(Word):
    """Free text, not empty, on one line."""

    def __init__(
        self, what: str = "text", longest: int = 256, allowed: str = r"[^\x00-\x1f\x7f\ud800-\udfff]+"
    ) -> None:
        self._what = what
        self._longest = longest
        self._allowed = re.compile(allowed)

    def says(self) -> str:
        return self._what

    def parse(self, text: str) -> str:
        if len(text) > self._longest:
            raise Wrong(f"is longer than {self._longest} characters")
        if not self._allowed.fullmatch(text):
            raise Wrong(f"is not {self._what}")
        return text


class Name(Word):
    """How other parts of the file, records and reports refer to an object."""

    pattern = r"[a-z0-9][a-z0-9._-]{0,62}"
    hint = "use a-z, 0-9, dot, dash and underscore, at most 63, beginning with a letter or digit"

    def says(self) -> str:
        return "a name such as web-shop"

    def matches(self, text: str) -> bool:
        """Whether this is such a name."""
        return re.fullmatch(self.pattern, text) is not None

    def parse(self, text: str) -> str:
        if not self.matches(text):
            raise Wrong("is not a name", self.hint)
        return text


class PublicName(Name):
    """What clients and Azure write: capitals are allowed."""

    pattern = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
    hint = "use letters, digits, dot, dash and underscore, at most 63, beginning with a letter or digit"

    def says(self) -> str:
        return "a name such as gpt-4o"


class QuotaGroup(Word):
    """Free words for a quota, such as a subscription, a region and a model."""

    pattern = r"[A-Za-z0-9][A-Za-z0-9._/@-]{0,200}"

    def says(self) -> str:
        return "a word such as ai-prod-1/gpt-4o"

    def parse(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise Wrong("is not one word", f"write {self.says()}")
        return text


class Flag(Word):
    """`true` or `false`, and no other spelling."""

    pattern = "true|false"

    def says(self) -> str:
        return "true or false"

    def parse(self, text: str) -> bool:
        if text not in ("true", "false"):
            raise Wrong("is not a truth value", "write true or false")
        return text == "true"

    def write(self, value: bool) -> str:
        return "true" if value else "false"


class Choice(Word):
    """One of some words; `later` are words of the language that do not work yet."""

    def __init__(self, names: Sequence[str], later: Sequence[str] = (), now: str = "") -> None:
        self._names = tuple(names)
        self._later = tuple(later)
        self._now = now or ", ".join(self._names)

    def says(self) -> str:
        return "one of " + ", ".join(self._names)

    def parse(self, text: str) -> str:
        if text in self._names:
            return text
        if text in self._later:
            raise Wrong("belongs to the language and arrives later", f"now: {self._now}")
        raise Wrong(f"is not known here{closest(text, self._names)}", f"write {self.says()}")

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [{"enum": list(self._names)}, {"type": "string", "pattern": r"\$\{"}]}
