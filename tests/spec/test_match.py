"""`match` as it is declared: what it becomes, and what of it can never work, each at the character where it stands."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import indent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.core.caller import Callers, Consumer
from sluicegate.core.principal import Principal
from sluicegate.core.snapshot import Match
from sluicegate.spec import nodes
from sluicegate.spec.diff import compare, told, words
from sluicegate.spec.load import Loaded, load
from sluicegate.spec.nodes import Scalar
from sluicegate.spec.problems import Problems
from sluicegate.spec.references import Sources

HEAD = """\
version: 1
gateway: {secrets: ["${env:SECRET}"]}
instances:
  weu: {endpoint: https://weu.example, auth: none, deployments: {gpt-4o: {model: gpt-4o, version: 2024-11-20}}}
models: {chat: {use: gpt-4o@2024-11-20}}
"""
ISSUERS = """\
issuers:
  contoso: {kind: entra, tenant_id: 11110000-0000-4000-8000-000000000003, audience: api://sluicegate}
"""
BOTH = ISSUERS + "  partner: {kind: oidc, issuer: https://id.partner.example, audience: sluicegate}\n"
GUID = "0a1b0000-0000-4000-8000-00000000000"


def read(consumers: str, issuers: str = BOTH, base: str = ".") -> Loaded:
    text = HEAD + issuers + "consumers:\n" + indent(consumers.strip("\n") + "\n", "  ")
    env = {"SECRET": "s" * 32, "KEY": "k" * 32, "AZP": "app-from-elsewhere"}
    return load(text.encode(), "g.yaml", base, Sources(env), ("chat_completions",))


def match(text: str, issuers: str = BOTH) -> Match:
    loaded = read(f"app:\n  models: [chat]\n  match: {text}\n", issuers)
    assert loaded.errors == [], loaded.errors
    assert loaded.directory is not None
    found = loaded.directory.consumers[0].match
    assert found is not None
    return found


def problems(text: str, issuers: str = BOTH, severity: str = "error") -> list[str]:
    """Of one consumer's match, which begins at column 12 of the line that is called 1."""
    loaded = read(f"app:\n  models: [chat]\n  match: {text}\n", issuers)
    first = HEAD.count("\n") + issuers.count("\n") + 4
    return [
        f"{p.place.line - first}:{p.place.column} {p.path}: {p.what}" + (f" | {p.hint}" if p.hint else "")
        for p in loaded.problems
        if p.severity == severity and "gateway.secrets" not in p.path
    ]


# ---------------------------------------------------------------- what it becomes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{{issuer: contoso, azp: {GUID}4}}", Match("contoso", (("azp", (f"{GUID}4",)),))),
        ("{issuer: contoso, roles: [a, b], azpacr: 2}", Match("contoso", (("roles", ("a", "b")), ("azpacr", ("2",))))),
        ("{issuer: partner}", Match("partner")),
        ("{issuer: partner, flag: true, n: 007}", Match("partner", (("flag", ("true",)), ("n", ("007",))))),
        ("{issuer: partner, 'https://x.example/role': a}", Match("partner", (("https://x.example/role", ("a",)),))),
        ("{issuer: contoso, azp: '${env:AZP}'}", Match("contoso", (("azp", ("app-from-elsewhere",)),))),
    ],
)
def test_a_map_becomes_texts_to_compare(text: str, expected: Match) -> None:
    assert match(text) == expected


def test_with_one_issuer_that_one_is_meant() -> None:
    assert match("{azp: x}", ISSUERS) == Match("contoso", (("azp", ("x",)),))


def test_an_expression_becomes_a_tree_under_the_one_issuer_that_it_can_be_true_of() -> None:
    found = match("issuer == \"partner\" && 'llm' in scp && !(azp in ['blocked-1'])")
    assert found.issuer == "partner" and found.tree is not None and found.tree.op == "&&"
    assert found.text == "issuer == \"partner\" && 'llm' in scp && !(azp in ['blocked-1'])"
    assert match("scp.exists(s, s == 'llm')").issuer == ""
    assert match("scp.exists(s, s == 'llm')", ISSUERS).issuer == "contoso"
    assert match("issuer != 'partner' && has(claims.azp)").issuer == "contoso"


def test_what_was_declared_lets_in_whom_it_says() -> None:
    loaded = read(f"""
recommender: {{match: {{issuer: contoso, azp: {GUID}4}}, models: [chat]}}
nightly: {{match: {{issuer: contoso, roles: [llm.batch]}}, models: [chat]}}
partner-app:
  match: issuer == "partner" && "llm" in scp && !(azp in ["blocked-1"])
  each: azp
  models: [chat]
both: {{key: "${{env:KEY}}", match: {{issuer: partner, sub: both}}, models: [chat]}}
""")
    assert loaded.errors == [] and loaded.directory is not None
    callers = Callers(loaded.directory)

    def who(issuer: str, **claims: object) -> str:
        found = callers.match(Principal(issuer, claims, b"", 0.0))
        return found.name if isinstance(found, Consumer) else found

    assert who("contoso", azp=f"{GUID}4", roles=["llm.batch"]) == "recommender"
    assert who("contoso", appid=f"{GUID}5", roles=["llm.batch"]) == "nightly"
    assert who("partner", azp="a", scp="openid llm") == "partner-app:a"
    assert who("partner", azp="blocked-1", scp="openid llm") == "identity.unmatched"
    assert who("contoso", azp="a", scp="llm") == "identity.unmatched"
    assert who("partner", sub="both") == "both"
    by_key = callers.who([b"k" * 32])
    assert isinstance(by_key, Consumer) and by_key.name == "both"


# ---------------------------------------------------------------- what can never work


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{issuer: contosso, azp: x}", '0:21 consumers.app.match.issuer: no issuer is called "contosso"; did you mean '
         '"contoso"? | declared: contoso, partner'),
        ("{azp: x}", "0:12 consumers.app.match: says claims of no issuer: another one could make a token that says the same "
         "| write issuer: one of contoso, partner"),
        ("{}", "0:12 consumers.app.match: is empty | write a map of claims and their values, or an expression over claims, "
         "or remove the key"),
        ("", "0:11 consumers.app.match: is empty | write a map of claims and their values, or an expression over claims, "
         "or remove the key"),
        ("[a]", "0:12 consumers.app.match: is a list, not a map of claims and their values, or an expression over claims "
         "| several ways to be one consumer: write an expression with ||"),
        ("{issuer: contoso, azp: []}", "0:35 consumers.app.match.azp: is an empty list | write the values of which one must "
         "be there, or remove the key"),
        ("{issuer: contoso, azp: {a: b}}", "0:35 consumers.app.match.azp: is a map: what is deeper in a claim is for "
         "expressions | write match: claims.name.field == ..."),
        ("{issuer: contoso, azp: }", "0:35 consumers.app.match.azp: is empty | write a value such as "
         "0a1b0000-0000-4000-8000-000000000004, or remove the key"),
        ("azp = 'x'", "0:16 consumers.app.match: = is not part of the language | to compare, write =="),
        ("tid > 3", "0:16 consumers.app.match: > cannot compare text with a whole number | claims such as azpacr are texts: "
         "write the number in quotes"),
        ("azp == '${env:AZP}'", "0:20 consumers.app.match: references do not stand in expressions: a value could change what "
         "they mean | write the value out, or a map, which takes references"),
        ("issuer == 'contosso' && azp == 'x'", '0:22 consumers.app.match: no issuer is called "contosso"; did you mean '
         '"contoso"? | declared: contoso, partner'),
        ("azp == 'x' && false", "0:12 consumers.app.match: can never match: it is not true of any token | write what some "
         "token says"),
        ("issuer == ''", "0:12 consumers.app.match: can never match: it is not true of any token | write what some token "
         "says"),
        ("{certificate: {dns: x}}", "0:13 consumers.app.match.certificate: can never match: no client is asked for a "
         "certificate | write gateway.listen.tls.client"),
        ("{headers: {x-tenant: x}}", "0:13 consumers.app.match.headers: can never match: headers are believed only of a proxy "
         "that is trusted | write gateway.trusted_proxies: [10.0.0.0/8]"),
        ("'has(certificate.dns)'", "0:12 consumers.app.match: can never match: no client is asked for a certificate | write "
         "gateway.listen.tls.client"),
        ("headers['x-tenant'] == 'a'", "0:12 consumers.app.match: can never match: headers are believed only of a proxy that "
         "is trusted | write gateway.trusted_proxies: [10.0.0.0/8]"),
    ],
)  # fmt: skip
def test_what_can_never_match_is_refused(text: str, expected: str) -> None:
    assert problems(text) == [expected]


def test_without_issuers_nobody_has_claims() -> None:
    assert problems("{azp: x}", "") == [
        "0:12 consumers.app.match: no issuer is declared whose tokens could have claims | declare it under issuers:"
    ]
    assert problems("azp == 'x'", "") == [
        "0:12 consumers.app.match: no issuer is declared whose tokens could be looked at | declare it under issuers:"
    ]


@pytest.mark.parametrize(
    ("block", "line", "column"),
    [
        ('"azp == \\"x\\" && tid > 3"', 0, 33),
        ("'azp == ''x'' && tid > 3'", 0, 33),
        ("azp == 'x' &&\n    tid > 3", 1, 11),
        ("|\n    azp == 'x'\n      && tid > 3\n", 2, 16),
        (">-\n    azp == 'x'\n    && tid > 3\n", 2, 14),
        ('"azp == \\"é\\" &&\n    tid > 3"', 1, 11),
    ],
)
def test_a_mistake_is_shown_at_its_character_however_the_text_is_written(block: str, line: int, column: int) -> None:
    (said,) = problems(block)
    assert said.startswith(f"{line}:{column} consumers.app.match: > cannot compare")


@given(st.text(alphabet="aé \"'\\\n\t𝄞:#", max_size=30), st.sampled_from(["'", '"', "|"]))
def test_every_character_of_a_scalar_has_its_place(text: str, style: str) -> None:
    """Written by hand, read by the reader: what stands at the place of a character is that character, or its escape."""
    if style == '"':
        escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
        source = "k: " + '"' + "".join(escapes.get(c, c) for c in text) + '"\n'
    elif style == "'":
        text = text.replace("\n", "").replace("\t", "")
        source = "k: '" + text.replace("'", "''") + "'\n"
    else:
        text = text.replace("\t", "").strip(" \n")
        if not text or any(line.startswith(" ") and not line.strip() for line in text.split("\n")):
            return
        source = "k: |\n" + "".join(f"  {line}\n" if line else "\n" for line in text.split("\n"))
    found = nodes.read(source.encode(), "f", Problems())
    assert found is not None
    scalar = found.items["k"]
    assert isinstance(scalar, Scalar)
    lines = source.split("\n")
    for n, c in enumerate(text):
        if scalar.text[n : n + 1] != c or c == "\n":
            continue
        place = scalar.inside(n)
        there = lines[place.line - 1][place.column - 1 :]
        assert there.startswith((c, "\\")), (source, n, c, place)


@pytest.mark.parametrize("text", ["{headers: {api-key: x}}", "headers['authorization'].startsWith('x')"])
def test_headers_of_credentials_are_for_no_rule(text: str) -> None:
    said = [p for p in problems(text) if "trusted" not in p]
    assert len(said) == 1 and "is a header of credentials, which rules are not shown" in said[0]


# ---------------------------------------------------------------- one against the other


def pair(first: str, second: str) -> list[str]:
    loaded = read(f"a: {{models: [chat], match: {first}}}\nb: {{models: [chat], match: {second}}}\n")
    return [f"{p.path}: {p.what}" for p in loaded.errors]


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ("{issuer: contoso, azp: x}", "{issuer: contoso, azp: x}", "azp"),
        ("{issuer: contoso, azp: [w, x]}", "{issuer: contoso, azp: [x, y]}", "azp"),
        ("{issuer: contoso, azp: x}", "{issuer: contoso, appid: x}", "appid"),
        ("{issuer: contoso, azp: x}", "{issuer: contoso, azp: x, roles: [r]}", "azp"),
        ("{issuer: contoso, azp: x}", "{issuer: contoso, azp: x, oid: u}", "azp"),
        ("{issuer: contoso, azp: x, oid: u}", "{issuer: contoso, azp: x}", "azp"),
        ("{issuer: contoso, oid: u}", "{issuer: contoso, oid: u, tid: t}", "oid"),
        ("{issuer: contoso, azp: x}", "{issuer: partner, azp: x}", ""),
        ("{issuer: contoso, azp: x}", "{issuer: contoso, azp: y}", ""),
        ("{issuer: contoso, azp: x, oid: u}", "{issuer: contoso, azp: x, oid: v}", ""),
        ("{issuer: contoso, azp: x, azpacr: 1}", "{issuer: contoso, azp: x, azpacr: 2}", ""),
        ("{issuer: contoso, azp: x, idtyp: app}", "{issuer: contoso, appid: x, idtyp: user}", ""),
        ("{issuer: contoso, azp: x}", "{issuer: contoso, oid: x}", ""),
        ("{issuer: contoso, azp: x, roles: [a]}", "{issuer: contoso, azp: x, roles: [b]}", "azp"),
    ],
)
def test_two_rules_that_fix_one_principal_are_refused_unless_a_claim_tells_them_apart(
    first: str, second: str, clash: str
) -> None:
    said = pair(first, second)
    if clash:
        (only,) = said
        claim = "azp" if clash == "appid" else clash
        assert only.startswith((f"consumers.b.match.{clash}: is the {claim} of consumers.a too (g.yaml:",))
    else:
        assert said == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{issuer: contoso, roles: [a, b]}", "{issuer: contoso, roles: [b, a]}"),
        ("{issuer: contoso, tid: t, roles: a}", "{issuer: contoso, roles: a, tid: t}"),
        ("{issuer: contoso}", "{issuer: contoso}"),
        ("'\"a\" in roles'", "'\"a\"  in roles'"),
    ],
)
def test_two_rules_that_say_the_same_are_refused(first: str, second: str) -> None:
    (said,) = pair(first, second)
    assert said.startswith("consumers.b.match: says what the match of consumers.a says (g.yaml:")


@pytest.mark.parametrize(
    ("first", "second", "inside"),
    [
        ("{issuer: contoso}", "{issuer: contoso, roles: a}", "b"),
        ("{issuer: contoso, roles: a, tid: t}", "{issuer: contoso, tid: t}", "a"),
        ("{issuer: contoso, roles: [a, b]}", "{issuer: contoso, roles: [b, a], groups: g, tid: t}", "b"),
        ("{issuer: contoso, roles: a}", "{issuer: contoso, roles: b, tid: t}", ""),
        ("{issuer: contoso}", "{issuer: partner, roles: a}", ""),
        ("{issuer: contoso, azp: x}", "{issuer: contoso}", ""),
        ("{issuer: contoso, roles: a}", "{issuer: contoso, roles: [a, b], tid: t}", ""),
    ],
)
def test_a_rule_whose_callers_are_all_anothers_too_is_refused(first: str, second: str, inside: str) -> None:
    said = pair(first, second)
    if inside:
        other = "b" if inside == "a" else "a"
        (only,) = said
        assert only.startswith(
            f"consumers.{inside}.match: lets in nobody: who meets it meets the match of consumers.{other} too (g.yaml:"
        )
    else:
        assert said == []


# ---------------------------------------------------------------- each, end users, lints


def test_each_wants_a_claim_of_one_value_and_a_match() -> None:
    def said(text: str) -> list[str]:
        return [f"{p.path}: {p.what}" for p in read(text).errors]

    assert said("a: {models: [chat], key: '${env:KEY}', each: azp}") == [
        "consumers.a.each: has no effect without match"
    ]
    assert said("a: {models: [chat], match: {issuer: partner}, each: roles}") == [
        'consumers.a.each: "roles" may have several values in one token'
    ]
    loaded = read("a: {models: [chat], match: {issuer: partner}, each: azp, end_user: claim:sub}")
    assert loaded.directory is not None
    (entry,) = loaded.directory.consumers
    assert entry.match == Match("partner", each="azp") and entry.end_user == "claim:sub"


@pytest.mark.parametrize(
    ("text", "severity", "expected"),
    [
        ("{issuer: contoso, preferred_username: x}", "warning", "0:50 consumers.app.match.preferred_username: lets in by "
         "preferred_username: it changes when somebody is renamed (E5) | oid and sub never change and are never given to "
         "another; azp names the application"),
        ("issuer == 'contoso' && email.endsWith('@x')", "warning", "0:12 consumers.app.match: lets in by email: nobody may "
         "have checked it, and it is given to another when somebody leaves (E5) | oid and sub never change and are never "
         "given to another; azp names the application"),
        ("{issuer: contoso, azp: 0A1B0000-0000-4000-8000-000000000004}", "warning", "0:35 consumers.app.match.azp: has "
         "capitals, and tokens of Entra have small letters: it would not match | write "
         "0a1b0000-0000-4000-8000-000000000004"),
        ("{issuer: contoso, rols: x}", "note", '0:36 consumers.app.match.rols: no usual claim is called "rols"; was "roles" '
         "meant?"),
        ("issuer == 'contoso' && gruops.exists(g, true)", "note", '0:12 consumers.app.match: no usual claim is called '
         '"gruops"; was "groups" meant?'),
        ("issuer == 'contoso'", "warning", "0:12 consumers.app.match: is true of every caller of contoso | is that meant?"),
        ("azp == 'x'", "warning", "0:12 consumers.app.match: names no issuer: each of them can make a token that says so | "
         'begin it with issuer == "contoso" &&'),
    ],
)  # fmt: skip
def test_what_may_not_do_as_people_hope_is_said(text: str, severity: str, expected: str) -> None:
    assert expected in problems(text, severity=severity)


# ---------------------------------------------------------------- lines, diff, many


def test_lines_of_a_directory_have_rules_too(tmp_path: Path) -> None:
    lines = [
        {"name": "a", "match": {"issuer": "contoso", "oid": "u1"}, "models": ["chat"]},
        {"name": "b", "match": "issuer == 'partner' && 'x' in scp", "models": ["chat"], "each": "azp"},
        {"name": "c", "match": {"issuer": "contoso", "azpacr": 2, "roles": ["r"]}, "models": ["chat"]},
    ]
    (tmp_path / "people.jsonl").write_text("\n".join(map(json.dumps, lines)))
    text = (HEAD + BOTH + "directory: people.jsonl\n").encode()
    loaded = load(text, "g.yaml", str(tmp_path), Sources({"SECRET": "s" * 32}), ("chat_completions",))
    assert loaded.errors == [] and loaded.directory is not None
    a, b, c = (entry.match for entry in loaded.directory.consumers)
    assert a == Match("contoso", (("oid", ("u1",)),))
    assert b is not None and b.each == "azp" and b.issuer == "partner" and b.tree is not None
    assert c == Match("contoso", (("azpacr", ("2",)), ("roles", ("r",))))


@pytest.mark.parametrize(
    ("line", "place", "what"),
    [
        ('{"name": "a", "match": "tid > 3", "models": ["chat"]}', "1:29", "> cannot compare text with a whole number"),
        ('{"name": "a", "match": {"issuer": "nope"}, "models": ["chat"]}', "1:35", 'no issuer is called "nope"'),
        ('{"name": "a", "match": {}, "models": ["chat"]}', "1:", "is empty"),
        ('{"name": "a", "match": {"issuer": "contoso", "oid": "u"}, "models": ["chat"]}\n'
         '{"name": "b", "match": {"issuer": "contoso", "oid": "u"}, "models": ["chat"]}', "2:53",
         "is the oid of consumers.a too (people.jsonl:1:24)"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_line_is_shown_there(line: str, place: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "people.jsonl").write_text(line)
    text = (HEAD + BOTH + "directory: people.jsonl\n").encode()
    loaded = load(text, "g.yaml", str(tmp_path), Sources({"SECRET": "s" * 32}), ("chat_completions",))
    said = [f"{p.place.line}:{p.place.column} {p.what}" for p in loaded.errors]
    assert any(s.startswith(place) and what in s for s in said), said


def test_a_hundred_thousand_rules_are_checked_in_a_moment(tmp_path: Path) -> None:
    """Steps grow with their number, not with its square: two that clash are found among them all the same."""
    path = tmp_path / "people.jsonl"
    count = 30_000
    with path.open("w") as f:
        for n in range(count):
            f.write(f'{{"name":"c{n}","match":{{"issuer":"contoso","azp":"app","oid":"u{n}"}},"models":["chat"]}}\n')
        f.write('{"name":"last","match":{"issuer":"contoso","oid":"u777"},"models":["chat"]}\n')
    text = (HEAD + BOTH + "directory: people.jsonl\n").encode()
    loaded = load(text, "g.yaml", str(tmp_path), Sources({"SECRET": "s" * 32}), ("chat_completions",))
    (only,) = loaded.errors
    assert only.path == "consumers.last.match.oid" and "is the oid of consumers.c777 too" in only.what


def test_a_change_of_a_rule_is_told_in_words() -> None:
    def of(text: str):
        loaded = read(text)
        assert loaded.document is not None and loaded.directory is not None, loaded.errors
        return told(loaded.document, loaded.directory, loaded.hash)

    before = of("a: {models: [chat], match: {issuer: contoso, azp: x}}\nb: {models: [chat], key: '${env:KEY}'}")
    after = of(
        "a: {models: [chat], match: {issuer: contoso, azp: [x, y]}, each: azp}\nb: {models: [chat], key: '${env:KEY}'}"
    )
    assert words(compare(before, after)).splitlines()[0] == (
        "consumers.a: match: {issuer: contoso, azp: x} -> {issuer: contoso, azp: [x, y]}, each azp"
    )
    gone = of("a: {models: [chat], key: '${env:SECRET}'}\nb: {models: [chat], key: '${env:KEY}'}")
    assert "match: {issuer: contoso, azp: x} removed" in words(compare(before, gone))
    assert before.hash != after.hash != gone.hash
