"""Where passkeys work. Browsers bind one to a name, never to an address of digits, and offer none over plain
HTTP but on this machine itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from django.http import HttpRequest

from muniment.server.config import ServerConfig
from muniment.server.web.context import deployment
from muniment.server.web.hosts import LOOPBACK, host_name, url_under

_HERE = "localhost"


@dataclass(frozen=True, slots=True)
class PasskeyPlace:
    works: bool
    instead: str = ""
    """Under which address of ours they do, where not here; empty where under none."""


def passkey_place(request: HttpRequest) -> PasskeyPlace:
    """Whether a browser that opened this page can use one."""
    served, asked = deployment(), host_name(request.META.get("HTTP_HOST", ""))
    if _works(asked, is_https=request.is_secure()):
        return PasskeyPlace(works=True)
    name = _better_name(served.config, asked)
    return PasskeyPlace(works=False, instead=name and url_under(name, config=served.config, usual=served.url))


def _better_name(config: ServerConfig, asked: str) -> str:
    names = [host_name(name) for name in config.host_names]
    if config.is_for_this_machine and asked in LOOPBACK:
        names.append(_HERE)
    return next((name for name in names if _works(name, is_https=config.is_https)), "")


def _works(name: str, *, is_https: bool) -> bool:
    return name == _HERE or (is_https and not _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
