"""Moments, as they are written in a configuration and told to people: UTC unless something else is said."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from sluicegate.spec.kinds import Word
from sluicegate.spec.references import Wrong


def utc(at: float) -> str:
    """A wall time, to the second; 0 stands for never, and is told as nothing."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else ""


class Moment(Word):
    """`2026-12-31`, or `2026-12-31T18:00:00Z`: UTC unless it says otherwise."""

    pattern = r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.]{5,15}(Z|[+-][0-9:]{4,5})?)?"

    def says(self) -> str:
        return "a date or a time such as 2026-12-31"

    def parse(self, text: str) -> float:
        try:
            if not re.fullmatch(self.pattern, text):
                raise ValueError
            found = datetime.fromisoformat(text)
            found = found if found.tzinfo else found.replace(tzinfo=UTC)
            if found.timestamp() > 253402300799:  # 9999, in UTC: what is later cannot be shown
                raise ValueError
            return max(1.0, found.timestamp())  # 0 stands for never
        except (ValueError, OverflowError):
            raise Wrong("is no time", f"write {self.says()}, or 2026-12-31T18:00:00Z") from None
