"""`/transparency`: what was asked of us by authorities, what we gave, and what we could not give."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from muniment.server.privacy.disclosures.transparency import CANNOT_GIVE, read_transparency


@require_safe
def transparency(request: HttpRequest) -> HttpResponse:
    return render(
        request, "site/transparency.html", {"report": read_transparency(), "cannot_give": CANNOT_GIVE}
    )


@require_safe
def transparency_json(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    return JsonResponse(read_transparency().document(), json_dumps_params={"indent": 1})
