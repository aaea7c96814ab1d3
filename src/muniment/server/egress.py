"""Every machine that this server connects to: for mail, its database, and the recipients' hosts."""

from __future__ import annotations

from datetime import datetime

from muniment.server.config import ServerConfig
from muniment.server.database import database_settings
from muniment.server.mail.mail_server import mail_server
from muniment.server.mail.postbox import postbox
from muniment.server.privacy.gate.counterparts import (
    Counterpart,
    Standing,
    declared_counterparts,
    is_near,
    own_servers,
    standing_of_carrier,
)
from muniment.server.privacy.versions.in_force import newest_posted

_POSTGRESQL = 5432


def allow_list(config: ServerConfig, *, now: datetime) -> list[Counterpart]:
    """What a firewall has to let out, and nothing else; this machine is left out.

    Raises BadMailUrl, BadPostbox.
    """
    declared = declared_counterparts(newest_posted(now).recipients, today=now.date())
    known = {(item.host.lower(), item.port): item for item in declared}
    found = [*_mail(config, now=now), *_postbox(config, now=now), *_database(config, known)]
    met = {(item.host.lower(), item.port) for item in found}
    return found + [item for place, item in known.items() if place not in met]


def _mail(config: ServerConfig, *, now: datetime) -> list[Counterpart]:
    if not config.smtp_url:
        return []
    backend = mail_server(config.smtp_url)
    host, port = str(backend.host), int(backend.port)
    if is_near(host):
        return []
    standing, recipient = standing_of_carrier(host, port, data=config.data, now=now)
    return [Counterpart(host, port, "gives it mail", standing, recipient)]


def _postbox(config: ServerConfig, *, now: datetime) -> list[Counterpart]:
    if not config.imap_url:
        return []
    where = postbox(config.imap_url)
    if is_near(where.host):
        return []
    standing, recipient = standing_of_carrier(where.host, where.port, data=config.data, now=now)
    return [Counterpart(where.host, where.port, "fetches requests that came as mail", standing, recipient)]


def _database(config: ServerConfig, known: dict[tuple[str, int], Counterpart]) -> list[Counterpart]:
    """PostgreSQL, where it is neither on this machine nor behind a socket in a directory."""
    settings = database_settings(config)
    host, port = settings.get("HOST", ""), int(settings.get("PORT") or _POSTGRESQL)
    if not host or host.startswith("/") or is_near(host):
        return []
    declared = known.get((host.lower(), port))
    if declared is not None:
        return [Counterpart(host, port, "keeps its database there", declared.standing, declared.recipient)]
    standing = Standing.OURS if host.lower() in own_servers(config.data) else Standing.UNDECLARED
    return [Counterpart(host, port, "keeps its database there", standing)]
