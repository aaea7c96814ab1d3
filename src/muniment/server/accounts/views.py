"""Pages of signing up, confirming and setting a password. Signing in is allauth's, with our templates."""

from __future__ import annotations

from typing import cast

from allauth.account.internal.flows.login import perform_password_login
from allauth.account.models import Login
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from muniment.server.accounts import attempts, recovery
from muniment.server.accounts.acceptance import NotInForce, has_agreed, version_in_force
from muniment.server.accounts.addresses import AddressTaken, change_address
from muniment.server.accounts.age_screen import (
    Birth,
    PassInvalid,
    Verdict,
    count_refusal,
    judge,
    jurisdiction_of,
    open_pass,
    seal_pass,
)
from muniment.server.accounts.attempts import TooOften, Tried
from muniment.server.accounts.countries import country_names
from muniment.server.accounts.forms import (
    AgeScreenForm,
    EmailForm,
    FirstPasswordForm,
    PasswordForm,
    ProveForm,
    SignUpForm,
)
from muniment.server.accounts.links import LinkDead, LinkKind, Opened, open_token
from muniment.server.accounts.models import Account, Edition
from muniment.server.accounts.sign_up import (
    GuardianMissing,
    SignUp,
    confirm_address,
    guardian_agrees,
    guardian_refuses,
    sign_up,
)
from muniment.server.accounts.visiting import bound_posts, visit_of
from muniment.server.privacy.forms import declared_form
from muniment.server.privacy.statement import read_statement
from muniment.server.web.context import now
from muniment.server.web.errors import error_page
from muniment.server.web.timing import looks_up

SCREENED = "age_screen"
"""A cookie with the same content for everybody: the screen said no here. It ends with the browser."""

get_or_post = require_http_methods(["GET", "HEAD", "POST"])


@require_safe
def choose_edition(request: HttpRequest) -> HttpResponse:
    looked_at = request.COOKIES.get("edition", "")
    return render(request, "accounts/choose_edition.html", {"editions": Edition, "looked_at": looked_at})


@get_or_post
def age_screen(request: HttpRequest, edition: str) -> HttpResponse:
    """The first page of signing up; with a pass it goes on to the form."""
    wanted, at = _edition(edition), now()
    if SCREENED in request.COOKIES:
        return _too_young(request)
    form = AgeScreenForm(request.POST or None, this_year=at.year)
    if request.method != "POST":
        return render(request, "accounts/age_screen.html", {"form": form, "edition": wanted})
    form.refuse_others(request.POST)
    if not form.is_valid():
        return render(request, "accounts/age_screen.html", {"form": form, "edition": wanted}, status=422)
    country = form.cleaned_data["country"]
    birth = Birth(form.cleaned_data["year"], int(form.cleaned_data["month"]))
    verdict = judge(birth, law=jurisdiction_of(country, read_statement().jurisdictions), now=at)
    if verdict is Verdict.REFUSED:
        count_refusal(at)
        return _too_young(request)
    return _show_form(request, wanted, seal_pass(country, verdict))


def _too_young(request: HttpRequest) -> HttpResponse:
    response = render(request, "accounts/too_young.html", status=403)
    response.set_cookie(SCREENED, "no", httponly=True, samesite="Lax", secure=request.is_secure())
    return response


def _show_form(
    request: HttpRequest, edition: Edition, sealed: str, form: SignUpForm | None = None
) -> HttpResponse:
    passed = open_pass(sealed)
    if form is None:
        form = SignUpForm(
            edition=edition, band=passed.band, statement=version_in_force(now()), initial={"pass": sealed}
        )
    context = {
        "form": form,
        "edition": edition,
        "country": country_names()[passed.country],
        "notice": declared_form("sign_up").notice,
    }
    return render(request, "accounts/sign_up.html", context, status=422 if form.errors else 200)


@bound_posts
@require_http_methods(["POST"])
def register(request: HttpRequest, edition: str) -> HttpResponse:
    """The filled form. Known and unknown addresses are answered alike."""
    wanted, at, visit = _edition(edition), now(), visit_of(request)
    if SCREENED in request.COOKIES:
        return _too_young(request)
    sealed = request.POST.get("pass", "")
    try:
        passed = open_pass(sealed)
    except PassInvalid:
        return redirect("account_sign_up_edition", wanted.value)
    form = SignUpForm(request.POST, edition=wanted, band=passed.band, statement=version_in_force(now()))
    form.refuse_others(request.POST)
    if not form.is_valid():
        return _show_form(request, wanted, sealed, form)
    data = form.cleaned_data
    try:
        attempts.spend(Tried.SIGN_UP, whom=data["email"], visit=visit, now=at)
    except TooOften as slow:
        return error_page(request, 429, retry_after=slow.retry_after)
    wish = SignUp(
        email=data["email"],
        password=data["password"],
        edition=wanted,
        country=passed.country,
        band=passed.band,
        statement=int(data["statement"]) if data["statement"].isdigit() else 0,
        notice=data["notice"],
        details=form.details(),
        guardian=data.get("guardian"),
    )
    looks_up(request)
    try:
        sign_up(wish, visit=visit, now=at)
    except GuardianMissing:
        form.add_error("guardian", "This has to be somebody else's address.")
        return _show_form(request, wanted, sealed, form)
    except NotInForce:
        return redirect("account_sign_up_edition", wanted.value)
    return redirect("account_confirm_sent")


@require_safe
def confirm_sent(request: HttpRequest) -> HttpResponse:
    return render(request, "accounts/confirm_sent.html")


@get_or_post
def confirm(request: HttpRequest, token: str) -> HttpResponse:
    """The link from the mail. The password is asked so that nobody confirms what somebody else entered."""
    opened = _opened(LinkKind.CONFIRM, token)
    if opened is None or opened.account.confirmed_at is not None:
        return _dead(request)
    form, visit, at = ProveForm(request.POST or None), visit_of(request), now()
    if request.method == "POST":
        form.refuse_others(request.POST)
    if not form.is_valid():
        return render(request, "accounts/confirm.html", {"form": form})
    account = opened.account
    try:
        attempts.spend(Tried.SIGN_IN, whom=account.email, visit=visit, now=at)
    except TooOften as slow:
        return error_page(request, 429, retry_after=slow.retry_after)
    if not account.check_password(form.cleaned_data["password"]):
        form.add_error("password", "This is not the password that was chosen at sign-up.")
        return render(request, "accounts/confirm.html", {"form": form}, status=422)
    attempts.give_back(Tried.SIGN_IN, whom=account.email, visit=visit, now=at)
    confirm_address(account, visit=visit, now=at)
    return cast(HttpResponse, perform_password_login(request, {"email": account.email}, Login(user=account)))


@require_safe
def waiting_for_guardian(request: HttpRequest) -> HttpResponse:
    return render(request, "accounts/waiting_for_guardian.html")


@get_or_post
def guardian(request: HttpRequest, token: str) -> HttpResponse:
    """A parent or guardian says yes or no."""
    opened = _opened(LinkKind.GUARDIAN, token)
    if opened is None:
        return _dead(request)
    answer, kept = request.POST.get("answer", ""), False
    if answer == "agree":
        guardian_agrees(opened.account, visit=visit_of(request), now=now())
    elif answer == "refuse":
        kept = not guardian_refuses(opened.account, now=now())
    else:
        return render(request, "accounts/guardian.html", {"child": opened.account.email})
    said = {"agreed": answer == "agree", "kept": kept}
    return render(request, "accounts/guardian_answered.html", said)


@bound_posts
@get_or_post
def ask_reset(request: HttpRequest) -> HttpResponse:
    form = EmailForm(request.POST or None)
    if request.method == "POST":
        form.refuse_others(request.POST)
    if not form.is_valid():
        return render(request, "accounts/ask_reset.html", {"form": form}, status=422 if form.errors else 200)
    email, visit, at = form.cleaned_data["email"], visit_of(request), now()
    try:
        attempts.spend(Tried.MAIL, whom=email, visit=visit, now=at)
    except TooOften as slow:
        return error_page(request, 429, retry_after=slow.retry_after)
    looks_up(request)
    recovery.ask_reset(email, now=at)
    return render(request, "accounts/reset_sent.html")


@get_or_post
def set_password(request: HttpRequest, token: str) -> HttpResponse:
    """By a mailed link, or by the one that `muniment admin sign-in-link` prints."""
    opened = _opened(LinkKind.PASSWORD, token) or _opened(LinkKind.FIRST_SIGN_IN, token)
    if opened is None:
        return _dead(request)
    account, agreed = opened.account, has_agreed(opened.account, now=now())
    make = PasswordForm if agreed else FirstPasswordForm
    form = make(request.POST or None, account=account, initial={"statement": version_in_force(now())})
    if request.method == "POST":
        form.refuse_others(request.POST)
    if not form.is_valid():
        context = {"form": form, "first": not agreed}
        return render(request, "accounts/set_password.html", context, status=422 if form.errors else 200)
    data = form.cleaned_data
    try:
        recovery.set_password(
            account, data["password"], statement=data.get("statement"), visit=visit_of(request), now=now()
        )
    except NotInForce:
        return redirect(request.path)
    return render(request, "accounts/password_set.html")


@login_required
@get_or_post
def new_address(request: HttpRequest, token: str) -> HttpResponse:
    """The link that went to a new address, opened by who asked for it."""
    opened = _opened(LinkKind.ADDRESS, token)
    if opened is None or opened.account.pk != request.user.pk:
        return _dead(request)
    if request.method == "POST":
        try:
            change_address(opened.account, opened.email, visit=visit_of(request), now=now())
        except AddressTaken:
            return render(request, "accounts/address_taken.html", {"email": opened.email}, status=409)
        return redirect("profile")
    return render(request, "accounts/new_address.html", {"email": opened.email})


def _opened(kind: LinkKind, token: str) -> Opened | None:
    try:
        return open_token(kind, token, now=now())
    except LinkDead:
        return None


def _dead(request: HttpRequest) -> HttpResponse:
    return render(request, "accounts/link_dead.html", status=410)


def _edition(name: str) -> Edition:
    try:
        return Edition(name)
    except ValueError:
        raise Http404 from None


def account_of(request: HttpRequest) -> Account:
    """Who is signed in; only behind `login_required`."""
    return cast(Account, request.user)
