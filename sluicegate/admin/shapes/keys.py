"""Keys of consumers: what they are called, and once, what they are."""

from __future__ import annotations

import msgspec


class KeyInfo(msgspec.Struct):
    """A key of a consumer: what it is called, never what it is. `declared`: the configuration still has it; `expires`:
    until when it holds, empty: for ever."""

    consumer: str
    key: str
    revoked: bool
    declared: bool
    by: str
    at: str
    expires: str


class Keys(msgspec.Struct):
    """By consumer; with `more` the next page is `?after=` the last consumer of these."""

    keys: list[KeyInfo]
    more: bool


class KeyPage(msgspec.Struct, forbid_unknown_fields=True):
    """Of which consumer, and which part of a long list."""

    consumer: str = ""
    after: str = ""
    most: int = 100


class KeyAsked(msgspec.Struct, forbid_unknown_fields=True):
    """A new key. `expires`: a date or a time, UTC unless it says otherwise; empty: never."""

    expires: str = ""


class KeyChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is other about a key. `expires` empty: it never does."""

    disabled: bool | None = None
    expires: str | None = None


class KeyState(msgspec.Struct):
    """A key as it is now."""

    consumer: str
    key: str
    made: str
    by: str
    expires: str
    disabled: bool


class NewKey(msgspec.Struct):
    """A key, once: `text` is shown now and kept nowhere."""

    consumer: str
    key: str
    text: str
    made: str
    by: str
    expires: str
    disabled: bool


class RemovedKey(msgspec.Struct):
    """It is gone."""

    consumer: str
    key: str
    removed: bool


class Revoke(msgspec.Struct, forbid_unknown_fields=True):
    """Which key."""

    consumer: str
    key: str


class RevokedKey(msgspec.Struct):
    """It is refused by all workers. `kept`: it stays so across restarts. `silent`: workers that did not say so within
    a second."""

    consumer: str
    key: str
    kept: bool
    silent: list[int]
