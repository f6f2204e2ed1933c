"""Schema and reference page: both from the table, so both complete."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sluicegate.spec.describe import field_docs, first_line
from sluicegate.spec.kinds import Kind
from sluicegate.spec.language import Document
from sluicegate.spec.page import page
from sluicegate.spec.schema import schema
from sluicegate.spec.sections import Named, Section

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "config.md"


def sections(kind: Kind) -> Iterator[Section]:
    for _, found in kind.below():
        assert isinstance(found, Section)
        yield found
        for inner, _ in found.fields.values():
            yield from sections(inner)


def test_the_committed_page_is_what_the_program_prints():
    assert PAGE.read_text() == page(), "write it anew: sluicegate schema --page > docs/reference/config.md"


def test_every_section_and_every_field_says_what_it_is():
    for section in sections(Section(Document)):
        assert first_line(section.cls).endswith("."), section.cls
        docs = field_docs(section.cls)
        for key in section.fields:
            name = section.fields[key][1].name
            assert docs.get(name, "").endswith("."), f"{section.cls.__name__}.{key} has no docstring"
            assert key not in section.later


def test_no_key_is_missing_from_the_page_and_defaults_stand_on_it():
    text = page()
    for section in sections(Section(Document)):
        for key, (kind, field) in section.fields.items():
            row = re.search(rf"^\| `{key}` \|.*$", text, re.MULTILINE)
            assert row, key
            default = section.default(field)
            if default not in (None, "", ()) and not list(sections(kind)):
                assert f"| `{kind.write(default)}` |" in text


def test_defaults_can_be_written_as_the_page_shows_them():
    for section in sections(Section(Document)):
        for kind, field in section.fields.values():
            default = section.default(field)
            if default not in (None, "", ()) and hasattr(kind, "parse"):
                assert kind.parse(kind.write(default)) == default


def test_the_schema_knows_exactly_the_keys_of_the_language():
    def walk(part: dict[str, Any], section: Section) -> None:
        assert list(part["properties"]) == list(section.fields)
        assert part["additionalProperties"] is False
        assert part["required"] == section.required
        for key, (kind, _) in section.fields.items():
            if isinstance(kind, Section):
                walk(part["properties"][key], kind)
            if isinstance(kind, Named) and isinstance(kind.kind, Section):
                (inner,) = part["properties"][key]["patternProperties"].values()
                walk(inner, kind.kind)

    made = json.loads(json.dumps(schema()))
    assert made["$schema"].endswith("2020-12/schema")
    walk(made, Section(Document))


def test_every_pattern_of_the_schema_compiles_and_takes_its_default():
    def walk(part: Any) -> None:
        if isinstance(part, list):
            for item in part:
                walk(item)
        if isinstance(part, dict):
            if isinstance(part.get("pattern"), str):
                pattern = re.compile(part["pattern"])
                if isinstance(part.get("default"), str) and part["default"]:
                    assert pattern.search(part["default"]), part
            for item in part.values():
                walk(item)

    walk(schema())


def test_the_schema_takes_no_key_that_the_language_does_not():
    """An editor marks what loading refuses. Of `match` alone names are free: they are claims and headers."""
    closed = 0

    def walk(node: Any, path: tuple[str, ...] = ()) -> None:
        nonlocal closed
        if isinstance(node, dict):
            if node.get("type") == "object":
                closed += node.get("additionalProperties") is False
                assert node.get("additionalProperties") is False or "match" in path, path
            for key, value in node.items():
                walk(value, (*path, key))
        elif isinstance(node, list):
            for value in node:
                walk(value, path)

    walk(schema())
    assert closed > 50
