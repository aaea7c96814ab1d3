"""One comparison: every peer does every work on one input, interleaved, round after round.

Rounds are paired: within a round all peers work on the same bytes, one work after another, in an order
that rotates, so that a slow minute of the machine falls on all of them.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from benches.ceiling import ceiling_seconds
from benches.inputs import Input, one_percent_changed, regular_files, warm
from benches.measure import CommandFailed, Cost, run_measured
from benches.peers import REQUIRED, Command, Peer, size_of
from muniment.main.likeness import compare_trees


class Work(StrEnum):
    FIRST = "first backup"
    RESCAN = "unchanged rescan"
    CHANGED = "1 % changed"
    RESTORE = "full restore"
    ONE = "one file of many"
    STORED = "stored bytes"
    CEILING = "ceiling"


REFERENCES = {Work.FIRST: "tar | zstd -3 -T2", Work.RESCAN: "find -printf", Work.RESTORE: "cp -r"}
SETTLE_SECONDS = 2.5
"""Between a change and the backups: longer than the window in which a fresh file counts as racy."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement; `stored` bytes only for Work.STORED, `cost` for all others."""

    input: str
    work: Work
    tool: str
    round: int
    cost: Cost | None = None
    stored: int | None = None


@dataclass(slots=True)
class Comparison:
    """All rounds on one input. Works below `place`; the input itself lies elsewhere."""

    input: Input
    root: Path
    place: Path
    programs: dict[type[Peer], str]
    _targets: int = 0

    def run(self, rounds: int) -> Iterator[Sample]:
        for number in range(min(rounds, self.input.rounds)):
            peers = [
                kind(self.place / kind.name.replace(" ", "-"), program)
                for kind, program in self.programs.items()
            ]
            turn = number % len(peers)
            yield from self._round(peers[turn:] + peers[:turn], number)
        for target in self.place.glob("target-*"):
            shutil.rmtree(target)

    def _round(self, peers: list[Peer], number: int) -> Iterator[Sample]:
        with _set_up(peers) as ready:
            yield from self._works(ready, number)
            for peer in ready:
                yield Sample(self.input.name, Work.STORED, peer.name, number, stored=peer.stored())

    def _works(self, peers: list[Peer], number: int) -> Iterator[Sample]:
        for work in (Work.FIRST, Work.RESCAN):
            for peer in peers:
                if work is Work.FIRST:
                    warm(self.root)  # each time: a machine may take back what was read before
                yield self._measured(peer, work, number, peer.backup(self.root))
            yield from self._reference(work, number)
        with one_percent_changed(self.root, round_number=number):
            os.sync()
            time.sleep(SETTLE_SECONDS)
            for peer in peers:
                yield self._measured(peer, Work.CHANGED, number, peer.backup(self.root))
            for peer in peers:
                yield self._restored(peer, number)
            yield from self._reference(Work.RESTORE, number)
            for peer in peers:
                target = self._target()
                command = peer.restore_one(self.root, self.input.one, target)
                yield self._measured(peer, Work.ONE, number, command)
                _insist(size_of(target) == (self.root / self.input.one).stat().st_size, peer, "one file")

    def _restored(self, peer: Peer, number: int) -> Sample:
        """A full restore, measured, then checked: ours byte by byte, everyone's by the sum of sizes."""
        target = self._target()
        sample = self._measured(peer, Work.RESTORE, number, peer.restore(self.root, target))
        if peer.name == "muniment" and number == 0:
            likeness = compare_trees(self.root, target / self.root.name)
            found = [*likeness.differences, *likeness.missing]
            _insist(not found, peer, f"full restore: {found[:5]}")
        else:
            _insist(size_of(target) == size_of(self.root), peer, "full restore")
        return sample

    def _reference(self, work: Work, number: int) -> Iterator[Sample]:
        """What plain tools need for about the same, as a yardstick that everybody knows."""
        target = self._target()
        out = target / "out.tar.zst"
        commands: dict[Work, Command] = {
            Work.FIRST: ["sh", "-c", 'tar -C "$0" -cf - . | zstd -q -3 -T2 -o "$1"', self.root, out],
            Work.RESCAN: ["sh", "-c", 'find "$0" -printf "%s %T@ %i %p\\n" > /dev/null', self.root],
            Work.RESTORE: ["cp", "-r", self.root, target],
        }
        os.sync()
        log = self.place / "reference.log"
        cost = run_measured(commands[work], env=dict(os.environ), log=log)
        yield Sample(self.input.name, work, REFERENCES[work], number, cost=cost)
        if work is Work.FIRST:
            yield Sample(self.input.name, Work.STORED, REFERENCES[work], number, stored=out.stat().st_size)
        if work is Work.FIRST and self.input.name == "large":
            target = self._target()
            seconds = ceiling_seconds([Path(path) for path in regular_files(self.root)], target=target / "c")
            yield Sample(
                self.input.name,
                Work.CEILING,
                "ceiling",
                number,
                cost=Cost(seconds=seconds, cpu=0, peak=0),
            )

    def _measured(self, peer: Peer, work: Work, number: int, command: Command) -> Sample:
        os.sync()
        log = self.place / f"{peer.name.replace(' ', '-')}.log"
        cost = run_measured(command, env=peer.environment(), log=log, server=peer.server)
        print(
            f"  {self.input.name}, {work}, round {number + 1}: {peer.name} {cost.seconds:.2f} s",
            file=sys.stderr,
        )
        return Sample(self.input.name, work, peer.name, number, cost=cost)

    def _target(self) -> Path:
        """An empty directory, left as it is until all rounds are over.

        For minutes after a deletion ext4 passes over the number of every deleted file, one by one, so whoever
        writes next would pay for our tidying.
        """
        self._targets += 1
        target = self.place / f"target-{self._targets}"
        target.mkdir(parents=True)
        return target


@contextmanager
def _set_up(peers: list[Peer]) -> Iterator[list[Peer]]:
    """The peers with fresh repositories. One that we do not require may fail here, and is then left out."""
    ready: list[Peer] = []
    try:
        for peer in peers:
            shutil.rmtree(peer.place, ignore_errors=True)
            try:
                peer.set_up()
            except CommandFailed as failure:
                if peer.name in REQUIRED:
                    raise
                print(f"  left out: {peer.name}: {failure}", file=sys.stderr)
                continue
            ready.append(peer)
        yield ready
    finally:
        for peer in ready:
            peer.tear_down()


def _insist(holds: bool, peer: Peer, what: str) -> None:  # noqa: FBT001
    if not holds:
        raise CommandFailed(f"{peer.name}: {what} did not give back what was backed up")
