"""Where a visit came from, as far as we keep it: a network, and the family of browser and system."""

from __future__ import annotations

from dataclasses import dataclass

from muniment.server.privacy.addresses import NetworkAddress

_BROWSERS = (
    ("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("HeadlessChrome/", "Chrome"),
    ("Chrome/", "Chrome"), ("Safari/", "Safari"), ("curl/", "curl"), ("python", "Python"),
)  # fmt: skip
_SYSTEMS = (
    ("Android", "Android"), ("iPhone", "iOS"), ("iPad", "iPadOS"), ("Windows", "Windows"),
    ("Mac OS X", "macOS"), ("CrOS", "ChromeOS"), ("Linux", "Linux"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Visit:
    address: NetworkAddress
    browser: str
    """Like `Firefox on Linux`; never the whole text that a browser sends."""

    @classmethod
    def of(cls, address: str, user_agent: str) -> Visit:
        return cls(NetworkAddress.parse(address), browser_family(user_agent))


NOWHERE = Visit(NetworkAddress(None), "")
"""Of what the operator or the clock does."""


def browser_family(user_agent: str) -> str:
    """Family and system only: versions and the rest would tell one machine from another."""
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    if browser and system:
        return f"{browser} on {system}"
    return browser or system or "unknown browser"
