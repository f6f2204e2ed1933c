"""How each verb is typed: at the end of its help, and on its page. A test types each as far as the verb reads it."""

from __future__ import annotations

from typing import Final

import click

EXAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "serve": ("-c gateway.yaml", "-c base.yaml -c prod.yaml"),
    "check": ("", "-c gateway.yaml --ask"),
    "diff": ("-c new.yaml",),
    "apply": ("-c new.yaml", "-c new.yaml --yes --admin https://10.0.0.4:8081"),
    "verify-bypass": ("--key-env CLIENT_KEY", "https://contoso-weu.openai.azure.com --json"),
    "key": (),
    "key new": ("my-app", "ops --admin --role operator"),
    "key list": ("", "my-app"),
    "key revoke": ("my-app 5f2a9c10",),
    "consumer": (),
    "consumer new": ("web-shop --model chat --limit '60k tokens/minute'",),
    "consumer list": ("", "--json"),
    "consumer show": ("web-shop",),
    "consumer set": ("web-shop --limit '120k tokens/minute'", "web-shop --disable"),
    "consumer delete": ("web-shop --yes",),
    "consumer key": ("web-shop --expires 2026-12-31",),
    "consumer key-set": ("web-shop 5f2a9c10 --disable",),
    "consumer key-delete": ("web-shop 5f2a9c10",),
    "consumer export": ("",),
    "audit": (),
    "audit list": ("--last 50",),
    "audit verify": ("", "audit.jsonl"),
    "audit export": ("--csv",),
    "config": (),
    "config show": ("--json",),
    "config upgrade": ("gateway.yaml",),
    "status": ("", "--admin https://10.0.0.4:8081 --json"),
    "pools": ("", "--json"),
    "top": ("", "--once"),
    "explain": ("--consumer my-app --model chat", "--from gateway.yaml --consumer my-app --model chat"),
    "profile": ("--consumer my-app --model chat --stream",),
    "usage": ("", "--by tenant --by day --since 30d --csv"),
    "requests": ("--consumer my-app --last 5", "--status 429 --json", "tail"),
    "residency": (),
    "residency prove": ("", "--from gateway.yaml --json"),
    "residency report": ("--since 7d --csv",),
    "drain": ("weu/gpt-4o", "weu"),
    "undrain": ("weu/gpt-4o", "weu"),
    "reload": ("",),
    "restart": ("",),
    "demo": ("", "--port 9080 --pace 2"),
    "simulate": ("-i fleet.yaml", "--scenario examples/scenarios/spike.yaml"),
    "schema": ("", "--page"),
    "completion": ("bash",),
    "version": ("",),
}
"""By verb, what follows it; of a group of verbs nothing."""


def lines(verb: str) -> list[str]:
    """What can be typed."""
    return [f"sluicegate {verb} {rest}".rstrip() for rest in EXAMPLES[verb]]


def shown(command: click.Command, verb: str) -> click.Command:
    """The verb, and those below it, with examples at the end of their help."""
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            shown(below, f"{verb} {name}")
    if EXAMPLES.get(verb):
        command.epilog = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines(verb))
    return command
