"""The documentation as a site: stages what Zensical builds, so that the same files read well in a repository, too.

Pages link to files outside of docs/ (examples, letters of the source). Of Markdown ones (README, CHANGELOG,
CONTRIBUTING) pages are made, other files are put beside the pages, links to folders and to source become plain text.
Standard library only: `./dev docs` runs it, then Zensical with --strict.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
LINK = re.compile(r"`[^`\n]+`|(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(<?([^)\s>]+)>?\)")
"""A link, or code: what comes first counts, so that code is no link and links may be of code."""
FENCE = re.compile(r"(^ *```.*?^ *```)", re.MULTILINE | re.DOTALL)
NAV = (
    ("Begin", ("tutorial.md", "explanation/when-not.md", "introduction.md", "features.md")),
    ("Topologies", ("how-to/topologies/",)),
    ("How to", (
        "how-to/topologies.md", "how-to/applications.md", "how-to/spillover.md", "how-to/limits.md", "how-to/keys.md",
        "how-to/consumers-at-run-time.md", "how-to/operators.md",
        "how-to/keyless.md", "how-to/tokens.md", "how-to/callers.md",
        "how-to/install.md", "how-to/behind-a-proxy.md",
        "how-to/client-certificates.md", "how-to/close-the-side-door.md", "how-to/update.md",
        "how-to/migrate.md", "how-to/",
    )),
    ("Operations", ("reference/operations/index.md", "reference/operations/")),
    ("Reference", ("reference/", "clients.md")),
    ("Explanation", ("explanation/",)),
    ("Contributing", ("contributing.md", "changelog.md", "decisions/README.md", "decisions/")),
)  # fmt: skip
"""Sections of the site, with pages and folders; a page stands where it is named first."""


def nav(pages: list[str]) -> list[tuple[str, list[str]]]:
    """Sections with their pages. Raises ValueError for a page that stands nowhere."""
    left = [page for page in pages if page != "index.md"]
    found = []
    for title, patterns in NAV:
        inside = []
        for pattern in patterns:
            for page in sorted(left):  # a copy: pages are taken out of it
                if page == pattern or (pattern.endswith("/") and page.startswith(pattern)):
                    inside.append(page)
                    left.remove(page)
        found.append((title, inside))
    if left:
        raise ValueError(f"docs/site.py: NAV names no place for {', '.join(left)}")
    return found


def outside() -> dict[Path, str]:
    """Pages of the site that lie outside of docs/."""
    names = {"README.md": "introduction.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
    return {ROOT / name: stands for name, stands in names.items()}


def place(target: Path) -> str:
    """Where a file of the repository stands on the site; empty if it does not."""
    if target in outside():
        return outside()[target]
    if target.is_relative_to(DOCS):
        return str(target.relative_to(DOCS)) if target.is_file() else ""
    inside = target.is_relative_to(ROOT / "examples") or target.is_relative_to(ROOT / "deploy")
    return str(target.relative_to(ROOT)) if target.is_file() and (inside or target.name == "LICENSE") else ""


def rewritten(text: str, source: Path, wanted: set[Path]) -> str:
    """A page with its links as they are on the site; `wanted` gets the files that they lead to."""
    here = Path(place(source)).parent

    def link(match: re.Match[str]) -> str:
        if not match[3]:
            return match[0]
        path, hash_, anchor = match[3].partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return match[0]
        target = (source.parent / path).resolve()
        stands = place(target)
        if not stands:
            return match[2]
        wanted.add(target)
        return f"{match[1]}[{match[2]}]({os.path.relpath(stands, here)}{hash_}{anchor})"

    parts = FENCE.split(text)
    return "".join(part if n % 2 else LINK.sub(link, part) for n, part in enumerate(parts))


def title(text: str) -> str:
    found = re.search(r"^# +(.+)$", text, re.MULTILINE)
    return found[1] if found else ""


def stage(to: Path) -> None:
    """Write the pages and zensical.toml into a folder, which is made anew."""
    shutil.rmtree(to, ignore_errors=True)
    pages = {path: place(path) for path in sorted(DOCS.rglob("*.md"))} | outside()
    wanted: set[Path] = set()
    titles = {}
    for source, name in pages.items():
        text = rewritten(source.read_text("utf-8"), source, wanted)
        titles[name] = title(text)
        (to / "pages" / name).parent.mkdir(parents=True, exist_ok=True)
        (to / "pages" / name).write_text(text, "utf-8")
    for target in sorted(wanted - set(pages)):
        copy = to / "pages" / place(target)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(target, copy)
    (to / "zensical.toml").write_text(config(nav(list(pages.values())), titles), "utf-8")


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("`", "") + '"'


def config(sections: list[tuple[str, list[str]]], titles: dict[str, str]) -> str:
    """What Zensical reads."""
    lines = ["[project]", 'site_name = "Sluicegate"', 'docs_dir = "pages"', 'site_dir = "site"']
    lines += ["use_directory_urls = false", "nav = [", '  { "Sluicegate" = "index.md" },']
    for name, pages in sections:
        inside = ", ".join(f"{{ {quoted(titles[page])} = {quoted(page)} }}" for page in pages)
        lines.append(f"  {{ {quoted(name)} = [{inside}] }},")
    theme = [
        "[project.theme]",
        "font = false  # nothing is fetched from elsewhere",
        'features = ["navigation.sections", "navigation.top", "content.code.copy"]',
    ]
    return "\n".join([*lines, "]", "", *theme, ""])


if __name__ == "__main__":
    stage(Path(sys.argv[1]))
