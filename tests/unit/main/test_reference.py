"""The reference names every command and every option there is, and no option that is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from muniment.client.cli.options import HELP
from muniment.main.cli import COMMANDS, app

PAGE = (Path(__file__).parents[3] / "docs/reference/cli.md").read_text(encoding="utf-8")
GENERAL = PAGE.partition("## On the server")[0]
OPTION = re.compile(r"(?<![\w-])(?:--[a-z][a-z-]+|-[A-Za-z]\b)")
OF_EVERY_COMMAND = {"--help", "--install-completion", "--show-completion", "--version"}


def commands_under(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """(words after `muniment`, command) of everything that can be called."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name in command.commands:
        yield from commands_under(command.commands[name], f"{path} {name}")


ROOT: Any = typer.main.get_command(app)
CALLABLE = dict(found for name in COMMANDS for found in commands_under(ROOT.get_command(None, name), name))


def options_of(command: Any) -> list[set[str]]:
    """The names of each option that its help shows."""
    shown = [option for option in command.params if not getattr(option, "hidden", False)]
    named = [{name for name in option.opts if name.startswith("-")} for option in shown]
    return [names for names in named if names and not names <= OF_EVERY_COMMAND]


@pytest.mark.parametrize("path", CALLABLE)
def test_the_reference_names_it(path: str) -> None:
    group, *names = path.split(" ")
    entries = [entry for entry in PAGE.split("\n\n") if f"`muniment {group}" in entry]
    assert entries, f"muniment {path} is not in the reference"
    text = "\n".join(entries)
    assert all(name in text for name in names), f"muniment {path} is not in the reference"
    named = set(OPTION.findall(text + GENERAL))
    assert [option for option in options_of(CALLABLE[path]) if not option & named] == []


def test_the_reference_names_no_option_that_is_not() -> None:
    shown = [names for command in CALLABLE.values() for names in options_of(command)]
    known = set(OPTION.findall(HELP)).union(*shown)
    assert set(OPTION.findall(PAGE)) - known == set()
