"""A form that is passed on while it is read: between a client that sends it and an upstream that takes it.

It is held until what decides is known: the model, from the path or from a field, and the head of a file, before which
the other fields usually stand. From then on its bytes go up as fast as both sides allow. Whatever came is kept until
it is more than the model's `body.max`, and up to then the form can be sent to another deployment, too; beyond it only
a window is kept, and what fails, fails. A form whose model stands behind its file is kept whole, up to `body.upload`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, cast

import msgspec
from msgspec import Raw

from sluicegate.apis.base import BadRequest, FormApi
from sluicegate.core.events import Facts
from sluicegate.core.ports import Flow, Spool, Taker
from sluicegate.wire.multipart import BadForm, Edit, Form, edits

if TYPE_CHECKING:
    from sluicegate.drive import Drive

WINDOW: Final = 1024 * 1024
"""So many bytes may wait for an upstream that takes none before the client is told to wait, too."""

_LAST: Final = b"0\r\n\r\n"
_text: Final = msgspec.json.Decoder(str).decode


class Upload:
    """One form. The edge feeds it, the driver asks it for a Source for each attempt."""

    __slots__ = (
        "_decided", "_held", "_kept", "_limit", "_named", "_whole", "api", "complete", "drive", "facts", "flow", "form",
        "length", "moved_at", "over", "source", "spool",
    )  # fmt: skip

    def __init__(self, drive: Drive, boundary: bytes, length: int, spool: Spool, flow: Flow) -> None:
        self.drive = drive
        self.api = cast(FormApi, drive.api)
        self.form = Form(boundary, self.api.decides)
        self.length = length
        "Of the form, as its head says; -1: it does not."
        self.spool = spool
        self.flow = flow
        self.facts: Facts
        self.source: FormSource | None = None
        "Of the attempt under way."
        self.complete = False
        "All of it came."
        self.over = False
        "Nobody wants it any more."
        self.moved_at = 0.0
        "When a piece of it went on last, or could not for want of one."
        self._named = False
        "The path names the model."
        self._whole = False
        "Nothing is decided before all of it is here."
        self._decided = False
        self._held = False
        "The client was told to wait."
        self._limit = 0
        self._kept = 0

    # ------------------------------------------------------------------ the exchange asks

    def read(self, limit: int, named: bool, whole: bool, now: float) -> None:
        """Say when what decides is known; `whole`: when all is here."""
        if self.over:
            return
        self._limit = limit
        self._named = named
        self._whole = whole
        self._decided = False
        self.flow_on()
        if self.length > limit:
            self.refuse("request.body_too_large", _too_large(limit), now)
        else:
            self.decide(now)

    def begin(self, limit: int, keep: int, values: Mapping[str, bytes], now: float) -> FormSource:
        """A Source for one attempt, which puts `values` into fields."""
        self._limit = limit
        self._kept = max(keep, self._kept)
        self.moved_at = now
        self.source = FormSource(self, values)
        return self.source

    def fields(self) -> dict[str, Raw]:
        """Its fields as far as they are known, as the JSON that rules about parameters read."""
        return {name: Raw(_json(value)) for name, value in self.form.fields.items()}

    def unsent(self) -> int:
        """Bytes that wait."""
        return self.spool.size - (0 if self.source is None else self.source.at)

    # ------------------------------------------------------------------ the client sends

    def feed(self, chunk: bytes, now: float) -> None:
        """The next bytes."""
        if self.over:
            return
        try:
            self.form.feed(chunk)
        except BadForm as bad:
            self.refuse(bad.reason, bad.message, now)
            return
        spool = self.spool
        if spool.size + len(chunk) > self._limit:
            self.refuse("request.body_too_large", _too_large(self._limit), now)
            return
        try:
            spool.add(chunk)
        except OSError as e:  # no room on disk
            self.drive.bound.report(e)
            self.refuse("gateway.busy", "The gateway has no room for this body now.", now)
            return
        if not self._decided:
            self.decide(now)
        else:
            self.go_up(now)

    def ended(self, now: float) -> None:
        """The client's message is complete."""
        if self.over:
            return
        try:
            self.form.end()
            self.complete = True
            if self._decided:
                self.late()
        except BadForm as bad:
            self.refuse(bad.reason, bad.message, now)
            return
        except BadRequest as wrong:  # of another name: compiled, a name has one type
            self.refuse(wrong.reason, wrong.message, now)
            return
        if not self._decided:
            self.decide(now)
        else:
            self.go_up(now)

    def refuse(self, reason: str, message: str, now: float) -> None:
        """It is no form that can be passed on."""
        self.stop()
        self.drive.refuse_body(reason, message, now)

    def stop(self) -> None:
        """Nobody wants the rest."""
        self.over = True
        self.source = None
        self.spool.close()
        if self._held:
            self._held = False
            self.flow.go_on()

    # ------------------------------------------------------------------ in between

    def decide(self, now: float) -> None:
        """If what decides is known, say so."""
        form = self.form
        if not self.complete:
            if self._whole or not form.files or not (self._named or "model" in form.fields):
                return
        try:
            self.facts = facts = self.api.form(form.fields, form.names, max(self.length, self.spool.size))
        except BadRequest as bad:
            self.refuse(bad.reason, bad.message, now)
            return
        assert facts.special is not None
        facts.special.form = True
        facts.special.open = not self.complete
        self._decided = True
        self._kept = self.spool.size
        self.go_up(now)
        self.drive.form_read(facts, self.fields(), max(self.length, self.spool.size), now)

    def late(self) -> None:
        """The form is complete: what stood behind its file may decide how it is answered. Raises BadRequest."""
        said = self.api.form(self.form.fields, self.form.names, self.spool.size)
        facts = self.facts
        assert said.special is not None and facts.special is not None
        facts.stream = said.stream
        facts.n = said.n
        facts.special.open = False
        facts.special.answers = said.special.answers
        facts.special.a_token = said.special.a_token

    def go_up(self, now: float) -> None:
        """Bytes are here, or were taken: keep both sides moving, and what is held bounded."""
        source = self.source
        if source is not None and source.taker is not None:
            source.taker.pump()
            if self.over:
                return
        spool = self.spool
        facts = self.facts
        assert facts.special is not None
        if source is not None and spool.size > self._kept and self.unsent() <= WINDOW:
            facts.special.once = True
            spool.forget(source.at)
        self.flow_on()

    def flow_on(self) -> None:
        """The client goes on or waits."""
        many = self._decided and not self.complete and self.unsent() > WINDOW
        if many != self._held:
            self._held = many
            if many:
                self.flow.hold()
            else:
                self.flow.go_on()

    def took(self, source: FormSource) -> None:
        """A piece went on."""
        self.moved_at = self.drive.bound.now()
        if self._held and source is self.source:
            self.flow_on()


class FormSource:
    """The form as one attempt sends it (core/ports.py Source)."""

    __slots__ = ("_chunked", "_done", "_edits", "_known", "_put", "at", "taker", "upload", "values")

    def __init__(self, upload: Upload, values: Mapping[str, bytes]) -> None:
        self.upload = upload
        self.values = values
        self.taker: Taker | None = None
        self.at = 0
        "Of the form as it came: so much went on."
        self._edits: list[Edit] = []
        self._known = -1
        "Parts of the form when they were looked for; -2: there will be no more."
        self._put = 0
        "So many of them went on."
        self._done = False
        self._chunked = self.length() is None

    def length(self) -> int | None:
        """What it comes to; None: not known yet, it goes in chunks."""
        upload = self.upload
        form = upload.form
        size = upload.spool.size if upload.complete else upload.length
        if size < 0 or not (form.closed or all(name in form.spans for name in self.values)):
            return None
        return size + sum([len(new) - (end - begin) for begin, end, new in edits(form, self.values)])

    def take(self, most: int) -> bytes | None:
        """The next piece, with what is put in place of fields."""
        if self._done:
            return None
        upload = self.upload
        if upload.over:
            return b""
        form = upload.form
        parts = -2 if form.closed else form.parts
        if self._known != parts:
            self._known = parts
            self._edits = edits(form, self.values)
        safe = form.safe
        if form.closed:
            safe = upload.spool.size if upload.complete else form.close_at
        out: list[bytes] = []
        size = 0
        while size < most and self.at < safe:
            edit = self._edits[self._put] if self._put < len(self._edits) else None
            if edit is not None and edit[0] == self.at:
                piece = edit[2]
                self.at = edit[1]
                self._put += 1
            else:
                end = safe if edit is None else min(safe, edit[0])
                piece = upload.spool.read(self.at, min(end - self.at, most - size))
                self.at += len(piece)
            out.append(piece)
            size += len(piece)
        self._done = upload.complete and self.at == upload.spool.size
        data = b"".join(out)
        if self._chunked:
            data = (b"%x\r\n%b\r\n" % (len(data), data) if data else b"") + (_LAST if self._done else b"")
        if size:
            upload.took(self)
        return data

    def rewind(self) -> bool:
        """Begin anew, on another connection."""
        special = self.upload.facts.special
        if special is None or special.once or self.upload.over:
            return False
        self.at = self._put = 0
        self._done = False
        return True


def text_of(raw: bytes) -> bytes:
    """A JSON value as a form's field says it."""
    if raw[:1] == b'"':
        return _text(raw).encode("utf-8", "replace")
    return raw


def _json(value: bytes) -> bytes:
    """A field as JSON: numbers, true and false as they are, anything else as text."""
    if value in (b"true", b"false") or (len(value) <= 32 and value.strip() == value and _number(value)):
        return value
    return msgspec.json.encode(value.decode("utf-8", "replace"))


def _number(value: bytes) -> bool:
    try:
        msgspec.json.decode(value, type=float)
    except (msgspec.DecodeError, ValueError):
        return False
    return True


def _too_large(limit: int) -> str:
    return f"The request body is larger than the {limit} bytes this gateway accepts."
