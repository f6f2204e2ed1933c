"""Forms on their way through the edge: passed on while they come, held where they must be, refused where they are none."""

import email
import email.policy
import re
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sluicegate.core.caller import digest
from sluicegate.core.params import ParamSpec
from sluicegate.core.snapshot import ConsumerEntry, Directory, TenantEntry
from sluicegate.sim.azure.forms import document as documents
from sluicegate.wire.multipart import MOST_PARTS
from tests.edge.forms import (
    BOUNDARY,
    DATED,
    END,
    TEXT,
    V1,
    body_of,
    field,
    file,
    head,
    house,
    in_chunks,
    reason,
    request,
)  # fmt: skip
from tests.edge.line import House
from tests.gateway import KEY, SECRET

SOUND = bytes(range(256)) * 8
"""With all line ends in it."""
USUAL = field(b"model", b"chat") + field(b"response_format", b"json") + file(SOUND) + END
NODE = file(SOUND) + field(b"model", b"chat") + END


def test_a_form_goes_up_before_its_file_is_here():
    h = house()
    line = h.line()
    cut = len(USUAL) - 1000
    line.send(head(DATED, len(USUAL)) + USUAL[:cut])
    [call] = h.upstream.calls
    assert b"content-type: multipart/form-data; boundary=" + BOUNDARY in call.bytes
    assert 0 <= len(USUAL[:cut]) - len(body_part(call.bytes)) < len(BOUNDARY) + 4
    line.send(USUAL[cut:])
    assert body_of(call.bytes) == USUAL and call.sent == "all"
    call.answer(TEXT)
    assert line.answers()[0].body == TEXT
    record = h.journal.recent[-1]
    assert (record.usage.input, record.usage.output, record.estimated) == (14, 2, False)
    assert record.usage.media["audio_input"] == 14


def body_part(sent: bytes) -> bytes:
    return sent.partition(b"\r\n\r\n")[2]


def test_a_model_in_a_field_takes_the_deployments_name_and_nothing_else_changes():
    h = house()
    line = h.line().send(request(USUAL))
    [call] = h.upstream.calls
    assert body_of(call.bytes) == USUAL.replace(b"chat", b"gpt-4o-1", 1)
    call.answer(TEXT)
    assert line.answers()[0].status == 200


def test_a_model_behind_the_file_is_waited_for():
    h = house()
    line = h.line()
    line.send(head(V1, len(NODE)) + NODE[:-200])
    assert not h.upstream.calls
    line.send(NODE[-200:])
    [call] = h.upstream.calls
    assert body_of(call.bytes) == NODE.replace(b"chat", b"gpt-4o-1", 1)
    call.answer(TEXT)
    assert line.answers()[0].status == 200


def test_where_the_path_names_the_model_the_upstream_gets_it_in_its_own_way():
    h = house(provider="openai_compatible")
    line = h.line()
    line.send(head(DATED, len(NODE)) + NODE[:-200])
    [call] = h.upstream.calls  # it goes up before its model field is here
    line.send(NODE[-200:])
    assert body_of(call.bytes) == NODE.replace(b"chat", b"gpt-4o-1", 1)
    call.answer(TEXT)
    nameless = file(SOUND) + END
    line.send(request(nameless, DATED))
    call = h.upstream.calls[-1]
    added = b'\r\n--%b\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-4o-1' % BOUNDARY
    assert body_of(call.bytes).replace(added, b"") == nameless and added in call.bytes
    call.answer(TEXT)
    assert [a.status for a in line.answers()] == [200, 200]


FORMS = {
    "usual": USUAL,
    "file first": NODE,
    "a field after the file": field(b"model", b"chat") + file(SOUND) + field(b"temperature", b"0") + END,
}


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(list(FORMS)), st.sampled_from([V1, DATED]), st.booleans(),
    st.sampled_from(["azure_openai", "openai_compatible"]), st.lists(st.integers(0, 3500), max_size=8),
)  # fmt: skip
def test_however_a_form_is_cut_the_same_goes_up(kind: str, path: bytes, length: bool, provider: str, cuts: list[int]):
    form = FORMS[kind]
    raw = request(form, path) if length else in_chunks(form, path)
    h = house(provider=provider)
    line = h.line()
    at = 0
    for cut in (*sorted(c for c in cuts if c < len(raw)), len(raw)):
        line.send(raw[at:cut])
        at = max(at, cut)
    [call] = h.upstream.calls
    dated = path == DATED and provider == "azure_openai"
    sent = body_of(call.bytes)
    if dated or b'name="model"' in form:
        assert sent == (form if dated else form.replace(b"\r\n\r\nchat\r\n", b"\r\n\r\ngpt-4o-1\r\n", 1))
    call.answer(TEXT)
    assert [a.status for a in line.answers()] == [200]
    h.vacate()
    assert h.is_empty()


@pytest.mark.parametrize("kind", FORMS)
def test_cut_at_every_byte_the_same_goes_up(kind: str):
    short = FORMS[kind].replace(SOUND, SOUND[:60])
    h = house()
    line = h.line()
    for cut in range(0, len(short), 7):
        line.send(head(V1, len(short)), short[:cut], short[cut:])
        h.upstream.calls[-1].answer(TEXT)
    assert {body_of(c.bytes) for c in h.upstream.calls} == {short.replace(b"chat", b"gpt-4o-1", 1)}
    line.send(head(V1, len(short)), *[short[at : at + 1] for at in range(len(short))])
    assert body_of(h.upstream.calls[-1].bytes) == short.replace(b"chat", b"gpt-4o-1", 1)
    h.upstream.calls[-1].answer(TEXT)


BAD = {
    "no form": (b"hello", "request.invalid_form"),
    "no end": (USUAL[: -len(END)], "request.invalid_form"),
    "another boundary": (USUAL.replace(BOUNDARY, b"other"), "request.invalid_form"),
    "two models": (field(b"model", b"chat") * 2 + file(SOUND) + END, "request.duplicate_key"),
    "a second model behind the file": (
        field(b"model", b"chat") + file(SOUND) + field(b"model", b"gpt") + END, "request.duplicate_key"
    ),
    "a second stream behind the file": (
        field(b"model", b"chat") + field(b"stream", b"false") + file(SOUND) + field(b"stream", b"true") + END,
        "request.duplicate_key",
    ),
    "a model in capitals behind the file": (
        field(b"model", b"chat") + file(SOUND) + field(b"MODEL", b"gpt") + END, "request.invalid_form"
    ),
    "a stream that is neither": (
        field(b"model", b"chat") + field(b"stream", b"maybe") + file(SOUND) + END, "request.invalid_field"
    ),
    "a stream that is neither, behind the file": (
        field(b"model", b"chat") + file(SOUND) + field(b"stream", b"maybe") + END, "request.invalid_field"
    ),
    "many parts": (field(b"model", b"chat") + field(b"a", b"") * 10_000 + file(SOUND) + END, "request.invalid_form"),
    "many parts behind the file": (
        field(b"model", b"chat") + file(SOUND) + field(b"a", b"") * 10_000 + END, "request.invalid_form"
    ),
    "no model": (file(SOUND) + END, "request.no_model"),
    "an unknown model": (field(b"model", b"nobody") + file(SOUND) + END, "route.model"),
    "nested": (
        field(b"model", b"chat") + file(SOUND).replace(b"audio/mpeg", b"multipart/mixed; boundary=x") + END,
        "request.invalid_form",
    ),
    "an endless head": (
        field(b"model", b"chat") + file(SOUND).replace(b"audio/mpeg", b"a" * 20_000) + END, "request.invalid_form"
    ),
    "text behind it": (USUAL + b"more", "request.invalid_form"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("pieces", [1, 5, 400])
def test_what_is_no_form_is_refused_and_never_complete_upstream(case: str, pieces: int):
    body, why = BAD[case]
    raw = request(body)
    h = house()
    line = h.line()
    size = len(raw) // pieces + 1
    line.send(*[raw[at : at + size] for at in range(0, len(raw), size)])
    [answer] = line.answers()
    assert (answer.status, reason(line)) == (404 if why == "route.model" else 400, why), line.out
    for call in h.upstream.calls:
        assert call.cancelled and call.sent != "all"
        with pytest.raises(AssertionError):
            body_of(call.bytes)
    assert MOST_PARTS < 10_000
    for record in h.journal.recent:
        assert (record.state, record.usage.input, record.reason) == ("settled", 0, why)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (b"multipart/form-data", "request.invalid_form"), (b"multipart/mixed; boundary=a", "request.invalid_form"),
        (b"text/plain", "request.content_type"), (b"application/json", "request.content_type"),
        (b"application/x-www-form-urlencoded", "request.content_type"),
    ],
)  # fmt: skip
def test_another_content_type_is_refused(kind: bytes, why: str):
    h = house()
    line = h.line().send(request(USUAL).replace(b"multipart/form-data; boundary=" + BOUNDARY, kind))
    assert reason(line) == why and not h.upstream.calls


def test_a_form_is_none_where_json_is_asked_for():
    h = house()
    line = h.line().send(request(USUAL, b"/v1/chat/completions"))
    assert line.answers()[0].status == 415 and not h.upstream.calls


def test_a_throttled_member_hands_the_form_to_the_next_while_it_still_comes():
    h = house(members=2)
    line = h.line()
    cut = len(USUAL) - 500
    line.send(head(V1, len(USUAL)) + USUAL[:cut])
    first = h.upstream.calls[0]
    first.answer(b'{"error":{"code":"429","message":"slow down"}}', 429)  # abuse 89: an early answer
    second = h.upstream.calls[1]
    assert len(body_part(second.bytes)) >= cut - 100
    line.send(USUAL[cut:])
    assert body_of(second.bytes) == USUAL.replace(b"chat", b"gpt-4o-2", 1)
    second.answer(TEXT)
    assert line.answers()[0].status == 200
    record = h.journal.recent[-1]
    assert [a.cause for a in record.attempts] == ["upstream.throttled.rate", ""]


def test_what_is_more_than_is_kept_is_not_sent_twice_and_the_client_is_told_to_come_again():
    h = house(members=2, body_max=4096)
    form = field(b"model", b"chat") + file(SOUND * 10) + END
    line = h.line()
    raw = request(form)
    line.send(*[raw[at : at + 1000] for at in range(0, len(raw) - 3000, 1000)])
    [call] = h.upstream.calls
    call.answer(b'{"error":{"code":"429","message":"slow down"}}', 429)
    assert len(h.upstream.calls) == 1
    [answer] = line.answers()
    assert (answer.status, reason(line)) == (503, "pool.body_passed")
    assert ("x-should-retry", b"true") in answer.headers and ("retry-after", b"1") in answer.headers


def test_up_to_what_is_kept_a_form_is_sent_again():
    h = house(members=2, body_max=1024 * 1024)
    form = field(b"model", b"chat") + file(SOUND * 100) + END
    line = h.line()
    raw = request(form)
    line.send(*[raw[at : at + 10_000] for at in range(0, len(raw), 10_000)])
    h.upstream.calls[0].end("reset")
    assert body_of(h.upstream.calls[1].bytes) == form.replace(b"chat", b"gpt-4o-2", 1)
    h.upstream.calls[1].answer(TEXT)
    assert line.answers()[0].status == 200


def test_a_large_form_passes_through_whole():
    h = house(body_max=4096)
    form = field(b"model", b"chat") + file(SOUND * 2000) + END
    raw = request(form)
    line = h.line().send(*[raw[at : at + 65_536] for at in range(0, len(raw), 65_536)])
    assert body_of(h.upstream.calls[0].bytes) == form.replace(b"chat", b"gpt-4o-1", 1)
    h.upstream.calls[0].answer(TEXT)
    assert line.answers()[0].status == 200


def test_an_upstream_that_takes_nothing_makes_the_client_wait():
    h = house(body_max=4096)
    form = field(b"model", b"chat") + file(SOUND * 2000) + END
    raw = request(form)
    line = h.line()
    line.send(raw[:1000])
    call = h.upstream.calls[0]
    call.stuck = True
    for at in range(1000, len(raw), 65_536):
        line.send(raw[at : at + 65_536])
    assert not line.transport.reading
    assert len(line.held) > 2_500_000  # with the client still, not with us
    call.stuck = False
    call.pump()
    line.settle()
    assert line.transport.reading and body_of(call.bytes) == form.replace(b"chat", b"gpt-4o-1", 1)
    call.answer(TEXT)
    assert line.answers()[0].status == 200


def test_a_slow_client_is_not_the_upstreams_fault_and_a_stuck_upstream_is():
    h = house()
    line = h.line()
    line.send(head(V1, len(USUAL)))
    for at in range(0, 2000, 100):
        h.pass_time(10)  # 200 s, in steps that a body may take
        line.send(USUAL[at : at + 100])
    [call] = h.upstream.calls
    assert not call.over
    line.send(USUAL[2000:])
    h.pass_time(61)
    assert call.cancelled
    record = h.journal.recent[-1]
    assert record.attempts[0].cause == "timeout.first_byte" and line.answers()[0].status == 503


def test_a_client_that_stops_in_the_middle_is_refused():
    h = house()
    line = h.line()
    line.send(head(V1, len(USUAL)) + USUAL[:500])
    [call] = h.upstream.calls
    h.pass_time(31)
    assert call.cancelled and reason(line) == "request.timeout"


def test_a_client_that_leaves_in_the_middle_ends_it_at_once():
    h = house()
    line = h.line()
    line.send(head(V1, len(USUAL)) + USUAL[:500])
    [call] = h.upstream.calls
    line.leave()
    assert call.cancelled
    record = h.journal.recent[-1]
    assert (record.how, record.attempts[0].sent, record.usage.input) == ("gone", "some", 0)


def test_a_client_that_leaves_after_its_form_is_charged():
    h = house()
    line = h.line().send(request(USUAL))
    [call] = h.upstream.calls
    line.leave()
    assert not call.cancelled  # it may finish
    call.answer(TEXT)
    assert h.journal.recent[-1].usage.input == 14


def test_more_than_may_come_is_refused_where_it_is_said_and_where_it_is_not():
    h = house(body_upload=100_000)
    line = h.line().send(head(V1, 100_001))
    assert line.answers()[0].status == 413 and not h.upstream.calls
    line = h.line().send(head(V1))
    form = field(b"model", b"chat") + file(b"x" * 100_000)
    for at in range(0, len(form), 10_000):
        piece = form[at : at + 10_000]
        line.send(b"%x\r\n%b\r\n" % (len(piece), piece))
    assert line.answers()[0].status == 413
    assert h.upstream.calls[0].cancelled


def test_a_json_body_larger_than_its_own_bound_is_no_upload():
    h = house(body_max=4096)
    body = b'{"model":"chat","messages":"' + b"x" * 5000 + b'"}'
    raw = request(body, b"/v1/chat/completions").replace(
        b"multipart/form-data; boundary=" + BOUNDARY, b"application/json"
    )
    assert h.line().send(raw).answers()[0].status == 413


SNIPPETS = st.sampled_from([
    b"\r\n", b"\r", b"\n", b"--", BOUNDARY, b"--" + BOUNDARY, b"\r\n--" + BOUNDARY + b"\r\n", b"\r\n--" + BOUNDARY + b"--",
    field(b"model", b"other"), field(b"Model", b"other"), file(b"other", b"model"), b'; name="model"', b"name=model",
    b'Content-Disposition: form-data; name="model"\r\n', b"Content-Transfer-Encoding: base64\r\n", b"\0", b'"', b"\\", b";",
    b"filename=x", b" ", b"\t", b":",
])  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(list(FORMS)),
    st.lists(
        st.tuples(st.integers(-4, -1) | st.integers(0, 600), st.integers(0, 40), SNIPPETS | st.binary(max_size=6)),
        min_size=1,
        max_size=4,
    ),
    st.lists(st.integers(0, 900), max_size=5),
)
@example("usual", [(-1, 0, b"\r"), (-1, 0, field(b"model", b"other"))], [])
def test_what_goes_up_whole_asks_for_our_model_whoever_reads_it(
    kind: str, edits: list[tuple[int, int, bytes]], cuts: list[int]
):
    """The law of forms at the edge: other readers than ours find exactly one model in what is sent, and it is the
    deployment that was chosen."""
    form = FORMS[kind].replace(SOUND, SOUND[:60])
    for at, size, new in edits:
        if at < 0:  # before one of the boundaries, where a part may stand
            at = ([m.start() for m in re.finditer(b"--" + BOUNDARY, form)] or [0])[at % 4 - 4 :][0]
            size = 0
        form = form[:at] + new + form[at + size :]
    raw = request(form)
    h = house()
    line = h.line()
    at = 0
    for cut in (*sorted(c for c in cuts if c < len(raw)), len(raw)):
        line.send(raw[at:cut])
        at = max(at, cut)
    for call in h.upstream.calls:
        if call.cancelled:
            assert call.sent != "all"
            continue
        sent = body_of(call.bytes)
        top = b"Content-Type: multipart/form-data; boundary=" + BOUNDARY
        read = documents(top[14:], sent)
        assert read is not None and read["model"] == "gpt-4o-1"
        parts = email.message_from_bytes(top + b"\r\n\r\n" + sent, policy=email.policy.HTTP).get_payload()
        named = [p.get_param("name", header="content-disposition") for p in parts]  # type: ignore[union-attr]
        assert [str(n).lower() for n in named].count("model") == 1
        [model] = [p for p, n in zip(parts, named, strict=True) if n == "model"]
        assert model.get_payload(decode=True) == b"gpt-4o-1"  # type: ignore[union-attr]
        call.answer(TEXT)
    assert [a.status for a in line.answers()] in ([200], [400], [404]) or not h.upstream.calls
    h.vacate()
    assert h.is_empty()


def test_two_forms_in_one_breath_are_two_requests():
    h = house()
    line = h.line().send(request(USUAL) + in_chunks(NODE, DATED))
    h.upstream.calls[0].answer(TEXT)
    line.settle()
    h.upstream.calls[1].answer(TEXT)
    assert [a.status for a in line.answers()] == [200, 200]
    assert body_of(h.upstream.calls[1].bytes) == NODE


def test_a_boundary_with_odd_characters_is_quoted_again():
    h = house()
    odd = b"=_a/b:c"
    raw = head(V1, len(USUAL.replace(BOUNDARY, odd))) + USUAL.replace(BOUNDARY, odd)
    raw = raw.replace(b"boundary=" + BOUNDARY, b'boundary="%b"' % odd)
    line = h.line().send(raw)
    [call] = h.upstream.calls
    assert b'content-type: multipart/form-data; boundary="=_a/b:c"\r\n' in call.bytes
    call.answer(TEXT)
    assert line.answers()[0].status == 200


def ruled(*rules: ParamSpec, end_user: str = "") -> House:
    """A house whose consumer has these rules, and names its end users in this field."""
    h = house()
    entry = ConsumerEntry(
        1, "app", "default", ("chat",), (digest(KEY.encode(), SECRET),), params=rules, end_user=end_user
    )  # fmt: skip
    h.world.adopt(h.snapshot, Directory((SECRET,), (entry,)))
    h.bound.adopted()
    return h


EDIT = b"/v1/images/edits"
IMAGE = b'{"data":[{"b64_json":"eA=="}]}'


def test_rules_reach_behind_the_file():
    h = ruled(ParamSpec("n", max=2.0), ParamSpec("quality", force='"low"'), ParamSpec("background", default='"opaque"'))
    form = field(b"model", b"chat") + file(SOUND, b"image") + field(b"n", b"9") + field(b"prompt", b"x") + END
    line = h.line()
    line.send(head(EDIT, len(form)) + form[:-50])
    assert not h.upstream.calls, "what decides may be to come"
    line.send(form[-50:])
    [call] = h.upstream.calls
    sent = body_of(call.bytes)
    assert field(b"n", b"2") in sent and field(b"model", b"gpt-4o-1") in sent
    put = b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    for name, value in ((b"quality", b"low"), (b"background", b"opaque")):
        assert put % (BOUNDARY, name, value) in sent
    call.answer(IMAGE)
    assert line.answers()[0].status == 200


def test_what_is_not_allowed_is_refused_behind_the_file():
    h = ruled(ParamSpec("response_format", allow=('"json"',)))
    form = field(b"model", b"chat") + file(SOUND) + field(b"response_format", b"srt") + END
    line = h.line().send(request(form))
    assert reason(line) == "params.not_allowed" and not h.upstream.calls
    fine = form.replace(b"srt", b"json")
    line = h.line().send(request(fine))
    assert body_of(h.upstream.calls[-1].bytes) == fine.replace(b"chat", b"gpt-4o-1", 1)
    h.upstream.calls[-1].answer(TEXT)


def test_an_end_user_behind_the_file_is_booked():
    h = ruled(end_user="user")
    form = field(b"model", b"chat") + file(SOUND) + field(b"user", b"ann") + END
    line = h.line()
    line.send(head(V1, len(form)) + form[:500])
    assert not h.upstream.calls
    line.send(form[500:])
    h.upstream.calls[-1].answer(TEXT)
    assert line.answers()[0].status == 200 and h.journal.recent[-1].context.end_user == "ann"


def test_a_client_that_leaves_while_its_form_is_waited_for_is_counted_as_gone():
    h = ruled(end_user="user")
    form = field(b"model", b"chat") + file(SOUND)
    line = h.line()
    line.send(head(V1, 10_000) + form)
    line.leave()
    assert not h.upstream.calls and h.journal.refusals[-1].reason == "client.gone"


def test_stream_behind_the_file_is_understood():
    h = house()
    form = field(b"model", b"chat") + file(SOUND) + field(b"stream", b"true") + END
    line = h.line().send(request(form))
    [call] = h.upstream.calls
    call.begin(200, ((b"Content-Type", b"text/event-stream"),))
    event = b'data: {"type":"transcript.text.delta","delta":"hello"}\n\n'
    done = b'data: {"type":"transcript.text.done","text":"hello","usage":{"input_tokens":5,"output_tokens":1}}\n\n'
    call.piece(event, done)
    call.end()
    assert line.answers()[0].body == event + done
    assert h.journal.recent[-1].usage.input == 5


@pytest.mark.parametrize("answer", ["text", "srt", "vtt"])
def test_subtitles_pass_as_text(answer: str):
    h = house()
    form = field(b"model", b"chat") + field(b"response_format", answer.encode()) + file(SOUND) + END
    line = h.line().send(request(form))
    said = b"1\n00:00:00,000 --> 00:00:01,000\nhello\n"
    kind = ((b"Content-Type", b"text/plain; charset=utf-8"), (b"Content-Length", b"%d" % len(said)))
    h.upstream.calls[0].answer(said, 200, kind)
    assert line.answers()[0].body == said
    record = h.journal.recent[-1]
    assert record.estimated and record.usage.output == len(said) // 4


@pytest.mark.parametrize("rules", [[], [ParamSpec("language", "deny")]])
def test_who_is_taken_out_while_a_form_comes_that_is_read_to_its_end_is_refused(rules: list[ParamSpec]):
    """The file is here, and the request was let in; what stands behind it is waited for."""
    for entries, said in (
        ((), "credential.unknown"),
        ((ConsumerEntry(1, "app", "default", ("other",), (digest(KEY.encode(), SECRET),)),), "route.model"),
        ((ConsumerEntry(9, "app", "default", ("chat",), (digest(KEY.encode(), SECRET),)),), "gateway.busy"),
    ):
        h = ruled(*rules, end_user="" if rules else "user")
        line = h.line()
        line.send(head(V1, len(USUAL)) + USUAL[:-200])
        assert not h.upstream.calls
        h.world.adopt(h.snapshot, Directory((SECRET,), entries))
        h.bound.adopted()
        line.send(USUAL[-200:])
        assert not h.upstream.calls and reason(line) == said


@pytest.mark.parametrize("rules", [[], [ParamSpec("language", "deny")]])
def test_who_is_moved_into_a_boundary_while_a_form_comes_leaves_it_not_even_then(rules: list[ParamSpec]):
    h = ruled(*rules, end_user="" if rules else "user")
    before = h.snapshot
    inside = replace(before, gateway=replace(before.gateway, boundaries=("eu",)))
    line = h.line()
    line.send(head(V1, len(USUAL)) + USUAL[:-200])
    entry = ConsumerEntry(1, "app", "default", ("chat",), (digest(KEY.encode(), SECRET),))
    h.world.adopt(inside, Directory((SECRET,), (entry,), (TenantEntry(1, "default", boundary="eu"),)))
    h.bound.adopted()
    line.send(USUAL[-200:])
    assert not h.upstream.calls and reason(line) == "gateway.busy"
