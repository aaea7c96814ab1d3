"""The posted versions of the statement, for tests that begin with none."""

from __future__ import annotations

from django.db import connection


def forget_versions() -> None:
    """Past the models, which never let a version go."""
    with connection.cursor() as cursor:
        for table in ("changenotice", "acceptance", "progress", "statementversion"):
            cursor.execute(f"DELETE FROM privacy_versions_{table}")
