"""The proof that nothing leaves its boundary, and the evidence that nothing did.

The proof walks every edge (edges.py) of every boundary that is served, and judges each end by what is declared of it:
its region, and how far it may be processed from there. It is made at every load, and an end outside is an error. It
does not rely on the cut of pools: it looks at what the cut left. The evidence is the ledger's: what was declared of a
deployment when it was asked, and the region that its answer named.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from sluicegate.core.residency import plain
from sluicegate.core.snapshot import Snapshot
from sluicegate.spec import edges
from sluicegate.spec.capacity import BoundarySpec
from sluicegate.spec.edges import NOTHING, Edge, End, Ground
from sluicegate.spec.kinds import Context, quoted
from sluicegate.spec.language import Document
from sluicegate.spec.problems import Path
from sluicegate.spec.regions import answers_from
from sluicegate.spec.skus import LEVELS, SKUS


class Row(NamedTuple):
    """One end of one edge, judged. `inside` None: nothing of a request travels there."""

    edge: Edge
    end: End
    inside: bool | None
    why: str


def inside(boundary: BoundarySpec, region: str, processing: str) -> bool:
    """Whether what happens in this region, processed so far from it, stays inside. No region is outside."""
    near = boundary.regions == ("*",) or region in boundary.regions
    return near and LEVELS.index(processing) <= LEVELS.index(boundary.processing)


def rows(document: Document, snapshot: Snapshot, boundary: str) -> Iterator[Row]:
    """Every end of every edge for tenants of a boundary. Raises Unlabelled."""
    ground = Ground(document, snapshot)
    spec = document.boundaries[boundary]
    for edge in edges.checked(edges.EDGES):
        for end in edge.ends(ground, boundary):
            yield Row(edge, end, *_judged(spec, edge, end))


def _judged(spec: BoundarySpec, edge: Edge, end: End) -> tuple[bool | None, str]:
    if edge.carries == (NOTHING,):
        return None, "nothing of any request travels there"
    if spec.regions == ("*",):
        near = "any region will do"
    elif not end.region:
        return False, "has no region, so it is outside"
    elif end.region not in spec.regions:
        return False, f"{end.region} is none of {', '.join(spec.regions)}"
    else:
        near = f"{end.region} is one of its regions"
    if LEVELS.index(end.processing) > LEVELS.index(spec.processing):
        return False, f"processing is {end.processing}, at most {spec.processing} is allowed"
    return True, f"{near}, {end.processing} is within {spec.processing}"


def hold(document: Document, snapshot: Snapshot, served: Iterable[str], cx: Context) -> None:
    """Report every end that lies outside a boundary that is served, with both ends and what to write."""
    checked: set[tuple[str, Path]] = set()
    for name in served:
        if name not in document.boundaries:
            continue
        shown = [cx.sealed.get(("boundaries", name, "regions", n), r)
                 for n, r in enumerate(document.boundaries[name].regions)]  # fmt: skip
        for row in rows(document, snapshot, name):
            if row.inside is not False or row.end.local or (row.edge.name, row.end.path) in checked:
                continue  # what is local is where the gateway is: that was said of gateway.region
            checked.add((row.edge.name, row.end.path))
            at = (*row.end.path, "region")
            if not row.end.region:
                where = "has no region, so it"
                hint = f"write region: {shown[0] if shown != ['*'] else 'NAME'} there, if that is where it is"
            else:
                where = f"is in {cx.shown(at, row.end.region)}, processing {row.end.processing}, which"
                hint = f"use one inside, or write gateway.boundaries without {name}"
            what = (
                f"{row.end.what} {where} is outside boundary {quoted(name)} ({', '.join(shown)}): from this gateway "
                f"{' and '.join(row.edge.carries)} of its tenants would go there (edge {row.edge.name})"
            )
            cx.say(at if row.end.region else row.end.path, what, hint, key=not row.end.region)
    _one_place(document, cx)


def _one_place(document: Document, cx: Context) -> None:
    """Two instances at one address cannot be in two regions: one of them is not where it says."""
    if not document.boundaries:
        return
    seen: dict[Any, tuple[str, str]] = {}
    for name, spec in document.instances.items():
        first, region = seen.setdefault(spec.endpoint, (name, spec.region))
        if region != spec.region:
            at: Path = ("instances", name, "region")
            what = f"the same address as instances.{first}, which is said to be elsewhere"
            cx.say(at, what, "one address is in one region: correct one of them")


def prove(document: Document, snapshot: Snapshot, drained: Iterable[str] = ()) -> dict[str, Any]:
    """The proof as plain data."""
    found = []
    for name, spec in document.boundaries.items():
        served = name in snapshot.gateway.boundaries
        proved = list(rows(document, snapshot, name)) if served else []
        found.append({
            "boundary": name, "regions": list(spec.regions), "processing": spec.processing, "served": served,
            "tenants": [t for t, of in document.tenants.items() if of.boundary == name],
            "holds": all(row.inside is not False for row in proved),
            "edges": [
                {
                    "edge": row.edge.name, "carries": list(row.edge.carries), "via": row.end.via, "to": row.end.what,
                    "region": row.end.region, "processing": row.end.processing, "inside": row.inside, "why": row.why,
                }
                for row in proved
            ],
        })  # fmt: skip
    return {
        "config": snapshot.hash, "gateway": snapshot.gateway.name, "region": snapshot.gateway.region,
        "declared": bool(document.boundaries), "holds": bool(found) and all(b["holds"] for b in found),
        "boundaries": found, "drained": sorted(drained), "assumed": assumed(document, snapshot),
    }  # fmt: skip


def assumed(document: Document, snapshot: Snapshot) -> list[str]:
    """What the proof takes for granted."""
    found = [
        "regions are as declared: nothing is measured but what answers say in x-ms-region",
        "a deployment is of the kind that is declared: Azure's data plane does not say it",
        "gateway.data, access log and whoever reads metrics and the management API are where the gateway is",
        "Azure keeps what it stores in the geography of the resource, and processes where the kind of deployment says",
    ]
    for name, spec in document.instances.items():
        for label, declared in spec.deployments.items():
            if declared.processing is not None and declared.processing != SKUS[declared.sku].processing:
                found.append(
                    f"{name}/{label} is said to process {declared.processing}, though it is {declared.sku} "
                    f"({SKUS[declared.sku].processing})"
                )
        if spec.provider in ("openai_compatible", "anthropic"):
            found.append(f"{name} is a server of its own ({spec.provider}): where it processes, its operator says")
    if any(model.spill.platform for model in snapshot.models):
        found.append("Azure's own spillover goes to declared deployments only; one that answers is looked at")
    return found


# ---------------------------------------------------------------- evidence


AGREES, CONTRADICTS, SILENT, UNDECLARED = "agrees", "contradicts", "no region named", "undeclared"


def verdict(declared: str, seen: str) -> str:
    """What an answer's region says of what was declared of who gave it."""
    if not declared:
        return UNDECLARED
    if not seen:
        return SILENT
    region, processing, _ = declared.rsplit(" ", 2)
    allowed = answers_from(region, processing)
    return CONTRADICTS if allowed and plain(seen) not in allowed else AGREES


def evidence(records: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row for each call that was made for these records, which have names (accounts.named)."""
    for record in records:
        for n, attempt in enumerate(record["attempts"], 1):
            declared, seen = attempt.get("declared") or "", attempt.get("region") or ""
            region, processing, sku = declared.rsplit(" ", 2) if declared else ("", "", "")
            yield {
                "id": record["id"], "time": record["time"], "tenant": record["tenant"], "consumer": record["consumer"],
                "model": record["model"], "boundary": record["context"].get("boundary", ""), "attempt": n,
                "deployment": attempt["deployment"], "region": region, "processing": processing, "sku": sku,
                "seen": seen, "status": attempt["status"], "config": record["spec"],
                "gateway": record["context"].get("region", ""), "verdict": verdict(declared, seen),
            }  # fmt: skip


GROUP = ("tenant", "boundary", "deployment", "region", "processing", "sku", "seen", "verdict")
"""What calls are counted by."""


def counted(found: Iterable[Mapping[str, Any]], most: int = 100) -> dict[str, Any]:
    """Calls by GROUP, and the first contradictions in full."""
    calls: dict[tuple[Any, ...], int] = {}
    wrong: list[Mapping[str, Any]] = []
    totals = dict.fromkeys((AGREES, CONTRADICTS, SILENT, UNDECLARED), 0)
    for row in found:
        totals[row["verdict"]] += 1
        key = tuple(row[name] for name in GROUP)
        calls[key] = calls.get(key, 0) + 1
        if row["verdict"] == CONTRADICTS and len(wrong) < most:
            wrong.append(row)
    groups = [{**dict(zip(GROUP, key, strict=True)), "calls": n} for key, n in sorted(calls.items())]
    return {"calls": sum(calls.values()), "verdicts": totals, "groups": groups, "contradictions": wrong}
