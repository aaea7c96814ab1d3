"""What every command of the operator needs: the data directory opened, and failures said in words."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from django.core.management.base import SystemCheckError

from muniment.main.serve import DATABASE_URL, IMAP_URL, NO_DATABASE, SMTP_URL, load_embedded, why_no_database
from muniment.model.errors import Outcome
from muniment.server.config import ServerConfig, Tls
from muniment.server.privacy.ledger.kept import LedgerAltered
from muniment.server.privacy.operator import OperatorUnreadable
from muniment.server.privacy.terms import RecipientsRefused, StatementRefused

Data = Annotated[Path, typer.Option("--data", help="The server's data directory.")]
Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object.")]


def open_operator(data: Path, *, tls: str | None = None, new: bool = False, desk: str = "Operator") -> Any:
    """`desk`: which class of `muniment.main.embedded`."""
    if tls not in (None, "self"):
        raise typer.BadParameter("--tls takes `self`")
    config = ServerConfig(
        data=data.absolute(),
        database_url=os.environ.get(DATABASE_URL, ""),
        tls=Tls.SELF if tls == "self" else Tls.OFF,
        smtp_url=os.environ.get(SMTP_URL, ""),
        imap_url=os.environ.get(IMAP_URL, ""),
    )
    if not new and not (config.database_url or config.database.exists()):
        raise typer.BadParameter(f"{data} holds no server's data")
    try:
        return load_embedded(desk, config).at(config)
    except (RecipientsRefused, OperatorUnreadable) as error:
        fail(str(error))
    except (SystemCheckError, StatementRefused) as error:
        fail(f"this release cannot be used: {error}")
    except LedgerAltered as error:
        fail(str(error), outcome=Outcome.INTEGRITY)
    except OSError as error:
        fail(f"cannot use {data}: {error.strerror or error}")
    except NO_DATABASE as error:
        fail(why_no_database(error))


_EXPLAINED = {
    "AccountExists": "the address has an account already; `admin enrol` makes a code for another device",
    "NoSuchAccount": "no account has this address; `admin create-account` makes one",
    "NeverServed": "serve the site once, so that its address is known",
    "HeldByLaw": "the account can be used no more, but a hold keeps what is there; the rest is tried again",
    "LinksEnough": "the address it comes from was sent three links within a day; it is counted, not answered",
    "NotARequest": "that is no mail, or none whose sender could be answered",
    "DataInUse": "stop the server first",
    "NothingLost": "nothing is gone: the ledger continues the newest checkpoint that was kept",
    "NotPending": "no such request waits",
    "NoSuchSuccession": "nobody was declared under that name",
    "NoSuchBreach": "no breach of that name is open; `admin breach list` names them",
    "ValueError": "that is not an id",
}
"""By name: the classes belong to modules that exist only once Django is set up."""


def explain(error: Exception) -> NoReturn:
    text = str(error) if type(error).__name__ == "Refusal" else _EXPLAINED.get(type(error).__name__)
    if text is None and isinstance(error, NO_DATABASE):
        text = why_no_database(error)
    if text is None and isinstance(error, LedgerAltered):
        text = str(error)
    if text is None:
        raise error
    fail(text)


def fail(text: str, *, outcome: Outcome = Outcome.FAILED) -> NoReturn:
    print(f"muniment admin: {text}", file=sys.stderr)
    raise typer.Exit(outcome)
