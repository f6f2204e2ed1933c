"""Forms in any pieces: what they say does not hang on how they are cut, and what readers differ about is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.wire.multipart import (
    FIELDS_BYTES,
    HEAD_BYTES,
    MOST_PARTS,
    BadForm,
    Form,
    boundary_of,
    content_type,
    edited,
    edits,
    is_form,
)

DECIDES = frozenset({"model", "stream"})
B = b"----form-7MA4YWxk"


def part(name: bytes, value: bytes, more: bytes = b"") -> bytes:
    return b'--%b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (B, name, more, value)


def upload(value: bytes, name: bytes = b"file") -> bytes:
    return part(name, value, b'; filename="a.mp3"\r\nContent-Type: audio/mpeg')


END = b"--%b--\r\n" % B
PLAIN = part(b"model", b"whisper") + part(b"language", b"en") + upload(b"\xff\xfb\r\n--\r\n--" + B[:5] + b"\0" * 40)


def read(raw: bytes, *cuts: int) -> Form:
    form = Form(B, DECIDES)
    at = 0
    for cut in (*sorted(cuts), len(raw)):
        form.feed(raw[at:cut])
        assert form.safe <= cut
        at = cut
    form.end()
    return form


def reason(raw: bytes, *cuts: int) -> str:
    with pytest.raises(BadForm) as e:
        read(raw, *cuts)
    assert e.value.message.endswith(".") and len(e.value.message) < 300
    return e.value.reason


def same(form: Form) -> tuple[object, ...]:
    return (
        form.fields, form.spans, form.names, form.files, form.file_bytes, form.safe, form.close_at, form.closed
    )  # fmt: skip


def test_a_form_says_what_its_fields_say():
    form = read(PLAIN + END)
    assert form.fields == {"model": b"whisper", "language": b"en"}
    assert form.names == ["model", "language", "file"] and form.files == 1
    assert form.safe == len(PLAIN + END)
    begin, end = form.spans["model"]
    assert (PLAIN + END)[begin:end] == b"whisper"


def test_wherever_a_form_is_cut_it_says_the_same():
    raw = PLAIN + part(b"stream", b"true") + END
    whole = same(read(raw))
    for cut in range(len(raw) + 1):
        assert same(read(raw, cut)) == whole, cut
    assert same(read(raw, *range(len(raw)))) == whole


VALUES = st.binary(max_size=60) | st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"--", B, b"--" + B[:-1], b"x", b"\r\n--"]), max_size=12
).map(b"".join)  # fmt: skip
NAMES = st.sampled_from([b"model", b"stream", b"prompt", b"image[]", b"timestamp_granularities[]"])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(NAMES, VALUES, st.booleans()), min_size=1, max_size=6),
    st.lists(st.integers(0, 600), max_size=12),
    st.binary(max_size=8),
)
def test_the_law_of_forms(parts: list[tuple[bytes, bytes, bool]], cuts: list[int], after: bytes):
    """However it is cut: the same verdict, the same fields; and an accepted form, put together again from what was
    read of it, is the form."""
    raw = b"".join(upload(v, n) if file else part(n, v) for n, v, file in parts) + END + after
    try:
        whole = same(read(raw))
    except BadForm as bad:
        with pytest.raises(BadForm) as e:
            read(raw, *[c for c in cuts if c < len(raw)])
        assert e.value.reason == bad.reason
        return
    form = read(raw, *[c for c in cuts if c < len(raw)])
    assert same(form) == whole
    assert edited(raw, edits(form, {})) == raw
    for name, value in form.fields.items():
        begin, end = form.spans[name]
        assert raw[begin:end] == value
    again = read(edited(raw, edits(form, {"model": b"renamed"})))
    assert again.fields["model"] == b"renamed"
    others = {n: v for n, v in again.fields.items() if n != "model"}
    assert others == {n: v for n, v in form.fields.items() if n != "model"}


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 400))
def test_whatever_comes_a_form_is_read_or_refused_alike(noise: bytes, cut: int):
    raw = PLAIN[: len(PLAIN) // 2] + noise + END
    verdicts = []
    for cuts in ((), (cut,)):
        try:
            verdicts.append(same(read(raw, *[c for c in cuts if c < len(raw)])))
        except BadForm as bad:
            verdicts.append((bad.reason,))
    assert verdicts[0] == verdicts[1]


def test_nothing_of_a_part_is_safe_before_it_is_understood():
    form = Form(B, DECIDES)
    first = part(b"model", b"whisper")
    form.feed(first[:-2])
    assert form.safe == 0
    form.feed(first[-2:] + b"--" + B)  # the value is complete, what follows it is not known
    assert form.safe == form.spans["model"][1]
    head = upload(b"")[len(B) + 2 : -2]
    form.feed(head[:-1])
    assert form.safe == form.spans["model"][1]
    form.feed(head[-1:])
    assert form.safe == len(first + upload(b"")) - 2
    form.feed(b"a" * 1000)
    assert form.safe == len(first + upload(b"")) - 2 + 1000 - len(B) - 3


@pytest.mark.parametrize(
    "raw",
    {
        "another boundary": PLAIN.replace(B, b"other") + b"--other--\r\n",
        "text before it": b"hello\r\n" + PLAIN + END,
        "text after it": PLAIN + END + b"hello",
        "a second form after it": PLAIN + END + PLAIN + END,
        "blanks after a boundary": PLAIN.replace(B + b"\r\n", B + b" \r\n", 1) + END,
        "a boundary that goes on": PLAIN + b"--" + B + b"x\r\n" + END,
        "no end": PLAIN,
        "half an end": PLAIN + END[:-4],
        "no parts": END,
        "nothing": b"",
        "no blank line": b"--%b\r\nContent-Disposition: form-data; name=a\r\n--%b--\r\n" % (B, B),
        "no line between an empty file and the next boundary": upload(b"")[:-2] + END,
        "no line between an empty value and the next boundary": part(b"a", b"")[:-2] + END,
        "no headers": b"--%b\r\n\r\nvalue\r\n" % B + END,
        "no name": PLAIN.replace(b'; name="language"', b"") + END,
        "an empty name": PLAIN.replace(b'name="language"', b'name=""') + END,
        "two names": PLAIN.replace(b'name="language"', b'name="language"; name="model"') + END,
        "a name in another form": PLAIN.replace(b'name="language"', b"name=a; name*=UTF-8''model") + END,
        "a name with backslashes": PLAIN.replace(b'name="language"', b'name="mo\\"del"') + END,
        "an open quote": PLAIN.replace(b'name="language"', b'name="language') + END,
        "no form-data": PLAIN.replace(b"form-data", b"attachment", 1) + END,
        "two dispositions": part(b"a", b"", b'\r\nContent-Disposition: form-data; name="model"') + END,
        "a folded header": part(b"a", b"x", b'\r\n ; filename="b"') + END,
        "a line feed in a header": part(b"a", b"x", b"\nContent-Disposition: form-data; name=model") + END,
        "a carriage return in a header": part(b"a", b"x", b"\rX-Y: z") + END,
        "a header without a name": part(b"a", b"x", b"\r\nhello") + END,
        "nested": part(b"a", b"x", b"\r\nContent-Type: multipart/mixed; boundary=b") + END,
        "encoded": part(b"a", b"eA==", b"\r\nContent-Transfer-Encoding: base64") + END,
        "a model that is a file": upload(b"whisper", b"model") + END,
        "a model in capitals": part(b"Model", b"whisper") + END,
        "a model in a list": part(b"model[]", b"whisper") + END,
        "a model and a blank": part(b"model ", b"whisper") + END,
        "line feeds only": (PLAIN + END).replace(b"\r\n", b"\n"),
        "many header lines": part(b"a", b"x", b"\r\nX: y" * 20) + END,
    }.items(),
    ids=lambda case: case[0],
)
def test_what_readers_differ_about_is_refused(raw: tuple[str, bytes]):
    assert reason(raw[1]) == "request.invalid_form"
    assert reason(raw[1], *range(len(raw[1]))) == "request.invalid_form"


def test_two_models_are_refused_before_the_second_may_go_on():
    raw = part(b"model", b"a") + upload(b"x" * 100) + part(b"model", b"b") + END
    assert reason(raw) == "request.duplicate_key"
    form = Form(B, DECIDES)
    second = raw.rindex(b"--%b\r\n" % B)
    with pytest.raises(BadForm):
        for at in range(len(raw)):
            form.feed(raw[at : at + 1])
    assert form.safe <= second


def test_lists_may_have_many_entries():
    raw = part(b"include[]", b"logprobs") * 3 + upload(b"1", b"image[]") * 16 + END
    assert read(raw).files == 16


@pytest.mark.parametrize("quote", [b'name="model"', b"name=model", b'NAME="model"'])
def test_names_are_read_with_and_without_quotes(quote: bytes):
    raw = part(b"model", b"whisper").replace(b'name="model"', quote) + END
    assert read(raw).fields == {"model": b"whisper"}


def test_heads_parts_and_fields_are_bounded():
    assert reason(part(b"a" * HEAD_BYTES, b"") + END) == "request.invalid_form"
    form = Form(B, DECIDES)
    form.feed(b"--%b\r\n" % B)
    with pytest.raises(BadForm):  # a head that never ends
        for _ in range(HEAD_BYTES):
            form.feed(b"X: yyyyyyyyyyyyyy")
    assert reason(part(b"a", b"1") * (MOST_PARTS + 1) + END) == "request.invalid_form"
    assert read(part(b"a", b"1") * MOST_PARTS + END).parts == MOST_PARTS
    assert reason(part(b"a", b"x" * (FIELDS_BYTES // 2 + 1)) * 2 + END) == "request.invalid_form"
    form = Form(B, DECIDES)
    form.feed(part(b"a", b"")[:-2])
    with pytest.raises(BadForm):  # a field that never ends
        for _ in range(FIELDS_BYTES // 1000 + 10):
            form.feed(b"x" * 1000)
    assert form.parts == 1


def test_a_field_that_comes_byte_by_byte_costs_no_more_than_at_once():
    form = Form(B, DECIDES)
    form.feed(part(b"prompt", b"")[:-2])
    for _ in range(100_000):  # quadratic, this would take minutes
        form.feed(b"x")
    form.feed(b"\r\n" + END)
    form.end()
    assert len(form.fields["prompt"]) == 100_000


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        (b"multipart/form-data; boundary=abc", b"abc"),
        (b'multipart/form-data; boundary="abc/d"', b"abc/d"),
        (b"Multipart/Form-Data;boundary=abc; charset=utf-8", b"abc"),
        (b"multipart/form-data; charset=utf-8; BOUNDARY=abc ", b"abc"),
    ],
)
def test_a_boundary_is_found(header: bytes, boundary: bytes):
    assert is_form(header) and boundary_of(header) == boundary


@pytest.mark.parametrize("boundary", [b"abc", b"----x-1_2.3'+", b"a/b", b"a=b", b"(a:b,c?)", b"=_"])
def test_a_boundary_is_written_so_that_it_is_read_again(boundary: bytes):
    assert boundary_of(content_type(boundary)) == boundary
    assert (b'"' in content_type(boundary)) == any(c in b"()<>@,;:/[]?=" for c in boundary)


@pytest.mark.parametrize(
    "header",
    [
        b"multipart/form-data", b"multipart/form-data; boundary=", b"multipart/form-data; boundary=a; boundary=b",
        b"multipart/form-data; boundary=" + b"a" * 71, b"multipart/form-data; boundary=a b",
        b'multipart/form-data; boundary="a\r\n"', b"multipart/mixed; boundary=a", b"multipart/form-data; boundary=a;;b",
        b'multipart/form-data; boundary="a', b"multipart/form-data, boundary=a", b"multipart/form-data; boundary=\xe9",
    ],
)  # fmt: skip
def test_a_header_without_one_boundary_is_refused(header: bytes):
    assert is_form(header)
    with pytest.raises(BadForm):
        boundary_of(header)


def test_a_changed_form_is_the_form_but_for_the_change():
    raw = PLAIN + END
    form = read(raw)
    assert edited(raw, edits(form, {"model": b"my-whisper"})) == raw.replace(b"whisper", b"my-whisper")
    put = edited(raw, edits(form, {"temperature": b"0"}))
    assert read(put).fields == {**form.fields, "temperature": b"0"}
    assert put.replace(b'--%b\r\nContent-Disposition: form-data; name="temperature"\r\n\r\n0\r\n' % B, b"") == raw
    assert edits(form, {"model": b"whisper"}) == []
