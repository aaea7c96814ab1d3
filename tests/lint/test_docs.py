"""Pages link to what exists and name only modules and tests that do; the indexes are complete."""

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


NAMED = re.compile(r"\b(?:tests|docs|src|scripts|lint)/[\w./-]+\.(?:py|md|json|toml)\b")
"""Our own files, as pages and comments name them."""
INVENTED = {"tests/lint/test_docs.py", "tests/lint/test_house_rules.py", "lint/rules.py"}
"""Files whose examples name files that are made up."""


def test_files_that_are_named_exist() -> None:
    sources = [path for part in ("src", "tests", "benches", "lint") for path in (ROOT / part).rglob("*.py")]
    missing = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in [*PAGES, *sources]
        if "_build" not in path.parts and path.relative_to(ROOT).as_posix() not in INVENTED
        for name in NAMED.findall(path.read_text(encoding="utf-8"))
        if not (ROOT / name).exists()
    }
    assert missing == set()


def test_the_engine_page_names_every_module() -> None:
    text = (ROOT / "docs/design/engine.md").read_text(encoding="utf-8")
    modules = {path.stem for path in (ROOT / "src/muniment/engine").glob("*.py")} - {"__init__"}
    assert {module for module in modules if f"`{module}" not in text} == set()


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
