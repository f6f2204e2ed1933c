"""`sluicegate usage`: what was used and what it cost, by consumer, tenant, model, deployment, end user or day, by the
subscription that is billed, and by tier: how much spilled over.

Read from the ledger itself, so it works while the gateway runs and when it does not. Sums are exact: tokens are counted
and money is integer nano-units until it is written.
"""

from __future__ import annotations

import csv
import json
import sys
from datetime import UTC, datetime
from typing import Any

import click

from sluicegate.cli.ledgers import opened
from sluicegate.cli.running import At, ask, running, table
from sluicegate.spec.accounts import BY, COUNTS, TOKENS, Unclear, minute, money, span, usage_of

SHARES = ("requests", "tokens")


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
    at: At,
    by: tuple[str, ...],
    since: str | None,
    until: str | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """What was used, in tokens and money. Whole minutes: --since is rounded down to one, --until up; whole hours, where
    the records are too old to be kept. By end user it is summed from the records themselves, as far back as they are
    kept; all others are summed for good. By subscription and by tier: of the deployment that served, as it was declared
    then; beside a tier stands its share of what was served, and what is beyond the first tier of a model spilled
    over."""
    if as_json and as_csv:
        raise click.UsageError("--json and --csv: write one of them")
    by = tuple(dict.fromkeys(by)) or ("consumer",)
    try:
        during = span(since or "", until or "", datetime.now(UTC))
    except Unclear as e:
        raise click.UsageError(str(e)) from None
    if at.admin:
        told = ask("GET", "/v1/usage", at, query={"by": by, "since": since, "until": until})
    else:
        with opened(ctx, at) as (ledger, names):
            told = usage_of(ledger, by, during, names)
    found = told["usage"]
    if (told["since"], told["until"]) != (minute(during.begin), minute(during.end)) and not at.admin:
        what = "minutes of so long ago are not kept"
        click.echo(f"{what}: these are whole hours, from {told['since']} until {told['until']}", err=True)
    if told.get("kept_since"):
        click.echo(f"records reach back to {told['kept_since']}: these sums begin there", err=True)
    if as_json:
        click.echo(json.dumps(told, indent=2))
    elif as_csv:
        _csv(found, by)
    elif not found:
        click.echo(f"nothing was used from {told['since']} until {told['until']}")
    else:
        click.echo(_table(found, by))


def _csv(found: list[dict[str, Any]], by: tuple[str, ...]) -> None:
    """Counts stand in the first row of a key only, so that a column can be summed."""
    out = csv.writer(sys.stdout, lineterminator="\n")
    shares = SHARES if "tier" in by else ()
    out.writerow((*by, *COUNTS, *TOKENS, "currency", "cost", "overhead", *(f"share_of_{of}" for of in shares)))
    for s in found:
        share = ["" if s["share"][of] is None else s["share"][of] for of in shares]
        counts = [*(s[c] for c in COUNTS), *(s["tokens"][t] for t in TOKENS)]
        nothing = {"": {"amount": "", "overhead": ""}}
        for currency, paid in (s["cost"] or nothing).items():
            out.writerow((*(cell(str(s[k])) for k in by), *counts, currency, paid["amount"], paid["overhead"], *share))
            counts, share = [0] * len(counts), [""] * len(share)


def cell(text: str) -> str:
    """A spreadsheet takes what begins like this for a formula."""
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r", "\n") else text


def _table(found: list[dict[str, Any]], by: tuple[str, ...]) -> str:
    """With a line of totals; columns in which nothing stands are left out."""
    flat = [{**s, **s["tokens"]} for s in found]
    total: dict[str, int] = {c: sum(s[c] for s in flat) for c in (*COUNTS, *TOKENS)}
    sums: dict[str, int] = {}
    for s in found:
        for currency, paid in s["cost"].items():
            sums[currency] = sums.get(currency, 0) + paid["nano"]
    shown = [c for c in (*COUNTS, *TOKENS) if total[c] or c in ("requests", "input", "output")]
    rows: list[tuple[object, ...]] = []
    for s in flat:
        key = [str(s[k]) or "-" for k in by]
        share = [_percent(s["share"][of]) for of in SHARES] if "tier" in by else []
        rows.append((*key, *(f"{s[c]:,}" for c in shown), *share, _money({c: p["nano"] for c, p in s["cost"].items()})))
    shares = [f"of {of}" for of in SHARES] if "tier" in by else []
    if len(found) > 1:
        blank = [""] * len(shares)
        rows.append(("total", *[""] * (len(by) - 1), *(f"{total[c]:,}" for c in shown), *blank, _money(sums)))
    head = (*by, *(c.replace("_", " ") for c in shown), *shares, "cost")
    return table(rows, head, right=range(len(by), len(head)))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _money(sums: dict[str, int]) -> str:
    return " + ".join(f"{money(n)} {currency}" for currency, n in sorted(sums.items())) or "-"
