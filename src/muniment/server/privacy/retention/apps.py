"""Registers the app of retention with Django, and its check."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.utils.module_loading import import_string

from muniment.server.privacy.figures import register_figure


def check_clocks(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """Fail where a column is kept for some days and its model does not say from when they count."""
    complaints = import_string("muniment.server.privacy.retention.rules.complaints")
    return [checks.Error(text, id="privacy.E002") for text in complaints()]


class RetentionConfig(AppConfig):
    name = "muniment.server.privacy.retention"
    label = "privacy_retention"

    def ready(self) -> None:
        checks.register(check_clocks)
        register_figure("overdue", import_string("muniment.server.privacy.retention.sweep.count_overdue"))
