"""Light or dark: as the person's machine has it, unless the person chose here."""

from __future__ import annotations

from enum import Enum

COOKIE = "appearance"
LIFE_SECONDS = 365 * 24 * 3600


class Appearance(Enum):
    AUTOMATIC = "automatic"
    LIGHT = "light"
    DARK = "dark"

    @classmethod
    def of(cls, text: str) -> Appearance:
        """The choice called `text`; whatever else it may be, as the machine has it."""
        return next((one for one in cls if one.value == text), cls.AUTOMATIC)
