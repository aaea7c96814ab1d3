"""Options that every command of the client takes, wherever on the line they stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from muniment.model.errors import UsageError


@dataclass(slots=True)
class GlobalOptions:
    as_json: bool = False
    vault: str | None = None
    kit: str | None = None
    server: str = ""
    ca_file: str = ""
    insecure: bool = False
    limit_up: int | None = None
    limit_down: int | None = None


_FLAGS = {"--json": "as_json", "--insecure": "insecure"}
_TEXTS = {"--vault": "vault", "--kit": "kit", "--server": "server", "--ca-file": "ca_file"}
_NUMBERS = {"--limit-up": "limit_up", "--limit-down": "limit_down"}

HELP = """\b
Every command takes, before or after its name:
  --json            one JSON object as the result
  --vault ID        another vault than the default one
  --kit KIT         read with a recovery kit, or a file of it
  --server URL      another address of the server
  --ca-file FILE    a private certificate authority
  --insecure        permit plain HTTP to other machines
  --limit-up KIB    KiB per second at most, sent
  --limit-down KIB  likewise, received
"""


def take_global_options(arguments: list[str]) -> tuple[GlobalOptions, list[str]]:
    """The global options anywhere in `arguments` (up to `--`), and what is left; UsageError."""
    options = GlobalOptions()
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
            break
        name, has_value, value = word.partition("=")
        if name in _FLAGS and not has_value:
            setattr(options, _FLAGS[name], True)
        elif name in _TEXTS or name in _NUMBERS:
            if not has_value:
                value = next(words, "")
            if not value:
                raise UsageError(f"{name} needs a value")
            setattr(options, (_TEXTS | _NUMBERS)[name], _value(name, value))
        else:
            rest.append(word)
    return options, rest


def named(path: str) -> str:
    """The path; UsageError where it is empty, which the system would take for the current directory."""
    if not path:
        raise UsageError(
            "an empty path names nothing",
            advice="Maybe a variable in the command line is empty. The current directory is `.`.",
        )
    return path


def _value(name: str, text: str) -> Any:
    if name in _TEXTS:
        return text
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{name} takes a number of KiB per second, not {text!r}") from None
