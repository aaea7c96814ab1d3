"""Stories in a real browser against a real server: one story is one test, whole.

    def test_story(page: Page, site: Site) -> None:
        page.goto(site.url + "/")
        page.get_by_role("link", name="Editions").click()
        assert_accessible(page)

`page` fails its test when a page asked another host for anything, broke its content security policy, wrote an
error to the console, or was answered 5xx. Chromium comes from the system; its own downloads are never used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    CDPSession,
    ConsoleMessage,
    Page,
    Playwright,
    Request,
    Response,
    sync_playwright,
)

from tests.support.server import Served

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
AXE = Path(__file__).parents[1] / "browser/vendored/axe.min.js"
PATIENCE_MS = 20_000
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


@dataclass(frozen=True)
class Sight:
    """How somebody sees a page: colours, and the size of the window."""

    scheme: str
    size: dict[str, int]

    def __str__(self) -> str:
        return f"{'wide' if self.size is WIDE else 'narrow'}-{self.scheme}"

    def browser(self) -> dict[str, Any]:
        """For `opened`."""
        return {"color_scheme": self.scheme, "viewport": self.size}


@dataclass
class Site:
    """`url` says localhost, not 127.0.0.1: passkeys belong to names, never to addresses."""

    served: Served
    url: str = ""

    def __post_init__(self) -> None:
        self.url = f"http://localhost:{self.served.port}"


@dataclass
class Watch:
    """What went wrong while a page was open, though nobody clicked on it."""

    origin: str
    expected: set[int] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def follow(self, context: BrowserContext) -> None:
        context.on("request", self._asked)
        context.on("response", self._answered)
        context.on("console", self._said)
        context.on("weberror", lambda error: self.problems.append(f"script failed: {error.error}"))

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if (
            parts.scheme not in ("data", "blob", "about")
            and f"{parts.scheme}://{parts.netloc}" != self.origin
        ):
            self.problems.append(f"asked another host: {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 500 and response.status not in self.expected:
            self.problems.append(f"{response.status} for {response.url}")

    def _said(self, message: ConsoleMessage) -> None:
        # Chromium reports every 4xx as an error; those are answers, and stories look at them.
        is_error = message.type == "error" and "Failed to load resource" not in message.text
        if is_error or "Permissions-Policy" in message.text:
            self.problems.append(f"console: {message.text}")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One server for all stories of a worker; each story makes accounts of its own."""
    served = Served(tmp_path_factory.mktemp("site") / "server").start()
    try:
        yield Site(served)
    finally:
        served.kill()


# For each file, not for the session: beside a driver's event loop Django refuses its database to other
# tests in this thread.
@pytest.fixture(scope="module")
def playwright_driver() -> Iterator[Playwright]:
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="module")
def browser(playwright_driver: Playwright) -> Iterator[Browser]:
    running = playwright_driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
    yield running
    running.close()


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """A person's fresh browser: no cookies, no history."""
    yield from opened(browser, site)


@pytest.fixture
def scriptless_page(browser: Browser, site: Site) -> Iterator[Page]:
    """Likewise of a person who runs no scripts."""
    yield from opened(browser, site, java_script_enabled=False)


def opened(browser: Browser, site: Site, **how: Any) -> Iterator[Page]:
    """A page in a browser context of its own: `extra_http_headers={"Sec-GPC": "1"}`, `viewport=NARROW`…"""
    context = browser.new_context(**({"viewport": WIDE, "reduced_motion": "reduce"} | how))
    context.set_default_timeout(PATIENCE_MS)
    watch = Watch(site.url)
    watch.follow(context)
    yield context.new_page()
    context.close()
    assert not watch.problems, "\n".join(watch.problems)


def cookies_of(client: httpx2.Client, site: Site) -> list[Any]:
    """What signs `client` in, for a browser: `page.context.add_cookies(…)`."""
    return [{"name": one.name, "value": one.value or "", "url": site.url} for one in client.cookies.jar]


def serious_findings(page: Page) -> list[str]:
    """What axe finds on the page that is serious or worse, one line each."""
    page.evaluate(AXE.read_text(encoding="utf-8") + ";0")
    found = page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations")
    return [
        f"{one['impact']}: {one['id']}: {one['help']}: {node['target']}: {node['html'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def assert_accessible(page: Page) -> None:
    findings = serious_findings(page)
    assert not findings, f"{page.url}\n" + "\n".join(findings)


def overflow(page: Page) -> int:
    """Pixels by which the page is wider than the window; 0 where nobody has to scroll sideways."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@dataclass
class Authenticator:
    """A security key in software, as CDP has it. It says yes to whatever the page asks while `willing`."""

    session: CDPSession
    id: str

    def credentials(self) -> list[dict[str, Any]]:
        answer = self.session.send("WebAuthn.getCredentials", {"authenticatorId": self.id})
        return list(answer["credentials"])

    def be_willing(self, *, willing: bool) -> None:
        self.session.send("WebAuthn.setUserVerified", {"authenticatorId": self.id, "isUserVerified": willing})


def plug_in_authenticator(page: Page) -> Authenticator:
    """Give `page` a passkey holder: resident keys, user verification, presence without a touch."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    made = session.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "transport": "internal",
                "hasResidentKey": True,
                "hasUserVerification": True,
                "isUserVerified": True,
                "automaticPresenceSimulation": True,
            }
        },
    )
    return Authenticator(session, made["authenticatorId"])
