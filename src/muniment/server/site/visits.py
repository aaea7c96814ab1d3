"""`/visit`: what the one beacon of ours asks for. The answer is the same whether or not it counted."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import get_resolver
from django.views.decorators.http import require_safe

from muniment.server.privacy.consent.beacons import VISIT, count_visit
from muniment.server.web.choices import may_fire_here, subject_of
from muniment.server.web.context import now


@require_safe
def visit(request: HttpRequest) -> HttpResponse:
    """Counts a visit of the page named, where whoever asks agreed to be counted."""
    page = request.GET.get("page", "")
    if may_fire_here(request, VISIT) and page in get_resolver().reverse_dict:
        count_visit(subject_of(request), page, now=now())
    return HttpResponse(status=204)
