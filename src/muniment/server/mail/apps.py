"""Registers the app of mail with Django, its check, and how people are told about their requests."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.utils.module_loading import import_string

from muniment.server.mail.checking import complaints
from muniment.server.privacy.ports import register_grant_listener, register_notifier


def check_messages(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """Fail where a template has no class, or service mail sells something."""
    return [checks.Error(text, id="mail.E001") for text in complaints()]


class MailConfig(AppConfig):
    name = "muniment.server.mail"
    label = "mail"

    def ready(self) -> None:
        checks.register(check_messages)
        register_notifier(import_string("muniment.server.mail.requests.RequestMail")())
        register_grant_listener(import_string("muniment.server.mail.suppression.WelcomeBack")())
        for message in ("statement.StatementChanges", "letters.Announcement"):
            import_string(f"muniment.server.mail.{message}")  # so that the check knows it
