"""Pictures of every page: three widths, light and dark. `make looks`, or

    python -m tests.browser.looks OUT [--only /privacy] [--account]

Made to be looked at, not compared: a picture that differs says nothing about better or worse.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

import httpx2
from playwright.sync_api import Browser, sync_playwright

from tests.support.browsing import ARGUMENTS, CHROMIUM, Site
from tests.support.crawl import crawl
from tests.support.server import Served

WIDTHS = (360, 768, 1280)
SCHEMES = ("light", "dark")


def public_paths(site: Site) -> list[str]:
    """Every page that somebody without an account can reach, one picture for each path without its query."""
    with httpx2.Client(base_url=site.url, timeout=30) as client:
        pages = crawl(client)
    paths = [page.path for page in pages if page.text]
    return [*dict.fromkeys(path.partition("?")[0] for path in paths), "/no/such/page"]


def take(browser: Browser, site: Site, path: str, into: Path, *, state: str | None = None) -> None:
    """Whole pages, as PNG."""
    name = re.sub(r"[^a-z0-9]+", "-", path.lower()).strip("-") or "home"
    for scheme in SCHEMES:
        for width in WIDTHS:
            context = browser.new_context(
                viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce",
                storage_state=state,
            )  # fmt: skip
            page = context.new_page()
            page.goto(site.url + path)
            page.evaluate("document.fonts.ready")
            page.screenshot(path=into / f"{name}-{width}-{scheme}.png", full_page=True)
            context.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", action="append", help="paths instead of all; repeatable")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="muniment-looks-") as place, sync_playwright() as driver:
        served = Served(Path(place) / "server").start()
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            site = Site(served)
            for path in options.only or public_paths(site):
                take(browser, site, path, options.out)
                print(path, flush=True)
        finally:
            browser.close()
            served.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
