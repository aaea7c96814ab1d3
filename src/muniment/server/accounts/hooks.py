"""What follows from signing in and out and from changing factors: entries in the security log, and mails."""

from __future__ import annotations

from typing import Any

from allauth.mfa import signals as mfa_signals
from allauth.mfa.models import Authenticator
from django.contrib.auth import signals as auth_signals
from django.http import HttpRequest

from muniment.server.accounts import mails
from muniment.server.accounts.models import Account, SecurityEvent
from muniment.server.accounts.security_log import is_known_browser, note
from muniment.server.accounts.visiting import visit_of
from muniment.server.mail.send import send
from muniment.server.transactions import writing
from muniment.server.web.context import now

Event = SecurityEvent.Kind
_STEPS = "account_authentication_methods"
"""Where allauth keeps in a session how and when somebody proved who they are."""
_SIGN_IN = {"account_login", "mfa_authenticate", "mfa_login_webauthn"}
_FACTORS = {"totp": "an authenticator app", "webauthn": "a passkey", "recovery_codes": "recovery codes"}


def connect() -> None:
    auth_signals.user_logged_in.connect(_signed_in, dispatch_uid="muniment.signed_in")
    auth_signals.user_logged_out.connect(_signed_out, dispatch_uid="muniment.signed_out")
    mfa_signals.authenticator_added.connect(_factor_added, dispatch_uid="muniment.factor_added")
    mfa_signals.authenticator_removed.connect(_factor_removed, dispatch_uid="muniment.factor_removed")
    mfa_signals.authentication_failed.connect(_code_refused, dispatch_uid="muniment.code_refused")


def _signed_in(request: HttpRequest, user: Account, **kwargs: Any) -> None:  # noqa: ARG001
    visit, at = visit_of(request), now()
    method = _method(request)
    _count_as_fresh(request)
    with writing():
        known = is_known_browser(user, visit)
        note(Event.SIGNED_IN, account=user, visit=visit, now=at, method=method)
        if not known:
            mail = mails.NewSignIn(visit.browser, visit.address.network, f"{at:%Y-%m-%d %H:%M} UTC")
            send(mail, to=user, now=at)


def _count_as_fresh(request: HttpRequest) -> None:
    """Nobody is asked once more right after the last step of a sign-in; a link in a mail is none."""
    steps, route = request.session.get(_STEPS), request.resolver_match
    if steps and route is not None and route.url_name in _SIGN_IN:
        request.session[_STEPS] = [*steps[:-1], {**steps[-1], "reauthenticated": True}]


def _method(request: HttpRequest) -> str:
    """The last step of this sign-in: `password`, `totp`, `webauthn` or `recovery_codes`."""
    steps = request.session.get(_STEPS) or [{}]
    return str(steps[-1].get("type") or steps[-1].get("method") or "")


def _signed_out(request: HttpRequest, user: Account | None, **kwargs: Any) -> None:  # noqa: ARG001
    if user is not None:
        with writing():
            note(Event.SIGNED_OUT, account=user, visit=visit_of(request), now=now())


def _factor_added(request: HttpRequest, user: Account, authenticator: Authenticator, **kwargs: Any) -> None:  # noqa: ARG001
    _tell_factor(request, user, authenticator, Event.FACTOR_ADDED, "added")


def _factor_removed(request: HttpRequest, user: Account, authenticator: Authenticator, **kwargs: Any) -> None:  # noqa: ARG001
    _tell_factor(request, user, authenticator, Event.FACTOR_REMOVED, "removed")


def _tell_factor(
    request: HttpRequest, user: Account, authenticator: Authenticator, kind: SecurityEvent.Kind, what: str
) -> None:
    with writing():
        note(kind, account=user, visit=visit_of(request), now=now(), method=authenticator.type)
        send(mails.SignInChanged(f"{_FACTORS[authenticator.type]} was {what}"), to=user, now=now())


def _code_refused(request: HttpRequest, user: Account, **kwargs: Any) -> None:  # noqa: ARG001
    with writing():
        note(Event.REFUSED, account=user, visit=visit_of(request), now=now(), method="code")
