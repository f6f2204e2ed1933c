"""Several files: includes join, later files override, consumers come by the line."""

import os
from pathlib import Path

from sluicegate.spec.load import Loaded, load_all
from sluicegate.spec.problems import Severity
from sluicegate.spec.references import Sources
from tests.spec.reading import ENV, SMALLEST

DIGEST = "sgk1:5f2a9c1{}:Jm0w4r2mJx9c5dYw1m7cQ{}"


def write(directory: Path, **files: str) -> None:
    for name, text in files.items():
        path = directory / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def loaded(directory: Path, *names: str, start: bool = False) -> Loaded:
    return load_all([str(directory / n) for n in names], Sources(ENV), ("chat_completions",), start)


def found(directory: Path, *names: str, severity: Severity = "error") -> list[str]:
    lines = []
    for p in loaded(directory, *names).problems.of(severity):
        hint = f" | {p.hint}" if p.hint else ""
        place = f"{Path(p.place.file).relative_to(directory)}:{p.place.line}:{p.place.column}"
        lines.append(f"{place} {p.path}: {p.what}{hint}".replace(f"{directory}/", ""))
    return lines


# ---------------------------------------------------------------- include


def test_included_sections_are_united_by_name(tmp_path: Path):
    write(
        tmp_path,
        base_yaml="include: [models/*.yaml, people.yaml]\n" + SMALLEST,
        models__a_yaml="models: {a: {use: gpt-4o@2024-11-20}}\n",
        models__b_yaml="version: 1\nmodels: {b: {use: gpt-4o@2024-11-20}}\n",
        people_yaml="consumers: {c: {key: '${env:SECRET}', models: [a, b]}}\nplans: {team: {models: [a]}}\n",
    )
    result = loaded(tmp_path, "base.yaml")
    assert result.errors == [] and result.snapshot and result.directory
    assert [m.name for m in result.snapshot.models] == ["chat", "a", "b"]
    assert [c.name for c in result.directory.consumers] == ["my-app", "c"]
    assert [Path(f).name for f in result.files] == ["base.yaml", "*.yaml", "a.yaml", "b.yaml", "people.yaml"]


def test_a_file_that_two_entries_mean_is_read_once(tmp_path: Path):
    write(
        tmp_path,
        base_yaml="include: [models/a.yaml, models/*.yaml]\n" + SMALLEST,
        models__a_yaml="models: {a: {use: gpt-4o@2024-11-20}}\n",
    )
    result = loaded(tmp_path, "base.yaml")
    assert result.errors == [] and result.snapshot
    assert [m.name for m in result.snapshot.models] == ["chat", "a"]


def test_one_name_in_two_files_is_an_error_that_names_both_places(tmp_path: Path):
    write(
        tmp_path,
        base_yaml=SMALLEST + "include: [a.yaml]\n",
        a_yaml="models:\n  chat: {use: x@1}\ngateway: {secrets: []}\nversion: 2\ninclude: [b.yaml]\n",
    )
    assert found(tmp_path, "base.yaml") == [
        'a.yaml:2:3 models: "chat" is written twice; it stands at base.yaml:12:3 too | keep one of them',
        'a.yaml:3:11 gateway: "secrets" is written twice; it stands at base.yaml:3:3 too | keep one of them',
        "a.yaml:4:1 version: is written twice; it stands at base.yaml:1:1 too | keep one of them",
        "a.yaml:5:1 include: stands in an included file | include it in the first file",
    ]


def test_an_include_that_leads_nowhere_or_out_is_an_error(tmp_path: Path):
    write(tmp_path, other__a_yaml="plans: {}\n", conf__link_yaml="", conf__base_yaml="")
    (tmp_path / "conf" / "out.yaml").symlink_to(tmp_path / "other" / "a.yaml")
    for pattern, what in [
        ("x.yaml", "matches no file | relative paths start beside this file"),
        ("../other/a.yaml", "leads out of this file's directory | write a relative path, without .."),
        (str(tmp_path / "other" / "a.yaml"), "leads out of this file's directory | write a relative path, without .."),
        ("out.yaml", "conf/out.yaml leads out of this file's directory | put the file itself there"),
        ("base.yaml", "means this file itself, and no other | name the files that belong to it"),
        ("{a: b}", "is not a file | write a path such as models/*.yaml, relative to this file"),
    ]:
        write(tmp_path, conf__base_yaml=f"include: [{pattern}]\n" + SMALLEST)
        assert found(tmp_path, "conf/base.yaml") == [f"conf/base.yaml:1:11 include: {what}"]
    write(tmp_path, conf__base_yaml="include: a.yaml\n" + SMALLEST)
    assert found(tmp_path, "conf/base.yaml") == [
        "conf/base.yaml:1:10 include: is not a list of files | write include: [models/*.yaml]"
    ]


# ---------------------------------------------------------------- overlays


def test_later_files_override_leaf_by_leaf_and_null_removes(tmp_path: Path):
    base = SMALLEST + "    limits: [60k tokens/minute]\n    tenant: a\ntenants: {a: {labels: {x: y, z: w}}}\n"
    over = """\
version: 1
models: {chat: {timeouts: {total: 1m}, use: [weu/gpt-4o]}}
consumers:
  my-app: {limits: [5 concurrent, 80k tokens/minute], labels: {env: prod}}
tenants: {a: {labels: {x: ~}}}
"""
    write(tmp_path, base_yaml=base, prod_yaml=over)
    result = loaded(tmp_path, "base.yaml", "prod.yaml")
    assert result.errors == [] and result.snapshot and result.directory
    assert result.snapshot.models[0].timeouts.total == 60.0
    assert [x.amount for x in result.directory.consumers[0].limits] == [5, 80_000]
    assert result.directory.tenants[0].labels == (("z", "w"),)
    said = [
        (".".join(map(str, o.path)), o.before.line, Path(o.now.file).name, o.now.line, o.removed)
        for o in result.overrides
    ]
    assert said == [
        ("models.chat.use", 13, "prod.yaml", 2, False),
        ("consumers.my-app.limits", 18, "prod.yaml", 4, False),
        ("tenants.a.labels.x", 20, "prod.yaml", 5, True),
    ]


def test_null_that_removes_nothing_and_errors_of_overlays_stand_where_they_were_written(tmp_path: Path):
    write(tmp_path, base_yaml=SMALLEST, prod_yaml="tenants: null\nmodels:\n  chat: {use: gpt-4o@2025}\n  x:\n")
    problems = found(tmp_path, "base.yaml", "prod.yaml")
    assert problems[:2] == [
        "prod.yaml:1:10 tenants: null removes nothing: it does not stand in an earlier file | remove the line",
        "prod.yaml:3:15 models.chat.use: no deployment offers gpt-4o@2025 | closest: gpt-4o@2024-11-20 (weu/gpt-4o)",
    ]
    assert len(problems) == 3 and problems[2].startswith("prod.yaml:4:5 models.x: is empty | write a map of use, ")


def test_a_file_that_is_not_there_is_said_for_each(tmp_path: Path):
    write(tmp_path, base_yaml=SMALLEST)
    assert found(tmp_path, "base.yaml", "x.yaml", "y.yaml") == [
        "x.yaml:1:1 : cannot be read: no such file or directory | name the file: -c gateway.yaml",
        "y.yaml:1:1 : cannot be read: no such file or directory | name the file: -c gateway.yaml",
    ]


# ---------------------------------------------------------------- consumers by the line


def with_lines(directory: Path, *lines: str) -> None:
    write(
        directory,
        base_yaml=SMALLEST + "directory: people.jsonl\nplans: {team: {models: [chat], limits: [6 concurrent]}}\n",
        people_jsonl="".join(line + "\n" for line in lines),
    )


def line(name: str, more: str = "", n: int = 0) -> str:
    return f'{{"name": "{name}", "key": "{DIGEST.format(n, "AQgw"[n % 4])}", "plan": "team"{more}}}'


def test_lines_are_consumers_like_others(tmp_path: Path):
    with_lines(
        tmp_path,
        line("a"),
        "",
        line("b", ', "limits": [{"tokens": 5000, "per": "minute"}], "labels": {"cost_centre": 12, "x": "y"}', 1),
        '{"name": "c", "keys": ["${env:SECRET}", "' + DIGEST.format(2, "w") + '"], "models": "all", "tenant": "t"}',
    )
    result = loaded(tmp_path, "base.yaml")
    assert result.errors == [] and result.directory
    mine, a, b, c = result.directory.consumers
    assert (mine.name, a.name, b.name, c.name) == ("my-app", "a", "b", "c")
    assert a.models == ("chat",) and [x.amount for x in a.limits] == [6]
    assert [(x.amount, x.origin) for x in b.limits] == [(5000, "people.jsonl")]
    assert b.labels == (("cost_centre", "12"), ("x", "y"))
    assert c.models == ("*",) and len(c.digests) == 2 and c.tenant == "t"
    assert str(tmp_path / "people.jsonl") in result.files


def test_errors_in_lines_have_line_and_column_and_the_words_of_the_language(tmp_path: Path):
    with_lines(
        tmp_path,
        '{"name": "a", "kee": 1, "key": "literal", "models": ["chat"]}',
        line("b", ', "limits": ["5 potatoes"]'),
        line("b2", ', "models": ["chat", "chatt"]', 1),
        "{nonsense}",
        '["a"]',
        line("b2", n=3),
        line("my-app", n=2),
        '{"name": "d", "name": "e", "models": ["chat"]}',
        '{"models": ["chat"]}',
        '{"name": "No Name", "key": "' + DIGEST.format(4, "Q") + '", "models": ["chat"]}',
        line("f", ', "labels": {"x": "\\ud800"}', 5),
        line("g", ', "tenant": "\\ud83d\\ude00"', 6),
        line("h", ', "tenant": "${env:APP_KEY}"', 7),
    )
    problems = found(tmp_path, "base.yaml")
    expected = [
        ("people.jsonl:1:15 consumers.a", 'unknown key "kee"; did you mean "key"?'),
        ("people.jsonl:1:32 consumers.a.key", "must be a reference"),
        ("people.jsonl:2:89 consumers.b.limits", '"5 potatoes" is not a limit'),
        ("people.jsonl:3:98 consumers.b2.models", 'no model is called "chatt"; did you mean "chat"?'),
        ("people.jsonl:4:2 ", "not JSON"),
        ("people.jsonl:5:1 ", "is not an object"),
        ("people.jsonl:6:10 consumers.b2", "stands at people.jsonl:3:1 too"),
        ("people.jsonl:7:10 consumers.my-app", "stands at base.yaml:15:3 too"),
        ("people.jsonl:8:1 consumers.d", "has no key"),
        ("people.jsonl:8:15 ", '"name" is written twice'),
        ("people.jsonl:9:1 consumers", "has no"),
        ("people.jsonl:9:1 consumers", "has no"),
        ("people.jsonl:10:10 consumers", '"No Name" is not a name for a consumer'),
        ("people.jsonl:11:1 consumers.f.labels.x", "is not text"),
        ("people.jsonl:12:1 consumers.g.tenant", "is not a name"),
        ("people.jsonl:13:88 consumers.h.tenant", "is a reference"),
    ]
    assert len(problems) == len(expected), problems
    for problem, (where, what) in zip(problems, expected, strict=True):
        assert problem.startswith(where) and what in problem, (problem, where, what)


def test_a_directory_that_is_not_there_and_one_key_twice(tmp_path: Path):
    with_lines(tmp_path, line("a"), line("b"))
    assert found(tmp_path, "base.yaml") == [
        "people.jsonl:2:22 consumers.b.key: shows the same key as consumers.a (people.jsonl:1:22) | "
        "one key belongs to one consumer: give each its own"
    ]
    (tmp_path / "people.jsonl").unlink()
    assert found(tmp_path, "base.yaml") == [
        'base.yaml:18:12 directory: "people.jsonl" cannot be read: no such file or directory | '
        "relative paths start beside the configuration"
    ]


def test_a_directory_that_is_empty_or_no_file_lets_nobody_be_forgotten_in_silence(tmp_path: Path):
    with_lines(tmp_path)
    assert loaded(tmp_path, "base.yaml").errors == []
    assert [p.what for p in loaded(tmp_path, "base.yaml").notes if p.path == "directory"] == [
        "nobody stands in this file: whoever did is not let in any more"
    ]
    (tmp_path / "people.jsonl").unlink()
    os.mkfifo(tmp_path / "people.jsonl")
    assert found(tmp_path, "base.yaml") == [
        'base.yaml:18:12 directory: names "people.jsonl", which is not a regular file'
    ]


def test_lines_may_begin_with_a_byte_order_mark_as_other_files_may(tmp_path: Path):
    with_lines(tmp_path, line("a"), line("b", n=1))
    path = tmp_path / "people.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    result = loaded(tmp_path, "base.yaml")
    assert result.errors == [] and result.directory and {c.name for c in result.directory.consumers} >= {"a", "b"}


def test_ten_thousand_wrong_lines_are_told_as_a_hundred(tmp_path: Path):
    with_lines(tmp_path, *[f'{{"name": "a{n}"}}' for n in range(10_000)])
    assert 100 <= len(loaded(tmp_path, "base.yaml").errors) < 110
