"""`sluicegate usage`: what was used and what it cost, summed by consumer, tenant, model, deployment or day.

Read from the ledger itself, so it works while the gateway runs and when it does not. Sums are exact: tokens are counted
and money is integer nano-units until it is written.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from sluicegate.cli.ledgers import Names, moment, money, opened, when
from sluicegate.cli.running import running, table

BY = ("consumer", "tenant", "model", "deployment", "day")
TOKENS = ("input", "cached", "cache_write", "output", "reasoning")
COUNTS = ("requests", "refused", "interrupted", "estimated", "unpriced")


@click.command()
@running
@click.option("--by", multiple=True, type=click.Choice(BY), help="Sum by this, and this. Default: consumer.")
@click.option(
    "--since", metavar="WHEN", help="Date, time, or how long ago (7d), UTC. Default: the first of this month."
)
@click.option("--until", metavar="WHEN", help="Up to, but not with it. Default: now.")
@click.option("--json", "as_json", is_flag=True, help="As JSON; money in nano-units, too.")
@click.option("--csv", "as_csv", is_flag=True, help="As CSV, one row for each currency.")
@click.pass_context
def command(
    ctx: click.Context,
    config: tuple[str, ...],
    data: str | None,
    by: tuple[str, ...],
    since: str | None,
    until: str | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """What was used, in tokens and money. Whole minutes: --since is rounded down to one, --until up."""
    if as_json and as_csv:
        raise click.UsageError("--json and --csv: write one of them")
    by = tuple(dict.fromkeys(by)) or ("consumer",)
    now = datetime.now(UTC)
    first = when(since, now) if since else now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    last = when(until, now) if until else now
    begin, end = int(first.timestamp()) // 60 * 60, math.ceil(last.timestamp() / 60) * 60
    if begin >= end:
        raise click.UsageError(f"--until {_time(last)} is not after --since {_time(first)}")
    with opened(ctx, config, data) as (ledger, names):
        found = ledger.usage(begin, end, by)
    if as_json:
        facts = [_facts(s, by, names) for s in found]
        click.echo(json.dumps({"since": _second(begin), "until": _second(end), "by": by, "usage": facts}, indent=2))
    elif as_csv:
        _csv(found, by, names)
    elif not found:
        click.echo(f"nothing was used from {_second(begin)} until {_second(end)}")
    else:
        click.echo(_table(found, by, names))


def _facts(s: Any, by: tuple[str, ...], names: Names) -> dict[str, Any]:
    return {
        **{k: names.name(k, v) for k, v in zip(by, s.key, strict=True)},
        **{c: s.counts[c] for c in COUNTS},
        "tokens": {t: s.counts[t] for t in TOKENS},
        "cost": {
            currency: {"amount": money(cost), "nano": cost, "overhead": money(overhead), "overhead_nano": overhead}
            for currency, (cost, overhead) in sorted(s.money.items())
        },
    }


def _csv(found: list[Any], by: tuple[str, ...], names: Names) -> None:
    """Counts stand in the first row of a key only, so that a column can be summed."""
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow((*by, *COUNTS, *TOKENS, "currency", "cost", "overhead"))
    for s in found:
        counts = [s.counts[c] for c in (*COUNTS, *TOKENS)]
        for currency, (cost, overhead) in sorted(s.money.items()) or [("", (0, 0))]:
            shown = [_cell(str(names.name(k, v))) for k, v in zip(by, s.key, strict=True)]
            paid = (money(cost), money(overhead)) if currency else ("", "")
            out.writerow((*shown, *counts, currency, *paid))
            counts = [0] * len(counts)


def _cell(text: str) -> str:
    """A spreadsheet takes what begins like this for a formula."""
    return "'" + text if text[:1] in ("=", "+", "-", "@") else text


def _table(found: list[Any], by: tuple[str, ...], names: Names) -> str:
    """With a line of totals; columns in which nothing stands are left out."""
    total: dict[str, int] = {c: sum(s.counts[c] for s in found) for c in (*COUNTS, *TOKENS)}
    sums: dict[str, int] = {}
    for s in found:
        for currency, (cost, _) in s.money.items():
            sums[currency] = sums.get(currency, 0) + cost
    shown = [c for c in (*COUNTS, *TOKENS) if total[c] or c in ("requests", "input", "output")]
    rows: list[tuple[object, ...]] = []
    for s in found:
        key = [str(names.name(k, v)) or "-" for k, v in zip(by, s.key, strict=True)]
        rows.append((*key, *(f"{s.counts[c]:,}" for c in shown), _money({c: m[0] for c, m in s.money.items()})))
    if len(found) > 1:
        rows.append(("total", *[""] * (len(by) - 1), *(f"{total[c]:,}" for c in shown), _money(sums)))
    head = (*by, *(c.replace("_", " ") for c in shown), "cost")
    return table(rows, head, right=range(len(by), len(head)))


def _money(sums: dict[str, int]) -> str:
    return " + ".join(f"{money(n)} {currency}" for currency, n in sorted(sums.items())) or "-"


def _time(at: datetime) -> str:
    return moment(int(at.timestamp()) * 1_000_000)[:16] + "Z"


def _second(at: int) -> str:
    return _time(datetime.fromtimestamp(0, UTC) + timedelta(seconds=at))
