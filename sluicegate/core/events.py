"""What the world tells an exchange.

Every event has `.at` (monotonic seconds). None holds a transport or another live thing: all can be recorded and
replayed. An exchange gets `Head` first, then one answer for each action it yields; `Gone` may answer any action
but `Relay` (there `Ended` says gone, with the usage so far).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from sluicegate.core.caller import Shown

Sent = Literal["nothing", "some", "all"]
"""How much of a request had reached the upstream's socket when an attempt failed: decides whether a retry is lawful."""

How = Literal["done", "cut", "idle", "gone", "drained", "refused", "revoked", "slow_reader"]
"""How a relayed answer ended. `done` is the only one that is a success."""


_CLASSES: Final = ("cache_write", "cached", "input", "output", "reasoning")


class Usage:
    """Disjoint token counts of one answer; None means "not said", which is not 0.

    Disjoint: `input` excludes `cached` and `cache_write`, `output` excludes `reasoning`. Their sum is what the
    provider called the total.
    """

    __slots__ = ("cache_write", "cached", "hour", "input", "media", "output", "reasoning", "tier")

    def __init__(
        self, input: int = 0, output: int = 0, cached: int = 0, cache_write: int = 0, reasoning: int = 0,
        tier: str = "", hour: int = 0,
    ) -> None:  # fmt: skip
        self.input = input
        self.output = output
        self.cached = cached
        self.cache_write = cache_write
        self.reasoning = reasoning
        self.tier = tier
        "Of the service, as the answer says it: another one has another price. Empty: it did not say."
        self.hour = hour
        "How many of `cache_write` are kept for an hour, which has a price of its own."
        self.media: Mapping[str, int] | None = None
        "Of these tokens, those that have a price of their own (`audio_input`, `image_output` ...), and what is no"
        " token at all (`image`, `character`); None: all of it is text. Classes are those of price books."

    @property
    def total_input(self) -> int:
        """All prompt tokens, cached ones included."""
        return self.input + self.cached + self.cache_write

    @property
    def total_output(self) -> int:
        """All completion tokens, reasoning included."""
        return self.output + self.reasoning

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Usage) and all(getattr(self, n) == getattr(other, n) for n in _CLASSES)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, n) for n in _CLASSES))

    def __repr__(self) -> str:
        return "Usage(" + ", ".join(f"{n}={getattr(self, n)}" for n in _CLASSES) + ")"


JSON: Final = "json"
BYTES: Final = "bytes"
TEXT: Final = "text"
"""What an answer that is not streamed is, see Special."""


class Special:
    """In what a request differs from text in JSON, both ways."""

    __slots__ = ("a_token", "answers", "expected", "form", "input_class", "once", "open", "output_class", "units")

    def __init__(
        self,
        answers: str = JSON,
        a_token: int = 4,
        input_class: str = "",
        output_class: str = "",
        units: Mapping[str, int] | None = None,
        expected: int | None = None,
    ) -> None:
        self.answers = answers
        "JSON, BYTES (audio) or TEXT (subtitles), where the answer is not streamed."
        self.a_token = a_token
        "So many bytes of the answer are about a token of output, where nobody says how many there are."
        self.input_class = input_class
        self.output_class = output_class
        "Of price books, for estimated tokens; empty: they are text."
        self.units: Mapping[str, int] = {} if units is None else units
        "What is billed besides tokens, known from the request: characters."
        self.expected = expected
        "Tokens of a whole answer that does not say, where its bytes tell nothing: images that are a URL."
        self.form = False
        "The body is a form that is passed on while it is read."
        self.open = False
        "Of such a form more is to come, other fields among it."
        self.once = False
        "What was passed on of it was more than is kept: it cannot be sent again."

    def media(self, input: int, output: int) -> dict[str, int] | None:
        """Usage.media of estimated tokens."""
        found = dict(self.units)
        if self.input_class:
            found[self.input_class] = input
        if self.output_class:
            found[self.output_class] = output
        return found or None


class Facts:
    """What a request body decides: read once from its top-level fields, never from the rest."""

    __slots__ = (
        "asked_usage", "best_of", "estimate", "images", "max_output", "media", "model", "n", "special", "stream",
        "tools",
    )  # fmt: skip

    def __init__(
        self,
        model: str | None = None,
        stream: bool = False,
        max_output: int | None = None,
        n: int = 1,
        estimate: int = 0,
        tools: bool = False,
        images: int = 0,
        asked_usage: bool = False,
        media: int = 0,
    ) -> None:
        self.model = model
        "The body's `model`, None when absent. The path decides where it names one."
        self.stream = stream
        self.max_output = max_output
        self.n = n
        self.best_of = 0
        "How many choices are generated for `n` of them to be kept; 0: as many. All of them are billed."
        self.estimate = estimate
        "Input tokens, estimated from bytes."
        self.media = media
        "How many of them are images, audio and files: counted by what they are, whatever text turns out to be."
        self.tools = tools
        self.images = images
        self.asked_usage = asked_usage
        "The client itself asked for `stream_options.include_usage`: the usage chunk is its own, do not strip it."
        self.special: Special | None = None
        "None: the request and its answer are text in JSON."


class AnswerFacts:
    """What an upstream's answer decides, read from its head and, where it was small and whole, its body."""

    __slots__ = ("cause", "code", "region", "retry_after", "spilled", "utilisation")

    def __init__(
        self,
        cause: str = "",
        retry_after: float | None = None,
        code: str = "",
        utilisation: float | None = None,
        region: str = "",
        spilled: tuple[str, str, str] | None = None,
    ) -> None:
        self.cause = cause
        "Why this answer is not a success, as a stable dotted name (`upstream.throttled.rate` ...); empty: fine."
        self.retry_after = retry_after
        "Seconds until the upstream wants to be asked again; None when it did not say or said nonsense."
        self.code = code
        "The `error.code` of the body, for the decision trail."
        self.utilisation = utilisation
        "Share of a provisioned deployment in use, 0.0 to 1.0 and beyond; None on standard ones."
        self.region = region
        self.spilled = spilled
        "The platform itself sent it on: the names of the deployments that refused and that served, and the status of"
        " the refusal."


class Head:
    """A request head was read and is well formed. Nothing of its body was read yet."""

    __slots__ = (
        "api", "api_version", "at", "chance", "credentials", "headers", "id", "path_model", "peer", "repeatable",
        "retries",
    )  # fmt: skip

    def __init__(
        self,
        at: float,
        id: str,
        api: str,
        path_model: str | None,
        api_version: str | None,
        credentials: Shown,
        headers: Sequence[tuple[bytes, bytes]],
        peer: str,
        chance: float,
        repeatable: bool = True,
        retries: int = 0,
    ) -> None:
        self.at = at
        self.id = id
        "128-bit time-ordered id in hex, made at the head, shown as x-sluicegate-request-id."
        self.api = api
        "Name of the row in APIS."
        self.path_model = path_model
        "Deployment segment of the path, None where the body names the model."
        self.api_version = api_version
        "The client's `api-version` of a dated URL; None for an undated one."
        self.credentials = credentials
        self.headers = headers
        "Allow-listed request headers only, lower-case names."
        self.peer = peer
        "The client's address, where records are to say it; else empty."
        self.chance = chance
        "One float in [0, 1), drawn at the edge: the only dice an exchange has."
        self.repeatable = repeatable
        "The operation leaves nothing behind: it may be sent again when it is not known whether it arrived."
        self.retries = retries
        "Not 0: the client's SDK asked the same before (`x-stainless-retry-count`)."


class Body:
    """The request body is complete and readable."""

    __slots__ = ("at", "facts", "fields", "size")

    def __init__(self, at: float, facts: Facts, size: int, fields: Mapping[str, Any] | None = None) -> None:
        self.at = at
        self.facts = facts
        self.size = size
        self.fields = {} if fields is None else fields
        "The top-level fields, values as JSON text (`bytes` of them copies): for rules about parameters only."


class Refused:
    """The request itself cannot be accepted (too large, not JSON, too slow): answers `Read`, and `Send` where the rest
    of a form that is passed on turned out so."""

    __slots__ = ("at", "message", "reason")

    def __init__(self, at: float, reason: str, message: str) -> None:
        self.at = at
        self.reason = reason
        self.message = message


class Responded:
    """An answer that may be committed to the client.

    Not streamed and up to 1 MiB: the whole answer, complete and well formed. Streamed: the first complete event that
    is not an error. Above 1 MiB: its first mebibyte. Error statuses arrive here too, whole, with `facts.cause`.
    """

    __slots__ = ("at", "facts", "status", "whole")

    def __init__(self, at: float, status: int, facts: AnswerFacts, whole: bool) -> None:
        self.at = at
        self.status = status
        self.facts = facts
        self.whole = whole


class Failed:
    """An attempt ended without anything to commit."""

    __slots__ = ("at", "cause", "passed", "sent")

    def __init__(self, at: float, cause: str, sent: Sent, passed: int | None = None) -> None:
        self.at = at
        self.cause = cause
        self.sent = sent
        self.passed = passed
        "Output tokens that came, about; None: as far as we know the upstream did not work on it."


class Turn:
    """A long exchange reached a point to look again: who may ask changed while its answer streams. `Relay` again to go
    on, `Cut` to end it."""

    __slots__ = ("at", "usage")

    def __init__(self, at: float, usage: Usage | None) -> None:
        self.at = at
        self.usage = usage


class Ended:
    """A relayed answer is over. The last bytes leave for the client when the generator returns, not before."""

    __slots__ = ("at", "estimated", "first_token_at", "how", "usage")

    def __init__(
        self, at: float, usage: Usage | None, how: How, estimated: bool = False, first_token_at: float | None = None
    ) -> None:
        self.at = at
        self.usage = usage
        self.how = how
        self.estimated = estimated
        "The counts are ours, from the bytes that passed: the upstream never said its own."
        self.first_token_at = first_token_at


class Answered:
    """An `Ask` was answered, or nobody will."""

    __slots__ = ("at",)

    def __init__(self, at: float) -> None:
        self.at = at


class Resumed:
    """A `Wait` is over: granted by its gate, or its time was up."""

    __slots__ = ("at", "granted")

    def __init__(self, at: float, granted: bool) -> None:
        self.at = at
        self.granted = granted


class Gone:
    """The client went away."""

    __slots__ = ("at", "sent")

    def __init__(self, at: float, sent: Sent = "nothing") -> None:
        self.at = at
        self.sent = sent
        "How much of the attempt that was under way may have reached the upstream."


Event = Head | Body | Refused | Responded | Failed | Turn | Ended | Answered | Resumed | Gone
EVENTS: Final = (Head, Body, Refused, Responded, Failed, Turn, Ended, Answered, Resumed, Gone)
