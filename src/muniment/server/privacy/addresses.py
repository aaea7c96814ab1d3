"""Network addresses: kept cut short, or whole in the security log for at most thirty days."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_PREFIX = {4: 24, 6: 48}


@dataclass(frozen=True, slots=True)
class NetworkAddress:
    """Whence a visit came. Printing or logging it shows the network only."""

    _whole: IPv4Address | IPv6Address | None

    @classmethod
    def parse(cls, text: str) -> NetworkAddress:
        """Of what a server says about its peer; anything else is nowhere."""
        try:
            found = ip_address(text.partition("%")[0])
        except ValueError:
            return cls(None)
        mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
        return cls(mapped or found)

    @property
    def network(self) -> str:
        """Truncated to a /24 (IPv4) or /48 (IPv6): a neighbourhood, not a person."""
        return "" if self._whole is None else truncated(self._whole)

    def for_security_log(self) -> str | None:
        """The whole address. Only columns of the period `security_ip` may take it."""
        return None if self._whole is None else str(self._whole)

    def __str__(self) -> str:
        return self.network

    def __repr__(self) -> str:
        return f"NetworkAddress({self.network!r})"


def truncated(address: IPv4Address | IPv6Address) -> str:
    return str(ip_network((address, _PREFIX[address.version]), strict=False))
