"""Pages link to what exists, the decision index is complete, the glossary has no forbidden word as a term."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "changes").glob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)\s]*)?\)")


@pytest.mark.parametrize("page", [page for page in PAGES if "_build" not in page.parts], ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = [target for target, _ in LINK.findall(page.read_text(encoding="utf-8"))]
    inside = [target for target in targets if not target.startswith(("https:", "http:", "mailto:"))]
    missing = [target for target in inside if not (page.parent / target).exists()]
    assert missing == []


def test_every_decision_has_context_choice_and_price() -> None:
    index = (ROOT / "docs/decisions/index.md").read_text(encoding="utf-8")
    pages = sorted((ROOT / "docs/decisions").glob("0*.md"))
    assert pages
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert page.name in index
        assert all(f"**{part}.**" in text for part in ("Context", "Choice", "Price")), page


def test_changelog_fragments_are_of_a_known_kind() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    kinds = {kind["directory"] for kind in settings["tool"]["towncrier"]["type"]}
    fragments = [path for path in (ROOT / "changes").glob("*.md") if path.name != "README.md"]
    assert all(path.name.split(".")[-2] in kinds for path in fragments)
