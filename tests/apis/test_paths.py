"""A request line means one operation or nothing, byte for byte."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.apis import APIS, Paths
from sluicegate.apis.base import OPENAI

PATHS = Paths(APIS.values())
DEPLOYMENT = b"/openai/deployments/gpt-4o/chat/completions"


@pytest.mark.parametrize(
    ("path", "query", "model", "version"),
    [
        (DEPLOYMENT, b"api-version=2024-10-21", "gpt-4o", "2024-10-21"),
        (DEPLOYMENT, b"api-version=2025-04-01-preview", "gpt-4o", "2025-04-01-preview"),
        (DEPLOYMENT, b"", "gpt-4o", None),
        (b"/openai/chat/completions", b"api-version=2024-10-21", None, "2024-10-21"),
        (b"/openai/chat/completions", b"", None, None),
        (b"/openai/v1/chat/completions", b"", None, None),
        (b"/openai/v1/chat/completions", b"api-version=preview", None, "preview"),
        (b"/openai/v1/chat/completions", b"api-version=latest", None, "latest"),
        (b"/openai/v1/chat/completions", b"api-version=v1", None, None),
        (b"/openai/v1/chat/completions", b"api-version=2024-10-21", None, None),
        (b"/v1/chat/completions", b"", None, None),
        (b"/v1/chat/completions", b"x=1&api-version=2024-10-21", None, None),
        (DEPLOYMENT, b"api-version=2024-10-21&api-version=2024-10-21", "gpt-4o", "2024-10-21"),
        (DEPLOYMENT, b"API-Version=2024-10-21", "gpt-4o", "2024-10-21"),
        (DEPLOYMENT, b"subscription-key=x&other&&=", "gpt-4o", None),
        (b"/openai/deployments/A.b_c-9/chat/completions", b"", "A.b_c-9", None),
        # an endpoint with a slash at its end, as Azure's portal shows it, and `/openai` put behind it
        (b"/" + DEPLOYMENT, b"api-version=2024-10-21", "gpt-4o", "2024-10-21"),
        (b"//openai/chat/completions", b"api-version=2024-10-21", None, "2024-10-21"),
        (b"/openai/deployments/" + b"a" * 64 + b"/chat/completions", b"", "a" * 64, None),
    ],
)
def test_what_a_request_line_means(path: bytes, query: bytes, model: str | None, version: str | None) -> None:
    for _ in range(2):  # the second time from memory
        match = PATHS.match("POST", path, query)
        assert not isinstance(match, str)
        assert (match.api.name, match.path_model, match.api_version) == ("chat_completions", model, version)


@pytest.mark.parametrize(
    "path",
    [
        b"", b"/", b"*", b"/openai/deployments//chat/completions",
        b"/openai/deployments/a%2f..%2fb/chat/completions", b"/openai/deployments/../chat/completions",
        b"/openai/deployments/./chat/completions", b"/openai/deployments/a/../b/chat/completions",
        b"/openai/deployments/a;x/chat/completions", b"/openai/deployments/a%00/chat/completions",
        b"/openai/deployments/a\0/chat/completions", b"/openai/deployments/a%252e/chat/completions",
        b"/openai/deployments/a//chat/completions", b"/openai//v1/chat/completions", b"//openai/v1/chat/completions",
        b"/openai/deployments/a/chat/completions/", b"/openai/deployments/a/chat/completions;x",
        b"/openai/deployments/a?x#y/chat/completions", b"/openai/deployments/a#y/chat/completions",
        b"/openai/deployments/.a/chat/completions", b"/openai/deployments/-a/chat/completions",
        b"/openai/deployments/" + b"a" * 65 + b"/chat/completions", b"/openai/deployments/a/chat\\completions",
        b"/openai/deployments/a\r\nx: y/chat/completions", "/openai/deployments/\u00e9/chat/completions".encode(),
        b"/openai/deployments/a/extensions/chat/completions", b"/OpenAI/v1/chat/completions", b"/v1/chat/completions ",
        b"/v1/chat%2fcompletions", b"/v1/../v1/chat/completions", b"/v1/embedding", b"/v1/chat", b"/openai/deployments/a",
        b"/openai/deployments/a\n/chat/completions", b"http://other/v1/chat/completions", b"/v2/chat/completions",
    ],
    ids=repr,
)  # fmt: skip
def test_any_other_path_is_404(path: bytes) -> None:
    assert PATHS.match("POST", path, b"") == "route.path"
    assert PATHS.match("GET", path, b"") == "route.path"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "CONNECT", "post", ""])
def test_the_right_path_with_another_method_is_405(method: str) -> None:
    PATHS.match("POST", DEPLOYMENT, b"")  # what is remembered of one method serves no other
    assert PATHS.match(method, DEPLOYMENT, b"") == "route.method"
    assert PATHS.match(method, b"/v1/chat/completions", b"") == "route.method"


@pytest.mark.parametrize(
    "query",
    [
        b"api-version=", b"api-version", b"api-version=2024", b"api-version=2024-10-21-PREVIEW", b"api-version=v2",
        b"api-version=../../x", b"api-version=2024-10-21%0d%0ax", b"api-version=2024-10-21\r\nx: y", b"api-version=" + b"1" * 10_000,
        b"api-version=2024-10-21/../..", b"api-version=2024-10-21?x", b"api-version=2024-10-21 ", b"api-version=2024-10-21\n",
        b"api-version=2024-10-21&api-version=2024-06-01", b"api-version=2024-10-21&API-VERSION=preview",
        "api-version=\u0662\u0660\u0662\u0664-10-21".encode(),
    ],
    ids=lambda q: repr(q[:40]),
)  # fmt: skip
def test_a_version_outside_the_grammar_is_refused_on_every_family(query: bytes) -> None:
    for path in (DEPLOYMENT, b"/openai/chat/completions", b"/v1/chat/completions", b"/openai/v1/chat/completions"):
        assert PATHS.match("POST", path, query) == "request.api_version"


@given(
    st.binary(max_size=80) | st.text(alphabet="/openaidplymts.%;v1chcx?#", max_size=60).map(str.encode),
    st.binary(max_size=40),
)
def test_random_request_lines_raise_nothing(path: bytes, query: bytes) -> None:
    PATHS.match("POST", path, query)
    PATHS.match("POST", DEPLOYMENT, query)
    PATHS.match("POST", b"/openai/deployments/" + path + b"/chat/completions", b"")


@given(st.binary(min_size=1, max_size=70))
def test_a_deployment_name_is_letters_digits_and_three_signs(name: bytes) -> None:
    match = PATHS.match("POST", b"/openai/deployments/" + name + b"/chat/completions", b"")
    plain = (
        name[:1].isalnum()
        and len(name) <= 64
        and all(chr(c).isascii() and (chr(c).isalnum() or c in b"._-") for c in name)
    )
    assert (match == "route.path") is not plain


def test_the_memory_of_request_lines_is_bounded() -> None:
    paths = Paths(APIS.values())
    for i in range(3000):
        paths.match("POST", b"/v1/chat/completions", b"x=%d" % i)
    paths.match("POST", b"/v1/chat/completions", b"x=" + b"1" * 8000)
    assert len(paths._seen) <= paths.SEEN_MOST
    assert all(len(path) + len(query) <= paths.SEEN_BYTES for _, path, query in paths._seen)


# ---------------------------------------------------------------------- rows that lie elsewhere


def made(
    name: str, method: str, path: str, bases: tuple[tuple[str, bool], ...], below: str = "", dialect: str = "openai"
) -> Any:
    return SimpleNamespace(
        name=name, method=method, model_path=path, deployment_path=below, bases=bases, dialect=dialect
    )


ELSEWHERE = Paths([
    *APIS.values(),
    made("list", "GET", "/things", OPENAI),
    made("one", "GET", "/things/{model}", OPENAI),
    made("unmake", "DELETE", "/things/{model}", OPENAI),
    made("part", "GET", "/things/{model}/part", (("/v1", False),)),
    made("talk", "POST", "/v1/talk", (("/there", False), ("", False))),
    made("dated", "POST", "/chat", (("/models", True),), "/talk"),
])  # fmt: skip


@pytest.mark.parametrize(
    ("method", "url", "name", "model", "version", "base"),
    [
        ("GET", b"/v1/things", "list", None, None, "/v1"),
        ("GET", b"/openai/things?api-version=2024-10-21", "list", None, "2024-10-21", "/openai"),
        ("GET", b"/openai/v1/things/gpt-4o", "one", "gpt-4o", None, "/openai/v1"),
        ("DELETE", b"/openai/v1/things/gpt-4o", "unmake", "gpt-4o", None, "/openai/v1"),
        ("GET", b"/v1/things/a/part", "part", "a", None, "/v1"),
        ("POST", b"/v1/talk", "talk", None, None, ""),
        ("POST", b"/there/v1/talk?api-version=2024-10-21", "talk", None, None, "/there"),
        ("POST", b"/models/chat?api-version=2024-05-01-preview", "dated", None, "models/2024-05-01-preview", "/models"),
        ("POST", b"/openai/deployments/m/talk?api-version=2024-10-21", "dated", "m", "2024-10-21",
         "/openai/deployments/{model}"),
        ("POST", b"/v1/chat/completions", "chat_completions", None, None, "/v1"),
    ],
)  # fmt: skip
def test_a_row_lies_below_its_own_bases(
    method: str, url: bytes, name: str, model: str | None, version: str | None, base: str
) -> None:
    path, _, query = url.partition(b"?")
    match = ELSEWHERE.match(method, path, query)
    assert not isinstance(match, str), match
    assert (match.api.name, *match[1:]) == (name, model, version, base)


@pytest.mark.parametrize(
    ("method", "path", "reason"),
    [
        ("POST", b"/v1/things", "route.method"), ("GET", b"/v1/talk", "route.method"),
        ("POST", b"/v1/things/a", "route.method"), ("GET", b"/openai/things/a/part", "route.path"),
        ("GET", b"/v1/things/", "route.path"), ("GET", b"/v1/things/a/", "route.path"),
        ("GET", b"/v1/things/..", "route.path"), ("GET", b"/v1/things/a%2fpart", "route.path"),
        ("GET", b"/v1/things//part", "route.path"), ("POST", b"/models/talk", "route.path"),
        ("POST", b"/there/talk", "route.path"), ("POST", b"/openai/v1/talk", "route.path"),
    ],
)  # fmt: skip
def test_and_nowhere_else(method: str, path: bytes, reason: str) -> None:
    assert ELSEWHERE.match(method, path, b"") == reason


def test_two_rows_cannot_lie_at_the_same_place() -> None:
    with pytest.raises(ValueError, match=r"/v1/things/\{model\} is both one and again"):
        Paths(
            [made("one", "GET", "/things/{model}", OPENAI), made("again", "GET", "/v1/things/{model}", (("", False),))]
        )


def test_whose_errors_are_read_is_known_of_any_target_below_a_base_of_their_own() -> None:
    rows = [
        made("chat", "POST", "/chat/completions", (("/v1", False),)),
        made("messages", "POST", "/messages", (("/anthropic/v1", False), ("/v1", False)), dialect="anthropic"),
    ]
    paths = Paths(rows)
    for target in (
        b"/anthropic/v1/messages",
        b"/anthropic/v1/nothing?x",
        b"/v1/messages",
        b"/v1/messages/count_tokens",
    ):
        assert paths.dialect(target) == "anthropic"
    for target in (b"/v1/chat/completions", b"/v1/models", b"/anthropic", b"", b"x" * 100, b"/"):
        assert paths.dialect(target) == "openai"


@pytest.mark.parametrize(
    ("line", "name", "version"),
    [
        (b"/models/chat/completions?api-version=2024-05-01-preview", "chat_completions", "models/2024-05-01-preview"),
        (b"/models/embeddings?api-version=2024-05-01-preview", "embeddings", "models/2024-05-01-preview"),
        (b"/models/chat/completions", "chat_completions", "models/"),
        (b"/anthropic/v1/messages", "messages", None), (b"/v1/messages", "messages", None),
        (b"/v1/messages?beta=true", "messages", None), (b"/anthropic/v1/messages/count_tokens?beta=true", "count_tokens", None),
        (b"/v1/messages/count_tokens", "count_tokens", None),
    ],
)  # fmt: skip
def test_foundrys_and_anthropics_clients_come_by_their_own_urls(line: bytes, name: str, version: str | None) -> None:
    path, _, query = line.partition(b"?")
    match = PATHS.match("POST", path, query)
    assert not isinstance(match, str) and (match.api.name, match.path_model, match.api_version) == (name, None, version)


@pytest.mark.parametrize(
    "path",
    [b"/openai/v1/messages", b"/openai/messages", b"/anthropic/messages", b"/anthropic/v1/chat/completions", b"/models/messages",
     b"/models/completions", b"/anthropic/v1/messages/", b"/anthropic//v1/messages", b"/anthropic/v1/messages/batches"],
)  # fmt: skip
def test_no_dialect_lies_below_anothers_base(path: bytes) -> None:
    assert PATHS.match("POST", path, b"") == "route.path"


@pytest.mark.parametrize("name", [name for name, row in APIS.items() if row.bases[:3] == OPENAI])
def test_every_operation_of_openai_is_reached_both_ways(name: str) -> None:
    row = APIS[name]
    urls = [(base + row.model_path, None) for base, _ in OPENAI]
    if row.deployment_path:
        urls.append((f"/openai/deployments/m{row.deployment_path}", "m"))
    for url, model in urls:
        match = PATHS.match(row.method, url.encode(), b"api-version=2024-10-21")
        assert not isinstance(match, str)
        assert (match.api, match.path_model) == (row, model)
        assert match.api_version == (None if "/v1/" in url else "2024-10-21")
