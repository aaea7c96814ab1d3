"""The embedded deployment: SQLite and local packs in one directory.

Django's models exist only once it is set up. So this module is imported by its name, after
`set_up_django`; see `muniment.main.serve`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from django.core import checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connections

from muniment.main.allocator import SERVER, keep_buffers
from muniment.model.codes import EnrolmentCode, server_key_hash
from muniment.server.accounts.enrolment import create_account, find_account, make_code
from muniment.server.config import ServerConfig, Tls
from muniment.server.data_lock import locked
from muniment.server.deployment import Deployment, utc_now
from muniment.server.identity import load_identity, public_key_of, self_certificate
from muniment.server.logs import SERVICE, start_logging
from muniment.server.privacy.requests.erasing import replay_erasures
from muniment.server.privacy.requests.machine import Advanced, advance_requests, open_requests
from muniment.server.privacy.requests.models import Request
from muniment.server.privacy.versions.posting import post_shipped
from muniment.server.process import listen, make_service, run_service, url_of
from muniment.server.store.local import LocalObjects
from muniment.server.transactions import writing
from muniment.server.vaults import confirmations
from muniment.server.vaults.allowances import set_allowance
from muniment.server.vaults.confirmations import describe, pending_requests
from muniment.server.vaults.leftovers import clear_all_uploads
from muniment.server.vaults.models import Confirmation

_SERVED_AS = "server.json"


def open_deployment(config: ServerConfig) -> Deployment:
    """The deployment in `config.data`, its database brought up to date. Files are the operator's alone."""
    os.umask(0o077)
    config.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    # First: a column that nobody declared is not even created.
    found = [str(problem.msg) for problem in checks.run_checks() if problem.level >= checks.ERROR]
    if found:
        raise SystemCheckError("; ".join(found))
    with _one_migrates(config.data):
        call_command("migrate", verbosity=0, interactive=False, skip_checks=True)
        post_shipped(now=utc_now())
    return Deployment(config, LocalObjects(config.objects), utc_now)


def serve(config: ServerConfig, *, announce: Callable[[str], None]) -> None:
    """Serve until told to stop. Raises DataInUse, OSError, SystemCheckError, StatementEdited."""
    start_logging()
    keep_buffers(SERVER)
    os.umask(0o077)
    config.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(config.data):
        objects = LocalObjects(config.objects)
        objects.clear_incoming()
        deployment = open_deployment(config)
        # Before anybody is served: a database put back from yesterday holds people who were erased since.
        replayed = replay_erasures(deployment)
        if replayed:
            SERVICE.warning("erased again, after a restored database", extra={"count": replayed})
        cleared = clear_all_uploads(deployment)
        if cleared:
            SERVICE.info("cleared unfinished uploads", extra={"count": cleared})
        connections.close_all()  # threads open their own
        identity = load_identity(config.data)
        listener = listen(config)
        _remember_how(config)
        url = url_of(config, listener)
        deployment = replace(deployment, url=config.url(listening=url))
        run_service(
            make_service(deployment, identity=public_key_of(identity)),
            listener,
            certificate=_certificate(config),
            announce=lambda: announce(url),
        )


def _certificate(config: ServerConfig) -> tuple[Path, Path] | None:
    match config.tls:
        case Tls.OFF:
            return None
        case Tls.SELF:
            key = load_identity(config.data)
            return self_certificate(config.data, key, host=config.host, now=utc_now())
        case Tls.FILES:
            if config.tls_cert is None or config.tls_key is None:
                raise ValueError("TLS from files takes a certificate and a key")
            return config.tls_cert, config.tls_key


def _remember_how(config: ServerConfig) -> None:
    """So that codes made later say whether the certificate is to be pinned."""
    path = config.data / _SERVED_AS
    temporary = path.with_name(f".{_SERVED_AS}.{secrets.token_hex(4)}")
    temporary.write_text(json.dumps({"tls": config.tls.value}), encoding="utf-8")
    temporary.replace(path)


def _is_pinned(config: ServerConfig) -> bool:
    if config.tls is Tls.SELF:
        return True
    with contextlib.suppress(FileNotFoundError):
        served_as = json.loads((config.data / _SERVED_AS).read_text(encoding="utf-8"))
        return bool(served_as.get("tls") == Tls.SELF.value)
    return False


@contextlib.contextmanager
def _one_migrates(data: Path) -> Iterator[None]:
    descriptor = os.open(data / "migrating", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Operator:
    """What `muniment admin` can do to the deployment in a directory, served or not."""

    deployment: Deployment

    @classmethod
    def at(cls, config: ServerConfig) -> Operator:
        return cls(open_deployment(config))

    def create_account(self, email: str) -> str:
        """Make the account; returns a code whose device makes a vault. Raises AccountExists."""
        now = self.deployment.now()
        with writing():
            account = create_account(email, now=now)
            secret = make_code(
                account, makes_vault=True, vault_ref=None, now=now, life=self.deployment.config.enrolment_life
            )
        return self._code(secret, new_vault=True)

    def enrol(self, email: str, *, vault: UUID | None, new_vault: bool) -> str:
        """A code for another device. Raises NoSuchAccount."""
        now = self.deployment.now()
        with writing():
            secret = make_code(
                find_account(email),
                makes_vault=new_vault,
                vault_ref=vault,
                now=now,
                life=self.deployment.config.enrolment_life,
            )
        return self._code(secret, new_vault=new_vault)

    def pending(self) -> list[Confirmation]:
        return pending_requests()

    def confirm(self, request: UUID, *, reason: str) -> Confirmation:
        """In the owner's place, who reads the reason. Raises NotPending, ReasonMissing."""
        return confirmations.confirm(self.deployment, request, by=confirmations.Operator(reason))

    def refuse(self, request: UUID, *, reason: str) -> Confirmation:
        return confirmations.refuse(self.deployment, request, by=confirmations.Operator(reason))

    def advance_requests(self) -> Advanced:
        """Do what is due of people's requests about their own data."""
        return advance_requests(self.deployment)

    def open_requests(self) -> list[Request]:
        return open_requests()

    def set_allowance(self, email: str, size: int) -> None:
        """Raises NoSuchAccount."""
        set_allowance(self.deployment, find_account(email), size)

    def _code(self, secret: bytes, *, new_vault: bool) -> str:
        config = self.deployment.config
        identity = public_key_of(load_identity(config.data))
        return EnrolmentCode(
            secret, server_key_hash(identity), new_vault=new_vault, pinned=_is_pinned(config)
        ).text()


def describe_request(row: Confirmation) -> dict[str, object]:
    shown = describe(row)
    return {
        name: getattr(shown, name)
        for name in ("request", "action", "subject", "state", "asked_at", "effective_at")
    }
