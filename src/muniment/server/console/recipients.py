"""`/console/recipients`: whom personal data may go to, whose contract ends, and what went to whom."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_POST, require_safe

from muniment.server.console.access import staff_only
from muniment.server.privacy.gate.overview import read_overview
from muniment.server.privacy.named_sharing import NotNameable, fetch_named
from muniment.server.web.context import deployment, now


@require_safe
@staff_only
def recipients(request: HttpRequest) -> HttpResponse:
    return render(request, "console/recipients.html", {"seen": read_overview(now=now())})


@require_POST
@staff_only
def fetch_file(request: HttpRequest, name: str) -> HttpResponseBase:  # noqa: ARG001
    """What people had us send to this recipient, as a download: one JSON object a line and a person."""
    try:
        lines = fetch_named(deployment(), name)
    except NotNameable:
        raise Http404 from None
    answer = StreamingHttpResponse(lines, content_type="application/x-ndjson")
    answer.headers["Content-Disposition"] = f'attachment; filename="named-{name}.ndjson"'
    return answer
