"""My Profile."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from muniment.server.accounts import attempts
from muniment.server.accounts.addresses import ask_change
from muniment.server.accounts.attempts import TooOften, Tried
from muniment.server.accounts.forms import CountryForm, DetailsForm, EmailForm
from muniment.server.accounts.profile import change_country, change_details, held_about, profile_of
from muniment.server.accounts.visiting import visit_of
from muniment.server.mail.bounces import comes_back_since
from muniment.server.portal.access import freshly_signed_in, owner_of, signed_in
from muniment.server.privacy.forms import declared_form
from muniment.server.web.context import now
from muniment.server.web.errors import error_page
from muniment.server.web.timing import looks_up

get_or_post = require_http_methods(["GET", "HEAD", "POST"])


@require_safe
@signed_in
def show(request: HttpRequest) -> HttpResponse:
    account = owner_of(request)
    held = held_about(account)
    context = {
        "told": [one for one in held if one.value],
        "untold": [one for one in held if not one.value],
        "comes_back": comes_back_since(account.email, now=now()),
    }
    return render(request, "portal/profile.html", context)


@get_or_post
@signed_in
def details(request: HttpRequest) -> HttpResponse:
    account = owner_of(request)
    form = DetailsForm(request.POST or None, edition=account.edition, profile=profile_of(account))
    if request.method == "POST":
        form.refuse_others(request.POST)
    if not form.is_valid():
        context = {"form": form, "notice": declared_form("sign_up").notice}
        return render(request, "portal/details.html", context, status=422 if form.errors else 200)
    change_details(account, form.cleaned_data, now=now())
    messages.success(request, "Changed.", extra_tags="good")
    return redirect("profile")


@get_or_post
@signed_in
def country(request: HttpRequest) -> HttpResponse:
    account = owner_of(request)
    form = CountryForm(request.POST or None, initial={"country": account.country})
    if request.method == "POST":
        form.refuse_others(request.POST)
    if not form.is_valid():
        return render(request, "portal/country.html", {"form": form}, status=422 if form.errors else 200)
    change_country(account, form.cleaned_data["country"])
    messages.success(request, "Changed.", extra_tags="good")
    return redirect("profile")


@get_or_post
@freshly_signed_in
def address(request: HttpRequest) -> HttpResponse:
    form = EmailForm(request.POST or None)
    if request.method == "POST":
        form.refuse_others(request.POST)
    if not form.is_valid():
        return render(request, "portal/address.html", {"form": form}, status=422 if form.errors else 200)
    email, visit, at = form.cleaned_data["email"], visit_of(request), now()
    try:
        attempts.spend(Tried.MAIL, whom=email, visit=visit, now=at)
    except TooOften as slow:
        return error_page(request, 429, retry_after=slow.retry_after)
    looks_up(request)
    ask_change(owner_of(request), email, now=at)
    messages.success(
        request, "We sent a link to the new address. Until it is opened, nothing changes.", extra_tags="good"
    )
    return redirect("profile")
