"""Parts of the reference that are written from the code: which refusals, which headers, which metrics.

PYTHONPATH=. python tests/docs/generate.py writes them anew. When a refusal happens is said by people, in the page; all
else of its row is the code's.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import sluicegate
from sluicegate.core.alerts import KINDS
from sluicegate.core.families import FAMILIES
from sluicegate.core.refusals import REFUSALS, TOKENS
from sluicegate.wire.headers import ANSWER_PASS, CREDENTIAL_HEADERS, REQUEST_PASS

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(sluicegate.__file__).parent
REASONS = ROOT / "docs" / "reference" / "reasons.md"
METRICS = ROOT / "docs" / "reference" / "metrics.md"
ALERTS = ROOT / "docs" / "reference" / "alerts.md"
KEEPERS = ("keeper/facts.py", "keeper/backlog.py")
HOW = "PYTHONPATH=. python tests/docs/generate.py"
UNSAID = "?"


class Metric(NamedTuple):
    """A name of the metrics page."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


def workers() -> list[Metric]:
    """What workers count."""
    kinds = {"max": "gauge"}
    return [Metric(f.name, kinds.get(f.kind, f.kind), f.labels, f.help) for f in FAMILIES.values()]


def keepers() -> list[Metric]:
    """What the keeper itself knows: tuples of name, kind, help and values in its source."""
    found = []
    for name in KEEPERS:
        for node in ast.walk(ast.parse((PACKAGE / name).read_text("utf-8"))):
            if isinstance(node, ast.Tuple) and len(node.elts) == 4:
                first, kind, help_, values = node.elts
                if isinstance(first, ast.Constant) and str(first.value).startswith("sluicegate_"):
                    assert isinstance(kind, ast.Constant) and isinstance(help_, ast.Constant)
                    keys = [key for d in ast.walk(values) if isinstance(d, ast.Dict) for key in d.keys]
                    labels = tuple(str(key.value) for key in keys if isinstance(key, ast.Constant))
                    found.append(Metric(str(first.value), str(kind.value), labels, str(help_.value)))
    return found


def table(metrics: list[Metric]) -> str:
    rows = [f"| `{m.name}` | {m.kind} | {', '.join(m.labels)} | {m.help} |" for m in metrics]
    return "\n".join(["| name | kind | labels | |", "|---|---|---|---|", *rows])


def said(page: str) -> dict[str, str]:
    """When each refusal happens, as the page says."""
    return {
        name: words.strip()
        for name, words in re.findall(r"^\| `([\w.]+)` \|(?:[^|]*\|){3}([^|]*)\|$", page, re.MULTILINE)
    }


def refusals(page: str) -> str:
    """The table of refusals, with the page's own words."""
    words = said(page)
    rows = ["| reason | status | `error.code` | `x-should-retry` | when |", "|---|---|---|---|---|"]
    for name, r in REFUSALS.items():
        again = "true" if r.should_retry else "false"
        rows.append(f"| `{name}` | {r.status} | `{r.code}` | {again} | {words.get(name, UNSAID)} |")
    return "\n".join(rows)


def tokens() -> str:
    """Why tokens are refused, for who reads records and logs."""
    return "\n".join(
        ["| reason | what is wrong |", "|---|---|", *(f"| `{name}` | {words} |" for name, words in TOKENS.items())]
    )


def headers() -> str:
    """Which headers pass, from the lists that let them."""

    def listed(names: Iterable[bytes]) -> str:
        return ", ".join(f"`{name.decode()}`" for name in sorted(names))

    rows = [
        f"| of requests, read and never sent on: who asks | {listed(CREDENTIAL_HEADERS)} |",
        f"| of requests, sent on to the deployment | {listed(REQUEST_PASS)} |",
        f"| of answers, sent on to the client | {listed(ANSWER_PASS)} |",
    ]
    return "\n".join(["| | |", "|---|---|", *rows])


def put(page: str, name: str, text: str) -> str:
    """The page with another text between its marks."""
    pattern = rf"(<!-- from the code: {name} -->\n\n).*?(\n\n<!-- to here -->)"
    assert re.search(pattern, page, re.DOTALL), f"no place for {name}"
    return re.sub(pattern, lambda match: match[1] + text + match[2], page, flags=re.DOTALL)


def reasons_page(page: str) -> str:
    return put(put(put(page, "refusals", refusals(page)), "tokens", tokens()), "headers", headers())


def metrics_page(page: str) -> str:
    return put(put(page, "traffic", table(workers())), "keeper", table(keepers()))


def alerts_page(page: str) -> str:
    rows = [f"| `{name}` | {'yes' if kind.lasts else 'no'} | {kind.says} |" for name, kind in KINDS.items()]
    return put(page, "alerts", "\n".join(["| kind | lasts | |", "|---|---|---|", *rows]))


if __name__ == "__main__":
    ALERTS.write_text(alerts_page(ALERTS.read_text("utf-8")), "utf-8")
    REASONS.write_text(reasons_page(REASONS.read_text("utf-8")), "utf-8")
    METRICS.write_text(metrics_page(METRICS.read_text("utf-8")), "utf-8")
