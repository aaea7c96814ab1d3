"""Everything an operator can set, as one value that is passed down. Nothing here comes over the network."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

GIB = 1024**3
TIB = 1024**4
HOUR = 3600.0
DAY = 24 * HOUR


class Tls(Enum):
    """Where the server's certificate comes from."""

    OFF = "off"
    FILES = "files"
    SELF = "self"
    """Made from the server's identity key; enrolment codes and kits pin it."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Sizes in bytes, periods in seconds."""

    data: Path
    database_url: str = ""
    """PostgreSQL's address (`server.database` says which form); empty: SQLite in `data`."""
    host: str = "127.0.0.1"
    port: int = 8120
    tls: Tls = Tls.OFF
    tls_cert: Path | None = None
    tls_key: Path | None = None
    hosts: tuple[str, ...] = ()
    """Names people reach the website under, beside the address it listens on: `backup.example.org`. Written
    `https://backup.example.org` where a proxy before us does TLS for it. Mails have the one that was asked
    for, else the first."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks of proxies before us, whose word about who asks is believed: `web.proxies`."""
    smtp_url: str = ""
    """The operator's mail server (`server.mail.delivery` says which form). Empty: mails stay in the mailbox,
    which `muniment admin mailbox` shows, and on a loopback address the page `/mailbox`."""
    imap_url: str = ""
    """The mailbox in which requests about data arrive (`server.mail.postbox` says which form)."""
    mail_from: str = "Muniment <noreply@localhost>"
    form_size: int = 512 * 1024
    """Bytes that a form on the website may have."""
    allowance: int = TIB
    """Of vaults whose account has none of its own."""
    pending_cap: int = 64 * GIB
    reserve_share: float = 0.1
    """Of the allowance, kept for each device of a vault that has several; `vaults.reserves` says how."""
    disk_reserve: int = GIB
    """Of the disk, left alone by packs, but at most a twentieth of it: rows, heads and slots always fit."""
    commit_room: int = 16 * 1024**2
    """Of the allowance, left alone by packs so that what was sent can be committed; less of a small one."""
    session_life: float = 7 * DAY
    session_silence: float = DAY
    """A session without heartbeat or request for so long is over."""
    heartbeat: float = 300.0
    enrolment_life: float = 7 * DAY
    kit_token_life: float = DAY
    removal_delay: float = 72 * HOUR
    confirmation_life: float = 14 * DAY
    kit_attempts: int = 10
    """Failed kit sign-ins per vault in `kit_window` before it answers 429."""
    kit_window: float = 600.0
    uploads: int = 32
    """Most packs one device may be sending at once: each holds room on the disk before it is paid for."""
    stall: float = 600.0
    """A sender that does not bring a mebibyte, or the rest, in so long is gone."""
    stranger_stall: float = 60.0
    """Likewise of a whole message to a route that asks for no token."""
    open_requests: int = 32
    """Most requests of one device that wait for the owner's word at once."""
    visits: int = 2000
    """Most sessions, and most reports of runs, that one device or kit leaves in a day."""
    kit_tokens: int = 32
    """Most tokens of one kit: a further one ends the oldest."""
    vaults: int = 100
    """Most vaults of one account."""
    slots: int = 64
    """Most wrapped keys of one device's making that a vault holds."""
    sets: int = 64
    """Most sets that one device backs up into a vault: whoever opens it is sent the newest head of each."""
    pack_page: int = 50_000
    """Most packs of a snapshot that one reply names: some 7 MB."""
    job_poll: float = 5.0
    """So often the server looks for timed work that is due."""
    job_lease: float = 60.0
    """Work of a process that gave no sign of life for so long is taken up by another."""
    database_wait: float = 60.0
    """So long `serve` waits at its start for PostgreSQL to answer."""
    domain_threads: int = 8
    disk_threads: int = 4

    @property
    def database(self) -> Path:
        """The file of SQLite's."""
        return self.data / "muniment.sqlite3"

    @property
    def objects(self) -> Path:
        return self.data / "objects"

    @property
    def host_names(self) -> tuple[str, ...]:
        return tuple(host.rpartition("://")[2].rstrip("/") for host in self.hosts)

    @property
    def is_behind_tls(self) -> bool:
        """Whether a proxy before us does TLS."""
        return self.tls is Tls.OFF and any(host.startswith("https://") for host in self.hosts)

    @property
    def is_https(self) -> bool:
        """Whether people's browsers speak TLS, be it to us or to a proxy."""
        return self.tls is not Tls.OFF or self.is_behind_tls

    @property
    def is_for_this_machine(self) -> bool:
        """Whether nobody but this machine can reach the website."""
        return not self.hosts and self.host in ("127.0.0.1", "::1", "localhost")

    @property
    def shows_mailbox(self) -> bool:
        """Whether `/mailbox` shows everybody's mail: only where nobody but this machine can look."""
        return not self.smtp_url and self.is_for_this_machine and not self.trusted_proxies

    def url(self, *, listening: str) -> str:
        """Where people reach the website; `listening` is what it would be by the socket alone."""
        if not self.hosts:
            return listening
        return f"{'https' if self.is_https else 'http'}://{self.host_names[0]}"
