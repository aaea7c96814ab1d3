"""The content security policy: pages load from this server and from nowhere else.

A recipient that pages may load from has to be in the recipients table, and the person has to have said yes.
What the gate allowed for one answer stands in `request.content_sources`. Nothing is
inline, so nothing injected runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Sources = Mapping[str, Sequence[str]]
"""Directive → origins beside our own: `{"img-src": ("https://stats.example.org",)}`."""

_POLICY: dict[str, tuple[str, ...]] = {
    "default-src": ("'none'",),
    "script-src": ("'self'",),
    "style-src": ("'self'",),
    "img-src": ("'self'", "data:"),
    "font-src": ("'self'",),
    "connect-src": ("'self'",),
    "manifest-src": ("'self'",),
    "form-action": ("'self'",),
    "frame-ancestors": ("'none'",),
    "base-uri": ("'none'",),
    "object-src": ("'none'",),
}
WIDENED = frozenset({"script-src", "img-src", "connect-src"})
"""What a recipient can be loaded as. Frames, forms and styles of others never."""


class NotWidened(ValueError):
    """The policy lets nobody else into this directive, or the origin is not one plain https origin."""

    def __init__(self, directive: str, origin: str) -> None:
        super().__init__(f"{origin!r} cannot be a source of {directive}")
        self.directive, self.origin = directive, origin


def policy(extra: Sources | None = None) -> str:
    """The header's value. Raises NotWidened."""
    merged = dict(_POLICY)
    for directive, origins in (extra or {}).items():
        for origin in origins:
            if directive not in WIDENED or not _is_origin(origin):
                raise NotWidened(directive, origin)
        merged[directive] = (*merged[directive], *origins)
    return "; ".join(" ".join((directive, *sources)) for directive, sources in merged.items())


OURS_ALONE = policy()


def _is_origin(text: str) -> bool:
    scheme, found, host = text.partition("://")
    return bool(found) and scheme == "https" and bool(host) and not set(host) & set("/ ;,'\"*?#@")
