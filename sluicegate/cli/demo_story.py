"""What happens to the demo's fleet, over and over, and what is said about it: calm, spike, throttled, outage, recovery.

Pure: times come in, lines go out. The figures that are told are counted from answers, by the header that says which
deployment gave each; nothing is told that was not seen. tests/cli/test_demo_story.py plays the same phases in virtual
time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

PTU: Final = "weu/gpt-4o-ptu"


@dataclass(frozen=True, slots=True)
class Phase:
    """Some seconds of the story."""

    name: str
    for_s: float
    rate: float
    "Requests a second."
    says: str
    "What happens, and what to watch."
    throttled: bool = False
    "The provisioned deployment of weu says 429 all the time."
    down: bool = False
    "weu is gone."
    spills: bool = False
    "The first spillover is worth a line."


PHASES: Final = (
    Phase("calm", 6, 2, f"2 requests a second. Watch {PTU}: provisioned, so asked first, and there is room."),
    Phase("spike", 25, 10, f"10 requests a second. Watch {PTU} fill up; what it cannot take spills over to weu/gpt-4o.",
          spills=True),
    Phase("calm", 12, 2, f"the spike is over. Watch everything come home to {PTU}."),
    Phase("throttled", 18, 2, f"Azure throttles {PTU}. Watch weu/gpt-4o; nobody asks {PTU} before its time.",
          throttled=True),
    Phase("calm", 10, 2, "the time is up: home again, without a request that waited."),
    Phase("outage", 18, 2, "West Europe is gone. Watch the breakers of weu open, and sdc answer.",
          down=True),
    Phase("recovery", 12, 2, "West Europe is back. One request looks every 3 s; then weu serves again."),
)  # fmt: skip


class Answer(NamedTuple):
    """What a caller of the demo saw."""

    status: int
    "0: no answer at all."
    deployment: str
    attempts: int
    whole: bool
    "A stream may break off: then it ends in an error that the SDKs raise."


@dataclass(slots=True)
class Story:
    """Where the story is, and what was seen since the phase began. `pace`: so many times faster than written."""

    pace: float = 1.0
    began: float = 0.0
    number: int = -1
    "Phases begun, less one."
    since: float = 0.0
    spilled: bool = False
    seen: Counter[str] = field(default_factory=Counter)
    "Answers of this phase by deployment, and `refused`, `cut`, `failed`."

    @property
    def phase(self) -> Phase:
        return PHASES[self.number % len(PHASES)]

    def turn(self, now: float) -> list[str]:
        """What is told when a phase begins: what came of the last one, and what to watch. Nothing while none does."""
        told: list[str] = []
        if self.number < 0:
            self.began = now
        elif now < self.since + self.phase.for_s / self.pace:
            return told
        else:
            told = [self._result()]
        self.since = now
        self.number += 1
        self.spilled = False
        self.seen = Counter()
        return [*told, self._line(now, self.phase.name, self.phase.says)]

    def orders(self) -> list[tuple[str, str, dict[str, Any]]]:
        """What the simulator is told as the phase begins: method, path, document of its control API."""
        told: list[tuple[str, str, dict[str, Any]]] = []
        if self.number and PHASES[(self.number - 1) % len(PHASES)].down:
            told.append(("PATCH", "/config", {"instances": {"weu": {"mode": "up"}}}))
        if self.phase.throttled:
            fault = {"kind": "throttle", "instance": "weu", "deployment": "gpt-4o-ptu"}
            told.append(("POST", "/faults", {**fault, "for_s": self.phase.for_s / self.pace}))
        if self.phase.down:
            told.append(("PATCH", "/config", {"instances": {"weu": {"mode": "down"}}}))
        return told

    def saw(self, answer: Answer, asked: int, now: float) -> str:
        """Count the answer to a request of phase number `asked`; a line, where it is the first spillover of a spike.

        A good answer to a request of the phase before says nothing of this one; a bad one does."""
        if answer.status != 200:
            self.seen["refused" if answer.status else "failed"] += 1
        elif not answer.whole:
            self.seen["cut"] += 1
        elif asked == self.number:
            self.seen[answer.deployment] += 1
            if self.phase.spills and not self.spilled and answer.deployment != PTU and answer.attempts > 1:
                self.spilled = True
                words = f"the first: {PTU} said 429, and {answer.deployment} answered the same request at once"
                return self._line(now, "spillover", words)
        return ""

    def _result(self) -> str:
        seen = self.seen
        by = {name: count for name, count in seen.most_common() if "/" in name}
        served = sum(by.values())
        line = f"{served} answered" + (f": {', '.join(f'{name} {count}' for name, count in by.items())}" if by else "")
        away = served - by.get(PTU, 0)
        if away:
            line += f" ({away * 100 // served}% elsewhere than {PTU})"
        for name, words in (("refused", "refused"), ("cut", "broke off and said so"), ("failed", "without an answer")):
            if seen[name]:
                line += f"; {seen[name]} {words}"
        return f"{'':19}{line}"

    def _line(self, now: float, name: str, words: str) -> str:
        minutes, seconds = divmod(int(now - self.began), 60)
        return f"{minutes:>3}:{seconds:02}  {name:<9}  {words}"
