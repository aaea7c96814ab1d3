"""The first page, the look into a sealed pack, and the editions."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from muniment.server.privacy.consent.cookies import longest_life
from muniment.server.privacy.statement import read_statement
from muniment.server.site.editions import EDITIONS, edition
from muniment.server.site.promises import promises_today
from muniment.server.site.sealed import sample, sample_archive

EDITION_COOKIE = "edition"


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    shown = sample()
    return render(
        request,
        "site/home.html",
        {
            "sample": shown,
            "letter": shown.files[0],
            "rows": list(shown.rows(at=0)),
            "editions": EDITIONS,
            "promises": promises_today(),
        },
    )


# Looking for a word changes nothing, so no token is asked; it is posted so that no word is in an address.
@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def sealed(request: HttpRequest) -> HttpResponse:
    shown = sample()
    at = request.GET.get("at", "")
    offset = int(at) if at.isdecimal() and len(at) < 9 else 0
    word = request.POST.get("word", "")
    return render(
        request,
        "site/sealed.html",
        {
            "sample": shown,
            "rows": list(shown.rows(at=offset)),
            "spots": _places(shown.last_offset, offset),
            "found": shown.look_for(word) if request.method == "POST" else None,
            "counts": shown.byte_counts(),
        },
    )


def _places(last: int, at: int) -> list[tuple[str, int, bool]]:
    """Where one can look: words, offset, whether it is the one shown."""
    places = (("The beginning", 0), ("A quarter in", last // 4), ("The middle", last // 2), ("The end", last))
    return [(words, offset, offset // 16 == at // 16) for words, offset in places]


@require_safe
def sealed_archive(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    answer = HttpResponse(sample_archive(), content_type="application/zip")
    answer.headers["Content-Disposition"] = 'attachment; filename="sealed-sample.zip"'
    return answer


@require_safe
def editions(request: HttpRequest) -> HttpResponse:
    return render(request, "site/editions.html", {"editions": EDITIONS})


@require_safe
def one_edition(request: HttpRequest, name: str) -> HttpResponse:
    found = edition(name)
    if found is None:
        raise Http404
    response = render(request, "site/edition.html", {"edition": found, "editions": EDITIONS})
    # The table of cookies says whether and for how long it stays; without a yes it never leaves here.
    response.set_cookie(
        EDITION_COOKIE,
        name,
        max_age=longest_life(EDITION_COOKIE, read_statement()),
        secure=request.is_secure(),
        httponly=True,
        samesite="Lax",
    )
    return response
