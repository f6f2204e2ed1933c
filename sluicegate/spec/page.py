"""The reference page of the language, as Markdown. Written from the table, so it cannot say anything else.

docs/reference/config.md is this page: `sluicegate schema --page > docs/reference/config.md`; a test compares them.
"""

from __future__ import annotations

from collections.abc import Iterator

from sluicegate.spec.describe import field_docs, first_line
from sluicegate.spec.forms import AuthForm
from sluicegate.spec.kinds import Kind
from sluicegate.spec.language import Document
from sluicegate.spec.sections import Named, Section

_HEAD = """# Configuration reference

Every key that a configuration may have. Written by `sluicegate schema --page`; `sluicegate check -c FILE` tries a file.

Text has no type of its own, the field decides: `version: 0613` and `name: no` mean what they look like; truth values
are `true` and `false` only. Units are written, never implied. Tags, anchors, aliases and merge keys are refused, and
so is a key that is not on this page.

A value may hold references: `${env:NAME}`, `${env:NAME|default}` (for a variable that is unset or empty),
`${file:/path}` (the content, final newline dropped); `$${` is a literal `${`. Secrets are references and nothing else.

"""


def page() -> str:
    """The whole page."""
    return _HEAD + "\n".join(_section("(top)", Section(Document)))


def _section(name: str, section: Section) -> Iterator[str]:
    docs = field_docs(section.cls)
    title = "The document" if name == "(top)" else f"`{name}`"
    yield f"## {title}\n"
    yield f"{first_line(section.cls)}\n"
    yield "| key | | what |"
    yield "|---|---|---|"
    inner: list[tuple[str, Section]] = []
    for key, (kind, field) in section.fields.items():
        path = key if name == "(top)" else f"{name}.{key}"
        default = section.default(field)
        below = _below(path, kind)
        inner += below
        if key in section.required:
            state = "required"
        elif default is None or default == "" or below:
            state = ""
        else:
            state = f"default `{kind.write(default)}`"
        accepts = "" if below else f" {_sentence(kind.says())}"
        yield f"| `{key}` | {state} | {docs[key]}{accepts} |".replace("\n", " ")
    if section.later:
        yield f"\nArrives later: {', '.join(f'`{key}`' for key in section.later)}."
    yield ""
    for path, deeper in inner:
        yield from _section(path, deeper)


def _below(path: str, kind: Kind) -> list[tuple[str, Section]]:
    """The sections that a field opens."""
    if isinstance(kind, Section):
        return [(path, kind)]
    if isinstance(kind, Named):
        return _below(f"{path}.NAME", kind.kind)
    if isinstance(kind, AuthForm):
        return [(path, kind.map)]
    return []


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}.".replace("|", "\\|")
