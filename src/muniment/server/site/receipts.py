"""`/receipt/…`: the receipt of an erasure, for whoever has its link: there is no account any more."""

from __future__ import annotations

from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from muniment.server.privacy.requests.receipts import NoReceipt, Receipt, find_receipt
from muniment.server.web.context import now


@require_safe
@never_cache
def receipt(request: HttpRequest, ref: UUID, mark: str) -> HttpResponse:
    """As a document that prints on one sheet."""
    found = _found(ref, mark)
    document = found.document
    deleted = sorted(found.erasure.deleted.items()) if found.erasure else []
    tables = [(name, count) for name, count in deleted if ": " not in name]
    context = {
        "asked": found.request,
        "erasure": found.erasure,
        "document": document,
        "now": now(),
        "objects": [(name.partition(": ")[2], count) for name, count in deleted if ": " in name],
        "tables": tables,
        "rows": sum(count for _, count in tables),
    }
    return render(request, "site/receipt.html", context)


@require_safe
@never_cache
def receipt_json(request: HttpRequest, ref: UUID, mark: str) -> HttpResponse:  # noqa: ARG001
    """As `muniment-ledger-verify` reads it."""
    document = _found(ref, mark).document
    if document is None:
        raise Http404
    answer = JsonResponse(document, json_dumps_params={"indent": 1})
    answer.headers["Content-Disposition"] = f'attachment; filename="erasure-receipt-{ref.hex[:8]}.json"'
    return answer


def _found(ref: UUID, mark: str) -> Receipt:
    try:
        return find_receipt(ref, mark)
    except NoReceipt:
        raise Http404 from None
