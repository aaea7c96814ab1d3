"""Whom mail may be given to: a server of the operator's own, or of a recipient for mail, and nobody else."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from django.core.mail.backends.smtp import EmailBackend

from muniment.server.mail.mail_server import BadMailUrl
from muniment.server.privacy.gate.counterparts import Standing, standing_of_carrier


class Undeclared(BadMailUrl):
    """Neither the operator's own nor a recipient's."""


class ContractLapsed(BadMailUrl):
    """A recipient's whose contract or review does not hold today."""


def check_carrier(backend: EmailBackend, *, data: Path, now: datetime) -> None:
    """Raises Undeclared, ContractLapsed."""
    host, port = str(backend.host), int(backend.port)
    standing, recipient = standing_of_carrier(host, port, data=data, now=now)
    if standing is Standing.UNDECLARED:
        raise Undeclared(
            f"nobody declared {host}:{port}; name it under `hosts` of a recipient in recipients.toml "
            "(purpose service_mail, category contact), or under `servers` in operator.toml if it is yours"
        )
    if standing is Standing.LAPSED:
        raise ContractLapsed(f"the contract with {recipient}, or its review, does not hold today; mail waits")
