"""What every source of tokens says: a token and how long it lasts, or why there is none.

Answers differ more than their documentation: `expires_on` is a number, a number in quotes or a date; `expires_in` may
be missing; some hand out what has ended. What is not understood is refused, and no answer is ever quoted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any, NamedTuple

from sluicegate.core.secret import Secret
from sluicegate.upstream.fetch import Answer, Unreachable

LONGEST = 16 * 1024
"""Bytes of a token: more does not fit into a header that anybody takes."""

YEAR_S = 366 * 86400.0
_TOKEN = re.compile(r"[!-~]+")
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_AADSTS = re.compile(r"AADSTS\d{3,8}")
_DATES = ("%m/%d/%Y %H:%M:%S %z", "%m/%d/%Y %I:%M:%S %p %z", "%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%d %H:%M:%S")

LATER_S = 60.0
"""After an answer that will be the same until somebody changes something."""


class Failed(Exception):
    """There is no token. The text says why, for people; `again_s`: not before that; None: as soon as is polite."""

    def __init__(self, what: str, again_s: float | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.again_s = again_s


class Fetched(NamedTuple):
    """A token. Seconds from now."""

    token: Secret
    life_s: float
    refresh_s: float | None = None
    "When its maker wants to be asked for the next one."


def fetched(document: Mapping[str, Any], wall: float, resource: str = "") -> Fetched:
    """What an answer holds. `resource`: what it must be for, where the answer says so. Raises Failed."""
    text = document.get("access_token", document.get("accessToken"))
    if not isinstance(text, str) or not _TOKEN.fullmatch(text):
        raise Failed("the answer has no token", LATER_S)
    if len(text) > LONGEST:
        raise Failed("the answer's token is longer than any header may be", LATER_S)
    kind = document.get("token_type", document.get("tokenType", "Bearer"))
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise Failed("the answer's token is no bearer token", LATER_S)
    said = document.get("resource")
    if resource and isinstance(said, str) and said.rstrip("/") != resource.rstrip("/"):
        raise Failed("the answer's token is for another resource", LATER_S)
    life = seconds(document.get("expires_in"))
    if life is None:
        end = moment(document.get("expires_on", document.get("expiresOn")))
        if end is None:
            raise Failed("the answer does not say how long its token lasts", LATER_S)
        life = end - wall
    refresh = seconds(document.get("refresh_in"))
    return Fetched(Secret(text), min(life, YEAR_S), refresh)


def seconds(value: Any) -> float | None:
    """A number, or a number in quotes; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if isfinite(found) else None


def moment(value: Any) -> float | None:
    """Seconds since 1970: as a number, in quotes, or as one of the dates that are about. None: not understood."""
    found = seconds(value)
    if found is not None or not isinstance(value, str) or len(value) > 64:
        return found
    for form in _DATES:
        try:
            at = datetime.strptime(value, form)  # noqa: DTZ007 - judged below
        except ValueError:
            continue
        # Without a zone: what `az` says, which is this machine's local time.
        return at.timestamp() if at.tzinfo else at.astimezone().timestamp()
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def refused(answer: Answer, who: str) -> Failed:
    """An answer that is none: its status and its codes, as far as they are plain words; never its text."""
    said = ""
    try:
        document = answer.document()
        error = document.get("error")
        if isinstance(error, Mapping):
            error = error.get("code")
        if isinstance(error, str) and _WORD.fullmatch(error):
            said = f" {error}"
        code = _AADSTS.search(str(document.get("error_description", ""))[:4096])
        if code:
            said += f" ({code[0]})"
    except Unreachable:
        pass
    again = seconds(answer.headers.get("retry-after"))
    transient = answer.status in (404, 408, 410, 429) or answer.status >= 500
    if again is None or not 0 < again <= 600:
        again = None if transient else LATER_S
    return Failed(f"{who} answered {answer.status}{said}", again)
