"""Countries by their ISO 3166 codes, in the order of their names."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

EUROPEAN_UNION = frozenset(
    [
        "AT",
        "BE",
        "BG",
        "CY",
        "CZ",
        "DE",
        "DK",
        "EE",
        "ES",
        "FI",
        "FR",
        "GR",
        "HR",
        "HU",
        "IE",
        "IT",
        "LT",
        "LU",
        "LV",
        "MT",
        "NL",
        "PL",
        "PT",
        "RO",
        "SE",
        "SI",
        "SK",
    ]
)


@cache
def country_names() -> dict[str, str]:
    """Name by code. Source: `iso3166.tab` of the time zone database, public domain."""
    text = files("muniment.server.accounts").joinpath("countries.tsv").read_text(encoding="utf-8")
    return dict(line.split("\t") for line in text.splitlines())
