"""`/console/recipients`: whom personal data may go to, whose contract ends, and what went to whom."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from muniment.server.console.access import staff_only
from muniment.server.privacy.gate.overview import read_overview
from muniment.server.web.context import now


@require_safe
@staff_only
def recipients(request: HttpRequest) -> HttpResponse:
    return render(request, "console/recipients.html", {"seen": read_overview(now=now())})
