"""What a model offers: the operations of its family that all its members' servers have; or what somebody wrote.

The family comes from the book of models. A model that the book does not know, a server's own or a fine-tuned one,
offers whatever its servers may have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from sluicegate.apis import APIS
from sluicegate.apis.base import OPENAI
from sluicegate.spec.book import families
from sluicegate.spec.kinds import Word
from sluicegate.spec.references import Wrong

OF: Final = {"chat": ("chat_completions",), "messages": ("messages", "count_tokens")}
"""Operations of the book's words; the other words are names of operations with a dot."""

LATER: Final = ("batches", "files", "fine_tuning", "ocr", "realtime", "rerank", "responses", "videos")

PASSED: Final = re.compile(r"POST (?:/[a-z0-9_][a-z0-9_.-]{0,62}){1,6}")
"""An operation that we do not know, called by its method and path."""

_FIRST: Final = ("deployments", "models", "v1")
"""How no such path may begin: below `/openai` it would be another one."""


class Operation(Word):
    """An operation, by its name, or by its method and path."""

    pattern = rf"[a-z0-9][a-z0-9._-]{{0,62}}|{PASSED.pattern}"

    def says(self) -> str:
        return "an operation such as embeddings"

    def parse(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise Wrong("is not an operation", "write a name such as embeddings, or POST and a path such as /audio/mix")
        return text


def problem(operation: str) -> tuple[str, str] | None:
    """What is wrong with an operation that is called by its path, and what to do about it."""
    path = operation.partition(" ")[2]
    for row in APIS.values():
        if path in (row.model_path, row.deployment_path):
            return f"is {row.name}", f"write {row.name}"
    if path.split("/")[1] in _FIRST:
        return "begins as a family of URLs does", "write what follows /openai/v1, such as POST /audio/mix"
    return None


def called(path: str) -> list[str]:
    """What a model that offers an unknown operation at this path calls it."""
    names = (f"POST {path.removeprefix(base)}" for base, _ in OPENAI if path.startswith(base + "/"))
    return [name for name in names if PASSED.fullmatch(name) and problem(name) is None]


def has(operation: str, provider: str) -> bool:
    """Whether servers of this kind have it."""
    row = APIS.get(operation)
    return row is None or provider in row.providers


def offered(known: Sequence[str], models: Iterable[str], providers: Iterable[str]) -> tuple[str, ...]:
    """What a model offers whose members are these models on servers of these kinds."""
    kinds = set(providers)
    wanted: set[str] | None = None
    for model in set(models):
        words = families(model)
        if words:
            own = {name for word in words for name in OF.get(word, (word.replace(".", "_"),))}
            wanted = own if wanted is None else wanted & own
    return tuple(
        name for name in known if (wanted is None or name in wanted) and all(has(name, provider) for provider in kinds)
    )
