"""Which set a `backup` means, and what its rules are."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from muniment.client.home.config import DEFAULT_SET, BackupSet, Config, Connection, change_set
from muniment.client.home.locks import changing_config
from muniment.client.home.places import Home
from muniment.client.sets.exclude import DEFAULT_RULES, ExclusionRules
from muniment.model.errors import UsageError


@dataclass(frozen=True, slots=True)
class ChosenSet:
    """`remembered`: it was just written to the configuration."""

    backup_set: BackupSet
    remembered: bool


def choose_set(
    config: Config,
    connection: Connection,
    paths: Sequence[bytes],
    *,
    name: str,
    excludes: Sequence[str],
    exclude_files: Sequence[Path],
    one_file_system: bool,
    remember: bool,
) -> ChosenSet:
    """The set to back up.

    Without paths: the one named, or the default one, with further rules for this run. With paths: they are
    what the set has from now on (`remember`), if it is named or there is no default set yet; else a set of
    their own, named after them, so that a glance at one directory never takes the place of the default set's
    snapshots.
    """
    roots = resolve_roots(paths)
    files = tuple(str(path.absolute()) for path in exclude_files)
    wanted = name or DEFAULT_SET
    known = connection.sets.get(wanted)
    if not roots:
        if known is None:
            raise _nothing_to_back_up(connection, name)
        return ChosenSet(
            _with_rules(known, excludes, files, one_file_system=one_file_system), remembered=False
        )
    given = BackupSet(wanted, roots, tuple(excludes), files, one_file_system)
    if known is not None and known.roots == roots:
        return ChosenSet(
            _with_rules(known, excludes, files, one_file_system=one_file_system), remembered=False
        )
    if known is not None and not name:
        return ChosenSet(replace(given, name=_name_after(roots)), remembered=False)
    if remember:
        with changing_config(config.home):
            latest = Config.load(config.home)
            latest.with_connection(change_set(latest.connections[connection.vault], given)).save()
    return ChosenSet(given, remembered=True)


def rules_of(backup_set: BackupSet, *, home: Home) -> tuple[ExclusionRules, tuple[str, ...]]:
    """The exclusion rules of a set, ready to ask, and as text for the snapshot's head."""
    own = [*backup_set.excludes]
    for path in backup_set.exclude_files:
        own += read_rules(Path(path))
    # Our own state and spool change while they are read, and are of no use anywhere else.
    defaults = (*DEFAULT_RULES, _rule_of_place(home.state)) if backup_set.default_excludes else ()
    rules = (*defaults, *own)
    return ExclusionRules(rules, roots=backup_set.roots), rules


def _rule_of_place(place: Path) -> str:
    """The rule that leaves out one directory, wherever the roots are."""
    path = os.path.realpath(place).lstrip("/")
    return "//" + "".join(f"\\{letter}" if letter in "*?[]\\ !#" else letter for letter in path) + "/"


def read_rules(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UsageError(f"the rules in {path} cannot be read: {why}") from None
    return [line for line in lines if line.strip() and not line.startswith("#")]


def resolve_roots(paths: Sequence[bytes]) -> tuple[bytes, ...]:
    """Absolute paths, free of links on the way; UsageError for what is not there. A link to a file stays."""
    roots = []
    for path in paths:
        parent, name = os.path.split(os.path.abspath(path))
        resolved = os.path.join(os.path.realpath(parent), name) if name else b"/"
        try:
            mode = os.lstat(resolved).st_mode
        except OSError as error:
            raise UsageError(f"{os.fsdecode(path)} cannot be backed up: {error.strerror}") from None
        if stat.S_ISLNK(mode) and os.path.isdir(resolved):
            resolved = os.path.realpath(resolved)
        if resolved not in roots:
            roots.append(resolved)
    return tuple(roots)


def _with_rules(
    known: BackupSet, excludes: Sequence[str], files: Sequence[str], *, one_file_system: bool
) -> BackupSet:
    return replace(
        known,
        excludes=(*known.excludes, *(rule for rule in excludes if rule not in known.excludes)),
        exclude_files=(*known.exclude_files, *(file for file in files if file not in known.exclude_files)),
        one_file_system=known.one_file_system or one_file_system,
    )


def _name_after(roots: Sequence[bytes]) -> str:
    return ", ".join(root.decode("utf-8", "backslashreplace") for root in roots)[:200]


def _nothing_to_back_up(connection: Connection, name: str) -> UsageError:
    if name:
        known = ", ".join(connection.sets) or "none yet"
        return UsageError(
            f"there is no set {name!r} (known: {known})", advice="Make it with `muniment sets add`."
        )
    return UsageError(
        "nothing is named and there is no default set yet", advice="Say what: `muniment backup PATH …`."
    )
