"""Walks every page that links and forms lead to, as somebody with a session or without one.

    pages = crawl(client)          # an httpx2 client whose base_url is the site
    for page in pages: page.path, page.status, page.headers, page.links, page.loads

Only GET, so nothing is changed; forms are noted, not sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import httpx2

MOST_PAGES = 400
_LOADED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src", "object": "data"}
_FIELDS = {"input", "select", "textarea", "button"}
_LOADING_RELATIONS = {"stylesheet", "icon", "preload", "manifest", "modulepreload"}


@dataclass(frozen=True, slots=True)
class Link:
    """An `a` element: where it leads, and its other attributes."""

    href: str
    attributes: Mapping[str, str | None]

    @property
    def leaves(self) -> bool:
        """Whether it leads to another site, whatever scheme it uses for that."""
        return bool(urlsplit(self.href).netloc)

    @property
    def is_marked(self) -> bool:
        relations = (self.attributes.get("rel") or "").split()
        return "data-external" in self.attributes and {"noreferrer", "external"} <= set(relations)


@dataclass(frozen=True, slots=True)
class Form:
    method: str
    action: str
    fields: tuple[str, ...]


@dataclass
class Crawled:
    """One page as it was answered."""

    path: str
    status: int
    headers: Mapping[str, str]
    text: str
    links: list[Link] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    forms: list[Form] = field(default_factory=list)
    inline: list[str] = field(default_factory=list)
    """What a strict policy would refuse: scripts, styles and handlers in the page itself."""
    classes: set[str] = field(default_factory=set)
    ids: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self, page: Crawled) -> None:
        super().__init__()
        self._page = page
        self._form: tuple[str, str, list[str]] | None = None

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        page = self._page
        page.classes.update((found.get("class") or "").split())
        if identity := found.get("id"):
            page.ids.append(identity)
        if tag == "a" and found.get("href"):
            page.links.append(Link(found["href"] or "", found))
        loaded = found.get(_LOADED.get(tag, ""))
        if loaded and (tag != "link" or _LOADING_RELATIONS & set((found.get("rel") or "").split())):
            page.loads.append(loaded)
        if "style" in found or any(name.startswith("on") for name in found):
            page.inline.append(self.get_starttag_text() or tag)
        is_script = tag == "script" and not found.get("src") and found.get("type") != "application/json"
        if tag == "style" or is_script:
            page.inline.append(self.get_starttag_text() or tag)
        self._read_form(tag, found)

    def _read_form(self, tag: str, found: Mapping[str, str | None]) -> None:
        if tag == "form":
            self._form = ((found.get("method") or "get").lower(), found.get("action") or self._page.path, [])
        elif self._form is not None and tag in _FIELDS and (name := found.get("name")):
            self._form[2].append(name)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form" and self._form is not None:
            method, action, fields = self._form
            self._page.forms.append(Form(method, action, tuple(fields)))
            self._form = None


def read_page(path: str, answer: httpx2.Response) -> Crawled:
    page = Crawled(path, answer.status_code, dict(answer.headers), "")
    if answer.headers.get("content-type", "").startswith("text/html"):
        page.text = answer.text
        reader = _Reader(page)
        reader.feed(page.text)
        reader.close()
    return page


def crawl(client: httpx2.Client, *, start: Iterable[str] = ("/",), skip: Iterable[str] = ()) -> list[Crawled]:
    """Every page reachable from `start` by links within the site, each once; queries are pages of their own.

    `skip` names paths not to open, such as a link that ends the session. AssertionError beyond MOST_PAGES.
    """
    waiting, seen, pages = list(start), set(start) | set(skip), []
    while waiting:
        path = waiting.pop(0)
        page = read_page(path, client.get(path, follow_redirects=False))
        pages.append(page)
        assert len(pages) <= MOST_PAGES, f"the site has no end: {waiting[:10]}"
        found = [link.href for link in page.links if not link.leaves]
        if location := page.headers.get("location"):
            found.append(location)
        for href in found:
            target = _within(path, href)
            if target is not None and target not in seen:
                seen.add(target)
                waiting.append(target)
    return pages


def _within(path: str, href: str) -> str | None:
    """The path and query that `href` on the page `path` leads to; None outside the site."""
    parts = urlsplit(urljoin(f"http://site.invalid{path}", href))
    if parts.netloc != "site.invalid" or parts.scheme != "http":
        return None
    return parts.path + (f"?{parts.query}" if parts.query else "")
