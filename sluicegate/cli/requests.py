"""`sluicegate requests`: the last requests that were admitted, or one of them with everything that is known of it.

Read from the ledger itself, so it works while the gateway runs and when it does not; a request is there about half a
second after its end. Refusals before admission have no record: they are counted, and stand in the access log.
"""

from __future__ import annotations

import json
from typing import Any

import click

from sluicegate.cli.ledgers import Names, moment, money, opened
from sluicegate.cli.running import running, table

STATES = ("open", "settled", "interrupted", "adjusted")
MOST = 10_000


@click.command()
@running
@click.argument("id", required=False)
@click.option("--last", type=click.IntRange(1, MOST), default=20, show_default=True, help="How many.")
@click.option("--consumer", multiple=True, metavar="NAME", help="Of this one only. As the others, may be repeated.")
@click.option("--tenant", multiple=True, metavar="NAME", help="Of this one only.")
@click.option("--model", multiple=True, metavar="NAME", help="Public name that was asked for.")
@click.option("--deployment", multiple=True, metavar="INSTANCE/NAME", help="That served.")
@click.option("--state", multiple=True, type=click.Choice(STATES), help="How it stands.")
@click.option("--reason", multiple=True, metavar="NAME", help="Why it was refused after it was let in: pool.throttled.")
@click.option("--status", multiple=True, type=int, help="That the client saw.")
@click.option("--json", "as_json", is_flag=True, help="As JSON: a list, or the one record.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    config: tuple[str, ...],
    data: str | None,
    id: str | None,
    last: int,
    as_json: bool,
    **filters: tuple[Any, ...],
) -> None:
    """The last requests, newest first; with ID (x-sluicegate-request-id) that one, with attempts and decisions."""
    given = {key: values for key, values in filters.items() if values}
    if id is not None and given:
        raise click.UsageError(f"an id names one request: leave out --{next(iter(given))}")
    with opened(ctx, config, data) as (ledger, names):
        if id is not None:
            one = ledger.record(id.lower())
            if one is None:
                what = f"no request {id} in the ledger. Refused before admission, too old, or not there yet?"
                raise click.ClickException(what)
            one = _named(one, names)
        else:
            wanted = {key: names.numbers(key, values) for key, values in given.items()}
            found = [_named(r, names) for r in ledger.requests(last, wanted)]
    if id is not None:
        click.echo(json.dumps(one, indent=2) if as_json else _full(one))
        return
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif not found:
        click.echo("no requests" + (" like that" if given else " yet"))
    else:
        head = ("time", "id", "consumer", "model", "deployment", "status", "ms", "in", "out", "cost", "state")
        click.echo(table([_row(r) for r in found], head, right=range(5, 10)))


def _named(record: dict[str, Any], names: Names) -> dict[str, Any]:
    """With names instead of numbers, and a time that people can read."""
    record = {"id": record["id"], "time": moment(record["wall_us"]), **record}
    for key in ("consumer", "deployment"):
        if key in record:
            record[key] = names.name(key, record[key])
    for attempt in record["attempts"]:
        attempt["deployment"] = names.name("deployment", attempt["deployment"])
    return record


def _row(r: dict[str, Any]) -> tuple[object, ...]:
    if r["state"] == "open":
        return (r["time"], r["id"], r["consumer"], r["model"], "", "", "", "", "", "", "open")
    how = r["state"] if r["how"] in ("", "done") else f"{r['state']} ({r['how']})"
    return (
        r["time"], r["id"], r["consumer"], r["model"], r["deployment"] or "-", r["status"] or "-", _ms(r["took_us"]),
        _sum(r, "input", "cached", "cache_write"), _sum(r, "output", "reasoning"), _cost(r),
        f"{how}: {r['reason']}" if r["reason"] else how,
    )  # fmt: skip


def _sum(r: dict[str, Any], *classes: str) -> str:
    if r["input"] is None:
        return "-"
    return ("~" if r["usage_source"] == "estimated" else "") + f"{sum(r[c] for c in classes):,}"


def _cost(r: dict[str, Any]) -> str:
    return "-" if r["cost"] is None else f"{money(r['cost'])} {r['currency']}"


def _ms(us: int) -> str:
    return f"{us / 1000:,.1f}"


def _full(r: dict[str, Any]) -> str:
    """One record as people read it."""
    lines = [f"{r['id']}  {r['state']}"]

    def say(name: str, value: object) -> None:
        if value not in ("", None):
            lines.append(f"  {name:<14}{value}")

    say("time", r["time"])
    say("consumer", f"{r['consumer']} (tenant {r['tenant']})")
    say("model", f"{r['model']} ({r['api']}{', streamed' if r['stream'] else ''})")
    for key, value in r["context"].items():
        say(key.replace("_", " "), ", ".join(f"{k}={v}" for k, v in value.items()) if key == "labels" else value)
    say("node", f"{r['node']}, configuration {r['spec']}")
    if r["state"] == "open":
        say("input", f"~{r['estimate']:,} tokens, estimated")
        return "\n".join(lines)
    say("status", r["status"])
    say("reason", r["reason"])
    say("ended", r["how"])
    say("took", f"{_ms(r['took_us'])} ms")
    if r["first_token_us"] is not None:
        say("first token", f"{_ms(r['first_token_us'])} ms")
    if r["input"] is not None:
        classes = ("input", "cached", "cache_write", "output", "reasoning")
        tokens = ", ".join(f"{c.replace('_', ' ')} {r[c]:,}" for c in classes if r[c] or c in ("input", "output"))
        say("tokens", f"{tokens} ({r['usage_source']})")
        say("cost", f"{_cost(r)} by {r['price']}" if r["cost"] is not None else "no price")
    if r["overhead"]:
        say("overhead", f"{money(r['overhead'])} {r['currency']}, of attempts that failed over")
    say("service tier", r["service_tier"])
    for n, a in enumerate(r["attempts"], 1):
        what = a["cause"] or "served"
        status = f", status {a['status']}" if a["status"] else ""
        lines.append(
            f"  attempt {n}     {a['deployment']}: {what}{status}, after {_ms(a['after_us'])} ms, "
            f"{_ms(a['took_us'])} ms, charged to {a['charged_to']}"
        )
    for decision in r["trail"]:
        say("decided", decision)
    return "\n".join(lines)
