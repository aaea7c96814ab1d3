"""Which names this service answers to: the statement binds these hosts, so no other is served."""

from __future__ import annotations

from collections.abc import Collection

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


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address.lower()
