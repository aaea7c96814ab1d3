"""Where a passphrase or a kit comes from: a variable, a file, a command, or the person at the terminal."""

from __future__ import annotations

import getpass
import os
import shlex
import subprocess
import sys
from pathlib import Path

from muniment.model.errors import UsageError

_MOST = 64 * 1024


def passphrase_from_environment(prefix: str = "MUNIMENT_PASSPHRASE") -> str | None:
    """The passphrase that `prefix`, `prefix`_FILE or `prefix`_COMMAND gives; None where none is set."""
    if (direct := os.environ.get(prefix)) is not None:
        return _usable(direct, prefix)
    if (path := os.environ.get(f"{prefix}_FILE")) is not None:
        try:
            with open(path, encoding="utf-8") as file:
                return _usable(file.read(_MOST), f"{prefix}_FILE")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the passphrase file {path} cannot be read: {_why(error)}") from None
    if (command := os.environ.get(f"{prefix}_COMMAND")) is not None:
        return _usable(_run(command, f"{prefix}_COMMAND"), f"{prefix}_COMMAND")
    return None


def ask_passphrase(question: str = "Passphrase of the vault: ") -> str:
    """From the environment, else from the person; UsageError where there is neither."""
    found = passphrase_from_environment()
    if found is not None:
        return found
    _need_terminal("a passphrase", "MUNIMENT_PASSPHRASE")
    return _usable(getpass.getpass(question), "the passphrase")


def ask_new_passphrase(prefix: str = "MUNIMENT_PASSPHRASE") -> str:
    """A passphrase for a new slot; typed twice when a person types it."""
    found = passphrase_from_environment(prefix)
    if found is not None:
        return found
    _need_terminal("a new passphrase", prefix)
    first = _usable(getpass.getpass("New passphrase for the vault: "), "the passphrase")
    if getpass.getpass("Once more: ") != first:
        raise UsageError("the two passphrases differ; nothing was changed")
    return first


def ask_kit() -> str:
    """A kit that the person types; UsageError where nobody is there to."""
    if not sys.stdin.isatty():
        raise UsageError(
            "a recovery kit is needed and nobody is here to type one",
            advice="Give it with --kit or MUNIMENT_RECOVERY_KIT, or run this at a terminal.",
        )
    sys.stderr.write("Recovery kit: ")
    sys.stderr.flush()
    return sys.stdin.readline().strip()


def kit_from_environment() -> str | None:
    """The recovery kit in MUNIMENT_RECOVERY_KIT: the code itself, or the path of a file that holds it."""
    return kit_text(os.environ.get("MUNIMENT_RECOVERY_KIT"))


def kit_text(given: str | None) -> str | None:
    """A kit's code, from itself or from a file (also the printable page) that holds it."""
    if not given or given.lstrip().upper().startswith("MUNIK"):
        return given or None
    path = Path(given).expanduser()
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(4 * 1024 * 1024)
    except OSError as error:
        raise UsageError(
            f"{given} is neither a recovery kit nor a file that holds one: {_why(error)}",
            advice="A kit's code begins with MUNIK1; see that it, or the file's name, is whole.",
        ) from None
    for word in text.replace("<", " ").replace(">", " ").replace('"', " ").split():
        if word.upper().startswith("MUNIK"):
            return word
    raise UsageError(f"{given} holds no recovery kit", advice="A kit's code begins with MUNIK1.")


def _why(error: Exception) -> str:
    """What the system said, without its number."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _need_terminal(what: str, prefix: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(
            f"{what} is needed and nobody is here to type one",
            advice=f"Set {prefix}, or the same with _FILE or _COMMAND, or run this at a terminal.",
        )


def _usable(text: str, source: str) -> str:
    """Without the line end that files and commands add."""
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise UsageError(f"{source} is empty")
    return text


def _run(command: str, source: str) -> str:
    try:
        done = subprocess.run(
            shlex.split(command), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=120, check=True
        )
        return done.stdout[:_MOST].decode()
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        # Not the command itself: it may hold a secret.
        raise UsageError(f"{source} gave no passphrase ({type(error).__name__})") from None
