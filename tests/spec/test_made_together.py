"""What the management API takes of consumers, the next start takes: else whoever may make a consumer could keep the
gateway from ever starting again."""

from __future__ import annotations

from itertools import combinations, count
from pathlib import Path
from typing import Any

import pytest

from sluicegate.core.kept import Kept, Refused
from sluicegate.spec.load import Loaded, load_texts
from sluicegate.spec.made import canonical
from sluicegate.spec.references import Sources
from tests.spec.reading import ENV, SMALLEST

OPERATIONS = ("chat_completions", "embeddings")
ISSUER = "issuers:\n  one: {kind: oidc, issuer: 'https://a.example', audience: x}\n"
OF_RETAIL = SMALLEST.replace("    models: [chat]\n", "    models: [chat]\n    tenant: retail\n")
COUNTED = """\
tenants: {retail: {}, hr: {limits: [{requests: 5, per: minute, each: end_user}]}}
plans: {gold: {models: [chat], end_user: 'field:user'}}
consumers:
  desk: {tenant: hr, models: [chat], key: '${env:AOAI_KEY}', end_user: 'field:user'}
"""
GROUNDS = {
    "small": SMALLEST,
    "issuer": SMALLEST + ISSUER,
    "two": SMALLEST + ISSUER + "  two: {kind: oidc, issuer: 'https://b.example', audience: x}\n",
    "proxy": SMALLEST.replace("gateway:\n", "gateway:\n  trusted_proxies: [10.0.0.0/8]\n"),
    "tenants": OF_RETAIL.replace("consumers:\n", COUNTED),
    "bounds": OF_RETAIL.replace("gateway:\n", "gateway:\n  region: westeurope\n")
    .replace("    endpoint:", "    region: westeurope\n    endpoint:")
    .replace("consumers:\n", "boundaries: {eu: {regions: [westeurope], processing: regional}}\n"
             "tenants: {retail: {boundary: eu}}\nconsumers:\n"),
    "matched": SMALLEST.replace("    models: [chat]\n", "    models: [chat]\n    match: {issuer: one, azp: a}\n") + ISSUER,
}  # fmt: skip
FIELDS: tuple[dict[str, Any], ...] = (
    {}, {"end_user": "header:x-user"}, {"end_user": "claim:oid"}, {"end_user": "field:user"},
    {"match": {"issuer": "one", "azp": "a"}}, {"match": {"issuer": "one"}}, {"match": {"azp": "a"}},
    {"match": "claims.azp == 'a'"}, {"match": {"headers": {"x-a": "b"}}}, {"match": "true"}, {"each": "oid"},
    {"match": {"issuer": "one", "azp": "a"}, "each": "oid"}, {"tenant": "retail"}, {"tenant": "hr"}, {"tenant": "new"},
    {"plan": "gold"}, {"limits": [{"requests": 5, "per": "minute", "each": "end_user"}]}, {"operations": ["nope"]},
    {"limits": ["5 requests/minute", "7 requests/minute"]}, {"params": {"temperature": {"max": 1}}},
    {"labels": {"member": "x"}}, {"models": "all"}, {"models": []}, {"models": ["no"]},
)  # fmt: skip


def start(folder: Path, text: str, *kept: Kept) -> Loaded:
    text = text.replace("gateway:\n", f"gateway:\n  data: {folder}/data\n", 1)
    return load_texts([("g.yaml", text.encode())], str(folder), Sources(ENV), OPERATIONS, True, lambda data: kept)


def kept(**fields: Any) -> Kept:
    return Kept("web", fields.get("tenant", "default"), canonical(fields), made="2026")


@pytest.mark.parametrize("ground", GROUNDS)
def test_what_is_taken_while_the_gateway_runs_is_taken_when_it_starts(ground: str, tmp_path: Path):
    before = start(tmp_path, GROUNDS[ground])
    assert before.ground is not None, before.errors
    taken = 0
    for one, other in combinations(FIELDS, 2):
        made = kept(**{"models": ["chat"], **one, **other})
        numbers = count(100)
        try:
            before.ground.entry(made, lambda kind, name, numbers=numbers: next(numbers))  # type: ignore[misc]
        except Refused:
            assert start(tmp_path, GROUNDS[ground], made).errors, made
        else:
            taken += 1
            assert not start(tmp_path, GROUNDS[ground], made).errors, made
    assert taken > 4


def test_nobody_is_taken_out_without_whom_the_gateway_would_not_start(tmp_path: Path):
    empty = SMALLEST.partition("consumers:")[0]
    loaded = start(tmp_path, empty, kept(models=["chat"]))
    assert loaded.ground is not None and loaded.directory is not None and start(tmp_path, empty).errors
    loaded.ground.together(loaded.directory.consumers)
    with pytest.raises(Refused, match="does not start"):
        loaded.ground.together(())
    text = GROUNDS["tenants"]
    text = text.replace("key: '${env:AOAI_KEY}', end_user: 'field:user'", "key: '${env:AOAI_KEY}'")
    loaded = start(tmp_path, text, kept(models=["chat"], tenant="hr", end_user="field:user"))
    assert loaded.ground is not None and loaded.directory is not None and start(tmp_path, text).errors
    loaded.ground.together(loaded.directory.consumers)
    with pytest.raises(Refused, match="tenant hr"):
        loaded.ground.together([c for c in loaded.directory.consumers if c.name != "web"])
