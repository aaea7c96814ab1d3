"""Looks into a tree without restoring anything: one directory, a search, totals.

What can be read is yielded; damage met on the way is raised at the end.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from muniment.crypto.keys import VaultKeys
from muniment.engine.blocks import BlockFetcher
from muniment.engine.leaves import LostRange, TreeWalk
from muniment.engine.plan_restore import not_held, select
from muniment.engine.ports import BlockSource, PageCache
from muniment.format.page import LeafPage
from muniment.format.tree import TreeReader
from muniment.model.entry import Entry, PageRef, child_directory, key_of_path
from muniment.model.errors import IntegrityError


@dataclass(frozen=True, slots=True)
class Totals:
    """Of a path and everything below it: entries, and bytes of files."""

    entries: int
    content: int


class TreeListing:
    """A snapshot's tree, to look around in. From `open_listing`."""

    def __init__(self, root: PageRef | None, reader: TreeReader, walk: TreeWalk) -> None:
        self._root = root
        self._reader = reader
        self._walk = walk

    def entry(self, path: bytes) -> Entry | None:
        """What has this path; None where nothing has."""
        directory, name = key_of_path(path)
        return self._reader.find(self._root, directory, name) if name else None

    def directory(self, path: bytes) -> Iterator[Entry]:
        """The entries directly in the directory at `path` (b"": the root); of anything else, itself."""
        directory, name = key_of_path(path)
        if name:
            entry = self.entry(path)
            if entry is None:
                raise not_held(path)
            if not entry.is_directory:
                yield entry
                return
            directory = child_directory(directory, name)
        yield from self._entries(directory + b"\0", directory + b"\x01", None)

    def find(self, pattern: str, *, under: bytes = b"") -> Iterator[Entry]:
        """Entries whose name matches the shell pattern; whose whole path does, where it holds a slash.

        Without any of `*?[` a pattern is found anywhere in the name, whatever the case of its letters.
        """
        wanted = _matcher(pattern)
        for start, end in select(self._reader, self._root, under).ranges:
            yield from self._entries(start, end, wanted)

    def totals(self, path: bytes = b"") -> Totals:
        """Sums over contiguous ranges: reads a few pages whatever the size of the tree."""
        selection = select(self._reader, self._root, path)
        return Totals(selection.entries, selection.content)

    def _entries(self, start: bytes, end: bytes | None, wanted: _Matcher | None) -> Iterator[Entry]:
        damage: IntegrityError | None = None
        for leaf in self._walk.leaves(self._root, start=start, end=end):
            if isinstance(leaf, LostRange):
                damage = damage or leaf.error
                continue
            yield from _matching(leaf, start, end, wanted)
        if damage is not None:
            raise damage


@contextmanager
def open_listing(
    root: PageRef | None, *, keys: VaultKeys, source: BlockSource, pages: PageCache | None = None
) -> Iterator[TreeListing]:
    """The tree under `root`, for as long as the context lasts."""
    with BlockFetcher(keys, source, pages=pages) as fetcher:
        reader = TreeReader(keys, fetcher.load_page)
        yield TreeListing(root, reader, TreeWalk(reader, fetcher))


@dataclass(frozen=True, slots=True)
class _Matcher:
    pattern: re.Pattern[str]
    is_of_path: bool

    def matches(self, directory: bytes, name: bytes) -> bool:
        text = b"/" + directory.replace(b"\0", b"/") + name if self.is_of_path else name
        return self.pattern.match(os.fsdecode(text)) is not None


def _matcher(pattern: str) -> _Matcher:
    is_of_path = "/" in pattern
    if is_of_path and not pattern.startswith(("/", "*")):
        pattern = "*/" + pattern
    if not re.search(r"[*?\[]", pattern):
        return _Matcher(re.compile(".*" + re.escape(pattern), re.DOTALL | re.IGNORECASE), is_of_path)
    return _Matcher(re.compile(fnmatch.translate(pattern)), is_of_path)


def _matching(leaf: LeafPage, start: bytes, end: bytes | None, wanted: _Matcher | None) -> Iterator[Entry]:
    for run in leaf.runs:
        prefix = run.directory + b"\0"
        for place, name in enumerate(run.names):
            key = prefix + name
            if key < start or (end is not None and key >= end):
                continue
            if wanted is None or wanted.matches(run.directory, name):
                yield leaf.entry(run, place)
