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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from django.core import checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connections

from muniment.main.allocator import SERVER, keep_buffers
from muniment.main.breach_desk import BreachDesk
from muniment.model.codes import EnrolmentCode, server_key_hash
from muniment.server.accounts.children import forget_child
from muniment.server.accounts.countries import country_names
from muniment.server.accounts.enrolment import create_account, find_account, make_code
from muniment.server.accounts.recovery import first_sign_in_path
from muniment.server.config import ServerConfig, Tls
from muniment.server.data_lock import locked
from muniment.server.database import one_migrates, reach_database
from muniment.server.deployment import Deployment, utc_now
from muniment.server.egress import allow_list
from muniment.server.identity import load_identity, public_key_of, self_certificate
from muniment.server.jobs.standing import Standing, standings
from muniment.server.jobs.timetable import TIMETABLE
from muniment.server.logs import SERVICE, start_logging
from muniment.server.mail.carrier import ContractLapsed, check_carrier
from muniment.server.mail.mail_server import mail_server
from muniment.server.mail.mailbox import newest_mails
from muniment.server.mail.models import Mail
from muniment.server.privacy.gate.counterparts import Counterpart
from muniment.server.privacy.gate.declared import read_recipients, text_of
from muniment.server.privacy.ledger.audit import altered
from muniment.server.privacy.ledger.kept import check_kept, keep_checkpoint
from muniment.server.privacy.ledger.models import LeafRow
from muniment.server.privacy.ledger.restored import Restored, accept_restored, restorations
from muniment.server.privacy.purposes import Purpose, afresh
from muniment.server.privacy.requests.erasing import replay_erasures
from muniment.server.privacy.requests.incoming import take_in_mail
from muniment.server.privacy.requests.machine import Advanced, advance_requests, open_requests
from muniment.server.privacy.requests.models import Request
from muniment.server.privacy.succession.handing_over import (
    NoSuchHandOver,
    declare,
    deliver,
    fetch_lines,
    make_hand_over,
)
from muniment.server.privacy.versions.posting import post_shipped
from muniment.server.process import listen, make_service, run_service, url_of
from muniment.server.store.local import LocalObjects
from muniment.server.transactions import writing
from muniment.server.vaults import confirmations
from muniment.server.vaults.allowances import set_allowance
from muniment.server.vaults.confirmations import describe, pending_requests
from muniment.server.vaults.leftovers import clear_all_uploads
from muniment.server.vaults.models import Confirmation
from muniment.server.vaults.slots import withdraw_newest_list
from muniment.server.web.context import deploy

_SERVED_AS = "server.json"


def open_deployment(config: ServerConfig, *, wait: float = 0.0) -> Deployment:
    """The deployment in `config.data`, its database brought up to date. Files are the operator's alone.

    `wait`: seconds that PostgreSQL is waited for. Raises DatabaseUnusable, RecipientsRefused,
    OperatorUnreadable, SystemCheckError, StatementEdited, StatementOutdated, LedgerAltered.
    """
    with _migrated(config, wait=wait) as recipients:
        check_kept(config.data)  # before anything is recorded
        post_shipped(now=utc_now(), recipients=recipients)
    objects = LocalObjects(config.objects, reserve=config.disk_reserve)
    deployment = Deployment(config, objects, utc_now, url=_served_as(config).get("url", ""))
    deploy(deployment)  # mails that are caused from here on need it
    return deployment


@contextlib.contextmanager
def _migrated(config: ServerConfig, *, wait: float = 0.0) -> Iterator[str]:
    """The tables as this release has them, while nobody else opens them; what the recipients say."""
    os.umask(0o077)
    config.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    # First: a column that nobody declared is not even created.
    found = [str(problem.msg) for problem in checks.run_checks() if problem.level >= checks.ERROR]
    if found:
        raise SystemCheckError("; ".join(found))
    recipients = text_of(read_recipients(config.data))
    reach_database(seconds=wait)
    with _one_migrates_files(config.data), one_migrates():
        call_command("migrate", verbosity=0, interactive=False, skip_checks=True)
        yield recipients


def serve(config: ServerConfig, *, announce: Callable[[str], None]) -> None:
    """Serve until told to stop. Raises BadMailUrl, DataInUse, OSError, and as `open_deployment`."""
    start_logging()
    keep_buffers(SERVER)
    if config.smtp_url:
        mail_server(config.smtp_url)  # a wrong address is told now, not when the first mail should go
    os.umask(0o077)
    config.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(config.data):
        objects = LocalObjects(config.objects, reserve=config.disk_reserve)
        objects.clear_incoming()
        deployment = open_deployment(config, wait=config.database_wait)
        _check_mail(deployment)
        # Before anybody is served: a database put back from yesterday holds people who were erased since.
        with afresh(Purpose.REQUESTS):
            replayed = replay_erasures(deployment)
        keep_checkpoint(config.data)
        if replayed.erased:
            SERVICE.warning("erased again, after a restored database", extra={"count": replayed.erased})
        with afresh(Purpose.BACKUP, Purpose.METERING):
            cleared = clear_all_uploads(deployment)
        if cleared:
            SERVICE.info("cleared unfinished uploads", extra={"count": cleared})
        connections.close_all()  # threads open their own
        identity = load_identity(config.data)
        listener = listen(config)
        url = url_of(config, listener)
        _remember_how(config, url=config.url(listening=url))
        deployment = replace(deployment, url=config.url(listening=url))
        run_service(
            make_service(deployment, identity=public_key_of(identity)),
            listener,
            config,
            certificate=_certificate(config),
            announce=lambda: announce(url),
        )


def _check_mail(deployment: Deployment) -> None:
    """Raises Undeclared. A contract that lapsed stops mail, not the server: people reach their backups."""
    config = deployment.config
    if not config.smtp_url:
        return
    try:
        check_carrier(mail_server(config.smtp_url), data=config.data, now=deployment.now())
    except ContractLapsed as error:
        SERVICE.warning("mail waits: its carrier may get none", exc_info=error)


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


def _remember_how(config: ServerConfig, *, url: str) -> None:
    """So that codes made later say whether the certificate is to be pinned, and links where the site is."""
    path = config.data / _SERVED_AS
    temporary = path.with_name(f".{_SERVED_AS}.{secrets.token_hex(4)}")
    temporary.write_text(json.dumps({"tls": config.tls.value, "url": url}), encoding="utf-8")
    temporary.replace(path)


def _is_pinned(config: ServerConfig) -> bool:
    return config.tls is Tls.SELF or _served_as(config).get("tls") == Tls.SELF.value


def _served_as(config: ServerConfig) -> dict[str, str]:
    """How it was served last; empty where it never was."""
    with contextlib.suppress(FileNotFoundError):
        known: dict[str, str] = json.loads((config.data / _SERVED_AS).read_text(encoding="utf-8"))
        return known
    return {}


@contextlib.contextmanager
def _one_migrates_files(data: Path) -> Iterator[None]:
    descriptor = os.open(data / "migrating", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_synced(target: Path, lines: Iterable[str]) -> int:
    """A new file that is ours alone, on disk when this returns; how many lines. Raises FileExistsError."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    written = 0
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        for line in lines:
            file.write(line)
            written += 1
        file.flush()
        os.fsync(file.fileno())
    directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return written


class NeverServed(Exception):
    """Nobody knows yet under which address the site is."""


@dataclass(frozen=True, slots=True)
class LedgerDesk:
    """The ledger, which can be looked at where it went back and nothing else can be done."""

    config: ServerConfig

    @classmethod
    def at(cls, config: ServerConfig) -> LedgerDesk:
        with _migrated(config):
            return cls(config)

    def size(self) -> int:
        return LeafRow.objects.count()

    def altered(self) -> list[str]:
        return list(altered(self.config.data))

    def restorations(self) -> list[Restored]:
        return restorations()

    def accept_restored(self) -> None:
        """Raises DataInUse, NothingLost, LedgerAltered."""
        with locked(self.config.data):
            accept_restored(self.config.data, now=utc_now())


@dataclass(frozen=True, slots=True)
class Operator:
    """What `muniment admin` can do to the deployment in a directory, served or not."""

    deployment: Deployment

    @classmethod
    def at(cls, config: ServerConfig) -> Operator:
        return cls(open_deployment(config))

    @property
    def breaches(self) -> BreachDesk:
        """The register of data that got out."""
        return BreachDesk(self.deployment)

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

    def sign_in_link(self, email: str) -> str:
        """A link with which the owner of the account sets a password. Raises NoSuchAccount, NeverServed."""
        account = find_account(email)
        url = _served_as(self.deployment.config).get("url")
        if url is None:
            raise NeverServed
        return url + first_sign_in_path(account, now=self.deployment.now())

    def forget_child(self, email: str) -> None:
        """Of an account that turned out to be a child's: end it now, and delete all of it without any delay.

        Raises NoSuchAccount; HeldByLaw.
        """
        forget_child(self.deployment, find_account(email))

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

    def set_staff(self, email: str, *, is_staff: bool) -> None:
        """Raises NoSuchAccount."""
        account = find_account(email)
        account.is_staff = is_staff
        with writing():
            account.save(update_fields=["is_staff"])

    def declare_buyer(self, buyer: str, *, country: str, basis: str) -> str:
        """ValueError: it lacks a name, or its country is none."""
        if country not in country_names():
            raise ValueError(f"{country!r} is no country: two capital letters, such as IE")
        with writing():
            ref = declare(buyer, country=country, transfer_basis=basis, now=self.deployment.now())
        return str(ref)

    def hand_over(self, ref: UUID, target: Path) -> tuple[int, int]:
        """(people in the file, people who are in none). Raises NoSuchSuccession, FileExistsError, OSError.

        The server's own copy goes once the file is on disk.
        """
        made = make_hand_over(self.deployment, ref)
        try:
            lines = fetch_lines(made.ref, now=self.deployment.now())
        except NoSuchHandOver:
            return 0, made.kept
        written = _write_synced(target, lines)
        deliver(made.ref, now=self.deployment.now())
        return written, made.kept

    def mails(self, *, to: str) -> list[Mail]:
        """What waits to be sent, or stays where no mail server is set up; newest first."""
        return newest_mails(to=to)

    def take_in_mail(self, content: bytes) -> UUID:
        """A request by mail; its sender gets a link. Raises NotARequest, LinksEnough, NeverServed."""
        if not self.deployment.url:
            raise NeverServed
        return take_in_mail(content, now=self.deployment.now())

    def jobs(self) -> list[Standing]:
        """What the server does by itself, and how each work stands."""
        return standings(TIMETABLE, now=self.deployment.now())

    def egress(self) -> list[Counterpart]:
        """Whom this server connects to, with the mail server of this process's environment."""
        return allow_list(self.deployment.config, now=self.deployment.now())

    def open_requests(self) -> list[Request]:
        return open_requests()

    def set_allowance(self, email: str, size: int) -> None:
        """Raises NoSuchAccount."""
        set_allowance(self.deployment, find_account(email), size)

    def withdraw_slot_list(self, vault: str) -> int:
        """The number of the list that is the newest now. Raises ValueError, Refusal."""
        earlier: int = withdraw_newest_list(self.deployment, UUID(vault)).number
        return earlier

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
