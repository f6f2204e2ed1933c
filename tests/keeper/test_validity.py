"""Certificates that end: told once when it is time, over when another one is in force."""

from dataclasses import replace
from pathlib import Path

from sluicegate.core.settings import Gateway, TlsFiles
from sluicegate.keeper.validity import Validity
from sluicegate.spec.validity import EARLY_S, ends
from tests.certificates import Authority


class Heard:
    def __init__(self) -> None:
        self.said: list[tuple[str, ...]] = []

    def alarm(self, kind: str, subject: str, detail: str) -> None:
        self.said.append((kind, subject, detail))

    def over(self, kind: str, subject: str) -> None:
        self.said.append((kind, subject))


def test_an_alert_begins_two_weeks_before_the_end_and_is_over_with_another_certificate(tmp_path: Path):
    leaf = Authority(tmp_path).leaf("gateway")
    usual = Gateway()
    gateway = replace(usual, listen=replace(usual.listen, tls=TlsFiles(str(leaf.file), str(leaf.key_file))))
    end = ends(leaf.pem)
    assert end == leaf.certificate.not_valid_after_utc.timestamp()
    held, heard = Validity(), Heard()
    held.take(gateway)
    assert held.ends == {"clients": end}
    for now in (end - EARLY_S - 2, end - EARLY_S - 1):
        held.look(now, heard.alarm, heard.over)
    assert heard.said == []
    for now in (end - EARLY_S, end - 5, end + 5):
        held.look(now, heard.alarm, heard.over)
    ((kind, subject, detail),) = heard.said
    assert (kind, subject) == ("certificate.ends", "clients")
    assert str(leaf.file) in detail and detail.endswith("put another there, then: sluicegate reload")
    heard.said.clear()
    held.take(usual)  # without TLS, or with a newer one: what was said is over
    held.look(end + 6, heard.alarm, heard.over)
    assert heard.said == [("certificate.ends", "clients")]


def test_a_file_that_is_gone_or_says_nothing_is_no_alert(tmp_path: Path):
    (tmp_path / "c.pem").write_text("nothing")
    usual = Gateway()
    for path in ("c.pem", "gone.pem"):
        held, heard = Validity(), Heard()
        held.take(replace(usual, listen=replace(usual.listen, tls=TlsFiles(str(tmp_path / path), "k"))))
        held.look(1e12, heard.alarm, heard.over)
        assert (held.ends, heard.said) == ({}, [])
