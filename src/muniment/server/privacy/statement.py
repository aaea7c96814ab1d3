"""Reads `statement.toml`: the purposes, categories and periods that columns may refer to."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Statement:
    """Names, and how long periods last; the texts are for whoever renders them."""

    purposes: frozenset[str]
    categories: frozenset[str]
    periods: frozenset[str]
    days: Mapping[str, int]
    """Of the periods that end a number of days after something happened."""


@cache
def read_statement() -> Statement:
    """The statement that ships with this release."""
    text = files("muniment.server.privacy").joinpath("statement.toml").read_text(encoding="utf-8")
    content = tomllib.loads(text)
    return Statement(
        purposes=frozenset(content["purposes"]),
        categories=frozenset(content["categories"]),
        periods=frozenset(content["periods"]),
        days={name: period["days"] for name, period in content["periods"].items() if "days" in period},
    )
