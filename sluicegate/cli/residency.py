"""`sluicegate residency`: the proof that nothing leaves its boundary, and the evidence that nothing did.

`prove` walks every way that something of a request can take, of the running gateway or of a file alone. `report` reads
the ledger: for each call what was declared of who was asked, and the region that the answer named.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click

from sluicegate.cli.configuration import load
from sluicegate.cli.ledgers import opened
from sluicegate.cli.running import At, ask, running, table
from sluicegate.spec.accounts import Unclear, minute, named, span
from sluicegate.spec.residency import CONTRADICTS, GROUP, counted, evidence, prove

CELLS = (
    "time", "id", "tenant", "consumer", "model", "boundary", "attempt", "deployment", "region", "processing", "sku",
    "seen", "verdict", "status", "gateway", "config",
)  # fmt: skip
"""Of `report --csv`, a row for each call."""


@click.group()
def command() -> None:
    """Proof that nothing leaves its boundary, and evidence that nothing did."""


@command.command("prove")
@running
@click.option("--from", "old", metavar="FILE", multiple=True, help="Of this configuration; asks no gateway.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def proved(ctx: click.Context, at: At, old: tuple[str, ...], as_json: bool) -> None:
    """Every way that something of a request can take, where it ends, and why that is inside.

    Exit status: 0 it holds, 1 it does not, or no boundary is declared, 2 the configuration cannot take effect.
    """
    if old:
        loaded = load(old, start=False, end="nothing was proved", quiet=True)
        assert loaded.document is not None and loaded.snapshot is not None
        proof = prove(loaded.document, loaded.snapshot)
    else:
        proof = ask("GET", "/v1/residency", at)
    click.echo(json.dumps(proof, indent=2) if as_json else shown(proof))
    ctx.exit(0 if proof["holds"] else 1)


def shown(proof: dict[str, Any]) -> str:
    """The proof for people."""
    head = f"configuration {proof['config']}, gateway {proof['gateway']} in {proof['region'] or 'no region'}"
    if not proof["declared"]:
        return f"{head}\n\nno boundary is declared: prompts of every tenant may go to every deployment"
    parts = [head]
    for b in proof["boundaries"]:
        what = (
            f"boundary {b['boundary']}: {', '.join(b['regions']).replace('*', 'any region')}; at most {b['processing']}"
        )
        tenants = ", ".join(b["tenants"]) or "none"
        if not b["served"]:
            parts.append(f"{what}\n  not served here: its tenants ({tenants}) are refused")
            continue
        rows = [
            (e["edge"], e["via"] or "-", e["to"], e["region"] or "-", e["processing"],
             {True: "inside", False: "OUTSIDE", None: "-"}[e["inside"]], e["why"])
            for e in b["edges"]
        ]  # fmt: skip
        lines = table(rows, ("edge", "model", "to", "region", "processing", "", "why"))
        verdict = "holds" if b["holds"] else "DOES NOT HOLD"
        parts.append(f"{what}\ntenants: {tenants}\n{lines}\n{verdict}: {len(rows)} ends of edges")
    if proof["drained"]:
        parts.append(f"drained, so nothing goes there now: {', '.join(proof['drained'])}")
    parts.append("assumed:\n" + "\n".join(f"  {line}" for line in proof["assumed"]))
    return "\n\n".join(parts)


@command.command("report")
@running
@click.option("--since", metavar="WHEN", help="Date, time, or how long ago (7d), UTC. Default: this month's first.")
@click.option("--until", metavar="WHEN", help="Up to, but not with it. Default: now.")
@click.option("--tenant", metavar="NAME", multiple=True, help="Of this tenant, and this. Default: all.")
@click.option("--json", "as_json", is_flag=True, help="Counts and contradictions as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="A row for each call, as CSV.")
@click.pass_context
def reported(
    ctx: click.Context,
    at: At,
    since: str | None,
    until: str | None,
    tenant: tuple[str, ...],
    as_json: bool,
    as_csv: bool,
) -> None:
    """Where calls were processed: as declared when they were made, and as the answers named it.

    Exit status: 0 no answer contradicts what was declared, 1 one does, or the ledger cannot be read.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv: write one of them")
    if as_csv and at.admin:
        raise click.UsageError("--csv reads the ledger of a gateway on this machine: leave out --admin, or --csv")
    if at.admin:
        told = ask("GET", "/v1/residency/report", at, query={"since": since, "until": until, "tenant": tenant})
    else:
        with _calls(ctx, at, since or "", until or "", tenant) as (found, during):
            if as_csv:
                ctx.exit(1 if _csv(found) else 0)
            told = {"since": minute(during[0]), "until": minute(during[1]), **counted(found)}
    click.echo(json.dumps(told, indent=2) if as_json else _said(told))
    ctx.exit(1 if told["verdicts"][CONTRADICTS] else 0)


@contextmanager
def _calls(
    ctx: click.Context, at: At, since: str, until: str, tenants: tuple[str, ...]
) -> Iterator[tuple[Iterator[dict[str, Any]], tuple[int, int]]]:
    try:
        during = span(since, until, datetime.now(UTC))
    except Unclear as e:
        raise click.UsageError(str(e)) from None
    with opened(ctx, at) as (ledger, names):
        records = (named(r, names) for r in ledger.between(during.begin, during.end, tenants))
        yield evidence(records), (during.begin, during.end)


def _csv(found: Iterator[dict[str, Any]]) -> int:
    """Writes every call; how many contradict."""
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(CELLS)
    wrong = 0
    for row in found:
        wrong += row["verdict"] == CONTRADICTS
        out.writerow([_cell(str(row[name])) for name in CELLS])
    return wrong


def _cell(text: str) -> str:
    """A spreadsheet takes what begins like this for a formula."""
    return "'" + text if text[:1] in ("=", "+", "-", "@") else text


def _said(told: dict[str, Any]) -> str:
    if not told["calls"]:
        return f"no call was made from {told['since']} until {told['until']}"
    rows = [(*(g[name] or "-" for name in GROUP), f"{g['calls']:,}") for g in told["groups"]]
    head = ("tenant", "boundary", "deployment", "declared", "processing", "sku", "answers name", "verdict", "calls")
    verdicts = ", ".join(f"{n:,} {name}" for name, n in told["verdicts"].items() if n)
    parts = [
        f"from {told['since']} until {told['until']}: {told['calls']:,} calls: {verdicts}",
        table(rows, head, right=(len(head) - 1,)),
    ]
    wrong = told["contradictions"]
    if wrong:
        ids = "\n".join(f"  {w['time']}  {w['id']}  {w['deployment']} named {w['seen']}" for w in wrong[:20])
        parts.append(f"contradictions, the first of them:\n{ids}")
    return "\n\n".join(parts)
