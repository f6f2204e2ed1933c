"""Asking through the official SDKs, Python here and Node in node/ask.mjs, with answers brought into one shape.

A job is `{"model", "content", "stream"}` and, where wanted, `n`, `tools`, `include_usage`. An answer says `ok` and what
was `said` (of each choice: text, finish reason, arguments of tools), or the `error` that was raised.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openai

from tests.gateway import KEY

NODE = Path(__file__).resolve().parent / "node"
VERSION = "2024-10-21"
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Weather of a place",
            "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
        },
    }
]

Job = dict[str, Any]
Said = dict[str, Any]


def arguments(job: Job) -> dict[str, Any]:
    """Of `chat.completions.create`."""
    more: dict[str, Any] = {}
    if job.get("n"):
        more["n"] = job["n"]
    if job.get("tools"):
        more["tools"] = TOOLS
    if job["stream"]:
        more["stream"] = True
        if job.get("include_usage"):
            more["stream_options"] = {"include_usage": True}
    return {"model": job["model"], "messages": [{"role": "user", "content": job["content"]}], **more}


def azure(url: str, **more: Any) -> openai.AsyncAzureOpenAI:
    values: dict[str, Any] = {"api_key": KEY, "max_retries": 0, "timeout": 60, **more}
    return openai.AsyncAzureOpenAI(azure_endpoint=url, api_version=VERSION, **values)


async def ask(client: Any, job: Job) -> Said:
    """One job through a client of the Python SDK."""
    said: Said = {"ok": False, "said": [], "usage": None, "error": None, "status": None, "id": None}
    choices: dict[int, list[str]] = {}
    try:
        raw = await client.chat.completions.with_raw_response.create(**arguments(job))
        said["id"] = raw.headers.get("x-sluicegate-request-id")
        answer = raw.parse()
        if job["stream"]:
            async for event in answer:
                for choice in event.choices:
                    mine = choices.setdefault(choice.index, ["", "", ""])
                    mine[0] += choice.delta.content or ""
                    mine[1] = choice.finish_reason or mine[1]
                    for call in choice.delta.tool_calls or ():
                        mine[2] += (call.function and call.function.arguments) or ""
                if event.usage:
                    said["usage"] = event.usage.total_tokens
        else:
            for choice in answer.choices:
                calls = choice.message.tool_calls or ()
                choices[choice.index] = [
                    choice.message.content or "", choice.finish_reason, "".join(c.function.arguments for c in calls),
                ]  # fmt: skip
            said["usage"] = answer.usage and answer.usage.total_tokens
        said["ok"] = True
    except openai.APIStatusError as e:
        said.update(error=type(e).__name__, status=e.status_code, id=e.response.headers.get("x-sluicegate-request-id"))
    except openai.APIError as e:
        said.update(error=type(e).__name__, code=e.code)
    except Exception as e:
        said["error"] = type(e).__name__
    said["said"] = [choices[index] for index in sorted(choices)]
    return said


async def ask_all(url: str, jobs: Sequence[Job], at_once: int = 8) -> list[Said]:
    """All jobs, some at once, in their order."""
    said: list[Said] = [{}] * len(jobs)
    left = iter(range(len(jobs)))
    async with azure(url) as client:

        async def caller() -> None:
            for number in left:
                said[number] = await ask(client, jobs[number])

        await asyncio.gather(*(caller() for _ in range(at_once)))
    return said


def node(
    command: str, url: str, given: Any = None, ca: Path | None = None, timeout: float = 280, script: str = "ask.mjs"
) -> list[Any]:
    """One run of a Node script: `given` goes in as JSON, the lines it prints come back."""
    program = shutil.which("node")
    assert program, "no node on PATH: run the tests by ./dev test, which brings one"
    env = {**os.environ, "GATEWAY": url, "KEY": KEY, "VERSION": VERSION}
    if ca is not None:
        env["NODE_EXTRA_CA_CERTS"] = str(ca)
    done = subprocess.run(
        [program, str(NODE / script), command], input=json.dumps(given), env=env, capture_output=True, text=True,
        timeout=timeout, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def node_asks(url: str, jobs: Sequence[Job]) -> list[Said]:
    """All jobs through the Node SDK, in their order."""
    found: dict[int, Said] = {line["number"]: line for line in node("ask", url, list(jobs))}
    return [found[number] for number in range(len(jobs))]
