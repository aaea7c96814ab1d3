"""Which names this service answers to: the statement binds these hosts, so no other is served."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from muniment.server.config import ServerConfig

_EVERY_ADDRESS = {"0.0.0.0", "::", ""}
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


def served_names(*, listening: str, named: Collection[str]) -> frozenset[str]:
    """Host names without ports, in lower case: the address listened on, this machine's own, and `named`."""
    own = set() if listening in _EVERY_ADDRESS else {_bracketed(listening)}
    return LOOPBACK | own | {host_name(one) for one in named}


def is_served(header: str, names: Collection[str]) -> bool:
    """Whether a request whose Host header is `header` asks one of ours."""
    return host_name(header) in names


def host_name(header: str) -> str:
    """The name in a Host header: no port, no final dot, lower case; empty when it is none."""
    text = header.strip().lower()
    if text.startswith("["):
        address, closed, _ = text.partition("]")
        return address + "]" if closed else ""
    name, _, port = text.partition(":")
    return name.removesuffix(".") if not port or port.isdigit() else ""


def url_under(name: str, *, config: ServerConfig, usual: str) -> str:
    """The website's address under `name`, where that leads to us for whoever follows a link: one of the
    operator's names, or where only this machine is served, one of its own. Else as `usual`.
    """
    for served in config.host_names:
        if host_name(served) == name:
            return f"{'https' if config.is_https else 'http'}://{served}"
    usually = urlsplit(usual)
    if config.is_for_this_machine and name in LOOPBACK and usually.port:
        return f"{usually.scheme}://{name}:{usually.port}"  # ours, not the one that the header had
    return usual


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address.lower()
