"""Switching off the function that enforces a clause: its tests have to notice.

A function is switched off by giving it other code, so that everybody who holds a reference to it is reached.
What it then does is the most permissive thing it could: `permissive.toml` has a lambda for a clause whose
function must answer something; without one it answers None and raises nothing. The lambda sees the globals
of the function's own module.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from muniment.server.privacy.terms import Clause

_FILE = Path(__file__).with_name("permissive.toml")
NOTHING = "lambda *arguments, **named: None"


def permissive(clause: Clause) -> str:
    """What the clause's function does when it is switched off: the text of a lambda."""
    return tomllib.loads(_FILE.read_text(encoding="utf-8")).get(clause.id, NOTHING)


def switch(function: Callable[..., Any], text: str) -> None:
    """Make the function do what the lambda does. ValueError for one that is made inside another."""
    stub = eval(text, function.__globals__)
    function.__code__ = stub.__code__
    function.__defaults__ = stub.__defaults__
    function.__kwdefaults__ = stub.__kwdefaults__
