"""Consumers: of files and of the API alike."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from sluicegate.spec.made import schema


class ConsumerInfo(msgspec.Struct):
    """Who may ask. `grant`: what it has, each field as it would be written; `keys`: those in force. `origin`: file, or
    api (made while the gateway runs)."""

    name: str
    tenant: str
    models: list[str]
    grant: dict[str, str]
    keys: list[str]
    origin: str
    disabled: bool


class Consumers(msgspec.Struct):
    """By name; with `more` the next page is `?after=` the last of these."""

    consumers: list[ConsumerInfo]
    more: bool


class Page(msgspec.Struct, forbid_unknown_fields=True):
    """Which part of a long list."""

    after: str = ""
    most: int = 100


class NewConsumer:
    """A consumer: what its section in a file would say, `name`, and `disabled`."""

    raw: ClassVar[bool] = True

    @staticmethod
    def schema() -> dict[str, Any]:
        """JSON schema."""
        found = schema()
        rests = {"type": "boolean", "description": "Nobody gets in with its keys.", "default": False}
        return {**found, "title": "NewConsumer", "properties": {**found["properties"], "disabled": rests}}


class KeyShown(msgspec.Struct):
    """A key of a consumer: what it is called. `made`, `by`, `expires`: empty for those of a file."""

    key: str
    made: str
    by: str
    expires: str
    disabled: bool


class Consumer(msgspec.Struct):
    """A consumer. `origin`: file (changed there only), or api; `fields`: what was sent, for those of the API; `grant`:
    what it has, its plan's included, empty while it is disabled; `version`: as in the ETag, 0 for those of a file."""

    name: str
    tenant: str
    origin: str
    version: int
    disabled: bool
    fields: dict[str, Any]
    grant: dict[str, str]
    keys: list[KeyShown]
    made: str
    made_by: str
    changed: str
    changed_by: str


class ConsumersExport(msgspec.Struct):
    """Each as a line of a `directory` file."""

    consumers: list[dict[str, Any]]


class Removed(msgspec.Struct):
    """It is gone."""

    name: str
    removed: bool
