"""Whether the service can do its work: the database answers, the store would take a write."""

from __future__ import annotations

from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from muniment.server.jobs.standing import any_overdue
from muniment.server.jobs.timetable import TIMETABLE
from muniment.server.store.port import StorageFailed, StorageFull
from muniment.server.web.context import NotDeployed, deployment, now


def healthz(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    """200 while both parts work, otherwise 503; says which part, and whether timed work is late.

    Late work alone is no 503: a proxy would take away a server that serves.
    """
    parts = {"database": _database_answers(), "store": _store_takes_writes()}
    well = all(parts.values())
    return JsonResponse({"ok": well, **parts, "jobs": _jobs_are_in_time()}, status=200 if well else 503)


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM vaults_vault LIMIT 1")
    except DatabaseError:
        return False
    return True


def _jobs_are_in_time() -> bool:
    try:
        return not any_overdue(TIMETABLE, now=now())
    except (DatabaseError, NotDeployed):
        return False


def _store_takes_writes() -> bool:
    try:
        deployment().objects.probe()
    except (StorageFull, StorageFailed, NotDeployed):
        return False
    return True
