"""What a withdrawal takes away at once: columns that only this consent allowed us to keep."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db import models

from muniment.server.privacy.registry import Erase, Personal


def empty_columns(account_id: int, *, purpose: str) -> int:
    """Empty every column that is kept for this purpose alone; returns how many rows were changed.

    Found by the columns' own declarations, so that a new field cannot be forgotten here.
    """
    changed = 0
    for model in apps.get_models():
        columns = [field for field in model._meta.concrete_fields if _only_for(field, purpose)]
        if columns:
            path = getattr(model, "subject_path", "")
            whose = {"pk" if path == "self" else path: account_id}
            changed += model._default_manager.filter(**whose).update(
                **{field.name: None if field.null else field.get_default() for field in columns}
            )
    return changed


def _only_for(field: models.Field[Any, Any], purpose: str) -> bool:
    declared = getattr(field, "privacy", None)
    return (
        isinstance(declared, Personal) and declared.purposes == (purpose,) and declared.erase is Erase.CLEAR
    )
