"""The published document is what the server does: every route, every status, and every answer of a real gateway."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec

from sluicegate.admin.base import OPEN
from sluicegate.admin.openapi import document
from sluicegate.admin.server import STATUS, pattern
from sluicegate.core.operators import MAY
from sluicegate.main import Live

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "admin-api.md"
ROUTES = Live()._routes()
DOCUMENT = json.loads(msgspec.json.encode(document(ROUTES, "1")))


def test_the_committed_page_is_what_the_program_prints():
    assert PAGE.read_text() == Live().admin_page(), "sluicegate schema --admin-page > docs/reference/admin-api.md"


def test_every_route_is_in_the_document_and_nothing_else_is():
    there = {(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item}
    assert there == {(r.method, r.path) for r in ROUTES}
    assert len(there) == len(ROUTES), "two routes of one method and path: the second is never met"
    ids = [op["operationId"] for item in DOCUMENT["paths"].values() for op in item.values()]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"[a-z_]+", i) for i in ids)


def test_every_reference_leads_to_a_shape_and_every_shape_is_used():
    text = json.dumps(DOCUMENT)
    wanted = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert wanted == set(DOCUMENT["components"]["schemas"])


def test_every_operation_says_what_it_is_and_which_parts_its_path_has():
    assert DOCUMENT["openapi"] == "3.1.0"
    for path, item in DOCUMENT["paths"].items():
        for op in item.values():
            assert op["summary"].endswith(".")
            said = {p["name"] for p in op["parameters"] if p["in"] == "path"}
            assert said == set(re.findall(r"\{(\w+)\}", path))
            assert {int(s) for s in op["responses"]} <= set(STATUS)
            assert ("401" in op["responses"]) == bool(op["security"])


def test_a_refusal_that_is_no_failure_in_form_is_published_as_it_is_and_a_part_of_a_path_may_be_no_name():
    """Found by a fuzzer that compared answers with this document."""
    for path in ("/v1/reload", "/v1/config/apply"):
        content = DOCUMENT["paths"][path]["post"]["responses"]["409"]["content"]
        assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/Reload"}
    for path, item in DOCUMENT["paths"].items():
        for op in item.values():
            assert ("404" in op["responses"]) == ("{" in path or op["operationId"].startswith("login"))


LOOKS = {"explain", "config_check", "config_diff", "login_leave"}
"""Questions that have a body."""


def test_who_changes_something_has_a_role_for_it_and_nothing_but_health_and_the_document_is_open():
    for route in ROUTES:
        assert route.role in (OPEN, *MAY)
        assert route.writes == (route.method != "GET" and route.id not in LOOKS), route.path
        if route.method != "GET" and route.id not in ("explain", "login_leave"):
            assert route.role in ("operator", "people"), route.path
        assert not route.notes or route.writes
    login = {"login", "login_callback", "login_page", "login_leave"}
    assert {r.id for r in ROUTES if r.role == OPEN} == {"health", "metrics", "openapi"} | login, "metrics: on loopback"


def test_no_route_hides_another():
    for n, route in enumerate(ROUTES):
        example = re.sub(r"\{\w+\}", "tail", route.path)
        first = next(r for r in ROUTES if r.method == route.method and pattern(r.path).fullmatch(example))
        if first is not route:
            assert "{" in route.path and ROUTES.index(first) < n and "{" not in first.path
