"""Whose request it is, behind proxies that the operator trusts.

    FromProxies(app, trusted=(ip_network("10.0.0.0/8"),))

Each proxy appends who asked it. So the list is read from its end, past proxies that are trusted, to the first
address that is not: everything before that one is what a stranger wrote. Nobody else's header is read at all.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import ASGIApp, Receive, Scope, Send

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_FORWARDED_FOR, _FORWARDED = b"x-forwarded-for", b"forwarded"


class FromProxies:
    """`app` sees as its client whom the nearest trusted proxy saw."""

    def __init__(self, app: ASGIApp, *, trusted: Sequence[str]) -> None:
        self._app = app
        self._trusted = tuple(ip_network(one) for one in trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer = _parse(scope["client"][0]) if self._trusted and scope.get("client") else None
        if peer is not None and _is_in(peer, self._trusted):
            client = origin(peer, scope["headers"], trusted=self._trusted)
            scope = {**scope, "client": (str(client), 0)}
        await self._app(scope, receive, send)


def origin(peer: Address, headers: Sequence[tuple[bytes, bytes]], *, trusted: Collection[Network]) -> Address:
    """The first address that no trusted proxy has, seen from `peer`, which is one.

    A hop that cannot be read ends the search: what stands before it is nobody's word. Of the two headers a
    proxy writes one and may pass on the other as it came, so where they disagree neither is believed.
    """
    lists = (_hops(headers, _FORWARDED_FOR), [_node(one) for one in _hops(headers, _FORWARDED)])
    claims = {_walk(peer, hops, trusted=trusted) for hops in lists if hops}
    return claims.pop() if len(claims) == 1 else peer


def _walk(peer: Address, hops: Sequence[str], *, trusted: Collection[Network]) -> Address:
    client = peer
    for hop in reversed(hops):
        named = _parse(hop)
        if named is None or not _is_in(client, trusted):
            break
        client = named
    return client


def _hops(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[str]:
    """The parts of all headers of this name, in order. A quoted comma splits too: no address has one."""
    values = ",".join(value.decode("latin-1") for key, value in headers if key == name)
    return [part.strip() for part in values.split(",")] if values.strip() else []


def _node(element: str) -> str:
    """What an element of `Forwarded` (RFC 7239) says after `for=`; empty where it says nothing."""
    pairs = (pair.partition("=") for pair in element.split(";"))
    return next((value.strip().strip('"') for key, _, value in pairs if key.strip().lower() == "for"), "")


def _parse(node: str) -> Address | None:
    """`192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`; None for anything else."""
    if node.startswith("["):
        node = node[1:].partition("]")[0]
    elif node.count(":") == 1:
        node = node.partition(":")[0]
    try:
        found = ip_address(node.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found


def _is_in(address: Address, networks: Collection[Network]) -> bool:
    return any(address in network for network in networks)
