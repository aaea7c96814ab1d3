"""How the account's owner signs in, where they are signed in, and what happened."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from muniment.server.accounts import recovery, web_sessions
from muniment.server.accounts.factors import factors_of
from muniment.server.accounts.forms import PasswordForm
from muniment.server.accounts.security_log import recent_events
from muniment.server.accounts.visiting import visit_of
from muniment.server.accounts.web_sessions import NoSuchSession
from muniment.server.portal import telling
from muniment.server.portal.access import freshly_signed_in, owner_of, signed_in
from muniment.server.web.context import now


@require_safe
@signed_in
def show(request: HttpRequest) -> HttpResponse:
    account = owner_of(request)
    context = {
        "factors": factors_of(account),
        "sessions": web_sessions.open_sessions(account, current_key=request.session.session_key, now=now()),
        "events": [(event, telling.way(event.method)) for event in recent_events(account)],
    }
    return render(request, "portal/security.html", context)


@require_safe
@signed_in
def passkeys(request: HttpRequest) -> HttpResponse:  # noqa: ARG001
    """allauth's name for the list, which is a part of our page."""
    return redirect("mfa_index")


@require_http_methods(["GET", "HEAD", "POST"])
@freshly_signed_in
def password(request: HttpRequest) -> HttpResponse:
    account = owner_of(request)
    form = PasswordForm(request.POST or None, account=account)
    if request.method == "POST":
        form.refuse_others(request.POST)
    if not form.is_valid():
        return render(request, "portal/password.html", {"form": form}, status=422 if form.errors else 200)
    recovery.change_password(account, form.cleaned_data["password"], visit=visit_of(request), now=now())
    update_session_auth_hash(request, account)
    messages.success(
        request, "Your password is changed. Every other browser is signed out.", extra_tags="good"
    )
    return redirect("mfa_index")


@require_POST
@signed_in
def end_one(request: HttpRequest, ref: UUID) -> HttpResponse:
    try:
        web_sessions.end_session(owner_of(request), ref, visit=visit_of(request), now=now())
    except NoSuchSession:
        raise Http404 from None
    return redirect("mfa_index")


@require_POST
@signed_in
def end_others(request: HttpRequest) -> HttpResponse:
    web_sessions.end_other_sessions(
        owner_of(request), current_key=request.session.session_key, visit=visit_of(request), now=now()
    )
    return redirect("mfa_index")
