"""`/console/requests`: what people asked about their data, what it waits for, and letters that came."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from muniment.server.accounts.forms import EmailForm
from muniment.server.accounts.profile import DETAILS
from muniment.server.console.access import staff_only
from muniment.server.portal.access import owner_of
from muniment.server.privacy.requests import queue
from muniment.server.privacy.requests.machine import NoSuchRequest
from muniment.server.privacy.requests.models import Kind
from muniment.server.privacy.requests.queue import NotForStaff, OwnLetter
from muniment.server.privacy.staff import ReasonMissing
from muniment.server.site.asking import AskForm
from muniment.server.web.context import now
from muniment.server.web.numbers import number_in


class LetterForm(AskForm):
    """What a letter asks, and the day it came: the clock runs from there."""

    email = forms.EmailField(
        label="E-mail address of the sender",
        required=False,
        help_text="Then a link goes there. Without one nobody can vouch for it, unless it is about what is "
        "public.",
    )
    received = forms.DateField(label="Came on", widget=forms.DateInput(attrs={"type": "date"}))


@require_http_methods(["GET", "HEAD", "POST"])
@staff_only
def requests(request: HttpRequest) -> HttpResponse:
    form = LetterForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        try:
            queue.enter_post(
                Kind(said["kind"]), email=said["email"], received=said["received"], details=said["details"],
                by=owner_of(request), now=now(),
            )  # fmt: skip
        except ValueError as error:
            form.add_error("received", str(error).capitalize() + ".")
        else:
            messages.success(request, "Entered. The ten days run from the day it came.", extra_tags="good")
            return redirect("console_requests")
    return _page(request, form, status=422 if form.errors else 200)


@require_POST
@staff_only
def read(request: HttpRequest, ref: UUID) -> HttpResponse:
    """The queue, with what this one says."""
    try:
        letter = queue.read_letter(ref, reason=request.POST.get("reason", ""), now=now())
    except NoSuchRequest:
        raise Http404 from None
    except ReasonMissing as error:
        messages.error(request, f"{error}.".capitalize(), extra_tags="bad")
        return _page(request, LetterForm(), status=422)
    return _page(request, LetterForm(), letter=letter, of=ref)


@require_POST
@staff_only
def name(request: HttpRequest, ref: UUID) -> HttpResponse:
    form = EmailForm(request.POST)
    if not form.is_valid():
        messages.error(request, "That is no e-mail address.", extra_tags="bad")
        return redirect("console_requests")
    email, by = form.cleaned_data["email"], owner_of(request)
    return _acted(
        request,
        lambda: queue.name_sender(ref, email=email, by=by, now=now()),
        "A link goes there. Somebody else can compare the letter, too.",
    )


@require_POST
@staff_only
def vouch(request: HttpRequest, ref: UUID) -> HttpResponse:
    by = owner_of(request)
    return _acted(
        request, lambda: queue.vouch_for(ref, by=by, now=now()), "It is known whom the letter is from."
    )


@require_POST
@staff_only
def done(request: HttpRequest, ref: UUID) -> HttpResponse:
    detail = request.POST.get("detail", "")
    changes = {detail: request.POST.get("value", "")} if detail else {}
    by = owner_of(request)
    return _acted(request, lambda: queue.carry_out(ref, changes=changes, by=by, now=now()), "Done, and told.")


@require_POST
@staff_only
def refuse(request: HttpRequest, ref: UUID) -> HttpResponse:
    reason = request.POST.get("reason", "")
    by = owner_of(request)
    return _acted(
        request, lambda: queue.turn_down(ref, reason=reason, by=by, now=now()), "Refused, and told why."
    )


def _page(request: HttpRequest, form: LetterForm, *, status: int = 200, **read: object) -> HttpResponse:
    at = now()
    context = {
        "waiting": queue.queue(now=at, page=number_in(request, "page") or 1),
        "unverified": queue.unverified(now=at, page=number_in(request, "unverified") or 1),
        "answered": queue.answered(now=at), "me": owner_of(request).pk,
        "form": form, "columns": DETAILS, "now": at, **read,
    }  # fmt: skip
    return render(request, "console/requests.html", context, status=status)


def _acted(request: HttpRequest, act: Callable[[], None], words: str) -> HttpResponse:
    try:
        act()
    except NoSuchRequest:
        raise Http404 from None
    except NotForStaff:
        messages.error(request, "That is not for staff to decide.", extra_tags="bad")
    except OwnLetter:
        messages.error(request, "You entered it. Somebody else has to compare it.", extra_tags="bad")
    except ValueError as error:
        messages.error(request, str(error).capitalize() + ".", extra_tags="bad")
    else:
        messages.success(request, words, extra_tags="good")
    return redirect("console_requests")
