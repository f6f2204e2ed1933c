"""Secrets: read where they belong, shown nowhere. Whatever fails, no byte of a key is in what anybody gets to see."""

import io
import logging
import pickle
import subprocess
import traceback
from collections.abc import Iterator
from dataclasses import replace

import pytest

from sluicegate.core.caller import digest
from sluicegate.core.secret import Secret
from sluicegate.core.snapshot import ConsumerEntry, Directory
from sluicegate.worker import report
from tests.abuse.child import Child
from tests.abuse.corpus import BAD
from tests.abuse.outside import (
    ANSWER,
    CHAT,
    PATH,
    STREAMED,
    Client,
    Upstream,
    answer,
    ask,
    is_refusal,
    request,
    stream,
    then_close,
)
from tests.attributes import attributes
from tests.gateway import KEY, SECRET, UPSTREAM_KEY, GatewayThread, instance, snapshot

SECRETS = (KEY, UPSTREAM_KEY, SECRET.reveal(), digest(KEY.encode(), SECRET).hex())
OTHER = "other-client-key-9876543210"


def shows_none(text: str | bytes) -> None:
    raw = text.encode() if isinstance(text, str) else text
    for secret in SECRETS:
        assert secret.encode() not in raw
        assert secret.encode()[:12] not in raw


def carries(name: bytes, value: str = KEY) -> bytes:
    return name + b": " + value.encode()


# ---------------------------------------------------------------- who it is


@pytest.mark.parametrize(
    "shown",
    [
        [b"api-key: %b"], [b"Api-Key: %b"], [b"API-KEY:%b"], [b"Authorization: Bearer %b"], [b"authorization: bearer %b"],
        [b"AUTHORIZATION: BEARER  %b"], [b"x-api-key: %b"], [b"Ocp-Apim-Subscription-Key: %b"],
        [b"api-key: %b", b"Authorization: Bearer %b"], [b"api-key: %b", b"x-api-key: %b"], [b"api-key: %b", b"api-key: %b"],
    ],
)  # fmt: skip
def test_one_caller_may_show_its_key_in_any_of_the_places_and_twice(shown: list[bytes], port: int, upstream: Upstream):
    assert ask(port, request(*(s.replace(b"%b", KEY.encode()) for s in shown), key=None)).status == 200
    (seen,) = upstream.requests
    assert KEY.encode() not in seen.raw, "a client's credential never goes up"
    assert seen.raw.count(UPSTREAM_KEY.encode()) == 1 and seen.header(b"api-key") == UPSTREAM_KEY.encode()
    assert seen.header(b"authorization") is None


@pytest.mark.parametrize(
    "shown",
    [
        [b"api-key: nobody"], [b"api-key: %b "b"x"], [b"api-key: %bx"], [b"api-key: "], [b"api-key: Bearer %b"], [b"Authorization: %b x"],
        [b"Authorization: Basic %b"], [b"Authorization: Bearer"], [b"Authorization: Bearer Bearer %b"], [b"api-key: \"%b\""],
        [b"api-key: %b,%b"], [b"Cookie: api-key=%b"], [b"x-key: %b"], [b"Proxy-Authorization: Bearer %b"], [b"api_key: %b"],
        [b"api-key: " + b"a" * 20_000], [b"api-key: \xff\xfe"], [b"Authorization: Bearer " + b"." * 8000],
    ],
)  # fmt: skip
def test_a_credential_that_is_none_is_401_and_says_nothing_of_itself(shown: list[bytes], port: int, upstream: Upstream):
    got = ask(port, request(*(s.replace(b"%b", KEY.encode()) for s in shown), key=None))
    is_refusal(got, "credential.missing", "credential.unknown")
    assert got.status == 401 and upstream.requests == []
    shows_none(got.raw_head + got.body)


def test_a_key_in_the_path_or_the_query_is_no_credential_and_not_repeated(port: int, upstream: Upstream):
    for path in (
        PATH + b"?api-key=%b",
        PATH + b"?code=%b&api-version=%b",
        b"/%b/v1/chat/completions",
        b"/openai/deployments/%b/chat/completions",
    ):
        got = ask(port, request(path=path.replace(b"%b", KEY.encode()), key=None))
        assert got.status in (400, 401, 404) and upstream.requests == []
        shows_none(got.raw_head + got.body)


def test_two_callers_in_one_request_are_400_whichever_comes_first(upstream: Upstream):
    entries = (
        ConsumerEntry(1, "app", "default", ("chat",), (digest(KEY.encode(), SECRET),)),
        ConsumerEntry(2, "other", "default", ("chat",), (digest(OTHER.encode(), SECRET),)),
    )
    with GatewayThread(snapshot([instance(1, upstream.port)]), Directory((SECRET,), entries)) as gateway:
        both = [b"api-key", b"Authorization", b"x-api-key", b"Ocp-Apim-Subscription-Key"]
        for first in both:
            for second in both:
                for pair in ((KEY, OTHER), (OTHER, KEY), (KEY, "nobody"), ("nobody", KEY), (KEY, "")):
                    got = ask(gateway.port, request(carries(first, pair[0]), carries(second, pair[1]), key=None))
                    is_refusal(got, "credential.ambiguous")
                    shows_none(got.raw_head + got.body)
        assert upstream.requests == []
        assert ask(gateway.port, request(key=OTHER)).status == 200


def test_a_wrong_key_and_a_right_one_without_a_grant_learn_nothing_about_models(port: int):
    """The same words for a model that is not there and for one that may not be used, but for who is known."""
    said = {ask(port, request(key=key, path=b"/openai/deployments/%b/chat/completions" % model)).body
            for key in ("nobody", "x" * 40) for model in (b"chat", b"nothing")}  # fmt: skip
    assert len(said) == 1


def test_abuse_17_curl_waits_for_100_and_gives_up_on_a_bad_key(port: int, upstream: Upstream):
    """curl sends the body of a large POST only after `100 Continue`."""
    body = CHAT[:-4] + b"x" * 2_000_000 + CHAT[-4:]

    def curl(key: str) -> tuple[str, int]:
        command = ["curl", "-sS", "--max-time", "10", "--expect100-timeout", "8", "-o", "-", "-w", "\n%{http_code} %{size_upload}",
                   "-H", "Content-Type: application/json", "-H", f"api-key: {key}", "-H", "Expect: 100-continue", "--data-binary", "@-",
                   f"http://127.0.0.1:{port}{PATH.decode()}"]  # fmt: skip
        try:
            done = subprocess.run(command, input=body, capture_output=True, timeout=20, check=True)
        except FileNotFoundError:
            pytest.skip("no curl here")
        text, last = done.stdout.decode().rsplit("\n", 1)
        status, uploaded = last.split()
        return status + text, int(uploaded)

    said, uploaded = curl("nobody")
    assert said.startswith("401") and "authentication_error" in said and uploaded == 0
    assert upstream.requests == []
    said, uploaded = curl(KEY)
    assert said == "200" + ANSWER.decode() and uploaded == len(body)


def test_abuse_85_curl_asks_for_h2c_and_is_answered(port: int, upstream: Upstream):
    command = ["curl", "-sS", "--http2", "--max-time", "10", "-H", "Content-Type: application/json", "-H", f"api-key: {KEY}",
               "--data-binary", CHAT.decode(), f"http://127.0.0.1:{port}{PATH.decode()}"]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, timeout=20)
    except FileNotFoundError:
        pytest.skip("no curl here")
    if b"HTTP2" in done.stderr or b"HTTP/2" in done.stderr:
        pytest.skip("this curl speaks no HTTP/2")
    assert done.stdout == ANSWER
    assert upstream.requests[0].body == CHAT.replace(b'"chat"', b'"gpt-4o-1"')


# ---------------------------------------------------------------- 52, 53: shown nowhere


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that is logged, at debug level, with tracebacks."""
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield said
    root.removeHandler(handler)
    root.setLevel(level)


def everything_that_fails(port: int, upstream: Upstream) -> list[bytes]:
    """Every refusal and failure we know how to cause, as the client saw it."""
    seen = []
    quoting = b'{"error":{"message":"bad key %b"}}' % UPSTREAM_KEY.encode()
    for said in (answer(quoting, b"401 Unauthorized"), answer(quoting, b"500 Oops"), answer(quoting), answer(quoting, b"429 Slow"),
                 answer(quoting, b"302 Found", b"Location: http://x/?key=" + UPSTREAM_KEY.encode()), b"x", b"HTTP/1.1 200 OK\r\n\r\n" + quoting,
                 then_close(b""), then_close(answer()[:-5], reset=True), stream(b"data: " + quoting + b"\n\n"),
                 stream(b'data: {"choices":[{"delta":{"content":"hi"},"index":0}]}\n\n', b"data: {\n\n")):  # fmt: skip
        upstream.answer = said
        for body in (CHAT, STREAMED):
            got = ask(port, request(carries(b"Authorization", "Bearer " + KEY), body=body))
            seen.append(got.raw_head + got.body)
    upstream.answer = answer()
    for message in [*BAD.values(), request(path=b"/x"), request(body=b"{"), request(body=b'{"model":"%b"}' % KEY.encode()), request(key=KEY + "x"),
                    request(path=b"/openai/deployments/%b/chat/completions" % KEY.encode()), request(carries(b"x-api-key", "x"))]:  # fmt: skip
        with Client(port) as client:
            client.send(message)
            got = client.answer()
            seen.append(got.raw_head + got.body)
    return seen


def test_abuse_52_abuse_53_no_answer_log_record_or_repr_shows_a_key(
    gateway: GatewayThread, port: int, upstream: Upstream, log: io.StringIO
):
    for shown in everything_that_fails(port, upstream):
        shows_none(shown)
    worker = gateway.worker
    records = [*worker.journal.recent, *worker.journal.refusals]
    assert len(records) > 20
    for record in records:
        for at in [record, *record.attempts]:
            shows_none(repr([getattr(at, name) for name in attributes(at)]))
    shows_none(repr(worker.totals()))
    shows_none(log.getvalue())


def test_abuse_53_nothing_that_holds_a_secret_prints_it(gateway: GatewayThread, port: int, upstream: Upstream):
    upstream.answer = lambda seen, s: (
        held.append(gateway.call(lambda: [repr(d) for d in gateway.worker.bound.live])) or s.sendall(answer()) or True
    )
    held: list[list[str]] = []
    assert ask(port, request()).status == 200
    assert held and held[0]
    worker = gateway.worker
    holders = [worker, worker.world, worker.bound, worker.server, worker.upstream, worker.snapshot, gateway.directory, worker.world.callers,
               *worker.snapshot.instances, *worker.server.connections, *worker.world.members.values(), held]  # fmt: skip
    for holder in holders:
        shows_none(repr(holder) + str(holder) + f"{holder}")


def test_abuse_53_a_secret_cannot_be_printed_pickled_or_put_into_a_traceback():
    secret = Secret(KEY)
    for text in (repr(secret), str(secret), f"{secret}", f"{secret!r:>50}", repr([secret]), repr({"k": secret}),
                 repr(instance(1, 80)), repr(snapshot([instance(1, 80)])), repr(replace(instance(1, 80), name="x"))):  # fmt: skip
        shows_none(text)
        assert "***" in text
    with pytest.raises(TypeError) as refused:
        pickle.dumps(secret)
    shows_none("".join(traceback.format_exception(refused.value)))
    for wrong in (
        lambda: secret + "x",
        lambda: secret[0],
        lambda: int(secret),
        lambda: secret.nothing,
        lambda: len(secret),
    ):  # type: ignore[operator,index,call-overload,attr-defined,arg-type]
        with pytest.raises((TypeError, AttributeError)) as failed:
            wrong()
        shows_none("".join(traceback.format_exception(failed.value)))


def test_abuse_53_a_bug_in_the_middle_of_a_request_shows_no_key(upstream: Upstream, log: io.StringIO):
    """Its kind and place go to the log; values of variables, and what it says of itself, do not."""
    with GatewayThread(snapshot([instance(1, upstream.port)])) as gateway:

        def fails(*_: object) -> None:
            raise ValueError(f"{KEY} is a bug")

        gateway.worker.bound.report = report
        row = gateway.worker.bound.providers
        gateway.worker.bound.providers = {name: type("Broken", (), {"plan": fails, "refusal": fails})() for name in row}
        for body in (CHAT, STREAMED):
            got = ask(gateway.port, request(body=body))
            is_refusal(got, "gateway.error")
            assert got.status == 500
            shows_none(got.raw_head + got.body)
            assert b"bug" not in got.body.replace(b"This is a bug", b"") and b"Traceback" not in got.body
    assert "ValueError" in log.getvalue() and "Traceback" in log.getvalue() and "in fails" in log.getvalue()
    assert "is a bug" not in log.getvalue().replace("{KEY} is a bug", ""), (
        "what an exception says may quote what it choked on"
    )
    shows_none(log.getvalue())
    assert upstream.requests == []


# ---------------------------------------------------------------- 56: lines of a log

CANARY = "canary"
INJECTIONS = [f"{CANARY}\n{{\"event\":\"{CANARY}\"}}", f"{CANARY}\x1b[31m", f"{CANARY}\r\nERROR x", f'{CANARY}","x":"', f"{CANARY}%0a%0dERROR", f"{CANARY}\u2028ERROR", f"{{{CANARY}}}%s%n"]  # fmt: skip


def test_abuse_56_nothing_a_client_or_an_upstream_says_makes_a_line_of_the_log(upstream: Upstream):
    with Child(snapshot([instance(1, upstream.port)])) as child:
        for text in INJECTIONS:
            raw = text.encode()
            for message in (
                raw + b"\r\n\r\n", request(path=b"/" + raw), request(b"x-a: " + raw), request(b"x-ms-client-request-id: " + raw),
                request(host=raw), request(key=text), request(method=b"GET", path=b"/health/live?" + raw), request(b"User-Agent: " + raw),
                request(path=b"/openai/deployments/" + raw + b"/chat/completions"), request(path=PATH + b"?api-version=" + raw),
                request(body=b'{"model":"' + raw + b'"}'), request(body=raw), request(b"Content-Type: " + raw), request(b"Expect: " + raw),
            ):  # fmt: skip
                with Client(child.port) as client:
                    client.send(message)
                    client.answer()
            error = b'{"error":{"code":"' + raw + b'","message":"' + raw + b'","type":"' + raw + b'"}}'
            for said in (answer(error, b"500 " + raw), answer(error, b"429 Slow", b"retry-after: " + raw), answer(error), answer(error, b"400 Bad"),
                         answer(error, b"200 OK", b"x-ms-region: " + raw, b"x-request-id: " + raw), then_close(raw), stream(b"data: " + error + b"\n\n")):  # fmt: skip
                upstream.answer = said
                for body in (CHAT, STREAMED):
                    ask(child.port, request(body=body))
        said_by_gateway = child.end()
    assert CANARY not in said_by_gateway and "\x1b" not in said_by_gateway
    lines = said_by_gateway.splitlines()
    assert len(lines) == 1 and lines[0].startswith('{"event": "totals"'), said_by_gateway
