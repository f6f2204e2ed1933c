"""What was found lately, in bounded room: a table in two halves. What is asked for moves to the young half; when that
is full it becomes the old one, and what was old is forgotten. So what is used stays, for one look-up each."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Recent(Generic[T]):
    """At most `most` things that weigh `weight` bytes together."""

    __slots__ = ("_half", "_half_weight", "_old", "_weighs", "_young")

    def __init__(self, most: int, weight: int) -> None:
        self._half = most // 2
        self._half_weight = weight // 2
        self._young: dict[bytes, tuple[T, int]] = {}
        self._old: dict[bytes, tuple[T, int]] = {}
        self._weighs = 0

    def __len__(self) -> int:
        return len(self._young) + sum(mark not in self._young for mark in self._old)

    def get(self, mark: bytes) -> T | None:
        """What was put there."""
        held = self._young.get(mark)
        if held is None:
            held = self._old.get(mark)
            if held is None:
                return None
            self._keep(mark, held)
        return held[0]

    def put(self, mark: bytes, thing: T, weight: int) -> None:
        """Instead of what was there."""
        self.drop(mark)
        self._keep(mark, (thing, weight))

    def drop(self, mark: bytes) -> None:
        """Nothing is there any more."""
        self._old.pop(mark, None)
        held = self._young.pop(mark, None)
        if held is not None:
            self._weighs -= held[1]

    def clear(self) -> None:
        """All of it."""
        self._young, self._old, self._weighs = {}, {}, 0

    def _keep(self, mark: bytes, held: tuple[T, int]) -> None:
        if self._young and (len(self._young) >= self._half or self._weighs + held[1] > self._half_weight):
            self._old, self._young, self._weighs = self._young, {}, 0
        self._young[mark] = held
        self._weighs += held[1]
