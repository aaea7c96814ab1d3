"""`/requests`: what people ask about their own data, a copy of it, and Delete Account."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from muniment.server.portal.access import freshly_sent_from, freshly_signed_in, owner_of, signed_in
from muniment.server.privacy.requests.asking import ask, change_mind, take_export, waiting_erasure
from muniment.server.privacy.requests.lifting import NoSuchRestriction, lift
from muniment.server.privacy.requests.machine import NoSuchRequest, TooLate, requests_of
from muniment.server.privacy.requests.models import Kind
from muniment.server.privacy.requests.objecting import objectable, restrictions_of
from muniment.server.privacy.requests.receipts import receipt_path
from muniment.server.web.context import deployment, now


@require_safe
@signed_in
def show(request: HttpRequest) -> HttpResponse:
    account = owner_of(request)
    restrictions = restrictions_of(account)
    context = {
        "requests": requests_of(account),
        "erasure": waiting_erasure(account),
        "purposes": objectable(),
        "restrictions": restrictions,
        "objected": {row.purpose for row, _ in restrictions},
        "now": now(),
    }
    return render(request, "portal/requests.html", context)


@require_POST
@freshly_sent_from("take_copy")
def export(request: HttpRequest) -> HttpResponseBase:
    """The copy, written while it is sent."""
    answer = StreamingHttpResponse(
        take_export(deployment(), owner_of(request)), content_type="application/zip"
    )
    answer.headers["Content-Disposition"] = 'attachment; filename="everything-about-me.zip"'
    return answer


@freshly_signed_in
@require_safe
def take_copy(request: HttpRequest) -> HttpResponse:
    """A page with a button, because a link that downloads could be followed by anything."""
    return render(request, "portal/take_copy.html")


@require_POST
@signed_in
def object_to(request: HttpRequest) -> HttpResponse:
    purpose = request.POST.get("purpose", "")
    if purpose and purpose not in {item.name for item in objectable()}:
        return HttpResponse(status=400)
    kind = Kind.OBJECT if purpose else Kind.RESTRICT
    ask(deployment(), owner_of(request), kind, details={"purpose": purpose} if purpose else None)
    messages.success(request, "Done. It holds from now on.", extra_tags="good")
    return redirect("requests")


@require_POST
@freshly_sent_from("requests")
def allow_again(request: HttpRequest) -> HttpResponse:
    """As guarded as taking back: a stolen session must not open what its owner had stopped."""
    try:
        lift(owner_of(request), request.POST.get("purpose", ""), now=now())
    except NoSuchRestriction:
        raise Http404 from None
    messages.success(request, "Done. It is allowed again.", extra_tags="good")
    return redirect("requests")


@require_http_methods(["GET", "HEAD", "POST"])
@freshly_signed_in
def delete_account(request: HttpRequest) -> HttpResponse:
    account = owner_of(request)
    if request.method == "POST":
        ask(deployment(), account, Kind.ERASE)
        return HttpResponseRedirect("/requests")
    return render(request, "portal/delete_account.html", {"erasure": waiting_erasure(account)})


@require_POST
@freshly_sent_from("requests")
def take_back(request: HttpRequest, ref: UUID) -> HttpResponse:
    """As guarded as asking: whoever has a stolen session would keep what its owner wants gone."""
    try:
        change_mind(deployment(), owner_of(request), ref)
    except NoSuchRequest:
        raise Http404 from None
    except TooLate:
        messages.error(request, "It runs already and cannot be taken back.", extra_tags="bad")
    else:
        messages.success(request, "Taken back. Nothing was deleted.", extra_tags="good")
    return redirect("requests")


@require_safe
@signed_in
def receipt_link(request: HttpRequest, ref: UUID) -> HttpResponse:
    """Where the receipt will be: shown before the account is gone, so that its owner can keep the link."""
    if ref not in {one.ref for one in requests_of(owner_of(request)) if one.kind == Kind.ERASE}:
        raise Http404
    return HttpResponseRedirect(receipt_path(ref))
