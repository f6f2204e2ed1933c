"""Secrets: they stand nowhere in the file, and they come out nowhere but on the wire."""

import re
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.spec.language import Document
from sluicegate.spec.problems import render
from sluicegate.spec.sections import Listing, Named, Section
from tests.spec.reading import SMALLEST, compiled, found, loaded, swapped

CANARY = "canary-5f2a9c10-never-shown"


@pytest.mark.parametrize(
    "literal",
    [CANARY, f"'{CANARY}'", f"!{CANARY}", f"&{CANARY}", f"*{CANARY}", f"[{CANARY}]", f"{{{CANARY}: 1}}", f"x${{env:{CANARY}",
     f"${{env:APP_KEY|{CANARY}}}", f"{CANARY}: {CANARY}", f"'{CANARY}", f"@{CANARY}", f"sgk1:0:{CANARY}"],
)  # fmt: skip
@pytest.mark.parametrize("field", ["${env:AOAI_KEY}", "${env:APP_KEY}", '"${env:SECRET}"'])
def test_a_literal_secret_is_refused_and_not_repeated(field: str, literal: str):
    result = loaded(swapped(field, literal))
    assert result.problems.fatal
    report = render(result.problems)
    assert CANARY not in report.replace(f'unknown key "{CANARY}"', "")


def test_what_a_secret_must_be_is_said():
    must = "must be a reference, and nothing else: secrets do not stand in the file"
    instead = "write ${env:NAME} or ${file:/run/secrets/name}, and put the secret there"
    assert found(swapped("${env:APP_KEY}", "literal")) == [f"16:10 consumers.my-app.key: {must} | {instead}"]
    assert found(swapped("${env:APP_KEY}", "sgk1:5f2a9c10:Jm0w4r2m")) == [
        "16:10 consumers.my-app.key: begins like the digest of a key and is none | "
        "it is sgk1:, eight hex digits, a colon and 22 characters"
    ]
    assert found(swapped("https://contoso", f"https://me:{CANARY}@contoso")) == [
        "6:15 instances.weu.endpoint: has a user or password in it | credentials belong in auth:"
    ]


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ({"APP_KEY": ""}, "16:10 consumers.my-app.key: cannot be resolved: the environment variable APP_KEY is empty | "
         "set APP_KEY"),
        ({"APP_KEY": "a b"}, "16:10 consumers.my-app.key: has characters that no key has (blanks, controls, or beyond "
         "ASCII) | look for blanks, line ends and quotes around it"),
        ({"AOAI_KEY": "a\nx-evil: 1"}, "8:12 instances.weu.auth.key: has characters that no key has (blanks, controls, or "
         "beyond ASCII) | look for blanks, line ends and quotes around it"),
        ({"APP_KEY": "x" * 5000}, "16:10 consumers.my-app.key: is too long to be a secret | at most 4096 characters"),
        ({"SECRET": "short"}, "3:13 gateway.secrets: is too short to be a secret | at least 32 characters, for example "
         "from: openssl rand -hex 32"),
    ],
)  # fmt: skip
def test_a_secret_that_cannot_work_is_an_error(env: dict[str, str], problem: str):
    assert found(SMALLEST, env=env) == [problem]


def scalars(node: object) -> list[int]:
    """Offsets in the smallest file at which a value begins."""
    return [m.start(1) for m in re.finditer(r": ([^\s{\[][^,}\n]*)", SMALLEST)]


@pytest.mark.parametrize("at", scalars(None))
def test_a_secret_in_the_wrong_place_is_not_shown_either(at: int):
    end = re.compile(r"[,}\n]").search(SMALLEST, at)
    assert end
    text = SMALLEST[:at] + '"${env:CANARY}"' + SMALLEST[end.start() :]
    for value in (CANARY, f"{CANARY}@1", f"weu/{CANARY}", f"https://{CANARY}.example/openai", f"http://{CANARY}"):
        result = loaded(text, {"CANARY": value})
        assert CANARY not in render(result.problems)


def test_nothing_compiled_prints_its_secrets():
    snapshot, directory = compiled(SMALLEST, {"AOAI_KEY": CANARY, "APP_KEY": CANARY + "2", "SECRET": CANARY * 3})
    for text in (repr(snapshot), str(snapshot), f"{directory}", repr(directory)):
        assert CANARY not in text


def test_a_file_that_breaks_the_compiler_says_nothing_in_its_traceback(monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("sluicegate.spec.load.fingerprint", broken)
    with pytest.raises(RuntimeError) as caught:
        loaded(SMALLEST, {"AOAI_KEY": CANARY, "APP_KEY": CANARY + "2", "SECRET": CANARY * 3})
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=16, max_size=100))
def test_any_key_that_can_be_sent_is_accepted_as_it_is(key: str):
    snapshot, _ = compiled(SMALLEST, {"AOAI_KEY": key, "APP_KEY": key + "!"})
    secret = snapshot.instances[0].auth.secret
    assert secret is not None and secret.reveal() == key


def test_every_field_that_holds_a_secret_is_hidden():
    """By type: whatever is a Secret in the language is read by the kind that never shows it."""

    def walk(section: Section) -> list[str]:
        names = []
        for key, (kind, field) in section.fields.items():
            inner = kind.kind if isinstance(kind, Named | Listing) else kind
            if isinstance(inner, Section):
                names += walk(inner)
            elif re.search(r"\b(Secret|Key)\b", str(field.type)):
                assert type(inner).__name__ in ("Hidden", "Hook")
                names.append(key)
        return names

    assert sorted(walk(Section(Document))) == ["client_secret", "key", "keys", "secrets", "to"]


SINK = "telemetry: {alerts: [{to: '%s'}]}\n"


@pytest.mark.parametrize(
    "address",
    ["ftp://h/%s", "https://u:%s@h/", "https://h/%s#x", "http://169.254.169.254/%s", "https://h:0/%s", "http://2130706433/%s",
     "https://h/ %s", "%s", "https://[::1/%s", "https://h:99999/%s", "https://h/\u00e9%s"],
)  # fmt: skip
def test_an_address_that_may_hold_a_token_is_refused_without_showing_it(address: str):
    result = loaded(SMALLEST + SINK % "${env:HOOK}", {"HOOK": address % CANARY})
    assert result.problems.fatal and CANARY not in render(result.problems)


def test_of_an_address_with_a_token_only_the_host_is_shown():
    result = loaded(SMALLEST + SINK % "${env:HOOK}", {"HOOK": f"https://h.example/{CANARY}?sig={CANARY}"})
    assert result.snapshot is not None and CANARY not in repr(result.snapshot)
    (sink,) = result.snapshot.gateway.telemetry.alerts
    assert CANARY in sink.to.reveal()
    (problem,) = found(SMALLEST + SINK % f"https://h.example/x?sig={CANARY}")
    assert "has a query, which may be a secret" in problem and CANARY not in problem
