"""`/ledger/…`: what anybody may fetch to check the ledger without us."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from muniment.server.privacy.ledger.publication import (
    MOST_AT_ONCE,
    NoEntry,
    NotInTree,
    checkpoint_of,
    consistency_document,
    export_lines,
    inclusion_document,
)
from muniment.server.privacy.ledger.tree import public_key
from muniment.server.web.numbers import number_in

_TEXT = "text/plain; charset=utf-8"
_LINES = "application/x-ndjson"


@require_safe
def ledger_key(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    return HttpResponse(f"{public_key()}\n", content_type=_TEXT)


@require_safe
def ledger_checkpoint(request: HttpRequest) -> HttpResponse:
    """The newest signed checkpoint, or with `size` one that was kept; 404 where there is none."""
    size = number_in(request, "size")
    if size is None and "size" in request.GET:
        return HttpResponse(status=400)
    try:
        return HttpResponse(checkpoint_of(size), content_type=_TEXT)
    except NoEntry:
        return HttpResponse("nothing is signed for that size\n", content_type=_TEXT, status=404)


@require_safe
def ledger_entries(request: HttpRequest) -> HttpResponse:
    """Leaves from `start` on, at most `count`, one JSON object a line."""
    start, count = number_in(request, "start", 0), number_in(request, "count", MOST_AT_ONCE)
    if start is None or count is None:
        return HttpResponse(status=400)
    lines = export_lines(start=start, count=min(count, MOST_AT_ONCE))
    # Read to its end before a byte is sent: a slow reader must not keep the database from writing.
    return HttpResponse(b"".join(lines), content_type=_LINES)


@require_safe
def ledger_proof(request: HttpRequest) -> HttpResponse:
    """`index=N`: leaf N is in the ledger. `since=N`: the ledger continues that of N leaves."""
    proofs: dict[str, Callable[[int], dict[str, object]]] = {
        "index": inclusion_document,
        "since": consistency_document,
    }
    asked = [name for name in proofs if name in request.GET]
    number = number_in(request, asked[0]) if len(asked) == 1 else None
    if number is None:
        return JsonResponse({"error": "ask for index=N or since=N"}, status=400)
    try:
        return JsonResponse(proofs[asked[0]](number))
    except NotInTree as error:
        return JsonResponse({"error": str(error), "size": error.size}, status=404)
