"""A person's row, held first by whoever changes what is kept about them and then writes to the ledger.

SQLite has one writer and needs none of it. In PostgreSQL two transactions about one person would else take
the person's other rows and the ledger's last one in either order, and wait for each other.
"""

from __future__ import annotations

from django.contrib.auth import get_user_model
from django.db import connection


def hold_person(account_id: int) -> None:
    """Only inside `writing()`, before any other row about the person. Rows that refer to it need not wait."""
    if connection.features.has_select_for_update:
        people = get_user_model()._default_manager.select_for_update(no_key=True)
        list(people.filter(pk=account_id).values_list("pk"))
