"""Whether the service can do its work: the database answers, the store would take a write."""

from __future__ import annotations

from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from muniment.server.store.port import StorageFailed, StorageFull
from muniment.server.web.context import NotDeployed, deployment


def healthz(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    """200 while both parts work, otherwise 503; says which part, nothing more."""
    parts = {"database": _database_answers(), "store": _store_takes_writes()}
    well = all(parts.values())
    return JsonResponse({"ok": well, **parts}, status=200 if well else 503)


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM vaults_vault LIMIT 1")
    except DatabaseError:
        return False
    return True


def _store_takes_writes() -> bool:
    try:
        deployment().objects.probe()
    except (StorageFull, StorageFailed, NotDeployed):
        return False
    return True
