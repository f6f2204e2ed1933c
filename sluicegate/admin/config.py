"""The configuration: what is in force, and another one looked at, compared, put in force."""

from __future__ import annotations

from typing import Any

from sluicegate.admin.base import Asked, Gateway, Reply, Route, Texts, Wrong
from sluicegate.admin.gateway import outcome_of
from sluicegate.admin.shapes import config as shapes

MOST = 8 * 1024 * 1024
"""Of a request with files: a file may have 4 MiB, and JSON writes some characters longer."""


def routes(gateway: Gateway) -> list[Route]:
    """Resources of this file."""

    async def effective(asked: Asked) -> Any:
        return await gateway.effective()

    async def declared(asked: Asked) -> Any:
        return Reply(200, await gateway.declared())

    async def check(asked: Asked) -> Any:
        return await gateway.check(*sent(asked))

    async def diff(asked: Asked) -> Any:
        return await gateway.diff(*sent(asked))

    async def apply(asked: Asked) -> Any:
        return outcome_of(await gateway.apply(*sent(asked), asked.body.expect, asked.who.name))

    return [
        Route("GET", "/v1/config", "viewer", effective, "What is in force: hash, where it came from, every field.",
              answers=shapes.Effective, id="config"),
        Route("GET", "/v1/configuration", "viewer", declared,
              "What is in force, in the form that `sluicegate diff` compares: it may change between versions.",
              answers=dict, id="configuration"),
        Route("POST", "/v1/config/check", "operator", check,
              "Everything that is wrong with a configuration, by this gateway's environment.", takes=shapes.Files,
              answers=shapes.Checked, most=MOST, id="config_check"),
        Route("POST", "/v1/config/diff", "operator", diff, "What a configuration would change.",
              takes=shapes.Files, answers=shapes.Diff, most=MOST, id="config_diff"),
        Route("POST", "/v1/config/apply", "operator", apply,
              "Put a configuration in force on all workers, or on none. It holds until the gateway loads its own files "
              "again: at its next start, on a reload, or when one of them changes.", takes=shapes.Apply,
              answers=shapes.Reload, most=MOST, id="config_apply", writes=True, refused=shapes.Reload,
              errors={409: "refused: what was in force stays so"}),
    ]  # fmt: skip


def sent(asked: Asked) -> tuple[Texts, str]:
    """The files, and where relative paths begin. Raises Wrong."""
    body = asked.body
    if not body.files:
        raise Wrong(400, "the body does not fit: files is empty")
    names = [file.name for file in body.files]
    for name in names:
        if not name or "/" in name or "\0" in name or name in (".", "..") or len(name.encode()) > 255:
            raise Wrong(400, "a file's name is its last part alone, such as gateway.yaml")
    if len(set(names)) != len(names):
        raise Wrong(400, "two files have one name")
    if body.base and asked.who.role != "owner":
        raise Wrong(403, "base is for the owner, on the Unix socket; else paths begin beside the gateway's own files")
    return [(file.name, file.text.encode("utf-8", "surrogatepass")) for file in body.files], body.base
