"""What an operator types and where: consumers and audit by the command line, keys of files with an end, TLS of the
management API, exports that spreadsheets open."""

from __future__ import annotations

import csv
import http.client
import io
import json
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import Result

from sluicegate.cli.usage import cell
from sluicegate.core.caller import digest
from sluicegate.keeper.audit import FILE
from sluicegate.sim.fleet import FleetThread
from sluicegate.sim.tls import Certificates, certificates
from sluicegate.spec.keys import checksum, new_key, whole
from sluicegate.spec.secret import Digest, write_digest
from tests.keeper.operators import SECRET, chat, everywhere, run, text_of
from tests.keeper.running import ENV, Gateway


@pytest.fixture
def own(fleet: FleetThread, tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path, text_of(tmp_path, fleet["a"].origin)) as gateway:
        yield gateway


def typed(gateway: Gateway, *words: str, input: str | None = None) -> Result:
    return run(*words, "--data", str(gateway.folder / "data"), input=input)


def test_a_consumer_is_made_changed_and_removed_by_the_command_line(own: Gateway):
    done = typed(
        own, "consumer", "new", "web-shop", "--model", "chat", "--label", "team=shop", "--limit", "60k tokens/minute"
    )
    assert done.exit_code == 0, done.output
    key = next(line.strip() for line in typed(own, "consumer", "key", "web-shop").stdout.splitlines() if "sgk_" in line)
    assert whole(key) and everywhere(own, key, 200)
    listed = typed(own, "consumer", "list").stdout
    assert "web-shop" in listed and "api" in listed and "file" in listed and key not in listed
    shown = typed(own, "consumer", "show", "web-shop").stdout
    assert "60k" in shown and key.split("_")[1] in shown and "version 2" in shown
    assert typed(own, "consumer", "set", "web-shop", "--limit", "70k tokens/minute").exit_code == 0
    fields = json.loads(typed(own, "consumer", "show", "web-shop", "--json").stdout)["fields"]
    assert fields == {"labels": {"team": "shop"}, "limits": ["70k tokens/minute"], "models": ["chat"]}
    wrong = typed(own, "consumer", "set", "web-shop", "--limit", "70 bananas")
    assert wrong.exit_code == 1 and "/limits/0" in wrong.stderr
    assert typed(own, "consumer", "set", "web-shop", "--disable").exit_code == 0
    assert everywhere(own, key, 401)
    assert typed(own, "consumer", "set", "web-shop", "--enable").exit_code == 0
    assert everywhere(own, key, 200)
    (line,) = typed(own, "consumer", "export").stdout.splitlines()
    exported = json.loads(line)
    assert exported["name"] == "web-shop" and exported["keys"][0].startswith("sgk1:") and key not in line
    assert typed(own, "consumer", "key-set", "web-shop", key.split("_")[1], "--disable").exit_code == 0
    assert typed(own, "consumer", "key-delete", "web-shop", key.split("_")[1]).exit_code == 0
    assert typed(own, "consumer", "delete", "web-shop", input="n\n").exit_code == 1
    assert typed(own, "consumer", "delete", "web-shop", "--yes").exit_code == 0
    assert typed(own, "consumer", "show", "web-shop").exit_code == 1
    who = {
        e["who"]["name"] for e in map(json.loads, (own.folder / "data" / FILE).read_text().splitlines()) if "who" in e
    }
    assert len(who) == 1 and who.pop().startswith("uid ")


def test_what_was_made_at_run_time_is_no_difference_to_the_files(own: Gateway):
    typed(own, "consumer", "new", "web-shop", "--model", "chat")
    typed(own, "consumer", "key", "web-shop")
    env = {**ENV}
    same = run("diff", "-c", str(own.file), env=env)
    assert same.exit_code == 0 and "no change" in same.stdout, same.output
    assert run("check", "-c", str(own.file), env=env).exit_code == 0
    applied = run("apply", "-c", str(own.file), "--yes", env=env)
    assert applied.exit_code == 0, applied.output
    assert "web-shop" in typed(own, "consumer", "list").stdout, "and a configuration that is applied takes it along"
    both = own.file.read_text() + '  web-shop: {key: "${env:APP_KEY}", models: [chat]}\n'
    (own.folder / "other.yaml").write_text(both)
    refused = run("check", "-c", str(own.folder / "other.yaml"), env=env)
    assert refused.exit_code == 2 and "was made through the management API, too" in refused.output


def test_what_was_exported_is_a_directory_of_another_gateway(own: Gateway, fleet: FleetThread, tmp_path: Path):
    typed(own, "consumer", "new", "web-shop", "--model", "chat")
    key = json.loads(typed(own, "consumer", "key", "web-shop", "--json").stdout)["text"]
    lines = typed(own, "consumer", "export").stdout
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "consumers.jsonl").write_text(lines)
    with Gateway(folder, text_of(folder, fleet["a"].origin, 1) + "directory: consumers.jsonl\n") as other:
        assert chat(other, key) == 200


def test_the_audit_log_is_listed_verified_and_exported_by_the_command_line(own: Gateway):
    for name in ("a", "b"):
        assert typed(own, "consumer", "new", name, "--model", "chat").exit_code == 0
    listed = typed(own, "audit", "list", "--last", "2").stdout
    assert "consumer_new" in listed and "done" in listed
    good = typed(own, "audit", "verify")
    assert good.exit_code == 0 and good.stdout.startswith("whole: ")
    anchor = good.stdout.split()[-1]
    copy = own.folder / "copy.jsonl"
    copy.write_text(typed(own, "audit", "export").stdout)
    assert copy.read_bytes() == (own.folder / "data" / FILE).read_bytes(), "to the byte: hashes are of the text"
    assert run("audit", "verify", str(copy), "--anchor", anchor).exit_code == 0
    lines = copy.read_text().splitlines(keepends=True)
    copy.write_text("".join(lines[:-1]))
    cut = run("audit", "verify", str(copy), "--anchor", anchor)
    assert cut.exit_code == 1 and "was cut off" in cut.stdout
    copy.write_text("".join([lines[0].replace("consumer_new", "consumer_set"), *lines[1:]]))
    assert "line 1 was changed" in run("audit", "verify", str(copy)).stdout
    assert run("audit", "verify", str(copy), "--anchor", "x").exit_code == 2


def test_abuse_58_no_export_holds_a_formula(own: Gateway):
    typed(own, "consumer", "new", "shop", "--model", "=cmd|'/c calc'!A1")
    typed(own, "consumer", "new", "shop", "--model", "chat", "--label", "team=@SUM(1)")
    rows = list(csv.reader(io.StringIO(typed(own, "audit", "export", "--csv").stdout)))
    assert len(rows) >= 4
    assert not [text for row in rows for text in row if text[:1] in ("=", "+", "-", "@", "\t", "\r", "\n")]
    for text in ("=1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1"):
        assert cell(text) == "'" + text
    assert cell("a=1") == "a=1" and cell("") == ""


def test_E3_a_key_of_a_file_has_an_end(fleet: FleetThread, tmp_path: Path):
    called, key = new_key()
    sealed = write_digest(Digest(called, digest(key.encode(), SECRET)))

    def more(until_: str) -> str:
        return f'  ends: {{keys: [{{key: "{sealed}", expires: "{until_}"}}], models: [chat]}}\n'

    text = text_of(tmp_path, fleet["a"].origin)
    with Gateway(tmp_path, text + more("2999-01-01")) as gateway:
        assert everywhere(gateway, key, 200)
        until_ = datetime.fromtimestamp(int(time.time()) + 6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        gateway.file.write_text(text + more(until_))
        gateway.event("config.adopted")
        assert chat(gateway, key) == 200
        (row,) = [k for k in json.loads(typed(gateway, "key", "list", "--json").stdout) if k["consumer"] == "ends"]
        assert row["expires"] == until_
        assert gateway.event("key.expired")["consumer"] == "ends"
        assert everywhere(gateway, key, 401)
        gateway.hang_up_until("config.adopted")
        assert everywhere(gateway, key, 401), "nor does a reload bring it back"
        now = gateway.file.read_text()
    with Gateway(tmp_path, now) as gateway:
        assert everywhere(gateway, key, 401), "nor a restart"


def test_E3_a_key_carries_a_sum_of_itself():
    _, key = new_key()
    assert whole(key) and len(key) == 4 + 9 + 43 + 6
    for n in range(len(key)):
        for other in "aZ0_-":
            if key[n] != other:
                assert not whole(key[:n] + other + key[n + 1 :])
    assert not whole(key[:-1]) and not whole(key + "0") and not whole("")
    assert checksum("sgk_00000000_" + "A" * 43) == checksum("sgk_00000000_" + "A" * 43)
    assert len({new_key()[1] for _ in range(100)}) == 100


def test_the_management_api_speaks_tls_and_takes_another_certificate(fleet: FleetThread, tmp_path: Path):
    first, second = certificates(tmp_path / "one"), certificates(tmp_path / "two")
    crt, key = tmp_path / "a.crt", tmp_path / "a.key"

    def served(found: Certificates) -> None:
        crt.write_bytes(Path(found.certificate).read_bytes())
        key.write_bytes(Path(found.key).read_bytes())

    served(first)
    text = text_of(tmp_path, fleet["a"].origin, 1).replace(
        "admin: {address: '127.0.0.1:0'", f"admin: {{address: '127.0.0.1:0', tls: {{certificate: {crt}, key: {key}}}"
    )

    def health(gateway: Gateway, trusted: Certificates) -> int:
        context = ssl.create_default_context(cafile=trusted.ca)
        connection = http.client.HTTPSConnection("localhost", gateway.admin, context=context, timeout=10)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status
        finally:
            connection.close()

    with Gateway(tmp_path, text) as gateway:
        assert health(gateway, first) == 200
        with pytest.raises((http.client.HTTPException, OSError)):
            plain = http.client.HTTPConnection("127.0.0.1", gateway.admin, timeout=10)
            plain.request("GET", "/health")
            plain.getresponse()
        plain.close()
        served(second)
        gateway.hang_up_until("config.adopted")
        assert health(gateway, second) == 200
