"""`make quickstart`: one whole life of a backup, on this machine, with everything proved on the way.

Starts the real service as its own process on a free loopback port, drives the real command line as a
user would, loses the machine, restores with the recovery kit alone, compares with code that the engine
does not share, and looks for names and contents in everything the service stored. Writes only below
its working directory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import select
import shutil
import signal
import subprocess  # house-rule: only-choke-points-dial, starts the service it shows, on loopback
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from muniment.client.telling.output import plural
from muniment.main.likeness import Likeness, compare_trees

OWN_PLACES = (".venv", ".venv-bench", ".venv-docs", ".quickstart", ".bench", ".serve")
"""Left out when the checkout itself is backed up: what the make targets write there."""

MUNIMENT = str(Path(sys.executable).with_name("muniment"))
MARKER = b"muniment quickstart"
START_SECONDS = 60


class QuickstartFailed(Exception):
    """A step did not do what it promises; the message says which."""


@dataclass(frozen=True, slots=True)
class Commands:
    """The command line as one user on one machine has it."""

    home: Path
    secrets: Mapping[str, str]

    def run(self, *arguments: str, accept: tuple[int, ...] = (0,)) -> Any:
        """Run `muniment ARGUMENTS --json`; the last line of its output, decoded."""
        outside = {key: value for key, value in os.environ.items() if not key.startswith("MUNIMENT_")}
        environment = outside | {"MUNIMENT_HOME": str(self.home)} | dict(self.secrets)
        command = [MUNIMENT, *arguments, "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode not in accept:
            shown = " ".join(arguments[:2])
            raise QuickstartFailed(
                f"muniment {shown} ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        lines = done.stdout.strip().splitlines()
        return json.loads(lines[-1]) if lines else {}


@contextlib.contextmanager
def running_service(data: Path, *, log: Path) -> Iterator[str]:
    """The service on a free loopback port, as its own process; yields its URL, stops it by its id."""
    command = [MUNIMENT, "serve", "--data", str(data), "--port", "0", "--json"]
    with log.open("wb") as errors:
        service = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, start_new_session=True)
    try:
        yield _announced_url(service, log=log)
    finally:
        service.send_signal(signal.SIGTERM)
        try:
            service.wait(timeout=20)
        except subprocess.TimeoutExpired:
            service.kill()
            service.wait()


def _announced_url(service: subprocess.Popen[bytes], *, log: Path) -> str:
    """The URL from the first JSON line the service prints once it accepts connections."""
    assert service.stdout is not None
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        ready, _, _ = select.select([service.stdout], [], [], 0.2)
        line = service.stdout.readline() if ready else b""
        if line.startswith(b"{"):
            return str(json.loads(line)["url"])
        if service.poll() is not None:
            break
    raise QuickstartFailed(f"the service did not start:\n{log.read_text(encoding='utf-8', errors='replace')}")


def fresh_place(place: Path) -> Path:
    """An empty working directory; one that an earlier quickstart left is removed, nothing else ever is."""
    tag = place / "made-by-quickstart"
    if place.exists():
        if not tag.exists() and any(place.iterdir()):
            raise QuickstartFailed(f"{place} holds something that no quickstart wrote; move it away")
        for directory, _, _ in os.walk(place):
            os.chmod(directory, 0o700)
        shutil.rmtree(place)
    place.mkdir(mode=0o700, parents=True)
    tag.write_bytes(MARKER)
    return place


def make_zoo(zoo: Path, *, canary: str) -> None:
    """A few things that backups get wrong, and a file whose name and content the service must never see."""
    (zoo / "empty").mkdir(parents=True)
    (zoo / f"{canary}.txt").write_text(f"{canary}\n" * 3, encoding="utf-8")
    (zoo / "executable").write_bytes(b"#!/bin/sh\nexit 0\n")
    (zoo / "executable").chmod(0o750)
    os.link(zoo / "executable", zoo / "hard link")
    (zoo / "symbolic link").symlink_to("nowhere/at all")
    os.mkfifo(zoo / "fifo")
    with open(os.fsencode(zoo) + b"/name that is no text \xff\xfe", "wb") as file:
        file.write(secrets.token_bytes(3000))
    with (zoo / "sparse").open("wb") as file:
        file.seek(64 << 20)
        file.write(b"end")
    with contextlib.suppress(OSError):  # some file systems have no user attributes
        os.setxattr(zoo / "executable", "user.origin", b"quickstart")
    for number, entry in enumerate(sorted(zoo.iterdir())):
        stamp = 1_000_000_000_123_456_789 + number
        os.utime(entry, ns=(stamp, stamp), follow_symlinks=False)
    os.utime(zoo, ns=(987_654_321, 987_654_321))


def traces(place: Path, words: tuple[bytes, ...]) -> list[Path]:
    """Files below `place` whose name or content holds one of `words`."""
    found = []
    for directory, _, names in os.walk(place):
        for name in names:
            path = Path(directory) / name
            if not path.is_file():
                continue
            content = path.read_bytes()
            if any(word in content or word in os.fsencode(name) for word in words):
                found.append(path)
    return found


def size_of(place: Path) -> int:
    files = (Path(directory) / name for directory, _, names in os.walk(place) for name in names)
    return sum(file.stat().st_size for file in files)


@dataclass(frozen=True, slots=True)
class Walkthrough:
    """One run of the quickstart over `files`."""

    files: Path
    place: Path
    runs: dict[str, Any] = field(default_factory=dict)
    started_ns: dict[str, int] = field(default_factory=dict)

    @property
    def zoo(self) -> Path:
        return self.place / "zoo"

    def own_places(self) -> list[str]:
        """Names below the files that the backup is told to leave out."""
        return [name for name in OWN_PLACES if (self.files / name).exists()]

    def run(self) -> None:
        canary = f"canary-{secrets.token_hex(8)}"
        make_zoo(self.zoo, canary=canary)
        with running_service(self.place / "server", log=self.place / "server.log") as url:
            say(f"The service runs at {url}; embedded database and packs are in {self.place / 'server'}.")
            kit = self.back_up(url)
            self.restore_with_kit(kit)
        self.look_for_traces(canary)
        say("Done. The service is stopped.", f"Everything written is in {self.place}; delete it as you like.")

    def back_up(self, url: str) -> str:
        """Make account, vault and two backups; the recovery kit."""
        user = Commands(self.place / "home", {"MUNIMENT_PASSPHRASE": secrets.token_urlsafe(24)})
        account = user.run("admin", "create-account", "demo@localhost", "--data", str(self.place / "server"))
        device = user.run("connect", url, "--code", account["code"], "--name", "quickstart", "--new")
        say(f"Made an account, a vault ({device['vault']}) and its keys. The keys never left this machine.")
        rules = [part for name in self.own_places() for part in ("--exclude", f"/{name}")]
        for root, name in ((self.files, "files"), (self.zoo, "zoo")):
            for what in ("First backup", "Same again"):
                before, self.started_ns[name] = time.monotonic(), time.time_ns()
                run = user.run("backup", str(root), "--set", name, *rules, accept=(0, 3))
                report_backup(f"{what} of {root}", run, seconds=time.monotonic() - before)
            self.runs[name] = run
        say(f"The vault lists {len(user.run('snapshots'))} snapshots.")
        return str(device["recovery_kit"])

    def restore_with_kit(self, kit: str) -> None:
        """Restore as on a machine that was never connected, and compare."""
        stranger = Commands(self.place / "another-home", {"MUNIMENT_RECOVERY_KIT": kit})
        target = self.place / "restored"
        special = ["--special"] if os.geteuid() == 0 else []
        for root, name in ((self.files, "files"), (self.zoo, "zoo")):
            before = time.monotonic()
            run = stranger.run(
                "restore", self.runs[name]["snapshot"], "--target", str(target / name), *special
            )
            seconds = time.monotonic() - before
            restored = plural(run["files"], "file")
            say(f"Blank machine, recovery kit alone: {restored} restored in {seconds:.1f} s.")
            copy = target / name / root.relative_to("/")
            likeness = compare_trees(root, copy, unchanged_since=self.started_ns[name])
            report_likeness(root, likeness, left_out=self.runs[name]["excluded"])

    def look_for_traces(self, canary: str) -> None:
        words = (canary.encode(), b"hard link", b"symbolic link", b"name that is no text")
        server = self.place / "server"
        found = traces(server, words) + traces(self.place / "another-home", words[:1])
        if not traces(self.zoo, words):
            raise QuickstartFailed("the search for traces finds nothing even where it must")
        if found or any(word in (self.place / "server.log").read_bytes() for word in words):
            raise QuickstartFailed(f"names or contents were found in {[str(path) for path in found]}")
        say(
            f"Searched all {human(size_of(server))} that the service keeps, database, packs and logs, "
            "for the name and content of a marker file: no trace."
        )


def report_backup(what: str, run: Mapping[str, Any], *, seconds: float) -> None:
    """Say what a backup did; QuickstartFailed where it did not get everything."""
    say(
        f"{what}: {plural(run['files'], 'file')}, {human(run['bytes'])} in {seconds:.1f} s; "
        f"new {human(run['new_bytes'])}, stored {human(run['stored_bytes'])} sealed."
    )
    if run["errors"]:
        raise QuickstartFailed(
            f"{run['errors']} files could not be read, or changed meanwhile: {run['problems']}"
        )


def report_likeness(root: Path, likeness: Likeness, *, left_out: Mapping[str, int]) -> None:
    """Say what was compared; QuickstartFailed with the first differences where there are any.

    `left_out`: how many things each exclusion rule kept out of the backup.
    """
    wrong = [f"  {os.fsdecode(path)!r}: {what}" for path, what in likeness.differences]
    fewest = len(likeness.missing)
    if not fewest <= sum(left_out.values()) <= fewest + likeness.unsure:
        wrong += [f"  {os.fsdecode(path)!r} was not restored" for path in likeness.missing]
        wrong.append(f"  left out on purpose: {dict(left_out)}")
    if wrong:
        shown = "\n".join(wrong[:40])
        raise QuickstartFailed(f"{root} and its restored copy differ:\n{shown}")
    say(
        f"Compared {root}: {likeness.entries:,} entries, {human(likeness.content)} and "
        f"{plural(likeness.attributes, 'attribute')}, "
        f"{plural(likeness.hard_link_groups, 'group')} of hard links. All alike."
    )
    changed = sorted(set(likeness.changed) - {os.fsencode(root / name) for name in OWN_PLACES})
    if changed:
        named = ", ".join(os.fsdecode(path) for path in changed[:5])
        say(f"{len(changed)} of it changed while this ran and could not be compared: {named}.")
    if left_out:
        rules = ", ".join(f"{rule} ({number})" for rule, number in left_out.items())
        say(f"Left out by rule, and nothing else is missing: {rules}.")


def human(size: int) -> str:
    if size < 10_000:
        return f"{size} B"
    return f"{size / 1024:.0f} KiB" if size < 1 << 20 else f"{size / (1 << 20):,.1f} MiB"


def say(*lines: str) -> None:
    for line in lines:
        print(f"• {line}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make quickstart", description=__doc__)
    here = Path.cwd()
    parser.add_argument("--files", type=Path, default=here, help="what to back up (default: %(default)s)")
    parser.add_argument("--place", type=Path, default=here / ".quickstart", help="where to write")
    options = parser.parse_args()
    files = options.files.resolve()
    if not files.exists():
        parser.error(f"{files} does not exist")
    try:
        walkthrough = Walkthrough(files, fresh_place(options.place.resolve()))
        say(f"Backing up {files}, and a small zoo of difficult files.")
        walkthrough.run()
    except QuickstartFailed as failure:
        print(f"quickstart failed: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
