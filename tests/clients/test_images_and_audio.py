"""Images and audio through the official SDKs, unchanged, Python and Node, http and https, in front of the simulator.

Bytes are compared with what the simulator draws for the same request; what is heard names the digest of what came.
"""

import base64
import io
import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import openai
import pytest

from sluicegate.sim.azure.audio import heard, spoken
from tests.clients.asking import node
from tests.clients.media import CUT_EARLY, CUT_LATE, FIRST_ONLY, media_site
from tests.clients.members import until
from tests.clients.site import Site
from tests.gateway import KEY

VERSION = "2025-04-01-preview"
WAYS: dict[str, Callable[..., openai.OpenAI]] = {
    "AzureOpenAI": lambda url, **more: openai.AzureOpenAI(azure_endpoint=url, api_version=VERSION, **more),
    "OpenAI at /openai/v1": lambda url, **more: openai.OpenAI(base_url=f"{url}/openai/v1", **more),
    "OpenAI at /v1": lambda url, **more: openai.OpenAI(base_url=f"{url}/v1", **more),
}
SOUND = os.urandom(200_000) + b"\r\n--" + os.urandom(100)
SEED = 7


@pytest.fixture(scope="module", params=["http", "https"])
def where(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with media_site(request.param == "https", tmp_path_factory.mktemp("certificates")) as made:
        yield made


@pytest.fixture(params=WAYS)
def client(request: pytest.FixtureRequest, where: Site) -> Iterator[openai.OpenAI]:
    http = openai.DefaultHttpxClient(verify=where.context())
    with WAYS[request.param](where.url, api_key=KEY, max_retries=0, timeout=20, http_client=http) as made:
        yield made


def booked(where: Site) -> Any:
    """The last record, once it is settled."""
    until(lambda: where.gateway.call(lambda: not where.gateway.worker.bound.live))
    return where.gateway.call(lambda: where.gateway.journal.recent[-1])


def same(where: Site, **media: int) -> bool:
    """What was booked is what the simulator computed."""
    record, claim = booked(where), where.served().claim
    assert claim is not None
    said = record.usage.media or {}
    return bool(
        (record.usage.total_input, record.usage.total_output, record.estimated)
        == (claim.prompt, claim.completion, False)
        and all(said.get(class_, 0) == count for class_, count in media.items())
    )


# ---------------------------------------------------------------------- images


@pytest.mark.parametrize("model", ["pictures", "own-pictures"])
def test_images_of_several_megabytes_arrive_bit_by_bit(where: Site, client: openai.OpenAI, model: str):
    answer = client.images.generate(model=model, prompt="[sim:bytes=3000000] a ship", n=2, quality="low")
    again = client.images.generate(model=model, prompt="[sim:bytes=3000000] a ship", n=2, quality="low")
    assert answer.data is not None and again.data is not None
    images = [base64.b64decode(d.b64_json or "") for d in answer.data]
    assert [len(i) for i in images] == [3_000_000] * 2
    assert [d.b64_json for d in again.data] == [d.b64_json for d in answer.data]
    assert same(where, image_output=2 * 272, image=2)


def test_images_behind_urls(where: Site, client: openai.OpenAI):
    answer = client.images.generate(model="pictures", prompt="a ship", response_format="url")
    assert answer.data is not None and (answer.data[0].url or "").startswith("https://")


def test_streamed_images(where: Site, client: openai.OpenAI):
    prompt = "[sim:bytes=1500000] a ship"
    events = list(client.images.generate(model="pictures", prompt=prompt, stream=True, partial_images=2))
    assert [e.type.split(".")[1] for e in events] == ["partial_image", "partial_image", "completed"]
    assert {len(base64.b64decode(e.b64_json)) for e in events} == {1_500_000}
    assert same(where, image_output=1056 + 200)


@pytest.mark.parametrize("model", ["pictures", "own-pictures"])
def test_edits_are_forms(where: Site, client: openai.OpenAI, model: str):
    files = [("a.png", io.BytesIO(SOUND), "image/png"), ("b.png", io.BytesIO(b"png"), "image/png")]
    answer = client.images.edit(model=model, image=files, prompt="add a ship", quality="low")
    assert answer.usage is not None and answer.usage.input_tokens_details.image_tokens == 2 * 323
    assert same(where, image_input=2 * 323, image_output=272)
    events = list(client.images.edit(model=model, image=files[1], prompt="add a ship", stream=True))
    assert events[-1].type == "image_edit.completed"
    assert same(where, image_input=323, image_output=1056)


def test_an_image_that_breaks_off_is_never_whole(where: Site, client: openai.OpenAI):
    with pytest.raises(openai.InternalServerError):  # before it was committed: nobody had it whole
        client.images.generate(model="pictures", prompt=f"{CUT_EARLY} a ship")
    with pytest.raises(openai.APIConnectionError):  # after a mebibyte went down: a reset
        client.images.generate(model="pictures", prompt=f"{CUT_LATE} [sim:bytes=3000000] a ship")
    record = booked(where)
    assert record.state == "interrupted" and record.estimated
    with pytest.raises(openai.APIError):
        list(client.images.generate(model="pictures", prompt=f"{CUT_LATE} a ship", stream=True))


def test_an_image_that_breaks_off_early_comes_from_another_member(where: Site, client: openai.OpenAI):
    answer = client.images.generate(model="pictures", prompt=f"{FIRST_ONLY} a ship")
    assert answer.data and [a.cause for a in booked(where).attempts] == ["answer.truncated", ""]


# ---------------------------------------------------------------------- speech


@pytest.mark.parametrize("model", ["voice", "own-voice"])
@pytest.mark.parametrize("form", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_speech_arrives_bit_by_bit(where: Site, client: openai.OpenAI, model: str, form: Any):
    text = f"[sim:bytes=1300000] {form}"
    answer = client.audio.speech.create(model=model, voice="alloy", input=text, response_format=form)
    assert sha256(answer.content).digest() == sha256(spoken(text, 1_300_000, SEED)).digest()
    record = booked(where)
    assert record.estimated and record.usage.media["character"] == len(text)
    assert record.usage.media["audio_output"] == record.usage.output > 100


def test_speech_is_heard_while_it_is_made(where: Site, client: openai.OpenAI):
    with client.audio.speech.with_streaming_response.create(
        model="voice", voice="alloy", input="hello " * 50
    ) as answer:
        got = b"".join(answer.iter_bytes(1000))
    assert got == spoken("hello " * 50, 300 * 300, SEED)


def test_speech_in_events(where: Site, client: openai.OpenAI):
    more: dict[str, Any] = {"stream_format": "sse"}
    with client.audio.speech.with_streaming_response.create(
        model="voice", voice="alloy", input="hello", extra_body=more
    ) as answer:
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    assert "speech.audio.done" in lines[-1] and len(lines) == 2
    assert same(where) and booked(where).usage.media["audio_output"] == booked(where).usage.output > 0


def test_speech_that_breaks_off_is_never_whole(where: Site, client: openai.OpenAI):
    with pytest.raises(openai.APIConnectionError):
        client.audio.speech.create(model="voice", voice="alloy", input=f"{CUT_EARLY} hello").read()
    record = booked(where)
    assert (record.state, record.how) == ("interrupted", "cut") and record.usage.output == 0


# ---------------------------------------------------------------------- what is heard


@pytest.mark.parametrize("model", ["ears", "own-ears", "whisper"])
def test_what_came_is_what_was_sent(where: Site, client: openai.OpenAI, model: str):
    answer = client.audio.transcriptions.create(model=model, file=("a.mp3", SOUND))
    assert answer.text == heard(SOUND)
    record = booked(where)
    if model == "whisper":
        assert (record.usage.input, record.usage.media["audio_duration"]) == (0, len(SOUND) // 16_000 + 1)
    else:
        claim = where.served().claim
        assert claim is not None and same(where, audio_input=claim.prompt)
    assert where.served().deployment == f"{model}-{3 if model == 'own-ears' else 1}"


@pytest.mark.parametrize("model", ["ears", "own-ears"])
@pytest.mark.parametrize("form", ["verbose_json", "text", "srt", "vtt"])
def test_every_form_of_what_is_heard(where: Site, client: openai.OpenAI, model: str, form: Any):
    answer: Any = client.audio.transcriptions.create(model=model, file=("a.mp3", SOUND), response_format=form)
    said = answer.text if form == "verbose_json" else answer
    assert heard(SOUND) in said
    assert booked(where).estimated == (form != "verbose_json")


def test_what_is_heard_in_events(where: Site, client: openai.OpenAI):
    events: list[Any] = list(client.audio.transcriptions.create(model="ears", file=("a.mp3", SOUND), stream=True))
    assert "".join(e.delta for e in events[:-1]) == heard(SOUND) == events[-1].text
    assert same(where) and booked(where).stream


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the SDK says so
def test_translations(where: Site, client: openai.OpenAI):
    assert client.audio.translations.create(model="whisper", file=("a.mp3", SOUND)).text == heard(SOUND)
    assert client.audio.translations.create(model="own-ears", file=("a.mp3", SOUND)).text == heard(SOUND)


def test_an_upload_goes_to_the_next_member_when_one_is_throttled(where: Site, client: openai.OpenAI):
    word = f"befall-{sha256(os.urandom(8)).hexdigest()[:12]}"
    where.fleet.fault("throttle", instance="i1", marker=word, wait_s=0.2, times=1)
    answer = client.audio.transcriptions.create(model="ears", file=("a.mp3", SOUND), prompt=word)
    assert answer.text == heard(SOUND) and where.served().instance == "i2"
    assert [a.cause for a in booked(where).attempts] == ["upstream.throttled.rate", ""]
    where.gateway.forget()


def test_a_transcription_that_breaks_off_is_never_whole(where: Site, client: openai.OpenAI):
    with pytest.raises(openai.APIError):
        list(client.audio.transcriptions.create(model="ears", file=("a.mp3", SOUND), prompt=CUT_EARLY, stream=True))
    record = booked(where)
    assert record.state in ("interrupted", "settled") and record.how != "done"


def test_what_a_model_does_not_offer_is_refused(client: openai.OpenAI):
    with pytest.raises(openai.PermissionDeniedError):
        client.audio.transcriptions.create(model="voice", file=("a.mp3", SOUND))
    with pytest.raises(openai.NotFoundError):
        client.audio.transcriptions.create(model="nobody", file=("a.mp3", SOUND))


# ---------------------------------------------------------------------- Node


@pytest.fixture(scope="module")
def lines(where: Site) -> dict[str, dict[str, Any]]:
    """By way, what Node saw."""
    given = {"sound": base64.b64encode(SOUND).decode(), "early": CUT_EARLY, "late": CUT_LATE}
    return {line["way"]: line for line in node("media", where.url, given, ca=where.ca, script="media.mjs")}


@pytest.mark.parametrize("way", WAYS)
def test_node_sees_the_same(lines: dict[str, dict[str, Any]], way: str):
    saw = lines[way]
    text = "[sim:bytes=1300000] node"
    assert saw["image"] == 3_000_000 and saw["events"] == ["partial_image", "completed"]
    assert saw["edited"] == 323
    assert saw["speech"] == sha256(spoken(text, 1_300_000, SEED)).hexdigest()
    assert saw["heard"] == saw["heardFileFirst"] == saw["heardStreamed"] == saw["translated"] == heard(SOUND)
    assert heard(SOUND) in saw["srt"]
    assert saw["cutImage"] and saw["cutSpeech"] and saw["refused"] == 403
