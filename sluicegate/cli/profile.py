"""`sluicegate profile`: what each stage of a route costs, measured here and now with the code that serves."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import asdict

import click

from sluicegate.apis.base import BadRequest
from sluicegate.cli.configuration import config_option, load
from sluicegate.cli.running import json_option, table
from sluicegate.core.explain import Unknown, key_of
from sluicegate.sim.profile import Profile, Refused, profile

REQUESTS = 5000


@click.command()
@config_option
@click.option("--consumer", "--as", required=True, metavar="NAME", help="Who asks. A name; keys are never asked for.")
@click.option("--model", required=True, metavar="NAME", help="Public name that is asked for.")
@click.option("--tokens", type=click.IntRange(0, 1_000_000), default=100, show_default=True, help="Of the prompt.")
@click.option("--answer", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Tokens of the answer.")
@click.option("--stream", is_flag=True, help="The answer is streamed, an event a token.")
@click.option("--body", metavar="FILE", help="A request's body, instead of --tokens and --stream.")
@click.option("--requests", type=click.IntRange(100, 1_000_000), default=REQUESTS, show_default=True, help="How many.")
@json_option
@click.pass_context
def command(
    ctx: click.Context, config: tuple[str, ...], consumer: str, model: str, tokens: int, answer: int, stream: bool,
    body: str | None, requests: int, as_json: bool,
) -> None:  # fmt: skip
    """Say what each stage of a chat completion costs on one route, in microseconds of this machine.

    The configuration is loaded here and requests run through it: the exchange, the driver, rules, limits, the meter,
    and a journal in a temporary folder, as a worker has them. Nothing is sent, and no running gateway is asked. Stages
    that the configuration does not use cost nothing, and say so. Not measured: sockets, HTTP framing, TLS, and what
    happens between processes.

    Exit status: 0 measured, 1 the request would be refused, 2 the question or the configuration is not valid.
    """
    if body is not None and stream:
        raise click.UsageError("--body is the whole request: leave out --stream")
    loaded = load(config, start=False, end="nothing was measured", quiet=True)
    assert loaded.snapshot is not None and loaded.directory is not None
    try:
        key_of(consumer, loaded.directory)
    except Unknown as e:
        if "has no key" not in str(e):
            raise click.UsageError(str(e)) from None
    raw = _read(body) if body is not None else _made(tokens, stream)
    shown = click.progressbar(
        length=requests, label="measuring", file=sys.stderr, hidden=as_json or not sys.stderr.isatty()
    )
    with tempfile.TemporaryDirectory(prefix="sluicegate-profile-") as folder, shown as bar:
        with ctx.obj.journal(folder, loaded.snapshot) as journal:
            try:
                found = profile(
                    loaded.snapshot, loaded.directory, journal, consumer, model, raw, answer, time.perf_counter_ns,
                    requests, lambda done: bar.update(done - bar.pos),
                )  # fmt: skip
            except BadRequest as e:
                raise click.UsageError(f"{e.reason}: {e.message}") from None
            except Refused as e:
                say = f"it would be refused, {e.reason}: `sluicegate explain --from FILE` says more"
                raise click.ClickException(say) from None
    click.echo(json.dumps(asdict(found)) if as_json else text(found, consumer, model))


def text(found: Profile, consumer: str, model: str) -> str:
    """As people read it."""
    rows = [(s.name, f"{s.us:.2f}" if not s.off else "0", (s.off and f"off: {s.off}") or s.what) for s in found.stages]
    rows.append(("the rest", f"{found.rest_us:.2f}", "the exchange, the driver, the record"))
    rows.append(("whole", f"{found.whole_us:.2f}", f"medians of {found.requests:,} requests"))
    pieces = f", {found.events} events" if found.events > 1 else ""
    lines = [
        f"{consumer} asks {model}, served by {found.deployment}{pieces}; a request every {found.every_s:g} s",
        table(rows, ("stage", "us", ""), (1,)),
        "Not in it: sockets, HTTP framing, TLS, other processes.",
    ]
    return "\n\n".join(lines)


def _made(tokens: int, stream: bool) -> bytes:
    request = {"messages": [{"role": "user", "content": "word " * tokens}], "max_tokens": 1000}
    return json.dumps({**request, "stream": True} if stream else request).encode()


def _read(body: str) -> bytes:
    try:
        with open(body, "rb") as f:
            return f.read()
    except OSError as e:
        raise click.UsageError(f"{body} cannot be read: {(e.strerror or 'error').lower()}") from None
