"""Whom this server itself connects to, and what for: the same table that the gate reads, as addresses.

A counterpart is the operator's own (`servers` in `operator.toml`, or this very machine), or a recipient
whose `hosts` name it, with a contract that holds today. Mail goes to no other server; `muniment admin egress`
prints them all, for a firewall that lets out nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path

from muniment.server.privacy.contracts import holds
from muniment.server.privacy.operator import read_operator
from muniment.server.privacy.terms import Recipient
from muniment.server.privacy.versions.in_force import newest_posted

MAIL_PURPOSE, MAIL_FIELD = "service_mail", "accounts.Account.email"


class Standing(StrEnum):
    """What lets it be spoken to."""

    OURS = "the operator's own"
    DECLARED = "a recipient with a contract"
    LAPSED = "a recipient whose contract or review has lapsed"
    UNDECLARED = "declared by nobody"

    @property
    def is_allowed(self) -> bool:
        return self in (Standing.OURS, Standing.DECLARED)


@dataclass(frozen=True, slots=True)
class Counterpart:
    """One line of the allow-list."""

    host: str
    port: int
    why: str
    standing: Standing
    recipient: str = ""

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def standing_of_carrier(host: str, port: int, *, data: Path, now: datetime) -> tuple[Standing, str]:
    """Whether mail may be given to this server, and to which recipient it then goes.

    Asked of the version posted last, in force or not: the notice that somebody new carries mail is itself
    mail, so it cannot be waited for.
    """
    if is_near(host) or host.lower() in own_servers(data):
        return Standing.OURS, ""
    known = [
        item
        for item in newest_posted(now).recipients.values()
        if _names(item, host, port) and MAIL_PURPOSE in item.purposes and MAIL_FIELD in item.fields
    ]
    if not known:
        return Standing.UNDECLARED, ""
    holding = [item for item in known if holds(item, now.date())]
    return (Standing.DECLARED, holding[0].name) if holding else (Standing.LAPSED, known[0].name)


def declared_counterparts(recipients: Mapping[str, Recipient], *, today: date) -> list[Counterpart]:
    """Every host that the table names."""
    return [
        Counterpart(
            host.rpartition(":")[0].strip("[]"), int(host.rpartition(":")[2]),
            ", ".join(sorted(item.purposes)),
            Standing.DECLARED if holds(item, today) else Standing.LAPSED, item.name,
        )
        for item in recipients.values()
        for host in sorted(item.hosts)
    ]  # fmt: skip


def own_servers(data: Path) -> frozenset[str]:
    """Names of machines that the operator runs, as `operator.toml` lists them."""
    return frozenset(read_operator(data).servers.lower().replace(",", " ").split())


def is_near(host: str) -> bool:
    """This machine."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _names(recipient: Recipient, host: str, port: int) -> bool:
    return f"{host.lower()}:{port}" in {known.lower() for known in recipient.hosts}
