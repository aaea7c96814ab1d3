"""One call of the command line: what was said about it globally, and what commands need to answer it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from muniment import __version__
from muniment.client.enrol.passphrases import kit_from_environment, kit_text
from muniment.client.home.config import Config, Connection
from muniment.client.home.keychain import recall
from muniment.client.home.places import Home
from muniment.client.spool.uploads import VaultPacks
from muniment.client.state.database import Database, Origin, is_damage, machine_identity
from muniment.client.state.page_cache import LocalPageCache
from muniment.client.telling.output import Output, human_seconds
from muniment.client.telling.progress import RunProgress
from muniment.client.transport.address import PlainHttp
from muniment.client.transport.reach import Reach, greet
from muniment.client.transport.server import Server
from muniment.client.transport.session import Session
from muniment.client.vault.opening import OpenVault, open_as_device, open_with_kit
from muniment.client.vault.set_aside import SetAside
from muniment.client.vault.slots import describe_withheld
from muniment.client.vault.snapshots import Listing, list_snapshots, list_snapshots_anew, set_aside_lines
from muniment.crypto.codes import RecoveryKit
from muniment.engine.ports import Clock, SourceDisk
from muniment.model.errors import ServerUnreachable, UsageError
from muniment.wire import messages as wire


class SystemClock:
    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass(slots=True)
class Invocation:
    """`vault`: (the beginning of) the id asked for. `stop` is set when the person asks to stop."""

    home: Home
    output: Output
    reach: Reach
    open_disk: Callable[[], SourceDisk]
    keep_buffers: Callable[[], object]
    """Sets this process up for work with many large buffers; before it starts threads."""
    vault: str | None = None
    kit: str | None = None
    clock: Clock = field(default_factory=SystemClock)
    stop: threading.Event = field(default_factory=threading.Event)
    stoppable: bool = False
    """Whether the command looks at `stop`; else Ctrl-C ends it at once."""

    @property
    def config(self) -> Config:
        return Config.load(self.home)

    def connection(self) -> Connection:
        return self.config.connection(self.vault)

    def state_of(self, connection: Connection) -> Path:
        return self.home.state_of(connection.vault)

    def asked_kit(self) -> RecoveryKit | None:
        """The recovery kit that `--kit` or MUNIMENT_RECOVERY_KIT gives."""
        text = kit_text(self.kit) or kit_text(kit_from_environment())
        return RecoveryKit.parse(text) if text else None

    @contextmanager
    def open_database(self, connection: Connection) -> Iterator[Database]:
        database = Database(self.home.database_of(connection.vault), machine=machine_identity())
        try:
            self._tell_origin(database.origin)
            yield database
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                database.forget_everything()
            raise
        finally:
            database.close()

    @contextmanager
    def open_server(self, connection: Connection) -> Iterator[Server]:
        """As this device, with its token; for requests that need no key."""
        secrets = recall(connection.credentials, home=self.home, vault=connection.vault)
        server = self.reach.open_connection(connection, token=secrets.token)
        try:
            yield server
        finally:
            server.close()

    @contextmanager
    def open_vault(self) -> Iterator[OpenVault]:
        """As this device, keys and history verified."""
        connection = self.connection()
        secrets = recall(connection.credentials, home=self.home, vault=connection.vault)
        with self.open_database(connection) as database:
            server = self.reach.open_connection(connection, token=secrets.token)
            try:
                opened = open_as_device(
                    server, connection.vault, device=connection.device, secrets=secrets, database=database
                )
                for info in opened.withheld:
                    self.output.warn(describe_withheld(info))
                self._tell_set_aside(opened, opened.set_aside)
                yield opened
            finally:
                server.close()

    @contextmanager
    def open_for_reading(self) -> Iterator[OpenVault]:
        """With a kit where one is given, else as this device."""
        kit = self.asked_kit()
        if kit is None:
            with self.open_vault() as opened:
                yield opened
            return
        server = self.reach.open(kit.server, key_hash=kit.server_key_hash, pinned=kit.pinned)
        try:
            greet(server, key_hash=kit.server_key_hash)
            login = wire.KitLogin(vault=kit.vault.hex, credential=kit.credential())
            opened = open_with_kit(server.with_token(server.kit_session(login).token), kit)
            self._tell_set_aside(opened, opened.set_aside)
            yield opened
        finally:
            server.close()

    def list_snapshots(self, vault: OpenVault, *, anew: bool = False) -> Listing:
        """All of them, with a word about those that had to be left out. `anew`: nothing from memory."""
        listing = list_snapshots_anew(vault) if anew else list_snapshots(vault)
        self.tell_left_out(vault, listing.set_aside)
        return listing

    def tell_left_out(self, vault: OpenVault, set_aside: Iterable[SetAside]) -> None:
        """Of devices of which opening the vault has not told yet."""
        told = {one.device for one in vault.set_aside}
        self._tell_set_aside(vault, [one for one in set_aside if one.device not in told])

    @contextmanager
    def reading_session(self, vault: OpenVault) -> Iterator[Session]:
        """A session that pins what is read, closed at the end unless nobody is there to hear it."""
        session = Session(vault.server, vault.vault, purpose="restore", version=__version__)
        try:
            yield session
        except ServerUnreachable:
            session.abandon()
            raise
        except BaseException:
            session.close()
            raise
        session.close()

    def packs_of(self, vault: OpenVault, *, progress: RunProgress | None = None) -> VaultPacks:
        if progress is None:
            return VaultPacks(vault.server, vault.vault, None)
        return VaultPacks(vault.server, vault.vault, None, fetched=progress.fetched_range)

    def pages_of(self, vault: OpenVault) -> LocalPageCache | None:
        """The page cache of a connected machine; a kit leaves nothing behind, so it has none."""
        return None if vault.database is None else LocalPageCache(vault.database, vault.keys)

    def _tell_set_aside(self, vault: OpenVault, set_aside: Iterable[SetAside]) -> None:
        for line in set_aside_lines(vault, set_aside):
            self.output.warn(line)

    def _tell_origin(self, origin: Origin) -> None:
        if origin is Origin.DAMAGED:
            self.output.warn("the local state was damaged; it was set aside and is made anew from the vault")
        elif origin is Origin.COPIED:
            self.output.warn("the local state was copied here; this machine goes on as a new installation")


def make_invocation(
    *,
    output: Output,
    open_disk: Callable[[], SourceDisk],
    keep_buffers: Callable[[], object],
    vault: str | None,
    kit: str | None,
    server: str,
    ca_file: str,
    insecure: bool,
    limit_up: int | None,
    limit_down: int | None,
) -> Invocation:
    stop = threading.Event()
    for name, limit in (("--limit-up", limit_up), ("--limit-down", limit_down)):
        if limit is not None and limit < 1:
            raise UsageError(f"{name} takes KiB per second, at least 1")
    plain = PlainHttp.ANYWHERE if insecure else PlainHttp.LOOPBACK_ONLY

    def tell(why: str, left: float) -> None:
        output.note(f"Waiting for the server ({why}), for {human_seconds(left)} more at most.")

    reach = Reach(server, ca_file, plain, limit_up, limit_down, stop, tell)
    return Invocation(Home.find(), output, reach, open_disk, keep_buffers, vault=vault, kit=kit, stop=stop)
