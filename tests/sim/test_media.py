"""Images and sound of the simulator: the same bytes for the same request, limits and faults as for everything."""

import base64
import json
from typing import Any

import pytest

from sluicegate.sim.answer import Answer
from sluicegate.sim.azure.audio import heard, spoken
from sluicegate.sim.azure.request import Request
from sluicegate.sim.instances import Instances
from sluicegate.sim.ledger import Entry
from tests.edge.forms import BOUNDARY, END, field, file

FLEET = {
    "weu": {
        "deployments": {
            "pictures": {"model": "gpt-image-1"},
            "few": {"model": "gpt-image-1", "capacity": {"tokens_per_minute": 1000, "requests_per_minute": 600}},
            "voice": {"model": "gpt-4o-mini-tts"},
            "ears": {"model": "gpt-4o-transcribe"},
            "whisper": {"model": "whisper"},
            "gpt-4o": {},
        }
    },
}
FORM = b"multipart/form-data; boundary=" + BOUNDARY


def ask(deployment: str, operation: str, given: Any, behind: Instances | None = None) -> Answer:
    instance = (behind or Instances(FLEET, 7, True)).behind["weu"]
    kind = FORM if isinstance(given, bytes) else b"application/json"
    headers = [(b"api-key", instance.key.encode()), (b"content-type", kind)]
    target = f"/openai/deployments/{deployment}/{operation}?api-version=2025-04-01-preview"
    body = given if isinstance(given, bytes) else json.dumps(given).encode()
    return instance.answer(Request("POST", target, headers, b"", body), Entry("weu", 0.0, 0.0), 0.0, 0.0)


def said(answer: Answer) -> Any:
    assert answer.status == 200, answer.body()
    return json.loads(answer.body())


def events(answer: Answer) -> list[Any]:
    lines = [line for line in answer.body().split(b"\n") if line.startswith(b"data: {")]
    return [json.loads(line[6:]) for line in lines]


def test_images_are_as_many_and_as_large_as_was_asked_for_and_always_the_same():
    given = {"prompt": "[sim:bytes=5000] a ship", "n": 2, "quality": "low"}
    one, two = said(ask("pictures", "images/generations", given)), said(ask("pictures", "images/generations", given))
    images = [base64.b64decode(d["b64_json"]) for d in one["data"]]
    assert [len(i) for i in images] == [5000, 5000] and images[0] != images[1] and one == two
    assert one["usage"]["output_tokens"] == 2 * 272
    assert said(ask("pictures", "images/generations", {**given, "response_format": "url"}))["data"][0]["url"]


def test_streamed_images_come_in_parts_before_they_come_whole():
    answer = ask("pictures", "images/generations", {"prompt": "a ship", "stream": True, "partial_images": 2})
    assert [e["type"].split(".")[1] for e in events(answer)] == ["partial_image", "partial_image", "completed"]
    assert events(answer)[-1]["usage"]["output_tokens"] == 1056 + 200


def test_edits_count_what_was_given():
    form = field(b"prompt", b"a ship") + file(b"png", b"image[]") + file(b"gnp", b"image[]") + END
    usage = said(ask("pictures", "images/edits", form))["usage"]
    assert usage["input_tokens_details"]["image_tokens"] == 2 * 323
    assert ask("pictures", "images/edits", field(b"prompt", b"a ship") + END).status == 400


@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_speech_is_bytes_in_pieces(form: str):
    answer = ask("voice", "audio/speech", {"input": "hello" * 20, "voice": "alloy", "response_format": form})
    assert answer.body() == spoken("hello" * 20, 30_000, 7) and len(answer.events()) == 4
    assert dict(answer.headers)[b"content-type"].startswith(b"audio/")


def test_speech_in_events_is_the_same_bytes():
    answer = ask("voice", "audio/speech", {"input": "hello", "voice": "alloy", "stream_format": "sse"})
    got = b"".join(base64.b64decode(e["audio"]) for e in events(answer) if "audio" in e)
    assert got == spoken("hello", 1500, 7) and events(answer)[-1]["usage"]["input_tokens"] == 2


@pytest.mark.parametrize("form", ["json", "verbose_json", "text", "srt", "vtt"])
def test_what_is_heard_names_the_bytes_that_came(form: str):
    sound = bytes(range(256)) * 100 + b"\r\n--" + BOUNDARY[:-1]
    given = file(sound) + field(b"response_format", form.encode()) + END
    assert heard(sound).encode() in ask("ears", "audio/transcriptions", given).body()


def test_what_is_heard_comes_in_events_where_the_model_can():
    given = field(b"stream", b"true") + file(b"sound") + END
    answer = ask("ears", "audio/transcriptions", given)
    assert "".join(e.get("delta", "") for e in events(answer)) == heard(b"sound") == events(answer)[-1]["text"]
    plain = said(ask("whisper", "audio/transcriptions", given))
    assert plain == {"text": heard(b"sound"), "usage": {"type": "duration", "seconds": 1}}
    assert said(ask("whisper", "audio/translations", file(b"sound") + END))["text"] == heard(b"sound")


@pytest.mark.parametrize(
    ("deployment", "operation", "given", "code"),
    [
        ("pictures", "images/generations", {}, "missing_required_parameter"),
        ("pictures", "images/generations", {"prompt": "x", "n": 11}, "integer_out_of_range"),
        ("gpt-4o", "images/generations", {"prompt": "x"}, "OperationNotSupported"),
        ("voice", "audio/speech", {"input": "x"}, "missing_required_parameter"),
        ("voice", "audio/speech", {"input": "x", "voice": "y", "response_format": "z"}, "invalid_value"),
        ("ears", "audio/transcriptions", field(b"model", b"ears") + END, "missing_required_parameter"),
        ("ears", "audio/translations", file(b"x") + END, "OperationNotSupported"),
    ],
)
def test_what_the_api_refuses(deployment: str, operation: str, given: Any, code: str):
    answer = ask(deployment, operation, given)
    assert answer.status == 400 and json.loads(answer.body())["error"]["code"] == code


@pytest.mark.parametrize("form", [b"", b"hello", file(b"x"), b"--" + BOUNDARY + b"\r\n\r\nx\r\n" + END])
def test_what_is_no_form_is_not_read(form: bytes):
    assert ask("ears", "audio/transcriptions", form).status == 400


def test_images_use_up_tokens_like_everything():
    fleet = Instances(FLEET, 7, True)
    given = {"prompt": "a ship " * 500, "n": 1}
    statuses = [ask("few", "images/generations", given, fleet).status for _ in range(3)]
    assert statuses == [200, 200, 429]
