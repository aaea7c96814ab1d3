"""Which passwords are refused: those that others lost already, and those that a guesser tries early.

Two offline lists, no network: Django's (from breach compilations) and zxcvbn's, which also knows names, words
and keyboard walks and estimates how many guesses a password stands. See docs/decisions.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.password_validation import CommonPasswordValidator
from django.core.exceptions import ValidationError
from zxcvbn import zxcvbn

GUESSES = 10**8
_LOOKED_AT = 72
"""Characters that zxcvbn is given: its time grows fast with length, and longer ones are not guessed."""


class BreachedPasswordValidator:
    """One of `AUTH_PASSWORD_VALIDATORS`."""

    def __init__(self) -> None:
        self._common = CommonPasswordValidator()

    def validate(self, password: str, user: Any = None) -> None:
        """Raises ValidationError with words for the person who chose it."""
        try:
            self._common.validate(password, user)
        except ValidationError:
            raise _refused("This password is on lists of stolen passwords.") from None
        known = [str(getattr(user, name, "") or "") for name in ("email",)]
        found = zxcvbn(password[:_LOOKED_AT], user_inputs=[word for word in known if word])
        if float(found["guesses"]) < GUESSES:
            raise _refused("This password would be guessed early.")

    def get_help_text(self) -> str:
        return "Ten characters or more. Three or four words that nobody would put together are good."


def _refused(reason: str) -> ValidationError:
    return ValidationError(f"{reason} Take one that you use nowhere else.", code="password_breached")
