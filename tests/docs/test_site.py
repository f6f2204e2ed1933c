"""The site of the documentation, as far as it can be seen without its generator: pages, links, sections."""

import importlib.util
import re
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_under_test", ROOT / "docs" / "site.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def staged(site: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to: Path = tmp_path_factory.mktemp("site") / "docs"
    site.stage(to)
    return to


def listed(staged: Path) -> list[str]:
    project = tomllib.loads((staged / "zensical.toml").read_text())["project"]
    assert project["docs_dir"] == "pages" and project["theme"]["font"] is False
    found = []
    for entry in project["nav"]:
        for inside in entry.values():
            found += [inside] if isinstance(inside, str) else [page for one in inside for page in one.values()]
    return found


def test_every_page_stands_once_in_a_section(staged: Path):
    pages = sorted(str(p.relative_to(staged / "pages")) for p in (staged / "pages").rglob("*.md"))
    assert sorted(listed(staged)) == pages and len(pages) > 50


def test_every_link_stays_on_the_site_and_leads_somewhere(staged: Path):
    seen = 0
    for page in (staged / "pages").rglob("*.md"):
        prose = re.sub(r"^ *```.*?^ *```|`[^`\n]*`(?!\])", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        for link in re.findall(r"\]\(<?([^)\s>]+)>?\)", prose):
            if not re.match(r"[a-z]+:", link):
                target = (page.parent / link.partition("#")[0]).resolve() if link[0] != "#" else page
                assert target.is_file() and target.is_relative_to(staged), f"{page.name}: {link}"
                seen += 1
    assert seen > 100


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a](../CHANGELOG.md#added)", "[a](changelog.md#added)"),
        ("[a](explanation/house.md)", "[a](explanation/house.md)"),
        ("[a](../examples/team.yaml)", "[a](examples/team.yaml)"),
        ("[`deploy/`](../deploy/gateway.yaml)", "[`deploy/`](deploy/gateway.yaml)"),
        ("[a](../sluicegate/core/exchange.py)", "a"),
        ("[a](../examples)", "a"),
        ("[a](https://example.com) `[a](../x.md)`", "[a](https://example.com) `[a](../x.md)`"),
        ("```\n[a](../README.md)\n```\n![b](img/flow.svg)", "```\n[a](../README.md)\n```\n![b](img/flow.svg)"),
    ],
)
def test_links_are_as_the_site_has_them(site: ModuleType, text: str, said: str):
    assert site.rewritten(text, ROOT / "docs" / "index.md", set()) == said


def test_a_page_without_a_place_is_an_error(site: ModuleType):
    with pytest.raises(ValueError, match=r"no place for somewhere/else\.md"):
        site.nav(["index.md", "tutorial.md", "somewhere/else.md"])
