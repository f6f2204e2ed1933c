"""multipart/form-data out of bytes that arrive in any pieces: what its fields say, and how far it may go on.

A form is read while it passes. Nothing of a part may leave before its head was read and found unambiguous, nothing of
a field before its value is complete; of a file all but the last bytes, in which its end may have begun (`safe`). What
differs between readers of forms is refused, because what we read must be what the upstream reads: another boundary
than the header's, text before the first part or after the last, a part with two names, a name that only nearly is
that of a field which decides. The bytes themselves stay the client's; `edits` are the only changes there are.

A chunk of a file costs a copy and a search for its end: 100 MB in pieces of 64 KB take 30 ms.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from sluicegate.core.ports import Chunk

MOST_PARTS: Final = 256
HEAD_BYTES: Final = 8 * 1024
"""Of one part."""

HEAD_LINES: Final = 16
FIELDS_BYTES: Final = 1024 * 1024
"""Of all fields that are no files together: they are held, the longest real ones are prompts of 32,000 characters."""

_CONTENT_TYPE: Final = re.compile(
    rb"multipart/form-data[ \t]*((?:;[ \t]*[^;\"]*(?:\"[^\"]*\"[^;\"]*)?)*)", re.IGNORECASE
)
_PARAM: Final = re.compile(rb";[ \t]*([A-Za-z0-9!#$&.+^_*-]+)=(?:\"((?:[^\"\\]|\\.)*)\"|([^;\" \t]*))[ \t]*")
_BOUNDARY: Final = re.compile(rb"[0-9A-Za-z'()+_,./:=?-]{1,70}")
_TOKEN: Final = re.compile(rb"[0-9A-Za-z'+_.-]+")
_LINE: Final = re.compile(rb"([A-Za-z0-9!#$%&'*+.^_`|~-]+):[ \t]*(.*?)[ \t]*", re.DOTALL)
_FORM_DATA: Final = re.compile(rb"form-data[ \t]*((?:;.*)?)", re.IGNORECASE | re.DOTALL)
_PLAIN_CODINGS: Final = (b"", b"7bit", b"8bit", b"binary")

# where in the form the reader is
_BEGIN: Final = 0
_DELIMITED: Final = 1
_HEAD: Final = 2
_FIELD: Final = 3
_FILE: Final = 4
_OVER: Final = 5


class BadForm(Exception):
    """The bytes are not one form as we accept it. `reason` is a name of core/refusals.py."""

    def __init__(self, message: str, reason: str = "request.invalid_form") -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message


def is_form(content_type: bytes) -> bool:
    """Whether a Content-Type says that a form follows."""
    return content_type[:10].lower() == b"multipart/"


def boundary_of(content_type: bytes) -> bytes:
    """The boundary that a Content-Type names. Raises BadForm."""
    found = _CONTENT_TYPE.fullmatch(content_type.strip())
    if found is None:
        raise BadForm("The Content-Type must be 'multipart/form-data; boundary=...'.")
    said: list[bytes] = []
    for name, value in _params(found[1]):
        if name == b"boundary":
            said.append(value)
    if not said:
        raise BadForm("The Content-Type 'multipart/form-data' names no boundary.")
    if len(said) > 1 or not _BOUNDARY.fullmatch(said[0]):
        raise BadForm("The boundary in the Content-Type must be one, of 1 to 70 letters, digits and '()+_,-./:=?.")
    return said[0]


def content_type(boundary: bytes) -> bytes:
    """The Content-Type of a form: what was read, and nothing else that may have stood there."""
    return b"multipart/form-data; boundary=" + (boundary if _TOKEN.fullmatch(boundary) else b'"%b"' % boundary)


class Form:
    """One form on its way. `decides`: names of fields that may stand in it once, and as text."""

    __slots__ = (
        "_behind_cr", "_behind_lf", "_delimiter", "_held", "_held_bytes", "_in_file", "_name", "_search", "_state",
        "at", "boundary", "close_at", "closed", "decides", "fields", "file_bytes", "files", "names", "parts", "safe",
        "spans",
    )  # fmt: skip

    def __init__(self, boundary: bytes, decides: frozenset[str]) -> None:
        self.boundary = boundary
        self.decides = decides
        self.fields: dict[str, bytes] = {}
        "Values of the fields that are no files, by name: the first where there are several of a list."
        self.spans: dict[str, tuple[int, int]] = {}
        "Where those values stand in the form."
        self.names: list[str] = []
        "Of all parts, in their order."
        self.parts = 0
        self.files = 0
        "How many were begun."
        self.file_bytes = 0
        self.safe = 0
        "So many bytes may go on: what they are is known."
        self.closed = False
        "The last delimiter was read."
        self.close_at = 0
        "Where it begins."
        self.at = 0
        "Of the form, the offset of what is held."
        self._held = bytearray()
        self._search = 0
        "So much of it was searched already."
        self._held_bytes = 0
        "Of all fields so far."
        self._delimiter = b"\r\n--" + boundary
        self._behind_cr = b"\r--" + boundary
        self._behind_lf = b"\n--" + boundary
        self._state = _BEGIN
        self._name = ""
        self._in_file = False

    def feed(self, chunk: Chunk) -> None:
        """The next bytes. Raises BadForm."""
        self._held += chunk
        while self._step():
            pass

    def end(self) -> None:
        """Nothing follows. Raises BadForm where something should."""
        if not self.closed:
            raise BadForm("The form breaks off: its last boundary is missing.")

    # ------------------------------------------------------------------ one step

    def _step(self) -> bool:
        """Read on as far as what is held allows by one; False: more is needed."""
        state = self._state
        if state == _FILE:
            return self._file()
        if state == _FIELD:
            return self._field()
        if state == _HEAD:
            return self._head()
        if state == _DELIMITED:
            return self._delimited()
        if state == _BEGIN:
            return self._begin()
        held = self._held
        if len(held) > 2 or not b"\r\n".startswith(held):
            raise BadForm("Something follows the last boundary of the form.")
        self.safe = self.at + len(held)
        return False

    def _take(self, size: int) -> bytes:
        """The first bytes of what is held, which holds them no more."""
        held = self._held
        taken = bytes(held[:size])
        del held[:size]
        self.at += size
        self._search = 0
        return taken

    def _begin(self) -> bool:
        first = self._delimiter[2:]
        held = self._held
        if len(held) < len(first):
            if not first.startswith(held):
                raise self._misled()
            return False
        if not held.startswith(first):
            raise self._misled()
        self._take(len(first))
        self._state = _DELIMITED
        return True

    def _misled(self) -> BadForm:
        return BadForm("The form does not begin with the boundary that its Content-Type names.")

    def _delimited(self) -> bool:
        """Behind a boundary: another part, or the end."""
        held = self._held
        if len(held) < 2:
            if held and bytes(held[:1]) not in (b"\r", b"-"):
                raise self._torn()
            return False
        what = self._take(2)
        if what == b"\r\n":
            self._state = _HEAD
            self.parts += 1
            if self.parts > MOST_PARTS:
                raise BadForm(f"The form has more than {MOST_PARTS} parts.")
        elif what == b"--":
            if not self.parts:
                raise BadForm("The form has no parts.")
            self.closed = True
            self.close_at = self.at - 2 - len(self._delimiter)
            self.safe = self.at
            self._state = _OVER
        else:
            raise self._torn()
        return True

    def _torn(self) -> BadForm:
        return BadForm("In the form, other text follows a boundary on its line.")

    def _head(self) -> bool:
        held = self._held
        end = held.find(b"\r\n\r\n", self._search)
        if end < 0:
            if held[:2] == b"\r\n":
                raise BadForm("A part of the form has no Content-Disposition with its name.")
            if len(held) > HEAD_BYTES:
                raise BadForm(f"The headers of a part of the form are larger than {HEAD_BYTES} bytes.")
            self._search = max(len(held) - 3, 0)
            return False
        if end > HEAD_BYTES:
            raise BadForm(f"The headers of a part of the form are larger than {HEAD_BYTES} bytes.")
        self._part(self._take(end + 4)[:-4])
        if self._in_file:
            self.files += 1
            self.safe = self.at
            self._state = _FILE
        else:
            self._state = _FIELD
        return True

    def _part(self, head: bytes) -> None:
        """Read a part's head: what it is called, and whether it is a file."""
        disposition: bytes | None = None
        kind = coding = b""
        lines = head.split(b"\r\n")
        if len(lines) > HEAD_LINES:
            raise BadForm(f"A part of the form has more than {HEAD_LINES} header lines.")
        for line in lines:
            found = _LINE.fullmatch(line)
            if found is None or b"\r" in line or b"\n" in line or b"\0" in line:
                raise BadForm("A part of the form has a header line that is none.")
            header = found[1].lower()
            if header == b"content-disposition":
                if disposition is not None:
                    raise BadForm("A part of the form has two Content-Dispositions.")
                disposition = found[2]
            elif header == b"content-type":
                kind = found[2].lower()
            elif header == b"content-transfer-encoding":
                coding = found[2].lower()
        name, filename = _named(disposition)
        if kind.startswith(b"multipart/"):
            raise BadForm(f"The part {_shown(name)} of the form is a form itself.")
        if coding not in _PLAIN_CODINGS:
            raise BadForm(f"The part {_shown(name)} of the form has a Content-Transfer-Encoding: send it as it is.")
        near = name.strip().lower().removesuffix("[]")
        if near in self.decides:
            if near != name:
                raise BadForm(f"The form has a part {_shown(name)}: write its name '{near}'.")
            if filename:
                raise BadForm(f"The field '{name}' of the form must not be a file.")
            if name in self.names:
                raise BadForm(f"The field '{name}' occurs more than once in the form.", "request.duplicate_key")
        self.names.append(name)
        self._name = name
        self._in_file = filename

    def _field(self) -> bool:
        held = self._held
        begin = self.at
        end = self._find(FIELDS_BYTES - self._held_bytes)
        if end < 0:
            return False
        if end > FIELDS_BYTES - self._held_bytes:
            raise self._long()
        self._whole_lines(end)
        value = self._take(end)
        self._held_bytes += end
        name = self._name
        if name not in self.fields:
            self.fields[name] = value
            self.spans[name] = (begin, begin + end)
        self.safe = begin + end
        self._take(len(self._delimiter))
        self._state = _DELIMITED
        assert held is self._held
        return True

    def _find(self, most: int) -> int:
        """Where the part ends, -1: not yet."""
        held = self._held
        delimiter = self._delimiter
        if self._search == 0 and held.startswith(delimiter[2:]):
            raise BadForm("A part of the form has no empty line before the next boundary.")
        end = held.find(delimiter, self._search)
        if end < 0:
            self._search = max(len(held) - len(delimiter) + 1, 0)
            if self._search > most:
                raise self._long()
        return end

    def _whole_lines(self, end: int) -> None:
        """Behind half a line end a boundary is none, but there are readers that would take it for one."""
        held = self._held
        if held.find(self._behind_cr, 0, end) >= 0 or held.find(self._behind_lf, 0, end) >= 0:
            raise BadForm("In the form, a boundary follows half a line end.")

    def _long(self) -> BadForm:
        return BadForm(
            f"The fields of the form are larger than {FIELDS_BYTES} bytes together: send {_shown(self._name)} as a "
            "file, with a filename."
        )

    def _file(self) -> bool:
        held = self._held
        delimiter = self._delimiter
        if not self.file_bytes and held.startswith(delimiter[2:]):
            raise BadForm("A part of the form has no empty line before the next boundary.")
        end = held.find(delimiter)
        self._whole_lines(len(held) if end < 0 else end)
        if end < 0:
            size = len(held) - len(delimiter) + 1
            if size > 0:
                self.file_bytes += size
                del held[:size]
                self.at += size
                self.safe = self.at
            return False
        self.file_bytes += end
        self._take(end)
        self.safe = self.at
        self._take(len(delimiter))
        self._state = _DELIMITED
        return True


def _named(disposition: bytes | None) -> tuple[str, bool]:
    """The name of a part, and whether it is a file. Raises BadForm."""
    found = None if disposition is None else _FORM_DATA.fullmatch(disposition)
    if found is None:
        raise BadForm("A part of the form has no Content-Disposition 'form-data' with its name.")
    names: list[bytes] = []
    filename = False
    for key, value in _params(found[1]):
        if key == b"name":
            names.append(value)
        elif key == b"name*":
            raise BadForm("A part of the form has its name in the form 'name*=', which is not read here.")
        elif key in (b"filename", b"filename*"):
            filename = True
    if len(names) != 1 or not names[0] or b"\\" in names[0]:
        raise BadForm("A part of the form must have exactly one name, without backslashes.")
    return names[0].decode("utf-8", "replace"), filename


def _params(text: bytes) -> list[tuple[bytes, bytes]]:
    """`; name="value"; other=value`, values without their quotes. Raises BadForm."""
    found: list[tuple[bytes, bytes]] = []
    at = 0
    while at < len(text):
        param = _PARAM.match(text, at)
        if param is None:
            if text[at:].strip(b" \t") in (b"", b";"):
                break
            raise BadForm("The form has a header with parameters that cannot be read.")
        quoted, plain = param[2], param[3]
        found.append((param[1].lower(), plain if quoted is None else quoted))
        at = param.end()
    return found


def _shown(name: str) -> str:
    return repr(name[:64])


Edit = tuple[int, int, bytes]
"""Bytes of a form from here to there, and what stands in their place."""


def edits(form: Form, values: Mapping[str, bytes]) -> list[Edit]:
    """What to change in a form so that fields have these values, in the order of the form, as far as it was read.
    Fields that it lacks come behind its last part, once that is known."""
    found: list[Edit] = []
    missing = b""
    for name, value in values.items():
        span = form.spans.get(name)
        if span is not None:
            if form.fields[name] != value:
                found.append((span[0], span[1], value))
        elif form.closed:
            missing += b'\r\n--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b' % (
                form.boundary, name.encode(), value,
            )  # fmt: skip
    found.sort()
    if missing:
        found.append((form.close_at, form.close_at, missing))
    return found


def edited(raw: Chunk, changes: Sequence[Edit]) -> bytes:
    """A whole form with its changes."""
    out: list[Chunk] = []
    at = 0
    view = memoryview(raw)
    for begin, end, new in changes:
        out += (view[at:begin], new)
        at = end
    out.append(view[at:])
    return b"".join(out)
