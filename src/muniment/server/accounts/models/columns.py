"""How the columns of accounts are declared."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import models

from muniment.server.privacy.registry import Erase, personal, public

F = TypeVar("F", bound="models.Field[Any, Any]")


def row_id() -> models.BigAutoField[Any, Any]:
    return public(
        models.BigAutoField(primary_key=True), why="a row number, meaningless outside this database"
    )


def held(field: F, *, category: str, purposes: tuple[str, ...], keep: str = "account") -> F:
    """Personal, and gone with its row."""
    return personal(field, category=category, purposes=purposes, keep=keep, erase=Erase.DELETE)


def contact(field: F, *, purposes: tuple[str, ...] = ("sign_in",)) -> F:
    return held(field, category="contact", purposes=purposes)


def credential(field: F, *, purposes: tuple[str, ...] = ("sign_in",), keep: str = "account") -> F:
    return held(field, category="credential", purposes=purposes, keep=keep)


def activity(field: F, *, keep: str = "account", purposes: tuple[str, ...] = ("security",)) -> F:
    return held(field, category="activity", purposes=purposes, keep=keep)


def device(field: F, *, keep: str = "account", purposes: tuple[str, ...] = ("backup",)) -> F:
    return held(field, category="device", purposes=purposes, keep=keep)


def told(field: F) -> F:
    """What a contract may need: of a business required, of a person not."""
    return held(field, category="profile", purposes=("contract",))


def optional(field: F) -> F:
    """What a person tells us only if they like; taking that back empties it."""
    return personal(field, category="profile", purposes=("demographics",), keep="account", erase=Erase.CLEAR)
