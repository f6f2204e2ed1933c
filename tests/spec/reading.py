"""Loads configurations from text, for tests: what was found, as lines, and what it compiled to."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import dedent, indent

from sluicegate.core.snapshot import Directory, Snapshot
from sluicegate.spec.load import Loaded, load
from sluicegate.spec.problems import Severity
from sluicegate.spec.references import Sources

ENV = {"AOAI_KEY": "upstream-key-of-weu-0001", "APP_KEY": "key-of-my-app-0000000001", "SECRET": "s" * 64}

SMALLEST = """\
version: 1
gateway:
  secrets: ["${env:SECRET}"]
instances:
  weu:
    endpoint: https://contoso-weu.openai.azure.com
    auth:
      key: ${env:AOAI_KEY}
    deployments:
      gpt-4o: {model: gpt-4o, version: 2024-11-20}
models:
  chat:
    use: gpt-4o@2024-11-20
consumers:
  my-app:
    key: ${env:APP_KEY}
    models: [chat]
"""


def loaded(
    text: str | bytes, env: Mapping[str, str] | None = None, base: str = "/nowhere", start: bool = False
) -> Loaded:
    raw = text if isinstance(text, bytes) else dedent(text).encode()
    sources = Sources({**ENV, **(env or {})})
    return load(raw, "g.yaml", base, sources, ("chat_completions", "embeddings"), start)


def found(text: str | bytes, severity: Severity = "error", env: Mapping[str, str] | None = None) -> list[str]:
    """`line:column path: what | hint` of each finding."""
    lines = []
    for p in loaded(text, env).problems.of(severity):
        hint = f" | {p.hint}" if p.hint else ""
        path = f"{p.path}: " if p.path else ""
        lines.append(f"{p.place.line}:{p.place.column} {path}{p.what}{hint}")
    return lines


def compiled(text: str, env: Mapping[str, str] | None = None) -> tuple[Snapshot, Directory]:
    result = loaded(text, env)
    assert not result.problems.of("error"), result.problems.of("error")
    assert result.snapshot is not None and result.directory is not None
    return result.snapshot, result.directory


def gateway(more: str) -> str:
    """The smallest file with more lines in `gateway` (from line 4)."""
    return _after('  secrets: ["${env:SECRET}"]\n', more, 2)


def instance(more: str) -> str:
    """The smallest file with more lines in the instance (from line 9)."""
    return _after("      key: ${env:AOAI_KEY}\n", more, 4)


def deployments(more: str) -> str:
    """The smallest file with more deployments (from line 11)."""
    return _after("      gpt-4o: {model: gpt-4o, version: 2024-11-20}\n", more, 6)


def model(more: str) -> str:
    """The smallest file with more lines in the model (from line 14)."""
    return _after("    use: gpt-4o@2024-11-20\n", more, 4)


def consumer(more: str) -> str:
    """The smallest file with more lines in the consumer (from line 18)."""
    return _after("    models: [chat]\n", more, 4)


def bottom(more: str) -> str:
    """The smallest file with more sections (from line 18)."""
    return _after("    models: [chat]\n", more, 0)


def swapped(old: str, new: str) -> str:
    """The smallest file with one piece replaced."""
    assert SMALLEST.count(old) == 1, old
    return SMALLEST.replace(old, new)


def _after(line: str, more: str, depth: int) -> str:
    assert SMALLEST.count(line) == 1, line
    return SMALLEST.replace(line, line + indent(dedent(more), " " * depth) + ("" if more.endswith("\n") else "\n"))
