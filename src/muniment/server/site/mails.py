"""`/unsubscribe/…`, for mail that somebody wants no more of; `/mailbox`, where there is no mail server."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from muniment.server.mail.mailbox import newest_mails
from muniment.server.mail.suppression import LinkUnknown, check_link, opt_out
from muniment.server.web.context import deployment, now
from muniment.server.web.requests import is_passed_on


# Mail programs send this POST by themselves, with no cookie (RFC 8058). It can only ever stop mail.
@csrf_exempt
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """Looking changes nothing; the button, or the mail program, opts out at once."""
    try:
        if request.method == "POST":
            opt_out(token, now=now())
        else:
            check_link(token)
    except LinkUnknown:
        raise Http404 from None
    return render(request, "site/unsubscribe.html", {"done": request.method == "POST"})


@require_safe
@never_cache
def mailbox(request: HttpRequest) -> HttpResponse:
    """Every mail that would have been sent. Only on a loopback address, and only without a mail server.

    What a proxy passes on comes from a loopback address too.
    """
    if not deployment().config.shows_mailbox or is_passed_on(request):
        raise Http404
    return render(request, "site/mailbox.html", {"mails": newest_mails(to=request.GET.get("to", ""))})
