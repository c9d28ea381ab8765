"""Every relative link of a page leads to a file, and every anchor to a heading of that file."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path
    for path in (
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "findings").glob("*.md"),
    )
)
FENCED = re.compile(r"^ *```.*?^ *```$", re.M | re.S)
LINK = re.compile(r"\]\(<?([^)\s>]+)>?\)")
ELSEWHERE = re.compile(r"[a-z]+:")
"""The beginning of an address with a scheme; the network is not asked."""


def prose(page: Path) -> str:
    """A page without its code: fenced blocks, and code within a line."""
    return re.sub(r"`[^`\n]*`", "", FENCED.sub("", page.read_text(encoding="utf-8")))


def slug(heading: str) -> str:
    """The anchor of a heading as GitHub makes it: lower case, blanks as dashes, no punctuation."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings. A repeated heading gets a number."""
    found: dict[str, int] = {}
    result = set()
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    for heading in re.findall(r"^#{1,6} +(.+?)$", text, re.M):
        name = slug(heading)
        result.add(f"{name}-{found[name]}" if name in found else name)
        found[name] = found.get(name, 0) + 1
    return frozenset(result)


def broken(page: Path, target: str) -> str:
    """What is wrong with a link of a page; "" for a good one and for one to another host."""
    if ELSEWHERE.match(target):
        return ""
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if not file.exists():
        return f"{target}: there is no {path}"
    if anchor and anchor not in anchors(file):
        return f"{target}: no heading of {file.name} has this anchor"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    wrong = [broken(page, target) for target in LINK.findall(prose(page))]
    assert not [text for text in wrong if text]


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_every_page_is_reached_from_the_readme(page: Path) -> None:
    """From README's table, in one step or two."""
    first = {
        (ROOT / target.partition("#")[0]).resolve()
        for target in LINK.findall(prose(ROOT / "README.md"))
    }
    second = {
        (one.parent / target.partition("#")[0]).resolve()
        for one in first
        if one.suffix == ".md"
        for target in LINK.findall(prose(one))
    }
    assert page.resolve() in first | second


def test_a_broken_link_and_a_broken_anchor_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One `two`: three\n\n## Again\n\n## Again\n\n```bash\n# not a heading\n```\n")
    assert anchors(page) == {"one-two-three", "again", "again-1"}
    assert broken(page, "page.md#again-1") == broken(page, "#again") == ""
    assert broken(page, "https://example.org/nowhere") == ""
    assert "no nowhere.md" in broken(page, "nowhere.md#again")
    assert "anchor" in broken(page, "#not-a-heading")
