"""Exclusion rules in gitignore syntax, by `pathspec`; built-in rules; directories that exclude themselves.

Every name on the disk passes here, and hardly one is excluded. So names are first compared with the last
parts of the rules, as a set or one regular expression; only what that lets through is matched in full.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from muniment.engine.ports import Directory
from muniment.model.errors import UsageError

DEFAULT_RULES = ("lost+found/", ".Trash-*/", ".local/share/Trash/", ".thumbnails/")
"""Built-in rules of every set that does not switch them off. Shown by `sets show`, counted in each run."""

SYSTEM_PLACES = (b"/proc", b"/sys", b"/dev", b"/run")
"""Held by the kernel or made at start; left out of a backup of everything, unless a root of their own."""

CACHE_TAG = b"CACHEDIR.TAG"
CACHE_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"
"""https://bford.info/cachedir/: a tag without this first line is none."""
NO_BACKUP = b".nobackup"

_WILD = frozenset("*?[")


class ExclusionRules:
    """The rules of one set. A path is matched below the innermost root that holds it; later rules win.

    `places` are absolute paths left out whatever the rules say: what the system makes up, and our own state.
    UsageError for a rule that cannot be understood.
    """

    tag_files: Collection[bytes] = frozenset({CACHE_TAG, NO_BACKUP})

    def __init__(
        self, rules: Sequence[str], *, roots: Sequence[bytes], places: Mapping[bytes, str] | None = None
    ) -> None:
        self._rules = tuple(rules)
        self._roots = sorted((root.rstrip(b"/") + b"/" for root in roots), key=len, reverse=True)
        self._places = {path: why for path, why in (places or {}).items() if path + b"/" not in self._roots}
        self._place_names = {path.rpartition(b"/")[2] for path in self._places}
        self._literals, self._pattern, self._any = _last_parts(self._rules)

    def check(self) -> None:
        """Raise UsageError for a rule that is none, before a run finds out."""
        assert self._spec is not None

    def rule_for(self, path: bytes, *, directory: bool) -> str | None:
        if path in self._places:
            return self._places[path]
        root = next((root for root in self._roots if path.startswith(root)), None)
        if root is None or not self._rules:
            return None
        inside = path[len(root) :].decode("utf-8", "surrogateescape")
        found = self._spec.check_file(inside + "/" if directory else inside)
        return self._rules[found.index] if found.include and found.index is not None else None

    def rules_for(
        self, directory: bytes, names: Sequence[bytes], *, directories: Collection[bytes]
    ) -> Mapping[bytes, str]:
        found: dict[bytes, str] = {}
        for name in self._candidates(names):
            rule = self.rule_for(directory + name, directory=name in directories)
            if rule is not None:
                found[name] = rule
        return found

    def is_tagged(self, directory: Directory, names: Collection[bytes]) -> str | None:
        if NO_BACKUP in names:
            return NO_BACKUP.decode("ascii")
        if CACHE_TAG in names and _has_signature(directory):
            return CACHE_TAG.decode("ascii")
        return None

    # --- inside

    def _candidates(self, names: Sequence[bytes]) -> Iterable[bytes]:
        if self._any:
            return names
        found = (self._literals | self._place_names).intersection(names)
        if self._pattern is not None:
            matches = self._pattern.match
            found.update(name for name in names if matches(name))
        return found

    @cached_property
    def _spec(self) -> Any:
        # Loaded here: most runs meet no name that any rule could match, and it costs a rescan 30 ms.
        import pathspec

        try:
            return pathspec.GitIgnoreSpec.from_lines(self._rules)
        except ValueError as error:
            raise UsageError(
                f"an exclusion rule is not understood: {error}", advice="Rules are those of gitignore."
            ) from None


def system_places(own: Iterable[str] = ()) -> dict[bytes, str]:
    """Places to leave out, each with what to call the reason; `own`: where Muniment keeps its own state."""
    places = {path: f"{path.decode('ascii')} (made by the system)" for path in SYSTEM_PLACES}
    for path in own:
        places[os.path.realpath(os.fsencode(path))] = "Muniment's own state"
    return places


def _last_parts(rules: Sequence[str]) -> tuple[set[bytes], re.Pattern[bytes] | None, bool]:
    """Of rules that exclude: last parts without wildcards, a pattern for the others, whether any name may do."""
    literals: set[bytes] = set()
    wild: list[str] = []
    for rule in rules:
        text = rule.strip()
        if not text or text.startswith(("#", "!")):
            continue
        last = text.rstrip("/").rpartition("/")[2]
        if last in ("", "*", "**") or "\\" in text or text.endswith("/**"):
            return set(), None, True
        if _WILD.isdisjoint(last):
            literals.add(last.encode("utf-8", "surrogateescape"))
        else:
            wild.append(fnmatch.translate(last.replace("[^", "[!")))
    if not wild:
        return literals, None, False
    pattern = "|".join(f"(?:{part})" for part in wild).encode("utf-8", "surrogateescape")
    return literals, re.compile(pattern), False


def _has_signature(directory: Directory) -> bool:
    try:
        file = directory.open_file(CACHE_TAG)
    except OSError:
        return False
    try:
        start = bytearray(len(CACHE_SIGNATURE))
        return file.read_into(memoryview(start), offset=0) == len(start) and bytes(start) == CACHE_SIGNATURE
    except OSError:
        return False
    finally:
        file.close()
