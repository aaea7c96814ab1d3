"""`/console/succession`: a buyer of the service, announced, waited for, and handed over to."""

from __future__ import annotations

from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from muniment.server.accounts.countries import country_names
from muniment.server.console.access import staff_only
from muniment.server.portal.access import owner_of
from muniment.server.privacy.succession import handing_over
from muniment.server.privacy.succession.overview import read_successions
from muniment.server.web.context import deployment, now


def is_country(code: str) -> None:
    if code not in country_names():
        raise ValidationError("No country has these letters.")


class BuyerForm(forms.Form):
    buyer = forms.CharField(label="Who takes the service over", max_length=200)
    country = forms.RegexField(
        r"^[A-Z]{2}$", label="Their country", max_length=2, help_text="Two capital letters, such as IE.",
        validators=[is_country],
    )  # fmt: skip
    transfer_basis = forms.CharField(
        label="What the transfer rests on", max_length=300, required=False,
        help_text="Only where they are across a border.",
    )  # fmt: skip
    certain = forms.BooleanField(label="Everybody with an account is told, and that cannot be taken back.")


@require_http_methods(["GET", "HEAD", "POST"])
@staff_only
def succession(request: HttpRequest) -> HttpResponse:
    form = BuyerForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        handing_over.announce(
            said["buyer"], country=said["country"], transfer_basis=said["transfer_basis"], now=now(),
            by=owner_of(request),
        )  # fmt: skip
        messages.success(request, "Declared. Everybody is written to within the hour.", extra_tags="good")
        return redirect("console_succession")
    context = {"successions": read_successions(now=now()), "form": form, "me": owner_of(request).pk}
    return render(request, "console/succession.html", context, status=422 if form.errors else 200)


@require_POST
@staff_only
def hand_over(request: HttpRequest, ref: UUID) -> HttpResponse:
    """Makes the file of everybody whom the buyer may get now."""
    try:
        made = handing_over.make_hand_over(deployment(), ref, by=owner_of(request))
    except handing_over.NoSuchSuccession:
        raise Http404 from None
    except handing_over.NeedsAnother:
        messages.error(request, "You declared this buyer. Somebody else has to hand over.", extra_tags="bad")
        return redirect("console_succession")
    if made.given:
        messages.success(request, "The file is made. Fetch it below.", extra_tags="good")
    else:
        messages.error(request, "There is nobody who may be handed over now.", extra_tags="bad")
    return redirect("console_succession")


@require_POST
@staff_only
def fetch_file(request: HttpRequest, ref: UUID) -> HttpResponseBase:  # noqa: ARG001
    """The file as a download, one JSON object a line, as often as it takes."""
    try:
        lines = handing_over.fetch_lines(ref, now=now())
    except handing_over.NoSuchHandOver:
        raise Http404 from None
    answer = StreamingHttpResponse(lines, content_type="application/x-ndjson")
    answer.headers["Content-Disposition"] = f'attachment; filename="succession-{ref.hex[:8]}.ndjson"'
    return answer


@require_POST
@staff_only
def deliver_file(request: HttpRequest, ref: UUID) -> HttpResponse:
    """The buyer has it."""
    try:
        handing_over.deliver(ref, now=now())
    except handing_over.NoSuchHandOver:
        raise Http404 from None
    messages.success(request, "Noted. Our copy of the file is deleted.", extra_tags="good")
    return redirect("console_succession")
