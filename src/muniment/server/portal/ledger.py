"""`/ledger`: what is recorded about the person signed in, with the proof; to others, what the ledger is."""

from __future__ import annotations

import json

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from muniment.server.portal.access import owner_of, signed_in
from muniment.server.privacy.ledger.entries import bundle_of, entries_of
from muniment.server.privacy.ledger.restored import restorations
from muniment.server.privacy.ledger.tree import public_key, read_head
from muniment.server.privacy.statement import read_statement
from muniment.server.web.numbers import number_in

_ON_A_PAGE = 50


@require_safe
def ledger(request: HttpRequest) -> HttpResponse:
    """One's own entries, newest first; `before` continues them."""
    head = read_head()
    context = {
        "size": head.frontier.size,
        "checkpoint": head.note,
        "key": str(public_key()),
        "restorations": restorations(),
    }
    if not request.user.is_authenticated:
        return render(request, "portal/ledger_public.html", context)
    entries = entries_of(owner_of(request), before=number_in(request, "before"), limit=_ON_A_PAGE + 1)
    shown, clauses = entries[:_ON_A_PAGE], read_statement().clauses
    context |= {
        "entries": [(entry, clauses.get(entry.leaf.clause)) for entry in shown],
        "more_before": shown[-1].index if len(entries) > _ON_A_PAGE else None,
    }
    return render(request, "portal/ledger.html", context)


@require_safe
@signed_in
def ledger_bundle(request: HttpRequest) -> HttpResponse:
    """All of one's own entries with their proofs, as one JSON document that verifies offline."""
    bundle = bundle_of(entries_of(owner_of(request)))
    answer = HttpResponse(json.dumps(bundle, indent=1, ensure_ascii=False), content_type="application/json")
    answer.headers["Content-Disposition"] = 'attachment; filename="muniment-ledger.json"'
    return answer
