"""Nothing passes that nobody thought of, and nothing that passes can be more than one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.wire import headers
from sluicegate.wire.headers import ANSWER_PASS, CREDENTIAL_HEADERS, REQUEST_PASS, STATUS_LINES, answer, utilisation
from tests.attributes import attributes

AZURE = [
    (b"Content-Length", b"1200"), (b"Content-Type", b"application/json; charset=utf-8"), (b"apim-request-id", b"a1"),
    (b"Strict-Transport-Security", b"max-age=31536000"), (b"x-ms-region", b"East US 2"), (b"Server", b"istio-envoy"),
    (b"x-ratelimit-remaining-tokens", b"9999"), (b"x-ms-rai-invoked", b"true"), (b"X-Request-ID", b"r1"),
    (b"x-ms-deployment-name", b"secret-deployment"), (b"azureml-model-session", b"d032-20260101"),
    (b"x-envoy-upstream-service-time", b"230"), (b"Set-Cookie", b"ARRAffinity=x"), (b"x-ms-served-by", b"host-17"),
    (b"azure-openai-deployment-utilization", b"83.2%"), (b"retry-after", b"7"), (b"x-should-retry", b"true"),
    (b"x-ms-spillover-from-deployment", b"ptu-1"), (b"openai-organization", b"acme"), (b"Date", b"Wed, 20 Nov 2026"),
    (b"Transfer-Encoding", b"chunked"), (b"Connection", b"close"), (b"Keep-Alive", b"timeout=5"), (b"api-key", b"k"),
]  # fmt: skip


def test_of_an_azure_answer_only_the_list_passes() -> None:
    head = answer(AZURE)
    assert head.lines == (
        b"content-type: application/json; charset=utf-8\r\napim-request-id: a1\r\nx-ms-rai-invoked: true\r\n"
        b"x-request-id: r1\r\n"
    )
    assert head.limits() == b"x-ratelimit-remaining-tokens: 9999\r\n"
    assert (head.content_type, head.encoding, head.length) == (b"application/json", b"", 1200)
    assert (head.region, head.utilisation) == ("East US 2", pytest.approx(0.832))


def test_names_are_compared_without_case_and_remembered_without_bound_on_correctness() -> None:
    for name in (b"X-REQUEST-ID", b"x-Request-Id", b"x-request-id"):
        for _ in range(2):
            assert answer([(name, b"1"), (b"SeRvEr", b"x"), (b"CONTENT-TYPE", b"Text/Event-Stream;x")]).lines == (
                b"x-request-id: 1\r\ncontent-type: Text/Event-Stream;x\r\n"
            )


def test_the_memory_of_spellings_is_bounded() -> None:
    for i in range(5000):
        answer([(b"x-odd-%d" % i, b"1")])
    assert len(headers._KNOWN) <= 512


TEXT = st.binary(max_size=12) | st.sampled_from(
    [b"a\r\nset-cookie: x", b"a\nb", b"a\rb", b"a\0b", b"\r\n", b"\r\n\r\nHTTP/1.1"]
)


@given(st.lists(st.tuples(st.sampled_from([*sorted(ANSWER_PASS), b"Server", b"content-length", b"x-ms-region"]), TEXT)))
def test_no_value_can_begin_another_line(pairs: list[tuple[bytes, bytes]]) -> None:
    head = answer(pairs)
    clean = [(n, v) for n, v in pairs if n in ANSWER_PASS and not set(v) & set(b"\r\n\0")]
    for limits, lines in ((False, head.lines), (True, head.limits())):
        mine = [(n, v) for n, v in clean if n.startswith((b"x-ratelimit-", b"anthropic-ratelimit-")) == limits]
        assert lines == b"".join(n + b": " + v + b"\r\n" for n, v in mine)


@given(st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=40)), max_size=20))
def test_random_headers_raise_nothing(pairs: list[tuple[bytes, bytes]]) -> None:
    head = answer(pairs)
    assert head.length is None or head.length >= 0


@pytest.mark.parametrize("value", [b"", b"-1", b"+5", b"0x10", b"1, 1", b"1" * 30, b"\xb2", b"1_0"])
def test_a_length_that_is_no_number_is_none(value: bytes) -> None:
    assert answer([(b"content-length", value)]).length is None


def test_an_encoding_is_named_unless_it_is_identity() -> None:
    assert answer([(b"Content-Encoding", b" GZIP ")]).encoding == b"gzip"
    assert answer([(b"Content-Encoding", b"identity")]).encoding == b""


@pytest.mark.parametrize(
    ("value", "share"),
    [(b"83.2%", 0.832), (b"0%", 0.0), (b"120%", 1.2), (b"83.2", None), (b"%", None), (b"-1%", None), (b"nan%", None),
     (b"inf%", None), (b"1e3%", None), (b"5%%", None), (b"1.%", 0.01), (b"\xd9\xa3%", None), (b"", None)],
)  # fmt: skip
def test_utilisation_is_a_share_or_unknown(value: bytes, share: float | None) -> None:
    assert utilisation(value) == (share if share is None else pytest.approx(share))


def test_no_credential_and_nothing_internal_goes_up() -> None:
    assert not REQUEST_PASS & set(CREDENTIAL_HEADERS)
    for name in (b"cookie", b"host", b"x-forwarded-for", b"user-agent", b"idempotency-key", b"x-ms-spillover-deployment", b"x-policy-id",
                 b"openai-organization", b"content-length", b"connection", b"transfer-encoding", b"accept-encoding"):  # fmt: skip
        assert name not in REQUEST_PASS
    assert all(name == name.lower() for name in REQUEST_PASS | ANSWER_PASS | set(CREDENTIAL_HEADERS))


def test_every_status_line_is_one_line() -> None:
    for code, line in STATUS_LINES.items():
        assert line.startswith(b"HTTP/1.1 %d " % code) and line.endswith(b"\r\n") and line.count(b"\n") == 1


NAMES = st.sampled_from(
    [*sorted(ANSWER_PASS), b"Content-Type", b"Server", b"content-length", b"content-encoding", b"x-ms-region",
     b"azure-openai-deployment-utilization", b"X-Request-ID"]
)  # fmt: skip


@given(st.dictionaries(NAMES, TEXT.filter(lambda value: not set(value) & set(b"\r\n\0")), max_size=12))
def test_a_dictionary_reads_like_its_pairs(fields: dict[bytes, bytes]) -> None:
    by_shape, in_turn = answer(fields), answer(tuple(fields.items()))
    assert by_shape.limits() == in_turn.limits()
    for slot in attributes(headers.AnswerHead):
        if not slot.startswith("_"):
            a, b = getattr(by_shape, slot), getattr(in_turn, slot)
            assert sorted(a.split(b"\r\n")) == sorted(b.split(b"\r\n")) if slot == "lines" else a == b, slot


@pytest.mark.parametrize("form", [tuple, dict])
def test_the_platforms_spillover_is_read_in_both_its_forms_and_passes_with_no_other(form: type) -> None:
    plain = [(b"Content-Type", b"application/json"), (b"X-MS-Spillover-From-Deployment", b"ptu-1"),
             (b"x-ms-spillover-error", b"429"), (b"x-ms-deployment-name", b"std")]  # fmt: skip
    documented = [(b"x-ms-spillover-from-PTU-1", b"true"), (b"x-ms-deployment-name", b"std")]
    for pairs, source, error, lines in (
        (plain, "ptu-1", "429", b"x-ms-spillover-from-deployment: ptu-1\r\nx-ms-spillover-error: 429\r\n"),
        (documented, "PTU-1", "", b"x-ms-spillover-from-ptu-1: true\r\n"),
    ):
        for _ in range(2):
            head = answer(form(pairs))
            said = head.spillover
            assert said is not None and b"spillover" not in head.lines
            assert (said.source, said.served, said.error, said.lines) == (source, "std", error, lines)
    assert answer(form([(b"x-ms-deployment-name", b"std")])).spillover is None


@given(TEXT)
def test_what_an_upstream_writes_there_is_a_name_or_nothing(value: bytes) -> None:
    said = answer([(b"x-ms-spillover-from-deployment", value), (b"x-ms-deployment-name", value)]).spillover
    assert said is not None
    assert said.lines.count(b"\n") <= 1 and b"\0" not in said.lines
    for name in (said.source, said.served):
        assert name == "" or name.encode() == value
        assert all(c.isascii() and (c.isalnum() or c in "-._") for c in name)
