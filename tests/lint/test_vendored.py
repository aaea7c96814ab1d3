"""Files that others wrote are what their packages hold; templates name no class that no style sheet has."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "src/muniment/server"
MANIFEST = json.loads((SERVER / "web/vendored.json").read_text(encoding="utf-8"))
TABLERS = re.compile(
    r"^(accordion|alert|align|avatar|badge|bg|border|breadcrumb|btn|card|col|container|d|display|dropdown|flex|float"
    r"|form|fs|fw|g|gap|gx|gy|h|input|justify|lh|link|list|[mp][tbsexy]?|modal|nav|navbar|offset|opacity|order"
    r"|overflow|page|pagination|position|progress|ribbon|rounded|row|shadow|small|spinner|stack|status|sticky|step"
    r"|table|tag|text|toast|user|vstack|hstack|w|z)(-|$)"
)
"""Families of classes that Tabler has; what a template takes of them, scripts/vendor-web has to have kept."""
TAG = re.compile(r"{%.*?%}|{{.*?}}|{#.*?#}", re.DOTALL)
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def style_sheets() -> list[Path]:
    return sorted(SERVER.rglob("static/**/*.css"))


def templates() -> list[Path]:
    return sorted(SERVER.rglob("templates/**/*.html"))


def test_vendored_files_are_unchanged() -> None:
    assert len(MANIFEST["sha256"]) >= 8
    for path, digest in MANIFEST["sha256"].items():
        assert hashlib.sha256((ROOT / path).read_bytes()).hexdigest() == digest, path


def test_vendored_files_are_all_in_the_manifest() -> None:
    kept = {path.relative_to(ROOT).as_posix() for path in (SERVER / "web/static/web/fonts").iterdir()}
    kept |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests/browser/vendored").iterdir()}
    assert kept <= set(MANIFEST["sha256"])


def test_packages_are_those_of_the_lock() -> None:
    lock = json.loads((ROOT / "requirements/npm/package-lock.json").read_text(encoding="utf-8"))
    assert lock["packages"][""]["dependencies"] == MANIFEST["packages"]
    for name, version in MANIFEST["packages"].items():
        assert lock["packages"][f"node_modules/{name}"]["version"] == version
        assert lock["packages"][f"node_modules/{name}"]["integrity"].startswith("sha512-")


def test_templates_take_of_tabler_only_what_was_kept() -> None:
    css = "".join(path.read_text(encoding="utf-8") for path in style_sheets())
    known = set(re.findall(r"\.(-?[A-Za-z_][\w-]*)", css))
    taken = {
        (path.relative_to(SERVER).as_posix(), name)
        for path in templates()
        for value in re.findall(r'class="([^"]*)"', TAG.sub("\0", path.read_text(encoding="utf-8")))
        for name in value.split()
        if "\0" not in name and TABLERS.match(name)
    }
    assert len(taken) > 20
    assert not {(path, name) for path, name in taken if name not in known}


def test_style_sheets_name_colours_in_one_place_and_load_nothing_from_elsewhere() -> None:
    for path in style_sheets():
        text = COMMENT.sub("", path.read_text(encoding="utf-8"))
        assert not re.findall(r"url\(\s*['\"]?(?:https?:)?//", text), path
        assert "@import" not in text, path
        if path.name not in ("tokens.css", "tabler.css"):
            # Black and white are for masks and for paper.
            colours = set(re.findall(r"#[0-9a-fA-F]{3,8}\b|\brgba?\(|\bhsla?\(", text)) - {"#000", "#fff"}
            assert not colours, (path, colours)


def test_templates_have_nothing_inline() -> None:
    for path in templates():
        text = path.read_text(encoding="utf-8")
        assert not re.findall(r"\sstyle=|<style|\son[a-z]+=|javascript:", text), path
        assert not re.findall(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)", text), path
        assert not re.findall(r'(?:href|src|action)="(?:https?:)?//', text), path
