"""What a backup set leaves out: rules in gitignore syntax, and directories tagged as caches.

A rule is matched against the path below the set's root, as git matches one against the path below the
repository. A rule that begins with the path of a root, or with ``//``, is meant from the top of the file
system (``//proc/*``); it never reaches a root or what contains one: who names `/tmp/x` as a root wants it.
For the same reason a built-in rule for all that is in a directory (``//tmp/*``) is none below that directory
as a root, and a tag counts below a root only.

The syntax is pathspec's affair. What is ours is speed: a directory's names are first held against what the
last component of every rule could be, in a handful of calls, and only what passes is matched for real.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

from muniment.engine.ports import Directory
from muniment.model.errors import UsageError

DEFAULT_RULES = (
    "//proc/*",
    "//sys/*",
    "//dev/*",
    "//run/*",
    "//tmp/*",
    "//var/tmp/*",
    "//swapfile",
    "//swap.img",
    "lost+found/",
    ".cache/",
    ".gvfs/",
    ".local/share/Trash/",
    ".Trash-*/",
)
"""What hardly anybody wants back: kernel views, scratch space, caches, bins. Shown with every set."""

CACHE_TAG = b"CACHEDIR.TAG"
NO_BACKUP = b".nobackup"
_CACHE_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"
"""The Cache Directory Tagging Specification's: a file of that name without it is an ordinary file."""

_ANY_DIRECTORY = "(?P<ps_d>/)"
"""How pathspec writes `*/`."""

_GLOB = re.compile(r"[*?\[\\]")


_PLAIN = re.compile(r"(?=.*\w)!?[^\s\[\\#!](?:[^\[\\\n]*[^\s\[\\])?")
"""A rule that surely has a meaning: compiled when a name first comes near it. Most days none does."""


class _Rule:
    """One rule, as it applies below one root."""

    def __init__(self, text: str, local: str) -> None:
        self.text = text
        """As the user wrote it."""
        self._local = local
        self.excludes = not local.startswith("!")
        *above, last = [part for part in local.removeprefix("!").split("/") if part] or [""]
        self.last = last
        """What the name itself must match: the last component, a shell pattern."""
        self.is_plain = _PLAIN.fullmatch(local) is not None
        self._is_for_directories = local.endswith("/")
        # All that is inside a directory, but not the directory itself.
        self._is_for_inside = last == "**" and any(part != "**" for part in above)

    @cached_property
    def pattern(self) -> re.Pattern[str] | None:
        """None for a comment. UsageError where the rule has no meaning."""
        # pathspec takes longer to import than a small rescan to run.
        from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

        try:
            compiled = GitIgnoreSpecPattern(self._local)
        except (ValueError, re.error) as error:
            raise UsageError(f"the rule {self.text!r} cannot be understood: {error}") from None
        if compiled.include is None or compiled.regex is None:
            return None
        # Without DOTALL a name with a line break would escape the rules.
        return re.compile(compiled.regex.pattern, re.DOTALL)

    def matches(self, path: str) -> bool:
        """`path` is below the root and ends in a slash where it is a directory."""
        pattern = self.pattern
        if pattern is None or (self._is_for_directories and not path.endswith("/")):
            return False
        if self._is_for_inside:
            # pathspec takes the slash after a directory's own name for something inside.
            return pattern.search(path.rstrip("/")) is not None
        # Its expressions also match what is below a matching directory, which the walk never asks about,
        # unless a later rule took that directory back: then git looks at the name alone, and so do we.
        found = pattern.search(path)
        return found is not None and (
            "ps_d" not in found.groupdict() or found.end() == len(path) or pattern.pattern == _ANY_DIRECTORY
        )


class ExclusionRules:
    """The rules of one set, compiled for each of its roots. UsageError for a rule that has no meaning."""

    def __init__(self, rules: Sequence[str], *, roots: Sequence[bytes]) -> None:
        self._roots = {
            (root if root.endswith(b"/") else root + b"/"): _RootRules(rules, root=root) for root in roots
        }
        # The longest first: a root inside another has rules of its own.
        self._order = sorted(self._roots, key=len, reverse=True)

    @property
    def tag_files(self) -> Collection[bytes]:
        return (CACHE_TAG, NO_BACKUP)

    def is_tagged(self, directory: Directory, names: Collection[bytes]) -> str | None:
        if NO_BACKUP in names:
            return NO_BACKUP.decode()
        if CACHE_TAG in names and _has_signature(directory):
            return CACHE_TAG.decode()
        return None

    def rules_for(
        self, directory: bytes, names: Sequence[bytes], *, directories: Collection[bytes]
    ) -> Mapping[bytes, str]:
        for root in self._order:
            if directory.startswith(root):
                rules = self._roots[root]
                candidates = rules.candidates(directory[len(root) :], names)
                if not candidates:
                    return {}
                return rules.decide(directory[len(root) :], candidates, frozenset(directories))
        return {}


class _RootRules:
    """The rules as they apply below one root."""

    def __init__(self, rules: Sequence[str], *, root: bytes) -> None:
        top = os.fsdecode(root)
        local = [(text, _below(text, top)) for text in rules if text.strip() and not text.startswith("#")]
        self._rules = [_Rule(text, below) for text, below in local if below is not None]
        odd = [rule for rule in self._rules if not rule.is_plain]
        for rule in odd:
            _ = rule.pattern  # refused now, not in the middle of a run
        last = {rule.last for rule in self._rules if rule.excludes}
        self._literals = frozenset(os.fsencode(name) for name in last if not _GLOB.search(name))
        globs = [name for name in last if _GLOB.search(name) and name.strip("*")]
        self._anything = [rule for rule in self._rules if rule.excludes and not rule.last.strip("*")]
        """Rules like `Trash/*`: the directory alone decides."""
        ends = [name for name in globs if name[0] == "*" and not _GLOB.search(name[1:])]
        starts = [name for name in globs if name[-1] == "*" and not _GLOB.search(name[:-1])]
        self._ends = [os.fsencode(name[1:]) + b"/" for name in ends]
        self._starts = [b"/" + os.fsencode(name[:-1]) for name in starts]
        others = [name for name in globs if name not in ends and name not in starts]
        # Brackets, escapes and blanks are pathspec's affair: with one of them, every name is looked at.
        self._is_simple = not odd
        self._others = [re.compile(fnmatch.translate(name), re.DOTALL) for name in others]

    def candidates(self, below: bytes, names: Sequence[bytes]) -> Collection[bytes]:
        """Names that some excluding rule may match."""
        if not self._is_simple or (self._anything and self._takes_everything(below)):
            return names
        found: set[bytes] = set(self._literals.intersection(names))
        if self._ends or self._starts:
            joined = b"/%b/" % b"/".join(names)
            for end in self._ends:
                if end in joined:
                    found.update(name for name in names if name.endswith(end[:-1]))
            for start in self._starts:
                if start in joined:
                    found.update(name for name in names if name.startswith(start[1:]))
        if self._others:
            decoded = list(map(os.fsdecode, names))
            for pattern in self._others:
                found.update(name for name, text in zip(names, decoded, strict=True) if pattern.match(text))
        return found

    def _takes_everything(self, below: bytes) -> bool:
        probe = os.fsdecode(below) + "x/"
        return any(rule.matches(probe) for rule in self._anything)

    def decide(
        self, below: bytes, candidates: Collection[bytes], directories: Collection[bytes]
    ) -> dict[bytes, str]:
        excluded: dict[bytes, str] = {}
        for name in candidates:
            path = os.fsdecode(below + name) + ("/" if name in directories else "")
            # As in git, the last rule that matches decides.
            rule = next((rule for rule in reversed(self._rules) if rule.matches(path)), None)
            if rule is not None and rule.excludes:
                excluded[name] = rule.text
        return excluded


def _below(text: str, root: str) -> str | None:
    """`text` with what is meant from the top of the file system rewritten to begin at the root."""
    mark, rule = ("!", text[1:]) if text.startswith("!") else ("", text)
    parts = [part for part in root.split("/") if part]
    if rule.startswith("//"):
        wanted = rule[2:].split("/")
    elif parts and rule.startswith(root.rstrip("/") + "/"):
        wanted = rule[1:].split("/")
    else:
        return text
    for place, part in enumerate(parts):
        if place < len(wanted) and wanted[place] == "**":
            return mark + "/" + "/".join(wanted[place:])
        if place >= len(wanted) or not fnmatch.fnmatchcase(part, wanted[place]):
            return None
    rest = [part for part in wanted[len(parts) :] if part]
    if not rest or (rest == ["*"] and text in DEFAULT_RULES):
        return None
    return mark + "/" + "/".join(rest) + ("/" if rule.endswith("/") else "")


def _has_signature(directory: Directory) -> bool:
    try:
        file = directory.open_file(CACHE_TAG)
    except OSError:
        return False
    try:
        buffer = bytearray(len(_CACHE_SIGNATURE))
        taken = file.read_into(memoryview(buffer), offset=0)
        return bytes(buffer[:taken]) == _CACHE_SIGNATURE
    except OSError:
        return False
    finally:
        file.close()
