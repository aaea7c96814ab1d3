"""How the columns of vaults are declared: nearly all are opaque to us, yet belong to a person's vault."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db import models

from muniment.server.privacy.registry import Erase, personal, public

F = TypeVar("F", bound="models.Field[Any, Any]")


def row_id() -> models.BigAutoField[Any, Any]:
    return public(
        models.BigAutoField(primary_key=True), why="a row number, meaningless outside this database"
    )


def sealed(field: F) -> F:
    """Opaque ids, padded sizes, object keys: of the owner's vault, and gone with it."""
    return personal(field, category="vault", purposes=("backup",), keep="vault", erase=Erase.DELETE)


def metered(field: F) -> F:
    return personal(field, category="vault", purposes=("metering",), keep="vault", erase=Erase.DELETE)


def activity(field: F, *, keep: str = "vault") -> F:
    """What a device did and when; shown to the owner."""
    return personal(
        field, category="activity", purposes=("backup", "security"), keep=keep, erase=Erase.DELETE
    )


def credential(field: F, *, keep: str = "vault") -> F:
    return personal(field, category="credential", purposes=("sign_in",), keep=keep, erase=Erase.DELETE)


def described(field: F, *, keep: str = "vault") -> F:
    """Of a device: its name or the version of our program it runs."""
    return personal(field, category="device", purposes=("backup", "security"), keep=keep, erase=Erase.DELETE)
