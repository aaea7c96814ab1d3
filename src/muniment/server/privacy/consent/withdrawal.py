"""What a withdrawal takes away at once: columns that only this consent allowed us to keep."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db import models

from muniment.server.privacy.registry import Erase, Personal


def take_away(account_id: int, *, purpose: str) -> None:
    """Empty every column and delete every row that is kept for this purpose alone."""
    empty_columns(account_id, purpose=purpose)
    delete_rows(account_id, purpose=purpose)


def delete_rows(account_id: int, *, purpose: str) -> int:
    """Delete every row about the account that is there for this purpose alone; returns how many."""
    deleted = 0
    for model in apps.get_models():
        declared = [getattr(field, "privacy", None) for field in model._meta.concrete_fields]
        held = [item for item in declared if isinstance(item, Personal)]
        if held and all(item.purposes == (purpose,) and item.erase is Erase.DELETE for item in held):
            deleted += model._default_manager.filter(**_whose(model, account_id)).delete()[0]
    return deleted


def empty_columns(account_id: int, *, purpose: str) -> int:
    """Empty every column that is kept for this purpose alone; returns how many rows were changed.

    Found by the columns' own declarations, so that a new field cannot be forgotten here.
    """
    changed = 0
    for model in apps.get_models():
        columns = [field for field in model._meta.concrete_fields if _only_for(field, purpose)]
        if columns:
            changed += model._default_manager.filter(**_whose(model, account_id)).update(
                **{field.name: None if field.null else field.get_default() for field in columns}
            )
    return changed


def _whose(model: type[models.Model], account_id: int) -> dict[str, int]:
    path = getattr(model, "subject_path", "")
    return {"pk" if path == "self" else path: account_id}


def _only_for(field: models.Field[Any, Any], purpose: str) -> bool:
    declared = getattr(field, "privacy", None)
    return (
        isinstance(declared, Personal) and declared.purposes == (purpose,) and declared.erase is Erase.CLEAR
    )
