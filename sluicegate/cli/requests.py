"""`sluicegate requests`: the last requests that were admitted, one of them in full, or all of them as they end.

Read from the ledger itself, so it works while the gateway runs and when it does not; a request is there about half a
second after its end. Refusals before admission have no record: they are counted, and stand in the access log and in
`requests tail`, which asks the running gateway.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import click

from sluicegate.cli.ledgers import opened
from sluicegate.cli.running import At, ask, events, running, table
from sluicegate.spec.accounts import MOST, STATES, money, named

TAIL = "tail"
WIDTHS = (24, 16, 12, 20, 6, 9, 7, 7)
"""Of the columns of a tail: it cannot know what comes."""
HEAD = ("time", "consumer", "model", "deployment", "status", "ms", "in", "out", "")
LISTED = ("time", "id", "consumer", "model", "deployment", "status", "ms", "in", "out", "cost", "state")
NUMBERS = ("status", "ms", "in", "out", "cost")
LEFT_OUT = ("cost", "in", "out", "model", "ms", "deployment")
"""Of a list, where the terminal is narrow: in this order. The id stays: it leads to all of them."""
_COLOURS = {"2": "green", "4": "red", "5": "red"}


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
@click.option("--json", "as_json", is_flag=True, help="As JSON: a list, the one record, or of a tail a line each.")
@click.pass_context
def command(
    ctx: click.Context, /, at: At, id: str | None, last: int, as_json: bool, **filters: tuple[Any, ...]
) -> None:
    """The last requests, newest first; with ID (x-sluicegate-request-id) that one, with attempts and decisions; with
    the word tail instead, requests of the running gateway as they end, refused ones too, until Ctrl-C."""
    given = {key: values for key, values in filters.items() if values}
    if id == TAIL:
        _tail(at, given, as_json)
        return
    if id is not None and given:
        raise click.UsageError(f"an id names one request: leave out --{next(iter(given))}")
    if id is not None:
        one = _one(ctx, at, id)
        click.echo(json.dumps(one, indent=2) if as_json else _full(one))
        return
    found = _listed(ctx, at, last, given)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif not found:
        click.echo("no requests" + (" like that" if given else " yet"))
        if {"status", "reason"} & set(given):
            hint = "who is refused before being let in has no record: sluicegate requests tail, or the access log"
            click.echo(hint, err=True)
    else:
        room = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
        click.echo(fitted([_row(r) for r in found], room))


def fitted(rows: Sequence[Sequence[object]], room: int) -> str:
    """The list, on a terminal so wide: what does not fit is left out, the day first. 0: it is no terminal."""
    names = list(LISTED)
    cells = [[str(cell) for cell in row] for row in rows]
    if room and _width(cells, names) > room:
        cells = [[row[0][11:19], *row[1:]] for row in cells]
    for name in LEFT_OUT:
        if not room or _width(cells, names) <= room:
            break
        place = names.index(name)
        names.pop(place)
        cells = [[cell for n, cell in enumerate(row) if n != place] for row in cells]
    right = [n for n, name in enumerate(names) if name in NUMBERS]
    return table(cells, names, right, {names.index("status"): _painted})


def _width(cells: Sequence[Sequence[str]], names: Sequence[str]) -> int:
    widths = [max(len(name), *(len(row[n]) for row in cells)) for n, name in enumerate(names)]
    return sum(widths) + 2 * (len(names) - 1)


def _one(ctx: click.Context, at: At, id: str) -> dict[str, Any]:
    if at.admin:
        if not id.isalnum():
            raise click.UsageError(f'"{id}" is no id of a request')
        found: dict[str, Any] = ask("GET", f"/v1/requests/{id}", at)
        return found
    with opened(ctx, at) as (ledger, names):
        one = ledger.record(id.lower())
        if one is None:
            what = f"no request {id} in the ledger. Refused before admission, too old, or not there yet?"
            raise click.ClickException(what)
        return named(one, names)


def _listed(ctx: click.Context, at: At, last: int, given: dict[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
    if at.admin:
        found: list[dict[str, Any]] = ask("GET", "/v1/requests", at, query={"last": last, **given})["requests"]
        return found
    with opened(ctx, at) as (ledger, names):
        wanted = {key: names.numbers(key, values) for key, values in given.items()}
        return [named(r, names) for r in ledger.requests(last, wanted)]


def _tail(at: At, given: dict[str, tuple[Any, ...]], as_json: bool) -> None:
    """Until Ctrl-C."""
    told = False
    try:
        for name, line in events("/v1/requests/tail", at):
            if name == "missed":
                click.echo(f"{line['missed']} more were missed: they came faster than they were read", err=True)
            elif not _like(line, given):
                continue
            elif as_json:
                click.echo(json.dumps(line))
            else:
                if not told:
                    click.echo(click.style(_columns(HEAD), bold=True))
                    told = True
                click.echo(_line(line))
    except KeyboardInterrupt:
        return
    raise click.ClickException("the gateway ended, or closed the connection")


def _like(line: dict[str, Any], given: dict[str, tuple[Any, ...]]) -> bool:
    """Whether it fits the filters."""
    for key, wanted in given.items():
        if key == "deployment":
            if not any(tried["deployment"] in wanted for tried in line.get("attempts", ())):
                return False
        elif line.get(key) not in wanted:
            return False
    return True


def _line(line: dict[str, Any]) -> str:
    attempts = line.get("attempts", ())
    served = next((a["deployment"] for a in reversed(attempts) if not a.get("cause")), "-")
    tokens = line.get("tokens")
    used = ("-", "-")
    if tokens is not None:
        sign = "~" if line.get("estimated") else ""
        used = (
            f"{sign}{tokens['input'] + tokens['cached'] + tokens['cache_write']:,}",
            f"{sign}{tokens['output'] + tokens['reasoning']:,}",
        )
    why = [line["reason"]] if line.get("reason") else []
    if line.get("how") not in (None, "", "done"):
        why.append(line["how"])
    why += [f"{a['deployment']}: {a['cause']}" for a in attempts if a.get("cause")]
    ms = "-" if line.get("ms") is None else f"{line['ms']:,.1f}"
    status = str(line.get("status") or "-")
    cells = (line["time"], line.get("consumer") or "-", line.get("model") or "-", served, status, ms, *used)
    return _columns((*cells, "; ".join(why)), _painted)


def _columns(cells: Sequence[str], paint: Any = None) -> str:
    put = [c.rjust(w) if n >= 4 else c.ljust(w) for n, (c, w) in enumerate(zip(cells, WIDTHS, strict=False))]
    if paint is not None:
        put[4] = paint(put[4])
    return "  ".join([*put, *cells[len(WIDTHS) :]]).rstrip()


def _painted(status: str) -> str:
    """A status, green where it is well, yellow where somebody has to wait, red where something is wrong."""
    word = status.strip()
    return click.style(status, fg="yellow" if word == "429" else _COLOURS.get(word[:1]))


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
        places = (("declared", "declared"), ("its answer names", "region"))
        where = ", ".join(f"{word} {a[key]}" for word, key in places if a.get(key))
        say("", where)
    for decision in r["trail"]:
        say("decided", decision)
    return "\n".join(lines)
