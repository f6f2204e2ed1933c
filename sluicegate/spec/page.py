"""The reference page of the language, as Markdown. Written from the table, so it cannot say anything else.

docs/reference/config.md is this page: `sluicegate schema --page > docs/reference/config.md`; a test compares them.
"""

from __future__ import annotations

from collections.abc import Iterator

from sluicegate.spec.describe import field_docs, first_line
from sluicegate.spec.kinds import Kind
from sluicegate.spec.language import Document
from sluicegate.spec.sections import Named, Section

_HEAD = """# Configuration reference

Every key that a configuration may have. Written by `sluicegate schema --page`; `sluicegate check -c FILE` tries a file.

Text has no type of its own, the field decides: `version: 0613` and `name: no` mean what they look like; truth values
are `true` and `false` only. Units are written, never implied. Tags, anchors, aliases and merge keys are refused, and
so is a key that is not on this page.

A value may hold references: `${env:NAME}`, `${env:NAME|default}` (for a variable that is unset or empty),
`${file:/path}` (the content, final newline dropped); `$${` is a literal `${`. Secrets are references and nothing else;
they may stand in a key vault, too: `${keyvault:vault/secret}`, or `${keyvault:vault/secret/version}`.

| value | written |
|---|---|
| name | `web-shop`: a-z, 0-9, dot, dash, underscore, at most 63; models and deployments may use capitals |
| whole number, count | `3`, `60k`, `1.5M`, `2B`: powers of 1000, whole |
| duration | `500ms`, `2s`, `15m`, `24h`, `30d` |
| size | `64KiB`, `32MiB`, `1GB` |
| selector | `gpt-4o@2024-11-20`: model and version |
| capacity | `450k tokens/minute` |
| limit | `60k tokens/minute`, `600 requests/minute`, `20 concurrent`; per second, minute or hour |
| share | `30%` |
| path | relative ones start beside the configuration |

"""


def page() -> str:
    """The whole page."""
    shown: dict[type, str] = {}
    return _HEAD + "\n".join(_section("(top)", Section(Document), shown))


def _section(name: str, section: Section, shown: dict[type, str]) -> Iterator[str]:
    """The table of a section and of those below it. One that stands in several places is shown at the first."""
    docs = field_docs(section.cls)
    title = "The document" if name == "(top)" else f"`{name}`"
    shown[section.cls] = title
    yield f"## {title}\n"
    yield f"{first_line(section.cls)}\n"
    yield "| key | value | default | what |"
    yield "|---|---|---|---|"
    inner: list[tuple[str, Section]] = []
    soon: dict[type, str] = {}
    for key, (kind, field) in section.fields.items():
        start = key if name == "(top)" else f"{name}.{key}"
        below = [(start + deeper, found) for deeper, found in kind.below() if isinstance(found, Section)]
        inner += below
        default = section.default(field)
        state = "" if below or default in (None, "", ()) else f"`{kind.write(default)}`"
        state = "required" if key in section.required else state
        value = _short(kind)
        if below:
            there = _anchor(shown.get(below[0][1].cls) or soon.setdefault(below[0][1].cls, below[0][0]))
            word = "section" if isinstance(kind, Section | Named) else value
            value = f"[{word}](#{there})" if word == "section" else f"{word}; [map](#{there})"
        yield f"| `{key}` | {value} | {state} | {docs[field.name]} |".replace("\n", " ")
    if section.later:
        yield f"\nArrives later: {', '.join(f'`{key}`' for key in section.later)}."
    yield ""
    for path, deeper_section in inner:
        if deeper_section.cls not in shown:
            yield from _section(path, deeper_section, shown)


def _short(kind: Kind) -> str:
    """What is accepted, without examples: those of units and names stand at the top of the page."""
    return kind.says().split(" such as ")[0].replace("|", "\\|")


def _anchor(title: str) -> str:
    return "".join(c for c in title.lower() if c.isalnum() or c in "-_")
