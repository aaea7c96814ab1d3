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
    host: str = "127.0.0.1"
    port: int = 8120
    tls: Tls = Tls.OFF
    tls_cert: Path | None = None
    tls_key: Path | None = None
    allowance: int = TIB
    """Of vaults whose account has none of its own."""
    pending_cap: int = 64 * GIB
    reserve_share: float = 0.1
    """Of the allowance, kept for each device of a vault that has several; `vaults.reserves` says how."""
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
    slots: int = 64
    """Most wrapped keys of one device's making that a vault holds."""
    domain_threads: int = 8
    disk_threads: int = 4

    @property
    def database(self) -> Path:
        return self.data / "muniment.sqlite3"

    @property
    def objects(self) -> Path:
        return self.data / "objects"
