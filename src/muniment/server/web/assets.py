"""Static files, served by us from memory under names that carry their hash, so that browsers may keep them.

`{% static "web/tokens.css" %}` gives `/static/web/tokens.<hash>.css`. A style sheet's `url(...)` is rewritten
likewise, so that a changed font changes the name of the style sheet, too. Small enough to hold: some hundred
KiB. Files come from every app's `static/` directory.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import posixpath
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from django.contrib.staticfiles.finders import get_finders
from django.contrib.staticfiles.storage import StaticFilesStorage

_URL = re.compile(r"""url\((['"]?)(?!data:|#|/)([^'")]+)\1\)""")
_HASHED = re.compile(r"^(?P<stem>.+)\.(?P<hash>[0-9a-f]{12})(?P<suffix>\.[^./]+)$")
_COMPRESSED_ALREADY = {".woff2", ".png", ".jpg", ".webp", ".gz"}
_TYPES = {
    ".woff2": "font/woff2",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
}


class UnknownAsset(KeyError):
    """No app has a static file of that name."""


@dataclass(frozen=True, slots=True)
class Asset:
    """`gzipped` is None where compression does not pay."""

    name: str
    hashed_name: str
    content: bytes
    gzipped: bytes | None
    content_type: str


def asset(name: str) -> Asset:
    """The file that an app has at `static/<name>`. Raises UnknownAsset."""
    path = _files().get(name)
    if path is None:
        raise UnknownAsset(name)
    return _load(name, path)


def hashed_asset(hashed_name: str) -> Asset:
    """The file of that hashed name, if it is still what it was. Raises UnknownAsset."""
    found = _HASHED.match(hashed_name)
    if found is None:
        raise UnknownAsset(hashed_name)
    known = asset(found["stem"] + found["suffix"])
    if known.hashed_name != hashed_name:
        raise UnknownAsset(hashed_name)
    return known


class HashedNames(StaticFilesStorage):
    """Gives `{% static %}` the hashed names."""

    def url(self, name: str | None) -> str:
        return super().url(asset(name or "").hashed_name)


@cache
def _files() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for finder in get_finders():
        for name, storage in finder.list([]):
            found.setdefault(name.replace("\\", "/"), Path(storage.path(name)))
    return found


@cache
def _load(name: str, path: Path) -> Asset:
    content = path.read_bytes()
    suffix = path.suffix.lower()
    if suffix == ".css":
        content = _with_hashed_urls(name, content.decode("utf-8")).encode()
    digest = hashlib.sha256(content).hexdigest()[:12]
    content_type = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    if content_type.startswith("text/"):
        content_type += "; charset=utf-8"
    return Asset(
        name,
        f"{name.removesuffix(path.suffix)}.{digest}{path.suffix}",
        content,
        None if suffix in _COMPRESSED_ALREADY else gzip.compress(content, 9, mtime=0),
        content_type,
    )


def _with_hashed_urls(name: str, css: str) -> str:
    def hashed(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), found[2]))
        relative = posixpath.relpath(asset(target).hashed_name, posixpath.dirname(name) or ".")
        return f'url("{relative}")'

    return _URL.sub(hashed, css)
