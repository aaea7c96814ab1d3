"""Static files, and the choice between light and dark."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotModified, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from muniment.server.web.appearance import COOKIE, LIFE_SECONDS, Appearance
from muniment.server.web.assets import UnknownAsset, hashed_asset
from muniment.server.web.requests import is_from_our_own_page

_FOR_EVER = "public, max-age=31536000, immutable"


@require_safe
def static_file(request: HttpRequest, name: str) -> HttpResponse:
    try:
        found = hashed_asset(name)
    except UnknownAsset:
        raise Http404 from None
    etag = f'"{found.hashed_name}"'
    if request.headers.get("If-None-Match") == etag:
        return HttpResponseNotModified()
    answer = HttpResponse(found.content, content_type=found.content_type)
    if found.gzipped is not None:
        answer.headers["Vary"] = "Accept-Encoding"
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            answer.content = found.gzipped
            answer.headers["Content-Encoding"] = "gzip"
    answer.headers["Cache-Control"] = _FOR_EVER
    answer.headers["ETag"] = etag
    return answer


# No token is needed, and no cookie for one: nothing but a colour depends on it, and other sites are refused.
@csrf_exempt
@require_POST
def choose_appearance(request: HttpRequest) -> HttpResponse:
    """Keep light or dark in a cookie, or forget the choice; back to the page it was made on."""
    if not is_from_our_own_page(request):
        return HttpResponse(status=403)
    answer = HttpResponseRedirect(back(request))
    chosen = Appearance.of(request.POST.get("appearance", ""))
    if chosen is Appearance.AUTOMATIC:
        answer.delete_cookie(COOKIE, samesite="Lax")
    else:
        answer.set_cookie(
            COOKIE,
            chosen.value,
            max_age=LIFE_SECONDS,
            secure=request.is_secure(),
            httponly=True,
            samesite="Lax",
        )
    return answer


def back(request: HttpRequest) -> str:
    """The path that the form named, when it is one of ours."""
    path = request.POST.get("next", "")
    if path.startswith("/") and url_has_allowed_host_and_scheme(path, allowed_hosts=None):
        return urlsplit(path)._replace(scheme="", netloc="").geturl()
    return "/"
