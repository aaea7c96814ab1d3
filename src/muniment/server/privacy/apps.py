"""Registers the registry's system check."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core import checks

from muniment.server.privacy.external import EXTERNAL
from muniment.server.privacy.guard import guard_columns
from muniment.server.privacy.purposes import Purpose
from muniment.server.privacy.registry import data_map, problems, recipient_problems
from muniment.server.privacy.statement import read_statement


def check_registry(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """Fail where a column is undeclared: nothing personal is ever kept by accident."""
    statement = read_statement()
    found = [*problems(statement, EXTERNAL), *recipient_problems(statement, data_map(EXTERNAL))]
    found += [
        f"the purpose {name!r} is known to the statement or to the program, not to both"
        for name in sorted(set(statement.purposes).symmetric_difference(Purpose))
    ]
    return [checks.Error(text, id="privacy.E001") for text in found]


class PrivacyConfig(AppConfig):
    name = "muniment.server.privacy"
    label = "privacy"

    def ready(self) -> None:
        guard_columns(data_map(EXTERNAL))  # every app's models are there by now
        checks.register(check_registry)
