"""The operations we speak, and which of them a request line means.

Matched on the raw path, byte for byte: nothing is decoded, collapsed or rebuilt, so `..`, `//`, `;x` and `%2f` are
simply not in the table, and what was authorised is what was routed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple, cast

from sluicegate.apis.audio_speech import AudioSpeech
from sluicegate.apis.audio_transcriptions import AudioTranscriptions
from sluicegate.apis.audio_translations import AudioTranslations
from sluicegate.apis.base import FOUNDRY, Api
from sluicegate.apis.chat_completions import ChatCompletions
from sluicegate.apis.completions import Completions
from sluicegate.apis.count_tokens import CountTokens
from sluicegate.apis.embeddings import Embeddings
from sluicegate.apis.images_edits import ImagesEdits
from sluicegate.apis.images_generations import ImagesGenerations
from sluicegate.apis.messages import Messages
from sluicegate.apis.moderations import Moderations
from sluicegate.apis.passing import Passing
from sluicegate.wire.refusal import OPENAI

_ROWS: tuple[Api, ...] = (
    ChatCompletions(), Completions(), Embeddings(), Moderations(), Messages(), CountTokens(), ImagesGenerations(),
    ImagesEdits(), AudioSpeech(), AudioTranscriptions(), AudioTranslations(),
)  # fmt: skip

APIS: Final[dict[str, Api]] = {row.name: row for row in _ROWS}


def rows(operations: Iterable[str] = ()) -> list[Api]:
    """All rows, and one for each of these operations that is called by its method and path."""
    passed = dict.fromkeys(name for name in operations if " " in name)
    return [*APIS.values(), *(cast(Api, Passing(name)) for name in passed)]


DEPLOYMENTS: Final = "/openai/deployments/{model}"

_DEPLOYMENT: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VERSION: Final = re.compile(rb"(\d{4}-\d{2}-\d{2}(?:-preview)?)|(preview|latest)|v1")


class Match(NamedTuple):
    """What a request line means."""

    api: Api
    path_model: str | None
    "The deployment segment; None where the body names the model."
    api_version: str | None
    "A date of a dated URL; `preview` or `latest` of any; None: undated. After `models/`: of Foundry's inference API."
    base: str
    "Of the row's bases the one that it came by, or DEPLOYMENTS."


class _Place(NamedTuple):
    """One row in one family of URLs."""

    api: Api
    dated: bool
    base: str


class Paths:
    """Index over the rows. `match` costs 0.1 us for a request line seen before, up to 1.4 us else."""

    __slots__ = ("_dialects", "_exact", "_seen", "_with_model")

    SEEN_MOST: Final = 1024
    SEEN_BYTES: Final = 256

    def __init__(self, rows: Iterable[Api]) -> None:
        rows = tuple(rows)
        self._exact: dict[bytes, dict[str, _Place]] = {}
        "Whole paths, by method."
        self._with_model: dict[bytes, dict[bytes, dict[str, _Place]]] = {}
        "Paths that name the model: what stands before it and after it, by method."
        for row in rows:
            for base, dated in row.bases:
                self._add(base, row.model_path, _Place(row, dated, base))
            if row.deployment_path:
                self._add(DEPLOYMENTS, row.deployment_path, _Place(row, True, DEPLOYMENTS))
        self._dialects = _dialects(rows)
        self._seen: dict[tuple[str, bytes, bytes], Match] = {}
        "Request lines that matched: clients repeat theirs. Bounded in number and size, since they choose them."

    def _add(self, base: str, path: str, place: _Place) -> None:
        before, model, after = (base + path).encode().partition(b"{model}")
        methods = self._with_model.setdefault(before, {}) if model else self._exact
        found = methods.setdefault(after if model else before, {}).setdefault(place.api.method, place)
        if found is not place:
            raise ValueError(f"{base}{path} is both {found.api.name} and {place.api.name}")

    def match(self, method: str, path: bytes, query: bytes) -> Match | str:
        """The operation, or the reason why there is none. `query`: what follows the `?`, which is not forwarded."""
        line = (method, path, query)
        seen = self._seen.get(line)
        if seen is not None:
            return seen
        match = self._match(method, path, query)
        if type(match) is Match and len(path) + len(query) <= self.SEEN_BYTES:
            if len(self._seen) >= self.SEEN_MOST:
                self._seen.clear()
            self._seen[line] = match
        return match

    def dialect(self, target: bytes) -> str:
        """Whose errors they read who ask for this, whether or not there is anything."""
        for prefix, dialect in self._dialects:
            if target.startswith(prefix):
                return dialect
        return OPENAI

    def _match(self, method: str, path: bytes, query: bytes) -> Match | str:
        name: str | None = None
        # Azure's portal shows endpoints with a slash at the end, and clients put `/openai` behind it (LangChain for
        # Node, openai before 7 and others): Azure takes this one doubled slash, so applications may have it.
        doubled = path.startswith(b"//openai/")
        if doubled:
            path = path[1:]
        methods = self._exact.get(path)
        if methods is None:
            for before, places in self._with_model.items():
                if path.startswith(before):
                    segment, slash, rest = path[len(before) :].partition(b"/")
                    methods = places.get(slash + rest)
                    if methods is not None and _DEPLOYMENT.fullmatch(segment):
                        name = segment.decode("ascii")
                        break
                    methods = None
        if methods is None:
            return "route.path"
        place = methods.get(method)
        if doubled and (place is None or not place.dated):
            return "route.path"
        if place is None:
            return "route.method"
        version = None
        if query:
            try:
                version = api_version(query, place.dated)
            except ValueError:
                return "request.api_version"
        if place.base == FOUNDRY:
            version = f"models/{version or ''}"
        return Match(place.api, name, version, place.base)


def _dialects(rows: Iterable[Api]) -> tuple[tuple[bytes, str], ...]:
    """How targets begin that only clients of another dialect than OpenAI's ask for: a base that no row of OpenAI's
    has, or else the row's own path."""
    common = {base for row in rows if row.dialect == OPENAI for base, _ in row.bases}
    return tuple(
        ((base if base not in common else base + row.model_path).encode(), row.dialect)
        for row in rows
        if row.dialect != OPENAI
        for base, _ in row.bases
    )


def api_version(query: bytes, dated: bool) -> str | None:
    """The only parameter we read. Missing is undated (Vercel's SDK leaves it away), a date means nothing on /v1.

    Raises ValueError for anything but a date, `preview`, `latest` or `v1`, and for two different ones.
    """
    said: bytes | None = None
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        if name == b"api-version" or name.lower() == b"api-version":
            if said is not None and said != value:
                raise ValueError("two api-versions")
            said = value
    if said is None:
        return None
    found = _VERSION.fullmatch(said)
    if found is None:
        raise ValueError("not an api-version")
    date, word = found.groups()
    if word:
        return str(word, "ascii")
    return str(date, "ascii") if date and dated else None
