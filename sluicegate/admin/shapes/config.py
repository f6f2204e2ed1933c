"""Configurations: what is in force, what loading one came to, what can be said of one that somebody sends."""

from __future__ import annotations

import msgspec


class Source(msgspec.Struct):
    """Where the configuration in force came from. `kind`: files (its own), or applied (sent by somebody)."""

    kind: str
    files: list[str]
    by: str
    at: str


class Reload(msgspec.Struct):
    """What loading a configuration came to. `state`: adopted, unchanged, refused. `restart`: what waits for the next
    start. `report`: what is wrong or worth knowing, for people."""

    state: str
    config: str
    report: str
    restart: list[str]


class File(msgspec.Struct, forbid_unknown_fields=True):
    """A file of a configuration."""

    name: str
    text: str


class Files(msgspec.Struct, forbid_unknown_fields=True):
    """A configuration; later files override earlier ones. `base`: where relative paths begin, for the owner only;
    empty: beside the gateway's own files."""

    files: list[File]
    base: str = ""


class Apply(msgspec.Struct, forbid_unknown_fields=True):
    """A configuration to put in force. `expect`: the hash of what was in force when it was looked at; another one is
    refused. Empty: whatever is in force."""

    files: list[File]
    base: str = ""
    expect: str = ""


class Problem(msgspec.Struct):
    """A finding. `severity`: error, warning, note."""

    severity: str
    file: str
    line: int
    column: int
    path: str
    what: str
    hint: str


class Checked(msgspec.Struct):
    """Whether a configuration can take effect."""

    valid: bool
    config: str
    problems: list[Problem]
    report: str


class Change(msgspec.Struct):
    """One change of objects that change alike. `effect`: live, new connections, restart."""

    names: list[str]
    what: str
    effect: str


class Diff(msgspec.Struct):
    """What a configuration would change, if it is valid; else `report` says everything that is wrong. `before`: hash of
    what is in force; `words`: the changes, for people."""

    valid: bool
    before: str
    after: str
    changes: list[Change]
    words: str
    report: str


class Effective(msgspec.Struct):
    """What is in force: objects by path, each field as it would be written, secrets as ***."""

    config: str
    source: Source
    objects: dict[str, dict[str, str]]
