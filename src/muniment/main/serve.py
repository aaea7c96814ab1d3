"""`muniment serve`: the embedded server, one process, one directory."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any

import django
import typer
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import SystemCheckError
from django.db import DatabaseError
from django.utils.module_loading import import_string

from muniment.model.errors import Outcome
from muniment.server.config import ServerConfig, Tls
from muniment.server.data_lock import DataInUse
from muniment.server.database import BadDatabaseUrl, DatabaseUnusable, trouble_of
from muniment.server.keyfiles import site_secret
from muniment.server.mail.mail_server import BadMailUrl
from muniment.server.mail.postbox import BadPostbox, postbox
from muniment.server.privacy.ledger.kept import LedgerAltered
from muniment.server.privacy.operator import OperatorUnreadable
from muniment.server.privacy.terms import RecipientsRefused, StatementRefused
from muniment.server.settings import django_settings

_DEFAULTS = ServerConfig(data=Path())
SMTP_URL = "MUNIMENT_SMTP_URL"
"""The variable with the mail server's address: it may hold a password, too."""

IMAP_URL = "MUNIMENT_IMAP_URL"
"""The variable with the address of the mailbox in which requests about data arrive."""

DATABASE_URL = "MUNIMENT_DATABASE_URL"
"""The variable with PostgreSQL's address. No option: those are seen by all who list processes."""


def set_up_django(config: ServerConfig) -> None:
    """Once per process, before anything that has models is imported."""
    settings.configure(**django_settings(config, secret_key=site_secret(config.data)))
    django.setup()


def load_embedded(name: str, config: ServerConfig) -> Any:
    """`name` of `muniment.main.embedded`, which can only be imported once Django is set up."""
    if not settings.configured:
        set_up_django(config)
    return import_string(f"muniment.main.embedded.{name}")


def serve_command(
    data: Annotated[Path, typer.Option(help="Directory of the database, the packs and the server's key.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)
    ] = 8120,
    tls: Annotated[str | None, typer.Option(help="`self`: a certificate of the server's own key.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.", exists=True)] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.", exists=True)] = None,
    allowance: Annotated[
        int, typer.Option(help="Bytes that a new vault may hold.", min=0)
    ] = _DEFAULTS.allowance,
    pending_cap: Annotated[
        int, typer.Option(help="Bytes a device may send before it commits them.", min=0)
    ] = _DEFAULTS.pending_cap,
    disk_reserve: Annotated[
        int, typer.Option(help="Bytes of the disk that packs leave alone; at most a twentieth of it.", min=0)
    ] = _DEFAULTS.disk_reserve,
    site_host: Annotated[
        list[str] | None,
        typer.Option(help="Name the website answers to; https://NAME where a proxy does TLS. Repeatable."),
    ] = None,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CIDR",
            help="Network of proxies before us; their X-Forwarded-For is believed. Repeatable.",
        ),
    ] = None,
    mail_from: Annotated[
        str, typer.Option(help="Sender of mails. The mail server's address comes from MUNIMENT_SMTP_URL.")
    ] = _DEFAULTS.mail_from,
    as_json: Annotated[bool, typer.Option("--json", help="Say where it listens as one JSON object.")] = False,
) -> None:
    """Serve vaults from DATA until stopped."""
    config = ServerConfig(
        data=data.absolute(),
        database_url=os.environ.get(DATABASE_URL, ""),
        host=host,
        port=port,
        tls=_tls(tls, cert=tls_cert, key=tls_key),
        tls_cert=tls_cert,
        tls_key=tls_key,
        allowance=allowance,
        pending_cap=pending_cap,
        disk_reserve=disk_reserve,
        hosts=tuple(site_host or ()),
        trusted_proxies=tuple(_network(one) for one in trusted_proxy or ()),
        smtp_url=os.environ.get(SMTP_URL, ""),
        imap_url=os.environ.get(IMAP_URL, ""),
        mail_from=mail_from,
    )
    run_server(config, announce=_announce_json if as_json else _announce)


def run_server(config: ServerConfig, *, announce: Callable[[str], None]) -> None:
    """Serve as configured; exits 1 with one clear line where that is impossible."""
    try:
        # Before Django is set up: the secret that signs sessions lives there.
        config.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if config.imap_url:
            postbox(config.imap_url)  # a wrong address is told now, not when the first mail is looked for
        load_embedded("serve", config)(config, announce=announce)
    except BadPostbox as error:
        _fail(f"{IMAP_URL}: {error}")
    except BadMailUrl as error:
        _fail(f"{SMTP_URL}: {error}")
    except NO_DATABASE as error:
        _fail(why_no_database(error))
    except DataInUse:
        _fail(f"another server is using {config.data}")
    except SystemCheckError as error:
        _fail(f"this release declares its data wrongly, nothing is served: {error}")
    except StatementRefused as error:
        _fail(f"the statement is not the one that people were told of, nothing is served: {error}")
    except RecipientsRefused as error:
        _fail(f"the operator's recipients cannot be read, nothing is served:\n{error}")
    except OperatorUnreadable as error:
        _fail(f"nothing is served: {error}")
    except LedgerAltered as error:
        _fail(f"nothing is served: {error}", outcome=Outcome.INTEGRITY)
    except OSError as error:
        _fail(
            f"cannot serve on {config.host} port {config.port} from {config.data}: {error.strerror or error}"
        )


NO_DATABASE = (BadDatabaseUrl, ImproperlyConfigured, DatabaseUnusable, DatabaseError)
"""What keeps `serve` and `admin` alike from the database."""


def why_no_database(error: Exception) -> str:
    """What is wrong and what to do, of each that is NO_DATABASE."""
    match error:
        case ImproperlyConfigured() if "psycopg" in str(error):
            return f"{DATABASE_URL} names PostgreSQL, and its driver is missing: install muniment[postgres]"
        case BadDatabaseUrl() | ImproperlyConfigured():
            return f"{DATABASE_URL}: {error}"
        case DatabaseError():
            return trouble_of(error).advice
        case _:
            return str(error)


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise typer.BadParameter(f"--trusted-proxy takes an address or a network: {error}") from error


def _tls(choice: str | None, *, cert: Path | None, key: Path | None) -> Tls:
    if choice not in (None, "self", "off"):
        raise typer.BadParameter("takes `self`; for a certificate of yours use --tls-cert and --tls-key")
    if (cert is None) != (key is None):
        raise typer.BadParameter("--tls-cert and --tls-key go together")
    if cert is not None:
        if choice is not None:
            raise typer.BadParameter("--tls self makes its own certificate")
        return Tls.FILES
    return Tls.SELF if choice == "self" else Tls.OFF


def _announce(url: str) -> None:
    print(f"Serving on {url}", flush=True)


def _announce_json(url: str) -> None:
    print(json.dumps({"url": url}), flush=True)


def _fail(message: str, *, outcome: Outcome = Outcome.FAILED) -> None:
    print(f"muniment serve: {message}", file=sys.stderr)
    raise typer.Exit(outcome)


if __name__ == "__main__":
    typer.run(serve_command)
