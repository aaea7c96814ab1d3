"""Pictures of every page: three widths, light and dark. `make looks`, or

    python -m tests.browser.looks OUT [--only /privacy]

Made to be looked at, not compared: a picture that differs says nothing about better or worse.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2
from playwright.sync_api import Browser, sync_playwright

from tests.support.browsing import ARGUMENTS, CHROMIUM, Site, cookies_of
from tests.support.crawl import crawl
from tests.support.machine import Machine
from tests.support.server import Served
from tests.support.visitor import Visitor

WIDTHS = (360, 768, 1280)
SCHEMES = ("light", "dark")


def public_paths(site: Site) -> list[str]:
    """Every page that somebody without an account can reach, one picture for each path without its query."""
    with httpx2.Client(base_url=site.url, timeout=30) as client:
        pages = crawl(client)
    paths = [page.path for page in pages if page.text]
    return [*dict.fromkeys(path.partition("?")[0] for path in paths), "/no/such/page"]


def own_paths(visitor: Visitor) -> list[str]:
    """What an account adds to them."""
    pages = crawl(visitor.client, start=("/overview", "/profile"), skip=("/accounts/logout",))
    paths = [page.path.partition("?")[0] for page in pages if page.text]
    public = ("/privacy", "/editions", "/cookies", "/sealed")
    return [path for path in dict.fromkeys(paths) if path != "/" and not path.startswith(public)]


def sign_up(site: Site, place: Path) -> Visitor:
    """Somebody with a machine that backed up."""
    visitor = Visitor(site.served)
    visitor.sign_up("somebody@example.org")
    code = site.served.admin("enrol", "somebody@example.org", "--new-vault")["code"]
    Machine(place / "machine").connect(site.served.url, code).done("backup", Path(__file__).parent)
    return visitor


def take(browser: Browser, site: Site, path: str, into: Path, *, cookies: Sequence[Any] = ()) -> None:
    """Whole pages, as PNG."""
    name = re.sub(r"[^a-z0-9]+", "-", path.lower()).strip("-") or "home"
    for scheme in SCHEMES:
        for width in WIDTHS:
            context = browser.new_context(
                viewport={"width": width, "height": 800}, color_scheme=scheme, reduced_motion="reduce"
            )  # fmt: skip
            context.add_cookies(cookies)
            page = context.new_page()
            page.goto(site.url + path)
            page.evaluate("document.fonts.ready")
            page.screenshot(path=into / f"{name}-{width}-{scheme}.png", full_page=True)
            context.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", action="append", help="paths instead of all, signed in; repeatable")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="muniment-looks-") as place, sync_playwright() as driver:
        served = Served(Path(place) / "server").start()
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            site = Site(served)
            visitor = sign_up(site, Path(place))
            public = [] if options.only else public_paths(site)
            for path in public:
                take(browser, site, path, options.out)
            for path in options.only or own_paths(visitor):
                take(browser, site, path, options.out, cookies=cookies_of(visitor.client, site))
        finally:
            browser.close()
            served.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
