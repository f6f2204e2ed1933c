"""Records to journal, and a journal on a disk that a test can fill."""

from sluicegate.core.events import Usage
from sluicegate.core.record import Attempt, UsageRecord
from sluicegate.link.journal import Journal

WALL = 1_790_000_000.0


def record(n: int, at: float = 100.0, model: str = "chat", consumer: int = 1) -> UsageRecord:
    made = UsageRecord(f"{n:032x}", "chat_completions", at)
    made.consumer, made.tenant, made.model, made.estimate = consumer, "default", model, 10 + n
    return made


def finish(made: UsageRecord, output: int = 7, deployment: int = 1) -> UsageRecord:
    attempt = Attempt(deployment, made.at + 0.25)
    attempt.status, attempt.ended_at = 200, made.at + 1.0
    made.attempts.append(attempt)
    made.usage = Usage(made.estimate, output, cached=3, reasoning=2)
    made.status, made.how, made.state, made.ended_at = 200, "done", "settled", made.at + 1.0
    made.first_token_at = made.at + 0.5
    return made


def journal(folder, **more) -> Journal:
    """With clocks that stand still and no thread."""
    given = {"wall": lambda: WALL, "now": lambda: 100.0, "spawn": lambda work: work(), "segment": 16 * 1024, **more}
    return Journal(str(folder), "node-1", "cafe", **given)
