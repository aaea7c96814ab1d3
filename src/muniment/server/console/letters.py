"""`/console/letters`: news, offers and surveys, written by one of staff and approved by another."""

from __future__ import annotations

from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from muniment.server.console.access import staff_only
from muniment.server.mail import letters as written
from muniment.server.mail.models import LetterClass
from muniment.server.portal.access import owner_of
from muniment.server.web.context import now


def is_one_line(subject: str) -> None:
    if not subject.isprintable():
        raise ValidationError("A subject is one line.")


class LetterForm(forms.Form):
    message_class = forms.ChoiceField(label="What it is", choices=LetterClass.choices)
    title = forms.CharField(label="Subject", max_length=150, validators=[is_one_line])
    text = forms.CharField(
        label="Text", max_length=20_000, widget=forms.Textarea(attrs={"rows": 12}),
        help_text="As it is: no markup. How to stop such letters is added below it.",
    )  # fmt: skip


@require_http_methods(["GET", "HEAD", "POST"])
@staff_only
def letters(request: HttpRequest) -> HttpResponse:
    form = LetterForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        said = form.cleaned_data
        written.write(
            LetterClass(said["message_class"]), title=said["title"], text=said["text"],
            by=owner_of(request), now=now(),
        )  # fmt: skip
        messages.success(request, "Written. Somebody else has to approve it.", extra_tags="good")
        return redirect("console_letters")
    context = {"seen": written.read_letters(now=now()), "form": form, "me": owner_of(request).pk}
    return render(request, "console/letters.html", context, status=422 if form.errors else 200)


@require_POST
@staff_only
def approve_letter(request: HttpRequest, ref: UUID) -> HttpResponse:
    try:
        written.approve(ref, by=owner_of(request), now=now())
    except written.NoSuchLetter:
        raise Http404 from None
    except written.NeedsAnother:
        messages.error(request, "You wrote this letter. Somebody else has to approve it.", extra_tags="bad")
    else:
        messages.success(request, "Approved. It goes out within ten minutes.", extra_tags="good")
    return redirect("console_letters")


@require_POST
@staff_only
def take_back_letter(request: HttpRequest, ref: UUID) -> HttpResponse:
    try:
        written.take_back(ref)
    except written.NoSuchLetter:
        raise Http404 from None
    except written.AlreadyApproved:
        messages.error(request, "It was approved, and goes out.", extra_tags="bad")
    else:
        messages.success(request, "Taken back. It went to nobody.", extra_tags="good")
    return redirect("console_letters")
