"""Numbers in addresses: what visitors wrote there, which may be anything."""

from __future__ import annotations

from django.http import HttpRequest

_MOST_DIGITS = 18
"""What a column of any database holds: more digits are no number that we ever gave out."""


def number_in(request: HttpRequest, name: str, otherwise: int | None = None) -> int | None:
    """The number that the address gives; None where it gives something else."""
    text = request.GET.get(name)
    if text is None:
        return otherwise
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None
