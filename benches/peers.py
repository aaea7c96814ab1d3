"""The programs under measurement, each doing the same works with its default encryption and compression.

A peer is one method a work; each returns the command line, so that all are started and measured alike.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path

from benches.measure import CommandFailed, ServerProbe

Command = list[str | Path]
ROOT = Path(__file__).parents[1]


def size_of(place: Path) -> int:
    """Bytes of all files below `place`."""
    total = 0
    for directory, _, names in os.walk(place):
        total += sum(os.lstat(os.path.join(directory, name)).st_size for name in names)
    return total


@dataclass(slots=True)
class Peer(ABC):
    """One program with one fresh repository at `place`."""

    place: Path
    program: str
    server: ServerProbe | None = field(default=None, init=False)
    runs: int = field(default=0, init=False)

    name = ""

    @staticmethod
    @abstractmethod
    def find() -> str | None:
        """The program to run, or None where it is not installed."""

    @abstractmethod
    def version(self) -> str: ...

    def environment(self) -> dict[str, str]:
        kept = ("PATH", "LANG", "TERM", "LD_LIBRARY_PATH")
        base = {key: os.environ[key] for key in kept if key in os.environ}
        return base | {"HOME": str(self.place), "TMPDIR": str(self.place)} | self.settings()

    @abstractmethod
    def settings(self) -> dict[str, str]:
        """Variables that point the program at its repository and password."""

    @abstractmethod
    def set_up(self) -> None:
        """Make the repository. Not measured."""

    @abstractmethod
    def backup(self, source: Path) -> Command: ...

    @abstractmethod
    def restore(self, source: Path, target: Path) -> Command: ...

    @abstractmethod
    def restore_one(self, source: Path, one: str, target: Path) -> Command: ...

    def stored(self) -> int:
        """Bytes in the repository, caches not counted."""
        return size_of(self.place / "repository")

    def tear_down(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)

    def ask(self, *command: str | Path) -> str:
        """Run unmeasured; its output."""
        done = subprocess.run(
            [str(part) for part in command],
            env=self.environment(), capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        if done.returncode != 0:
            raise CommandFailed(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout


class Muniment(Peer):
    """Over loopback HTTP into its real server: SQLite and local files, synced."""

    name = "muniment"
    process: subprocess.Popen[bytes]
    home: dict[str, str]

    @staticmethod
    def find() -> str | None:
        return str(Path(sys.executable).with_name("muniment"))

    def version(self) -> str:
        return self.ask(self.program, "--version").split()[-1]

    def settings(self) -> dict[str, str]:
        # Set where another checkout than the installed one is measured.
        source = {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}
        return {"MUNIMENT_HOME": str(self.place / "home"), **source}

    def set_up(self) -> None:
        data = self.place / "repository"
        self.place.mkdir(parents=True)
        command = [self.program, "serve", "--data", str(data), "--port", "0", "--json"]
        with (self.place / "server.log").open("wb") as log:
            self.process = subprocess.Popen(
                command, env=self.environment(), stdout=subprocess.PIPE, stderr=log
            )
        url = self._announced_url()
        made = self.ask(self.program, "admin", "create-account", "bench@localhost", "--data", data, "--json")
        secret = {"MUNIMENT_PASSPHRASE": secrets.token_urlsafe(24)}
        command = [self.program, "connect", url, "--code", _last(made)["code"], "--new", "--json"]
        subprocess.run(command, env=self.environment() | secret, check=True, stdout=subprocess.DEVNULL)
        self.server = ServerProbe(self.process.pid)

    def _announced_url(self) -> str:
        assert self.process.stdout is not None
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            ready, _, _ = select.select([self.process.stdout], [], [], 0.2)
            line = self.process.stdout.readline() if ready else b""
            if line.startswith(b"{"):
                return str(json.loads(line)["url"])
        raise CommandFailed(f"no service: {(self.place / 'server.log').read_text(encoding='utf-8')}")

    def backup(self, source: Path) -> Command:
        return [self.program, "backup", source, "--json"]

    def restore(self, source: Path, target: Path) -> Command:
        return [self.program, "restore", f"latest:{source}", "--target", target, "--json"]

    def restore_one(self, source: Path, one: str, target: Path) -> Command:
        return [self.program, "restore", f"latest:{source / one}", "--target", target, "--json"]

    def tear_down(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        super().tear_down()


def _last(output: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(output.strip().splitlines()[-1])
    return found


class Restic(Peer):
    name = "restic"

    @staticmethod
    def find() -> str | None:
        return shutil.which("restic")

    def version(self) -> str:
        return self.ask(self.program, "version").split()[1]

    def settings(self) -> dict[str, str]:
        return {
            "RESTIC_REPOSITORY": str(self.place / "repository"),
            "RESTIC_CACHE_DIR": str(self.place / "cache"),
            "RESTIC_PASSWORD": "bench",
        }

    def set_up(self) -> None:
        self.place.mkdir(parents=True)
        self.ask(self.program, "init")

    def backup(self, source: Path) -> Command:
        return [self.program, "backup", "-q", source]

    def restore(self, source: Path, target: Path) -> Command:
        return [self.program, "restore", "-q", "latest", "--target", target]

    def restore_one(self, source: Path, one: str, target: Path) -> Command:
        return [*self.restore(source, target), "--include", source / one]


class Rustic(Restic):
    name = "rustic"

    @staticmethod
    def find() -> str | None:
        return shutil.which("rustic")

    def version(self) -> str:
        return self.ask(self.program, "--version").split()[1]

    def settings(self) -> dict[str, str]:
        return {
            "RUSTIC_REPOSITORY": str(self.place / "repository"),
            "RUSTIC_CACHE_DIR": str(self.place / "cache"),
            "RUSTIC_PASSWORD": "bench",
            "RUSTIC_NO_PROGRESS": "true",
        }

    def backup(self, source: Path) -> Command:
        return [self.program, "backup", source]

    def restore(self, source: Path, target: Path) -> Command:
        return [self.program, "restore", f"latest:{source}", target]

    def restore_one(self, source: Path, one: str, target: Path) -> Command:
        return [self.program, "restore", f"latest:{source / one}", target]


class Borg(Peer):
    name = "borg 1.4"

    @staticmethod
    def find() -> str | None:
        own = ROOT / ".venv-bench" / "bin" / "borg"
        return str(own) if own.exists() else shutil.which("borg")

    def version(self) -> str:
        return self.ask(self.program, "--version").split()[1]

    def settings(self) -> dict[str, str]:
        return {
            "BORG_REPO": str(self.place / "repository"),
            "BORG_BASE_DIR": str(self.place),
            "BORG_PASSPHRASE": "bench",
        }

    def set_up(self) -> None:
        self.place.mkdir(parents=True)
        self.ask(self.program, "init", "--encryption=repokey-blake2")

    def backup(self, source: Path) -> Command:
        self.runs += 1
        return [self.program, "create", f"::run-{self.runs}", source]

    def restore(self, source: Path, target: Path) -> Command:
        return ["sh", "-c", 'cd "$1" && exec "$0" extract "$2"', self.program, target, f"::run-{self.runs}"]

    def restore_one(self, source: Path, one: str, target: Path) -> Command:
        command = self.restore(source, target)
        command[2] = 'cd "$1" && exec "$0" extract "$2" "$3"'
        return [*command, str(source / one).lstrip("/")]


class Borg2(Borg):
    name = "borg 2"

    @staticmethod
    def find() -> str | None:
        return shutil.which("borg2")

    def set_up(self) -> None:
        self.place.mkdir(parents=True)
        self.ask(self.program, "repo-create", "--encryption=repokey-blake3-aes-ocb")

    def backup(self, source: Path) -> Command:
        self.runs += 1
        return [self.program, "create", f"run-{self.runs}", source]

    def restore(self, source: Path, target: Path) -> Command:
        return ["sh", "-c", 'cd "$1" && exec "$0" extract "$2"', self.program, target, f"run-{self.runs}"]


class Kopia(Peer):
    name = "kopia"

    @staticmethod
    def find() -> str | None:
        return shutil.which("kopia")

    def version(self) -> str:
        return self.ask(self.program, "--version").split()[0]

    def settings(self) -> dict[str, str]:
        return {
            "KOPIA_CONFIG_PATH": str(self.place / "config"),
            "KOPIA_CACHE_DIRECTORY": str(self.place / "cache"),
            "KOPIA_LOG_DIR": str(self.place / "log"),
            "KOPIA_PASSWORD": "bench",
            "KOPIA_CHECK_FOR_UPDATES": "false",
        }

    def set_up(self) -> None:
        (self.place / "repository").mkdir(parents=True)
        self.ask(self.program, "repository", "create", "filesystem", f"--path={self.place / 'repository'}")

    def backup(self, source: Path) -> Command:
        return [self.program, "snapshot", "create", "--no-progress", source]

    def restore(self, source: Path, target: Path) -> Command:
        return [self.program, "restore", "--no-progress", source, target]

    def restore_one(self, source: Path, one: str, target: Path) -> Command:
        return [self.program, "restore", "--no-progress", source / one, target / Path(one).name]


class Bupstash(Peer):
    name = "bupstash"

    @staticmethod
    def find() -> str | None:
        return shutil.which("bupstash")

    def version(self) -> str:
        return self.ask(self.program, "--version").split("-")[-1].strip()

    def settings(self) -> dict[str, str]:
        return {
            "BUPSTASH_REPOSITORY": str(self.place / "repository"),
            "BUPSTASH_KEY": str(self.place / "key"),
            "BUPSTASH_SEND_LOG": str(self.place / "send-log"),
            "BUPSTASH_QUERY_CACHE": str(self.place / "query-cache"),
        }

    def set_up(self) -> None:
        self.place.mkdir(parents=True)
        self.ask(self.program, "new-key", "-o", self.place / "key")
        self.ask(self.program, "init")

    def backup(self, source: Path) -> Command:
        return [self.program, "put", "--no-progress", "-q", "name=bench", source]

    def restore(self, source: Path, target: Path) -> Command:
        return [self.program, "restore", "--no-progress", "--into", target, self._latest()]

    def restore_one(self, source: Path, one: str, target: Path) -> Command:
        return ["sh", "-c", '"$0" get --no-progress --pick "$1" "$3" > "$2/one"', self.program, one, target,
                self._latest()]  # fmt: skip

    def _latest(self) -> str:
        newest = json.loads(self.ask(self.program, "list", "--format=jsonl1", "name=bench").splitlines()[-1])
        return f"id={newest['id']}"


PEERS: tuple[type[Peer], ...] = (Muniment, Restic, Borg, Borg2, Rustic, Kopia, Bupstash)
REQUIRED = ("muniment", "restic", "borg 1.4")
