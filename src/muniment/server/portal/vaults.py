"""Overview, devices and confirmations: what an owner sees and decides about machines and vaults."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from muniment.server.accounts.invitations import invite_device
from muniment.server.mail.bounces import comes_back_since
from muniment.server.portal import telling
from muniment.server.portal.access import freshly_sent_from, freshly_signed_in, owner_of, signed_in
from muniment.server.portal.calendar import calendar_of
from muniment.server.portal.statement import statement_rows
from muniment.server.privacy.requests.asking import erasure_time
from muniment.server.refusals import Refusal
from muniment.server.vaults.confirmations import NotPending, Owner, confirm, pending_of, refuse
from muniment.server.vaults.events import events_of, operator_acts
from muniment.server.vaults.overview import machines_of, overview_of
from muniment.server.vaults.revoking import NoSuchDevice, revoke_own_device
from muniment.server.web.context import deployment, now

_EVENTS = 50


@require_safe
@signed_in
def overview(request: HttpRequest) -> HttpResponse:
    account, at = owner_of(request), now()
    seen = overview_of(account.pk, now=at)
    context = {
        "verdict": telling.verdict(seen.machines, now=at),
        "rows": [telling.row_of(machine, now=at) for machine in seen.machines],
        "calendar": calendar_of(seen.days),
        "days": [day for day in reversed(seen.days) if day.snapshots or day.state.value == "failed"],
        "used": telling.size(seen.used),
        "allowance": telling.size(seen.allowance),
        "has_vault": bool(seen.allowance),
        "waiting": len(pending_of(deployment(), account.pk)),
        "erasure_at": erasure_time(account),
        "comes_back": comes_back_since(account.email, now=at),
        "statement": statement_rows(),
    }
    return render(request, "portal/overview.html", context)


@require_safe
@signed_in
def devices(request: HttpRequest) -> HttpResponse:
    account, at = owner_of(request), now()
    events = [telling.event_line(one) for one in events_of(account.pk, since=None, limit=_EVENTS)]
    context = {
        "rows": [telling.row_of(machine, now=at) for machine in machines_of(account.pk, now=at)],
        "events": events,
        "has_names": any(event.vault for event in events),
    }
    return render(request, "portal/devices.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@freshly_signed_in
def device_code(request: HttpRequest) -> HttpResponse:
    """A code for a further device; shown in the answer to the POST, and never again."""
    if request.method != "POST":
        return render(request, "portal/device_code.html")
    account = owner_of(request)
    try:
        invitation = invite_device(deployment(), account, new_vault=not machines_of(account.pk, now=now()))
    except Refusal as refusal:
        return render(request, "portal/device_code.html", {"refusal": str(refusal)}, status=429)
    context = {"invitation": invitation, "server": deployment().url}
    return render(request, "portal/device_code.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@freshly_signed_in
def revoke_device(request: HttpRequest, ref: UUID) -> HttpResponse:
    account = owner_of(request)
    machine = next((one for one in machines_of(account.pk, now=now()) if one.ref == ref), None)
    if machine is None:
        raise Http404
    if request.method != "POST":
        return render(request, "portal/revoke_device.html", {"machine": machine})
    try:
        revoke_own_device(account.pk, ref, now=now())
    except NoSuchDevice:
        raise Http404 from None
    messages.success(request, f"{machine.name} is revoked: it gets in no more.", extra_tags="good")
    return redirect("devices")


@require_safe
@signed_in
def confirmations(request: HttpRequest) -> HttpResponse:
    account = owner_of(request)
    context = {
        "requests": pending_of(deployment(), account.pk),
        "acts": [telling.event_line(one) for one in operator_acts(account.pk, limit=_EVENTS)],
    }
    return render(request, "portal/confirmations.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
@freshly_signed_in
def confirm_request(request: HttpRequest, ref: UUID) -> HttpResponse:
    account = owner_of(request)
    waiting = next((one for one in pending_of(deployment(), account.pk) if one.request == ref), None)
    if waiting is None:
        raise Http404
    if request.method != "POST":
        return render(request, "portal/confirm_request.html", {"waiting": waiting})
    try:
        confirm(deployment(), ref, by=Owner(account.pk))
    except NotPending:
        raise Http404 from None
    except Refusal as refusal:
        messages.error(request, f"That is not possible: {refusal}.", extra_tags="bad")
    return redirect("confirmations")


@require_POST
@freshly_sent_from("confirmations")
def refuse_request(request: HttpRequest, ref: UUID) -> HttpResponse:
    """As guarded as confirming: whoever has a stolen session would keep the device or key that is to go."""
    try:
        refuse(deployment(), ref, by=Owner(owner_of(request).pk))
    except NotPending:
        raise Http404 from None
    return redirect("confirmations")
