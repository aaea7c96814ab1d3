"""Where configuration and state live on this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from muniment.model.ids import VaultId


@dataclass(frozen=True, slots=True)
class Home:
    """`MUNIMENT_HOME` holds everything when it is set; else the places the system has for such things.

    `self_contained` says which: a home of its own also keeps its credentials, so that it can be moved, and so
    that two homes on one machine never meet.
    """

    config: Path
    state: Path
    self_contained: bool

    @classmethod
    def find(cls) -> Home:
        moved = os.environ.get("MUNIMENT_HOME")
        if moved:
            base = Path(moved).expanduser().absolute()
            return cls(base, base / "state", self_contained=True)
        # Loaded here: a moved home never needs it.
        import platformdirs

        return cls(
            Path(platformdirs.user_config_dir("muniment")),
            Path(platformdirs.user_state_dir("muniment")),
            self_contained=False,
        )

    @property
    def config_file(self) -> Path:
        return self.config / "config.toml"

    @property
    def credentials(self) -> Path:
        return self.config / "credentials"

    def state_of(self, vault: VaultId) -> Path:
        return self.state / vault.hex

    def database_of(self, vault: VaultId) -> Path:
        return self.state_of(vault) / "state.sqlite3"


def write_private(path: Path, content: bytes) -> None:
    """Replace `path` in one step with a file that only its owner reads, synced."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
