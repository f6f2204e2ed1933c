"""References: where they lead, and that what they lead to is never shown."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.apis import APIS
from sluicegate.spec.load import Loaded, load
from sluicegate.spec.references import LARGEST_FILE, Sources, Wrong, read_file


def resolve(text: str, secret: bool = False, **env: str) -> str:
    return Sources(env).resolve(text, secret).text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("${env:A}", "one"),
        ("x-${env:A}-${env:A}", "x-one-one"),
        ("${env:NOT_SET|other}", "other"),
        ("${env:EMPTY|other}", "other"),
        ("${env:NOT_SET|}", ""),
        ("${env:A|other}", "one"),
        ("$${env:A}", "${env:A}"),
        ("$$", "$$"),
        ("$A {A} $", "$A {A} $"),
        ("${env:TRICK}", "${env:A}"),
    ],
)
def test_a_reference_becomes_its_value_once(text: str, value: str):
    assert resolve(text, A="one", EMPTY="", TRICK="${env:A}") == value


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("${env:B}", "cannot be resolved: the environment variable B is not set"),
        ("${env:EMPTY}", "cannot be resolved: the environment variable EMPTY is empty"),
        ("${env:a b}", "does not name an environment variable"),
        ("${env:}", "does not name an environment variable"),
        ("${A}", "is not a reference we know"),
        ("${vault:x}", "is not a reference we know"),
        ("${keyvault:kv/x}", "leads to a key vault, which holds secrets only"),
        ("${env:A", "has a ${ that is not closed"),
        ("${env:B|${env:A}}", "has a ${ that is not closed"),
        ("${file:secrets/x}", "names a file by a relative path"),
        ("${file:/nowhere/at/all}", "cannot be read: no such file or directory"),
    ],
)
def test_what_leads_nowhere_says_so(text: str, what: str):
    with pytest.raises(Wrong) as caught:
        resolve(text, A="one", EMPTY="")
    assert caught.value.what == what
    assert caught.value.hint


@pytest.mark.parametrize("text", ["hunter2", "", "x${env:A}", "${env:A}${env:A}", "$${env:A}", "${env:A|default}"])
def test_a_secret_is_one_reference_and_nothing_else(text: str):
    with pytest.raises(Wrong) as caught:
        resolve(text, secret=True, A="one")
    assert "hunter2" not in str(caught.value) and "default}" not in caught.value.what


def test_a_file_loses_its_final_newline_only(tmp_path: Path):
    for content, value in ((b"a\nb\n", "a\nb"), (b"a\r\n", "a"), (b" a ", " a "), (b"a\n\n", "a\n")):
        (tmp_path / "f").write_bytes(content)
        assert resolve(f"${{file:{tmp_path}/f}}") == value


def test_files_that_are_none_or_endless_are_refused(tmp_path: Path):
    import os

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * (LARGEST_FILE + 1))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name, what in (
        ("pipe", "not a regular file"), ("large", "larger than 64 KiB"), ("binary", "not UTF-8"), (".", "regular|director"),
    ):  # fmt: skip
        with pytest.raises(Wrong, match=what):
            read_file(str(tmp_path / name))
    (tmp_path / "empty").write_bytes(b"\n")
    with pytest.raises(Wrong, match="empty file"):
        resolve(f"${{file:{tmp_path}/empty}}")


@given(st.text(max_size=60), st.text(max_size=20))
def test_whatever_the_value_it_is_taken_as_it_is(value: str, around: str):
    around = around.replace("$", "")
    if value:
        assert resolve(around + "${env:A}" + around, A=value) == around + value + around


@given(st.text(alphabet="${}|:env file/A", max_size=40))
def test_no_text_whatever_raises_anything_but_wrong(text: str):
    try:
        resolve(text, A="one")
    except Wrong:
        pass


# ---------------------------------------------------------------- key vaults


def asking(text: str, vault: Callable[[str], str] | None) -> str:
    return Sources({}, vault=vault).resolve(text, secret=True).text


def test_a_secret_of_a_key_vault_is_asked_for_by_its_name():
    asked = []

    def vault(reference: str) -> str:
        asked.append(reference)
        return "the-secret\n"

    assert asking("${keyvault:contoso-kv/notebook-key}", vault) == "the-secret"
    pinned = f"contoso-kv/notebook-key/{'a' * 32}"
    assert asking(f"${{keyvault:{pinned}}}", vault) == "the-secret"
    assert asked == ["contoso-kv/notebook-key", pinned]


@pytest.mark.parametrize(
    "name",
    ["kv", "kv/", "kv/a/b", "https://kv.vault.azure.net/x", "169.254.169.254/x", "kv.evil.example/x", "kv/a?b", "kv/../x",
     "-kv/x", "kv@evil/x", "kv/a/" + "A" * 32],
)  # fmt: skip
def test_what_is_no_secret_of_a_vault_is_never_asked_for(name: str):
    with pytest.raises(Wrong, match="does not name a secret of a key vault"):
        asking(f"${{keyvault:{name}}}", lambda reference: pytest.fail("was asked"))


def test_a_vault_that_cannot_be_asked_is_an_error_that_says_why():
    def vault(reference: str) -> str:
        raise LookupError("no connection to kv")

    with pytest.raises(Wrong) as caught:
        asking("${keyvault:kv1/x}", vault)
    assert caught.value.what == "cannot be read: no connection to kv" and "Key Vault Secrets User" in caught.value.hint


def test_where_vaults_are_not_asked_each_secret_has_a_stand_in_of_its_own():
    sources = Sources({})
    one, two = (sources.resolve(f"${{keyvault:kv1/{name}}}", secret=True).text for name in ("a", "b"))
    assert one != two and len(one) >= 32 and one == asking("${keyvault:kv1/a}", None)
    assert sources.pending("${keyvault:kv1/a}") and not Sources({}, vault=str).pending("${keyvault:kv1/a}")


class Many:
    """Vaults that hold some secrets, and count how often they are asked."""

    def __init__(self, held: dict[str, str]) -> None:
        self.held = held
        self.asked: list[list[str]] = []

    def __call__(self, reference: str) -> str:
        answer = self.many([reference])[reference]
        if isinstance(answer, LookupError):
            raise answer
        return answer

    def many(self, references: Sequence[str]) -> dict[str, str | LookupError]:
        self.asked.append(list(references))
        gone = LookupError("key vault kv1 answered 503")
        return {name: self.held.get(name, gone) for name in references}


def of_vaults(vault: Many, folder: Path, names: Sequence[str]) -> Loaded:
    consumers = "".join(
        f"  app-{n}:\n    key: ${{keyvault:{name}}}\n    models: [chat]\n" for n, name in enumerate(names)
    )
    (folder / "people.jsonl").write_text(
        '{"name": "of-a-line", "key": "${keyvault:kv1/line}", "models": ["chat"]}\n'
        '{"name": "of-another", "key": "${keyvault:kv1/other-line}", "models": ["chat"]}\n'
    )
    text = (
        "version: 1\ndirectory: people.jsonl\ninstances:\n  weu:\n    endpoint: https://a.openai.azure.com\n"
        "    auth:\n      key: ${keyvault:kv1/upstream}\n"
        "    deployments:\n      gpt-4o: {model: gpt-4o, version: 2024-11-20}\n"
        f"models:\n  chat:\n    use: gpt-4o@2024-11-20\nconsumers:\n{consumers}"
    )
    return load(text.encode(), "g.yaml", str(folder), Sources({}, vault=vault), tuple(APIS))


def test_secrets_of_vaults_are_asked_for_all_at_once(tmp_path: Path):
    names = [f"kv1/app-{n}" for n in range(30)]
    vault = Many({name: f"the-secret-of-{name}" for name in (*names, "kv1/upstream", "kv1/line", "kv1/other-line")})
    assert of_vaults(vault, tmp_path, names).hash
    assert [sorted(some) for some in vault.asked] == [sorted(["kv1/upstream", *names]), ["kv1/line", "kv1/other-line"]]


def test_what_keeps_many_secrets_from_being_read_is_said_once_with_their_names(tmp_path: Path):
    names = [f"kv1/app-{n}" for n in range(30)]
    vault = Many({"kv1/app-3": "the-secret-of-three"})
    loaded = of_vaults(vault, tmp_path, names)
    assert not loaded.hash and loaded.snapshot is None
    [said] = loaded.errors
    assert (said.place.line, said.path) == (7, "instances.weu.auth.key")
    assert said.what.startswith(
        "cannot be read: key vault kv1 answered 503; so for 29 more: kv1/app-0, kv1/app-1, kv1/app-2, kv1/app-4, "
    )
    assert said.what.endswith(" ...") and "Key Vault Secrets User" in said.hint


def test_two_reasons_are_two_errors(tmp_path: Path):
    vault = Many({"kv1/upstream": "the-upstream-key", "kv1/line": "the-key-of-a-line"})
    loaded = of_vaults(vault, tmp_path, ["kv1/a", "KV?", "kv1/b"])
    assert [(e.path, e.what.partition(";")[2]) for e in loaded.errors] == [
        ("consumers.app-0.key", " so for 1 more: kv1/b"), ("consumers.app-1.key", ""),
    ]  # fmt: skip
