"""What a person's browser asks for by itself, without a word said on any page."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Signals:
    """`gpc`: Global Privacy Control, "do not sell or share what concerns me" (`Sec-GPC: 1`)."""

    gpc: bool = False


NONE = Signals()
