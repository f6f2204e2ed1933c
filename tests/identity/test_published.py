"""Keys of issuers in the keeper: fetched ahead, at most once a minute, kept while a provider is down, within a limit."""

import asyncio
import json
import os
import stat
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sluicegate.core.keyset import KeySet
from sluicegate.core.settings import Issuer, Says
from sluicegate.identity.fetch import Unreachable
from sluicegate.identity.published import Published
from tests.identity.provider import Provider, Signer

ISS = "https://id.example"
WELL_KNOWN = ISS + "/.well-known/openid-configuration"
DISCOVERED = Issuer("partner", (Says(ISS, ("a",)),), ("RS256",), WELL_KNOWN)
SET = replace(DISCOVERED, source=ISS + "/keys", kind="set")
MINUTE, HOUR = 60.0, 3600.0


class Ground:
    """A provider that answers at once, clocks that stand still, and everything that was said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 10_000.0
        self.asked: list[str] = []
        self.signer = Signer(ISS)
        self.wrong: Exception | bytes | None = None
        self.told: list[KeySet] = []
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.alarms: list[tuple[str, str, str]] = []
        self.published = self.made()

    def made(self) -> Published:
        """As a keeper that starts makes it."""
        made = Published(
            str(self.folder), lambda event, **facts: self.said.append((event, facts)), self.told.extend, self.fetch,
            lambda: self.now, lambda: self.now + 1e9, lambda: 0.0,
        )  # fmt: skip
        made.alarm, made.over = self.raised, self.over
        return made

    def raised(self, kind: str, subject: str, detail: str) -> None:
        self.alarms.append((kind, subject, detail))

    def over(self, kind: str, subject: str) -> None:
        self.alarms.append((kind, subject, ""))

    async def fetch(self, url: str, ca: str | None) -> bytes:
        self.asked.append(url)
        if isinstance(self.wrong, Exception):
            raise self.wrong
        if self.wrong is not None:
            return self.wrong
        if url == WELL_KNOWN:
            return json.dumps({"issuer": ISS, "jwks_uri": ISS + "/keys"}).encode()
        return json.dumps(self.signer.set()).encode()

    async def later(self, seconds: float, steps: int = 1) -> None:
        """Time passes; the keeper looks as often as it does."""
        for _ in range(steps):
            self.now += seconds / steps
            await asyncio.gather(*self.published.look())

    def fetches(self) -> int:
        return sum(url.endswith("/keys") for url in self.asked)


def run(folder: Path, story: Callable[[Ground], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        ground = Ground(folder)
        try:
            await story(ground)
        finally:
            await ground.published.stop()

    asyncio.run(main())


def kids(sets: list[KeySet]) -> list[list[str | None]]:
    return [[key.get("kid") for key in one.keys] for one in sets]


def test_keys_are_there_before_workers_are_and_fetched_again_each_hour(tmp_path: Path):
    async def story(ground: Ground) -> None:
        await ground.published.prepare([DISCOVERED])
        assert kids(ground.published.sets()) == [["key-1"]]
        assert ground.asked == [WELL_KNOWN, ISS + "/keys"]
        ground.signer.add("key-2")
        await ground.later(HOUR - 10, steps=100)
        assert ground.fetches() == 1
        await ground.later(20, steps=4)
        assert ground.fetches() == 2 and kids(ground.told[-1:]) == [["key-1", "key-2"]]
        assert ground.told[-1].until == pytest.approx(ground.now + 1e9 + 24 * HOUR, abs=20)

    run(tmp_path, story)


def test_abuse_37_a_flood_of_unknown_keys_is_one_fetch_a_minute(tmp_path: Path):
    async def story(ground: Ground) -> None:
        await ground.published.prepare([SET])
        began = ground.now
        for _ in range(6000):  # 10 minutes, ten a second, from whichever worker
            ground.published.lacks(SET.source)
            await ground.later(0.1)
            assert ground.fetches() <= 1 + (ground.now - began) // MINUTE
        assert 10 <= ground.fetches() <= 11

    run(tmp_path, story)


def test_a_key_that_is_new_is_there_within_a_minute_of_the_first_token_that_names_it(tmp_path: Path):
    async def story(ground: Ground) -> None:
        await ground.published.prepare([SET])
        await ground.later(5)
        ground.published.lacks(SET.source)  # somebody's garbage: too early, and not forgotten
        await ground.later(54, steps=54)
        ground.signer.add("key-2")
        assert ground.fetches() == 1
        await ground.later(2, steps=2)
        assert kids(ground.told[-1:]) == [["key-1", "key-2"]]
        ground.published.lacks("https://nobody.example")
        await ground.later(MINUTE, steps=60)
        assert ground.fetches() == 2

    run(tmp_path, story)


def test_abuse_38_the_last_good_keys_hold_while_a_provider_is_down_and_somebody_is_told_once(tmp_path: Path):
    async def story(ground: Ground) -> None:
        await ground.published.prepare([SET])
        until = ground.published.sets()[0].until
        for wrong in (
            Unreachable("no answer within 5 s"),
            b"<html>",
            b'{"keys": []}',
            b'{"keys": [{"kty": "oct", "k": "AA"}]}',
            b"[" * 100_000,
        ):
            ground.wrong = wrong
            await ground.later(HOUR, steps=120)
            assert ground.published.sets()[0].until == until and kids(ground.published.sets()) == [["key-1"]]
        assert 1 + 4 * 60 <= ground.fetches() <= 2 + 5 * 60, "each minute"
        assert ["no answer" in a[2] for a in ground.alarms] == [True, False, False, False], "once for each trouble"
        assert {a[:2] for a in ground.alarms} == {("issuer.keys", "partner")} and "more" in ground.alarms[0][2]
        ground.wrong = None
        await ground.later(MINUTE, steps=60)
        assert ground.alarms[-1] == ("issuer.keys", "partner", "") and ground.published.sets()[0].until > until

    run(tmp_path, story)


def test_a_restart_while_a_provider_is_down_knows_the_keys_until_their_time_is_up(tmp_path: Path):
    async def story(ground: Ground) -> None:
        await ground.published.prepare([SET])
        await ground.later(HOUR, steps=60)
        until = ground.published.sets()[0].until
        await ground.published.stop()
        file = tmp_path / "issuers.json"
        assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
        ground.wrong = Unreachable("connection refused")
        ground.now += 23 * HOUR
        ground.published = ground.made()
        await ground.published.prepare([SET])
        assert kids(ground.published.sets()) == [["key-1"]] and ground.published.sets()[0].until == until
        await ground.later(1)
        assert ground.alarms[-1][2].startswith(f"keys from {SET.source}: connection refused; those known hold"), (
            "asked at once"
        )
        await ground.published.stop()
        ground.now += 2 * HOUR
        ground.published = ground.made()
        await ground.published.prepare([SET])
        assert ground.published.sets() == [] and "refused until then" in ground.alarms[-1][2]

    run(tmp_path, story)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[{}]",
        b'[{"source": "x", "until": 1}]',
        b"\xff",
        b"[" * 100_000,
        json.dumps(
            [{"source": SET.source, "until": 1e12, "keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}]
        ).encode(),
    ],
)
def test_a_copy_that_is_damaged_is_not_used_and_no_reason_not_to_start(damage: bytes, tmp_path: Path):
    (tmp_path / "issuers.json").write_bytes(damage)

    async def story(ground: Ground) -> None:
        await ground.published.prepare([SET])
        assert kids(ground.published.sets()) == [["key-1"]] and ground.fetches() == 1
        assert ground.said[0][0] == "issuer.keys.kept"

    run(tmp_path, story)


@pytest.mark.parametrize(
    "told",
    [
        {"issuer": "https://evil.example", "jwks_uri": ISS + "/keys"}, {"jwks_uri": ISS + "/keys"}, {"issuer": ISS},
        {"issuer": ISS, "jwks_uri": "http://id.example/keys"}, {"issuer": ISS, "jwks_uri": "file:///etc/passwd"},
        {"issuer": ISS, "jwks_uri": "http://127.0.0.1/keys"}, {"issuer": ISS, "jwks_uri": "https://u:p@id.example/keys"},
        {"issuer": ISS, "jwks_uri": ["x"]}, {"issuer": [ISS], "jwks_uri": ISS}, {"issuer": ISS, "jwks_uri": "https://[::1"},
    ],
)  # fmt: skip
def test_abuse_36_a_discovery_document_leads_to_no_other_place_than_its_own(told: dict[str, Any], tmp_path: Path):
    async def story(ground: Ground) -> None:
        ground.wrong = json.dumps(told).encode()
        await ground.published.prepare([DISCOVERED])
        assert ground.published.sets() == [] and ground.asked == [WELL_KNOWN]
        assert "discovery document" in ground.alarms[-1][2]

    run(tmp_path, story)


def test_private_halves_and_odd_keys_of_a_set_go_nowhere(tmp_path: Path):
    async def story(ground: Ground) -> None:
        good = {**ground.signer.set()["keys"][0], "x5c": ["MIIB"], "name": "x"}
        ec = Signer()
        ec.add("p256", "ES256")
        odd = [
            {"kty": "oct", "k": "c2VjcmV0", "kid": "mac"}, {**good, "use": "enc", "kid": "enc"}, {**good, "key_ops": ["encrypt"], "kid": "ops"},
            {**good, "e": "Ag", "kid": "even"}, {**good, "e": "AQ", "kid": "one"}, {**good, "n": good["n"][:100], "kid": "short"},
            {**good, "n": "A" * 3000, "kid": "huge"}, {**good, "kid": ["x"]}, {**good, "kid": "x" * 300}, "text", None, {"kty": "EC", "crv": "P-192", "x": "AA", "y": "AA"},
            {**ec.set()["keys"][1], "x": "AA", "kid": "off"}, {**good, "alg": 7, "kid": "alg"}, {"kty": ["RSA"]},
        ]  # fmt: skip
        ground.wrong = json.dumps({"keys": [{**good, "d": "c2VjcmV0", "p": "AA"}, *odd, ec.set()["keys"][1]]}).encode()
        await ground.published.prepare([SET])
        (found,) = ground.published.sets()
        assert [key["kid"] for key in found.keys] == ["key-1", "p256"]
        assert set(found.keys[0]) == {"kty", "kid", "n", "e"} and set(found.keys[1]) == {"kty", "kid", "crv", "x", "y"}
        await ground.later(HOUR)
        assert "c2VjcmV0" not in (tmp_path / "issuers.json").read_text()

    run(tmp_path, story)


def test_a_file_of_keys_is_read_again_when_it_changes(tmp_path: Path):
    async def story(ground: Ground) -> None:
        path = tmp_path / "keys.json"
        path.write_text(json.dumps(ground.signer.set()))
        issuer = replace(SET, source=str(path), kind="file")
        await ground.published.prepare([issuer])
        assert kids(ground.published.sets()) == [["key-1"]]
        ground.signer.add("key-2")
        path.write_text(json.dumps(ground.signer.set()))
        await ground.later(1)
        assert kids(ground.told[-1:]) == [["key-1", "key-2"]] and ground.asked == []
        path.write_text("{")
        await ground.later(1)
        assert kids(ground.published.sets()) == [["key-1", "key-2"]] and "not JSON" in ground.alarms[-1][2]

    run(tmp_path, story)


def test_sources_that_answer_together_are_all_kept(tmp_path: Path):
    async def story(ground: Ground) -> None:
        issuers = [replace(SET, name=f"i{n}", source=f"{ISS}/{n}/keys") for n in range(16)]
        for _ in range(10):
            ground.published = ground.made()
            await ground.published.prepare(issuers)
            await ground.later(HOUR)
            await ground.published.stop()
            kept = json.loads((tmp_path / "issuers.json").read_text())
            assert {one["source"] for one in kept} == {issuer.source for issuer in issuers}
        assert ground.said == []

    run(tmp_path, story)


def test_a_source_that_is_declared_no_more_is_asked_no_more(tmp_path: Path):
    async def story(ground: Ground) -> None:
        await ground.published.prepare([SET])
        ground.wrong = Unreachable("down")
        await ground.later(HOUR)
        ground.published.adopt([])
        assert ground.alarms[-1] == ("issuer.keys", "partner", "")
        before = ground.fetches()
        await ground.later(3 * HOUR, steps=10)
        assert ground.fetches() == before and ground.published.sets() == []

    run(tmp_path, story)


def test_a_provider_over_real_sockets_whose_keys_are_rotated(tmp_path: Path):
    async def main() -> None:
        with Provider() as provider:
            told: list[KeySet] = []
            issuer = Issuer(
                "p", (Says(provider.url, ("a",)),), ("RS256",), provider.url + "/.well-known/openid-configuration"
            )
            now = [0.0]
            published = Published(str(tmp_path), lambda event, **facts: None, told.extend, now=lambda: now[0])
            await published.prepare([issuer])
            assert kids(told) == [["key-1"]]
            provider.signer.add("key-2")
            published.lacks(issuer.source)
            now[0] = 61.0
            await asyncio.gather(*published.look())
            assert kids(told[-1:]) == [["key-1", "key-2"]] and provider.fetches() == 2
            await published.stop()

    asyncio.run(main())
