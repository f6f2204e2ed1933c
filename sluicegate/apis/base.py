"""What an API row is: everything the driver needs to know of one wire operation. Pure; one file per operation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol

from sluicegate.core.events import Facts, Usage
from sluicegate.core.ports import Chunk, Meter
from sluicegate.wire.refusal import error_body

__all__ = ["FOUNDRY", "OPENAI", "PROVIDERS_OF_OPENAI", "Api", "BadRequest", "Bases", "Malformed", "error_body"]


class BadRequest(Exception):
    """The request's body cannot be accepted. `reason` is a name of core/refusals.py, `message` is for the client."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message


class Malformed(Exception):
    """An upstream's answer is not what this operation answers. `cause` is a dotted name (`answer.json` ...)."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


Bases = tuple[tuple[str, bool], ...]
"""Families of URLs: what stands before a row's path, and whether an api-version of such a URL may be a date."""

OPENAI: Final[Bases] = (("/openai", True), ("/openai/v1", False), ("/v1", False))
"""Where OpenAI's operations lie, Azure's way and OpenAI's own."""

FOUNDRY: Final = "/models"
"""Where Foundry's inference API lies, which azure-ai-inference speaks. The versions in these URLs are its own."""

PROVIDERS_OF_OPENAI: Final[tuple[str, ...]] = ("azure_openai", "openai_compatible", "foundry")
"""Who serves most of them."""


class Api(Protocol):
    """One row of APIS."""

    name: ClassVar[str]
    "Operation name, as in a model's `operations` and in records: `chat_completions`."
    method: ClassVar[str]
    deployment_path: ClassVar[str]
    "Below `/openai/deployments/{deployment}` of a dated URL: `/chat/completions`. Empty: not there."
    model_path: ClassVar[str]
    "Below each of `bases`, where the body names the model: `/chat/completions`."
    bases: ClassVar[Bases]
    "Families of URLs in which it lies: OPENAI, and what comes on top."
    providers: ClassVar[tuple[str, ...]]
    "Names of the rows of PROVIDERS whose instances have it."
    takes: ClassVar[str]
    "What its request body is: `json`, `form` (multipart) or `nothing`."
    everywhere: ClassVar[bool]
    "Every instance of its providers has it: where it is not found, the deployment is missing, not the operation."
    repeatable: ClassVar[bool]
    "Leaves nothing behind: may be sent again after a reset."
    unmetered: ClassVar[str]
    "Why nothing of it is counted but the request; empty: tokens are."
    dialect: ClassVar[str]
    "Whose errors its clients read (wire/refusal.py): `openai` or `anthropic`."

    def fields(self, body: Chunk) -> Mapping[str, Any]:
        """The body's top-level fields, values raw. Raises BadRequest."""

    def facts(self, fields: Mapping[str, Any], body: Chunk) -> Facts:
        """What the fields decide. Raises BadRequest (`request.invalid_field`) on wrong types of deciding fields."""

    def body(
        self, body: Chunk, fields: Mapping[str, Any], facts: Facts, model: str | None, usage: bool,
        put: dict[str, bytes] | None = None,
    ) -> Chunk:  # fmt: skip
        """The body to send: the very same buffer when nothing changes, else rebuilt from the fields, untouched values
        byte for byte. `model`: name to put in its `model` field, None: leave it. `usage`: the upstream accepts
        `stream_options`, so ask for usage if the client streams and did not. `put`: JSON values for other fields."""

    def meter(self, facts: Facts, asked: bool) -> Meter:
        """A fresh meter for a streamed answer. `asked`: the gateway injected include_usage, so strip what it caused."""

    def answer(self, body: Chunk) -> Usage | None:
        """Check a whole 2xx answer and read its usage; None when it says none. Raises Malformed."""

    def tail(self, tail: bytes) -> Usage | None:
        """Usage from the last bytes of an answer too large to hold; Malformed when they cannot be its end."""


class FormApi(Api, Protocol):
    """A row that takes forms (`takes` is `form`): they are passed on while they are read."""

    decides: ClassVar[frozenset[str]]
    "Fields that are read, and may stand in a form once."
    or_json: ClassVar[bool]
    "It takes a JSON body, too."

    def form(self, fields: Mapping[str, bytes], names: Sequence[str], size: int) -> Facts:
        """What a form decides, with its `special`. `fields`: as far as they are known, `names`: of all its parts so
        far, `size`: of the form, as far as that is known. Raises BadRequest."""
