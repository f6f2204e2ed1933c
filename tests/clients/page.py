"""docs/clients.md: the tables that a run of `./dev clients` writes into it."""

from __future__ import annotations

from collections.abc import Mapping

from tests.clients.roster import CLIENTS, GROUPS, OPERATIONS, ROOT, Client, available, locked

PAGE = ROOT / "docs" / "clients.md"
BEGIN = "<!-- written by ./dev clients -->"
END = "<!-- to here -->"

Results = Mapping[str, Mapping[str, Mapping[str, bool]]]
"""By client, operation and scheme."""


def cell(client: Client, operation: str, seen: Mapping[str, bool]) -> str:
    """yes: over http and https. A note's number where it is not tried, for a reason."""
    if operation in client.notes:
        return f"no [{note(client, operation)}]"
    if operation not in client.operations:
        return ""
    if operation not in available(client):
        return "not yet"
    if all(seen.values()) and len(seen) == 2:
        return f"yes, after {client.tries} tries" if operation == "refused" else "yes"
    return (
        "**fails**" if not any(seen.values()) else "**fails** over " + " ".join(s for s, ok in seen.items() if not ok)
    )


def noted() -> list[tuple[str, str, str]]:
    """Client, operation and why, in the order of their numbers."""
    return [(c.name, name, why) for c in CLIENTS for name, why in c.notes.items()]


def note(client: Client, operation: str) -> int:
    return [(name, op) for name, op, _ in noted()].index((client.name, operation)) + 1


def versions(client: Client) -> str:
    return ", ".join(f"{name} {version}" for name, version in locked(client).items())


def tables(results: Results) -> str:
    """What stands between the marks."""
    tried = [ok for client in results.values() for seen in client.values() for ok in seen.values()]
    schemes = {scheme for client in results.values() for seen in client.values() for scheme in seen}
    lines = [
        f"{len(CLIENTS)} clients, {len(tried)} operations over {' and '.join(sorted(schemes))}: "
        f"{sum(tried)} as they should be, {len(tried) - sum(tried)} not.",
        "",
        "| client | version |",
        "|---|---|",
        *(f"| {c.name} | {versions(c)} |" for c in CLIENTS),
    ]
    for title, operations in GROUPS.items():
        shown = [c for c in CLIENTS if any(name in c.operations or name in c.notes for name in operations)]
        used = [name for name in operations if any(name in c.operations or name in c.notes for c in shown)]
        lines += ["", f"### {title}", "", "| client | " + " | ".join(OPERATIONS[name].title for name in used) + " |",
                  "|" + "---|" * (len(used) + 1)]  # fmt: skip
        for client in shown:
            seen = results.get(client.id, {})
            cells = [cell(client, name, seen.get(name, {})) for name in used]
            lines.append(f"| {client.name} | " + " | ".join(cells) + " |")
    if noted():
        lines += ["", "### Why not", ""]
        lines += [f"{n}. {name}, {OPERATIONS[op].title}: {why}" for n, (name, op, why) in enumerate(noted(), 1)]
    return "\n".join(lines)


def written(page: str, results: Results) -> str:
    """The page with new tables."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables(results)}\n\n{END}{after}"


def read(page: str) -> dict[str, dict[str, str]]:
    """Client, then operation's title: its cell. `version` too."""
    _, _, rest = page.partition(BEGIN)
    inside, _, _ = rest.partition(END)
    found: dict[str, dict[str, str]] = {}
    head: list[str] = []
    for line in inside.splitlines():
        if not line.startswith("|"):
            head = []
            continue
        cells = [c.strip() for c in line.strip("|").split("|")]
        if not head:
            head = cells
        elif not set(line) <= set("|-"):
            found.setdefault(cells[0], {}).update(zip(head[1:], cells[1:], strict=True))
    return found
